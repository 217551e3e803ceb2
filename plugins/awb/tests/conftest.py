"""The plugin's tests use the reference's published files and golden vectors where they are beside the repository."""

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[4] / "shared"


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plugin raises reaches the test as it is. Not for the whole process: rawzoo's own tests run in it too."""
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")


@pytest.fixture(scope="session")
def specs() -> Path:
    """Golden vectors."""
    if not SHARED.is_dir():
        pytest.skip("the shared folder is not beside the repository")
    return SHARED / "specs" / "awb"


@pytest.fixture(scope="session")
def published(specs: Path) -> Path:
    """Data sets, models and tunings of raspberrypi/awb_nn."""
    return SHARED / "data" / "awb"
