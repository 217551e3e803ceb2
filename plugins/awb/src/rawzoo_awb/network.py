"""The AWB network of raspberrypi/awb_nn: a grid of statistics and the scene's lux to a colour temperature."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

#: Kelvin of the coldest and the warmest of the output classes, which are equally spaced.
TEMPERATURES = (2800.0, 7600.0)
CLASSES = 10


class AwbNetwork(nn.Module):
    """A few 3x3 convolutions with pooling between them, one dense layer, and a soft-argmax over ten temperatures.

    Args:
        grid: rows and columns of the statistics.
        size: channels of the first convolution; each further one has twice as many.
        layers: number of convolutions.
    """

    centres: Tensor

    def __init__(self, grid: Sequence[int], size: int, layers: int) -> None:
        super().__init__()
        height, width = grid
        channels = 3
        self.convolutions = nn.ModuleList()
        for layer in range(layers):
            self.convolutions.append(nn.Conv2d(channels, size << layer, kernel_size=3))
            channels = size << layer
            height, width = height - 2, width - 2
            if layer < layers - 1:
                height, width = height // 2, width // 2
        self.dense = nn.Linear(channels * height * width, CLASSES)
        self.register_buffer("centres", torch.linspace(*TEMPERATURES, CLASSES), persistent=False)

    def forward(self, x: Tensor, lux: Tensor) -> Tensor:
        """Kelvin.

        Args:
            x: ``[N, 3, rows, columns]``, linear R, G, B in 0..1, rendered for 5000 K.
            lux: ``[N]``, of the scene.

        Returns:
            ``[N]``, 2800 to 7600.
        """
        # Squaring sharpens the soft-argmax.
        sharp = self.probabilities(x, lux).square()
        return (sharp * self.centres).sum(1) / sharp.sum(1)

    def probabilities(self, x: Tensor, lux: Tensor) -> Tensor:
        """``[N, 10]``: how likely each class is."""
        return functional.softmax(self.dense(self.features(x, lux)), dim=1)

    def features(self, x: Tensor, lux: Tensor) -> Tensor:
        """``[N, F]``: output of the last convolution, flattened in the order channel, row, column."""
        x = preprocess(x, lux)
        for layer, convolution in enumerate(self.convolutions):
            if layer:
                x = functional.max_pool2d(x, 2)
            x = functional.relu_(convolution(x))
        return x.flatten(1)


def preprocess(x: Tensor, lux: Tensor) -> Tensor:
    """``[N, 3, h, w]`` in 0..1: log R/G, log lux on every cell, log B/G. Green below 0.1 counts as 0.1."""
    # Red and blue together: on so few values each further operation costs as much as the work in it.
    ratios = (x[:, ::2] / x[:, 1:2].clamp(0.1, 1.0)).clamp_(0.01, 1.0).log_()
    ratios = ratios.add_(1.0).mul_(0.5).clamp_(0.0, 1.0)
    red, blue = ratios[:, :1], ratios[:, 1:]
    brightness = (lux.log() / 10.0).clamp_(0.0, 1.0)[:, None, None, None].expand_as(red)
    return torch.cat([red, brightness, blue], dim=1)
