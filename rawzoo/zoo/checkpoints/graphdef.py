"""Frozen TensorFlow graphs (``.pb``): the values of their Const nodes. The graph is never run.

``metadata["operators"]`` lists the other nodes in order, each with its operation, the nodes it takes and its own name.

Facts: ``graph.proto``, ``node_def.proto`` and ``tensor.proto`` of TensorFlow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from rawzoo.zoo.checkpoints.checkpoint import (
    LONGEST_NAME,
    Array,
    Checkpoint,
    Source,
    Tensor,
    decode,
    itemsize,
    loaded_dtype,
)
from rawzoo.zoo.checkpoints.protobuf import Span, data_of, fields, inside, number, varint
from rawzoo.zoo.checkpoints.tensor_proto import DTYPES, shape

NAME = "tensorflow-graph"

# Fields of TensorProto with the values of a dtype, where they are not in tensor_content.
_FLOATS, _DOUBLES, _INTS, _LONGS, _BOOLS, _HALVES, _UINTS, _ULONGS = 5, 6, 7, 10, 11, 13, 16, 17
_FIELD = {1: _FLOATS, 2: _DOUBLES, 9: _LONGS, 10: _BOOLS, 14: _HALVES, 19: _HALVES, 22: _UINTS, 23: _ULONGS}
_FIELD |= dict.fromkeys((3, 4, 5, 6, 17), _INTS)
# The values of these lie there at their full width; the rest are base-128 numbers.
_FIXED = {_FLOATS: "<f4", _DOUBLES: "<f8"}


@dataclass
class _Node:
    name: str = ""
    op: str = ""
    inputs: list[str] = field(default_factory=list)
    value: Span | None = None


def recognises(source: Source) -> bool:
    """Whether the file begins with a node that has a name and an operation."""
    head = source.head(65536)
    if head[:1] != b"\x0a":
        return False
    try:
        length, start = varint(head, 1)
        if start + length > source.size:
            return False
        seen = []
        for name, value in fields(head, (start, min(start + length, len(head)))):
            seen.append(name)
            if name in (1, 2) and not data_of(head, value).decode().isprintable():
                return False
            if {1, 2} <= set(seen):
                return True
    except (ValueError, IndexError):
        return False
    return False


def read(source: Source) -> Checkpoint:
    data = source.read(0, source.size)
    tensors: dict[str, Tensor] = {}
    left_out = []
    operators = []
    for name, value in fields(data):
        if name != 1:
            continue
        node = _node(data, inside(value))
        if len(node.name) > LONGEST_NAME:
            raise ValueError("a node's name is far too long")
        if node.op != "Const":
            operators.append({"op": node.op, "inputs": node.inputs, "outputs": [node.name]})
        elif node.value is not None:
            tensor = _tensor(source, data, node.value)
            if tensor is None:
                left_out.append(node.name)
            else:
                tensors[node.name] = tensor
    return Checkpoint(source.path, NAME, tensors, metadata={"operators": operators, "left_out": left_out})


def _node(data: bytes, span: Span) -> _Node:
    node = _Node()
    for name, value in fields(data, span):
        if name == 1:
            node.name = data_of(data, value).decode()
        elif name == 2:
            node.op = data_of(data, value).decode()
        elif name == 3:
            node.inputs.append(data_of(data, value).decode())
        elif name == 5:  # an entry of the map of attributes: key and value
            entry = dict(fields(data, inside(value)))
            if 1 in entry and 2 in entry and data_of(data, entry[1]) == b"value":
                node.value = next((inside(v) for n, v in fields(data, inside(entry[2])) if n == 8), None)
    return node


def _tensor(source: Source, data: bytes, span: Span) -> Tensor | None:
    """A TensorProto; None for texts and other types that are no numbers."""
    dtype = 0
    size: tuple[int, ...] = ()
    content: Span | None = None
    for name, value in fields(data, span):
        if name == 1:
            dtype = number(value)
        elif name == 2:
            size = shape(data, inside(value))
        elif name == 4:
            content = inside(value)
    stored = DTYPES.get(dtype)
    if stored is None or (content is None and dtype not in _FIELD):
        return None
    count = source.check_room(size, itemsize(stored))
    if content is not None and content[1] - content[0] != count:
        raise ValueError("a constant has too few or too many values")
    start, stop = content or span

    def load() -> Array:
        part = source.read(start, stop - start)
        return decode(part, stored) if content else _values(part, dtype, stored, math.prod(size))

    return Tensor(size, loaded_dtype(stored), source.path, load)


def _values(proto: bytes, dtype: int, stored: str, count: int) -> Array:
    """Values listed one by one; the last one counts for all that follow."""
    wanted = _FIELD[dtype]
    pieces: list[Array] = []
    for name, value in fields(proto):
        if name != wanted:
            continue
        if isinstance(value, int):
            raw = value.to_bytes(8, "little")
            pieces.append(np.frombuffer(raw[: 4 if wanted == _FLOATS else 8], _FIXED.get(wanted, "<u8")))
        elif wanted in _FIXED:
            pieces.append(np.frombuffer(proto[value[0] : value[1]], _FIXED[wanted]))
        else:
            at, numbers = value[0], []
            while at < value[1]:
                one, at = varint(proto, at)
                numbers.append(one)
            pieces.append(np.array(numbers, np.uint64))
    values = np.concatenate(pieces) if pieces else np.zeros(1, loaded_dtype(stored))
    if len(values) > max(count, 1):
        raise ValueError("a constant has too many values")
    if wanted == _HALVES:  # 16 bits each, also of bfloat16
        values = decode(values.astype("<u2").tobytes(), stored)
    elif wanted not in _FIXED and pieces:
        values = values.astype(np.int64).astype(loaded_dtype(stored))
    return np.concatenate([values, np.full(max(0, count - len(values)), values[-1])])[:count]
