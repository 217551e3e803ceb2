"""Losses: modules called with (prediction, target), both ``[N, C, H, W]``, that give one number.

Plugins bring their own: ``loss: {name: package.module:Loss}`` in a recipe.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from rawzoo.errors import UsageError

Domain = Literal["linear", "sqrt"]

#: Exponents of the five scales of MS-SSIM, finest first (Wang et al. 2003, section 3.2).
MS_SSIM_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def signed_sqrt(x: Tensor, knee: float = 1e-6) -> Tensor:
    """sign(x) (sqrt(abs(x) + knee) - sqrt(knee)): the square root, with a finite slope at 0, for both signs."""
    root: Tensor = torch.sqrt(x.abs() + knee) - knee**0.5
    return torch.sign(x) * root


class _Pixelwise(nn.Module):
    """The mean of a penalty of the difference of each value.

    Args:
        domain: ``sqrt`` compares square roots, in which errors in light and shadow are seen alike.
    """

    def __init__(self, domain: Domain = "linear") -> None:
        super().__init__()
        if domain not in ("linear", "sqrt"):
            raise UsageError(f"loss.domain {domain!r} is none of linear, sqrt.")
        self.domain = domain

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number for two tensors of equal shape."""
        if self.domain == "sqrt":
            prediction, target = signed_sqrt(prediction), signed_sqrt(target)
        return self.penalty(prediction - target).mean()

    def penalty(self, difference: Tensor) -> Tensor:
        """Of each value."""
        raise NotImplementedError


class L1(_Pixelwise):
    """Mean absolute difference."""

    def penalty(self, difference: Tensor) -> Tensor:
        return difference.abs()


class L2(_Pixelwise):
    """Mean squared difference."""

    def penalty(self, difference: Tensor) -> Tensor:
        return difference.square()


class Charbonnier(_Pixelwise):
    """Mean of sqrt(d^2 + eps^2) (Charbonnier et al., ICIP 1994): L1 that is smooth at 0.

    Args:
        eps: width of the smooth part.
        domain: as of the others.
    """

    def __init__(self, eps: float = 1e-3, domain: Domain = "linear") -> None:
        super().__init__(domain)
        self.eps = eps

    def penalty(self, difference: Tensor) -> Tensor:
        return torch.sqrt(difference.square() + self.eps**2)


class MSSSIM(nn.Module):
    """1 - MS-SSIM (Wang et al., "Multi-scale structural similarity for image quality assessment", 2003).

    The differentiable twin of :func:`rawzoo.metrics.ms_ssim` in TensorFlow's definition, which pytorch_msssim shares:
    11-tap Gaussian window of sigma 1.5, only where it fits, K 0.01 and 0.03, terms below 0 count as 0, mean over
    pictures and channels. Pictures have at least 176 pixels a side; of an odd side the last row is left out.

    Args:
        weights: exponents, one for each scale.
        domain: as of the others.
    """

    window: Tensor

    def __init__(self, weights: Sequence[float] = MS_SSIM_WEIGHTS, domain: Domain = "linear") -> None:
        super().__init__()
        if domain not in ("linear", "sqrt"):
            raise UsageError(f"loss.domain {domain!r} is none of linear, sqrt.")
        self.weights, self.domain = tuple(weights), domain
        taps = torch.exp(-((torch.arange(11) - 5.0) ** 2) / (2 * 1.5**2))
        self.register_buffer("window", taps / taps.sum(), persistent=False)

    def forward(self, prediction: Tensor, target: Tensor) -> Tensor:
        """One number for two tensors ``[N, C, H, W]`` of values 0..1.

        Raises:
            UsageError: they are too small for so many scales.
        """
        side = 11 * 2 ** (len(self.weights) - 1)
        if min(target.shape[-2:]) < side:
            raise UsageError(f"loss ms-ssim needs patches of at least {side} pixels; set data.patch={side}.")
        if self.domain == "sqrt":
            prediction, target = signed_sqrt(prediction), signed_sqrt(target)
        product = prediction.new_ones(())
        for scale, weight in enumerate(self.weights):
            if scale:
                prediction, target = (nn.functional.avg_pool2d(x, 2) for x in (prediction, target))
            similarity, contrast = self._terms(prediction, target)
            term = similarity if scale == len(self.weights) - 1 else contrast
            # The slope of a root is infinite at 0.
            product = product * term.clamp_min(1e-8) ** weight
        return 1 - product.mean()

    def _terms(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """SSIM and its contrast term, each ``[N, C]``."""
        moments = self._blurred(torch.cat([x, y, x * x, y * y, x * y], 1))
        mean_x, mean_y, xx, yy, xy = moments.chunk(5, 1)
        variance = xx - mean_x**2 + yy - mean_y**2
        contrast = (2 * (xy - mean_x * mean_y) + 0.03**2) / (variance + 0.03**2)
        luminance = (2 * mean_x * mean_y + 0.01**2) / (mean_x**2 + mean_y**2 + 0.01**2)
        return (luminance * contrast).mean((2, 3)), contrast.mean((2, 3))

    def _blurred(self, x: Tensor) -> Tensor:
        channels = x.shape[1]
        row = self.window.to(x).expand(channels, 1, 1, -1)
        column = row.transpose(2, 3)
        return nn.functional.conv2d(nn.functional.conv2d(x, row, groups=channels), column, groups=channels)
