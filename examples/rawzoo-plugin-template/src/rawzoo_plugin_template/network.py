"""The architecture. Imported when the model is loaded, not before."""

import torch
from torch import nn


class PackedDemosaic(nn.Module):
    """Packed Bayer planes to camera RGB of twice their size: a 3x3 convolution to 12 planes and a pixel shuffle.

    Args:
        channels: planes of the input, 4: R, Gr, Gb, B.
    """

    def __init__(self, channels: int = 4) -> None:
        super().__init__()
        # rawzoo gives every tile a margin of `halo` and cuts it off again, so what the padding holds does not matter.
        self.interpolate = nn.Conv2d(channels, 12, kernel_size=3, padding=1, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``[N, 4, h, w]`` -> ``[N, 3, 2h, 2w]``, in the same units: white-balanced, 1.0 = sensor white of green."""
        return nn.functional.pixel_shuffle(self.interpolate(x), 2)
