"""OpenCV's ``resize`` as the reference converter uses it, in NumPy: the same sums in the same order of rounding.

Written from the documented behaviour and checked against OpenCV in the tests. Reduction by area (``INTER_AREA``) has
three rules there: whole factors, other factors of at least 1, and enlargement, which is a variant of bilinear.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Float32 = npt.NDArray[np.float32]


def area(image: npt.NDArray[np.uint16], height: int, width: int) -> npt.NDArray[np.uint16]:
    """``cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)`` for uint16 ``[H, W, C]``."""
    rows, columns = image.shape[:2]
    if rows < height or columns < width:
        return to_uint16(_linear(image, height, width, enlarged_area=True))
    if rows % height == 0 and columns % width == 0:
        return _whole_cells(np.moveaxis(image, -1, 0), height, width)
    sums = _area_sums(np.swapaxes(image, 0, 1), width)
    return to_uint16(_area_sums(np.swapaxes(sums, 0, 1), height))


def linear(image: Array, height: int, width: int) -> Array:
    """``cv2.resize(image, (width, height))``, bilinear between pixel centres, for floating ``[H, W]``."""
    if image.shape == (height, width):
        return image
    return _linear(image, height, width, enlarged_area=False)


def _area_sums(x: Array, count: int) -> Float32:
    """Means of ``count`` equal cells along axis 0, fractions of samples included; float32, not rounded.

    OpenCV adds in float32 from first to last. So does this, if there is a second axis: the sums run along rows of
    memory, in which NumPy keeps the order.
    """
    cells = _cells(len(x), count)
    x = x.astype(np.float32, order="C")
    first, tails = (x[at] * _column(weights, x) for at, weights in (cells[:2], cells[2:4]))
    x *= np.float32(cells.weight)
    x[cells.first] = first
    out = np.empty((count, *x.shape[1:]), np.float32)
    for i, (start, stop) in enumerate(zip(cells.first, cells.tail, strict=True)):
        np.add.reduce(x[start:stop], axis=0, out=out[i])
    out += tails
    return out


class _Cells(NamedTuple):
    """Cell i is sample ``first[i]`` times its weight, samples up to ``tail[i]`` times ``weight``, and the tail."""

    first: npt.NDArray[np.intp]
    first_weight: Float32
    tail: npt.NDArray[np.intp]
    tail_weight: Float32
    weight: float


@lru_cache(maxsize=32)
def _cells(length: int, count: int) -> _Cells:
    scale = _scale(length, count)
    first, first_weight, tail, tail_weight = [], [], [], []
    for i in range(count):
        low, high = i * scale, i * scale + scale
        size = min(scale, length - low)
        stop = min(math.floor(high), length - 1)
        start = min(math.ceil(low), stop)
        # Fractions below a thousandth of a sample do not count.
        begins_inside = start - low > 1e-3
        first.append(start - begins_inside)
        first_weight.append((start - low) / size if begins_inside else 1.0 / size)
        tail.append(stop)
        tail_weight.append(min(high - stop, 1.0, size) / size if high - stop > 1e-3 else 0.0)
    return _Cells(
        np.array(first),
        np.array(first_weight, np.float32),
        np.array(tail),
        np.array(tail_weight, np.float32),
        1 / scale,
    )


def _whole_cells(planes: Array, height: int, width: int) -> npt.NDArray[np.uint16]:
    """Means of cells of a whole number of samples: ``[C, H, W]`` of 16-bit values to ``[height, width, C]``.

    Sums of four samples are exact, the rest is float32, in reading order. Cells of 2x2 round halves up, others to even.
    """
    channels, rows, columns = len(planes), planes.shape[1] // height, planes.shape[2] // width
    size = rows * columns
    if columns % 4 == 0:
        planes = planes[:, :, 0::4].astype(np.float32) + planes[:, :, 1::4] + planes[:, :, 2::4] + planes[:, :, 3::4]
        columns //= 4
    # [values of a cell in reading order, cells]
    cells = (
        planes.reshape(channels, height, rows, width, columns).transpose(2, 4, 1, 3, 0).astype(np.float32, order="C")
    )
    cells = cells.reshape(rows * columns, height * width * channels)
    if len(cells) == size:
        fours = size // 4 * 4
        cells = np.concatenate([cells[:fours].reshape(size // 4, 4, cells.shape[1]).sum(axis=1), cells[fours:]])
    means = np.add.reduce(cells, axis=0) * np.float32(1.0 / size)
    if size == 4 and rows == 2:
        means = np.floor(means + np.float32(0.5))
    return to_uint16(means).reshape(height, width, channels)


def _scale(length: int, count: int) -> float:
    """Samples from one output sample to the next, with OpenCV's rounding, which decides where a position is whole."""
    return 1.0 / (count / length)


def _linear(image: Array, height: int, width: int, *, enlarged_area: bool) -> Array:
    dtype = np.float64 if image.dtype == np.float64 else np.float32
    x: Array = image.astype(dtype)
    for axis, length in ((1, width), (0, height)):
        at, weight = _positions(image.shape[axis], length, enlarged_area)
        following = np.minimum(at + 1, image.shape[axis] - 1)
        x = np.moveaxis(x, axis, 0)
        x = x[at] * _column(np.float32(1.0) - weight, x) + x[following] * _column(weight, x)
        x = np.moveaxis(x, 0, axis)
    return x


def _positions(length: int, count: int, enlarged_area: bool) -> tuple[npt.NDArray[np.intp], Float32]:
    """Sample before each output position, and the weight of the one after it."""
    scale = _scale(length, count)
    i = np.arange(count)
    if enlarged_area:
        at = np.floor(i * scale)
        weight = ((i + 1) - (at + 1) * (count / length)).astype(np.float32)
        weight = np.where(weight <= 0, np.float32(0), weight - np.floor(weight))
    else:
        position = (i + 0.5) * scale - 0.5
        at = np.floor(position)
        weight = (position - at).astype(np.float32)
        weight[(at < 0) | (at >= length - 1)] = 0
    return np.clip(at, 0, length - 1).astype(np.intp), weight


def _column(weights: Float32, x: Array) -> Float32:
    return weights.reshape(-1, *[1] * (x.ndim - 1))


def to_uint16(x: Array) -> npt.NDArray[np.uint16]:
    """Rounded (halves to even) and saturated."""
    return np.clip(np.rint(x), 0, 65535).astype(np.uint16)
