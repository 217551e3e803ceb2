"""The demo's scene: the light that was put in must come out."""

import numpy as np
import pytest

from rawzoo.raw import color
from rawzoo.scene import CHART_SRGB, render_scene


@pytest.fixture(scope="module")
def scene():
    return render_scene(256, 384)


def test_is_linear_light_with_a_small_clipped_part(scene):
    assert scene.shape == (256, 384, 3)
    assert scene.dtype == np.float32
    assert scene.min() >= 0
    assert scene.max() > 10
    assert 1e-4 < np.mean(scene.max(axis=2) > 1) < 0.01
    assert 0.1 < scene.mean() < 0.4


def test_is_the_same_every_time_and_at_every_size(scene):
    assert np.array_equal(scene, render_scene(256, 384))
    half = render_scene(128, 192)
    reduced = scene.reshape(128, 2, 192, 2, 3).mean(axis=(1, 3))
    # Edges and fine texture differ; the picture does not.
    assert np.median(np.abs(half - reduced)) < 2e-3


def test_glow_surrounds_the_bulb(scene):
    y, x = np.argwhere(scene.max(axis=2) > 10).mean(axis=0).round().astype(int)
    brightness = scene[y, x + np.array([12, 20, 40, 80])].sum(axis=-1)
    assert np.all(np.diff(brightness) < 0)


def test_chart_shows_its_published_colours(scene):
    # Centres of the corner patches; the chart is close to a parallelogram.
    corners = np.array([[[117, 22], [117, 130]], [[186, 24], [183, 131]]], float)
    lit = []
    for row in range(4):
        for column in range(6):
            u, v = column / 5, row / 3
            left = corners[0, 0] * (1 - v) + corners[1, 0] * v
            right = corners[0, 1] * (1 - v) + corners[1, 1] * v
            y, x = (left * (1 - u) + right * u).round().astype(int)
            lit.append(scene[y - 2 : y + 3, x - 2 : x + 3].mean(axis=(0, 1)))
    light = np.array(lit) / color.srgb_decode(np.array(CHART_SRGB) / 255)
    # One light falls on all of them: nearly white, and changing slowly over the chart.
    assert np.all(light.std(axis=0) < 0.08 * light.mean(axis=0))
    red, blue = light[:, 0] / light[:, 1], light[:, 2] / light[:, 1]
    assert np.all(np.abs(red - 1) < 0.02)
    assert np.all(np.abs(blue - 1) < 0.02)
