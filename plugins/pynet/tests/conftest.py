"""The plugin's tests use golden vectors where they are beside the repository, and compute the weights behind them."""

from pathlib import Path

import numpy as np
import pytest
from pynet_golden import Weights, golden_weights


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, whatever the user has; and what the plugin raises reaches the test as it is."""
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="session")
def specs(shared: Path) -> Path:
    """Golden vectors."""
    return shared / "specs" / "pynet"


@pytest.fixture(scope="session")
def published() -> dict[str, dict[str, np.ndarray]]:
    """Variant -> the golden weights as its checkpoint holds them, all levels."""
    return {variant: golden_weights(variant) for variant in ("torch", "tf")}


@pytest.fixture(scope="session")
def weights(published: dict[str, dict[str, np.ndarray]]) -> Weights:
    """The golden weights, to be put into networks."""
    return Weights(published)
