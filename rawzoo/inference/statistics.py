"""Statistics of a whole picture inside a network that runs in tiles."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from rawzoo.inference.tiling import Tile


class PictureMean(nn.Module):
    """Mean of each channel over the picture: ``[N, C, H, W]`` -> ``[N, C, 1, 1]``.

    Networks use it where they would pool over everything. A tile by itself has another mean than its picture, so tiles
    disagree; the Predictor finds this mean in passes over all tiles and gives it to each of them in the last.
    """

    def __init__(self) -> None:
        super().__init__()
        self.given: Tensor | None = None
        self.measuring: _Measuring | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.measuring is not None:
            self.measuring.add(x)
        if self.given is not None:
            return self.given.to(x.dtype)
        return x.mean((2, 3), keepdim=True)


class _Measuring:
    """The sum over the cores of tiles so far."""

    def __init__(self) -> None:
        self.tile: Tile | None = None
        self.sum: Tensor | None = None
        self.count = 0

    def add(self, x: Tensor) -> None:
        """The part of a tile's features that lies in its core, which is whole pixels at every level of the network."""
        assert self.tile is not None
        core, read = self.tile.core, self.tile.read
        height, width = x.shape[2:]
        top, bottom = (round((y - read.top) * height / read.height) for y in (core.top, core.bottom))
        left, right = (round((z - read.left) * width / read.width) for z in (core.left, core.right))
        part = x[:, :, top:bottom, left:right]
        total = part.sum((2, 3), keepdim=True, dtype=torch.float64)
        self.sum = total if self.sum is None else self.sum + total
        self.count += part.shape[2] * part.shape[3]

    def mean(self) -> Tensor:
        assert self.sum is not None
        return self.sum / self.count


def means(module: nn.Module) -> list[PictureMean]:
    """All of a network."""
    return [child for child in module.modules() if isinstance(child, PictureMean)]


class Measurement:
    """A pass over all tiles of a picture; see :func:`measuring`."""

    def __init__(self, parts: list[_Measuring]) -> None:
        self._parts = parts

    def enter(self, tile: Tile) -> None:
        """What comes next is this tile."""
        for part in self._parts:
            part.tile = tile

    def result(self) -> list[Tensor]:
        """The means over the cores of all tiles, float64 ``[N, C, 1, 1]`` each."""
        return [part.mean() for part in self._parts]


@contextmanager
def measuring(module: nn.Module) -> Iterator[Measurement]:
    """While it lasts, the means of tiles are added up to those of the picture."""
    parts = [_Measuring() for _ in means(module)]
    try:
        for mean, part in zip(means(module), parts, strict=True):
            mean.measuring = part
        yield Measurement(parts)
    finally:
        for mean in means(module):
            mean.measuring = None


@contextmanager
def given(module: nn.Module, values: Sequence[Tensor]) -> Iterator[None]:
    """While it lasts, every mean is the given one; with no values given, its own."""
    try:
        for mean, value in zip(means(module) if values else [], values, strict=True):
            mean.given = value
        yield
    finally:
        for mean in means(module):
            mean.given = None
