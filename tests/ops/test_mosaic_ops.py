"""Packing X-Trans, and mending, measuring and shrinking mosaics."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import reference
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN, channel_tile, color_tile, period, shift

XTRANS_PHASES = sorted({shift(XTRANS_PATTERN, y, x) for y in range(6) for x in range(6)})
patterns = st.sampled_from(BAYER_PATTERNS) | st.sampled_from(XTRANS_PHASES)


def channels_at(cfa: str, height: int, width: int) -> np.ndarray:
    n = period(cfa)
    return channel_tile(cfa)[np.arange(height)[:, None] % n, np.arange(width)[None] % n]


def random_mosaic(seed: int, height: int, width: int, dtype: str) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if dtype == "uint16":
        return rng.integers(0, 1 << 16, (height, width), dtype=np.uint16)
    return rng.normal(0.3, 0.5, (height, width)).astype(np.float32)


dtypes = st.sampled_from(("uint16", "float32"))


# Packing ------------------------------------------------------------------------------------------------------------


@given(rows=st.integers(1, 5), columns=st.integers(1, 170), cfa=st.sampled_from(XTRANS_PHASES), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_xtrans_packs_and_comes_back(rows: int, columns: int, cfa: str, seed: int) -> None:
    x = random_mosaic(seed, 6 * rows, 6 * columns, "uint16")
    levels = ((100.0, 200.0, 300.0), (60000.0, 61000.0, 65535.0), (2.0, 1.0, 1.6))
    planes = ops.pack(x, cfa, *levels)
    assert planes.shape == (36, rows, columns)
    np.testing.assert_array_equal(planes, reference.pack(torch.tensor(x), cfa, *levels, "float32"))
    np.testing.assert_array_equal(ops.unpack(planes, cfa, *levels), x)
    half = ops.pack(x, cfa, *levels, dtype="float16")
    np.testing.assert_allclose(half, planes, rtol=1e-3, atol=1e-3)
    # Each plane is one cell of the tile, whatever the phase.
    balanced = ops.white_balance(x, cfa, *levels)
    for i, color in enumerate(color_tile(XTRANS_PATTERN).ravel()):
        (y, column) = next((y, c) for y in range(6) for c in range(6) if balanced[y, c] == planes[i, 0, 0])
        assert color_tile(cfa)[y, column] == color
        np.testing.assert_array_equal(planes[i], balanced[y::6, column::6])


@given(cfa=patterns, dtype=dtypes, seed=st.integers(0, 99), per_channel=st.booleans())
@settings(max_examples=30, deadline=None)
def test_fused_packing_is_packing_then_anscombe(cfa: str, dtype: str, seed: int, per_channel: bool) -> None:
    n, count = period(cfa), len(set(channel_tile(cfa).ravel().tolist()))
    x = random_mosaic(seed, 3 * n, 90 * n, dtype)
    x = np.maximum(x, 8000) if dtype == "uint16" else x  # what is far below black does not come back
    levels = (0.01, 1.1, (1, 1, 2))
    if dtype == "uint16":
        levels = ([10.0 + i for i in range(count)], 60000.0, (1.5, 1.0, 2.0))
    rng = np.random.default_rng(seed)
    noise = {k: tuple(rng.uniform(0.01, 0.1, count)) for k in ("gain", "sigma", "offset")}
    if not per_channel:
        noise = {k: v[0] for k, v in noise.items()}
    fused = ops.pack_anscombe(x, cfa, *levels, **noise)
    planes = ops.pack(x, cfa, *levels)
    channel_of_plane = channel_tile(XTRANS_PATTERN).ravel() if n == 6 else np.arange(4)
    by_plane = {k: [v[c] for c in channel_of_plane] if per_channel else v for k, v in noise.items()}
    # But for the roundings that one multiplication in place of two saves.
    np.testing.assert_allclose(fused**2, ops.anscombe(planes, **by_plane) ** 2, rtol=1e-6, atol=1e-4)
    for method in ("algebraic", "asymptotic", "exact"):
        back = ops.unpack_anscombe(fused, cfa, *levels, **noise, method=method, dtype="float32")
        unfused = ops.unpack(ops.inverse_anscombe(fused, **by_plane, method=method), cfa, *levels, dtype="float32")
        np.testing.assert_array_equal(back, unfused)
    if dtype == "uint16":
        np.testing.assert_array_equal(ops.unpack_anscombe(fused, cfa, *levels, **noise), x)
    arguments = [noise[k] if per_channel else (noise[k],) * count for k in ("gain", "sigma", "offset")]
    black = levels[0] if dtype == "uint16" else (0.01,) * count
    plain = reference.pack_anscombe(torch.tensor(x), cfa, black, (levels[1],) * count, levels[2], *arguments, "float32")
    np.testing.assert_allclose(fused**2, plain.numpy() ** 2, rtol=1e-5, atol=1e-4)


# Hot pixels ---------------------------------------------------------------------------------------------------------


@given(cfa=patterns, height=st.integers(2, 30), width=st.integers(2, 90), dtype=dtypes, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_hot_pixels_equals_the_reference(cfa: str, height: int, width: int, dtype: str, seed: int) -> None:
    height, width = max(height, period(cfa)), max(width, period(cfa))
    x = random_mosaic(seed, height, width, dtype)
    scale = 65535.0 if dtype == "uint16" else 1.0
    args = (0.001 * scale, 0.02 * scale, 0.1 * scale, 1.5)
    got = ops.hot_pixels(x, cfa, *args)
    expected = reference.hot_pixels(torch.tensor(x), cfa, *args, dtype).numpy()
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got != x, expected != x)
    np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=1e-5, atol=1)


@pytest.mark.parametrize("cfa", ["GRBG", XTRANS_PATTERN])
def test_hot_and_dead_pixels_are_found_and_others_left(cfa: str) -> None:
    rng = np.random.default_rng(0)
    gain, sigma, black = 2.0, 5.0, 512.0
    scene = np.array([3000.0, 5000.0, 5200.0, 2500.0])[channels_at(cfa, 200, 300)] * np.linspace(0.5, 1, 300)
    x = np.rint(rng.poisson(scene / gain) * gain + rng.normal(black, sigma, scene.shape)).astype(np.uint16)
    assert (ops.hot_pixels(x, cfa, gain, sigma, black) == x).all()
    defects = np.zeros(x.shape, bool)
    defects[3::12, 5::12] = True
    defects[[0, 0, 199, 199, 100, 0], [0, 299, 0, 299, 0, 150]] = True
    broken = np.where(defects, np.where(rng.random(x.shape) < 0.5, 16000, 0), x).astype(np.uint16)
    mended = ops.hot_pixels(broken, cfa, gain, sigma, black)
    np.testing.assert_array_equal(mended != broken, defects)
    # In the middle of its neighbours, that is within the noise of the scene.
    error = (mended - (scene + black))[defects] / np.sqrt(gain * scene + sigma**2)[defects]
    assert abs(error).max() < 4
    torch_mended = ops.hot_pixels(torch.tensor(broken), cfa, gain, sigma, black)
    np.testing.assert_array_equal(torch_mended, mended)


# Statistics ---------------------------------------------------------------------------------------------------------


@given(
    cfa=patterns,
    height=st.integers(1, 40),
    width=st.integers(1, 120),
    grid=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    dtype=dtypes,
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_bin_stats_are_the_means(cfa: str, height: int, width: int, grid: tuple, dtype: str, seed: int) -> None:
    grid = min(grid[0], height), min(grid[1], width)
    x = random_mosaic(seed, height, width, dtype)
    count = len(set(channel_tile(cfa).ravel().tolist()))
    black = [(100.0 if dtype == "uint16" else 0.01) * (i + 1) for i in range(count)]
    white = [60000.0 if dtype == "uint16" else 1.0] * count
    got = ops.bin_stats(x, cfa, black, white, grid, 0.1, 0.8)
    assert got.shape == (2, count, *grid)
    plain = reference.bin_stats(torch.tensor(x), cfa, black, white, *grid, 0.1, 0.8)
    np.testing.assert_allclose(got, plain, rtol=1e-5)
    at = channels_at(cfa, height, width)
    values = (x.astype(np.float32) - np.array(black, np.float32)[at]) * (
        np.float32(1) / (np.array(white) - np.array(black))
    ).astype(np.float32)[at]
    i, j = grid[0] - 1, 0
    rows, columns = slice(i * height // grid[0], height), slice(0, width // grid[1])
    for c in range(count):
        chosen = values[rows, columns][at[rows, columns] == c]
        chosen = chosen[(chosen >= np.float32(0.1)) & (chosen <= np.float32(0.8))]
        assert got[1, c, i, j] == len(chosen)
        assert got[0, c, i, j] == pytest.approx(chosen.mean() if len(chosen) else 0, rel=1e-5)


@pytest.mark.parametrize("to_kind", [np.asarray, torch.from_numpy])
def test_bin_stats_into_gaps(to_kind: Callable) -> None:
    x = np.random.default_rng(0).integers(0, 1000, (40, 50), np.uint16)
    expected = ops.bin_stats(x, "RGGB", 0, 1000, (3, 4))
    room = np.full((4, 6, 5, 9), -1, np.float32)
    view = (slice(None, None, 2), slice(1, 5), slice(1, 4), slice(2, 6))
    ops.bin_stats(to_kind(x), "RGGB", 0, 1000, (3, 4), out=to_kind(room)[view])
    np.testing.assert_array_equal(room[view], expected)
    room[view] = -1
    assert (room == -1).all()


def test_bin_stats_leave_out_what_is_not_a_number() -> None:
    x = np.full((4, 4), 0.5, np.float32)
    x[0, 0], x[1, 1] = np.nan, 2.0
    means, counts = ops.bin_stats(x, "RGGB", 0, 1, (1, 1))
    assert means.ravel().tolist() == [0.5] * 4
    assert counts.ravel().tolist() == [3, 4, 4, 3]


# Shrinking ----------------------------------------------------------------------------------------------------------


@given(
    cfa=patterns,
    height=st.integers(2, 40),
    width=st.integers(2, 70),
    factor=st.integers(1, 9),
    dtype=dtypes,
    seed=st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_downscale_equals_the_reference(cfa: str, height: int, width: int, factor: int, dtype: str, seed: int) -> None:
    height, width = max(height, period(cfa)), max(width, period(cfa))
    x = random_mosaic(seed, height, width, dtype)
    got = ops.downscale_mosaic(x, cfa, factor)
    assert got.shape == (height // factor, width // factor)
    assert got.dtype == x.dtype
    expected = reference.downscale_mosaic(torch.tensor(x), cfa, factor, dtype).numpy()
    tolerance = 1 if dtype == "uint16" else 1e-5
    np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=1e-5, atol=tolerance)


@given(cfa=patterns, factor=st.integers(1, 9), offset=st.tuples(*[st.integers(-99, 99)] * 4))
@settings(max_examples=40, deadline=None)
def test_a_ramp_stays_the_same_ramp(cfa: str, factor: int, offset: tuple) -> None:
    size = 14 * factor + 40
    y, x = np.mgrid[:size, :size].astype(float)

    def scene(y: np.ndarray, x: np.ndarray) -> np.ndarray:
        """A ramp in each channel, with a level of its own."""
        return 3 * y - 2 * x + np.array(offset)[channels_at(cfa, *y.shape)]

    small = ops.downscale_mosaic(scene(y, x).astype(np.float32), cfa, factor)
    i, j = np.mgrid[: small.shape[0], : small.shape[1]]
    expected = scene((i + 0.5) * factor - 0.5, (j + 0.5) * factor - 0.5)
    edge = -(-(factor + 6) // factor)
    inside = slice(edge, -edge)
    np.testing.assert_allclose(small[inside, inside], expected[inside, inside], atol=0.01)


@pytest.mark.parametrize("cfa", ["RGGB", XTRANS_PATTERN])
def test_downscaling_keeps_colours_apart_and_means(cfa: str) -> None:
    at = channels_at(cfa, 60, 72)
    colors = np.array([100, 2000, 3000, 40000], np.uint16)
    small = ops.downscale_mosaic(colors[at], cfa, 3)
    np.testing.assert_array_equal(small, colors[channels_at(cfa, 20, 24)])
    noise = np.random.default_rng(0).normal(0, 1, (600, 600)).astype(np.float32)
    assert ops.downscale_mosaic(noise, cfa, 6).std() < 0.5  # averaged, not picked
    broken = np.where(at == 0, np.nan, 1).astype(np.float32)
    np.testing.assert_array_equal(np.isnan(ops.downscale_mosaic(broken, cfa, 2)), channels_at(cfa, 30, 36) == 0)


# Calls --------------------------------------------------------------------------------------------------------------


def test_out_and_strides() -> None:
    x = random_mosaic(0, 24, 36, "uint16")
    wide = np.zeros((24, 72), np.uint16)
    wide[:, :36] = x
    for cfa in ("RGGB", XTRANS_PATTERN):
        for op, args in (
            (ops.hot_pixels, (cfa, 0, 100.0)),
            (ops.bin_stats, (cfa, 0, 65535, (2, 3))),
            (ops.downscale_mosaic, (cfa, 2)),
            (ops.pack_anscombe, (cfa, 0, 65535)),
        ):
            options = {"gain": 0.1, "sigma": 0.1} if op is ops.pack_anscombe else {}
            expected = op(x, *args, **options)
            out = np.empty_like(expected)
            assert op(wide[:, :36], *args, **options, out=out) is out
            np.testing.assert_array_equal(out, expected)
            np.testing.assert_array_equal(op(x.T.copy().T, *args, **options), expected)
            np.testing.assert_array_equal(op(torch.tensor(x), *args, **options), expected)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: ops.hot_pixels(x, "RGGB", -1.0), UsageError, "not negative"),
        (lambda x: ops.hot_pixels(x.astype(np.int32), "RGGB"), TypeError, "mosaic must be uint16"),
        (lambda x: ops.hot_pixels(x[:1], "RGGB"), UsageError, "at least 2"),
        (lambda x: ops.hot_pixels(x, "RGGB", out=x), ValueError, "out overlaps mosaic"),
        (lambda x: ops.bin_stats(x, "RGGB", 0, 1, (13, 1)), UsageError, "grid must be 1 to 12"),
        (lambda x: ops.bin_stats(x, "RGGB", 0, 1, (0, 1)), UsageError, "grid must be 1 to 12"),
        (lambda x: ops.bin_stats(x, "RGGB", 0, 1, (1, 1), 2.0, 1.0), UsageError, "low 2.0 must not be above high"),
        (lambda x: ops.downscale_mosaic(x, "RGGB", 0), UsageError, "factor must be 1 to 1024"),
        (lambda x: ops.downscale_mosaic(x, "RGGB", 1.5), TypeError, "integer"),
        (lambda x: ops.downscale_mosaic(x[:5], XTRANS_PATTERN, 2), UsageError, "at least 6"),
        (lambda x: ops.pack_anscombe(x, "RGGB", 0, 1, gain=0, sigma=1), UsageError, "gain must be positive"),
        (lambda x: ops.pack_anscombe(x, "RGGB", 0, 1, gain=(1, 2), sigma=1), UsageError, "gain must be 4 finite"),
        (lambda x: ops.hot_pixels(torch.rand(4, 4, requires_grad=True), "RGGB"), UsageError, "no derivative"),
        (lambda x: ops.bin_stats(torch.rand(32, 32, requires_grad=True), "RGGB", 0, 1), UsageError, "no derivative"),
    ],
)
def test_wrong_calls_are_refused(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call(np.zeros((12, 12), np.uint16))


# Noise by channel and by pixel --------------------------------------------------------------------------------------


def test_anscombe_with_noise_by_channel_and_by_pixel(isa: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 5, (3, 40, 53)).astype(np.float32)
    noise = [rng.uniform(0.01, 0.2, 3) for _ in range(3)]
    expected = np.stack([ops.anscombe(x[c], *(v[c] for v in noise)) for c in range(3)])
    np.testing.assert_array_equal(ops.anscombe(x, *noise), expected)
    np.testing.assert_array_equal(ops.anscombe(torch.tensor(x), *map(tuple, noise)), expected)
    back = np.stack([ops.inverse_anscombe(expected[c], *(v[c] for v in noise), "exact") for c in range(3)])
    np.testing.assert_array_equal(ops.inverse_anscombe(expected, *noise, method="exact"), back)

    maps = [np.broadcast_to(v[:, None, None], x.shape).astype(np.float32) for v in noise]
    by_pixel = ops.anscombe(x, *maps)
    np.testing.assert_allclose(by_pixel, expected, rtol=1e-5)
    np.testing.assert_allclose(ops.inverse_anscombe(by_pixel, *maps), x, rtol=1e-4, atol=1e-5)
    # One map, a number, and one value for each channel.
    mixed = ops.anscombe(x, maps[0], 0.1, tuple(noise[2]))
    np.testing.assert_allclose(mixed, ops.anscombe(x, noise[0], (0.1,) * 3, noise[2]), rtol=1e-5)
    np.testing.assert_array_equal(ops.anscombe(torch.tensor(x), torch.tensor(maps[0]), 0.1, tuple(noise[2])), mixed)


def test_anscombe_is_differentiable_by_the_noise() -> None:
    x = torch.rand(2, 3, 4)
    gain = torch.tensor([0.1, 0.2], requires_grad=True)
    sigma = torch.tensor(0.3, requires_grad=True)
    y = ops.anscombe(x, gain, sigma)
    got = torch.autograd.grad(y.sum(), (gain, sigma))
    v = x / gain[:, None, None] + 0.375 + (sigma / gain[:, None, None]) ** 2
    expected = torch.autograd.grad((2 * v.sqrt()).sum(), (gain, sigma))
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: ops.anscombe(x, (0.1, 0.2), 0.1), UsageError, "one for each channel"),
        (lambda x: ops.anscombe(x, (0.1, 0.2, 0.3), (0.1, 0.2)), UsageError, "different numbers of values"),
        (lambda x: ops.anscombe(x, (0.1, 0.0, 0.3), 0.1), UsageError, "gain must be positive"),
        (lambda x: ops.anscombe(x, np.ones((4, 5), np.float32), 0.1), UsageError, r"gain must have shape \[3, 4, 5\]"),
        (lambda x: ops.anscombe(x, "a", 0.1), UsageError, "finite numbers"),
    ],
)
def test_wrong_noise_is_refused(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call(np.ones((3, 4, 5), np.float32))
