"""The demo end to end: the raw file holds the shot, its noise is the stated one, the sheet shows the pictures."""

import logging

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import rawzoo
from rawzoo import demo, pipeline
from rawzoo.errors import WeightsError
from rawzoo.scene import render_scene
from rawzoo.zoo import registry
from rawzoo.zoo.card import ModelCard

CLASSICAL = ("bilinear", "gbtf", "hamilton-adams", "malvar", "menon", "rcd")


def classical():
    """Whatever plugins are installed."""
    return [card for card in registry.models(task="demosaic") if card.name in CLASSICAL]


@pytest.fixture(scope="module")
def scene():
    return render_scene(256, 384)


@pytest.fixture(scope="module")
def perfect(scene):
    return demo.camera_rgb(scene)


def test_the_camera_is_undone_by_developing(scene, perfect):
    """Camera matrix and white balance cancel: linear sRGB comes back, up to saturation."""
    picture = pipeline.develop(perfect, tone="none", space="rec2020-linear", dtype="float32")
    to_rec2020 = np.linalg.solve(rawzoo.raw.color.rgb_to_xyz("rec2020-linear"), rawzoo.raw.color.rgb_to_xyz("srgb"))
    expected = scene @ to_rec2020.T.astype(np.float32)
    unsaturated = perfect.data.max(axis=2) < 1
    ratio = picture[unsaturated] / expected[unsaturated]
    assert unsaturated.mean() > 0.99
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-4)


def test_raw_noise_is_the_stated_one(perfect):
    raws = np.stack([demo.make_raw(perfect, seed).mosaic for seed in range(12)]).astype(np.float64)
    raw = demo.make_raw(perfect)
    ((scale, offset),) = raw.noise_profile
    values = (raws - raw.black_level[0]) / (raw.white_level[0] - raw.black_level[0])
    tile = np.tile([[0, 1], [1, 2]], (128, 192))
    clean = np.take_along_axis(perfect.mosaic, tile[..., None], axis=2)[..., 0]
    fine = clean < 0.9  # nothing near saturation, where clipping lowers the variance
    expected = scale * clean + offset
    np.testing.assert_allclose((values.var(axis=0, ddof=1) / expected)[fine].mean(), 1, atol=0.01)
    np.testing.assert_allclose((values.mean(axis=0) - clean)[fine].mean(), 0, atol=1e-5)
    dark = fine & (clean < 0.01)
    np.testing.assert_allclose((values.var(axis=0, ddof=1) / expected)[dark].mean(), 1, atol=0.03)


def test_psnr():
    truth = np.zeros((4, 4, 3), np.uint8)
    assert demo.psnr(truth, truth) == float("inf")
    assert demo.psnr(truth + np.uint8(255), truth) == 0
    assert demo.psnr(truth + np.uint8(1), truth) == pytest.approx(48.1308, abs=1e-4)  # 20 log10(255)


@pytest.fixture(scope="module")
def full_scene():
    return render_scene()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, full_scene):
    """The whole demo through the command line, with one model that fails and one that is not for Bayer mosaics."""
    folder = tmp_path_factory.mktemp("demo") / "new"
    own = classical()
    broken = ModelCard(name="broken", task="demosaic", architecture="rawzoo.nowhere:factory", summary="fails")
    xtrans = ModelCard(name="xtrans", task="demosaic", architecture="rawzoo.nowhere:factory", cfa="xtrans")
    cards = {card.name: card for card in [*own, broken, xtrans]}
    records = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(demo, "render_scene", lambda: full_scene)  # seconds; it is needed again below
        patch.setattr(registry, "models", lambda task: list(cards.values()))
        patch.setattr(registry, "card", cards.__getitem__)
        logging.getLogger("rawzoo").addHandler(handler)
        try:
            from rawzoo.cli import app

            result = CliRunner().invoke(app, ["demo", "--output", str(folder)])
        finally:
            logging.getLogger("rawzoo").removeHandler(handler)
    assert result.exit_code == 0, result.output
    return folder, result.output, records


def test_raw_file_holds_the_shot(folder, full_scene):
    raw = rawzoo.open(folder[0] / "rawzoo-demo.dng")
    shot = demo.make_raw(demo.camera_rgb(full_scene))
    assert np.array_equal(raw.mosaic, shot.mosaic)
    assert (raw.cfa, raw.black_level, raw.white_level) == ("RGGB", shot.black_level, shot.white_level)
    assert raw.as_shot_neutral == pytest.approx(shot.as_shot_neutral, abs=1e-5)
    assert raw.metadata.iso == 800


def test_pictures_are_those_of_the_file_and_better_methods_are_closer_to_the_truth(folder):
    where, output, _ = folder
    raw = rawzoo.open(where / "rawzoo-demo.dng")
    truth = np.asarray(Image.open(where / "truth.png"))
    figures = {}
    for name in CLASSICAL:
        picture = np.asarray(Image.open(where / f"{name}.png"))
        assert np.array_equal(picture, rawzoo.develop(raw, model=name))
        figures[name] = demo.psnr(picture, truth)
        assert f"{figures[name]:.2f} dB" in output
    assert 27 < figures["bilinear"] < figures["malvar"] - 1 < figures["gbtf"] - 1 < 40


def test_sheet_shows_the_crops_of_every_developer(folder):
    where, output, _ = folder
    sheet = np.asarray(Image.open(where / "comparison.png"))
    assert str(where / "comparison.png") in output
    assert str(where / "rawzoo-demo.dng") in output
    for name in ("truth", *CLASSICAL):
        box = demo.CROPS[-1]
        crop = np.asarray(Image.open(where / f"{name}.png"))[box.slices].repeat(3, 0).repeat(3, 1)
        band = sheet[-crop.shape[0] - 56 : -56]  # the last row of crops, above the margin
        assert any(np.array_equal(band[30:, x : x + crop.shape[1]], crop[30:]) for x in range(band.shape[1]))


def test_failing_model_is_reported_and_the_rest_is_done(folder):
    where, _, records = folder
    assert any("broken" in record for record in records)
    assert not any("xtrans" in record for record in records)
    assert sorted(p.name for p in where.iterdir()) == [
        "bilinear.png", "comparison.png", "gbtf.png", "hamilton-adams.png", "malvar.png", "menon.png",
        "rawzoo-demo.dng", "rcd.png", "truth.png",
    ]  # fmt: skip


def test_output_that_is_a_file_is_refused(tmp_path):
    from rawzoo.cli import app
    from rawzoo.errors import UsageError

    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["demo", "--output", str(tmp_path / "file")])
    assert isinstance(result.exception, UsageError)


def test_a_model_without_weights_is_named_in_one_line(scene, monkeypatch, tmp_path, caplog):
    def prepare(name):
        raise WeightsError("no weights here")

    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(demo, "render_scene", lambda: scene)
    monkeypatch.setattr(demo.developer, "prepare", prepare)
    cards = classical()
    monkeypatch.setattr(registry, "models", lambda task: cards)
    monkeypatch.setattr(demo, "comparison_sheet", lambda *args, **kwargs: np.zeros((1, 1, 3), np.uint8))
    lines = []
    demo.run(tmp_path / "demo", lines.append)
    assert [line for line in lines if line.startswith("left out, without weights here: bilinear, ")]
    assert not caplog.records
