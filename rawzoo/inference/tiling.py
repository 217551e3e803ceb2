"""How a picture is cut into tiles: a pure plan in whole numbers, without tensors.

A model is tied to a lattice: its own strides and the CFA repeat over the picture, and a tile that starts elsewhere
gives other results in its whole area, which no overlap mends. So tiles start, and end, on multiples of the lattice.
Each tile answers for its *core* and reads a *halo* around it, at least as wide as the radius of the receptive field;
what the model makes of the halo is thrown away. Then tiles agree where they meet and need no blending.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from rawzoo.errors import UsageError
from rawzoo.raw.image import Box


@dataclass(frozen=True)
class Tile:
    """One tile.

    Attributes:
        core: input pixels the tile answers for. The cores tile the picture, completed to whole lattice cells.
        read: the core and its halo: what the model sees. Reaches outside the picture at its edges, unless the plan is
            bounded.
        crop: the part of the model's output to keep, in pixels of that output.
        out: where that part goes in the output picture.
    """

    core: Box
    read: Box
    crop: Box
    out: Box


@dataclass(frozen=True)
class Plan:
    """A cut of a ``height`` x ``width`` picture; build it with :func:`plan`.

    Attributes:
        height, width: size of the input, in pixels of the input tensor.
        tile: edge of the square cores, a multiple of ``lattice``; the last row and column may be smaller.
        halo: width of the margin read around a core, a multiple of ``lattice``.
        lattice: every edge of every core and read box is a multiple of this.
        scale: output pixels per input pixel, along both axes.
        bounded: whether a tile reads nothing beyond the picture, completed to whole lattice cells.
    """

    height: int
    width: int
    tile: int
    halo: int
    lattice: int
    scale: Fraction
    bounded: bool = False

    @property
    def out_height(self) -> int:
        """Rows of the output; a fraction of a pixel at the end counts as one, so that nothing is lost."""
        return math.ceil(self.height * self.scale)

    @property
    def out_width(self) -> int:
        """Columns of the output."""
        return math.ceil(self.width * self.scale)

    def row(self, top: int) -> tuple[Tile, ...]:
        """The tiles, left to right, of the row whose cores begin at input row ``top``, a multiple of the lattice."""
        rows = self._span(top, self.height, self.out_height)
        tiles = []
        for left in range(0, self.width, self.tile):
            columns = self._span(left, self.width, self.out_width)
            tiles.append(Tile(*(Box(y[0], x[0], y[1], x[1]) for y, x in zip(rows, columns, strict=True))))
        return tuple(tiles)

    def rows(self) -> Iterator[tuple[Tile, ...]]:
        """All rows of tiles, top to bottom."""
        for top in range(0, self.height, self.tile):
            yield self.row(top)

    def _span(self, start: int, size: int, out_size: int) -> tuple[tuple[int, int], ...]:
        """(core, read, crop, out) along one axis for the core that begins at ``start``."""
        end = -(-size // self.lattice) * self.lattice
        stop = min(start + self.tile, end)
        first, last = start - self.halo, stop + self.halo
        if self.bounded:
            first, last = max(first, 0), min(last, end)
        out_start, out_stop = int(start * self.scale), min(int(stop * self.scale), out_size)
        margin = int((start - first) * self.scale)
        return (
            (start, stop),
            (first, last),
            (margin, margin + out_stop - out_start),
            (out_start, out_stop),
        )


def plan(
    height: int,
    width: int,
    *,
    tile: int | None = None,
    halo: int = 0,
    period: int = 1,
    scale: Fraction | int = 1,
    bounded: bool = False,
) -> Plan:
    """Cut a picture into tiles.

    Args:
        height, width: size in pixels of the input tensor, at least 1.
        tile: largest edge of a core, in the same pixels; rounded down to the lattice, though never below one cell.
            None takes the picture in one piece.
        halo: radius of the model's receptive field; rounded up to the lattice.
        period: smallest distance at which model and CFA both repeat: the least common multiple of the two.
        scale: output pixels per input pixel. The lattice is widened until its cells are whole in the output too.
        bounded: read nothing beyond the picture, for models whose own padding applies at its edges.

    Raises:
        UsageError: a number that makes no sense.
    """
    scale = Fraction(scale)
    if height < 1 or width < 1:
        raise UsageError(f"a picture of {height} x {width} pixels has nothing to work on.")
    if tile is not None and tile < 1:
        raise UsageError(f"tile must be at least 1 pixel, not {tile}.")
    if halo < 0 or period < 1 or scale <= 0:
        raise UsageError(f"halo {halo}, period {period} and scale {scale} must be >= 0, >= 1 and > 0.")
    lattice = math.lcm(period, scale.denominator)
    if tile is None:
        tile = max(height, width)
        edge = -(-tile // lattice) * lattice
    else:
        edge = max(tile // lattice, 1) * lattice
    return Plan(height, width, edge, -(-halo // lattice) * lattice, lattice, scale, bounded)


def extend(start: int, stop: int, size: int, period: int) -> np.ndarray:
    """Which pixels stand for the positions ``start`` to ``stop`` of a line of ``size``, beyond its ends too.

    Up to period 2 the line is mirrored, as often as needed, without repeating its last pixel: that keeps the Bayer
    phase. No mirror keeps the phase of a longer period; there a position outside takes the pixel the smallest multiple
    of the period further in. A line shorter than its period cannot keep the phase and is mirrored.

    Returns:
        int64 ``[stop - start]``, values in 0..size-1.
    """
    position = np.arange(start, stop, dtype=np.int64)
    if period > 2 and size >= period:
        before = position % period
        after = size - period + (position - size) % period
        return np.where(position < 0, before, np.where(position >= size, after, position))
    if size == 1:
        return np.zeros_like(position)
    turn = position % (2 * (size - 1))
    return np.minimum(turn, 2 * (size - 1) - turn)
