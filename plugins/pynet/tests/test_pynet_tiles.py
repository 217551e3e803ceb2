"""Tiles with fixed statistics against runs of the whole picture."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rawzoo_pynet import tiles
from rawzoo_pynet.layers import BilinearUp, InstanceNorm, Window
from rawzoo_pynet.topology import VARIANTS, Part

SIDES = st.integers(2, 40).map(lambda n: 16 * n)


def scene(height, width):
    """Light and dark halves, a ramp, stripes and noise: no part of it has the statistics of the whole."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    light = np.where(x > 0.6 * width, 0.5, 0.1) + 0.2 * y / height + 0.05 * np.sin(x * y / 300)
    planes = np.stack([light * tint for tint in (0.6, 1.0, 0.7, 1.0)])
    return torch.from_numpy((planes + 0.02 * rng.standard_normal(planes.shape)).astype(np.float32))


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES, SIDES)
def test_tiles_answer_for_every_pixel_once(height, width, tile):
    owners = np.zeros((height, width), int)
    halo = tiles.HALO
    for read, core in tiles.boxes(height, width, tile):
        owners[core.slices] += 1
        assert read[:2] == (max(core.top - halo, 0), max(core.left - halo, 0))
        assert read[2:] == (min(core.bottom + halo, height), min(core.right + halo, width))
        assert all(edge % 16 == 0 for edge in read)
        assert min(read.height, read.width) >= 32
    assert np.all(owners == 1)


@settings(deadline=None, max_examples=60)
@given(SIDES, SIDES, SIDES)
def test_sample_is_spread_over_the_picture(height, width, tile):
    places = torch.stack(torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij"))
    crops = tiles.sample(places, tile)
    rows, columns = crops.shape[2:]
    assert rows % 16 == columns % 16 == 0
    assert min(rows, columns) >= 32
    allowed = (tile + 2 * tiles.HALO) ** 2
    assert len(crops) * rows * columns <= allowed
    assert crops[:, 0, 0, 0].remainder(16).sum() == crops[:, 1, 0, 0].remainder(16).sum() == 0
    # Centred on the picture, and all of it where that is allowed and in one piece.
    for axis, size in ((0, height), (1, width)):
        assert abs(crops[:, axis].float().mean() - (size - 1) / 2) <= 16
    if height * width <= allowed and max(height, width) <= 512:
        assert crops.shape == (1, 2, height, width)


@pytest.mark.parametrize("top", [0, 5, 20])
@pytest.mark.parametrize("left", [0, 7, 12])
def test_upsampling_of_a_window(top, left):
    """Of a part it is the part of the whole, but for the window's own edges."""
    part = Part("up", "up", 3, 2, 0, 0)
    layer = BilinearUp(part, VARIANTS["torch"])
    x = torch.rand(1, 3, 32, 24, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = layer(x)
        found = layer(x[:, :, top : top + 12, left : left + 12], Window(top, left, 32, 24))
    inner = slice(3, -3)
    expected = whole[:, :, 2 * top : 2 * top + 24, 2 * left : 2 * left + 24]
    torch.testing.assert_close(found[:, :, inner, inner], expected[:, :, inner, inner])


@pytest.mark.parametrize("variant", VARIANTS)
def test_with_the_statistics_of_the_whole(weights, variant, monkeypatch):
    """With these, and a halo as wide as a pixel's reach, tiles equal the whole: sizes, places and borders are right."""
    network = weights.network(variant, 4)
    x = scene(96, 144)
    monkeypatch.setattr(tiles, "HALO", 144)
    monkeypatch.setattr(tiles, "sample", lambda x, _: x[None])
    with torch.inference_mode():
        found = tiles.run(network, x, 48, lambda crops: crops)
        torch.testing.assert_close(found, network(x[None])[0], atol=1e-4, rtol=0)


@torch.inference_mode()
def test_difference_to_the_whole(weights, monkeypatch):
    """The README's figures. Random weights are a hard case: they carry far, and a small change becomes a large one."""
    network = weights.network("torch", 5)
    x = scene(192, 448)
    whole = network(x[None])[0]

    def difference(tile, halo):
        monkeypatch.setattr(tiles, "HALO", halo)
        return (tiles.run(network, x, tile, lambda crops: crops) - whole).abs().mean().item()

    each = torch.cat([network(x[None, :, :, left : left + 112])[0] for left in range(0, 448, 112)], 2)
    naive = (each - whole).abs().mean().item()
    found = {"all of the picture": difference(96, 128), "3/4 of it": difference(96, 80)}
    assert tiles.sample(x, 96).numel() < 0.77 * x.numel()
    assert found["all of the picture"] < 0.03 * naive
    assert found["3/4 of it"] < 0.5 * naive
    assert all(module.kept is None for module in network.modules() if isinstance(module, InstanceNorm))


@torch.inference_mode()
def test_statistics_are_let_go_of_after_an_error(weights):
    network = weights.network("tf", 5)
    x = scene(32, 32)
    before = network(x[None])

    def interrupted():
        with tiles.statistics_of(network, scene(64, 64)[None]):
            assert not torch.allclose(network(x[None]), before, atol=1e-3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    torch.testing.assert_close(network(x[None]), before)
