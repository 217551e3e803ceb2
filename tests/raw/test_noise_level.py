"""How noisy a mosaic is: stated, measured against the truth, assumed."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from rawzoo.raw import noise, noise_level, synthetic
from rawzoo.raw.cfa import XTRANS_PATTERN
from rawzoo.raw.image import Metadata, RawImage

LEVELS = np.array([0.05, 0.2, 0.5])


def shot(clean, profile, cfa="RGGB", bits=14, seed=0, **options):
    black, white = 2 ** (bits - 4), 2**bits - 1
    noisy = noise.add_noise(clean, [profile], np.random.default_rng(seed))
    stored = noise.quantise(noisy, black, white)
    return RawImage.from_array(stored, cfa=cfa, black_level=black, white_level=white, **options)


def scene(height=400, width=600):
    """Light and shadow, a field of texture, edges, a burnt-out patch."""
    y, x = np.mgrid[:height, :width]
    clean = 0.3 + 0.28 * np.sin(x / 90) * np.cos(y / 70)
    clean[: height // 3, : width // 3] *= 0.6 + 0.4 * np.sin(x * y / 50)[: height // 3, : width // 3]
    clean[:, x[0] % 97 < 4] *= 0.3
    clean[-80:, -120:] = 1.2
    return np.minimum(clean, 1.0)


def error(found, truth):
    """Factors by which standard deviations are wrong."""
    assert found is not None
    a, b = found
    return np.sqrt((a * LEVELS + b) / (truth[0] * LEVELS + truth[1]))


@pytest.mark.parametrize("cfa", ["RGGB", "GBRG", XTRANS_PATTERN], ids=["RGGB", "GBRG", "X-Trans"])
@pytest.mark.parametrize("iso", [400, 3200, 25600, 100000])
def test_measured(iso, cfa):
    truth = noise.profile_at_iso(iso)
    found = error(noise_level.measure(shot(scene(), truth, cfa)), truth)
    assert np.all((found > 1 / 1.2) & (found < 1.2)), found


@pytest.mark.parametrize("iso", [800, 6400, 51200])
def test_measured_in_photographs(shared, iso):
    """Within a factor of 1.3, of photographs that are small and full of texture."""
    photographs = sorted(Path(shared, "data", "photos", "clic").glob("*"))[::8]
    truth = noise.profile_at_iso(iso)
    for path in photographs:
        with Image.open(path) as image:
            pixels = torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1)
        linear = synthetic.linear(pixels).numpy()
        mosaic = linear[1].copy()
        mosaic[::2, ::2], mosaic[1::2, 1::2] = linear[0, ::2, ::2] * 0.5, linear[2, 1::2, 1::2] * 0.6
        found = error(noise_level.measure(shot(mosaic, truth)), truth)
        assert np.all((found > 1 / 1.3) & (found < 1.3)), (path.name, found)


@pytest.mark.parametrize("clean", [0.02, 0.4], ids=["dark", "grey"])
def test_one_brightness_alone(clean):
    """Scale and offset cannot be told apart, what they make where the picture is can."""
    truth = noise.profile_at_iso(6400)
    a, b = noise_level.measure(shot(np.full((200, 300), clean), truth))
    assert a * clean + b == pytest.approx(truth[0] * clean + truth[1], rel=0.15)


def test_faults_change_little():
    """Stuck pixels, noise of rows, a black level of 0 that cuts off the noise of shadows, saturation below white."""
    truth = noise.profile_at_iso(6400)
    raw = shot(scene(), truth)
    rng = np.random.default_rng(1)
    stuck = raw.data.copy()
    stuck[rng.random(stuck.shape) < 1e-3] = 16383
    rows = np.clip(raw.data + rng.normal(0, 4, (len(raw.data), 1)), 0, 16383).astype(np.uint16)
    no_black = np.maximum(raw.data.astype(int) - 1024, 0).astype(np.uint16)
    for what, other in {
        "stuck": replace(raw, data=stuck),
        "rows": replace(raw, data=rows),
        "no black": replace(raw, data=no_black, black_level=(0.0,) * 4, white_level=(15359.0,) * 4),
        "saturated": replace(raw, data=np.minimum(raw.data, 12000)),
    }.items():
        found = error(noise_level.measure(other), truth)
        assert np.all((found > 1 / 1.2) & (found < 1.2)), (what, found)


def test_rounding_is_noise():
    raw = shot(scene(), (1e-7, 1e-12), bits=10)
    a, b = noise_level.measure(raw)
    assert b >= (1 / (1023 - 64)) ** 2 / 12
    flat = RawImage.from_array(np.full((64, 64), 500, np.uint16), cfa="RGGB", white_level=1000)
    a, b = noise_level.measure(flat)
    assert a * 0.5 + b == pytest.approx((1 / 1000) ** 2 / 12, rel=0.3)
    assert noise_level.of(replace(flat, data=flat.data.astype(np.float32))).mid_grey_snr > 1e3


def test_more_than_any_sensor_has_is_texture():
    texture = np.random.default_rng(0).uniform(0.1, 0.6, (200, 200))
    raw = shot(texture, noise.profile_at_iso(100))
    ((a, _),) = noise_level.of(replace(raw, metadata=Metadata(iso=100))).profile
    assert a == pytest.approx(100 * noise.SENSORS.scale_per_iso[1])
    assert noise_level.of(raw).profile[0][0] > 10 * a


def test_stated_before_measured():
    raw = shot(
        scene(), noise.profile_at_iso(6400), noise_profile=[(0.01, -1e-9), (0.02, 1e-4), (0.03, 1e-4), (0.0, 0.0)]
    )
    level = noise_level.of(raw)
    assert level.profile == ((0.01, 0.0), (0.02, 1e-4), (0.03, 1e-4), (0.0, 0.0))
    assert (level.source, level.assumed) == ("stated in the file", False)
    assert level.mid_grey_snr == pytest.approx(0.18 / math.sqrt(0.025 * 0.18 + 1e-4))
    # Zeros state nothing.
    level = noise_level.of(replace(raw, noise_profile=((0.0, 0.0),)))
    assert (level.source, level.assumed) == ("measured in the mosaic", False)


@pytest.mark.parametrize("size", [(1, 1), (2, 5), (16, 16), (40, 3)])
@pytest.mark.parametrize("cfa", ["RGGB", XTRANS_PATTERN], ids=["bayer", "xtrans"])
def test_too_small_to_measure(size, cfa):
    raw = RawImage.from_array(np.full(size, 500, np.uint16), cfa=cfa, white_level=1000)
    assert noise_level.measure(raw) is None
    level = noise_level.of(replace(raw, metadata=Metadata(iso=3200)))
    assert level.profile == (noise.profile_at_iso(3200),)
    assert level.assumed
    assert "ISO 3200" in level.source
    done = noise_level.of(replace(raw, metadata=Metadata(iso=3200), noise_reduction=1.0))
    assert (done.profile, done.source, done.assumed) == (((0.0, 0.0),), "taken away already, as the file says", False)
    level = noise_level.of(raw)
    assert level.profile == (noise.profile_at_iso(noise_level.DEFAULT_ISO),)
    assert "ISO 800" in level.source
    assert "neither" in level.source


def test_saturated_all_over():
    raw = RawImage.from_array(np.full((300, 300), 1000, np.uint16), cfa="RGGB", white_level=1000)
    assert noise_level.measure(raw) is None
