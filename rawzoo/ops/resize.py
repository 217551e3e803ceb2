"""Resizing as other programs do it, to the last bit: MATLAB, OpenCV, TensorFlow 1.

Published super-resolution networks were trained on pictures that one of these made smaller, and a network learns the
rule it was fed with. The three differ in the cubic, in where output pixels lie, in what is beyond the edges and in
whether a smaller picture is smoothed first.

Pictures are ``[..., H, W]``, NumPy arrays or torch tensors; the same kind comes back. All is computed on the CPU, in
double precision and in a fixed order, and nothing is differentiable.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.ops.dispatch import Array

_Double = npt.NDArray[np.float64]
#: What becomes of the sums along one axis before they are stored.
_Finish = Callable[[_Double], npt.NDArray[Any]]

# Output lines computed at a time: they and their sources stay in the nearer caches.
_LINES = 16


class _Taps(NamedTuple):
    """Line i of the output is the sum over k of ``weight[i, k]`` times line ``pixel[i, k]`` of the input."""

    pixel: npt.NDArray[np.intp]
    weight: _Double


def imresize(
    image: Array,
    size: tuple[int, int] | None = None,
    *,
    scale: float | None = None,
    antialias: bool = True,
    border: Literal["symmetric", "clamp"] = "symmetric",
) -> Array:
    """MATLAB's ``imresize``, bicubic.

    The cubic of Keys with a = -0.5, widened by 1 / scale when a picture is made smaller and ``antialias`` is set. The
    axis with the smaller scale goes first, rows before columns where they are equal. uint8 is rounded, halves away
    from zero, after each axis.

    Args:
        image: uint8, float32 or float64.
        size: height and width of the result; or ``scale``, of which the result is ``ceil(scale * side)``.
        border: what is beyond the edges: the picture mirrored with its last pixel repeated (newer versions), or its
            last pixel (older versions; the Set5 pictures in common use were made so).

    Returns:
        The dtype of ``image``. Floats are not clipped.

    Raises:
        TypeError: another dtype.
        UsageError: not exactly one of ``size`` and ``scale``, or no size a picture can have.
    """
    x = _pixels(image)
    if (size is None) == (scale is None):
        raise UsageError("imresize takes either size or scale.")
    if border not in ("symmetric", "clamp"):
        raise UsageError(f"border must be 'symmetric' or 'clamp', not {border!r}.")
    if scale is not None:
        if not 0 < scale < math.inf:
            raise UsageError(f"scale must be a positive number, not {scale!r}.")
        size = math.ceil(scale * x.shape[-2]), math.ceil(scale * x.shape[-1])
    assert size is not None
    size = _checked(size)
    scales = [scale or out / side for out, side in zip(size, x.shape[-2:], strict=True)]
    finish: _Finish = _away_from_zero if x.dtype == np.uint8 else _as_they_are
    for axis in sorted((0, 1), key=lambda axis: scales[axis]):
        taps = _matlab_taps(x.shape[axis - 2], size[axis], scales[axis], antialias, border)
        x = _resampled(x, axis, taps, finish)
    return _like(image, x.astype(_pixels(image).dtype, copy=False))


def resize_opencv(image: Array, size: tuple[int, int]) -> Array:
    """OpenCV's ``resize`` with ``INTER_CUBIC``: a = -0.75, pixel centres aligned, no smoothing.

    uint8 is rounded once, halves to even, as OpenCV's vectors do. (Its code for what they leave over in narrow pictures
    also rounds the weights.)

    Args:
        image: uint8, float32 or float64.
        size: height and width of the result.

    Returns:
        The dtype of ``image``. Floats are not clipped.

    Raises:
        TypeError, UsageError: as :func:`imresize`.
    """
    x = _pixels(image)
    dtype = x.dtype
    size = _checked(size)
    for axis in (1, 0):
        side, count = x.shape[axis - 2], size[axis]
        position = (np.arange(count) + 0.5) * (side / count) - 0.5
        x = _resampled(x, axis, _cubic_taps(position, side), _as_they_are)
    return _like(image, np.rint(x).clip(0, 255).astype(np.uint8) if dtype == np.uint8 else x.astype(dtype, copy=False))


def resize_tensorflow(
    image: Array,
    size: tuple[int, int],
    *,
    method: Literal["bicubic", "bilinear"] = "bicubic",
    align_corners: bool = False,
) -> Array:
    """``tf.image.resize_bicubic`` and ``resize_bilinear`` of TensorFlow 1, whose first pixels coincide.

    Bicubic has a = -0.75 and knows 1024 positions between two pixels. Neither smooths.

    Args:
        image: uint8, float32 or float64.
        size: height and width of the result.
        align_corners: last pixels coincide as well.

    Returns:
        float32, not clipped.

    Raises:
        TypeError, UsageError: as :func:`imresize`.
    """
    if method not in ("bicubic", "bilinear"):
        raise UsageError(f"method must be 'bicubic' or 'bilinear', not {method!r}.")
    x = _pixels(image)
    size = _checked(size)
    for axis in (1, 0):
        side, count = x.shape[axis - 2], size[axis]
        aligned = align_corners and count > 1
        step = np.float32((side - 1) / (count - 1) if aligned else side / count)
        position = np.arange(count, dtype=np.float32) * step
        if method == "bicubic":
            whole = np.floor(position)
            taps = _cubic_taps(whole + np.rint((position - whole) * 1024) / 1024, side)
        else:
            whole = np.floor(position).clip(0, side - 1)
            share = (position - whole).astype(np.float64)
            index = np.stack([whole, np.minimum(whole + 1, side - 1)], axis=1).astype(np.intp)
            taps = _Taps(index, np.stack([1 - share, share], axis=1))
        x = _resampled(x, axis, taps, _as_they_are)
    return _like(image, x.astype(np.float32))


def _matlab_taps(side: int, count: int, scale: float, antialias: bool, border: str) -> _Taps:
    narrow = scale if scale < 1 and antialias else 1.0
    width = 4 / narrow
    centre = np.arange(1, count + 1) / scale + 0.5 * (1 - 1 / scale)
    left = np.floor(centre - width / 2)
    index = left[:, None] + np.arange(math.ceil(width) + 2)
    weight = narrow * _cubic(narrow * (centre[:, None] - index), -0.5)
    weight /= weight.sum(axis=1, keepdims=True)
    position = index.astype(np.intp) - 1
    if border == "clamp":
        position = position.clip(0, side - 1)
    else:
        position %= 2 * side
        position = np.minimum(position, 2 * side - 1 - position)
    used = np.any(weight != 0, axis=0)
    return _Taps(position[:, used], weight[:, used])


def _cubic_taps(position: npt.NDArray[Any], side: int) -> _Taps:
    """The four pixels around each position."""
    index = np.floor(position).astype(np.intp)[:, None] + np.arange(-1, 3)
    return _Taps(index.clip(0, side - 1), _cubic(position.astype(np.float64)[:, None] - index, -0.75))


def _cubic(x: _Double, a: float) -> _Double:
    """Keys: Cubic convolution interpolation for digital image processing, 1981, eq. 4 with its parameter left open."""
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return np.where(x <= 1, near, np.where(x <= 2, far, 0.0))


def _resampled(x: npt.NDArray[Any], axis: int, taps: _Taps, finish: _Finish) -> npt.NDArray[Any]:
    """``[..., H, W]`` with axis 0 (H) or 1 (W) of a picture resampled."""
    planes = x.reshape(-1, *x.shape[-2:])
    if axis:
        planes = planes.swapaxes(1, 2)
    count = len(taps.pixel)
    out: npt.NDArray[Any] | None = None
    for number, plane in enumerate(planes):
        lines = np.ascontiguousarray(plane)
        for start in range(0, count, _LINES):
            index, weight = (part[start : start + _LINES] for part in taps)
            first = int(index.min())
            source = lines[first : int(index.max()) + 1].astype(np.float64)
            sums = weight[:, :1] * source[index[:, 0] - first]
            for tap in range(1, index.shape[1]):
                sums += weight[:, tap : tap + 1] * source[index[:, tap] - first]
            done = finish(sums)
            if out is None:
                out = np.empty((len(planes), count, lines.shape[1]), done.dtype)
            out[number, start : start + _LINES] = done
    assert out is not None  # pictures are not empty
    if axis:
        out = out.swapaxes(1, 2)
    return np.ascontiguousarray(out).reshape(*x.shape[:-2], *out.shape[1:])


def _away_from_zero(x: _Double) -> npt.NDArray[np.uint8]:
    return np.floor(x + 0.5).clip(0, 255).astype(np.uint8)


def _as_they_are(x: _Double) -> _Double:
    return x


def _pixels(image: Array) -> npt.NDArray[Any]:
    torch = sys.modules.get("torch")
    x = image.detach().cpu().numpy() if torch is not None and isinstance(image, torch.Tensor) else image
    if not isinstance(x, np.ndarray) or x.dtype not in (np.uint8, np.float32, np.float64):
        kind = getattr(image, "dtype", type(image).__name__)
        raise TypeError(f"pictures must be uint8, float32 or float64 arrays or tensors, not {kind}.")
    if x.ndim < 2 or 0 in x.shape:
        raise UsageError(f"a picture must have shape [..., H, W] and pixels, not {list(x.shape)}.")
    return x


def _checked(size: tuple[int, int]) -> tuple[int, int]:
    if len(size) != 2 or any(not isinstance(n, (int, np.integer)) or n < 1 for n in size):
        raise UsageError(f"size must be height and width, both at least 1, not {size!r}.")
    return int(size[0]), int(size[1])


def _like(image: Array, x: npt.NDArray[Any]) -> Array:
    if isinstance(image, np.ndarray):
        return x
    import torch

    return torch.from_numpy(x).to(image.device)
