"""CRC-32C against RFC 3720 and against its definition, bit by bit."""

import checkpoint_writers
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rawzoo.zoo.checkpoints.crc32c import crc32c


@pytest.mark.parametrize(
    ("data", "crc"),  # RFC 3720, B.4
    [
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ],
)
def test_published_values(data, crc):
    assert crc32c(data) == crc


@given(st.integers(0, 5000), st.integers(0, 100))
def test_definition(length, seed):
    data = np.random.default_rng(seed).bytes(length)
    assert crc32c(data) == checkpoint_writers.crc32c(data)
