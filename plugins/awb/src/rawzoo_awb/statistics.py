"""From the mosaic to the network's input, as raspberrypi/awb_nn's converter defines it; bit-exact.

1. *Stack*: half-size RGB, the two greens averaged; (value - black of red) / white, clipped to 0..1, 16 bit, truncated.
2. *Grid*: the stack reduced to the grid of the camera's hardware by area (OpenCV's ``INTER_AREA``), 16 bit, rounded.
3. *Rendering* at a fixed 5000 K: lens shading, white balance, colour matrix, clipped in between; 16 bit, truncated.

So the cast that is left tells the temperature.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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

#: Rows of the stack that are worked on at a time: what fits into a core's cache.
_STRIP = 64


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
        sums = np.add.reduce([x.astype(np.float32) for x in cells])
        planes.append(_quantise(sums, len(cells), black, raw.white_level[0], np.empty_like(sums)))
    return np.stack(planes, axis=-1).astype(np.uint16)


def grid(raw: RawImage, rows: int, columns: int) -> UInt16:
    """The stack reduced to ``[rows, columns, 3]``: ``resize.area(stack(raw), rows, columns)``, for large Bayer mosaics
    in strips that stay in the cache, which takes a tenth of the time."""
    height, width = raw.height // 2, raw.width // 2
    if raw.kind != "bayer" or height < rows or width < columns:
        return resize.area(stack(raw), rows, columns)
    whole = height % rows == 0 and width % columns == 0
    strip = height // rows if whole else _STRIP

    def reduced(start: int, stop: int) -> npt.NDArray[Any]:
        parts: list[npt.NDArray[Any]] = []
        # Kept, since fresh memory costs more than the work done in it.
        work = np.empty((width, 3 * strip), np.float32)
        for planes in _strips(raw, start, stop, strip):
            if whole:
                parts.append(resize.whole_cells(planes, 1, columns))
            else:
                # Transposed, so that sums over columns run along rows of memory.
                sums = resize.area_sums(planes.reshape(-1, width).T, columns, work[:, : planes.shape[1] * 3])
                parts.append(sums.reshape(columns, 3, -1).transpose(2, 0, 1))
        return np.concatenate(parts)

    # Each thread takes a run of strips.
    runs = max(1, min(ops.num_threads(), height // strip))
    bounds = [strip * (-(-height // strip) * i // runs) for i in range(runs)] + [height]
    with ThreadPoolExecutor(runs) as pool:
        sums = np.concatenate(list(pool.map(reduced, bounds[:-1], bounds[1:])))
    return sums if whole else resize.to_uint16(resize.area_sums(sums, rows))


def _strips(raw: RawImage, start: int, stop: int, count: int) -> Iterator[npt.NDArray[np.float32]]:
    """Rows of the stack, ``[3, count, width]`` at a time; valid until the next ones are asked for."""
    assert raw.cfa is not None
    black, white, width = raw.black_level[0], raw.white_level[0], raw.width // 2
    for first in range(start, stop, count):
        n = min(count, stop - first)
        if first == start or n < count:
            packed, work = np.empty((4, n, width), np.float32), np.empty((n, width), np.float32)
        rows = raw.mosaic[2 * first : 2 * (first + n), : 2 * width]
        ops.pack(rows, raw.cfa, (0.0,) * 4, (1.0,) * 4, out=packed)
        packed[1] += packed[2]
        packed[2] = packed[3]
        for plane, cells in zip(packed, (1, 2, 1), strict=False):
            _quantise(plane, cells, black, white, work)
        yield packed[:3]


def _quantise(
    sums: npt.NDArray[np.float32], cells: int, black: float, white: float, work: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Sums of samples to whole numbers 0..65535, in place: (mean - black) / white * 65535, truncated.

    The result is that of float64 arithmetic. Where levels are whole numbers and 65535 / white has a simple fraction, as
    with whites of 2^n - 1, float32 finds it too, in a third of the time: the fraction's product stays so small that it
    cannot be mistaken for the next whole number.
    """
    levels = cells * black, cells * white
    factor, rest = divmod(Fraction(65535) / Fraction(levels[1]), 1)
    if all(level.is_integer() for level in levels) and rest.numerator * levels[1] < 1e6:
        sums -= np.float32(levels[0])
        np.multiply(sums, np.float32(rest), out=work)
        work += np.float32(0.25 / rest.denominator)
        np.floor(work, out=work)
        sums *= np.float32(factor)
        sums += work
    else:
        # Multiples of sum and levels give the same quotient.
        sums[:] = np.floor((sums.astype(np.float64) - levels[0]) / levels[1] * 65535.0)
    return np.clip(sums, 0.0, 65535.0, out=sums)


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
