"""The plugin's tests use the reference's published files and golden vectors where they are beside the repository, and
random weights and a tuning of their own where these do as well."""

from pathlib import Path

import pytest
from awb_generated import GRIDS, write_tunings

from rawzoo.testing import write_random_weights
from rawzoo.zoo.importing import import_checkpoint
from rawzoo.zoo.weights import imported_folder


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache and no tunings, whatever the user has; and what the plugin raises reaches the test as it is."""
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("RAWZOO_AWB_TUNINGS", raising=False)
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def specs(shared: Path) -> Path:
    """Golden vectors."""
    return shared / "specs" / "awb"


@pytest.fixture(scope="session")
def published(shared: Path) -> Path:
    """Data sets, models and tunings of raspberrypi/awb_nn."""
    return shared / "data" / "awb"


@pytest.fixture(scope="session")
def imported(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with the published weights, imported once."""
    pytest.importorskip("h5py")
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAWZOO_CACHE", str(folder))
        for target in GRIDS:
            import_checkpoint(published / "models" / f"model_{target}.keras")
    return folder


@pytest.fixture
def trained(imported: Path, published: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The published weights are imported and the published tunings are in their folder."""
    monkeypatch.setenv("RAWZOO_CACHE", str(imported))
    monkeypatch.setenv("RAWZOO_AWB_TUNINGS", str(published / "tunings"))


@pytest.fixture
def generated(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights are imported, and tunings made up here are in their folder."""
    for target in GRIDS:
        folder = imported_folder(f"awb-{target}")
        folder.mkdir(parents=True)
        write_random_weights(f"awb-{target}", folder / "random.safetensors")
    write_tunings(tmp_path / "tunings")
    monkeypatch.setenv("RAWZOO_AWB_TUNINGS", str(tmp_path / "tunings"))
