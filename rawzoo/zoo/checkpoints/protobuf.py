"""The wire format of Protocol Buffers, as far as TensorFlow's files need it."""

from __future__ import annotations

import struct
from collections.abc import Iterator

Span = tuple[int, int]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """A base-128 number at a place; gives it and the place behind it."""
    value = 0
    for i in range(10):
        byte = data[at + i]
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at + i + 1
    raise ValueError("a number does not end")


def fields(data: bytes, span: Span | None = None) -> Iterator[tuple[int, int | Span]]:
    """Numbers and values of a message's fields, in order.

    Values are whole numbers (of fixed width or not, unsigned), or, for texts and messages, their start and end.
    """
    at, end = span or (0, len(data))
    while at < end:
        key, at = varint(data, at)
        number, wire = key >> 3, key & 7
        value: int | Span
        if wire == 0:
            value, at = varint(data, at)
        elif wire == 2:
            length, at = varint(data, at)
            value = at, at + length
            at += length
        elif wire in (1, 5):
            width = 8 if wire == 1 else 4
            (value,) = struct.unpack_from("<Q" if wire == 1 else "<I", data, at)
            at += width
        else:
            raise ValueError("a message has a field of unknown kind")
        if number == 0 or at > end:
            raise ValueError("a message does not end where it should")
        yield number, value


def number(value: int | Span) -> int:
    """A value that has to be a number, as signed 64-bit."""
    if not isinstance(value, int):
        raise ValueError("a message has a text in place of a number")
    return value - (1 << 64) if value >> 63 else value


def inside(value: int | Span) -> Span:
    """A value that has to be a text or message."""
    if isinstance(value, int):
        raise ValueError("a message has a number in place of a text")
    return value


def data_of(data: bytes, value: int | Span) -> bytes:
    """The bytes of a value that has to be a text."""
    start, end = inside(value)
    return data[start:end]
