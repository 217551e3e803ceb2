"""From a raw file to gains and a picture."""

import zipfile

import numpy as np
import pytest
import torch
from test_awb_network import data_set
from test_awb_tuning import MATRIX
from typer.testing import CliRunner

import rawzoo
from rawzoo import pipeline
from rawzoo.errors import RawzooError, UsageError
from rawzoo.raw.image import ColorMatrix, Metadata, RawImage
from rawzoo.tasks.white_balance import estimate
from rawzoo_awb import dataset, statistics, tuning

BLACK, WHITE = 4096.0, 65535.0


def mosaic_of(rendered, camera, block=12):
    """The mosaic from which the converter makes this rendered grid ``[h, w, 3]``, 0..1; RGGB, 16 bit."""
    linear = rendered.reshape(-1, 3) @ np.linalg.inv(camera.matrix(5000.0)).T
    stack = linear.reshape(rendered.shape) / camera.gains(5000.0)
    stack = stack / np.moveaxis(camera.shading.gains(5000.0), 0, -1)
    full = np.clip(np.kron(stack, np.ones((block, block, 1))) * WHITE + BLACK, 0, WHITE)
    mosaic = np.empty(full.shape[:2], np.uint16)
    for (y, x), color in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        mosaic[y::2, x::2] = full[y::2, x::2, color]
    return mosaic


def shot_of(rendered, camera, sensor, temperature, lux, target):
    """A raw image of a data-set image, exposed so that its lux comes out as labelled."""
    mosaic = mosaic_of(rendered, camera)
    levels = {"cfa": "RGGB", "black_level": BLACK, "white_level": WHITE, "color_matrices": [ColorMatrix(21, MATRIX)]}
    raw = RawImage.from_array(mosaic, **levels)
    grid = statistics.grid(raw, *dataset.GRIDS[target])
    lit = statistics.shaded(grid, camera, temperature) if target == "vc4" else grid
    at_one_second = camera.lux_of(statistics.luma(lit, camera.gains(temperature)), Metadata(iso=100.0, shutter_s=1.0))
    shot = Metadata(make="Raspberry Pi", model=sensor, iso=100.0, shutter_s=at_one_second / lux)
    return RawImage.from_array(mosaic, metadata=shot, as_shot_neutral=(0.2, 1.0, 0.9), **levels)


@pytest.mark.parametrize("target", ["pisp", "vc4"])
@pytest.mark.parametrize("sensor", ["imx708", "imx477", "imx219"])
def test_a_mosaic_gives_the_temperature_of_its_data_set_image(published, trained, target, sensor):
    images, _, lux = data_set(published, target)
    with zipfile.ZipFile(published / f"dataset-{target}-dev.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
    predictor = rawzoo.load(f"awb-{target}")
    camera = tuning.from_file(published / "tunings" / target / f"{sensor}.json")
    chosen = [i for i, name in enumerate(names) if f",{sensor}," in name][::40]
    for i in chosen:
        rendered = images[i] / np.float32(65535)
        x = torch.from_numpy(rendered.transpose(2, 0, 1).copy())
        expected = float(predictor.run(x, lux=float(lux[i])))
        raw = shot_of(rendered.astype(float), camera, sensor, expected, float(lux[i]), target)
        found = estimate(raw, predictor)
        assert found.tuning == sensor
        assert found.lux == pytest.approx(lux[i], rel=0.02)
        # The data set has clipped colours, which cannot be told from the picture.
        assert found.temperature == pytest.approx(expected, rel=0.02)
        # Gains lie across the curve, not far from it.
        offset = found.neutral[[0, 2]] - camera.chromaticity(found.temperature)
        assert np.hypot(*offset) <= max(camera.transverse) + 1e-9


def scene(kelvin, sensor):
    """Grey patches under a light, seen by a sensor whose tuning is in the folder of tunings; BGGR."""
    camera = tuning.find(RawImage.from_array(np.zeros((2, 2), np.uint16), white_level=1), "pisp", sensor)
    red, blue = camera.chromaticity(kelvin)
    stack = np.random.default_rng(3).uniform(0.05, 0.6, (32, 32, 1)) * [red, 1.0, blue]
    stack = stack / np.moveaxis(camera.shading.gains(kelvin), 0, -1)
    full = np.kron(stack, np.ones((8, 8, 1))) * WHITE + BLACK
    mosaic = np.empty(full.shape[:2], np.uint16)
    for (y, x), color in {(0, 0): 2, (0, 1): 1, (1, 0): 1, (1, 1): 0}.items():
        mosaic[y::2, x::2] = full[y::2, x::2, color]
    return RawImage.from_array(
        mosaic,
        cfa="BGGR",
        black_level=BLACK,
        white_level=WHITE,
        as_shot_neutral=(0.5, 1.0, 0.5),
        color_matrices=[ColorMatrix(21, MATRIX)],
        metadata=Metadata(make="Raspberry Pi", model=sensor, iso=200.0, shutter_s=0.03),
    )


@pytest.fixture
def dng(tmp_path, generated):
    rawzoo.write_dng(tmp_path / "warm.dng", scene(3000.0, "imx477"))
    return tmp_path / "warm.dng"


@pytest.mark.parametrize("target", ["pisp", "vc4"])
def test_warmer_light_is_told_from_colder(target, trained):
    predictor = rawzoo.load(f"awb-{target}")
    found = [estimate(scene(kelvin, "imx708"), predictor).temperature for kelvin in (3000.0, 4200.0, 6500.0)]
    assert found == sorted(found)
    assert found[2] - found[0] > 1000.0


@pytest.mark.parametrize("target", ["pisp", "vc4"])
def test_develop(dng, target):
    raw = rawzoo.open(dng)
    found = estimate(raw, f"awb-{target}", tuning="imx477")
    by_model = rawzoo.develop(raw, white_balance=f"awb-{target}@random:imx477", dtype="uint16")
    by_gains = rawzoo.develop(raw, white_balance=",".join(map(repr, found.gains)), dtype="uint16")
    np.testing.assert_array_equal(by_model, by_gains)
    assert not np.array_equal(by_model, rawzoo.develop(raw, dtype="uint16"))
    neutral, words = pipeline.white_balance_neutral(raw, f"awb-{target}")
    np.testing.assert_allclose(neutral, found.neutral)
    assert words == f"awb-{target}: {found}"
    assert f"{found.temperature:.0f} K" in words
    assert words.endswith("lux, imx477)")


def test_command_line(dng, tmp_path):
    from rawzoo.cli import app

    out = tmp_path / "out.png"
    result = CliRunner().invoke(app, ["develop", str(dng), "-o", str(out), "--white-balance", "awb-pisp"])
    assert result.exit_code == 0, result.output
    assert out.stat().st_size > 1000
    for choice, message in (
        ("awb-pisp:nosuch", "no pisp tuning for 'nosuch'"),
        (f"awb-pisp:{tmp_path / 'none.json'}", "cannot be read"),
        ("awb-psip", "awb-pisp, awb-vc4"),
        ("awb-pisp@best", "no weights named 'best'; give one of random"),
        ("malvar", "task demosaic"),
    ):
        result = CliRunner().invoke(app, ["develop", str(dng), "-o", str(tmp_path / "no.png"), "-w", choice])
        assert result.exit_code != 0
        assert message in " ".join(result.output.split())
        assert not (tmp_path / "no.png").exists()


@pytest.mark.parametrize(
    "name",
    ["canon_kiss_x4_colorchart.dng", "lg_g4_linear_lossy.dng", "synthetic_xtrans.dng", "canon_6d_linear_lossy.dng"],
)
@pytest.mark.filterwarnings("ignore::rawzoo.errors.RawWarning")
def test_cameras_without_a_tuning_go_by_their_matrices(published, trained, name):
    raw = rawzoo.open(published.parent / "raw" / name)
    found = estimate(raw, "awb-pisp")
    assert "colour matrices" in found.tuning
    assert found.gains[1] == 1.0
    if name.startswith(("canon", "lg")):  # real cameras, whose matrices fit their sensors
        as_shot = 1.0 / np.array(raw.as_shot_neutral)
        np.testing.assert_allclose(np.log(found.gains), np.log(as_shot / as_shot[1]), atol=0.15)
    assert rawzoo.develop(raw, white_balance="awb-pisp").shape[2] == 3


def test_monochrome_raw(published, trained):
    raw = rawzoo.open(published.parent / "raw" / "synthetic_mono_12bit.dng")
    # As with every white balance, developing has nothing to balance; asking for one is a mistake.
    np.testing.assert_array_equal(rawzoo.develop(raw, white_balance="awb-pisp"), rawzoo.develop(raw))
    with pytest.raises(UsageError, match="no colour matrix"):
        estimate(raw, "awb-pisp")
    with pytest.raises(UsageError, match="is monochrome"):
        estimate(raw, "awb-pisp", tuning="imx708")


def test_broken_tuning_file(dng, tmp_path):
    (tmp_path / "broken.json").write_text('{"target": "pisp"')
    with pytest.raises(RawzooError, match=r"broken\.json is not valid JSON"):
        rawzoo.develop(rawzoo.open(dng), white_balance=f"awb-pisp:{tmp_path / 'broken.json'}")
