"""The demosaicers inside the published networks; rawzoo's own are in :mod:`rawzoo.ops`."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

# For RGGB: which of the planes (the filtered four, then the samples themselves) gives each colour of each site.
_INDEX_5 = [[[4, 1], [2, 3]], [[0, 4], [4, 0]], [[3, 2], [1, 4]]]


def _kernels_5() -> Tensor:
    """Malvar, He and Cutler (ICASSP 2004): green at red and blue; red at green in rows of red, and in rows of blue; red
    at blue."""
    cross = [[0, 0, -2, 0, 0], [0, 0, 4, 0, 0], [-2, 4, 8, 4, -2], [0, 0, 4, 0, 0], [0, 0, -2, 0, 0]]
    row = [[0, 0, 1, 0, 0], [0, -2, 0, -2, 0], [-2, 8, 10, 8, -2], [0, -2, 0, -2, 0], [0, 0, 1, 0, 0]]
    corners = [[0, 0, -3, 0, 0], [0, 4, 0, 4, 0], [-3, 0, 12, 0, -3], [0, 4, 0, 4, 0], [0, 0, -3, 0, 0]]
    rows = torch.tensor(row)
    return torch.stack([torch.tensor(cross), rows, rows.T, torch.tensor(corners)])[:, None] / 16.0


class Debayer5x5(nn.Module):
    """Malvar's filters on an RGGB mosaic ``[N, 1, H, W]`` of even sides to ``[N, 3, H, W]``, clipped to 0..1.

    Args:
        stored: kernels and index are in the checkpoint, as in some published ones.
    """

    kernels: Tensor
    index: Tensor

    def __init__(self, stored: bool = True) -> None:
        super().__init__()
        self.register_buffer("kernels", _kernels_5(), persistent=stored)
        self.register_buffer("index", torch.tensor([_INDEX_5]), persistent=stored)

    def forward(self, mosaic: Tensor) -> Tensor:
        n, _, height, width = mosaic.shape
        filtered = functional.conv2d(functional.pad(mosaic, (2, 2, 2, 2), mode="reflect"), self.kernels)
        index = self.index.repeat(1, 1, height // 2, width // 2).expand(n, -1, -1, -1)
        return torch.cat([filtered, mosaic], dim=1).gather(1, index).clamp(0, 1)


class FromPacked(nn.Module):
    """:class:`Debayer5x5` of packed planes ``[N, 4, h, w]`` (R, Gr, Gb, B)."""

    def __init__(self, stored: bool = True) -> None:
        super().__init__()
        self.demosaicing = Debayer5x5(stored)

    def forward(self, packed: Tensor) -> Tensor:
        rgb: Tensor = self.demosaicing(functional.pixel_shuffle(packed, 2))
        return rgb
