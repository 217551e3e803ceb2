"""rawzoo's own denoiser: what it starts from, what it sees, and that it trains."""

import pytest
import torch
from torch.nn import functional

import rawzoo
from rawzoo import ops
from rawzoo.inference.predictor import Predictor
from rawzoo.tasks.demosaic import demosaic
from rawzoo.zoo import registry
from rawzoo_naf.denoiser import CELL, Denoiser, _level, decode, encode
from rawzoo_naf.plugin import DENOISERS

NONE = torch.zeros(1, 4, 2)
TINY = DENOISERS[0]


def noisy(a, b):
    return torch.tensor([[[a, b]] * 4])


@pytest.fixture(scope="module")
def mosaic():
    """A smooth picture with edges through a Bayer array, ``[1, 1, 96, 128]``."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 96), torch.linspace(0, 1, 128), indexing="ij")
    picture = 0.02 + 0.4 * torch.stack([x, y, 1 - x]) + 0.3 * ((x + y) * 6 % 1 > 0.5)
    return functional.pixel_shuffle(functional.pixel_unshuffle(picture, 2)[[0, 5, 6, 11]][None], 2)


def test_encoding_is_that_of_the_native_demosaicers(mosaic):
    """Demosaicing on square roots, decoded, is what ops.demosaic makes with encode="sqrt"."""
    x = mosaic[0, 0] - 0.1  # values below zero too
    expected = ops.demosaic(x, "RGGB", "gbtf", encode="sqrt")
    torch.testing.assert_close(decode(ops.demosaic(encode(x), "RGGB", "gbtf")), expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(decode(encode(x)), x, rtol=0, atol=1e-6)


def test_untrained_it_is_gbtf_without_noise_and_malvar_in_noise(mosaic):
    net = Denoiser(**TINY.config).eval()
    x = functional.pixel_unshuffle(mosaic, 2)
    gbtf = ops.demosaic(mosaic[0, 0], "RGGB", "gbtf", encode="sqrt")
    malvar = decode(ops.demosaic(encode(mosaic[0, 0]), "RGGB", "malvar"))
    inside = (slice(None), slice(4, -4), slice(4, -4))
    with torch.inference_mode():
        assert (net(x, NONE)[0] - gbtf).abs().max() < 1e-3
        assert (decode(net.encoded(x, noisy(0.1, 1e-2)))[0] - malvar)[inside].abs().max() < 1e-3
    assert (gbtf - malvar).abs().max() > 0.02


def test_batch_is_what_its_pictures_are_alone(mosaic):
    torch.manual_seed(0)
    net = randomised(Denoiser(**TINY.config))
    x = functional.pixel_unshuffle(mosaic, 2)
    x = torch.cat([x, x.flip(3)])
    noise = torch.cat([noisy(1e-3, 1e-6), noisy(3e-2, 1e-3)])
    with torch.inference_mode():
        alone = torch.cat([net(x[i : i + 1], noise[i : i + 1]) for i in range(2)])
        torch.testing.assert_close(net(x, noise), alone, rtol=0, atol=1e-5)


def randomised(net):
    """Weights that no output hides behind: blocks and head start at zero."""
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 4:
                parameter.normal_(0, 0.7 / parameter[0].numel() ** 0.5)
    return net.eval()


@pytest.mark.parametrize("card", DENOISERS, ids=lambda card: card.name)
def test_halo_and_period_are_what_a_pixel_depends_on(card):
    """Weights all positive, so that nothing cancels; thin layers, for the reach does not depend on widths."""
    net = Denoiser(**{**card.config, "widths": [4, 4, 4]})
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim == 4:
                parameter.fill_(1 / parameter[0].numel())
    assert card.period == CELL >= 2 ** (len(card.config["widths"]) - 1)
    centre = -(-card.halo // card.period) * card.period + 4 * card.period
    size = 2 * centre + card.period
    reach = 0
    for phase in range(card.period):
        x = torch.rand(1, 4, size, size).add_(0.1).requires_grad_()
        inputs = torch.cat([x] * 4, 1)
        y = net._body(inputs, x, torch.ones(1, 32))
        y[0, :, centre + phase, centre + phase].sum().backward()
        seen = x.grad.abs().amax((0, 1)).nonzero()
        reach = max(reach, centre + phase - int(seen.min()), int(seen.max()) - centre - phase)
    # gbtf, in the inputs, sees 9 pixels of the mosaic: 5 of a packed plane.
    assert card.halo == reach + 5 + reach_of_level()


def reach_of_level():
    """How many packed pixels away a sample moves the level of a picture."""
    size, middle, reach = 12 * CELL, 6 * CELL, 0
    rgb = torch.full((1, 3, 2 * size, 2 * size), 0.3)
    for phase in range(CELL):
        x = torch.full((1, 4, size, size), 0.31, requires_grad=True)
        level = _level(rgb, x, noisy(1e-2, 1e-4))
        level[0, :, 2 * (middle + phase) : 2 * (middle + phase + 1), 2 * (middle + phase)].sum().backward()
        seen = x.grad.abs().amax((0, 1)).nonzero()
        reach = max(reach, middle + phase - int(seen.min()), int(seen.max()) - middle - phase)
    return reach


def test_the_picture_has_the_level_of_its_samples():
    """Too dark by a tenth, in noise: what comes back is right on average; but not what the sensor clipped, and nothing
    without noise."""
    generator = torch.Generator().manual_seed(0)
    for value, expected in ((0.01, 0.01), (0.3, 0.3), (1.0, 0.9)):
        clean = torch.full((1, 4, 256, 128), value)
        a, b = 1e-2, 1e-4
        x = clean + (a * clean + b).sqrt() * torch.randn(clean.shape, generator=generator)
        rgb = torch.full((1, 3, 512, 256), 0.9 * value)
        rgb[:, :, :, :100] = value
        found = rgb + _level(rgb, x, noisy(a, b))
        right = found[0, :, :, 180:]
        assert right.mean((1, 2)) == pytest.approx([expected] * 3, rel=0.04), value
        assert found[0, :, :, :20].mean((1, 2)) == pytest.approx([value] * 3, rel=0.04)
        assert not _level(rgb, x, NONE).any()


def test_a_colour_has_one_level_between_its_samples_too():
    x, noise, sigma = torch.full((1, 4, 64, 64), 0.1), noisy(1e-2, 1e-4), (1e-2 * 0.1 + 1e-4) ** 0.5
    right, off = torch.full((1, 3, 128, 128), 0.1), torch.zeros(1, 3, 128, 128)
    off[:, :, ::2, 1::2] = 0.04 * sigma  # a site of green
    found = right + off + _level(right + off, x, noise)
    assert found.mean((2, 3))[0] == pytest.approx([0.1] * 3, rel=1e-3)
    # Lines as fine as the mosaic, seen rightly, are not taken for an error.
    stripes = right.clone()
    stripes[..., ::2] += 0.08
    sampled = torch.stack([stripes[0, c, y::2, x::2] for c, y, x in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1))])
    assert _level(stripes, sampled[None], noise).abs().max() <= 0.0501 * (1e-2 * 0.18 + 1e-4) ** 0.5


@pytest.mark.parametrize("cfa", ["RGGB", "GRBG", "GBRG", "BGGR"])
def test_tiles_of_every_phase_change_nothing(cfa):
    torch.manual_seed(0)
    net = randomised(Denoiser(**TINY.config))
    x = torch.rand(141, 190) ** 2
    whole, tiled = (
        demosaic(Predictor(TINY, net, tile=tile, dtype="float32"), x, cfa, noise=[(1e-3, 1e-6)]) for tile in (None, 24)
    )
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-5)
    assert whole.std() > 0.1


def test_bfloat16_is_near_float32():
    torch.manual_seed(0)
    net = randomised(Denoiser(**TINY.config))
    x = torch.rand(64, 64)
    full, half = (
        demosaic(Predictor(TINY, net, dtype=dtype), x, "RGGB", noise=[(1e-3, 1e-6)])
        for dtype in ("float32", "bfloat16")
    )
    error = (full - half).abs().max()
    assert 0 < error < 0.05 * full.abs().max()


def test_noise_levels_of_all_kinds_are_finite():
    """None; photons only; reading only; both extreme."""
    net = randomised(Denoiser(**TINY.config))
    x = torch.linspace(-0.5, 4, 4 * 16 * 16).reshape(1, 4, 16, 16)
    with torch.inference_mode():
        for a, b in ((0.0, 0.0), (1e-3, 0.0), (0.0, 1e-4), (1e-9, 1e-2), (1.0, 1.0)):
            assert net(x, noisy(a, b)).isfinite().all()
            assert net(torch.zeros_like(x), noisy(a, b)).isfinite().all()


def test_it_learns_and_every_parameter_gets_a_gradient(mosaic):
    torch.manual_seed(0)
    net = Denoiser(widths=(8, 12, 16), encoder=(1, 1), middle=1, decoder=(1, 1))
    clean = ops.demosaic(mosaic[0, 0], "RGGB", "gbtf", encode="sqrt")[None]
    x = functional.pixel_unshuffle(mosaic + 0.05 * torch.randn(mosaic.shape), 2)
    noise = noisy(0.0, 0.05**2)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    losses = []
    for _ in range(60):
        loss = (net.encoded(x, noise) - encode(clean)).abs().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert all(parameter.grad is not None for parameter in net.parameters())
    assert losses[-1] < 0.9 * losses[0]


def test_cards_are_listed():
    names = [card.name for card in rawzoo.models("demosaic")]
    assert {"naf-tiny", "naf-small", "naf-base"} <= set(names)
    assert isinstance(registry.build(TINY), Denoiser)
