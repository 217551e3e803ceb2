"""Frozen TensorFlow graphs."""

import struct
import tracemalloc

import numpy as np
import pytest
from checkpoint_writers import field, graph_node, shape_proto, tensor_proto, varint, write_graph

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import read


def test_constants_of_tensorflow(files, expected, assert_same):
    found = read(files / "frozen.pb")
    assert found.format == "tensorflow-graph"
    values = expected("frozen")
    assert list(found.tensors) == ["net/kernel", "net/bias", "ints", "brain"]
    assert_same(found.tensors, values)
    assert [(o["op"], o["outputs"]) for o in found.metadata["operators"]] == [
        ("Placeholder", ["sr_input"]),
        ("Conv2D", ["Conv2D"]),
        ("BiasAdd", ["sr_output"]),
    ]
    assert found.metadata["operators"][1]["inputs"] == ["sr_input", "net/kernel"]


def test_our_own_writer(tmp_path, assert_same):
    arrays = {"a/kernel": np.random.default_rng(0).random((3, 3, 2, 5), np.float32), "b": np.arange(4)}
    assert_same(read(write_graph(tmp_path / "g.pb", arrays)).tensors, arrays)


def constant(dtype, shape, values):
    return graph_node("c", "Const", field(1, dtype) + field(2, shape_proto(shape)) + values)


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (1, field(5, struct.pack("<3f", 1, 2, 3)), np.array([1, 2, 3], np.float32)),
        (1, b"".join(struct.pack("<Bf", 5 << 3 | 5, v) for v in (1, 2)), np.array([1, 2, 2], np.float32)),
        (1, b"", np.zeros(3, np.float32)),
        (2, field(6, struct.pack("<d", 0.1)), np.full(3, 0.1)),
        (3, field(7, varint(5) + varint(-2)), np.array([5, -2, -2], np.int32)),
        (9, field(10, varint(-(1 << 40))), np.full(3, -(1 << 40))),
        (10, field(11, 1) + field(11, 0), np.array([True, False, False])),
        (19, field(13, varint(0x3C00)), np.ones(3, np.float16)),
        (14, field(13, varint(0x3FC0)), np.full(3, 1.5, np.float32)),
        (4, field(7, varint(200)), np.full(3, 200, np.uint8)),
        (23, field(17, varint((1 << 64) - 1)), np.full(3, (1 << 64) - 1, np.uint64)),
    ],
)
def test_values_listed_one_by_one(tmp_path, assert_same, dtype, values, expected):
    path = tmp_path / "g.pb"
    path.write_bytes(constant(dtype, (3,), values) + graph_node("end", "NoOp"))
    assert_same(read(path).tensors, {"c": expected})


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (constant(1, (1 << 20, 1 << 20), field(5, struct.pack("<f", 1))), "larger than the file"),
        (constant(1, (-1,), b""), "is no shape"),
        (constant(1, (4,), field(4, b"1234")), "too few or too many values"),
        (constant(1, (1,) * 40, field(4, b"1234")), "is no shape"),
        (field(1, field(1, b"a") + field(2, b"Const") + b"\x2a\xff\xff\xff\x0f"), "does not end where it should"),
    ],
)
def test_lies(tmp_path, node, message):
    path = tmp_path / "g.pb"
    path.write_bytes(graph_node("x", "Placeholder") + node)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=message):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_too_many_values_are_found_when_they_are_read(tmp_path):
    path = tmp_path / "g.pb"
    path.write_bytes(constant(1, (2,), field(5, struct.pack("<3f", 1, 2, 3))))
    with pytest.raises(WeightsError, match="too many values"):
        read(path).tensors["c"].numpy()


def test_texts_are_left_out(tmp_path):
    path = tmp_path / "g.pb"
    path.write_bytes(graph_node("x", "Const", tensor_proto(np.ones(2))) + constant(7, (1,), field(8, b"hello")))
    found = read(path)
    assert list(found.tensors) == ["x"]
    assert found.metadata["left_out"] == ["c"]
