"""From the mosaic to the network's input, as raspberrypi/awb_nn's converter defines it; bit-exact.

1. *Stack*: half-size RGB, the two greens averaged; (value - black of red) / white, clipped to 0..1, 16 bit, truncated.
2. *Grid*: the stack reduced to the grid of the camera's hardware by area (OpenCV's ``INTER_AREA``), 16 bit, rounded.
3. *Rendering* at a fixed 5000 K: lens shading, white balance, colour matrix, clipped in between; 16 bit, truncated.

So the cast that is left tells the temperature.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw.image import RawImage
from rawzoo_awb import resize
from rawzoo_awb.tuning import Tuning

UInt16 = npt.NDArray[np.uint16]
_Result = TypeVar("_Result")

#: What the network was trained to see grey light of as grey.
RENDERED_KELVIN = 5000.0

#: Rows of the stack that are worked on at a time: what fits into a core's cache.
_STRIP = 128


def stack(raw: RawImage, *, black: float | None = None) -> UInt16:
    """Half-size RGB of a Bayer mosaic, ``[H // 2, W // 2, 3]``, linear, 65535 = white level.

    X-Trans gives the mean of each colour in each 6x6 tile, and files without a mosaic their own RGB.

    Args:
        black: what to subtract; None for the black level of red. The white level is not lessened by it.

    Raises:
        UsageError: a monochrome image, or one without a whole CFA tile.
    """
    planes = _planes(raw)
    quantise = _Quantise(raw, black)
    return np.stack([quantise(*cells) for cells in planes], axis=-1)


def grid(raw: RawImage, rows: int, columns: int) -> UInt16:
    """The stack reduced to ``[rows, columns, 3]``: ``resize.area(stack(raw), rows, columns)`` without making it."""
    planes = _planes(raw)
    height, width = planes[0][0].shape
    quantise = _Quantise(raw, None)
    if height < rows or width < columns:
        return resize.area(stack(raw), rows, columns)

    if height % rows == 0 and width % columns == 0:
        # One row of cells at a time.
        step = height // rows

        def reduced(start: int, stop: int) -> UInt16:
            strip = [quantise(*(cells[start:stop] for cells in plane)) for plane in planes]
            return resize.whole_cells(np.stack(strip, axis=-1), 1, columns)

        return np.concatenate(_in_threads(reduced, range(0, height + 1, step)))

    def narrowed(start: int, stop: int) -> npt.NDArray[np.float32]:
        # Transposed, so that sums over columns run along rows of memory.
        strips = [quantise(*(cells[start:stop].T for cells in plane)) for plane in planes]
        return np.stack([resize.area_sums(strip, columns) for strip in strips], axis=-1)

    bounds = np.linspace(0, height, -(-height // _STRIP) + 1).astype(int).tolist()
    sums = np.concatenate(_in_threads(narrowed, bounds), axis=1)
    return resize.to_uint16(resize.area_sums(np.swapaxes(sums, 0, 1), rows))


def luma(image: npt.NDArray[Any], gains: Sequence[float]) -> float:
    """Mean luma (BT.601) of a white-balanced stack or grid, 0..65535."""
    red, green, blue = image.reshape(-1, 3).mean(axis=0) * gains
    return float(0.299 * red + 0.587 * green + 0.114 * blue)


def shaded(image: npt.NDArray[Any], tuning: Tuning, kelvin: float) -> npt.NDArray[np.float64]:
    """``[h, w, 3]`` with the lens shading undone, clipped to 0..65535."""
    x = image.astype(np.float64)
    if tuning.shading is not None:
        tables = [resize.linear(table, *image.shape[:2]) for table in tuning.shading.gains(kelvin)]
        x *= np.stack(tables, axis=-1)
    return np.clip(x, 0.0, 65535.0)


def render(image: UInt16, tuning: Tuning, kelvin: float, gains: Sequence[float] | None = None) -> UInt16:
    """A stack or grid in linear sRGB, shading and matrix at ``kelvin``; gains of the curve there unless given."""
    if gains is None:
        gains = tuning.gains(kelvin)
    x = np.clip(shaded(image, tuning, kelvin) * np.asarray(gains), 0.0, 65535.0)
    x = np.clip(x @ tuning.matrix(kelvin).T / 65535.0, 0.0, 1.0)
    return np.asarray((x * 65535.0).astype(np.uint16))


def network_input(image: UInt16, tuning: Tuning) -> npt.NDArray[np.float32]:
    """A grid as the network takes it: ``[3, rows, columns]``, rendered for 5000 K, 0..1."""
    rendered = render(image, tuning, RENDERED_KELVIN).transpose(2, 0, 1)
    return np.ascontiguousarray(rendered, np.float32) / np.float32(65535.0)


def best_chromaticity(image: UInt16, tuning: Tuning, kelvin: float) -> npt.NDArray[np.float64]:
    """The point across the curve at ``kelvin`` under which most of a stack or grid is near grey."""
    corrected = shaded(image, tuning, kelvin).astype(np.uint16)
    red, green, blue = np.moveaxis(resize.area(corrected, 32, 32).astype(float), -1, 0)
    candidates = tuning.candidates(kelvin)
    lit = green > 0
    ratios = np.stack([red[lit] / green[lit], blue[lit] / green[lit]])
    distances = ((ratios[None] / candidates[:, :, None] - 1.0) ** 2).sum(axis=1)
    return np.asarray(candidates[np.minimum(distances, tuning.delta_limit).sum(axis=1).argmin()])


class _Quantise:
    """Samples of one colour to 16 bit: (mean - black) / white, clipped, truncated."""

    def __init__(self, raw: RawImage, black: float | None) -> None:
        self.black = raw.black_level[0] if black is None else black
        self.white = raw.white_level[0]

    def __call__(self, *cells: npt.NDArray[Any]) -> UInt16:
        if cells[0].dtype != np.uint16 or len(cells) > 2:
            return _quantised(np.add.reduce([x.astype(np.float64) for x in cells]), len(cells), self.black, self.white)
        sums = cells[0] if len(cells) == 1 else np.add(*cells, dtype=np.intp)
        return _table(len(cells), self.black, self.white).take(sums)


@lru_cache(maxsize=8)
def _table(count: int, black: float, white: float) -> UInt16:
    """:func:`_quantised` for every sum of ``count`` samples, which is faster to look up than to compute."""
    return _quantised(np.arange(count * 65535 + 1, dtype=np.float64), count, black, white)


def _quantised(sums: npt.NDArray[np.float64], count: int, black: float, white: float) -> UInt16:
    return np.asarray((np.clip((sums / count - black) / white, 0.0, 1.0) * 65535.0).astype(np.uint16))


def _planes(raw: RawImage) -> list[list[npt.NDArray[Any]]]:
    """For red, green and blue: views of the mosaic, each with one cell of every whole CFA tile."""
    if raw.kind == "mono":
        raise UsageError(f"{raw.source or 'this raw image'} is monochrome: there is no colour to balance.")
    if raw.cfa is None:
        return [[raw.mosaic[..., c]] for c in range(3)]
    tile = cfa_patterns.color_tile(raw.cfa)
    n = len(tile)
    height, width = raw.height // n * n, raw.width // n * n
    if not height or not width:
        raise UsageError(f"{raw.source or 'this raw image'} is smaller than one CFA tile.")
    return [[raw.mosaic[y:height:n, x:width:n] for y, x in np.argwhere(tile == color).tolist()] for color in range(3)]


def _in_threads(work: Callable[[int, int], _Result], bounds: Sequence[int]) -> list[_Result]:
    """``work(start, stop)`` for neighbouring bounds."""
    pieces = list(pairwise(bounds))
    with ThreadPoolExecutor(max(1, min(ops.num_threads(), len(pieces)))) as pool:
        return list(pool.map(lambda piece: work(*piece), pieces))
