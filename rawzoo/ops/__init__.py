"""Operations on raw data: packing, white balance, Anscombe transforms, demosaicing, development.

Each takes a NumPy array or a torch tensor and gives the same kind back. Native C++ (or, for tensors on a GPU, CUDA)
kernels do the work where they were built (:func:`available` says), plain torch (:mod:`rawzoo.ops.reference`)
elsewhere; NumPy input reaches the native kernels without importing torch. Tensors that need gradients, or that
torch.compile or torch.export traces, go through ``torch.ops.rawzoo.*``, with exact derivatives: all but ``develop``,
``render``, ``hot_pixels``, ``bin_stats`` and the non-linear methods of ``demosaic`` are differentiable for floating
input.

Conventions:

* Mosaics are ``[H, W]``, uint16 or float32, and start with the top-left cell of their CFA pattern ``cfa``
  (:mod:`rawzoo.raw.cfa`). float64 is taken too, wherever a derivative exists, and is served by the reference in
  float64: it is there to check gradients.
* ``black`` and ``white`` are in units of the mosaic, one number or one per channel (Bayer R, Gr, Gb, B; X-Trans
  R, G, B); ``gains`` are the white balance of R, G, B. Balanced value = (value - black) * gain / (white - black).
* ``imresize``, ``resize_opencv`` and ``resize_tensorflow`` are for pictures ``[..., H, W]``: :mod:`rawzoo.ops.resize`.
* ``out`` is a ready array or tensor for the result, which is then returned: right shape and dtype, no memory shared
  with the input. It cannot be combined with gradients.

Every op raises TypeError for a wrong kind of array or dtype and :class:`rawzoo.errors.UsageError` (a ValueError) or
ValueError for a wrong shape, pattern, level or option, before any memory is touched.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.ops import levels
from rawzoo.ops.backend import available, num_threads
from rawzoo.ops.dispatch import Array, dtype_name, run
from rawzoo.ops.resize import imresize, resize_opencv, resize_tensorflow
from rawzoo.raw import cfa as cfa_patterns

if TYPE_CHECKING:
    import torch

    Noise = float | Sequence[float] | npt.NDArray[Any] | torch.Tensor

__all__ = [
    "anscombe",
    "available",
    "bin_stats",
    "demosaic",
    "demosaic_methods",
    "develop",
    "downscale_mosaic",
    "hot_pixels",
    "imresize",
    "inverse_anscombe",
    "num_threads",
    "pack",
    "pack_anscombe",
    "render",
    "resize_opencv",
    "resize_tensorflow",
    "unpack",
    "unpack_anscombe",
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
    """Mosaic to one plane for each cell of the CFA tile, white-balanced.

    Every plane is a regular grid of one colour, in any phase of the pattern, and nothing is cropped or moved.

    Args:
        mosaic: ``[H, W]``, sides multiples of 2 (Bayer) or 6 (X-Trans).
        dtype: ``float32``, ``float16`` or ``bfloat16`` (torch only).

    Returns:
        Bayer: ``[4, H/2, W/2]``, R, Gr, Gb, B. X-Trans: ``[36, H/6, W/6]``, the cells of
        :data:`rawzoo.raw.cfa.XTRANS_PATTERN` in reading order. Not clipped: noise below black is negative, highlights
        exceed 1.
    """
    levels.planes(cfa)
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
        planes: ``[4, h, w]`` (Bayer) or ``[36, h, w]`` (X-Trans) float32, float16 or bfloat16, as :func:`pack` makes.
        dtype: ``uint16``, rounded and clipped to 0..65535 (NaN becomes 0), or ``float32``.

    Returns:
        The mosaic ``[2h, 2w]`` or ``[6h, 6w]``. With uint16 and float32 planes, exactly what was packed.
    """
    levels.planes(cfa)
    return run("unpack", planes, (cfa, *levels.check(cfa, black, white, gains), dtype_name(dtype)), out)


def pack_anscombe(
    mosaic: Array,
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    gains: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    gain: PerChannel,
    sigma: PerChannel,
    offset: PerChannel = 0.0,
    dtype: Any = "float32",
    out: Array | None = None,
) -> Array:
    """:func:`pack`, then :func:`anscombe`, in one pass.

    Args:
        mosaic, black, white, gains, dtype: as in :func:`pack`.
        gain, sigma, offset: noise of the packed planes as in :func:`anscombe`, one value or one for each channel.

    Returns:
        The planes of :func:`pack`, transformed.
    """
    args = (*_fused(cfa, black, white, gains, gain, sigma, offset), dtype_name(dtype))
    return run("pack_anscombe", mosaic, args, out)


def unpack_anscombe(
    planes: Array,
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    gains: Sequence[float] = (1.0, 1.0, 1.0),
    *,
    gain: PerChannel,
    sigma: PerChannel,
    offset: PerChannel = 0.0,
    method: Literal["algebraic", "asymptotic", "exact"] = "algebraic",
    dtype: Any = "uint16",
    out: Array | None = None,
) -> Array:
    """:func:`inverse_anscombe`, then :func:`unpack`, in one pass: the inverse of :func:`pack_anscombe`.

    Args:
        planes, black, white, gains, dtype: as in :func:`unpack`.
        gain, sigma, offset: as in :func:`pack_anscombe`.
        method: as in :func:`inverse_anscombe`.

    Returns:
        The mosaic of :func:`unpack`.
    """
    _inverse(method)
    args = (*_fused(cfa, black, white, gains, gain, sigma, offset), method, dtype_name(dtype))
    return run("unpack_anscombe", planes, args, out)


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


def anscombe(x: Array, gain: Noise, sigma: Noise, offset: Noise = 0.0, out: Array | None = None) -> Array:
    """Generalised Anscombe transform: data with Poisson-Gaussian noise to data with noise of variance close to 1.

    ``2 sqrt(max(0, (x - offset) / gain + 3/8 + (sigma / gain)^2))``, for
    x = gain * Poisson + N(offset, sigma^2) (Murtagh, Starck and Bijaoui 1995; Mäkitalo and Foi 2013, equation 1).

    Each of the three parameters is a number, or C numbers for the channels of an ``x`` of shape ``[C, H, W]``, or an
    array or tensor of the shape of ``x``. Differentiable by ``x``, and by parameters that are tensors.

    Args:
        x: float32 (or float64) of any shape.
        gain: value of one photo-electron, positive (not checked in one of the shape of ``x``).
        sigma: standard deviation of the Gaussian part, in units of ``x``.
        offset: its mean, in units of ``x``.

    Returns:
        The same shape and dtype.
    """
    kind, parameters = _noise(x, gain, sigma, offset)
    return run("anscombe" + kind, x, parameters, out)


def inverse_anscombe(
    y: Array,
    gain: Noise,
    sigma: Noise,
    offset: Noise = 0.0,
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
    _inverse(method)
    kind, parameters = _noise(y, gain, sigma, offset, method)
    return run("inverse_anscombe" + kind, y, parameters, out)


def hot_pixels(
    mosaic: Array,
    cfa: str,
    gain: float = 0.0,
    sigma: float = 0.0,
    offset: float = 0.0,
    threshold: float = 6.0,
    out: Array | None = None,
) -> Array:
    """Repairs single pixels that stand out from all their neighbours: hot, dead and stuck ones.

    The neighbours of a pixel are those of its own colour around it: Bayer, the eight at distance 2 (so that Gr and Gb
    stay apart); X-Trans, the 5 to 13 in the 5x5 window. A pixel is replaced where it lies above the largest of them, or
    below the smallest, by more than the neighbours differ from each other *and* by more than ``threshold`` standard
    deviations of the noise at the level of that neighbour: sqrt(gain * (level - offset) + sigma^2). Its new value is
    their mean without the largest and the smallest. Two defects beside each other in one colour hide each other; a star
    smaller than a pixel looks like a defect.

    Args:
        mosaic: ``[H, W]``, at least one CFA tile in each direction.
        gain, sigma, offset: noise of the mosaic as in :func:`anscombe`; ``offset`` is the black level. Without noise
            (0, 0) only the first condition counts.
        threshold: in standard deviations.

    Returns:
        ``[H, W]`` of the dtype of ``mosaic``; what was repaired is where it differs.
    """
    cfa_patterns.period(cfa)
    return run("hot_pixels", mosaic, (cfa, *_finite(gain, sigma, offset, threshold), _dtype_of(mosaic)), out)


def bin_stats(
    mosaic: Array,
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    grid: tuple[int, int] = (32, 32),
    low: float = 0.0,
    high: float = 1.0,
    out: Array | None = None,
) -> Array:
    """Mean of each channel in each cell of a grid over the mosaic, of the samples within bounds: what an estimate of
    white balance or exposure looks at.

    Args:
        mosaic: ``[H, W]`` uint16 or float32.
        grid: rows and columns of the grid. Cell i of n begins at sample i * size // n.
        low, high: bounds, inclusive, of (value - black) / (white - black); samples beyond them, and NaN, are left out.

    Returns:
        ``[2, C, rows, columns]`` float32: first the means of (value - black) / (white - black), 0 where there are no
        samples; second how many samples there are.
    """
    rows, columns = (operator.index(n) for n in grid)
    if not low <= high:
        raise UsageError(f"low {low!r} must not be above high {high!r}.")
    blacks, whites, _ = levels.check(cfa, black, white, (1.0, 1.0, 1.0))
    return run("bin_stats", mosaic, (cfa, blacks, whites, rows, columns, float(low), float(high)), out)


def downscale_mosaic(mosaic: Array, cfa: str, factor: int, out: Array | None = None) -> Array:
    """A smaller mosaic of the same pattern and scene, for previews and for training at several scales.

    Each output sample is a weighted mean of the input samples of its channel around the place in the scene where it
    lies (output pixels cover ``factor`` by ``factor`` input pixels), with a tent whose half width is ``factor``,
    rounded up to the distance at which the channel repeats (Bayer 2; X-Trans greens 3, red and blue 6): wide enough
    against aliasing, and with its middle exactly at that place whatever the phase, so that a ramp stays the same ramp
    and the channels stay aligned. Linear; differentiable.

    Args:
        mosaic: ``[H, W]``, at least one CFA tile in each direction.
        factor: 1 to 1024.

    Returns:
        ``[H // factor, W // factor]`` of the dtype of ``mosaic``, rounded for uint16, of the same ``cfa``.
    """
    factor = operator.index(factor)
    if not 1 <= factor <= 1024:
        raise UsageError(f"factor must be 1 to 1024, not {factor}.")
    cfa_patterns.period(cfa)
    return run("downscale_mosaic", mosaic, (cfa, factor, _dtype_of(mosaic)), out)


BAYER_METHODS = ("superpixel", "bilinear", "malvar", "hamilton-adams", "menon", "rcd", "gbtf")
XTRANS_METHODS = ("bilinear", "markesteijn-1", "markesteijn")


def demosaic_methods(cfa: str) -> tuple[str, ...]:
    """The methods :func:`demosaic` and :func:`develop` have for a CFA pattern."""
    if cfa_patterns.period(cfa) == 2:
        return BAYER_METHODS
    return XTRANS_METHODS if cfa_patterns.is_xtrans_tile(cfa) else XTRANS_METHODS[:1]


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

    Methods, from fast to good; of the first, X-Trans has ``bilinear`` only:

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

    X-Trans only, besides ``bilinear``, and only for Fujifilm's tile (:data:`rawzoo.raw.cfa.XTRANS_PATTERN`, any phase):

    * ``markesteijn-1``: four pictures, green interpolated along rows, columns and both diagonals with Frank
      Markesteijn's weights and bounds, then red and blue; here merged with weights by how straight each goes on, luma
      and colour, in its direction around the pixel, instead of his count of homogeneous neighbours.
    * ``markesteijn``: three passes; the second and third estimate green anew from the colour differences of the picture
      so far.

    Only ``superpixel``, ``bilinear`` and ``malvar`` with ``encode="none"`` are linear, and these have derivatives; the
    others raise :class:`rawzoo.errors.UsageError` where gradients are asked for.

    Args:
        mosaic: ``[H, W]``, at least one CFA tile in each direction. Black-subtracted, and white-balanced where
            ``method`` mixes colours (all but ``superpixel`` and ``bilinear``).
        encode: ``sqrt`` demosaics sign(v) (sqrt(abs(v) + 1/512) - sqrt(1/512)), in which edges in light and shadow
            weigh alike and noise varies less, and takes the result back: closer to what is seen, by some decibels.
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
    dtype: Any = "uint8",
    encode: Literal["none", "sqrt"] = "none",
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
    args = (cfa, *levels.check(cfa, black, white, gains), _clip(clip), _matrix(matrix), curve, method, name, encode)
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


def _inverse(method: str) -> None:
    if method not in ("algebraic", "asymptotic", "exact"):
        raise UsageError(f"inverse Anscombe method {method!r} is none of algebraic, asymptotic, exact.")


def _noise_values(gain: Any, sigma: Any, offset: Any, count: int) -> tuple[levels.Values, ...]:
    """Each parameter as ``count`` floats."""
    named = zip(("gain", "sigma", "offset"), (gain, sigma, offset), strict=True)
    values = tuple(levels.per_channel(name, value, count) for name, value in named)
    if not (min(values[0]) > 0 and min(values[1]) >= 0):
        raise UsageError(f"gain must be positive and sigma not negative, not {gain!r} and {sigma!r}.")
    return values


def _fused(
    cfa: str,
    black: PerChannel,
    white: PerChannel,
    gains: Sequence[float],
    gain: PerChannel,
    sigma: PerChannel,
    offset: PerChannel,
) -> tuple[Any, ...]:
    """Arguments of packing and of the Anscombe transform, noise per channel."""
    levels.planes(cfa)
    noise = _noise_values(gain, sigma, offset, len(cfa_patterns.channels(cfa)))
    return cfa, *levels.check(cfa, black, white, gains), *noise


def _noise(x: Any, gain: Noise, sigma: Noise, offset: Noise, *rest: Any) -> tuple[str, tuple[Any, ...]]:
    """Which op takes these parameters, by the end of its name, and its arguments."""
    values: tuple[Any, ...] = (gain, sigma, offset)
    if isinstance(gain, (int, float)) and isinstance(sigma, (int, float)) and isinstance(offset, (int, float)):
        if 0 < gain < math.inf and 0 <= sigma < math.inf and abs(offset) < math.inf:  # the usual case, fast
            return "", ((float(gain),), (float(sigma),), (float(offset),), *rest)
        return "", _noise_values(gain, sigma, offset, 1)
    if any(getattr(value, "ndim", 0) > 1 or getattr(value, "requires_grad", False) for value in values):
        return "_map", (*(_like(x, value) for value in values), *rest)
    counts = {len(value) for value in values if getattr(value, "ndim", 1) and hasattr(value, "__len__")}
    if len(counts) > 1:
        raise UsageError(f"gain, sigma and offset have different numbers of values: {sorted(counts)}.")
    gain, sigma, offset = (float(value) if getattr(value, "ndim", 1) == 0 else value for value in values)
    return "", (*_noise_values(gain, sigma, offset, counts.pop() if counts else 1), *rest)


def _like(x: Any, value: Any) -> Any:
    """A parameter as an array of the kind, dtype and shape of ``x``; C values are one for each channel."""
    channels = getattr(value, "ndim", None) == 1 or isinstance(value, (list, tuple))
    if isinstance(x, np.ndarray):
        array = np.asarray(value, dtype=x.dtype)
        array = array.reshape(-1, *[1] * (x.ndim - 1)) if channels and x.ndim > 1 else array
        if array.shape != x.shape and array.ndim != 0 and not channels:
            return array  # of a wrong shape, which the op names
        return np.ascontiguousarray(np.broadcast_to(array, x.shape))
    import torch

    if not isinstance(x, torch.Tensor):
        return value
    tensor = torch.as_tensor(value, device=x.device).to(x.dtype)
    tensor = tensor.reshape(-1, *[1] * (x.dim() - 1)) if channels and x.dim() > 1 else tensor
    if tensor.shape != x.shape and tensor.dim() != 0 and not channels:
        return tensor
    return tensor.expand(x.shape).contiguous()


def _finite(gain: float, sigma: float, offset: float, threshold: float) -> tuple[float, ...]:
    if not (all(abs(v) < math.inf for v in (gain, sigma, offset, threshold)) and min(gain, sigma, threshold) >= 0):
        raise UsageError("gain, sigma, offset and threshold must be finite and, but for offset, not negative.")
    return float(gain), float(sigma), float(offset), float(threshold)


def _dtype_of(mosaic: Any) -> str:
    return dtype_name(getattr(mosaic, "dtype", "float32"))


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
