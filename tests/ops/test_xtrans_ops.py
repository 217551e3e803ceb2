"""Edge-directed X-Trans demosaicing: against the reference, by its invariants, and its quality against LibRaw's."""

from pathlib import Path

import numpy as np
import peers
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import markesteijn, reference
from rawzoo.raw.cfa import XTRANS_PATTERN, color_tile, shift

METHODS = ("markesteijn-1", "markesteijn")
PHASES = sorted({shift(XTRANS_PATTERN, y, x) for y in range(6) for x in range(6)})
sizes = st.integers(6, 40)


def colors_at(cfa: str, height: int, width: int) -> np.ndarray:
    return color_tile(cfa)[np.arange(height)[:, None] % 6, np.arange(width)[None] % 6]


def mosaic_of(picture: np.ndarray, cfa: str) -> np.ndarray:
    """``[H, W, 3]`` through the colour filters."""
    return np.take_along_axis(picture, colors_at(cfa, *picture.shape[:2])[..., None], 2)[..., 0]


@pytest.mark.parametrize("method", METHODS)
@given(height=sizes, width=sizes, cfa=st.sampled_from(PHASES), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_equals_the_reference(method: str, height: int, width: int, cfa: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(0.2, 0.5, (height, width)).astype(np.float32)
    got = ops.demosaic(x, cfa, method)
    np.testing.assert_allclose(got, reference.demosaic(torch.tensor(x), cfa, method), atol=2e-6)
    rooted = ops.demosaic(x, cfa, method, encode="sqrt")
    np.testing.assert_allclose(rooted, reference.demosaic(torch.tensor(x), cfa, method, "sqrt"), atol=5e-6)


def test_each_instruction_set_equals_the_reference(isa: str) -> None:
    x = np.random.default_rng(3).integers(0, 1 << 16, (31, 1100), dtype=np.uint16)  # three blocks of columns
    for method in METHODS:
        got = ops.demosaic(x, PHASES[5], method, layout="interleaved")
        expected = reference.demosaic(torch.tensor(x), PHASES[5], method, layout="interleaved")
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=0.05)


@given(
    height=sizes,
    width=sizes,
    cfa=st.sampled_from(PHASES),
    method=st.sampled_from(METHODS),
    color=st.tuples(*[st.floats(-1e4, 1e4, width=32)] * 3),
)
@settings(max_examples=50, deadline=None)
def test_a_constant_colour_comes_back_exactly(height: int, width: int, cfa: str, method: str, color: tuple) -> None:
    x = np.array(color, np.float32)[colors_at(cfa, height, width)]
    expected = np.broadcast_to(np.array(color, np.float32)[:, None, None], (3, height, width))
    np.testing.assert_array_equal(ops.demosaic(x, cfa, method), expected)
    rooted = ops.demosaic(x, cfa, method, encode="sqrt")
    np.testing.assert_allclose(rooted, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("method", METHODS)
def test_keeps_the_samples_and_does_not_clip(method: str) -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(0, 3, (50, 60)).astype(np.float32)
    rgb = ops.demosaic(x, XTRANS_PATTERN, method)
    sites = np.take_along_axis(rgb, colors_at(XTRANS_PATTERN, 50, 60)[None], 0)[0]
    np.testing.assert_array_equal(sites, x)


@pytest.mark.parametrize("method", METHODS)
def test_a_shifted_scene_gives_a_shifted_picture(method: str) -> None:
    rng = np.random.default_rng(2)
    scene = rng.random((110, 110, 3)).astype(np.float32)
    reach = markesteijn.reach(method)
    inside = slice(reach + 6, 110 - reach - 6)
    expected = ops.demosaic(mosaic_of(scene, XTRANS_PATTERN), XTRANS_PATTERN, method)[:, inside, inside]
    for dy, dx in ((0, 1), (1, 0), (2, 5), (5, 4), (3, 3)):
        cfa = shift(XTRANS_PATTERN, dy, dx)
        got = ops.demosaic(mosaic_of(scene[dy:, dx:], cfa), cfa, method)
        rows, columns = slice(inside.start - dy, inside.stop - dy), slice(inside.start - dx, inside.stop - dx)
        np.testing.assert_array_equal(got[:, rows, columns], expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_finite_stays_local(method: str, value: float) -> None:
    x = np.random.default_rng(0).random((120, 130)).astype(np.float32)
    clean = ops.demosaic(x, XTRANS_PATTERN, method)
    x[60, 61] = value
    got = ops.demosaic(x, XTRANS_PATTERN, method)
    rows, columns = np.nonzero((got != clean).any(0))
    reach = markesteijn.reach(method)
    assert max(abs(rows - 60).max(), abs(columns - 61).max()) <= reach
    assert np.isfinite(got[:, 0]).all()


def test_the_fused_development_is_balance_demosaic_render() -> None:
    x = np.random.default_rng(5).integers(0, 1 << 14, (40, 46), dtype=np.uint16)
    levels = (500.0, 16000.0, (2.0, 1.0, 1.6))
    balanced = ops.white_balance(x, XTRANS_PATTERN, *levels, 1.0)
    matrix = np.array([[1.6, -0.4, -0.2], [-0.2, 1.5, -0.3], [0.1, -0.6, 1.5]])
    for method in METHODS:
        rgb = ops.demosaic(balanced, XTRANS_PATTERN, method, encode="sqrt")
        for dtype in ("uint8", "uint16", "float32"):
            got = ops.develop(x, XTRANS_PATTERN, *levels, 1.0, matrix, method=method, encode="sqrt", dtype=dtype)
            np.testing.assert_array_equal(got, ops.render(rgb, matrix, dtype=dtype))


def test_wrong_calls_are_refused() -> None:
    x = torch.rand(12, 12, requires_grad=True)
    with pytest.raises(UsageError, match="no derivative for method markesteijn"):
        ops.demosaic(x, XTRANS_PATTERN, "markesteijn")
    irregular = XTRANS_PATTERN[1:] + XTRANS_PATTERN[0]
    with pytest.raises(UsageError, match="it has bilinear"):
        ops.demosaic(x.detach(), irregular, "markesteijn")
    with pytest.raises(UsageError, match="does not exist for RGGB"):
        ops.demosaic(x.detach(), "RGGB", "markesteijn")
    assert ops.demosaic(x.detach(), irregular, "bilinear").shape == (3, 12, 12)


def test_is_better_than_libraw(shared: Path) -> None:
    """LibRaw's one and three passes (PPG and AHD stand for them there), on photographs through the X-Trans filters."""
    image = pytest.importorskip("PIL.Image")
    photos = sorted((shared / "data" / "photos" / "clic").glob("*"))[::12][:3]
    if not photos:
        pytest.skip("no shared photographs")
    gains = {}
    for photo in photos:
        code = np.asarray(image.open(photo).convert("RGB"))[:540, :540] / 255.0
        if min(code.shape[:2]) < 540:
            continue
        picture = np.where(code <= 0.04045, code / 12.92, ((code + 0.055) / 1.055) ** 2.4)
        mosaic = (np.rint(mosaic_of(picture, XTRANS_PATTERN) * 65535) / 65535).astype(np.float32)

        def error(rgb: np.ndarray, picture: np.ndarray = picture) -> float:
            difference = np.sqrt(np.clip(rgb, 0, 1)) - np.sqrt(picture)
            return -10 * np.log10(np.mean(difference[16:-16, 16:-16] ** 2))

        for method, algorithm in (("markesteijn-1", "PPG"), ("markesteijn", "AHD")):
            theirs = error(peers.libraw_demosaic(mosaic, algorithm, XTRANS_PATTERN))
            for encode in ("none", "sqrt"):
                ours = ops.demosaic(mosaic, XTRANS_PATTERN, method, encode=encode, layout="interleaved")
                gains.setdefault((method, encode), []).append(error(ours) - theirs)
    for (method, encode), gain in gains.items():
        assert np.mean(gain) > (1.5 if encode == "sqrt" else 0), (method, encode, gain)
