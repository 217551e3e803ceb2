"""Sensor noise: photons (Poisson) and reading (Gaussian).

The model is that of the DNG tag NoiseProfile (DNG specification 1.4, tag 51041; Foi et al., "Practical
Poissonian-Gaussian noise modeling and fitting for single-image raw-data", IEEE TIP 2008, eq. 2): for a value x in
0..1 between black and white level,

    variance(x) = scale * x + offset

so that ``1 / scale`` electrons make white, and ``sqrt(offset)`` is the standard deviation of a black pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns

Profile = Sequence[tuple[float, float]]


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
