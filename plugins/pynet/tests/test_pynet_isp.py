"""From a raw image to the networks' input, and from their output to the picture."""

import logging
import math
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from rawzoo.errors import UsageError
from rawzoo.inference.predictor import Predictor
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN
from rawzoo.raw.image import Box, RawImage
from rawzoo.tasks import isp as task
from rawzoo.zoo import registry
from rawzoo_pynet import isp, memory, tiles
from rawzoo_pynet.topology import LEVELS


def raw_image(height, width, cfa="RGGB", **options):
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 40, (height, width))
    mosaic = (300 + 500 * (x > width / 2) + y + noise).astype(np.uint16)
    return RawImage.from_array(mosaic, cfa=cfa, **({"black_level": 64, "white_level": 1023} | options))


@pytest.fixture
def predictor(weights):
    def make(variant, level, **options):
        return Predictor(registry.card(f"pynet-{variant}-{level}"), weights.network(variant, level), **options)

    return make


def test_planes_of_the_training_camera():
    """10 bits, black 64, RGGB, sides multiples of 32: raw values over 1020, in the order of SPEC 2.1."""
    raw = raw_image(64, 96)
    x, down, right = isp.planes(raw)
    assert (down, right) == (0, 0)
    m = raw.mosaic / 1020
    expected = np.stack([m[1::2, 1::2], m[0::2, 1::2], m[0::2, 0::2], m[1::2, 0::2]])
    np.testing.assert_allclose(x, expected, atol=1e-6)


def test_levels_of_each_channel():
    black, white = (100, 110, 120, 130), (4000, 4010, 4020, 4030)
    raw = raw_image(64, 64, black_level=black, white_level=white)
    x, _, _ = isp.planes(raw)
    # Planes B, Gr, R, Gb; per-channel levels come as R, Gr, Gb, B.
    for plane, (y, c, channel) in zip(x, [(1, 1, 3), (0, 1, 1), (0, 0, 0), (1, 0, 2)], strict=True):
        signal = (raw.mosaic[y::2, c::2] - black[channel]) / (white[channel] - black[channel])
        np.testing.assert_allclose(plane, (signal * (1023 - 64) + 64) / 1020, atol=1e-6)


@pytest.mark.parametrize("cfa", BAYER_PATTERNS)
@pytest.mark.parametrize("shape", [(64, 64), (65, 97), (1, 2), (40, 200)])
def test_every_phase_and_size(cfa, shape):
    """Every sample of the mosaic is where its colour belongs, and what is added mirrors it."""
    raw = raw_image(*shape, cfa)
    x, down, right = isp.planes(raw)
    assert x.dtype == torch.float32
    assert all(size % 16 == 0 and size >= 32 for size in x.shape[1:])
    whole = np.empty((2 * x.shape[1], 2 * x.shape[2]))
    for plane, (y, c) in zip(x, [(1, 1), (0, 1), (0, 0), (1, 0)], strict=True):
        whole[y::2, c::2] = plane * 1020
    inside = whole[down : down + shape[0], right : right + shape[1]]
    np.testing.assert_allclose(inside, raw.mosaic, atol=1e-3)
    tile = np.array(list("RGGB")).reshape(2, 2)
    assert "".join(np.roll(tile, (-down, -right), (0, 1)).ravel()) == cfa
    if min(shape) > 2:
        if whole.shape[1] > right + shape[1]:
            np.testing.assert_allclose(whole[:, right + shape[1] - 2], whole[:, right + shape[1]], atol=1e-3)
        if down:
            np.testing.assert_allclose(whole[0], whole[2], atol=1e-3)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("variant", ["torch", "tf"])
def test_picture(predictor, variant, level):
    """What the bare network makes of the planes, cut to the mosaic, to its crop, and turned."""
    made = predictor(variant, level)
    raw = raw_image(71, 90, "GBRG")
    x, down, right = isp.planes(raw)
    with torch.inference_mode():
        expected = made.module(x[None])[0]
    if level == 0:
        expected = expected[:, down:, right:]
    found = isp.render(made, raw)
    size = 2**level
    assert list(found.shape) == [3, math.ceil(71 / size), math.ceil(90 / size)]
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected[:, : found.shape[1], : found.shape[2]], atol=1e-5, rtol=0)
    cropped = task.render(made, replace(raw, default_crop=Box(32, 0, 64, 64), orientation=3)).pixels
    assert cropped.shape == (32 // min(size, 32), 64 // size, 3)
    whole = found.numpy().transpose(1, 2, 0)
    top = 32 // size
    np.testing.assert_array_equal(cropped, whole[top : top + 32 // size, : 64 // size][::-1, ::-1])


def test_what_it_takes_is_said_before_it_starts(predictor, caplog):
    made = predictor("torch", 5)
    heard = []
    with caplog.at_level(logging.INFO, "rawzoo"):
        isp.render(made, raw_image(1200, 900), progress=lambda share: heard.append((share, len(caplog.records))))
    (line,) = [r.getMessage() for r in caplog.records]
    assert line.startswith("pynet-torch-5: 1.1 megapixels as a whole need about 0.8")
    assert "GiB per megapixel run at once), and about" in line
    # The line came first, then all shares of the work, in order, to the whole.
    assert all(lines == 1 for _, lines in heard)
    shares = [share for share, _ in heard]
    assert shares == sorted(shares)
    assert len(shares) > 17
    assert shares[-1] == pytest.approx(1.0, abs=1e-9)
    assert not any(module._forward_hooks for module in made.module.modules())


@pytest.mark.parametrize("variant", ["torch", "tf"])
def test_tiles_on_request(predictor, variant, caplog, monkeypatch):
    """A tile as large as the picture is the whole; smaller ones warn, and count their work to the end."""
    raw = raw_image(300, 420)
    whole = isp.render(predictor(variant, 5), raw)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        torch.testing.assert_close(isp.render(predictor(variant, 5, tile=224), raw), whole)
    monkeypatch.setattr(tiles, "HALO", 32)
    heard = []
    with caplog.at_level(logging.INFO, "rawzoo"), pytest.warns(UserWarning, match="in tiles of 64 .* as was asked for"):
        tiled = isp.render(predictor(variant, 5, tile=79), raw, progress=heard.append)
    assert "in tiles of 64 packed pixels" in caplog.text
    assert heard[-1] == pytest.approx(1.0, abs=1e-9)
    assert tiled.shape == whole.shape
    assert 0 < (tiled - whole).abs().mean() < 0.1


def test_tiles_where_memory_is_short(predictor, monkeypatch):
    made = predictor("torch", 5)
    raw = raw_image(640, 900)
    monkeypatch.setattr(memory, "available", lambda _: memory.needed(made.module, made.dtype, 400**2) / 0.8)
    with pytest.warns(UserWarning, match="in tiles of 144 packed pixels, since only .* GiB of memory are free"):
        isp.render(made, raw)
    monkeypatch.setattr(memory, "available", lambda _: None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        isp.render(made, raw)


def test_images_without_a_bayer_mosaic_are_refused(predictor):
    made = predictor("tf", 5)
    for raw in (
        RawImage.from_array(np.ones((64, 64), np.uint16), white_level=2),
        RawImage.from_array(np.ones((64, 64, 3), np.uint16), white_level=2),
        raw_image(66, 66, XTRANS_PATTERN),
    ):
        with pytest.raises(UsageError, match="pynet-tf-5"):
            task.render(made, raw)
