"""Developing with rawzoo's own denoiser: which files it is taken for, what it is told, what it writes."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile

import rawzoo
from rawzoo import pipeline
from rawzoo.batch import Develop, Job
from rawzoo.batch import run as run_batch
from rawzoo.developer import Developer, automatic
from rawzoo.errors import RawWarning, UsageError
from rawzoo.raw import noise
from rawzoo.raw.cfa import XTRANS_PATTERN
from rawzoo.raw.image import ColorMatrix, Metadata, RawImage
from rawzoo.running import Runner
from rawzoo.testing import write_random_weights
from rawzoo.zoo.weights import imported_folder

MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))
CLEAN, NOISY = noise.profile_at_iso(100), noise.profile_at_iso(12800)
COMMAND = [sys.executable, "-c", "from rawzoo.cli import main; main()", "develop"]


def shot(profile, cfa="RGGB", height=160, width=240, **options):
    y, x = np.mgrid[:height, :width]
    clean = 0.2 + 0.15 * np.sin(x / 40) * np.cos(y / 30)
    noisy = noise.add_noise(clean, [profile], np.random.default_rng(0))
    data = noise.quantise(noisy, 512, 16383)
    return RawImage.from_array(
        data,
        cfa=cfa,
        black_level=512,
        white_level=16383,
        as_shot_neutral=(0.5, 1.0, 0.65),
        color_matrices=(ColorMatrix(21, MATRIX),),
        **options,
    )


@pytest.fixture
def weights(cache: Path) -> Path:
    """Untrained ones, imported as a user's own would be."""
    folder = imported_folder("naf-small")
    folder.mkdir(parents=True)
    return write_random_weights("naf-small", folder / "untrained.safetensors")


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if none came with the package."""
    monkeypatch.setattr("rawzoo.zoo.registry.has_weights", lambda card: False)


@pytest.mark.parametrize("cfa", ["RGGB", "BGGR", "GRBG", "GBRG"])
@pytest.mark.usefixtures("weights")
def test_auto_takes_it_for_noisy_files(cfa):
    choice = Developer().choose(shot(NOISY, cfa))
    assert choice.name == "naf-small"
    assert choice.denoises
    assert "below 32 (noise measured in the mosaic)" in choice.why
    assert choice.noise.profile[0][0] == pytest.approx(NOISY[0], rel=0.3)
    choice = Developer().choose(shot(CLEAN, cfa, noise_profile=[CLEAN]))
    assert (choice.name, choice.denoises) == ("gbtf", False)
    assert "noise stated in the file" in choice.why


@pytest.mark.usefixtures("weights")
def test_auto_takes_it_for_xtrans_in_strong_noise_only():
    names = [Developer().choose(shot(noise.profile_at_iso(iso), XTRANS_PATTERN)).name for iso in (1600, 12800)]
    assert names == ["markesteijn", "naf-small"]


@pytest.mark.usefixtures("no_weights")
def test_auto_without_weights_is_classical_and_says_nothing():
    choice = Developer().choose(shot(NOISY))
    assert (choice.model, choice.why, choice.noise) == ("none", "", None)


@pytest.mark.usefixtures("weights")
def test_auto_in_python_is_what_it_chooses():
    for profile, model in ((NOISY, "naf-small"), (CLEAN, None)):
        raw = shot(profile)
        np.testing.assert_array_equal(rawzoo.develop(raw, "auto"), rawzoo.develop(raw, model))
    # Options of a denoiser are no error where there is nothing to denoise.
    rawzoo.develop(shot(CLEAN), "auto", strength=2.0, grain=0.5)


def test_only_the_default_denoiser_is_taken_unasked():
    assert [card.name for _, card in automatic()] == ["naf-small"]


def test_auto_takes_no_weights():
    with pytest.raises(UsageError, match="name it with --model"):
        Developer(weights="mine.safetensors")


@pytest.mark.usefixtures("weights")
def test_a_batch_says_what_it_took(tmp_path):
    for name, profile in (("noisy", NOISY), ("clean", CLEAN)):
        rawzoo.write_dng(tmp_path / f"{name}.dng", shot(profile))
    jobs = [Job(tmp_path / f"{name}.dng", tmp_path / f"{name}.png") for name in ("noisy", "clean")]
    outcomes = {outcome.job.source.stem: outcome for outcome in run_batch(jobs, Develop(), workers=2)}
    assert {name: outcome.found.name for name, outcome in outcomes.items()} == {"noisy": "naf-small", "clean": "gbtf"}
    assert all(outcome.error == "" for outcome in outcomes.values())


@pytest.mark.usefixtures("weights")
def test_the_command_says_what_it_took_and_why(tmp_path):
    rawzoo.write_dng(tmp_path / "noisy.dng", shot(NOISY))
    found = subprocess.run(
        [*COMMAND, tmp_path / "noisy.dng", "-o", tmp_path / "a.png"], capture_output=True, text=True, check=True
    )
    assert found.stderr.startswith("rawzoo: developed with naf-small, for signal to noise ")
    assert len(found.stderr.splitlines()) == 1
    rawzoo.write_dng(tmp_path / "clean.dng", shot(CLEAN))
    command = [*COMMAND, tmp_path / "noisy.dng", tmp_path / "clean.dng", "-o", tmp_path / "out"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.startswith("2 developed (1 noisy by naf-small, 1 less noisy by gbtf): ")
    command = [*COMMAND, tmp_path / "noisy.dng", "-o", tmp_path / "a.png", "--model", "none"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


@pytest.mark.usefixtures("weights")
def test_a_clean_file_needs_no_torch(tmp_path):
    code = (
        "import sys, numpy as np, rawzoo\n"
        "mosaic = np.random.default_rng(0).normal(6000, 5, (64, 96)).astype(np.uint16)\n"
        "raw = rawzoo.RawImage.from_array(mosaic, cfa='RGGB', white_level=16383)\n"
        "rawzoo.develop(raw, 'auto')\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture(scope="module", params=["naf-tiny", "naf-small"])
def untrained(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("untrained") / "random.safetensors"
    return rawzoo.load(request.param, weights=write_random_weights(request.param, path))


@pytest.mark.parametrize("size", [(16, 16), (17, 23), (16, 40)])
@pytest.mark.parametrize("cfa", ["RGGB", "GBRG"])
def test_tiny_images(untrained, size, cfa):
    """Too small to measure: the ISO says how noisy, or what is assumed is said."""
    raw = shot(NOISY, cfa, *size, metadata=Metadata(iso=12800))
    with pytest.warns(RawWarning, match="at ISO 12800: the mosaic does not tell"):
        picture = rawzoo.develop(raw, untrained)
    assert picture.shape == (*size, 3)
    with pytest.warns(RawWarning, match="at ISO 800: neither the mosaic nor the file tells"):
        rawzoo.develop(replace(raw, metadata=Metadata()), untrained)


def test_what_it_does_not_take(tmp_path):
    model = rawzoo.load("naf-tiny", weights=write_random_weights("naf-tiny", tmp_path / "random.safetensors"))
    mono = RawImage.from_array(np.full((32, 32), 500, np.uint16), white_level=1000, source="grey.dng")
    with pytest.raises(UsageError, match=r"grey.dng holds no mosaic \(mono\), so model naf-tiny"):
        rawzoo.develop(mono, model)


@pytest.mark.parametrize("form", ["linear", "cfa"])
def test_dng_out(tmp_path, weights, form):
    """Of the size, colour and metadata of the source, without its noise profile, compressed."""
    taken = Metadata(make="Maker", model="Camera", iso=12800.0, shutter_s=0.01)
    raw = shot(NOISY, "GRBG", noise_profile=[NOISY], orientation=6, metadata=taken)
    rawzoo.write_dng(tmp_path / "noisy.dng", raw)
    command = [*COMMAND, tmp_path / "noisy.dng", "-o", tmp_path / "clean.dng", "--dng", form, "--strength", "1.5"]
    subprocess.run(command, check=True, capture_output=True)
    source, found = rawzoo.open(tmp_path / "noisy.dng"), rawzoo.open(tmp_path / "clean.dng")
    assert (found.noise_profile, found.noise_reduction, source.noise_reduction) == (None, 1.0, None)
    assert (found.metadata, found.orientation, found.default_crop) == (
        source.metadata,
        source.orientation,
        source.default_crop,
    )
    assert found.as_shot_neutral == pytest.approx(source.as_shot_neutral, abs=1e-6)
    assert (found.height, found.width) == (source.height, source.width)
    model = rawzoo.load("naf-small")
    expected = {"linear": pipeline.demosaiced, "cfa": pipeline.denoised}[form](
        source, model, pipeline.Denoise(strength=1.5)
    )
    assert (found.kind, found.cfa) == (expected.kind, expected.cfa)
    np.testing.assert_array_equal(found.mosaic, expected.mosaic)
    assert (tmp_path / "clean.dng").stat().st_size < expected.mosaic.nbytes


def test_strength_of_a_model_that_is_not_told_the_noise(tmp_path):
    command = [*COMMAND, tmp_path / "any.dng", "-o", tmp_path / "a.png", "--model", "treenet", "--strength", "2"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (found.returncode, len(found.stderr.splitlines())) == (2, 1)
    assert "treenet is not told the noise level" in found.stderr


@pytest.mark.usefixtures("weights")
def test_run_takes_strength_and_grain_as_develop_does(tmp_path):
    rawzoo.write_dng(tmp_path / "noisy.dng", shot(NOISY))
    common = [tmp_path / "noisy.dng", "-o"]
    for command in (
        [*COMMAND[:-1], "run", "naf-small", *common, "ran.tif", "--set", "strength=1.7", "--set", "grain=0.4"],
        [*COMMAND, *common, "developed.tif", "--model", "naf-small", "--strength", "1.7", "--grain", "0.4"],
    ):
        subprocess.run(command, check=True, capture_output=True, cwd=tmp_path)
    ran, developed = (tifffile.imread(tmp_path / f"{name}.tif") for name in ("ran", "developed"))
    np.testing.assert_array_equal(ran, developed)
    raw = rawzoo.open(tmp_path / "noisy.dng")
    plain, changed = (Runner("naf-small", **options) for options in ({}, {"strength": 1.7, "grain": 0.4}))
    assert np.abs(changed(raw).pixels - plain(raw).pixels).max() > 0.01
    expected = rawzoo.develop(raw, "naf-small", space="camera", dtype="float32", strength=1.7, grain=0.4)
    np.testing.assert_array_equal(changed.camera_rgb(raw), expected)


def test_cfa_out_needs_dng_out(tmp_path):
    rawzoo.write_dng(tmp_path / "noisy.dng", shot(NOISY))
    command = [*COMMAND, tmp_path / "noisy.dng", "-o", tmp_path / "a.png", "--dng", "cfa"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "needs DNG output" in found.stderr


def test_strength_zero_only_demosaics(tmp_path):
    """Told of no noise, the untrained network is the classical demosaicer."""
    model = rawzoo.load(
        "naf-small", weights=write_random_weights("naf-small", tmp_path / "r.safetensors"), dtype="float32"
    )
    raw = shot(NOISY, noise_profile=[NOISY])
    options = {"space": "camera", "dtype": "float32"}
    classical = rawzoo.develop(raw, None, **options)
    np.testing.assert_allclose(rawzoo.develop(raw, model, strength=0.0, **options), classical, atol=2e-3)
    assert np.abs(rawzoo.develop(raw, model, strength=4.0, **options) - classical).max() > 0.01


def test_xtrans_goes_through_camera_rgb(tmp_path):
    """Told of no noise, the untrained network demosaics again what was demosaiced; the noise is the sensor's."""
    weights = write_random_weights("naf-tiny", tmp_path / "r.safetensors")
    model = rawzoo.load("naf-tiny", weights=weights, dtype="float32")
    raw = shot(NOISY, XTRANS_PATTERN, 150, 200)
    bayer = pipeline.resampled(raw)
    assert (bayer.cfa, bayer.mosaic.shape) == ("RGGB", (150, 200))
    variance, before = (a * 0.2 + b for a, b in (bayer.noise_profile[0], NOISY))
    assert variance == pytest.approx(before, rel=0.25)
    of_colours = ((1e-3, 1e-6), (2e-3, 2e-6), (3e-3, 3e-6))
    stated = pipeline.resampled(replace(raw, noise_profile=of_colours))
    assert stated.noise_profile == tuple(of_colours[c] for c in (0, 1, 1, 2))
    options = {"space": "camera", "dtype": "float32"}
    classical = rawzoo.develop(raw, "markesteijn", **options)
    found = rawzoo.develop(raw, model, strength=0.0, **options)
    assert np.sqrt(np.mean((found - classical) ** 2)) < 0.02
    np.testing.assert_allclose(found[::2, ::2, 0], classical[::2, ::2, 0], atol=2e-3)
    again = pipeline.denoised(raw, model)
    assert (again.cfa, again.kind, again.mosaic.shape) == (XTRANS_PATTERN, "xtrans", (150, 200))
    with pytest.warns(RawWarning, match="neither the mosaic nor the file tells"):
        rawzoo.develop(shot(NOISY, XTRANS_PATTERN, 16, 18), model)
