"""demosaic, against the reference, against other people's implementations, and by its properties."""

import itertools
import warnings

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import reference
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN, color_tile, shift

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about its own dependencies
    import colour_demosaicing

METHODS = ops.demosaic_methods("RGGB")[1:]  # those that keep the size
CASES = [(cfa, method) for cfa in BAYER_PATTERNS for method in METHODS]
XTRANS_PHASES = [shift(XTRANS_PATTERN, y, x) for y, x in ((0, 0), (1, 4), (5, 3))]
#: How far each looks, where that is more than 3: the halo on its card.
RADIUS = {"menon": 8, "gbtf": 9, "rcd": 10}
CASES += [(cfa, "bilinear") for cfa in XTRANS_PHASES]
#: Reds and blues in rows of their own: windows of every radius up to 3.
CLUMPED = "RRRRRR" + "GGGGGG" * 2 + "BBBBBB" + "GGGGGG" * 2


def random_mosaic(height: int, width: int, dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 1 << 16, (height, width)).astype(dtype)


@pytest.mark.parametrize(("cfa", "method"), [*CASES, (CLUMPED, "bilinear")])
def test_equals_the_reference_bit_by_bit(cfa: str, method: str, isa: str) -> None:
    small = 2 if len(cfa) == 4 else 6
    # 1039 columns and 397 rows are several tiles.
    sizes = [(small, small), (small, small + 1), (small + 3, small), (17, 31), (397, 70), (40, 1039)]
    for size, dtype, encode in itertools.product(sizes, ("uint16", "float32"), ("none", "sqrt")):
        x = random_mosaic(*size, dtype)
        expected = reference.demosaic(torch.tensor(x), cfa, method, encode)
        np.testing.assert_array_equal(ops.demosaic(x, cfa, method, encode=encode), expected, err_msg=str(size))
        assert torch.equal(ops.demosaic(torch.tensor(x), cfa, method, encode=encode), expected)


@pytest.mark.parametrize("cfa", BAYER_PATTERNS)
def test_bilinear_agrees_with_opencv(cfa: str) -> None:
    x = random_mosaic(64, 50)
    theirs = cv2.demosaicing(x, getattr(cv2, f"COLOR_Bayer{cfa}2RGB")).transpose(2, 0, 1)
    inside = (slice(None), slice(1, -1), slice(1, -1))  # OpenCV copies its border from the pixels inside
    np.testing.assert_allclose(ops.demosaic(x, cfa)[inside], theirs[inside].astype(float), atol=0.5001)


@pytest.mark.parametrize("cfa", BAYER_PATTERNS)
@pytest.mark.parametrize("method", ["bilinear", "malvar", "menon"])
def test_agrees_with_colour_demosaicing(cfa: str, method: str) -> None:
    x = np.random.default_rng(0).uniform(0, 1, (40, 46))
    function = {
        "bilinear": colour_demosaicing.demosaicing_CFA_Bayer_bilinear,
        "malvar": colour_demosaicing.demosaicing_CFA_Bayer_Malvar2004,
        "menon": colour_demosaicing.demosaicing_CFA_Bayer_Menon2007,
    }[method]
    theirs = function(x, cfa).transpose(2, 0, 1)
    r = 8 if method == "menon" else 2
    inside = (slice(None), slice(r, -r), slice(r, -r))  # it repeats the edge sample, which mixes colours
    np.testing.assert_allclose(ops.demosaic(x, cfa, method)[inside], theirs[inside], atol=1e-12)
    np.testing.assert_allclose(ops.demosaic(x.astype(np.float32), cfa, method)[inside], theirs[inside], atol=1e-6)


@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    case=st.sampled_from([*CASES, (CLUMPED, "bilinear")]),
    color=st.tuples(*[st.floats(-4, 4, width=32)] * 3),
)
def test_a_constant_colour_comes_back_exactly(height, width, case, color) -> None:
    cfa, method = case
    if len(cfa) == 36:
        height, width = height + 4, width + 4
    tile = np.array(color, np.float32)[color_tile(cfa)]
    n = len(tile)
    x = np.tile(tile, (height // n + 1, width // n + 1))[:height, :width]
    for array in (x, torch.tensor(x)):
        rgb = np.asarray(ops.demosaic(array, cfa, method))
        np.testing.assert_array_equal(rgb, np.broadcast_to(np.array(color, np.float32)[:, None, None], rgb.shape))


@pytest.mark.parametrize(("cfa", "method"), CASES)
def test_known_samples_stay_and_nothing_is_clipped(cfa: str, method: str) -> None:
    x = np.random.default_rng(2).normal(0, 3, (24, 25)).astype(np.float32)
    rgb = ops.demosaic(x, cfa, method)
    n = 2 if len(cfa) == 4 else 6
    y, x_ = np.indices(x.shape)
    np.testing.assert_array_equal(np.take_along_axis(rgb, color_tile(cfa)[y % n, x_ % n][None], 0)[0], x)
    assert rgb.min() < 0
    assert rgb.max() > 1


@pytest.mark.parametrize(("cfa", "method"), CASES)
def test_crops_that_keep_the_phase_agree_away_from_their_edges(cfa: str, method: str) -> None:
    x = random_mosaic(60, 64)
    whole = ops.demosaic(x, cfa, method)
    part = ops.demosaic(x[7:51, 9:60], shift(cfa, 7, 9), method)
    r = RADIUS.get(method, 3)
    np.testing.assert_array_equal(part[:, r:-r, r:-r], whole[:, 7 + r : 51 - r, 9 + r : 60 - r])


@pytest.mark.parametrize(("cfa", "method"), CASES)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_bad_sample_stays_local(cfa: str, method: str, bad: float, isa: str) -> None:
    x = random_mosaic(30, 50, "float32")
    clean = ops.demosaic(x, cfa, method)
    x[11, 20] = bad
    rgb = ops.demosaic(x, cfa, method)
    far = np.ones(x.shape, bool)
    r = RADIUS.get(method, 3)
    far[11 - r : 12 + r, 20 - r : 21 + r] = False
    np.testing.assert_array_equal(rgb[:, far], clean[:, far])


def test_malvar_reproduces_linear_ramps() -> None:
    # Any plane a + b x + c y, the same in all colours, is exact inside: each kernel sums to one and is symmetric.
    y, x = np.indices((20, 22))
    ramp = (0.25 + 0.5 * x + 2.0 * y).astype(np.float32)
    for cfa in BAYER_PATTERNS:
        inside = ops.demosaic(ramp, cfa, "malvar")[:, 2:-2, 2:-2]
        np.testing.assert_array_equal(inside, np.broadcast_to(ramp[2:-2, 2:-2], inside.shape))


def test_strided_and_read_only_input() -> None:
    sensor = random_mosaic(50, 60)
    sensor.setflags(write=False)
    area = sensor[3:40, 5:50]
    for view in (area, area[::-1], area[:, ::-1], area[::2, ::3], area.astype(">u2"), np.asfortranarray(area)):
        expected = ops.demosaic(np.array(view, np.uint16), "GRBG", "malvar")
        np.testing.assert_array_equal(ops.demosaic(view, "GRBG", "malvar"), expected)
    tensor = torch.tensor(sensor)[3:40, 5:50]
    for view in (tensor, tensor.T, tensor[::2, ::3]):
        expected = ops.demosaic(view.contiguous(), "GRBG", "malvar")
        assert torch.equal(ops.demosaic(view, "GRBG", "malvar"), expected)


def test_out_may_be_a_view() -> None:
    x = random_mosaic(20, 24)
    expected = ops.demosaic(x, "RGGB")
    frame = np.zeros((3, 30, 40), np.float32)
    out = frame[:, 4:24, 8:32]
    assert ops.demosaic(x, "RGGB", out=out) is out
    np.testing.assert_array_equal(out, expected)
    assert frame.sum(dtype=float) == expected.sum(dtype=float)
    tensor = torch.zeros(3, 20, 24)
    assert ops.demosaic(torch.tensor(x), "RGGB", out=tensor) is tensor
    assert torch.equal(tensor, torch.tensor(expected))


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda x: ops.demosaic(x, "RGGB", "magic"), UsageError, "'magic' does not exist for RGGB"),
        (lambda x: ops.demosaic(x, XTRANS_PATTERN, "malvar"), UsageError, "'malvar' does not exist"),
        (lambda x: ops.demosaic(x[:1], "RGGB"), UsageError, "at least 2"),
        (lambda x: ops.demosaic(x[:, :5], XTRANS_PATTERN), UsageError, "at least 6"),
        (lambda x: ops.demosaic(x[None], "RGGB"), UsageError, r"\[H, W\]"),
        (lambda x: ops.demosaic(x.astype(int), "RGGB"), TypeError, "not int64"),
        (lambda x: ops.demosaic(x, "RGGB", out=np.empty((8, 8, 3), np.float32)), UsageError, "out must have shape"),
        (lambda x: ops.demosaic(x, "RGGB", out=np.empty((8, 8, 3), np.float32).transpose(2, 0, 1)), ValueError, "last"),
        (lambda x: ops.demosaic(torch.tensor(x), "RGGB", out=torch.empty(3, 8, 1).expand(3, 8, 8)), ValueError, "last"),
        (lambda x: ops.demosaic(torch.tensor(x), "RGGB", out=torch.empty(8, 8).expand(3, 8, 8)), ValueError, "share"),
        (lambda x: ops.demosaic(x, "RGGB", out=np.broadcast_to(np.float32(0), (3, 8, 8))), ValueError, "out"),
    ],
)
def test_wrong_calls_are_refused(call, error, words) -> None:
    with pytest.raises(error, match=words):
        call(np.zeros((8, 8), np.uint16))


def test_out_must_not_overlap_the_input() -> None:
    memory = np.zeros((4, 8, 8), np.float32)
    with pytest.raises(ValueError, match="out overlaps mosaic"):
        ops.demosaic(memory[2], "RGGB", out=memory[:3])
    ops.demosaic(memory[3], "RGGB", out=memory[:3])


@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    case=st.sampled_from(CASES[: 4 * len(METHODS)]),
    color=st.tuples(*[st.floats(-4, 4, width=32)] * 3),
)
def test_a_constant_colour_survives_the_square_root(height, width, case, color) -> None:
    cfa, method = case
    x = np.tile(np.array(color, np.float32)[color_tile(cfa)], (5, 5))[:height, :width]
    rgb = ops.demosaic(x, cfa, method, encode="sqrt")
    np.testing.assert_allclose(rgb, np.broadcast_to(np.array(color)[:, None, None], rgb.shape), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_the_phases_agree(method: str) -> None:
    # Each phase as a crop of one mosaic whose mirror images are the other phases.
    x = random_mosaic(40, 46, "float32")
    expected = ops.demosaic(x, "RGGB", method)
    for axes, cfa in (((1,), "GRBG"), ((0,), "GBRG"), ((0, 1), "BGGR")):
        flipped = ops.demosaic(np.flip(x, axes), cfa, method)
        back = np.flip(flipped, [axis + 1 for axis in axes])
        if method == "menon":  # its windows look right and down, so a mirror image may decide otherwise
            assert np.mean(np.isclose(back, expected, rtol=1e-4)) > 0.75
        else:
            np.testing.assert_allclose(back, expected, rtol=2e-3, atol=0.05)
    swapped = x.copy()  # red and blue change places, and nothing else
    np.testing.assert_array_equal(ops.demosaic(swapped, "BGGR", method), expected[::-1])


@pytest.mark.parametrize("method", ["superpixel", *METHODS])
@pytest.mark.parametrize("layout", ["planar", "interleaved"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dtypes_and_layouts(method: str, layout: str, dtype: str) -> None:
    x = np.random.default_rng(5).normal(0.3, 0.5, (67, 1301)).astype(np.float32)
    plain = ops.demosaic(x, "GBRG", method, encode="sqrt")
    expected = (plain if layout == "planar" else plain.transpose(1, 2, 0)).astype(dtype)
    got = ops.demosaic(x, "GBRG", method, encode="sqrt", dtype=dtype, layout=layout)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == dtype
    out = torch.empty(expected.shape, dtype=getattr(torch, dtype))
    assert ops.demosaic(torch.tensor(x), "GBRG", method, encode="sqrt", dtype=dtype, layout=layout, out=out) is out
    np.testing.assert_array_equal(out, expected)


def test_large_results_are_written_past_the_caches_and_the_same() -> None:
    x = random_mosaic(1200, 1302)
    frame = np.zeros((3, 1200, 1305), np.float32)  # rows at any multiple of four bytes
    ops.demosaic(x, "RGGB", "malvar", out=frame[:, :, 1:-2])
    for rows in (slice(0, 40), slice(1000, 1200)):
        expected = reference.demosaic(torch.tensor(x), "RGGB", "malvar")[:, rows]
        np.testing.assert_array_equal(frame[:, rows, 1:-2], expected)
    assert not frame[:, :, 0].any()
    assert not frame[:, :, -2:].any()


@pytest.mark.parametrize("method", METHODS)
def test_threads_do_not_change_the_result(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = random_mosaic(500, 1100)
    results = []
    for threads in (1, 2, 5):
        monkeypatch.setattr("rawzoo.ops.backend.num_threads", lambda threads=threads: threads)
        results.append(ops.demosaic(x, "GRBG", method, encode="sqrt"))
    np.testing.assert_array_equal(results[1], results[0])
    np.testing.assert_array_equal(results[2], results[0])


@pytest.mark.parametrize("encode", ["none", "sqrt"])
def test_superpixel(encode: str) -> None:
    x = np.random.default_rng(5).normal(0.3, 0.5, (7, 9)).astype(np.float32)
    got = ops.demosaic(x, "GRBG", "superpixel", encode=encode)
    assert got.shape == (3, 3, 4)
    red, blue = x[:6:2, 1:9:2], x[1:6:2, :8:2]
    greens = np.stack([x[:6:2, :8:2], x[1:6:2, 1:9:2]])
    if encode == "sqrt":
        mean = (np.sign(greens) * (np.sqrt(abs(greens) + 1 / 512) - np.sqrt(1 / 512))).mean(0)
        green = np.sign(mean) * ((abs(mean) + np.sqrt(1 / 512)) ** 2 - 1 / 512)
    else:
        green = greens.mean(0)
    np.testing.assert_allclose(got, [red, green, blue], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("method", "encode"), [("gbtf", "none"), ("malvar", "sqrt")])
def test_methods_without_a_derivative_say_so(method: str, encode: str) -> None:
    with pytest.raises(UsageError, match="no derivative"):
        ops.demosaic(torch.rand(8, 8, requires_grad=True), "RGGB", method, encode=encode)
    with torch.no_grad():
        ops.demosaic(torch.rand(8, 8, requires_grad=True), "RGGB", method, encode=encode)
