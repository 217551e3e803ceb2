"""How noisy a mosaic is: what its file says, else what the mosaic itself shows, else what its ISO suggests.

Measuring: in every 2x2 cell of neighbouring samples of one channel the diagonal difference holds noise and hardly any
picture. The two straight differences and the mean are independent of it, so that blocks of cells can be chosen for
being smooth without choosing their noise. The variance in the smoothest blocks of each brightness is then fitted
against their mean. (After Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for single-image
raw-data", IEEE TIP 2008, who take wavelet details of segments; here the cells are Haar's wavelet, and the fit lets
texture be above the line.)

Synthetic raw data of 55 photographs of 0.2 to 2.8 MP, many of them full of texture: the standard deviation is found
within a factor of 1.3, at 5, 20 and 50 % of white alike, in 87 % of them at ISO 800 of a full-frame sensor, and in 95 %
from ISO 6400 on; its median is 9 and 3 % too large. At ISO 100 it is 55 %, and the median 21 % too large: there the
photographs' own noise and texture count.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import noise
from rawzoo.raw.image import RawImage

#: Of a file that says nothing, and is too small to measure: the noise of a full-frame camera at this ISO.
DEFAULT_ISO = 800.0

# A block has this many cells along each axis. Larger ones find fewer smooth places in a photograph.
_BLOCK = 3
# So many blocks are looked at, spread over the picture: they tell the noise to 2 %.
_MOST_BLOCKS = 1 << 15
# Blocks are grouped by brightness, this many in a group at least, and this share of each is taken for smooth. Of their
# variances the lower quartile counts: the others may hold texture.
_GROUPS, _LEAST, _SMOOTH = 24, 80, 0.1
# The lower quartile of the mean of n squares of Gaussian noise, relative to its variance (Wilson and Hilferty).
_QUARTILE = (1.0 - 2.0 / (9 * _BLOCK**2) - 0.6745 * math.sqrt(2.0 / (9 * _BLOCK**2))) ** 3
# A group is left out when more than this share of its blocks is near saturation. This is near; and
# sensors reach this share of the white level at least.
_SATURATED, _NEAR, _REACHED = 0.2, 0.98, 0.7
# Read noise in electrons that is taken for likely where the brightness varies too little to tell, and how likely.
_READ, _READ_SPREAD = 2.0, 1.0
# Groups farther above the line than this many of their standard deviations hardly count.
_ROBUST = 0.5
# Such a fit lies so many standard deviations too low where all that scatters is the measurement.
_TOO_LOW = 0.74

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class NoiseLevel:
    """How noisy a mosaic is, and how that is known.

    Attributes:
        profile: pairs (scale, offset) of :mod:`rawzoo.raw.noise`, one for all channels or one for each.
        source: where they are from, in words.
        assumed: neither stated nor measured, so that the file's reader should be told.
    """

    profile: tuple[tuple[float, float], ...]
    source: str
    assumed: bool = False

    @property
    def mid_grey_snr(self) -> float:
        """Signal to noise ratio of green at 18 % of white; infinite without noise."""
        greens = self.profile[1:-1] or self.profile
        variance = sum(a * 0.18 + b for a, b in greens) / len(greens)
        return 0.18 / math.sqrt(variance) if variance > 0 else math.inf


def of(raw: RawImage) -> NoiseLevel:
    """The noise level of a Bayer or X-Trans image: its noise profile, else measured, else assumed from its ISO; none
    where the file says that it was taken away."""
    if raw.noise_profile is not None and any(max(pair) > 0 for pair in raw.noise_profile):
        # Fits of cameras' makers sometimes cross zero below black.
        stated = tuple((max(a, 0.0), max(b, 0.0)) for a, b in raw.noise_profile)
        return NoiseLevel(stated, "stated in the file")
    iso = raw.metadata.iso
    found = measure(raw)
    if found is not None:
        # What is more than the noisiest sensor has at this ISO is texture.
        most = math.inf if iso is None else noise.SENSORS.scale_per_iso[1] * iso
        scale, offset = found
        return NoiseLevel(((min(scale, most), offset * min(most / scale, 1.0) ** 2),), "measured in the mosaic")
    if raw.noise_reduction == 1.0:
        return NoiseLevel(((0.0, 0.0),), "taken away already, as the file says")
    if iso is not None:
        why = f"assumed to be that of a full-frame camera at ISO {iso:g}: the mosaic does not tell"
    else:
        iso = DEFAULT_ISO
        why = f"assumed to be that of a full-frame camera at ISO {iso:g}: neither the mosaic nor the file tells"
    return NoiseLevel((noise.profile_at_iso(iso),), why, assumed=True)


def measure(raw: RawImage) -> tuple[float, float] | None:
    """(scale, offset), one for all channels, or None where the mosaic does not tell: too small, or saturated.

    A sensor amplifies all its channels alike, and together they cover more of the range than each alone. Of X-Trans
    only pairs of greens are neighbours; they speak for the others.
    """
    found = _groups(*_blocks(raw))
    if found is None:
        return None
    # No converter tells less than its rounding.
    rounding = 0.0 if raw.data.dtype.kind == "f" else 1.0 / (max(raw.white_level) - min(raw.black_level))
    return _fit(*found, rounding**2 / 12)


def _blocks(raw: RawImage) -> tuple[_Values, _Values, _Values, npt.NDArray[np.bool_]]:
    """Of each block: mean, variance of the noise, roughness, and whether it is near saturation; 0 is black, 1 white."""
    assert raw.cfa is not None
    mosaic = raw.mosaic
    tile, pitch, step, corners = _cells(raw.cfa)
    down, across = (max(n - step, 0) // pitch // _BLOCK for n in mosaic.shape)
    every = max(1, math.ceil(down * across * len(corners) / _MOST_BLOCKS))
    rows = (np.arange(0, down, every)[:, None] * _BLOCK * pitch + np.arange(_BLOCK) * pitch).ravel()
    width = across * _BLOCK * pitch

    def mean(cells: npt.NDArray[np.float32]) -> _Values:
        blocks = cells.reshape(-1, _BLOCK, across, _BLOCK)
        return np.asarray(blocks.mean((1, 3), dtype=np.float64).ravel())

    found = []
    for y, x in corners if down and across else []:
        channel = tile[y % len(tile), x % len(tile)]
        black, white = raw.black_level[channel], raw.white_level[channel]
        samples = [mosaic[rows + y + dy, x + dx : x + dx + width : pitch] for dy in (0, step) for dx in (0, step)]
        high, low = np.maximum.reduce(samples), np.minimum.reduce(samples)
        # Some files state more white than their sensor reaches.
        brightest = float(high.max())
        top = brightest if black + _REACHED * (white - black) < brightest < white else white
        ends = (high >= black + _NEAR * (top - black)) | (low <= 0) & (black > 0)
        p, q, r, s = ((sample.astype(np.float32) - np.float32(black)) / np.float32(white - black) for sample in samples)
        centre, diagonal = (p + q + r + s) / 4, (p - q - r + s) / 2
        straight = ((p + q - r - s) / 2) ** 2 + ((p - q + r - s) / 2) ** 2
        level = mean(centre)
        rough = mean(straight) + 8 * (mean(centre**2) - level**2)
        found.append((level, mean(diagonal**2), rough, mean(ends.astype(np.float32)) > 0))
    if not found:
        return np.empty(0), np.empty(0), np.empty(0), np.empty(0, bool)
    levels, variances, roughness, saturated = (np.concatenate(part) for part in zip(*found, strict=True))
    return levels, variances, roughness, saturated


def _cells(cfa: str) -> tuple[npt.NDArray[np.int64], int, int, list[tuple[int, int]]]:
    """The channels of the tile, how far cells are apart, and samples in a cell, and where first cells begin."""
    tile = cfa_patterns.channel_tile(cfa)
    if len(tile) == 2:
        return tile, 4, 2, [(0, 0), (0, 1), (1, 0), (1, 1)]
    green = np.pad(tile == 1, ((0, 1), (0, 1)), mode="wrap")
    squares = green[:-1, :-1] & green[1:, :-1] & green[:-1, 1:] & green[1:, 1:]
    return tile, 6, 1, [(int(y), int(x)) for y, x in np.argwhere(squares)]


def _groups(
    level: _Values, variance: _Values, rough: _Values, saturated: npt.NDArray[np.bool_]
) -> tuple[_Values, _Values, _Values] | None:
    """Mean, variance of the noise, and number of smooth blocks, of groups of like brightness."""
    order = np.argsort(level)
    found = []
    for group in np.array_split(order, min(_GROUPS, len(order) // _LEAST) or 1):
        fine = group[~saturated[group]]
        if len(group) < _LEAST or len(fine) < (1 - _SATURATED) * len(group):
            continue
        smooth = fine[np.argsort(rough[fine])[: max(8, int(_SMOOTH * len(fine)))]]
        # Where brightness differs within a group, the lower quartile is of the darker ones.
        lower = smooth[np.argsort(variance[smooth])[: len(smooth) // 2]]
        found.append((np.median(level[lower]), np.median(variance[lower]) / _QUARTILE, len(smooth)))
    if not found:
        return None
    means, variances, counts = np.array(found).T
    return means, variances, counts


def _fit(mean: _Values, variance: _Values, count: _Values, rounding: float) -> tuple[float, float]:
    """(scale, offset) that explain the groups: the best of a grid of scales and read noises, refined twice.

    Compared are logarithms. A group below the line counts by its square, one above by the logarithm of that, since
    it may be texture; ``rounding`` is the variance that the converter adds.
    """
    mean, least = np.maximum(mean, 0.0), max(rounding, 1e-14)
    measured = np.log(np.maximum(variance, least))
    # Of a quartile of means of _BLOCK^2 squares; 5 % are left to what the model does not hold.
    deviation = np.sqrt(3.7 / (count * _BLOCK**2) + 0.05**2)
    scales, reads = np.linspace(math.log(1e-8), math.log(0.5), 120), np.linspace(math.log(0.2), math.log(40.0), 40)
    scale = read = 0.0
    for _ in range(3):
        a, electrons = np.exp(scales)[:, None, None], np.exp(reads)[None, :, None]
        away = (measured - np.log(a * mean + (a * electrons) ** 2 + least)) / deviation + _TOO_LOW
        cost = np.where(away > 0, _ROBUST**2 * np.log1p((away / _ROBUST) ** 2), away**2).sum(axis=2)
        cost += ((reads - math.log(_READ)) / _READ_SPREAD) ** 2
        i, j = np.unravel_index(cost.argmin(), cost.shape)
        scale, read = float(scales[i]), float(reads[j])
        scales, reads = (
            at + np.linspace(-1.5, 1.5, 31) * (grid[1] - grid[0]) for at, grid in ((scale, scales), (read, reads))
        )
    return math.exp(scale), math.exp(2 * (scale + read)) + rounding
