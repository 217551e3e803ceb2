"""Golden vectors are used where they are beside the repository."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, whatever the user has; and what the plugin raises reaches the test as it is."""
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    """Folder of the golden vectors."""
    return shared / "specs" / "naf" / "golden"
