"""Files that TensorFlow wrote, and what it says is in them."""

from pathlib import Path

import numpy as np
import pytest

FILES = Path(__file__).parent / "tensorflow_files"


@pytest.fixture(scope="session")
def files():
    return FILES


@pytest.fixture(scope="session")
def expected():
    """``expected("v1")``: values by name."""
    with np.load(FILES / "expected.npz") as archive:
        values = {name.replace("|", "/"): archive[name] for name in archive.files}

    def of(part):
        return {name.removeprefix(f"{part}:"): value for name, value in values.items() if name.startswith(f"{part}:")}

    return of


def assert_same(tensors, arrays):
    """Lazily loaded tensors are exactly these arrays: names, shapes, dtypes, values."""
    assert set(tensors) == set(arrays)
    for name, array in arrays.items():
        tensor = tensors[name]
        assert (tensor.shape, tensor.dtype) == (array.shape, array.dtype), name
        loaded = tensor.numpy()
        assert (loaded.shape, loaded.dtype) == (array.shape, array.dtype), name
        np.testing.assert_array_equal(loaded, array, err_msg=name)


@pytest.fixture(scope="session", name="assert_same")
def _assert_same():
    return assert_same
