"""The image restoration half: a proximal network that works on Anscombe-transformed mosaics.

Diamond, Sitzmann, Julca-Aguilar, Boyd, Wetzstein and Heide, "Dirty Pixels: Towards End-to-End Image Processing and
Perception", ACM TOG 40(3), 2021.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.ops import reference
from rawzoo_anscombe.layers import ConvNorm

#: Sides of the pictures the network takes are multiples of this.
PERIOD = 4

_EPS, _DECAY = 1e-4, 0.95


class Bounds(NamedTuple):
    """The range of a transformed mosaic, which the network sees as 0..1.

    Attributes:
        low: the least value, ``[B, 1, 1, 1]``.
        scale: 1 / (largest - least), the same shape: also the standard deviation of the noise in that range, since the
            transform makes it 1.
    """

    low: Tensor
    scale: Tensor


class Prior(nn.Module):
    """A U-Net of three scales, ``[B, C, H, W]`` to ``[B, 3, H, W]``; H and W are multiples of 4.

    Args:
        inputs: channels C.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        top, middle, low = (max(2 * inputs, 8) << depth for depth in range(3))

        def block(inputs: int, outputs: int) -> ConvNorm:
            return ConvNorm(inputs, outputs, eps=_EPS, decay=_DECAY, scale=False, activation=nn.ReLU(inplace=True))

        self.depth_0 = nn.ModuleDict(
            {
                "conv_in": nn.Conv2d(inputs, top, 3, padding=2, dilation=2),
                "conv_1": block(top, top),
                "conv_2": block(2 * top, top),
                "out_conv": nn.Conv2d(top, 3, 3, padding=1),
            }
        )
        self.depth_1 = nn.ModuleDict(
            {
                "conv_in": block(top, middle),
                "conv_1": block(middle, middle),
                "conv_2": block(2 * middle, middle),
                "out_conv": block(middle, middle),
                "up_conv": nn.ConvTranspose2d(middle, top, 2, stride=2),
            }
        )
        self.depth_2 = nn.ModuleDict(
            {
                "conv_in": block(middle, low),
                "conv_1": block(low, low),
                "conv_2": block(low, low),
                "out_conv": block(low, low),
                "up_conv": nn.ConvTranspose2d(low, middle, 2, stride=2),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        top, middle, low = self.depth_0, self.depth_1, self.depth_2
        skip_0 = top["conv_1"](functional.relu_(top["conv_in"](x)))
        skip_1 = middle["conv_1"](middle["conv_in"](functional.avg_pool2d(skip_0, 2)))
        x = functional.avg_pool2d(skip_1, 2)
        for name in ("conv_in", "conv_1", "conv_2", "out_conv", "up_conv"):
            x = low[name](x)
        x = torch.cat([skip_1, x], 1)
        for name in ("conv_2", "out_conv", "up_conv"):
            x = middle[name](x)
        out: Tensor = top["out_conv"](top["conv_2"](torch.cat([skip_0, x], 1)))
        return out


class Iteration(nn.Module):
    """One step of the proximal gradient method: the weight ``beta`` of the picture against the data, and the prior."""

    def __init__(self, inputs: int, beta: float) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.tensor(beta))
        self.prior = Prior(inputs)


class AnscombeISP(nn.Module):
    """A noisy Bayer mosaic to a denoised, demosaiced picture.

    Args:
        use_anscombe: work on the generalised Anscombe transform of the mosaic; False: on the mosaic itself.
        noise_channel: tell the prior the noise level, as a fourth channel.
        num_iters: iterations, each with a prior of its own.
        unbiased: use the closed form of the exact unbiased inverse transform; False: the asymptotically unbiased one,
            which published weights were trained with.
    """

    def __init__(
        self, use_anscombe: bool = True, noise_channel: bool = True, num_iters: int = 1, unbiased: bool = False
    ) -> None:
        super().__init__()
        self.use_anscombe = use_anscombe
        self.noise_channel = noise_channel
        self.inverse = "exact" if unbiased else "asymptotic"
        self.lambda_ = nn.Parameter(torch.tensor(1.0))
        self.iterations = nn.ModuleList(
            Iteration(4 if noise_channel else 3, float(2 << step)) for step in range(num_iters)
        )

    def forward(self, y: Tensor, alpha: Tensor | None = None, sigma: Tensor | None = None) -> Tensor:
        """Denoise and demosaic.

        Args:
            y: ``[B, 3, H, W]``, R, G, B in 0..1; at each pixel only the colour that a BGGR mosaic has there, 0 in the
                others. H and W are multiples of 4.
            alpha, sigma: noise of ``y``: variance = alpha * y + sigma^2. ``[B]``, or ``[B, 3]`` for R, G, B. Not
                needed without Anscombe transform and noise channel.

        Returns:
            ``[B, 3, H, W]`` in the units of ``y``, not clipped.

        Raises:
            UsageError: another size, or no noise where it is needed, or per channel where one number is.
        """
        height, width = y.shape[2:]
        if y.shape[1] != 3 or height % PERIOD or width % PERIOD:
            raise UsageError(f"the network takes [B, 3, H, W] with H and W multiples of {PERIOD}, not {list(y.shape)}.")
        if not self.use_anscombe:
            return self.denoise(y, self._plain_noise(y, sigma))
        if alpha is None or sigma is None:
            raise UsageError("the Anscombe transform needs the noise of the mosaic; give alpha and sigma.")
        f, bounds = self.normalise(y, alpha, sigma)
        g = self.denoise(f.to(self.lambda_.dtype), bounds.scale.to(self.lambda_.dtype))
        return self.restore(g, bounds, alpha, sigma).to(y.dtype)

    def _plain_noise(self, y: Tensor, sigma: Tensor | None) -> Tensor | None:
        if not self.noise_channel:
            return None
        if sigma is None or sigma.shape != y.shape[:1]:
            raise UsageError("without Anscombe transform the noise channel holds one sigma for each picture, [B].")
        return sigma.to(y.dtype)[:, None, None, None]

    def normalise(self, y: Tensor, alpha: Tensor, sigma: Tensor, bounds: Bounds | None = None) -> tuple[Tensor, Bounds]:
        """The transform of ``y``, brought to 0..1 by its own range or by ``bounds``, and the range; float32."""
        t = _anscombe(y.float(), _per_channel(alpha), _per_channel(sigma))
        if bounds is None:
            low, high = t.amin((1, 2, 3), keepdim=True), t.amax((1, 2, 3), keepdim=True)
            # A picture of one value has no range; it becomes 0.
            bounds = Bounds(low, 1.0 / torch.where(high > low, high - low, 1.0))
        return (t - bounds.low) * bounds.scale, bounds

    def denoise(self, f: Tensor, noise: Tensor | None) -> Tensor:
        """The iterations: ``x <- (lambda M f + beta (x - prior(x))) / (lambda M + beta)`` with x = f first.

        Args:
            f: ``[B, 3, H, W]``, the mosaic; its first pixel is a blue one.
            noise: ``[B, 1, 1, 1]`` or ``[B, 1, H, W]``; not used without noise channel.
        """
        mask, x = bayer_mask(f), f
        plane = [] if noise is None or not self.noise_channel else [noise.expand(-1, 1, *f.shape[2:])]
        for iteration in self.iterations:
            assert isinstance(iteration, Iteration)
            z = iteration.prior(torch.cat([x, *plane], 1))
            data = self.lambda_ * mask
            x = torch.lerp(x - z, f, data / (data + iteration.beta))
        return x

    def restore(self, g: Tensor, bounds: Bounds, alpha: Tensor, sigma: Tensor) -> Tensor:
        """Inverse of :meth:`normalise` for a denoised ``g``; float32."""
        h = g.float() / bounds.scale + bounds.low
        return _inverse_anscombe(h, _per_channel(alpha), _per_channel(sigma), self.inverse)


class Restorer(AnscombeISP):
    """The iterations alone, for pictures that are run in tiles: their range has to be known before.

    Takes ``[B, 4, H, W]``: the three channels of :meth:`AnscombeISP.normalise`, and the noise level in each pixel.
    """

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.denoise(x[:, :3], x[:, 3:])


def bayer_mask(like: Tensor) -> Tensor:
    """``[1, 3, H, W]`` of 0 and 1: which of R, G, B a BGGR mosaic of the size of ``like`` has at each pixel."""
    odd_row = (torch.arange(like.shape[2], device=like.device) % 2)[:, None]
    odd_column = (torch.arange(like.shape[3], device=like.device) % 2)[None, :]
    red, green = odd_row * odd_column, (odd_row + odd_column) % 2
    return torch.stack([red, green, 1 - red - green])[None].to(like.dtype)


def _per_channel(values: Tensor) -> Tensor:
    """``[B]`` or ``[B, 3]`` to ``[B, 3]``, float32."""
    values = values.float()
    return values[:, None].expand(-1, 3) if values.ndim == 1 else values


def _traced() -> bool:
    """Whether what runs becomes a graph: then a graph of plain operations."""
    return torch.compiler.is_compiling() or bool(torch.jit.is_tracing())  # type: ignore[attr-defined,no-untyped-call]


def _anscombe(y: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    if _traced():
        return reference.anscombe_map(y, *_maps(alpha, sigma))
    # The planes of the batch are the channels of one picture.
    planes = ops.anscombe(y.flatten(0, 1), alpha.flatten().tolist(), sigma.flatten().tolist())
    return planes.view_as(y)


def _inverse_anscombe(h: Tensor, alpha: Tensor, sigma: Tensor, method: str) -> Tensor:
    if _traced():
        return reference.inverse_anscombe_map(h, *_maps(alpha, sigma), method)
    planes = ops.inverse_anscombe(
        h.flatten(0, 1),
        alpha.flatten().tolist(),
        sigma.flatten().tolist(),
        method=method,  # type: ignore[arg-type]
    )
    return planes.view_as(h)


def _maps(alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    gain = alpha[:, :, None, None]
    return gain, sigma[:, :, None, None], torch.zeros_like(gain)
