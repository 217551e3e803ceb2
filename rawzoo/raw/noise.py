"""Sensor noise: photons (Poisson) and reading (Gaussian).

The model is that of the DNG tag NoiseProfile (DNG specification 1.4, tag 51041; Foi et al., "Practical
Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008, eq. 2): for a value x in
0..1 between black and white level,

    variance(x) = scale * x + offset

so that ``1 / scale`` electrons make white, and ``sqrt(offset)`` is the standard deviation of a black pixel.

How the two depend on ISO (:func:`profile_at_iso`), and how sensors differ (:data:`SENSORS`), was fitted to published
profiles: Sony A7S II, Nikon D850 and IMX686 (calibrated for Wei et al., "A Physics-based Noise Formation Model for
Extreme Low-light Raw Denoising", CVPR 2020, and Feng et al., "Learnability Enhancement for Low-light Raw Denoising",
ACM MM 2022), Sony A7R, A7R III, Canon 500D and Samsung S9 (Hanji et al., "Noise-Aware Merging of High Dynamic Range
Image Stacks", ECCV 2020), Samsung S6, Google Pixel, Nexus 6 and LG G4 (Abdelhamed et al., "A High-Quality Denoising
Dataset for Smartphone Cameras", CVPR 2018), IMX586 (Wang et al., "Practical Deep Raw Image Denoising on Mobile
Devices", ECCV 2020), IMX385 (Yue et al., "Supervised Raw Video Denoising", CVPR 2020). The test of this module holds
the figures and repeats the fit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns

Profile = Sequence[tuple[float, float]]


@dataclass(frozen=True)
class Sensors:
    """A population of sensors. Pairs are (median, standard deviation of the natural logarithm).

    Attributes:
        scale_per_iso: lower and upper bound of ``scale / ISO``, between which its logarithm is uniform: a full-frame
            sensor of large pixels, and a telephone.
        read_electrons: noise of reading that is amplified with the signal, in electrons.
        floor_electrons: noise added after the amplifier, in electrons at ISO 100.
        row_share: standard deviation of whole rows as a share of a pixel's read noise, lower and upper bound.
        iso: lower and upper bound.
        max_scale: no sensor is used at an ISO where ``scale`` is larger; the noisiest profile published has half of it.
    """

    scale_per_iso: tuple[float, float] = (6e-8, 5.5e-6)
    read_electrons: tuple[float, float] = (1.1, 0.37)
    floor_electrons: tuple[float, float] = (3.7, 0.8)
    row_share: tuple[float, float] = (0.06, 0.16)
    iso: tuple[float, float] = (50.0, 204800.0)
    max_scale: float = 0.05


SENSORS = Sensors()

#: ``scale / ISO`` of a full-frame sensor: the geometric mean of the four profiles that are of one.
FULL_FRAME_SCALE = 1.6e-7


def profile_at_iso(
    iso: float, scale_per_iso: float = FULL_FRAME_SCALE, read_electrons: float = 1.1, floor_electrons: float = 3.7
) -> tuple[float, float]:
    """(scale, offset) of a sensor at an ISO setting: ``scale`` is proportional to ISO, and a pixel is read with

        sqrt(read_electrons^2 + (floor_electrons * 100 / iso)^2)

    electrons of noise, one part before and one after the amplifier. The defaults are a full-frame camera.
    """
    if not iso > 0:
        raise UsageError(f"ISO must be positive, not {iso:g}.")
    scale = scale_per_iso * iso
    return scale, (scale * math.hypot(read_electrons, floor_electrons * 100.0 / iso)) ** 2


def profile_from_electrons(full_well: float, read_noise: float) -> tuple[float, float]:
    """(scale, offset) of a sensor whose white is ``full_well`` electrons and whose reading adds ``read_noise`` of them.

    Both in electrons at the ISO in question, ``read_noise`` as a standard deviation.
    """
    if not full_well > 0 or not read_noise >= 0:
        raise UsageError(f"full well {full_well:g} must be positive and read noise {read_noise:g} not negative.")
    return 1.0 / full_well, (read_noise / full_well) ** 2


def variance(clean: npt.ArrayLike, profile: Profile, cfa: str | None = None) -> npt.NDArray[np.float64]:
    """Variance that the model predicts at each pixel, before clipping and quantisation.

    Args:
        clean: ``[H, W]`` mosaic or ``[H, W, 3]``, 0 = black, 1 = white.
        profile: one (scale, offset) pair, or one per channel (Bayer R, Gr, Gb, B; X-Trans and linear R, G, B).
        cfa: pattern of the top-left pixel of a mosaic; None for one channel, or three in the last axis.

    Raises:
        UsageError: the profile has another number of channels, or negative numbers.
    """
    values = np.asarray(clean, dtype=np.float64)
    scale, offset = _maps(values.shape, profile, cfa)
    return np.asarray(scale * np.maximum(values, 0.0) + offset)


def add_noise(
    clean: npt.ArrayLike, profile: Profile, rng: np.random.Generator, cfa: str | None = None
) -> npt.NDArray[np.float32]:
    """A noisy exposure of a clean image: a Poisson number of electrons, plus Gaussian read noise.

    Args:
        clean, profile, cfa: see :func:`variance`. Values below 0 count as 0.
        rng: source of the noise; the same seed gives the same noise.

    Returns:
        float32 of the shape of ``clean``, with mean ``clean``; neither clipped nor quantised.

    Raises:
        UsageError: as :func:`variance`.
    """
    values = np.maximum(np.asarray(clean, dtype=np.float64), 0.0)
    scale, offset = _maps(values.shape, profile, cfa)
    noisy = rng.standard_normal(values.shape, np.float32) * np.sqrt(offset)
    # Where scale is 0 there is no shot noise, only the signal itself.
    shot = np.broadcast_to(scale, values.shape) > 0
    electrons = rng.poisson(values / np.where(shot, scale, 1.0))
    return (noisy + np.where(shot, electrons * scale, values)).astype(np.float32)


def balanced(profile: Profile, gains: Sequence[float], cfa: str) -> list[tuple[float, float]]:
    """The profile of a white-balanced mosaic: with ``g x`` in place of x, (scale, offset) become (g scale, g^2 offset).

    Args:
        profile: see :func:`variance`.
        gains: of R, G, B.
        cfa: its pattern.

    Returns:
        One pair per channel.

    Raises:
        UsageError: as :func:`variance`.
    """
    pairs = _pairs(profile)
    gain = [gains["RGB".index(channel[0])] for channel in cfa_patterns.channels(cfa)]
    _check_count(pairs[:, 0], len(gain))
    pairs = np.broadcast_to(pairs, (len(gain), 2))
    return [(g * a, g * g * b) for g, (a, b) in zip(gain, pairs.tolist(), strict=True)]


def quantise(
    values: npt.ArrayLike,
    black_level: float | Sequence[float],
    white_level: float | Sequence[float],
    cfa: str | None = None,
) -> npt.NDArray[np.uint16]:
    """What the converter stores: values 0..1 onto black..white, rounded, clipped at white and at stored 0.

    Noise below black stays, since a sensor's black level is there to keep it.

    Args:
        values: ``[H, W]`` or ``[H, W, 3]``, 0 = black, 1 = white.
        black_level, white_level: one number, or one per channel.
        cfa: see :func:`variance`.

    Raises:
        UsageError: levels for another number of channels, or not 0 <= black < white <= 65535.
    """
    array = np.asarray(values, dtype=np.float32)
    black, white = (np.atleast_1d(np.asarray(level, dtype=float)) for level in (black_level, white_level))
    if np.any(black < 0) or np.max(white) > 65535 or not np.all(white.min() > black):
        raise UsageError(f"levels must be 0 <= black < white <= 65535, not {black_level} and {white_level}.")
    black_map, white_map = (_map(array.shape, level, cfa) for level in (black, white))
    stored = np.rint(array * (white_map - black_map) + black_map)
    return np.clip(stored, 0.0, white_map).astype(np.uint16)


def _maps(
    shape: tuple[int, ...], profile: Profile, cfa: str | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    pairs = _pairs(profile)
    return _map(shape, pairs[:, 0], cfa), _map(shape, pairs[:, 1], cfa)


def _pairs(profile: Profile) -> npt.NDArray[np.float64]:
    pairs = np.asarray(profile, dtype=float)
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.all(np.isfinite(pairs)) or np.any(pairs < 0):
        raise UsageError(f"a noise profile is a list of (scale, offset) pairs, none negative, not {profile!r}.")
    return pairs


def _check_count(values: npt.NDArray[np.float64], count: int) -> None:
    if len(values) not in (1, count):
        raise UsageError(f"{len(values)} numbers were given for an image of {count} channels; give 1 or {count}.")


def _map(shape: tuple[int, ...], values: npt.NDArray[np.float64], cfa: str | None) -> npt.NDArray[np.float64]:
    """Per-channel numbers in a shape that broadcasts over an image of ``shape``."""
    count = 3 if len(shape) == 3 else 1 if cfa is None else len(cfa_patterns.channels(cfa))
    _check_count(values, count)
    if len(values) == 1 or cfa is None:
        return values
    tile = cfa_patterns.channel_tile(cfa)
    n = len(tile)
    return np.asarray(values[tile[np.ix_(np.arange(shape[0]) % n, np.arange(shape[1]) % n)]])
