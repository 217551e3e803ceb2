"""pack, unpack, white_balance."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import reference
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN, channel_tile, color_tile

BLACK, WHITE, GAINS = (500.0, 510.0, 520.0, 530.0), (15000.0, 15100.0, 15200.0, 15300.0), (2.0, 1.0, 1.5)


def mosaic(height: int, width: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 1 << 16, (height, width)).astype(dtype)


def balanced_by_hand(x: np.ndarray, cfa: str, black: tuple[float, ...], white: tuple[float, ...]) -> np.ndarray:
    """The definition, pixel by pixel, in float64."""
    channel, color = channel_tile(cfa), color_tile(cfa)
    y, x_ = np.indices(x.shape) % len(channel)
    c = channel[y, x_]
    low, high = np.array(black)[c], np.array(white)[c]
    return (x.astype(float) - low) / (high - low) * np.array(GAINS)[color[y, x_]]


@pytest.mark.parametrize("cfa", BAYER_PATTERNS)
@pytest.mark.parametrize("shape", [(2, 2), (6, 10), (36, 1030), (0, 4)])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_pack_follows_its_definition(cfa: str, shape: tuple[int, int], dtype: str, isa: str) -> None:
    x = mosaic(*shape, dtype)
    planes = ops.pack(x, cfa, BLACK, WHITE, GAINS)
    expected = balanced_by_hand(x, cfa, BLACK, WHITE)
    tile = channel_tile(cfa)
    for channel in range(4):
        row, column = np.argwhere(tile == channel)[0]
        np.testing.assert_allclose(planes[channel], expected[row::2, column::2], rtol=3e-7, atol=1e-6)
    assert planes.dtype == np.float32
    np.testing.assert_array_equal(planes, reference.pack(torch.tensor(x), cfa, BLACK, WHITE, GAINS, "float32"))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_precision_rounds_to_nearest(dtype: str, isa: str) -> None:
    # All 16-bit values around zero, the subnormals, and past the largest half.
    x = torch.arange(1 << 16, dtype=torch.float32).reshape(128, 512)
    for scale in (1e-9, 1e-4, 1.0, 4.0):
        packed = ops.pack(x, "RGGB", 1000.0, 1000.0 + 1 / scale, dtype=dtype)
        wide = ops.pack(x, "RGGB", 1000.0, 1000.0 + 1 / scale)
        assert packed.dtype == getattr(torch, dtype)
        assert torch.equal(packed, wide.to(packed.dtype))
        again = ops.unpack(packed, "RGGB", 0.0, 1.0, dtype="float32")
        assert torch.equal(again, ops.unpack(packed.float(), "RGGB", 0.0, 1.0, dtype="float32"))


def test_special_values_in_half_precision(isa: str) -> None:
    x = torch.tensor([[np.inf, -np.inf], [np.nan, -0.0]])
    for dtype in ("float16", "bfloat16"):
        packed = ops.pack(x, "RGGB", 0.0, 1.0, dtype=dtype).flatten()
        assert packed[:2].tolist() == [np.inf, -np.inf]
        assert packed[2].isnan()
        assert packed[3] == 0
        back = ops.unpack(packed.reshape(4, 1, 1), "RGGB", 0.0, 1.0, dtype="float32").flatten()
        assert back[0] == np.inf
        assert back[2].isnan()


@given(
    x=hnp.arrays(np.uint16, st.tuples(st.integers(0, 20), st.integers(0, 20)).map(lambda s: (2 * s[0], 2 * s[1]))),
    cfa=st.sampled_from(BAYER_PATTERNS),
    black=st.floats(0, 4000),
    span=st.floats(1, 70000),
    gain=st.floats(0.2, 5),
)
def test_unpack_undoes_pack_exactly(x: np.ndarray, cfa: str, black: float, span: float, gain: float) -> None:
    levels = (black, black + span, (gain, 1.0, 1 / gain))
    np.testing.assert_array_equal(ops.unpack(ops.pack(x, cfa, *levels), cfa, *levels), x)


def test_unpack_rounds_and_clips(isa: str) -> None:
    planes = np.array([-1.0, 0.4999, 70000.0, np.nan], np.float32).reshape(4, 1, 1)
    assert ops.unpack(planes, "RGGB", 0.0, 1.0).tolist() == [[0, 0], [65535, 0]]
    assert ops.unpack(planes + 1, "RGGB", 0.0, 1.0).tolist() == [[0, 1], [65535, 0]]
    np.testing.assert_array_equal(ops.unpack(planes, "RGGB", 0.0, 1.0, dtype="float32"), planes.reshape(2, 2))


@pytest.mark.parametrize("cfa", [*BAYER_PATTERNS, XTRANS_PATTERN])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (12, 301), (0, 3), (64, 97)])
@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_white_balance_follows_its_definition(cfa: str, shape: tuple[int, int], dtype: str, isa: str) -> None:
    x = mosaic(*shape, dtype)
    count = 4 if len(cfa) == 4 else 3
    levels = (BLACK[:count], WHITE[:count])
    got = ops.white_balance(x, cfa, *levels, GAINS)
    expected = balanced_by_hand(x, cfa, *levels)
    np.testing.assert_allclose(got, expected, rtol=3e-7, atol=1e-6)
    clipped = ops.white_balance(x, cfa, *levels, GAINS, clip=0.8)
    np.testing.assert_array_equal(clipped, np.minimum(got, np.float32(0.8)))
    np.testing.assert_array_equal(got, reference.white_balance(torch.tensor(x), cfa, *levels, GAINS, np.inf))


def test_not_a_number_survives_clipping() -> None:
    x = np.array([[np.nan, 2.0], [-1.0, np.inf]], np.float32)
    got = ops.white_balance(x, "RGGB", 0.0, 1.0, (1.0, 1.0, 1.0), clip=1.0)
    np.testing.assert_array_equal(got, [[np.nan, 1.0], [-1.0, 1.0]])


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: ops.pack(x[:5], "RGGB", 0, 1), UsageError, "multiples of 2"),
        (lambda x: ops.pack(x[:5], XTRANS_PATTERN, 0, 1), UsageError, "multiples of 6"),
        (lambda x: ops.pack(x, "RGB" * 6 + "G" * 18, 0, 1), UsageError, "not the X-Trans tile"),
        (lambda x: ops.pack(x, "RGBG", 0, 1), UsageError, "CFA pattern"),
        (lambda x: ops.pack(x, "RGGB", (0, 0), 1), UsageError, "black must be 4 finite numbers"),
        (lambda x: ops.pack(x, "RGGB", 1, 1), UsageError, "white level 1 must be above black level 1"),
        (lambda x: ops.pack(x, "RGGB", 0, np.nan), UsageError, "white must be 4 finite numbers"),
        (lambda x: ops.pack(x, "RGGB", 0, 1, (1, 0, 1)), UsageError, "gains must be positive"),
        (lambda x: ops.pack(x, "RGGB", 0, 1, dtype="int8"), TypeError, "not int8"),
        (lambda x: ops.pack(x, "RGGB", 0, 1, dtype="bfloat16"), TypeError, "NumPy has no bfloat16"),
        (lambda x: ops.pack(x.astype(np.uint8), "RGGB", 0, 1), TypeError, "mosaic must be uint16"),
        (lambda x: ops.pack(x.tolist(), "RGGB", 0, 1), TypeError, "NumPy array or a torch tensor, not list"),
        (lambda x: ops.pack(x, "RGGB", 0, 1, out=np.empty((4, 3, 2), np.float32)), UsageError, "out must have shape"),
        (lambda x: ops.pack(x, "RGGB", 0, 1, out=np.empty((4, 3, 3))), TypeError, "out must be float32, not float64"),
        (lambda x: ops.pack(x, "RGGB", 0, 1, out=torch.empty(4, 3, 3)), TypeError, "out must be a NumPy array"),
        (lambda x: ops.unpack(np.zeros((3, 2, 2), np.float32), "RGGB", 0, 1), UsageError, r"\[4, h, w\]"),
        (lambda x: ops.white_balance(x[0], "RGGB", 0, 1, (1, 1, 1)), UsageError, r"\[H, W\]"),
        (lambda x: ops.white_balance(x, "RGGB", 0, 1, (1, 1)), UsageError, "gains must be 3"),
        (lambda x: ops.white_balance(x, "RGGB", 0, 1, (1, 1, 1), clip=np.nan), UsageError, "clip"),
    ],
)
def test_wrong_calls_are_refused(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call(np.zeros((6, 6), np.uint16))
