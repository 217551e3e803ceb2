"""rawzoo's own joint denoiser and demosaicer: a small U-Net of dense convolutions over the packed Bayer mosaic.

What made the choices, all measured on two CPU cores with bfloat16:

* Dense 3x3 convolutions run at 160 to 220 GMAC/s there; layer normalisation of the same planes takes as long as one of
  them, and a depthwise block a third more than one. So there is neither, and several times the arithmetic for the time.
* It learns the difference to a demosaiced picture. At low noise that is :func:`rawzoo.ops.demosaic` by ``gbtf``, which
  costs next to nothing; as noise rises it fades into a learned linear filter that starts as Malvar's.
* No normalisation or pooling over the picture: each pixel depends on a finite neighbourhood, so tiles are exact.
* What is sunk in noise comes out of such a network too dark or too bright, by up to a tenth of its value. The means of
  the noisy samples are right, so the picture is moved to them (:func:`_level`); this is not trained.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo import ops

#: Of the square-root encoding, as in :func:`rawzoo.ops.demosaic` with ``encode="sqrt"``.
PEDESTAL = 1 / 512
_ROOT = math.sqrt(PEDESTAL)

#: What blocks are told about the noise.
_FEATURES = 32

# More than gbtf looks around; even, so that the phase stays.
_MARGIN = 10

#: Edge, in packed pixels, of the cells over which :func:`_level` takes means, and how it weighs a cell's neighbours.
CELL = 8
_WEIGHTS = (1, 2, 3, 4, 3, 2, 1)

# Of the noise, what means between samples may differ from those of the samples and be the network's doing.
_TEXTURE = 0.05


def encode(x: Tensor) -> Tensor:
    """The network's domain: ``sign(x) (sqrt(|x| + p) - sqrt(p))``, p = 1/512. Values below zero pass, so shadows keep
    their mean."""
    return torch.copysign((x.abs() + PEDESTAL).sqrt() - _ROOT, x)


def decode(y: Tensor) -> Tensor:
    """The inverse of :func:`encode`."""
    return y * (y.abs() + 2 * _ROOT)


class Block(nn.Module):
    """``x + conv(relu(conv(x) + shift))``, both 3x3; starts as the identity.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.second = nn.Conv2d(width, width, 3, padding=1)
        nn.init.zeros_(self.second.weight)

    def forward(self, x: Tensor, shift: Tensor) -> Tensor:
        """``[N, width, h, w]`` to the same; ``shift`` ``[N, width, 1, 1]``."""
        if len(x) == 1:  # as the convolution's bias it costs nothing
            hidden = functional.conv2d(x, self.first.weight, shift.flatten(), padding=1)
        else:
            hidden = self.first(x) + shift.to(x.dtype)
        out: Tensor = self.second(hidden.relu_())
        return out.add_(x)


class Stage(nn.Module):
    """Blocks one after the other, which know the noise by a shift of their hidden channels.

    Args:
        width: channels.
        count: blocks.
    """

    def __init__(self, width: int, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(Block(width) for _ in range(count))
        self.shifts = nn.Linear(_FEATURES, count * width)

    def forward(self, x: Tensor, features: Tensor) -> Tensor:
        """``[N, width, h, w]`` to the same; ``features`` ``[N, 32]``."""
        shifts: Tensor = self.shifts(features)[:, :, None, None]
        for block, shift in zip(self.blocks, shifts.chunk(len(self.blocks), dim=1), strict=True):
            x = block(x, shift)
        return x


class Denoiser(nn.Module):
    """Noisy packed mosaics to clean camera RGB of twice their size.

    The input, and with it the noise, may be of any camera: white balance makes colours comparable, and the level of the
    noise is told. Weights stay in float32; under autocast only the body computes in lower precision.

    Args:
        widths: channels of each level, from the packed mosaic's size downwards; each level has half the size.
        encoder: blocks at each level but the last, on the way down.
        middle: blocks at the last level.
        decoder: blocks at each level but the last, on the way up; same order as ``encoder``.
    """

    #: For :class:`rawzoo.inference.predictor.Predictor`: lower precision by autocast, not by casting weights and input.
    autocast = True

    def __init__(self, widths: Sequence[int], encoder: Sequence[int], middle: int, decoder: Sequence[int]) -> None:
        super().__init__()
        self.linear = nn.Conv2d(4, 12, 3, padding=1, bias=False)
        self.fade = nn.Linear(8, 1)
        self.noise = nn.Sequential(nn.Linear(8, _FEATURES), nn.SiLU())
        # Square roots, stabilised, and the eight colours gbtf adds to each 2x2 cell.
        self.intro = nn.Conv2d(16, widths[0], 3, padding=1)
        steps = list(itertools.pairwise(widths))
        self.averages = nn.ModuleList(nn.Conv2d(4, b, 3, padding=1, bias=False) for _, b in steps)
        self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in steps)
        self.up = nn.ModuleList(nn.Conv2d(b, 4 * a, 1, bias=False) for a, b in steps)
        self.encoder = nn.ModuleList(Stage(width, n) for width, n in zip(widths, [*encoder, middle], strict=True))
        self.decoder = nn.ModuleList(Stage(width, n) for width, n in zip(widths[:-1], decoder, strict=True))
        self.outro = nn.Conv2d(widths[0], 12, 3, padding=1)
        self._start()

    def _start(self) -> None:
        """The network starts as its skip path, each block as the identity."""
        with torch.no_grad():
            # Malvar's filters, read off their response to a single sample of each plane.
            for plane in range(4):
                sample = torch.zeros(1, 4, 9, 9)
                sample[0, plane, 4, 4] = 1.0
                rgb = ops.demosaic(functional.pixel_shuffle(sample, 2)[0, 0], "RGGB", "malvar")
                response = functional.pixel_unshuffle(rgb[None], 2)[0, :, 3:6, 3:6]
                self.linear.weight[:, plane] = response.flip(1, 2)
            # All gbtf without noise, half of it at a = 1e-3, a seventh at 4e-3.
            self.fade.weight.zero_()
            self.fade.weight[:, :4] = -1.5
            self.fade.bias.fill_(1.5)
            nn.init.zeros_(self.outro.weight)
            assert self.outro.bias is not None
            nn.init.zeros_(self.outro.bias)

    def forward(self, x: Tensor, noise: Tensor) -> Tensor:
        """Linear camera RGB.

        Args:
            x: float32 ``[N, 4, h, w]``, white-balanced planes R, Gr, Gb, B, not clipped below, white at 1 or above; h
                and w multiples of ``2 ** (levels - 1)``, and of :data:`CELL` for tiles to agree.
            noise: float32 ``[N, 4, 2]``: a and b of each plane in the units of x, where the noise has variance
                a x + b; zeros for none. Larger numbers denoise more.

        Returns:
            float32 ``[N, 3, 2h, 2w]`` in the units of x.
        """
        rgb = decode(self.encoded(x, noise)).contiguous()
        with _full_precision(x.device.type):
            return _level(rgb, x, noise).add_(rgb)

    def encoded(self, x: Tensor, noise: Tensor) -> Tensor:
        """:func:`encode` of what :meth:`forward` gives: the domain that training compares in."""
        with _full_precision(x.device.type):
            root = encode(x)
            directed = _directed(root)
            stabilised, level = _stabilised(x, noise)
            fade = self.fade(level).sigmoid()[:, :, None, None]
            skip = torch.lerp(self.linear(root), directed, fade)
        difference = self._body(torch.cat([root, stabilised, directed[:, _ADDED]], dim=1), x, self.noise(level))
        return functional.pixel_shuffle(skip + difference, 2)

    def encode(self, rgb: Tensor) -> Tensor:
        """:func:`encode`, for training."""
        return encode(rgb)

    def _body(self, inputs: Tensor, x: Tensor, features: Tensor) -> Tensor:
        y: Tensor = self.encoder[0](self.intro(inputs), features)
        skips = []
        for level in range(1, len(self.encoder)):
            skips.append(y)
            # Means of samples before the root: roots of noisy samples have another mean.
            mean = encode(functional.avg_pool2d(x, 2**level))
            y = self.encoder[level](self.down[level - 1](y) + self.averages[level - 1](mean), features)
        for level in reversed(range(len(self.decoder))):
            y = self.decoder[level](functional.pixel_shuffle(self.up[level](y), 2) + skips[level], features)
        difference: Tensor = self.outro(y)
        return difference


def _full_precision(device: str) -> AbstractContextManager[None]:
    return torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext()


# Of gbtf's picture as 12 planes (colour, then site of the cell): those that are not samples of the mosaic themselves.
_ADDED = [1, 2, 3, 4, 7, 8, 9, 10]


# Planes of the mosaic that have R, G and B, and the colour of each plane.
_COLORS = [0, 1, 3]
_COLOR_OF = [0, 1, 1, 2]


def _directed(root: Tensor) -> Tensor:
    """gbtf of packed planes, ``[N, 12, h, w]``; no gradient."""
    with torch.no_grad():
        mosaics = functional.pixel_shuffle(root, 2)[:, 0]
        n = len(mosaics)
        if n == 1:
            rgb = ops.demosaic(mosaics[0], "RGGB", "gbtf")[None]
        else:  # one call for all, each with its own margin
            tall = functional.pad(mosaics, (_MARGIN,) * 4, mode="reflect").flatten(0, 1)
            rgb = ops.demosaic(tall, "RGGB", "gbtf").reshape(3, n, -1, tall.shape[1]).transpose(0, 1)
            rgb = rgb[:, :, _MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        return functional.pixel_unshuffle(rgb, 2)


def _level(rgb: Tensor, x: Tensor, noise: Tensor) -> Tensor:
    """What the picture lacks to have the means of the noisy samples around each pixel, ``[N, 3, 2h, 2w]``.

    Measured, and put back, in units of the noise: so a bright part of the surroundings, whose mean is less certain,
    does not shift a dark one. Surroundings that the sensor may have clipped do not count; without noise it is nothing.
    """
    sampled = (rgb[:, color, row::2, column::2] for color, row, column in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1)))
    planes = torch.stack(list(sampled), dim=1)
    a, b = noise[:, :, :, None, None].unbind(2)
    # A defect of the sensor counts as no more than the largest noise.
    largest = _sigma(planes, a, b).mul_(6.0)
    off, mean = _cells((x - planes).clamp(-largest, largest)), _cells(planes)
    sigma = _sigma(mean, a, b).clamp(min=1e-9)
    # Between its samples a colour may be off by a little more or less; a larger difference is texture.
    between = mean - _cells(rgb, 2 * CELL)[:, _COLOR_OF]
    off = off + between.clamp(-_TEXTURE * sigma, _TEXTURE * sigma)
    # From 3 to 5 sigma below white, gradually: a limit would choose between the darker and the brighter of equal cells.
    counts = ((1.0 - mean) / sigma - 3.0).mul(0.5).clamp(0.0, 1.0)
    off = off * counts / sigma
    cells = torch.cat([off[:, :1], off[:, 1:3].mean(1, keepdim=True), off[:, 3:]], dim=1)
    counts = torch.cat([counts[:, :1], counts[:, 1:3].mean(1, keepdim=True), counts[:, 3:]], dim=1)
    off = _around(cells) / (_around(counts) + 0.01)
    shift = functional.interpolate(off, scale_factor=2.0 * CELL, mode="bilinear")[:, :, : rgb.shape[2], : rgb.shape[3]]
    return _sigma(rgb, a[:, _COLORS], b[:, _COLORS]).mul_(shift)


def _cells(x: Tensor, edge: int = CELL) -> Tensor:
    """Means over cells, the last ones filled up with what is at the edge."""
    whole = functional.pad(x, (0, -x.shape[3] % edge, 0, -x.shape[2] % edge), mode="replicate")
    return functional.avg_pool2d(whole, edge)


def _around(x: Tensor) -> Tensor:
    """Sums over neighbouring cells, by weight."""
    weights = x.new_tensor(_WEIGHTS) / sum(_WEIGHTS)
    channels, reach = x.shape[1], len(_WEIGHTS) // 2
    x = functional.conv2d(x, weights.expand(channels, 1, 1, -1), padding=(0, reach), groups=channels)
    return functional.conv2d(x, weights[:, None].expand(channels, 1, -1, 1), padding=(reach, 0), groups=channels)


def _sigma(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Standard deviation of the noise of values; a and b broadcast to ``x``."""
    return x.clamp(min=0.0).mul_(a).add_(b).sqrt_()


def _stabilised(x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """Planes in which noise is even, and what there is to know about it, ``[N, 8]``, each about -1 to 2.

    The generalised Anscombe transform, moved and scaled so that 0 and 1 stay: ``2 sqrt(x + k)`` with k = b/a + 3a/8. As
    noise vanishes it becomes the square root, and with Gaussian noise alone the identity.
    """
    a, b = noise.unbind(-1)
    a = torch.maximum(a, 1e-3 * b).clamp(min=1e-12)
    k = b / a + 0.375 * a
    scale = (1 + k).sqrt() + k.sqrt()
    k_map, scale_map = k[:, :, None, None], scale[:, :, None, None]
    x = torch.maximum(x, -k_map)
    # (sqrt(x + k) - sqrt(k)) / (sqrt(1 + k) - sqrt(k)) without differences of near numbers.
    stabilised = x / ((x + k_map).sqrt() + k_map.sqrt()) * scale_map
    sigma = 0.5 * a.sqrt() * scale
    return stabilised, torch.cat([(sigma + 1e-3).log10() + 2, (k.sqrt() + 1e-2).log10() + 1], dim=1)
