"""The classical demosaicers as modules, so that they run, tile and export like any network."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from rawzoo import ops


class Demosaic(nn.Module):
    """:func:`rawzoo.ops.demosaic` as a module without parameters.

    Args:
        method, encode: as in :func:`rawzoo.ops.demosaic`, any method but ``superpixel``.
    """

    def __init__(self, method: str, encode: Literal["none", "sqrt"] = "none") -> None:
        super().__init__()
        self.method = method
        self.encode = encode

    def forward(self, x: Tensor, cfa: str) -> Tensor:
        """White-balanced mosaics ``[N, 1, H, W]`` that start with pattern ``cfa`` to camera RGB ``[N, 3, H, W]``."""
        return torch.stack([ops.demosaic(mosaic[0], cfa, method=self.method, encode=self.encode) for mosaic in x])
