"""From the mosaic to the network's input, as raspberrypi/awb_nn's converter defines it.

1. *Stack*: half-size RGB, the two greens averaged; (value - black of red) / white, clipped to 0..1, 16 bit, truncated.
2. *Grid*: the stack reduced to the grid of the camera's hardware by area (OpenCV's ``INTER_AREA``), 16 bit, rounded.
3. *Rendering* at a fixed 5000 K: lens shading, white balance, colour matrix, clipped in between; 16 bit, truncated.

So the cast that is left tells the temperature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw.image import RawImage
from rawzoo_awb import resize
from rawzoo_awb.tuning import Tuning

UInt16 = npt.NDArray[np.uint16]

#: What the network was trained to see grey light of as grey.
RENDERED_KELVIN = 5000.0

#: Rows of the stack that are worked on at a time at most: what fits into a core's cache.
_STRIP = 64

#: Samples of the stack below which the time it takes does not matter.
_SMALL = 1 << 16


def stack(raw: RawImage, *, black: float | None = None) -> UInt16:
    """Half-size RGB of a Bayer mosaic, ``[H // 2, W // 2, 3]``, linear, 65535 = white level.

    X-Trans gives the mean of each colour in each 6x6 tile, and files without a mosaic their own RGB.

    Args:
        black: what to subtract; None for the black level of red. The white level is not lessened by it.

    Raises:
        UsageError: a monochrome image, or one without a whole CFA tile.
    """
    black = raw.black_level[0] if black is None else black
    planes = []
    for cells in _planes(raw):
        mean = np.add.reduce([x.astype(np.float64) for x in cells]) / len(cells)
        planes.append(np.clip((mean - black) / raw.white_level[0], 0.0, 1.0) * 65535.0)
    return np.stack(planes, axis=-1).astype(np.uint16)


def grid(raw: RawImage, rows: int, columns: int) -> UInt16:
    """The stack reduced to ``[rows, columns, 3]``: the mean over each cell, rounded.

    For small pictures this is ``resize.area(stack(raw), rows, columns)``, as the converter does it. Large Bayer mosaics
    are reduced in strips that stay in the cache, with exact sums, in a tenth of the time; the converter's, in float32,
    make up to three values in a hundred differ by 1 of 65535.
    """
    height, width = raw.height // 2, raw.width // 2
    if raw.kind != "bayer" or height * width < _SMALL:
        return resize.area(stack(raw), rows, columns)
    at, parts = _edges(height, rows)
    # Kept, since fresh memory costs more than the work done in it.
    strip = min(_STRIP, int(np.diff(at).max()))
    packed, work = np.empty((4, strip, width), np.float32), np.empty((strip, width))
    # For each row of cells the sums over the rows that begin in it, and over the first of these alone.
    sums = np.empty((rows, 2, 3, columns))
    for cell in range(rows):
        lines = np.zeros((2, 3, width))
        for first in range(at[cell], at[cell + 1], _STRIP):
            n = min(_STRIP, at[cell + 1] - first)
            for color, plane in enumerate(_stack_rows(raw, first, packed[:, :n], work[:n])):
                lines[0, color] += np.add.reduce(plane, axis=0, dtype=np.uint32)
                if first == at[cell]:
                    lines[1, color] = plane[0]
        sums[cell] = _cell_sums(lines, columns)
    cut = np.append(sums[:, 1], np.zeros((1, 3, columns)), axis=0) * parts[:, None, None]
    means = (sums[:, 0] - cut[:-1] + cut[1:]) / (height / rows * width / columns)
    return resize.to_uint16(np.moveaxis(means, 1, 2))


def _edges(length: int, count: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.float64]]:
    """Edges of ``count`` equal cells: the ``count + 1`` samples they cut, and how much of each lies before the edge."""
    whole, rest = np.divmod(np.arange(count + 1) * length, count)
    return whole, rest / count


def _cell_sums(x: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """Sums over ``count`` equal cells along the last axis, shares of the samples that an edge cuts included."""
    at, parts = _edges(x.shape[-1], count)
    # The last edge cuts none.
    cut = x[..., np.minimum(at, x.shape[-1] - 1)] * parts
    return np.asarray(np.add.reduceat(x, at[:-1], axis=-1) - cut[..., :-1] + cut[..., 1:])


def _stack_rows(
    raw: RawImage, first: int, packed: npt.NDArray[np.float32], work: npt.NDArray[np.float64]
) -> Iterator[npt.NDArray[np.uint32]]:
    """Rows of the stack from ``first`` on: planes of red, green and blue, each valid until the next is asked for.

    Args:
        packed, work: memory, ``[4, rows, width]`` and ``[rows, width]``.
    """
    assert raw.cfa is not None
    black, white = raw.black_level[0], raw.white_level[0]
    _, n, width = packed.shape
    # Packing takes black away in passing, where float32 does that without rounding.
    integers = raw.mosaic.dtype == np.uint16 and black.is_integer() and white.is_integer()
    taken = black if integers else 0.0
    rows = raw.mosaic[2 * first : 2 * (first + n), : 2 * width]
    ops.pack(rows, raw.cfa, (taken,) * 4, (taken + 1.0,) * 4, out=packed)
    packed[1] += packed[2]
    counts = work.reshape(-1).view(np.uint32)[: n * width].reshape(n, width)
    for index, cells in ((0, 1), (1, 2), (3, 1)):
        sums = packed[index]
        scale = Fraction(65535) / Fraction(cells * white)
        if integers and scale.numerator * cells * white < 2**32:
            np.clip(sums, 0.0, cells * white, out=sums)
            # Processors convert to int32 faster than to uint32.
            np.copyto(counts.view(np.int32), sums, casting="unsafe")
            counts *= np.uint32(scale.numerator)
            counts //= np.uint32(scale.denominator)
        else:
            np.subtract(sums, cells * (black - taken), out=work, dtype=np.float64)
            work /= cells * white
            np.clip(work, 0.0, 1.0, out=work)
            work *= 65535.0
            np.copyto(sums.view(np.uint32), work, casting="unsafe")
            counts = sums.view(np.uint32)
        yield counts


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
