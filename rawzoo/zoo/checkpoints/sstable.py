"""The sorted table of LevelDB, in which TensorFlow keeps the index of a checkpoint."""

from __future__ import annotations

import struct

from rawzoo.zoo.checkpoints.crc32c import crc32c
from rawzoo.zoo.checkpoints.protobuf import varint

#: The last bytes of a table.
MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48


def unmask(masked: int) -> int:
    """LevelDB stores checksums rotated and shifted, lest data that hold checksums of themselves trip it."""
    rotated = (masked - 0xA282EAD8) & 0xFFFF_FFFF
    return (rotated >> 17 | rotated << 15) & 0xFFFF_FFFF


def entries(data: bytes) -> dict[bytes, bytes]:
    """All keys and values.

    Raises:
        ValueError, IndexError, struct.error: the table is damaged.
    """
    if len(data) < _FOOTER or not data.endswith(MAGIC):
        raise ValueError("its index has no end mark")
    at = len(data) - _FOOTER
    _, at = varint(data, at)  # where the index of filters is
    _, at = varint(data, at)
    found: dict[bytes, bytes] = {}
    last = None
    total = 0
    for _, handle in _block(data, *_handle(data, at)):
        for key, value in _block(data, *_handle(handle, 0)):
            # In a sorted table no block is listed twice, and prefixes are not shared at no cost for ever.
            total += len(key)
            if (last is not None and key <= last) or total > 100 * len(data):
                raise ValueError("the keys of its index are out of order")
            last = key
            found[key] = value
    return found


def _handle(data: bytes, at: int) -> tuple[int, int]:
    offset, at = varint(data, at)
    size, at = varint(data, at)
    return offset, size


def _block(data: bytes, offset: int, size: int) -> list[tuple[bytes, bytes]]:
    end = offset + size
    if end + 5 > len(data):
        raise ValueError("its index points beyond its end")
    block, kind, masked = data[offset:end], data[end], struct.unpack_from("<I", data, end + 1)[0]
    if crc32c(data[offset : end + 1]) != unmask(masked):
        raise ValueError("the checksum of its index does not match")
    if kind != 0:
        raise ValueError("its index is compressed, which TensorFlow's never is")
    (restarts,) = struct.unpack_from("<I", block, size - 4)
    limit = size - 4 - 4 * restarts
    if limit < 0:
        raise ValueError("a block of its index is too short")
    result = []
    at, key, total = 0, b"", 0
    while at < limit:
        shared, at = varint(block, at)
        own, at = varint(block, at)
        length, at = varint(block, at)
        if shared > len(key) or at + own + length > limit:
            raise ValueError("a key of its index is damaged")
        key = key[:shared] + block[at : at + own]
        total += len(key)
        if total > 100 * len(data):
            raise ValueError("the keys of its index are impossibly long")
        result.append((key, block[at + own : at + own + length]))
        at += own + length
    return result
