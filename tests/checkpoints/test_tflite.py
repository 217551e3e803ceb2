"""TensorFlow Lite models."""

import struct

import numpy as np
import pytest
from checkpoint_writers import write_tflite

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import read

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("name", ["float", "int8"])
def test_constants_of_tensorflow(files, expected, name):
    """Integers with scales, per tensor and per channel, are what TensorFlow's own interpreter makes of them."""
    found = read(files / f"{name}.tflite")
    assert found.format == "tflite"
    values = expected(name)
    assert {"net_1/dense_1/MatMul", "net_1/first_1/convolution"} < set(found.tensors)
    for key, tensor in found.tensors.items():
        assert (tensor.shape, tensor.dtype) == (values[key].shape, values[key].dtype)
        np.testing.assert_array_equal(tensor.numpy(), values[key], err_msg=key)


def test_operators(files):
    operators = read(files / "float.tflite").metadata["operators"]
    by_number = {operator["op"]: operator for operator in operators}
    assert {3, 4, 9} < set(by_number)
    assert by_number[3]["inputs"][1] == "net_1/first_1/convolution"
    assert by_number[9]["inputs"][1:] == ["net_1/dense_1/MatMul", "net_1/dense_1/BiasAdd"]


@pytest.mark.parametrize("target", ["pisp", "vc4"])
def test_published_models(shared, target):
    """The kernels are int8 with a scale a channel: within half a step of the trained values; the rest is exact."""
    folder = shared / "data" / "awb" / "models"
    found = read(folder / f"model_{target}.tflite")
    with np.load(folder / f"weights_{target}.npz") as archive:
        trained = {name: archive[name] for name in archive.files}
    layers = [operator["inputs"][1:] for operator in found.metadata["operators"] if operator["op"] in (3, 9)]
    assert len(layers) == len(trained) // 2
    for (kernel, bias), name in zip(layers, sorted({n.split("/")[0] for n in trained}), strict=True):
        np.testing.assert_array_equal(found.tensors[bias].numpy(), trained[f"{name}/bias"])
        expected = np.moveaxis(trained[f"{name}/kernel"], -1, 0)
        loaded = found.tensors[kernel].numpy()
        step = np.abs(expected).max(axis=tuple(range(1, expected.ndim)), keepdims=True) / 127
        assert (np.abs(loaded - expected) <= 0.5001 * step).all()


def test_our_own_writer(tmp_path):
    arrays = {
        "w": RNG.standard_normal((4, 3, 3, 2)).astype(np.float32),
        "half": RNG.standard_normal(7).astype(np.float16),
        "shape": np.array([1, -1], np.int32),
    }
    integers = RNG.integers(-128, 127, (4, 6)).astype(np.int8)
    quantised = {
        "tensor": (integers.view(np.uint8), [0.5], [128], 0),
        "rows": (integers, [0.5, 1, 2, 4], [0, 1, 2, 3], 0),
        "columns": (integers, np.arange(1, 7), [0] * 6, 1),
        "bias": (np.array([1 << 24, (1 << 24) + 1], np.int32), [2**-20], [], 0),
    }
    steps = [(3, ["image", "w"], ["x"]), (200, ["w"], ["rows"])]
    found = read(write_tflite(tmp_path / "m.tflite", {**arrays, **quantised}, steps))
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.tensors[name].numpy(), array)
    exact = integers.astype(np.float32)
    expected = {
        "tensor": (integers.view(np.uint8).astype(np.float32) - 128) * 0.5,
        "rows": (exact - np.arange(4)[:, None]) * np.array([0.5, 1, 2, 4], np.float32)[:, None],
        "columns": exact * np.arange(1, 7, dtype=np.float32),
        "bias": np.array([16, 16 + 2**-20], np.float64).astype(np.float32),
    }
    for name, array in expected.items():
        assert found.tensors[name].dtype == np.float32
        np.testing.assert_array_equal(found.tensors[name].numpy(), array, err_msg=name)
    assert found.metadata["operators"] == [
        {"op": 3, "inputs": ["w"], "outputs": []},
        {"op": 200, "inputs": ["w"], "outputs": ["rows"]},
    ]


@pytest.mark.parametrize(
    ("quantisation", "message"),
    [(([1, 2, 3], [0, 0, 0], 0), "scales of a tensor do not fit"), (([1], [0, 0, 0], 0), "zero points of a tensor")],
)
def test_scales_that_do_not_fit(tmp_path, quantisation, message):
    path = write_tflite(tmp_path / "m.tflite", {"w": (np.ones((2, 2), np.int8), *quantisation)})
    with pytest.raises(WeightsError, match=message):
        read(path)


def test_lies_about_sizes(tmp_path):
    path = write_tflite(tmp_path / "m.tflite", {"w": np.ones((2, 3), np.float32)})
    data = path.read_bytes()
    shape = struct.pack("<3I", 2, 2, 3)
    assert data.count(shape) == 1
    for lie in ((2, 1 << 20, 1 << 20), (2, 2, 4), (2, -2, -3), (1 << 30, 2, 3)):
        packed = struct.pack("<3I", *(n & 0xFFFFFFFF for n in lie))
        path.write_bytes(data.replace(shape, packed))
        with pytest.raises(WeightsError, match="damaged"):
            read(path)
