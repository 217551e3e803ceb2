"""develop and render, against the chain of ops that they fuse."""

import numpy as np
import pytest
import torch

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import reference
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN

GAINS = (2.0, 1.0, 1.5)
MATRIX = [[1.6, -0.4, -0.2], [-0.2, 1.5, -0.3], [0.1, -0.6, 1.5]]
GRID = np.linspace(0, 1, 4096)
SRGB = np.where(GRID <= 0.0031308, 12.92 * GRID, 1.055 * GRID ** (1 / 2.4) - 0.055).astype(np.float32)
CASES = [(cfa, method) for cfa in BAYER_PATTERNS for method in ("bilinear", "malvar")] + [(XTRANS_PATTERN, "bilinear")]


def by_hand(x: np.ndarray, cfa: str, method: str, clip: float | None, curve: np.ndarray | None, dtype: str):
    """The definition in float64, before rounding to the integer range."""
    balanced = ops.white_balance(x, cfa, 500, 15000, GAINS, clip)
    linear = np.einsum("oc,chw->hwo", np.array(MATRIX), ops.demosaic(balanced, cfa, method).astype(float))
    if dtype == "float32":
        return linear
    value = np.clip(linear, 0, 1)
    if curve is not None:
        value = np.interp(value, np.linspace(0, 1, len(curve)), curve)
    return value * np.iinfo(dtype).max


@pytest.mark.parametrize(("cfa", "method"), CASES)
@pytest.mark.parametrize("source", ["uint16", "float32"])
def test_develop_is_the_chain_of_its_parts(cfa: str, method: str, source: str, isa: str) -> None:
    small = 2 if len(cfa) == 4 else 6
    rng = np.random.default_rng(3)
    for height, width in [(small, small), (small + 1, small + 3), (70, 1029)]:
        x = rng.integers(300, 16000, (height, width)).astype(source)
        for dtype, curve, tolerance in [
            ("uint8", SRGB, 1.0),
            ("uint8", None, 0.52),
            ("uint16", SRGB, 0.6),
            ("uint16", None, 0.55),
            ("float32", None, 1e-6),
        ]:
            for clip in (None, 1.0):
                got = ops.develop(x, cfa, 500, 15000, GAINS, clip, MATRIX, curve, method, dtype)
                assert got.shape == (height, width, 3)
                assert got.dtype == dtype
                expected = by_hand(x, cfa, method, clip, curve, dtype)
                np.testing.assert_allclose(got.astype(float), expected, atol=tolerance, rtol=1e-6)


def test_bytes_are_the_rounded_curve_nearly_everywhere() -> None:
    # "Within one code" is for values next to the middle between two codes, not a licence.
    x = np.linspace(0, 1, 3 * 100_000, dtype=np.float32).reshape(3, 100, 1000)
    got = ops.render(x, np.eye(3), SRGB)
    expected = np.interp(x.transpose(1, 2, 0), GRID, SRGB) * 255
    assert np.mean(got != np.floor(expected + 0.5)) < 0.02


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_a_curve_with_two_samples_and_one_with_many(dtype: str, isa: str) -> None:
    x = np.linspace(-0.5, 1.5, 3 * 700, dtype=np.float32).reshape(3, 7, 100)
    full = np.iinfo(dtype).max
    line = ops.render(x, np.eye(3), np.array([0.25, 0.75]), dtype)
    expected = (0.25 + 0.5 * np.clip(x, 0, 1)) * full
    np.testing.assert_allclose(line, expected.transpose(1, 2, 0), atol=0.6)
    many = ops.render(x, np.eye(3), np.linspace(1, 0, 100_001), dtype)
    np.testing.assert_allclose(many, (1 - np.clip(x, 0, 1)).transpose(1, 2, 0) * full, atol=0.6)


def test_float_output_is_neither_clipped_nor_encoded() -> None:
    x = np.array([[[-2.0]], [[0.5]], [[3.0]]], np.float32)
    np.testing.assert_array_equal(ops.render(x, np.diag([1, 2, 3]), dtype="float32"), [[[-2.0, 1.0, 9.0]]])


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("curve", [None, SRGB])
def test_values_that_are_no_numbers_are_black_or_white(dtype: str, curve: np.ndarray | None, isa: str) -> None:
    x = np.zeros((3, 1, 40), np.float32)
    x[:, 0, ::3], x[:, 0, 1::3] = np.nan, np.inf
    got = ops.render(x, np.eye(3) + 1e-9, curve, dtype)
    assert (got[0, ::3] == 0).all()
    assert (got[0, 1::3] == np.iinfo(dtype).max).all()


def test_torch_gives_the_same() -> None:
    x = np.random.default_rng(0).integers(300, 16000, (33, 41), dtype=np.uint16)
    for dtype, curve in [("uint8", SRGB), ("uint16", SRGB), ("float32", None)]:
        args = ("RGGB", 500, 15000, GAINS, 1.0, MATRIX, curve, "malvar", dtype)
        expected = ops.develop(x, *args)
        tensor = ops.develop(torch.tensor(x), *args)
        np.testing.assert_array_equal(tensor, expected)
        out = torch.empty_like(tensor)
        assert ops.develop(torch.tensor(x), *args, out=out) is out
        assert torch.equal(out, tensor)
        chain = reference.develop(
            torch.tensor(x), "RGGB", (500.0,) * 4, (15000.0,) * 4, GAINS, 1.0, tuple(np.ravel(MATRIX).tolist()),
            None if curve is None else torch.tensor(curve), "malvar", dtype,
        )  # fmt: skip
        np.testing.assert_allclose(chain.double(), expected.astype(float), atol=1 if curve is not None else 1e-6)


def test_strided_input_and_output() -> None:
    sensor = np.random.default_rng(0).integers(300, 16000, (50, 64), dtype=np.uint16)
    sensor.setflags(write=False)
    area = sensor[5:38, 7:60]
    args = ("BGGR", 500, 15000, GAINS, None, MATRIX)
    expected = ops.develop(area.copy(), *args)
    frame = np.zeros((40, 60, 3), np.uint8)
    out = frame[2:35, 3:56]
    assert ops.develop(area, *args, out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert frame.sum() == expected.sum(dtype=int)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: ops.develop(x, "RGGB", 0, 1, GAINS, None, np.eye(2)), UsageError, "matrix must be 3x3"),
        (lambda x: ops.develop(x, "RGGB", 0, 1, GAINS, None, np.eye(3), [1.0]), UsageError, "N at least 2"),
        (lambda x: ops.develop(x, "RGGB", 0, 1, GAINS, None, np.eye(3), dtype="int32"), TypeError, "not int32"),
        (lambda x: ops.develop(x, "RGGB", 0, 1, GAINS, None, np.eye(3), SRGB, dtype="float32"), UsageError, "linear"),
        (lambda x: ops.develop(x.astype(float), "RGGB", 0, 1, GAINS, None, np.eye(3)), TypeError, "not float64"),
        (
            lambda x: ops.develop(x, "RGGB", 0, 1, GAINS, 1, np.eye(3), out=np.empty((3, 8, 8), np.uint8)),
            UsageError,
            "out must have shape",
        ),
        (
            lambda x: ops.develop(
                x, "RGGB", 0, 1, GAINS, 1, np.eye(3), out=np.empty((8, 3, 8), np.uint8).swapaxes(1, 2)
            ),
            ValueError,
            "contiguous along its last",
        ),
        (lambda x: ops.render(x, np.eye(3)), TypeError, "rgb must be float32"),
        (lambda x: ops.render(np.zeros((2, 4, 4), np.float32), np.eye(3)), UsageError, r"\[3, H, W\]"),
    ],
)
def test_wrong_calls_are_refused(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call(np.zeros((8, 8), np.uint16))
