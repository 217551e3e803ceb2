"""For the tests of rawzoo and of its plugins: the folder of shared data, without which tests skip, and --runslow."""

from pathlib import Path

import pytest
from hypothesis import settings

# The same examples each time: what passes once passes always.
settings.register_profile("repeatable", derandomize=True)
settings.load_profile("repeatable")

SHARED = Path(__file__).resolve().parents[1] / "shared"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--runslow", action="store_true", help="also run tests that need minutes or many gigabytes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--runslow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="slow: run with --runslow"))


@pytest.fixture(scope="session")
def shared() -> Path:
    if not SHARED.is_dir():
        pytest.skip("the shared folder is not beside the repository")
    return SHARED


@pytest.fixture(scope="session")
def shared_raw(shared: Path) -> Path:
    return shared / "data" / "raw"
