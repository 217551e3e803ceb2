"""Operations on raw data: packing, white balance, Anscombe transforms, demosaicing, development.

Each takes a NumPy array or a torch tensor and gives the same kind back. Native C++ (or, for tensors on a GPU, CUDA)
kernels do the work where they were built (:func:`available` says), plain torch (:mod:`rawzoo.ops.reference`)
elsewhere; NumPy input reaches the native kernels without importing torch. Tensors that need gradients, or that
torch.compile or torch.export traces, go through ``torch.ops.rawzoo.*``, with exact derivatives: ``pack``, ``unpack``,
``white_balance``, ``anscombe``, ``inverse_anscombe`` and ``demosaic`` are differentiable for floating input.

Conventions:

* Mosaics are ``[H, W]``, uint16 or float32, and start with the top-left cell of their CFA pattern ``cfa``
  (:mod:`rawzoo.raw.cfa`). float64 is taken too, wherever a derivative exists, and is served by the reference in
  float64: it is there to check gradients.
* ``black`` and ``white`` are in units of the mosaic, one number or one per channel (Bayer R, Gr, Gb, B; X-Trans
  R, G, B); ``gains`` are the white balance of R, G, B. Balanced value = (value - black) * gain / (white - black).
* ``out`` is a ready array or tensor for the result, which is then returned: right shape and dtype, no memory shared
  with the input. It cannot be combined with gradients.

Every op raises TypeError for a wrong kind of array or dtype and :class:`rawzoo.errors.UsageError` (a ValueError) or
ValueError for a wrong shape, pattern, level or option, before any memory is touched.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.ops import levels
from rawzoo.ops.backend import available, num_threads
from rawzoo.ops.dispatch import Array, dtype_name, run
from rawzoo.raw import cfa as cfa_patterns

if TYPE_CHECKING:
    import torch

__all__ = [
    "anscombe",
    "available",
    "demosaic",
    "demosaic_methods",
    "develop",
    "inverse_anscombe",
    "num_threads",
    "pack",
    "render",
    "unpack",
    "white_balance",
]

PerChannel = float | Sequence[float]


def pack(
    mosaic: Array,
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    gains: Sequence[float] = (1.0, 1.0, 1.0),
    dtype: Any = "float32",
    out: Array | None = None,
) -> Array:
    """Bayer mosaic to four half-size planes, white-balanced.

    Args:
        mosaic: ``[H, W]`` with even sides, Bayer.
        dtype: ``float32``, ``float16`` or ``bfloat16`` (torch only).

    Returns:
        ``[4, H/2, W/2]``: R, Gr, Gb, B. Not clipped: noise below black is negative, highlights exceed 1.
    """
    _bayer(cfa, "pack")
    return run("pack", mosaic, (cfa, *levels.check(cfa, black, white, gains), dtype_name(dtype)), out)


def unpack(
    planes: Array,
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    gains: Sequence[float] = (1.0, 1.0, 1.0),
    dtype: Any = "uint16",
    out: Array | None = None,
) -> Array:
    """The inverse of :func:`pack`.

    Args:
        planes: ``[4, h, w]`` float32, float16 or bfloat16: R, Gr, Gb, B.
        dtype: ``uint16``, rounded and clipped to 0..65535 (NaN becomes 0), or ``float32``.

    Returns:
        The mosaic ``[2h, 2w]``. With uint16 and float32 planes, exactly what was packed.
    """
    _bayer(cfa, "unpack")
    return run("unpack", planes, (cfa, *levels.check(cfa, black, white, gains), dtype_name(dtype)), out)


def white_balance(
    mosaic: Array,
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    gains: Sequence[float],
    clip: float | None = None,
    out: Array | None = None,
) -> Array:
    """White-balanced mosaic: 0 is black, 1 is sensor white of a channel with gain 1.

    Args:
        mosaic: ``[H, W]``, Bayer or X-Trans.
        clip: upper bound of the result, or None.

    Returns:
        ``[H, W]`` float32 (float64 for float64).
    """
    return run("white_balance", mosaic, (cfa, *levels.check(cfa, black, white, gains), _clip(clip)), out)


def anscombe(x: Array, gain: float, sigma: float, offset: float = 0.0, out: Array | None = None) -> Array:
    """Generalised Anscombe transform: data with Poisson-Gaussian noise to data with noise of variance close to 1.

    ``2 sqrt(max(0, (x - offset) / gain + 3/8 + (sigma / gain)^2))``, for
    x = gain * Poisson + N(offset, sigma^2) (Murtagh, Starck and Bijaoui 1995; Mäkitalo and Foi 2013, equation 1).

    Args:
        x: float32 (or float64) of any shape.
        gain: value of one photo-electron, positive.
        sigma: standard deviation of the Gaussian part, in units of ``x``.
        offset: its mean, in units of ``x``.

    Returns:
        The same shape and dtype.
    """
    return run("anscombe", x, _noise(gain, sigma, offset), out)


def inverse_anscombe(
    y: Array,
    gain: float,
    sigma: float,
    offset: float = 0.0,
    method: Literal["algebraic", "asymptotic", "exact"] = "algebraic",
    out: Array | None = None,
) -> Array:
    """Inverse of :func:`anscombe`.

    Args:
        y: float32 (or float64) of any shape: the transform of a clean signal, or a denoised transform.
        gain, sigma, offset: as in :func:`anscombe`.
        method: ``algebraic`` undoes :func:`anscombe`: y^2 / 4 - 3/8 - s^2, with s = sigma / gain. A denoised transform
            estimates the *mean* of the transformed data, from which it is biased by about -1/4 photo-electron.
            ``asymptotic``: y^2 / 4 - 1/8 - s^2, unbiased for large signals. ``exact``: the closed-form approximation
            of the exact unbiased inverse, y^2 / 4 + sqrt(3/2) / (4 y) - 11 / (8 y^2) + 5 sqrt(3/2) / (8 y^3) - 1/8
            - s^2 (Mäkitalo and Foi, IEEE TIP 2011 equation 10, TIP 2013), with y at least 2 sqrt(3/8), where that is
            -s^2. No method clips at zero: that would bias dark signals.

    Returns:
        The same shape and dtype.
    """
    if method not in ("algebraic", "asymptotic", "exact"):
        raise UsageError(f"inverse Anscombe method {method!r} is none of algebraic, asymptotic, exact.")
    return run("inverse_anscombe", y, (*_noise(gain, sigma, offset), method), out)


BAYER_METHODS = ("superpixel", "bilinear", "malvar", "hamilton-adams", "menon", "rcd", "gbtf")


def demosaic_methods(cfa: str) -> tuple[str, ...]:
    """The methods :func:`demosaic` and :func:`develop` have for a CFA pattern."""
    return BAYER_METHODS if cfa_patterns.period(cfa) == 2 else ("bilinear",)


def demosaic(
    mosaic: Array,
    cfa: str,
    method: str = "bilinear",
    *,
    encode: Literal["none", "sqrt"] = "none",
    dtype: Any = None,
    layout: Literal["planar", "interleaved"] = "planar",
    out: Array | None = None,
) -> Array:
    """Mosaic to RGB. Values are neither scaled nor clipped.

    Outside the image a Bayer mosaic is mirrored without repeating the edge sample, an X-Trans mosaic continued with
    samples six pixels further in; either keeps the pattern. A mosaic of one colour comes back as exactly that colour,
    up to the edges (with ``encode="sqrt"``, to float precision).

    Methods, from fast to good; Bayer only, except ``bilinear``:

    * ``superpixel``: one pixel for each 2x2 cell, of its red, the mean of its greens, and its blue.
    * ``bilinear``: the mean of the nearest samples of each colour; for X-Trans weighted by a tent over the smallest
      window that holds one.
    * ``malvar``: gradient-corrected linear interpolation (Malvar, He and Cutler, ICASSP 2004).
    * ``hamilton-adams``: green from its neighbours and the second difference of the site's colour (Hamilton and Adams
      1997), here both directions blended by how little each changes; then bilinear colour differences.
    * ``menon``: directional filtering with a posteriori decision, with its refining step (Menon, Andriani and
      Calvagno, IEEE TIP 2007).
    * ``rcd``: ratio corrected demosaicing (Sanz Rodriguez 2017), without its clipping; expects values around 0 to 1.
    * ``gbtf``: gradient-based threshold-free interpolation (Pekkucuksen and Altunbasak, ICIP 2010), here both
      directions blended by the squares of the changes of the colour difference over 5x5. The best of these.

    Only ``superpixel``, ``bilinear`` and ``malvar`` with ``encode="none"`` are linear, and these have derivatives; the
    others raise :class:`rawzoo.errors.UsageError` where gradients are asked for.

    Args:
        mosaic: ``[H, W]``, at least one CFA tile in each direction. Black-subtracted, and white-balanced where
            ``method`` mixes colours (all but ``superpixel`` and ``bilinear``).
        encode: ``sqrt`` demosaics sign(v) sqrt(abs(v)), in which edges in light and shadow weigh alike and noise varies
            less, and squares the result: closer to what is seen, by some decibels.
        dtype: ``float32``, ``float16``; None: float32 (float64 for float64).
        layout: ``planar`` or ``interleaved``.

    Returns:
        ``[3, H, W]`` or, interleaved, ``[H, W, 3]``; H and W are halved (rounded down) by ``superpixel``.
    """
    _method(cfa, method, encode)
    if layout not in ("planar", "interleaved"):
        raise UsageError(f"layout {layout!r} is none of planar, interleaved.")
    name = dtype_name(dtype) if dtype is not None else _result_dtype(mosaic)
    return run("demosaic", mosaic, (cfa, method, encode, name, layout), out)


def develop(
    mosaic: Array,
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    gains: Sequence[float],
    clip: float | None,
    matrix: npt.ArrayLike,
    curve: npt.ArrayLike | torch.Tensor | None = None,
    method: str = "malvar",
    encode: Literal["none", "sqrt"] = "none",
    dtype: Any = "uint8",
    out: Array | None = None,
) -> Array:
    """Mosaic to picture in one pass: :func:`white_balance`, :func:`demosaic`, :func:`render`. Not differentiable.

    Args:
        mosaic: ``[H, W]`` uint16 or float32, at least one CFA tile in each direction.
        clip: upper bound of the balanced mosaic, or None.
        matrix, curve, dtype: as in :func:`render`.
        method, encode: as in :func:`demosaic`.

    Returns:
        ``[H, W, 3]``; H and W are halved (rounded down) by method ``superpixel``.
    """
    _method(cfa, method, encode)
    name = _picture_dtype(dtype, curve)
    args = (cfa, *levels.check(cfa, black, white, gains), _clip(clip), _matrix(matrix), curve, method, encode, name)
    return run("develop", mosaic, args, out)


def render(
    rgb: Array,
    matrix: npt.ArrayLike,
    curve: npt.ArrayLike | torch.Tensor | None = None,
    dtype: Any = "uint8",
    out: Array | None = None,
) -> Array:
    """Linear RGB planes to an interleaved picture: matrix, clamp to 0..1, curve, full integer range. Not
    differentiable.

    Args:
        rgb: ``[3, H, W]`` float32.
        matrix: 3x3, applied to (R, G, B) columns.
        curve: ``[N]`` encoded values in 0..1 at linear input i / (N - 1), N >= 2, interpolated linearly; None for
            linear output. uint8 output is within one code of the interpolated curve.
        dtype: ``uint8``, ``uint16``, or ``float32``: matrix only, neither clamped nor encoded; ``curve`` must be None.

    Returns:
        ``[H, W, 3]``; NaN becomes 0 in integers.
    """
    name = _picture_dtype(dtype, curve)
    return run("render", rgb, (_matrix(matrix), curve, name), out)


def _bayer(cfa: str, op: str) -> None:
    if cfa_patterns.period(cfa) != 2:
        raise UsageError(f"{op} takes Bayer mosaics only, not the X-Trans pattern {cfa}.")


def _method(cfa: str, method: str, encode: str) -> None:
    methods = demosaic_methods(cfa)
    if method not in methods:
        raise UsageError(f"demosaic method {method!r} does not exist for {cfa}; it has {', '.join(methods)}.")
    if encode not in ("none", "sqrt"):
        raise UsageError(f"encode {encode!r} is none of none, sqrt.")


def _result_dtype(mosaic: Any) -> str:
    return "float64" if dtype_name(getattr(mosaic, "dtype", "float32")) == "float64" else "float32"


def _clip(clip: float | None) -> float:
    if clip is None:
        return math.inf
    value = float(clip)
    if value != value:
        raise UsageError("clip must be a number or None, not NaN.")
    return value


def _noise(gain: float, sigma: float, offset: float) -> tuple[float, float, float]:
    values = float(gain), float(sigma), float(offset)
    if not (all(abs(v) < math.inf for v in values) and values[0] > 0 and values[1] >= 0):
        raise UsageError(f"gain must be positive and sigma not negative, not {gain!r} and {sigma!r}.")
    return values


def _matrix(matrix: npt.ArrayLike) -> tuple[float, ...]:
    values = np.asarray(matrix, dtype=float)
    if values.shape != (3, 3) or not np.all(np.isfinite(values)):
        raise UsageError(f"matrix must be 3x3 finite numbers, not shape {list(values.shape)}.")
    return tuple(values.ravel().tolist())


def _picture_dtype(dtype: Any, curve: object) -> str:
    name = dtype_name(dtype)
    if name == "float32" and curve is not None:
        raise UsageError("a float32 picture is linear and takes no curve.")
    return name
