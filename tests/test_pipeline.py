"""The picture pipeline against LibRaw's rendering and against its own parts."""

from dataclasses import replace
from pathlib import Path

import colour
import numpy as np
import pytest
import rawpy
import torch

import rawzoo
from rawzoo import ops, pipeline
from rawzoo.errors import PluginError, RawWarning, UsageError
from rawzoo.inference.predictor import Predictor
from rawzoo.picture import upright
from rawzoo.raw import color, noise
from rawzoo.raw.cfa import XTRANS_PATTERN, color_tile
from rawzoo.raw.image import Box, ColorMatrix, RawImage
from rawzoo.zoo import registry

MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))

#: Shared files whose white balance can be trusted.
WITH_WHITE_BALANCE = [
    "canon_6d_linear_lossy.dng",
    "canon_kiss_x4_colorchart.dng",
    "derived_canon_colorchart_BGGR_768x512.dng",
    "derived_canon_colorchart_GBRG_768x512.dng",
    "derived_canon_colorchart_GRBG_768x512.dng",
    "derived_canon_colorchart_RGGB_ljpeg.dng",
    "lg_g4_linear_lossy.dng",
    "lg_g4_linear_lossy_rotated.dng",
    "synthetic_linear_uncompressed.dng",
    "synthetic_xtrans.dng",
]


def bayer(mosaic: np.ndarray | None = None, **changes: object) -> RawImage:
    if mosaic is None:
        mosaic = np.random.default_rng(0).integers(500, 15000, (96, 128)).astype(np.uint16)
    raw = RawImage.from_array(
        mosaic,
        cfa="RGGB",
        black_level=512,
        white_level=16383,
        as_shot_neutral=(0.5, 1.0, 0.65),
        color_matrices=(ColorMatrix(21, MATRIX),),
    )
    return replace(raw, **changes)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("ignore::rawzoo.errors.RawWarning")
@pytest.mark.parametrize("name", WITH_WHITE_BALANCE)
def test_plain_rendering_looks_like_libraws(shared_raw: Path, name: str) -> None:
    raw = rawzoo.open(shared_raw / name)
    # LibRaw's own X-Trans method refuses pictures lower than 512 rows, which the shared one is; so both are bilinear.
    method, model = (rawpy.DemosaicAlgorithm.LINEAR, "bilinear") if raw.kind == "xtrans" else (None, None)
    # LibRaw knows no baseline exposure.
    ours = rawzoo.develop(replace(raw, baseline_exposure=0.0), model, tone="none", dtype="uint16")
    with rawpy.imread(str(shared_raw / name)) as reader:
        theirs = reader.postprocess(
            demosaic_algorithm=method,
            use_camera_wb=True,
            no_auto_bright=True,
            adjust_maximum_thr=0,
            gamma=(2.4, 12.92),
            output_bps=16,
        )
    assert ours.shape == theirs.shape
    interior = np.s_[16:-16, 16:-16]
    lab = [colour.XYZ_to_Lab(colour.sRGB_to_XYZ(p[interior] / 65535.0)) for p in (ours, theirs)]
    difference = colour.delta_E(*lab, method="CIE 2000").mean()
    print(f"{name}: mean CIEDE2000 {difference:.2f}")  # noqa: T201 - shown by pytest -rP
    assert difference <= 2.0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_agree_with_pillow(orientation: int, tmp_path: Path) -> None:
    from PIL import Image, ImageOps

    picture = np.random.default_rng(0).integers(0, 255, (5, 7, 3)).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(upright(picture, orientation), expected)


@pytest.mark.parametrize("exposure", [-2.0, 0.0, 1.5])
@pytest.mark.parametrize("tone", ["natural", "none"])
def test_saturated_highlights_are_neutral_and_the_brightest(tone: str, exposure: float) -> None:
    mosaic = np.full((32, 64), 16383, np.uint16)
    mosaic[:, 32:] = 4000
    picture = rawzoo.develop(bayer(mosaic), tone=tone, exposure=exposure)
    highlight = picture[8:24, 8:24].reshape(-1, 3)
    assert np.ptp(highlight, axis=1).max() <= 1
    assert highlight.min() >= picture[8:24, 40:56].max()
    if exposure >= 0:
        assert highlight.min() == 255


def test_grey_is_grey_and_exposure_is_in_stops() -> None:
    # A grey card: the mosaic of (0.1, 0.1, 0.1) balanced.
    neutral = np.array([0.5, 1.0, 0.65])
    cells = 512 + 0.1 * neutral[[0, 1, 1, 2]] * (16383 - 512)
    mosaic = np.tile(np.round(cells).reshape(2, 2), (16, 16)).astype(np.uint16)
    for exposure in (0.0, 1.0, 2.0):
        picture = rawzoo.develop(bayer(mosaic), tone="none", exposure=exposure, dtype="uint16")
        np.testing.assert_allclose(color.srgb_decode(picture / 65535), 0.1 * 2**exposure, rtol=2e-3)
    brighter = rawzoo.develop(bayer(mosaic, baseline_exposure=1.0), tone="none", dtype="uint16")
    np.testing.assert_array_equal(brighter, rawzoo.develop(bayer(mosaic), tone="none", exposure=1.0, dtype="uint16"))


def test_camera_space_is_the_balanced_sensor() -> None:
    raw = bayer()
    values = rawzoo.develop(raw, space="camera", dtype="float32")
    balanced = ops.white_balance(raw.mosaic, "RGGB", raw.black_level, raw.white_level, (2.0, 1.0, 1 / 0.65))
    for y, x, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
        np.testing.assert_allclose(values[y::2, x::2, channel], balanced[y::2, x::2], rtol=1e-6, atol=1e-6)
    assert values.min() < 0
    assert values.max() > 1  # neither noise below black nor strong colours above white are cut
    sixteen = rawzoo.develop(raw, space="camera", dtype="uint16", tone="natural")
    clipped = ops.white_balance(raw.mosaic, "RGGB", raw.black_level, raw.white_level, (2.0, 1.0, 1 / 0.65), clip=1.0)
    np.testing.assert_allclose(sixteen[0::2, 1::2, 1], np.clip(clipped[0::2, 1::2], 0, 1) * 65535, atol=1)


def test_a_model_through_the_predictor_equals_the_fused_pass() -> None:
    raw = bayer(default_crop=Box(3, 5, 90, 121), orientation=6)
    for name in ("malvar", "bilinear", "gbtf", "rcd"):
        fused = rawzoo.develop(raw, name)
        tiled = rawzoo.develop(raw, rawzoo.load(name, tile=48))
        assert fused.shape == (116, 87, 3)
        assert np.abs(fused.astype(int) - tiled).max() <= 1


def adapter(predictor: Predictor, raw: RawImage, *, progress: object = None) -> torch.Tensor:
    """Camera RGB, not balanced, as an adapter of the task demosaic gives it; of one row less for a wrong one."""
    rgb = torch.from_numpy(ops.white_balance(raw.mosaic, raw.cfa, raw.black_level, raw.white_level, (1.0, 1.0, 1.0)))
    rgb = ops.demosaic(rgb, raw.cfa, "bilinear")
    return rgb[:, 1:] if raw.source == "wrong" else rgb


def test_a_model_with_an_adapter_is_balanced_afterwards() -> None:
    card = replace(
        registry.card("bilinear"),
        architecture="tests:none",
        adapter="test_pipeline:adapter",
        input="network",
        output="network",
    )
    predictor = Predictor(card, torch.nn.Identity())
    raw = bayer(np.random.default_rng(0).integers(500, 5000, (96, 128)).astype(np.uint16))  # nothing saturates
    for options, atol in (({"space": "camera", "dtype": "float32"}, 1e-5), ({"dtype": "uint16"}, 2)):
        found, expected = (rawzoo.develop(raw, model, **options).astype(float) for model in (predictor, "bilinear"))
        np.testing.assert_allclose(found, expected, atol=atol)
    white = rawzoo.develop(bayer(np.full((96, 128), 16383, np.uint16)), predictor)
    assert np.all(white == 255)
    with pytest.raises(PluginError, match=r"gave \[3, 95, 128\] for a mosaic of 96 x 128"):
        rawzoo.develop(replace(raw, source="wrong"), predictor)


def test_the_noise_profile_reaches_the_model_balanced() -> None:
    class Noise(torch.nn.Module):
        def forward(self, x: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
            seen.append(noise)
            return x.expand(-1, 3, -1, -1)

    seen: list[torch.Tensor] = []
    card = replace(registry.card("bilinear"), architecture="tests:none", conditioning=("noise",))
    predictor = Predictor(card, Noise())
    raw = bayer(as_shot_neutral=(0.5, 1.0, 0.25), noise_profile=((1e-3, 1e-5),))
    rawzoo.develop(raw, predictor)
    expected = torch.tensor([[[2e-3, 4e-5], [1e-3, 1e-5], [1e-3, 1e-5], [4e-3, 16e-5]]])
    torch.testing.assert_close(seen[0], expected)
    rawzoo.develop(raw, predictor, strength=2.0)
    torch.testing.assert_close(seen[1], 4 * expected)
    rawzoo.develop(raw, predictor, strength=0.0)
    assert not seen[2].any()
    # This mosaic is of random numbers, so it does not tell.
    with pytest.warns(RawWarning, match="at ISO 800: neither the mosaic nor the file tells"):
        rawzoo.develop(replace(raw, noise_profile=None), predictor)
    a, b = noise.profile_at_iso(800)
    torch.testing.assert_close(seen[3][0, 1], torch.tensor([a, b]))


def test_options_of_a_denoiser_are_refused_by_others() -> None:
    with pytest.raises(UsageError, match="malvar is not told the noise level"):
        rawzoo.develop(bayer(), "malvar", strength=0.5)
    with pytest.raises(UsageError, match="gbtf takes no noise away"):
        rawzoo.develop(bayer(), grain=0.5)
    for options in ({"strength": 4.1}, {"strength": -1.0}, {"grain": 1.1}, {"grain": float("nan")}):
        with pytest.raises(UsageError, match="is outside 0 to"):
            rawzoo.develop(bayer(), **options)


class Grey(torch.nn.Module):
    """Takes everything away."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.full_like(x, 0.25).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("tile", [None, 32])
def test_grain_gives_brightness_back(tile: int | None) -> None:
    predictor = Predictor(
        replace(registry.card("bilinear"), architecture="tests:none", conditioning=()), Grey(), tile=tile
    )
    options = {"space": "camera", "dtype": "float32"}
    raw = bayer()
    classical = rawzoo.develop(raw, "gbtf", **options)
    taken = classical @ np.array([0.25, 0.5, 0.25], np.float32) - 0.25
    found = rawzoo.develop(raw, predictor, grain=0.5, **options)
    np.testing.assert_allclose(found, np.repeat(0.25 + 0.5 * taken[..., None], 3, axis=2), atol=1e-5)


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", XTRANS_PATTERN], ids=["RGGB", "GBRG", "X-Trans"])
def test_denoised_mosaic_is_the_model_sampled(cfa: str) -> None:
    predictor = Predictor(replace(registry.card("bilinear"), architecture="tests:none", conditioning=()), Grey())
    data = np.random.default_rng(0).integers(500, 15000, (80, 100)).astype(np.uint16)
    neutral = (0.5, 1.0, 0.65)
    raw = RawImage.from_array(data, cfa=cfa, black_level=512, white_level=16383, as_shot_neutral=neutral)
    raw = replace(raw, active_area=Box(5, 3, 75, 96), noise_profile=((1e-3, 1e-6),))
    found = pipeline.denoised(raw, predictor)
    colors = color_tile(cfa)
    tile = np.rint(512 + 0.25 * np.array(neutral)[colors] * (16383 - 512))
    n = len(tile)
    expected = tile[np.ix_(np.arange(70) % n, np.arange(93) % n)]
    np.testing.assert_array_equal(found.mosaic, expected)
    np.testing.assert_array_equal(found.data[:5], data[:5])
    assert (found.cfa, found.white_level, found.noise_profile) == (cfa, raw.white_level, None)
    assert pipeline.denoised(raw, "none") is raw
    assert pipeline.demosaiced(raw, predictor).noise_profile is None
    assert pipeline.demosaiced(raw, "bilinear").noise_profile == raw.noise_profile


def test_strips_of_the_source_carry_the_right_phase() -> None:
    raw = bayer()
    whole = ops.white_balance(raw.mosaic, "RGGB", raw.black_level, raw.white_level, (2.0, 1.0, 1.5))
    full = ops.demosaic(whole, "RGGB", "bilinear")
    for start, stop, rows in pipeline.camera_rgb_rows(raw, rawzoo.load("bilinear", tile=32), (2.0, 1.0, 1.5), None):
        np.testing.assert_allclose(rows, full[:, start:stop], atol=1e-6)


def test_monochrome_and_linear_files() -> None:
    ramp = np.linspace(100, 1000, 64 * 64).reshape(64, 64).astype(np.uint16)
    mono = RawImage.from_array(ramp, black_level=100, white_level=1000)
    picture = rawzoo.develop(mono, tone="none", dtype="uint16")
    assert np.ptp(picture, axis=2).max() == 0
    np.testing.assert_allclose(color.srgb_decode(picture[..., 0] / 65535), (ramp - 100) / 900, atol=1e-4)

    rgb = np.stack([ramp // 2, ramp, ramp // 3], axis=2)
    linear = RawImage.from_array(rgb, white_level=1000, as_shot_neutral=(0.5, 1.0, 1 / 3))
    picture = rawzoo.develop(linear, tone="none", dtype="uint16").astype(int)
    assert np.ptp(picture[10:], axis=2).max() < 400
    with pytest.raises(UsageError, match="no mosaic"):
        rawzoo.develop(linear, "malvar")


def test_demosaiced_is_still_sensor_data() -> None:
    raw = bayer()
    linear = pipeline.demosaiced(raw, "bilinear")
    assert (linear.kind, linear.data.dtype, linear.as_shot_neutral) == ("linear", np.uint16, raw.as_shot_neutral)
    direct = rawzoo.develop(raw, "bilinear", tone="none", dtype="uint16").astype(int)
    again = rawzoo.develop(linear, tone="none", dtype="uint16").astype(int)
    # Clipping before or after demosaicing differs only around saturation.
    assert np.median(np.abs(direct - again)) <= 16


def test_the_classical_path_needs_no_torch(tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys, numpy as np, rawzoo\n"
        "raw = rawzoo.RawImage.from_array(np.ones((8, 8), np.uint16), cfa='RGGB', white_level=9)\n"
        "rawzoo.develop(raw)\n"
        "assert 'torch' not in sys.modules"
    )
    if "native" not in str(ops.available()["cpu"]):
        pytest.skip("without the native module the torch reference does the work")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        {"space": "adobe"},
        {"tone": "vivid"},
        {"exposure": 11.0},
        {"exposure": 1.0, "space": "camera"},
        {"dtype": "float64"},
        {"dtype": "float32"},
        {"white_balance": "nice"},
        {"model": "no-such-model"},
    ],
)
def test_unusable_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        rawzoo.develop(bayer(), **options)  # type: ignore[arg-type]


def test_tone_curve_is_monotonic_and_reaches_white() -> None:
    for gain in (0.25, 1.0, 4.0):
        x = np.linspace(0, 1, 1000) * gain
        y = pipeline.natural_tone(x, max(gain, 1.0))
        assert np.all(np.diff(y) > 0)
        assert y[0] == 0.0
        if gain >= 1:
            assert y[-1] == pytest.approx(1.0)
