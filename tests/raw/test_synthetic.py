import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

import rawzoo
from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.raw import color, noise, synthetic
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN, channel_tile, color_tile


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def exposures(n: int = 4, seed: int = 0, **settings) -> synthetic.Exposures:
    return synthetic.random_exposures(n, synthetic.Settings(**settings), generator(seed))


def photographs(n: int = 4, size: int = 24) -> torch.Tensor:
    return torch.rand(n, 3, size, size, generator=generator(9))


def test_linear_is_the_srgb_curve():
    x = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16).expand(3, 16, 16)
    assert np.allclose(synthetic.linear(x).numpy(), color.srgb_decode(x.numpy() / 255), atol=1e-7)


@pytest.mark.parametrize("cfa", [*BAYER_PATTERNS, XTRANS_PATTERN])
def test_a_clean_mosaic_holds_the_target_at_each_cell(cfa):
    recorded = synthetic.expose(photographs(), exposures().at_noise(0.0, 0.0), cfa, generator())
    tile = torch.from_numpy(color_tile(cfa))
    period = len(tile)
    for y in range(period):
        for x in range(period):
            got = recorded.mosaic[:, 0, y::period, x::period]
            assert torch.allclose(got, recorded.target[:, tile[y, x], y::period, x::period], atol=1e-6)
    assert recorded.cfa == cfa
    assert not recorded.noise.any()


def test_vivid_colours_are_those_of_the_photograph():
    """And nothing else is drawn differently."""
    vivid, plain = exposures(vivid=1.0), exposures()
    assert torch.equal(vivid.matrix, torch.eye(3).expand(4, 3, 3))
    for name in vars(plain).keys() - {"matrix"}:
        assert torch.equal(getattr(vivid, name), getattr(plain, name)), name
    recorded = synthetic.expose(photographs(), vivid.at_noise(0.0, 0.0), "RGGB", generator())
    assert torch.allclose(recorded.target, photographs(), atol=1e-6)
    some = exposures(400, vivid=0.5).matrix
    assert 150 < (some == torch.eye(3)).all(2).all(1).sum() < 250


def test_the_way_back_gives_the_photograph():
    clean = exposures().at_noise(0.0, 0.0)
    recorded = synthetic.expose(photographs(), clean, "RGGB", generator())
    assert torch.allclose(torch.einsum("nij,njhw->nihw", recorded.to_srgb, recorded.target), photographs(), atol=1e-4)
    white = synthetic.expose(torch.ones(4, 3, 8, 8), clean, "RGGB", generator())
    assert torch.allclose(white.target, torch.ones(4, 3, 8, 8), atol=1e-5)
    assert torch.allclose(clean.matrix.sum(2), torch.ones(4, 3), atol=1e-5)


@pytest.mark.parametrize(("cfa", "channels"), [("GBRG", 4), (XTRANS_PATTERN, 3)])
def test_the_noise_is_the_one_stated(cfa, channels):
    """Mean and variance of each channel of the balanced mosaic, against scipy's chi-squared bounds."""
    level, size = 0.25, 240
    e = replace(exposures(1), brightness=torch.ones(1)).at_noise(2e-3, 1e-5)
    recorded = synthetic.expose(torch.full((1, 3, size, size), level), e, cfa, generator(3))
    tile = np.tile(channel_tile(cfa), (size // len(channel_tile(cfa)),) * 2)
    assert recorded.noise.shape == (1, channels, 2)
    for channel in range(channels):
        values = recorded.mosaic[0, 0].numpy()[tile == channel].astype(np.float64)
        a, b = recorded.noise[0, channel].tolist()
        assert values.mean() == pytest.approx(level, abs=5 * math.sqrt((a * level + b) / values.size))
        ratio = values.var() / (a * level + b)
        low, high = stats.chi2.ppf([1e-4, 1 - 1e-4], values.size) / values.size
        assert low * 0.97 < ratio < high * 1.03


def test_profile_and_mosaic_agree_with_the_noise_model_of_numpy():
    """The same electrons as rawzoo.raw.noise.add_noise, as distributions (Kolmogorov-Smirnov)."""
    e = replace(exposures(1).at_noise(1e-2, 1e-4), gains=torch.ones(1, 3), matrix=torch.eye(3)[None])
    ours = synthetic.expose(torch.full((1, 3, 96, 96), 0.1), e, "RGGB", generator(1)).mosaic.flatten().numpy()
    theirs = noise.add_noise(np.full((96, 96), 0.1), [(1e-2, 1e-4)], np.random.default_rng(0)).ravel()
    assert stats.ks_2samp(ours, theirs).pvalue > 0.01


def test_highlights_saturate_where_the_sensor_does():
    e = exposures(1).at_noise(0.0, 0.0)
    bright = replace(e, brightness=torch.full((1,), 8.0))
    recorded = synthetic.expose(torch.ones(1, 3, 8, 8), bright, "RGGB", generator())
    assert torch.allclose(recorded.target[0, :, 0, 0], e.gains[0])
    clipped = synthetic.expose(torch.ones(1, 3, 8, 8), replace(bright, clip=torch.ones(1)), "RGGB", generator())
    assert clipped.target.max() == clipped.mosaic.max() == 1


def test_quantisation_is_that_of_the_converter():
    e = replace(exposures(1).at_noise(1e-3, 1e-4), gains=torch.ones(1, 3), levels=torch.full((1,), 960.0))
    mosaic = synthetic.expose(photographs(1), e, "RGGB", generator()).mosaic * 960
    assert torch.allclose(mosaic, mosaic.round(), atol=1e-3)
    assert mosaic.min() >= -64
    fine = synthetic.expose(photographs(1), replace(e, levels=torch.full((1,), torch.inf)), "RGGB", generator())
    steps = synthetic.expose(photographs(1), e, "RGGB", generator())
    added = (steps.noise - fine.noise)[0]
    assert torch.allclose(added[:, 1], torch.full((4,), 1 / (12 * 960**2)), rtol=0.05)
    assert not added[:, 0].any()


def test_rows_black_level_and_stuck_pixels():
    e = replace(exposures(1).at_noise(0.0, 0.0), gains=torch.ones(1, 3))
    grey = torch.full((1, 3, 64, 64), 0.2)

    def mosaic(**changes: float) -> torch.Tensor:
        changed = replace(e, **{name: torch.full((1,), value) for name, value in changes.items()})
        return synthetic.expose(grey, changed, "RGGB", generator()).mosaic[0, 0]

    rows = mosaic(rows=0.01)
    assert rows.std(1).max() < 1e-6
    assert rows.mean(1).std() == pytest.approx(0.01, rel=0.3)
    assert mosaic(black_error=0.01).mean() == pytest.approx(0.21, abs=1e-5)
    wrong = (mosaic(defects=0.05) - 0.2).abs() > 1e-4
    assert float(wrong.float().mean()) == pytest.approx(0.05, abs=0.02)


def test_a_seed_is_all_there_is_to_chance():
    def make(seed: int) -> synthetic.Recorded:
        g = generator(seed)
        return synthetic.expose(photographs(), synthetic.random_exposures(4, synthetic.Settings(), g), "BGGR", g)

    first, again, other = make(5), make(5), make(6)
    assert torch.equal(first.mosaic, again.mosaic)
    assert torch.equal(first.noise, again.noise)
    assert not torch.equal(first.mosaic, other.mosaic)


def test_the_population_is_within_its_bounds():
    settings = synthetic.Settings(clean=0.1)
    e = synthetic.random_exposures(4000, settings, generator())
    clean = e.scale == 0
    assert float(clean.float().mean()) == pytest.approx(0.1, abs=0.02)
    assert e.scale[~clean].min() >= 50 * 6e-8 * 0.99
    assert e.scale.max() <= 0.05 * 1.01
    assert torch.all(e.gains[:, 1] == 1)
    assert 1.2 <= float(e.gains[:, 0].min()) <= float(e.gains[:, 0].max()) <= 2.8
    assert torch.isfinite(e.levels[~clean]).all()
    for name in ("offset", "rows", "black_error", "defects"):
        assert not getattr(e, name)[clean].any(), name
    # The published profiles are no strangers in it: each lies within the middle 99 % at its scale.
    published = np.array([(3.28e-3, 4.7e-5), (2.8e-4, 2e-8), (4.0e-3, 3.6e-5)])
    electrons = (e.offset[~clean].sqrt() / e.scale[~clean]).numpy()
    for a, b in published:
        near = electrons[np.abs(np.log(e.scale[~clean].numpy() / a)) < 0.7]
        low, high = np.quantile(near, [0.005, 0.995])
        assert low < math.sqrt(b) / a < high


def test_a_demosaicer_takes_it_back():
    """The mosaic's phase and balance are those the rest of rawzoo works with."""
    y, x = torch.meshgrid(torch.linspace(0, 3, 48), torch.linspace(0, 2, 48), indexing="ij")
    smooth = torch.stack([0.4 + 0.2 * torch.sin(y + c) * torch.cos(x) for c in range(3)])[None]
    recorded = synthetic.expose(smooth, exposures(1).at_noise(0.0, 0.0), "GRBG", generator())
    rgb = ops.demosaic(recorded.mosaic[0, 0], "GRBG", method="menon")
    assert torch.allclose(rgb[:, 4:-4, 4:-4], recorded.target[0][:, 4:-4, 4:-4], atol=2e-3)


def test_another_number_of_pictures_is_refused():
    with pytest.raises(UsageError, match=r"\[4, 3, H, W\]"):
        synthetic.expose(photographs(3), exposures(4), "RGGB", generator())


@pytest.mark.parametrize("cfa", ["GBRG", XTRANS_PATTERN])
def test_a_photograph_made_raw_develops_to_itself(cfa):
    """Levels, white balance and colour matrix of the raw image belong together."""
    pixels = np.full((36, 48, 3), (0.45, 0.3, 0.6), np.float32)
    pixels[:, 24:] = (0.5, 0.5, 0.5)
    raw, target = synthetic.photographed(pixels, (0.0, 0.0), cfa, seed=3)
    camera = rawzoo.develop(raw, space="camera", dtype="float32")
    flat = np.r_[6:18, 30:42]
    np.testing.assert_allclose(camera[6:-6, flat], target[6:-6, flat], atol=1e-5)
    found = rawzoo.develop(raw, tone="none", dtype="uint16") / 65535
    # Highlights end where the first channel saturates, so the picture may be brighter.
    gain = found[18, 36, 1] / 0.5
    linear = color.srgb_decode(found[6:-6, flat]) / color.srgb_decode(found[18, 36])
    np.testing.assert_allclose(linear, color.srgb_decode(pixels[6:-6, flat]) / color.srgb_decode(0.5), atol=2e-3)
    assert gain >= 1.0


def test_noise_of_a_photograph_made_raw():
    a, b = 0.01, 0.002
    raw, _ = synthetic.photographed(np.full((200, 300, 3), 0.6, np.float32), (a, b), "RGGB", seed=1)
    clean, _ = synthetic.photographed(np.full((200, 300, 3), 0.6, np.float32), (0.0, 0.0), "RGGB", seed=1)
    assert raw.noise_profile == ((a, b),)
    for y, x in ((0, 0), (0, 1), (1, 1)):
        level = float(clean.data[y, x])
        assert np.var(raw.data[y::2, x::2] - level) == pytest.approx(a * level + b, rel=0.05)
