"""CRC-32C (Castagnoli, RFC 3720 appendix B.4) at NumPy's speed: many stretches of the data side by side."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

_Words = NDArray[np.uint32]

# A matrix over GF(2) is given by its 32 columns; this one changes nothing.
_UNIT = np.uint32(1) << np.arange(32, dtype=np.uint32)


@cache
def _tables() -> list[_Words]:
    """Four tables of 256: what the bytes of a word, first to last, become once the whole word has been read."""
    table: _Words = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = (table >> np.uint32(1)) ^ np.where(table & 1, np.uint32(0x82F63B78), np.uint32(0))
    last = [table]
    for _ in range(3):
        last.append(table[last[-1] & 0xFF] ^ (last[-1] >> 8))
    return last[::-1]


def _next_word(x: _Words) -> _Words:
    t = _tables()
    result: _Words = t[0][x & 0xFF] ^ t[1][(x >> 8) & 0xFF] ^ t[2][(x >> 16) & 0xFF] ^ t[3][x >> 24]
    return result


def _apply(matrix: _Words, x: _Words) -> _Words:
    """A matrix times each vector."""
    result = np.zeros_like(x)
    for i in range(32):
        result ^= np.where((x >> np.uint32(i)) & 1, matrix[i], np.uint32(0))
    return result


def _power(matrix: _Words, exponent: int) -> _Words:
    result = _UNIT
    while exponent:
        if exponent & 1:
            result = _apply(matrix, result)
        matrix = _apply(matrix, matrix)
        exponent >>= 1
    return result


def crc32c(data: bytes) -> int:
    """The checksum of ``data``."""
    if len(data) < 512:
        table = _tables()[3].tolist()
        remainder = 0xFFFFFFFF
        for byte in data:
            remainder = table[(remainder ^ byte) & 0xFF] ^ (remainder >> 8)
        return remainder ^ 0xFFFFFFFF
    # Zeros in front do not change a remainder that begins at 0, so they fill up to a power of two of equal lanes.
    # Beginning at all ones instead is the same as inverting the first four bytes.
    count = -(-len(data) // 4)
    lanes = 1 << (math.isqrt(count).bit_length() - 1)
    steps = -(-count // lanes)
    padded = np.zeros(lanes * steps * 4, np.uint8)
    padded[-len(data) :] = np.frombuffer(data, np.uint8)
    padded[-len(data) :][:4] ^= 0xFF
    remainders = np.zeros(lanes, np.uint32)
    for words in np.ascontiguousarray(padded.view("<u4").reshape(lanes, steps).T):
        remainders = _next_word(remainders ^ words)
    shift = _power(_next_word(_UNIT), steps)
    while len(remainders) > 1:
        remainders = _apply(shift, remainders[0::2]) ^ remainders[1::2]
        shift = _apply(shift, shift)
    return int(remainders[0]) ^ 0xFFFFFFFF
