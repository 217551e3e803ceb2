"""The plugin's tests use the reference's published files and golden vectors where they are beside the repository."""

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[4] / "shared"

os.environ["RAWZOO_STRICT_PLUGINS"] = "1"


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
