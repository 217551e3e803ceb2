"""The classical demosaicers as modules, so that they run, tile and export like any network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rawzoo import ops


class Demosaic(nn.Module):
    """:func:`rawzoo.ops.demosaic` as a module without parameters.

    Args:
        method: ``bilinear`` or ``malvar``.
    """

    def __init__(self, method: str) -> None:
        super().__init__()
        self.method = method

    def forward(self, x: Tensor, cfa: str) -> Tensor:
        """White-balanced mosaics ``[N, 1, H, W]`` that start with pattern ``cfa`` to camera RGB ``[N, 3, H, W]``."""
        return torch.stack([ops.demosaic(mosaic[0], cfa, method=self.method) for mosaic in x])
