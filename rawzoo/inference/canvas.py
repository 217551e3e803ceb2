"""Canvases: pictures that continue beyond their edges and are produced piece by piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rawzoo.errors import UsageError
from rawzoo.inference.tiling import extend
from rawzoo.raw import cfa as cfa_patterns

#: ``source(y0, y1)`` gives rows y0 to y1 of a picture, ``[C, y1 - y0, W]``, a tensor or an array. The same rows may
#: be asked for again (neighbouring rows of tiles overlap), so a source computes or reads them anew.
Source = Callable[[int, int], "Tensor | np.ndarray"]


class Canvas(Protocol):
    """A ``height`` x ``width`` picture that has a value at every position of the plane, outside the picture too."""

    height: int
    width: int

    def block(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        """The pixels of a rectangle, ``[C, bottom - top, right - left]``; it may lie anywhere."""
        ...


class Extended:
    """A source of rows, extended beyond the picture's edges as :func:`rawzoo.inference.tiling.extend` says.

    Args:
        source: gives rows of the picture, ``[C, n, width]``.
        height, width: size of the picture.
        period: of the CFA in pixels of this picture: 2 for a Bayer mosaic, 6 for X-Trans, 1 where there is none.
        top, left: move the origin this many pixels out of the picture, so that its first rows and columns are
            extension: how a mosaic of another Bayer phase is made to start with the wanted one.
    """

    def __init__(self, source: Source, height: int, width: int, period: int, *, top: int = 0, left: int = 0) -> None:
        self.height = height + top
        self.width = width + left
        self._source = source
        self._size = height, width
        self._period = period
        self._origin = top, left

    def block(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        height, width = self._size
        y = extend(top - self._origin[0], bottom - self._origin[0], height, self._period)
        first, last = int(y.min()), int(y.max()) + 1
        rows = torch.as_tensor(self._source(first, last))
        if rows.ndim != 3 or tuple(rows.shape[1:]) != (last - first, width):
            raise UsageError(
                f"the source gave {list(rows.shape)} for rows {first} to {last} of a picture {width} pixels wide; "
                f"[C, {last - first}, {width}] was asked for."
            )
        if len(y) != last - first or np.any(np.diff(y) != 1):
            rows = _take(rows, 1, y - first)
        x0, x1 = left - self._origin[1], right - self._origin[1]
        if x0 >= 0 and x1 <= width:
            return rows[:, :, x0:x1]
        # Only the margins are gathered; the bulk of a wide band is copied as it is.
        inside = min(max(x0, 0), width), max(min(x1, width), 0)
        before = extend(x0, min(x1, inside[0]), width, self._period)
        after = extend(max(x0, inside[1]), x1, width, self._period)
        return torch.cat([_take(rows, 2, before), rows[:, :, slice(*inside)], _take(rows, 2, after)], dim=2)


class Packed:
    """A Bayer mosaic as four planes of half its size, in the order R, Gr, Gb, B; an odd last row or column is
    completed from the mosaic's extension.

    Args:
        mosaic: canvas of one channel.
        cfa: its Bayer pattern.
    """

    def __init__(self, mosaic: Canvas, cfa: str) -> None:
        self.height = -(-mosaic.height // 2)
        self.width = -(-mosaic.width // 2)
        self._mosaic = mosaic
        # Where in the 2x2 tile each channel sits, in per-channel order.
        self._cells = np.argsort(cfa_patterns.channel_tile(cfa).ravel())

    def block(self, top: int, bottom: int, left: int, right: int) -> Tensor:
        mosaic = self._mosaic.block(2 * top, 2 * bottom, 2 * left, 2 * right)[0]
        return torch.stack([mosaic[cell // 2 :: 2, cell % 2 :: 2] for cell in self._cells.tolist()])


def _take(rows: Tensor, dim: int, index: np.ndarray) -> Tensor:
    return rows.index_select(dim, torch.from_numpy(index).to(rows.device))
