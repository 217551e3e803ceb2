"""What TensorFlow's files share: dtypes and shapes as its protocol buffers number them."""

from __future__ import annotations

from rawzoo.zoo.checkpoints.checkpoint import BFLOAT16
from rawzoo.zoo.checkpoints.protobuf import Span, fields, inside, number

#: tensorflow.DataType -> stored dtype, little-endian (types.proto).
DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "|u1",
    5: "<i2",
    6: "|i1",
    8: "<c8",
    9: "<i8",
    10: "|b1",
    14: BFLOAT16,
    17: "<u2",
    18: "<c16",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}


def shape(data: bytes, span: Span) -> tuple[int, ...]:
    """A TensorShapeProto: field 2, once a dimension, with the size in field 1."""
    sizes = []
    for field, dimension in fields(data, span):
        if field == 2:
            size = 0
            for inner, value in fields(data, inside(dimension)):
                if inner == 1:
                    size = number(value)
            sizes.append(size)
        elif field == 3 and dimension:
            raise ValueError("a tensor has no shape")
    return tuple(sizes)
