"""TensorFlow Lite models: tensors with constant data, dequantised where they carry a scale.

``metadata["operators"]`` lists the operators in order, each with its number in ``BuiltinOperator`` (3 is a convolution,
4 a depthwise one, 9 a dense layer) and the names of the tensors it takes and gives: the names of
constants often say nothing.

A FlatBuffer is tables of offsets; this reads the few tables that matter. Facts: ``schema.fbs`` (version 3) of
TensorFlow Lite and the FlatBuffers binary format.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import numpy as np

from rawzoo.zoo.checkpoints.checkpoint import LONGEST_NAME, Array, Checkpoint, Source, Tensor, plain

NAME = "tflite"

# Fields by their place in the schema.
_MODEL_VERSION, _MODEL_CODES, _MODEL_SUBGRAPHS, _MODEL_BUFFERS = 0, 1, 2, 4
_CODE_BYTE, _CODE = 0, 3
_GRAPH_TENSORS, _GRAPH_OPERATORS = 0, 3
_OPERATOR_CODE, _OPERATOR_INPUTS, _OPERATOR_OUTPUTS = 0, 1, 2
_TENSOR_SHAPE, _TENSOR_TYPE, _TENSOR_BUFFER, _TENSOR_NAME, _TENSOR_QUANTISATION, _TENSOR_SPARSITY = 0, 1, 2, 3, 4, 6
_SCALE, _ZERO_POINT, _AXIS = 2, 3, 6
_BUFFER_DATA, _BUFFER_OFFSET, _BUFFER_SIZE = 0, 1, 2

_STORED = {
    0: "<f4",
    1: "<f2",
    2: "<i4",
    3: "|u1",
    4: "<i8",
    6: "|b1",
    7: "<i2",
    8: "<c8",
    9: "|i1",
    10: "<f8",
    11: "<c16",
    12: "<u8",
    15: "<u4",
    16: "<u2",
}
_QUANTISED = (2, 3, 7, 9)
_MOST_TENSORS = 100_000


class _Table:
    """One table of a FlatBuffer; a field that is absent has its default. Places are bounds-checked by struct."""

    def __init__(self, data: bytes, at: int) -> None:
        self._data = data
        self._at = at
        (back,) = struct.unpack_from("<i", data, at)
        self._entries = at - back
        if self._entries < 0:
            raise ValueError("a table has no description")
        (self._size,) = struct.unpack_from("<H", data, self._entries)

    def _place(self, index: int) -> int | None:
        entry = 4 + 2 * index
        if entry + 2 > self._size:
            return None
        (offset,) = struct.unpack_from("<H", self._data, self._entries + entry)
        return self._at + offset if offset else None

    def scalar(self, index: int, kind: str, default: int = 0) -> int:
        place = self._place(index)
        return default if place is None else int(struct.unpack_from(kind, self._data, place)[0])

    def _reference(self, index: int) -> int | None:
        place = self._place(index)
        return None if place is None else place + struct.unpack_from("<I", self._data, place)[0]

    def span(self, index: int, width: int) -> tuple[int, int]:
        """Start and length of a vector of numbers or of a text."""
        start = self._reference(index)
        if start is None:
            return 0, 0
        (length,) = struct.unpack_from("<I", self._data, start)
        if start + 4 + length * width > len(self._data):
            raise ValueError("a vector goes beyond the end")
        return start + 4, length

    def vector(self, index: int, kind: str) -> Array:
        start, length = self.span(index, np.dtype(kind).itemsize)
        return np.frombuffer(self._data, kind, length, start)

    def text(self, index: int) -> str:
        start, length = self.span(index, 1)
        if length > LONGEST_NAME:
            raise ValueError("a tensor's name is far too long")
        return self._data[start : start + length].decode()

    def table(self, index: int) -> _Table | None:
        place = self._reference(index)
        return None if place is None else _Table(self._data, place)

    def tables(self, index: int) -> list[_Table]:
        start, length = self.span(index, 4)
        if length > _MOST_TENSORS:
            raise ValueError("it has impossibly many parts")
        places = [start + 4 * i for i in range(length)]
        return [_Table(self._data, place + struct.unpack_from("<I", self._data, place)[0]) for place in places]


def recognises(source: Source) -> bool:
    return source.head(8)[4:] == b"TFL3"


def read(source: Source) -> Checkpoint:
    data = source.read(0, source.size)
    model = _Table(data, struct.unpack_from("<I", data, 0)[0])
    if model.scalar(_MODEL_VERSION, "<I") != 3:
        raise ValueError("it is not of version 3 of the format")
    buffers = model.tables(_MODEL_BUFFERS)
    codes = [_code(table) for table in model.tables(_MODEL_CODES)]
    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    operators = []
    taken: set[str] = set()
    for number, graph in enumerate(model.tables(_MODEL_SUBGRAPHS)):
        names = []
        for table in graph.tables(_GRAPH_TENSORS):
            name = f"subgraph{number}/" * (number > 0) + table.text(_TENSOR_NAME)
            if name in taken:
                name += f"#{len(taken)}"
            taken.add(name)
            names.append(name)
            if len(taken) > _MOST_TENSORS:
                raise ValueError("it has impossibly many tensors")
            start, count = _bytes(buffers[table.scalar(_TENSOR_BUFFER, "<I")])
            if not count:  # an activation, not a constant
                continue
            kind = table.scalar(_TENSOR_TYPE, "<b")
            if kind not in _STORED or table.table(_TENSOR_SPARSITY) is not None:
                left_out.append(name)
                continue
            shape = tuple(table.vector(_TENSOR_SHAPE, "<i4").tolist())
            tensor = plain(source, shape, _STORED[kind], start, count)
            quantisation = table.table(_TENSOR_QUANTISATION)
            if quantisation is not None and kind in _QUANTISED and quantisation.span(_SCALE, 4)[1]:
                tensor = _dequantised(tensor, quantisation)
            tensors[name] = tensor
        for table in graph.tables(_GRAPH_OPERATORS):
            ends = {
                end: [names[i] for i in table.vector(field, "<i4").tolist() if i >= 0]
                for end, field in (("inputs", _OPERATOR_INPUTS), ("outputs", _OPERATOR_OUTPUTS))
            }
            operators.append({"op": codes[table.scalar(_OPERATOR_CODE, "<I")], **ends})
    return Checkpoint(source.path, NAME, tensors, metadata={"operators": operators, "left_out": left_out})


def _code(table: _Table) -> int:
    """A BuiltinOperator; old files have it in a field of one byte."""
    return max(table.scalar(_CODE_BYTE, "<b"), table.scalar(_CODE, "<i"))


def _bytes(buffer: _Table) -> tuple[int, int]:
    """Where the data of a buffer lie; in models above 2 GB behind the tables."""
    if buffer.scalar(_BUFFER_OFFSET, "<Q") > 1:
        return buffer.scalar(_BUFFER_OFFSET, "<Q"), buffer.scalar(_BUFFER_SIZE, "<Q")
    return buffer.span(_BUFFER_DATA, 1)


def _dequantised(tensor: Tensor, quantisation: _Table) -> Tensor:
    """``(integer - zero point) * scale``, per tensor or along one axis; float32."""
    scale = quantisation.vector(_SCALE, "<f4")
    zero = quantisation.vector(_ZERO_POINT, "<i8")
    axis = quantisation.scalar(_AXIS, "<i")
    along = [1] * len(tensor.shape)
    if len(scale) > 1:
        if not 0 <= axis < len(along) or tensor.shape[axis] != len(scale):
            raise ValueError("the scales of a tensor do not fit its shape")
        along[axis] = len(scale)
    if len(zero) not in (0, 1, len(scale)):
        raise ValueError("the zero points of a tensor do not fit its scales")
    return Tensor(tensor.shape, np.dtype(np.float32), tensor.path, _dequantiser(tensor, scale, zero, along))


def _dequantiser(tensor: Tensor, scale: Array, zero: Array, along: list[int]) -> Callable[[], Array]:
    def load() -> Array:
        # In double precision: int32 minus its zero point does not fit float32, and the product is rounded once.
        values = tensor.load().reshape(tensor.shape).astype(np.float64)
        offsets = zero.reshape(along) if len(zero) == len(scale) else zero.sum()
        return (values - offsets) * scale.astype(np.float64).reshape(along)

    return load
