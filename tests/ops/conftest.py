"""Fixtures of the ops' tests: the instruction sets of this CPU, and torch on one thread."""

from collections.abc import Iterator

import pytest
import torch

native = pytest.importorskip("rawzoo._native", reason="the native module is not built")


def _sets() -> list[str]:
    fastest = native.isa()
    found = [name for name in ("baseline", "avx2", "avx512") if native.select_isa(name)]
    native.select_isa(fastest)
    return found


@pytest.fixture(params=_sets())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Runs a test once with each instruction set."""
    fastest = native.isa()
    native.select_isa(request.param)
    yield request.param
    native.select_isa(fastest)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The many small operators of the reference wait for each other where cores are busy; its results are the same."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
