"""The jobs of the tasks isp, classify, super-resolution and quality, with networks of the test's own, and their
contract."""

import json
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from toy_models import raw_image

import rawzoo
from rawzoo.errors import PluginError, UsageError
from rawzoo.picture import Picture
from rawzoo.raw.image import Box
from rawzoo.tasks import isp, quality
from rawzoo.tasks.classify import Classification, classify
from rawzoo.tasks.quality import Quality
from rawzoo.tasks.super_resolution import enlarge
from rawzoo.testing import assert_model_contract
from rawzoo.zoo.card import ModelCard
from rawzoo.zoo.manager import get_manager


@pytest.mark.parametrize("name", ["render", "smaller", "see", "larger", "judge"])
def test_contract(weights, name):
    assert_model_contract(name, weights=weights[name])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("half", r"gave \[3, 67, 86\] for a mosaic of 133 x 171"),
        ("too-much", "probabilities must not be negative and must sum to 1, not 2"),
        ("flat", "in tiles of"),
        ("backwards", "scores must rise"),
    ],
)
def test_contract_broken(weights, name, message):
    with pytest.raises((AssertionError, PluginError), match=message):
        assert_model_contract(name, weights=weights[name])


def test_isp_crops_and_turns(weights):
    predictor = rawzoo.load("render", weights=weights["render"])
    raw = raw_image()
    whole = isp.render(predictor, raw)
    assert (whole.pixels.shape, whole.pixels.dtype, whole.source) == ((31, 45, 3), np.float32, "shot.dng")
    turned = isp.render(predictor, replace(raw, default_crop=Box(2, 4, 22, 40), orientation=6, exif=b"II"))
    np.testing.assert_array_equal(turned.pixels, np.rot90(whole.pixels[2:22, 4:40], -1))
    assert turned.exif == b"II"


def test_sizes_of_pictures():
    card = ModelCard("x", "isp", "a:b", input="raw-planes", scale=Fraction(2))
    assert isp.size(card, 31, 45) == (31, 45)
    assert isp.size(replace(card, scale=Fraction(1, 2)), 31, 45) == (8, 12)
    assert isp.size(replace(card, input="raw-sparse", scale=Fraction(1)), 31, 45) == (31, 45)


def test_isp_crops_smaller_pictures(weights):
    """A model of half the size; what is cropped off the mosaic is off the picture, whole pixels of it."""
    predictor = rawzoo.load("smaller", weights=weights["smaller"])
    raw = raw_image()
    whole = isp.render(predictor, raw).pixels
    assert whole.shape == (16, 23, 3)
    cropped = isp.render(predictor, replace(raw, default_crop=Box(3, 4, 24, 40))).pixels
    np.testing.assert_array_equal(cropped, whole[1:12, 2:20])


@pytest.mark.parametrize("name", ["render", "see"])
def test_raw_images_without_a_fitting_mosaic(weights, name):
    from rawzoo.raw.cfa import XTRANS_PATTERN

    job = {"render": isp.render, "see": classify}[name]
    predictor = rawzoo.load(name, weights=weights[name])
    with pytest.raises(UsageError, match=rf"shot.dng holds no mosaic \(mono\), and model {name}"):
        job(predictor, raw_image(None))
    with pytest.raises(UsageError, match=f"model {name} takes bayer mosaics, and shot.dng is xtrans"):
        job(predictor, raw_image(XTRANS_PATTERN, 36, 48))


def test_super_resolution_in_tiles(weights):
    values = np.random.default_rng(0).random((37, 53, 3), np.float32)
    picture = Picture(values, b"II", source="a.png")
    whole = enlarge(rawzoo.load("larger", weights=weights["larger"]), picture)
    x = torch.from_numpy(values).permute(2, 0, 1)[None] * 255
    with torch.inference_mode():
        # Beyond its edges the predictor mirrors the picture, where the bare module sees its own padding.
        module = rawzoo.load("larger", weights=weights["larger"]).module
        expected = module(torch.nn.functional.pad(x, (1, 1, 1, 1), mode="reflect"))[0, :, 2:-2, 2:-2] / 255
    np.testing.assert_allclose(whole.pixels, expected.permute(1, 2, 0), atol=1e-5)
    tiled = enlarge(rawzoo.load("larger", weights=weights["larger"], tile=16), picture)
    np.testing.assert_allclose(tiled.pixels, whole.pixels, atol=1e-5)
    assert (whole.exif, whole.source) == (b"II", "a.png")


def test_classify_hands_on_the_noise(weights):
    found = classify(rawzoo.load("see", weights=weights["see"]), raw_image(), noise=(0.01, 0.002))
    assert found.note == "noise (0.01, 0.002)"
    assert found.picture.shape == (31, 45, 3)


def test_classification():
    found = Classification(np.array([0.25, 0.0, 0.75, 0.0, 0.0, 0.0], np.float32), tuple("abcdef"), note="As given.")
    assert found.top(2) == [2, 0]
    assert str(found).splitlines()[:2] == [" 75.0 %  ████████████      c", " 25.0 %  ████              a"]
    assert str(found).splitlines()[-1] == "As given."
    assert found.picture is None
    values = json.loads(json.dumps(found.to_dict()))
    assert values["top"][0] == {"index": 2, "label": "c", "probability": 0.75}
    assert len(values["top"]) == 5


def test_quality():
    found = Quality(np.array([0.0, 0.5, 0.5], np.float32), np.array([1, 2, 3], np.float32))
    assert (found.mean, found.std) == (2.5, 0.5)
    assert str(found) == "2.50 ± 0.50  1 ▁██ 3"
    assert json.loads(json.dumps(found.to_dict()))["distribution"] == [0.0, 0.5, 0.5]
    predictor = type("Fake", (), {"card": ModelCard("x", "quality", "a:b")})
    get_manager().add(
        type("P", (), {"rawzoo_register_models": rawzoo.hookimpl(lambda self, register: register(predictor.card))})(),
        "fake",
    )
    try:
        with pytest.raises(PluginError, match="the card names none"):
            quality.judge(predictor, Picture.from_array(np.zeros((4, 4, 3))))
    finally:
        get_manager().remove("fake")
