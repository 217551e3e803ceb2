"""How near a result is to the truth. NumPy only, computed in float64.

Pictures are ``[H, W, 3]`` (or ``[H, W]``), sRGB-encoded, 0..1 unless a data range is given; nothing is clipped or
rounded unless a function says so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.raw import color

Float64 = npt.NDArray[np.float64]

_WINDOW, _SIGMA = 11, 1.5
_K1, _K2 = 0.01, 0.03

#: Exponents of the five scales (Wang, Simoncelli, Bovik: Multiscale structural similarity, 2003).
_SCALES = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

#: The least side for which the window fits into the smallest scale.
MS_SSIM_SIDE = _WINDOW * 2 ** (len(_SCALES) - 1)

_STRIP_ROWS = 128


def rmse(found: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Root of the mean squared error over all pixels and channels, in the unit of the values."""
    a, b = _pair(found, truth)
    return float(np.sqrt(np.mean(np.square(a - b))))


def psnr(found: npt.ArrayLike, truth: npt.ArrayLike, data_range: float = 1.0) -> float:
    """Peak signal to noise ratio in dB: 20 log10(data_range / RMSE) over all channels; infinite for equals."""
    error = rmse(found, truth)
    return float(20.0 * np.log10(data_range / error)) if error else float("inf")


def ssim(found: npt.ArrayLike, truth: npt.ArrayLike, data_range: float = 1.0) -> float:
    """Structural similarity, mean over pixels and channels (Wang et al. 2004).

    11-tap Gaussian window, sigma 1.5, only where it fits wholly; K1 0.01, K2 0.03. As ``tf.image.ssim``.

    Returns:
        -1..1; NaN for a picture with a side below 11.
    """
    a, b = _pictures(found, truth)
    if min(a.shape[-3:-1]) < _WINDOW:
        return float("nan")
    return float(np.mean(_similarity(a, b, data_range, _WINDOW)[0]))


def camera_figures(found: npt.ArrayLike, truth: npt.ArrayLike, border: int = 8) -> dict[str, float]:
    """How near linear camera RGB is to what it should be, after clipping to 0..1.

    Args:
        found, truth: ``[H, W, 3]``, linear, white-balanced; 1 is the sensor's white of green.
        border: pixels left out at each edge of a picture of more than four times as many, where no demosaicer can
            know.

    Returns:
        ``psnr_sqrt`` and ``ssim_sqrt`` of square roots, in which errors in light and shadow are seen alike, and
        ``psnr`` of the values themselves. SSIM is NaN for a side below 11.
    """
    a, b = _pictures(found, truth)
    inner = slice(border, -border) if min(a.shape[:2]) > 4 * border else slice(None)
    a, b = (np.clip(x[inner, inner], 0.0, 1.0) for x in (a, b))
    roots = np.sqrt(a), np.sqrt(b)
    return {"psnr_sqrt": psnr(*roots), "psnr": psnr(a, b), "ssim_sqrt": ssim(*roots)}


def ms_ssim(
    found: npt.ArrayLike,
    truth: npt.ArrayLike,
    data_range: float = 1.0,
    definition: Literal["tensorflow", "pytorch"] = "tensorflow",
) -> float:
    """Multi-scale structural similarity over five scales, by one of two published definitions.

    Both use the window and constants of :func:`ssim`, halve by 2x2 means, and multiply the contrast of the first four
    scales with the similarity of the fifth, each to its exponent. They differ by 2e-4 to 1e-3 on photographs:

    ============ =========================================== ====================================================
    .            ``tensorflow``                              ``pytorch``
    ============ =========================================== ====================================================
    used by      ``tf.image.ssim_multiscale``                pytorch-msssim by J. Pessoa, with PyNET-PyTorch
    product      per picture and channel, then their mean    once, of means over pictures, channels and pixels
    term below 0 counts as 0                                 makes the result NaN
    odd sides    repeat the last row or column               drop it
    small        NaN below 176 pixels a side                 the window shrinks to the picture; NaN below 16
    data range   as given                                    as given; pytorch-msssim guesses it from the values
    ============ =========================================== ====================================================

    Args:
        found, truth: ``[H, W, C]``, or a batch of them ``[N, H, W, C]``.
        data_range: difference between white and black.
        definition: see above.

    Returns:
        0..1, or NaN as above.
    """
    a, b = _pictures(found, truth)
    tensorflow = definition == "tensorflow"
    if min(a.shape[-3:-1]) < (MS_SSIM_SIDE if tensorflow else 2 ** (len(_SCALES) - 1)):
        return float("nan")
    terms = []
    for scale in range(len(_SCALES)):
        if scale:
            a, b = _halved(a, tensorflow), _halved(b, tensorflow)
        last = scale == len(_SCALES) - 1
        term = _similarity(a, b, data_range, min(_WINDOW, *a.shape[-3:-1]))[0 if last else 1]
        terms.append(np.maximum(term, 0.0) if tensorflow else np.mean(term))
    with np.errstate(invalid="ignore"):  # the pytorch definition takes roots of negative numbers
        powers = [term**exponent for term, exponent in zip(terms, _SCALES, strict=True)]
    return float(np.mean(np.prod(powers, axis=0)))


def luma(rgb: npt.ArrayLike, *, rounded: bool = False) -> Float64:
    """Y of YCbCr as super-resolution is measured by (ITU-R BT.601, 16 is black and 235 is white).

    Args:
        rgb: ``[..., 3]``, 0..1.
        rounded: to whole numbers, as MATLAB's ``rgb2ycbcr`` does of uint8 pictures.
    """
    y: Float64 = 16.0 + np.asarray(rgb, np.float64) @ np.array([65.481, 128.553, 24.966])
    return np.rint(y) if rounded else y


def eight_bit(picture: npt.ArrayLike) -> Float64:
    """A picture as an 8-bit file would hold it: clipped, rounded (halves to even), again 0..1."""
    return np.rint(255.0 * np.clip(np.asarray(picture, np.float64), 0.0, 1.0)) / 255.0


def shaved(picture: npt.NDArray[np.floating], pixels: int) -> npt.NDArray[np.floating]:
    """A picture without its outermost pixels, as super-resolution is measured.

    Raises:
        UsageError: nothing would be left.
    """
    height, width = picture.shape[:2]
    if 2 * pixels >= min(height, width):
        raise UsageError(f"a picture of {width} x {height} pixels has none left without {pixels} at each edge.")
    return picture[pixels : height - pixels, pixels : width - pixels]


def delta_e(found: npt.ArrayLike, truth: npt.ArrayLike, formula: Literal["ciede2000", "cie76"] = "ciede2000") -> float:
    """Mean colour difference of two sRGB pictures; about 1 is just noticeable.

    Values are clipped to 0..1 and taken to CIELAB under D65; see :func:`ciede2000` and :func:`cie76`.
    """
    a, b = _pair(found, truth)
    if a.ndim != 3 or a.shape[2] != 3:
        raise UsageError(f"a colour difference needs pictures [H, W, 3], not {list(a.shape)}.")
    difference = {"ciede2000": ciede2000, "cie76": cie76}[formula]
    total = 0.0
    for top in range(0, len(a), _STRIP_ROWS):
        strip = slice(top, top + _STRIP_ROWS)
        total += float(difference(srgb_to_lab(a[strip]), srgb_to_lab(b[strip])).sum())
    return total / float(a.shape[0] * a.shape[1])


def srgb_to_lab(rgb: npt.ArrayLike) -> Float64:
    """sRGB ``[..., 3]``, clipped to 0..1, to CIELAB relative to D65 (CIE 15:2018)."""
    relative = color.srgb_decode(rgb) @ color.rgb_to_xyz("srgb").T / color.xy_to_xyz(color.D65_XY)
    linear = relative * (29 / 6) ** 2 / 3 + 4 / 29
    f = np.where(relative > (6 / 29) ** 3, np.cbrt(relative), linear)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116.0 * y - 16.0, 500.0 * (x - y), 200.0 * (y - z)], axis=-1)


def cie76(lab: npt.ArrayLike, reference: npt.ArrayLike) -> Float64:
    """Distance in CIELAB, ``[..., 3]`` -> ``[...]`` (CIE 1976)."""
    return np.asarray(np.linalg.norm(np.asarray(lab, np.float64) - np.asarray(reference, np.float64), axis=-1))


def ciede2000(lab: npt.ArrayLike, reference: npt.ArrayLike) -> Float64:
    """CIEDE2000 of CIELAB colours, ``[..., 3]`` -> ``[...]``, with kL = kC = kH = 1.

    ISO/CIE 11664-6; Sharma, Wu, Dalal: The CIEDE2000 color-difference formula (2005), eq. 2 to 22.
    """
    l1, a1, b1 = np.moveaxis(np.asarray(lab, np.float64), -1, 0)
    l2, a2, b2 = np.moveaxis(np.asarray(reference, np.float64), -1, 0)
    chroma = (np.hypot(a1, b1) + np.hypot(a2, b2)) / 2.0
    g = 0.5 * (1.0 - np.sqrt(chroma**7 / (chroma**7 + 25.0**7)))
    a1, a2 = (1.0 + g) * a1, (1.0 + g) * a2
    c1, c2 = np.hypot(a1, b1), np.hypot(a2, b2)
    h1, h2 = np.degrees(np.arctan2(b1, a1)) % 360.0, np.degrees(np.arctan2(b2, a2)) % 360.0
    grey = c1 * c2 == 0.0

    turn = (h2 - h1 + 180.0) % 360.0 - 180.0
    turn = np.where(np.abs(h2 - h1) == 180.0, h2 - h1, turn)  # eq. 10 keeps the sign of half a turn
    d_l, d_c = l2 - l1, c2 - c1
    d_h = np.where(grey, 0.0, 2.0 * np.sqrt(c1 * c2) * np.sin(np.radians(turn) / 2.0))

    middle, c = (l1 + l2) / 2.0 - 50.0, (c1 + c2) / 2.0
    far = np.abs(h1 - h2) > 180.0
    h = np.where(far, (h1 + h2 + np.where(h1 + h2 < 360.0, 360.0, -360.0)) / 2.0, (h1 + h2) / 2.0)
    h = np.where(grey, h1 + h2, h)
    t = (
        1.0
        - 0.17 * np.cos(np.radians(h - 30.0))
        + 0.24 * np.cos(np.radians(2.0 * h))
        + 0.32 * np.cos(np.radians(3.0 * h + 6.0))
        - 0.20 * np.cos(np.radians(4.0 * h - 63.0))
    )
    s_l = 1.0 + 0.015 * middle**2 / np.sqrt(20.0 + middle**2)
    s_c, s_h = 1.0 + 0.045 * c, 1.0 + 0.015 * c * t
    rotation = -2.0 * np.sqrt(c**7 / (c**7 + 25.0**7)) * np.sin(np.radians(60.0 * np.exp(-(((h - 275.0) / 25.0) ** 2))))
    x, y, z = d_l / s_l, d_c / s_c, d_h / s_h
    # Rounding can take the sum below 0 for equal colours.
    return np.asarray(np.sqrt(np.maximum(x**2 + y**2 + z**2 + rotation * y * z, 0.0)))


def is_among_best(probabilities: npt.ArrayLike, label: int, count: int) -> bool:
    """Whether a label is among the ``count`` most probable; of equal ones the earlier counts as more probable."""
    order = np.argsort(-np.asarray(probabilities), kind="stable")
    return label in order[:count]


def _pair(found: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[Float64, Float64]:
    a, b = np.asarray(found, np.float64), np.asarray(truth, np.float64)
    if a.shape != b.shape or not a.size:
        raise UsageError(f"only what has the same size can be compared, not {list(a.shape)} and {list(b.shape)}.")
    return a, b


def _pictures(found: npt.ArrayLike, truth: npt.ArrayLike) -> tuple[Float64, Float64]:
    """As ``[..., H, W, C]``."""
    a, b = _pair(found, truth)
    return (a[:, :, None], b[:, :, None]) if a.ndim == 2 else (a, b)


def _similarity(a: Float64, b: Float64, data_range: float, window: int) -> tuple[Float64, Float64]:
    """SSIM and its contrast-structure term, each a mean over the pixels: ``[..., H, W, C]`` -> ``[..., C]``."""
    offsets = np.arange(window) - (window - 1) / 2.0
    kernel = np.exp(-0.5 * (offsets / _SIGMA) ** 2)
    kernel /= kernel.sum()
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    planes = [np.moveaxis(p, -1, -3).reshape(-1, *p.shape[-3:-1]) for p in (a, b)]
    rows, columns = (n - window + 1 for n in planes[0].shape[1:])
    means = np.zeros((2, len(planes[0])))
    for plane, (x, y) in enumerate(zip(*planes, strict=True)):
        # Strips that stay in the cache take half the time, and next to no memory.
        for top in range(0, rows, _STRIP_ROWS):
            strip = slice(top, min(top + _STRIP_ROWS, rows) + window - 1)
            u, v = x[strip], y[strip]
            mean_u, mean_v = _blurred(u, kernel), _blurred(v, kernel)
            squares, product = mean_u**2 + mean_v**2, mean_u * mean_v
            structure = 2.0 * (_blurred(u * v, kernel) - product) + c2
            structure /= _blurred(u**2 + v**2, kernel) - squares + c2
            means[1, plane] += structure.sum()
            structure *= (2.0 * product + c1) / (squares + c1)
            means[0, plane] += structure.sum()
    similarity, contrast = (means / (rows * columns)).reshape(2, *a.shape[:-3], a.shape[-1])
    return similarity, contrast


def _blurred(x: Float64, kernel: Float64) -> Float64:
    """``[H, W]`` convolved with a symmetric kernel along both axes, where it fits wholly."""
    for axis in (0, 1):
        x = x if axis == 0 else x.T
        count = x.shape[0] - len(kernel) + 1
        half = len(kernel) // 2
        total = kernel[half] * x[half : half + count] if len(kernel) % 2 else np.zeros_like(x[:count])
        for i in range(half):
            last = len(kernel) - 1 - i
            total += kernel[i] * (x[i : i + count] + x[last : last + count])
        x = total if axis == 0 else total.T
    return x


def _halved(x: Float64, repeat: bool) -> Float64:
    """Means of 2x2 pixels of ``[..., H, W, C]``; an odd last row or column is repeated or dropped."""
    for axis in (-3, -2):
        x = np.moveaxis(x, axis, 0)
        if len(x) % 2:
            x = np.concatenate([x, x[-1:]]) if repeat else x[:-1]
        x = np.moveaxis((x[::2] + x[1::2]) / 2.0, 0, axis)
    return x
