"""MATLAB files as SciPy writes them, and version 7.3 as MATLAB lays it out in HDF5."""

import struct
import tracemalloc
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
import scipy.sparse

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import read

RNG = np.random.default_rng(0)
KERNEL = RNG.standard_normal((3, 3, 2, 4)).astype(np.float32)
BIAS = RNG.standard_normal((1, 4)).astype(np.float32)


def cell(*items):
    array = np.empty(len(items), object)
    array[:] = items
    return array


@pytest.mark.parametrize("compressed", [False, True])
def test_a_network_of_matconvnet(tmp_path, assert_same, compressed):
    path = tmp_path / "net.mat"
    layers = cell({"type": "conv", "name": "conv1", "weights": cell(KERNEL, BIAS)}, {"type": "relu", "stride": 2.0})
    parameters = np.array([("w", KERNEL), ("b", BIAS)], [("name", object), ("value", object)])
    numbers = {
        "double": RNG.random((5, 3)),
        "small_double": np.arange(6.0).reshape(2, 3),
        "logical": np.array([[True, False]]),
        **{kind: np.arange(4).reshape(1, 4).astype(kind) for kind in ("int8", "uint16", "int32", "uint64")},
    }
    what = {"net": {"layers": layers, "meta": {"x": numbers["double"]}}, "params": parameters, **numbers}
    what |= {"s": scipy.sparse.eye(3).tocsc(), "z": np.array([[1j]])}
    scipy.io.savemat(path, what, do_compression=compressed)
    found = read(path)
    assert found.format == "matlab"
    expected = {"net.layers.0.weights.0": KERNEL, "net.layers.0.weights.1": BIAS, "net.meta.x": numbers["double"]}
    expected |= {"net.layers.1.stride": np.array([[2.0]])}
    expected |= {"params.0.value": KERNEL, "params.1.value": BIAS, **numbers}
    assert_same(found.tensors, expected)
    assert found.metadata["text"]["net.layers.0.name"] == "conv1"
    assert found.metadata["text"]["params.1.name"] == "b"
    assert found.metadata["left_out"] == ["s", "z"] or set(found.metadata["left_out"]) == {"", "z"}


def test_version_73(tmp_path, assert_same):
    """MATLAB's axes reversed, cells and struct arrays as references, a header in front of HDF5."""
    path = tmp_path / "net.mat"
    with h5py.File(path, "w", userblock_size=512) as file:

        def put(where, name, array, kind, **options):
            dataset = where.create_dataset(name, data=array.T, **options)
            dataset.attrs["MATLAB_class"] = np.bytes_(kind)
            return dataset.ref

        def text(where, name, value):
            return put(where, name, np.array([[ord(c) for c in value]], np.uint16), "char")

        def references(where, name, refs, kind=None):
            dataset = where.create_dataset(name, data=np.array([refs], h5py.ref_dtype))
            if kind:
                dataset.attrs["MATLAB_class"] = np.bytes_(kind)

        hidden = file.create_group("#refs#")
        net = file.create_group("net")
        net.attrs["MATLAB_class"] = np.bytes_("struct")
        kernel = put(hidden, "a", KERNEL, "single", chunks=(4, 2, 3, 2), compression=3)
        references(net, "weights", [kernel, put(hidden, "b", BIAS, "single")], "cell")
        parameters = file.create_group("params")
        references(parameters, "name", [text(hidden, "c", "w"), text(hidden, "d", "b")])
        references(parameters, "value", [kernel, kernel])
        flags = put(file, "flag", np.array([[1, 0]], np.uint8), "logical")
        assert flags
        empty = file.create_dataset("nothing", data=np.array([0, 0], np.uint64))
        empty.attrs["MATLAB_class"], empty.attrs["MATLAB_empty"] = np.bytes_("double"), np.uint8(1)
    header = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\x00\x02IM"
    data = path.read_bytes()
    path.write_bytes(header + data[128:])
    found = read(path)
    weights = {"net.weights.0": KERNEL, "net.weights.1": BIAS}
    parameters = {"params.value.0": KERNEL, "params.value.1": KERNEL}
    assert_same(found.tensors, {**weights, **parameters, "flag": np.array([[True, False]])})
    assert found.metadata["text"] == {"params.name.0": "w", "params.name.1": "b"}


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"


def element(kind, content):
    return struct.pack("<II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(shape, values, name=b"x", kind=7, flags=0):
    head = element(6, struct.pack("<II", kind | flags, 0)) + element(5, np.array(shape, "<i4").tobytes())
    return element(14, head + element(1, name) + values)


def test_by_hand(tmp_path, assert_same):
    path = tmp_path / "x.mat"
    small = struct.pack("<HH4s", 2, 3, b"\1\2\3")
    path.write_bytes(HEADER + matrix((1, 3), small) + matrix((2, 1), element(7, struct.pack("<2f", 1, 2)), b"y"))
    x, y = np.array([[1, 2, 3]], np.float32), np.array([[1], [2]], np.float32)
    assert_same(read(path).tensors, {"x": x, "y": y})


def test_big_endian(tmp_path, assert_same):
    path = tmp_path / "x.mat"

    def big(kind, content):
        return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)

    head = big(6, struct.pack(">II", 7, 0)) + big(5, struct.pack(">2i", 1, 2)) + big(1, b"x")
    path.write_bytes(HEADER[:124] + b"\x01\x00MI" + big(14, head + big(7, struct.pack(">2f", 1, 2))))
    assert_same(read(path).tensors, {"x": np.array([[1, 2]], np.float32)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (matrix((1 << 20, 1 << 20), element(7, b"1234")), "too few or too many values"),
        (matrix((1 << 30, 1 << 30), b"", kind=1), None),
        (matrix((-1, 4), element(7, b"1234")), "has no shape"),
        (struct.pack("<II", 14, 1 << 31), "beyond the end"),
        (struct.pack("<II", 15, 8) + b"notzlib!", "incorrect header"),
        (element(14, b"") * 10, None),
    ],
)
def test_lies(tmp_path, content, message):
    path = tmp_path / "x.mat"
    path.write_bytes(HEADER + content)
    if message is None:
        assert not read(path).tensors
    else:
        with pytest.raises(WeightsError, match=message):
            read(path)


def test_zip_bomb(tmp_path):
    path = tmp_path / "x.mat"
    inner = zlib.compress(matrix((1, 50_000_000), element(2, bytes(50_000_000)), kind=9), 9)
    path.write_bytes(HEADER + struct.pack("<II", 15, len(inner)) + inner)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="cut off, or far larger than the file"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 12 << 20
    tracemalloc.stop()


def test_nested_without_end(tmp_path):
    path = tmp_path / "x.mat"
    content = b""
    for _ in range(400):
        content = matrix((1, 1), content, name=b"", kind=1)
    path.write_bytes(HEADER + content)
    with pytest.raises(WeightsError, match="nested impossibly deep"):
        read(path)
