"""Losses: modules called with (prediction, target), both ``[N, C, H, W]``, that give one number.

Plugins bring their own: ``loss: {name: package.module:Loss}`` in a recipe.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from rawzoo.errors import UsageError

Domain = Literal["linear", "sqrt"]


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
