"""Noise of the cameras that Dirty Pixels was calibrated for.

A sensor's noise is calibrated at ISO 100; at light level L it is amplified by 1 / L: a signal x in 0..1 has the
variance alpha x + sigma^2, with alpha = poisson / L and sigma = gaussian / L.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rawzoo.raw import noise
from rawzoo.raw.cfa import color_tile


@dataclass(frozen=True)
class Sensor:
    """Noise at light level 1.

    Attributes:
        poisson: variance per signal.
        gaussian: standard deviation without signal.
    """

    poisson: float
    gaussian: float

    def noise(self, light_level: float) -> tuple[float, float]:
        """(alpha, sigma) at a light level."""
        return self.poisson / light_level, self.gaussian / light_level

    def light_level(self, std: float, mean: float) -> float:
        """The light level at which a signal ``mean`` has the standard deviation ``std``, which is above 0: how the
        published code reads one off a photograph."""
        # The positive root of std^2 L^2 = poisson * mean * L + gaussian^2, in the form that does not cancel.
        shot = self.poisson * mean
        return float(2 * self.gaussian**2 / (np.sqrt(shot**2 + 4 * self.gaussian**2 * std**2) - shot))


SENSORS = {
    "Nexus_6P_rear": Sensor(0.00018724, 0.0004733),
    "Nexus_6P_front": Sensor(0.00015, 0.0003875),
    "SEMCO": Sensor(0.000388, 0.0025),
    "OV2740": Sensor(0.000088021, 0.00022673),
    "Pixel": Sensor(0.0153, 0.0328),
    "Pixel3x3": Sensor(2.2682e-4, 0.0017),
    "Pixel5x5": Sensor(1.2361e-4, 0.0043),
    "Pixel7x7": Sensor(7.3344e-05, 0.0077),
    "GAUSS": Sensor(0.0, 1.0),
    "POISSON": Sensor(1.0, 0.0),
}

#: Ranges of light levels that published weights were trained for; illuminance in lux is 2000 L.
PROFILES = {"3lux": (0.0015, 0.0015), "6lux": (0.003, 0.003), "2to20lux": (0.001, 0.01), "2to200lux": (0.001, 0.1)}


def draw_light_levels(profile: str, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Light levels of a profile, evenly distributed on a logarithmic scale; ``[count]``."""
    low, high = PROFILES[profile]
    return np.asarray(low * np.exp(rng.uniform(0.0, np.log(high / low), count)))


def middle(size: int) -> tuple[int, int]:
    """First and last row (or column) but one of the middle 87.5 % of so many, as slim's evaluation cuts them."""
    first = int((size - 0.875 * size) / 2)
    return first, size - first


def nearest(size: int, count: int) -> npt.NDArray[np.int64]:
    """Rows (or columns) of a picture of ``size`` that the synthetic evaluation keeps: ``count`` of its middle, the
    nearest ones by TensorFlow 1's rule, which looks at their upper left corners. Averaging would take noise away."""
    first, last = middle(size)
    return first + np.arange(count) * (last - first) // count


def expose(
    photograph: npt.ArrayLike, alpha: float, sigma: float, rng: np.random.Generator, size: int = 128
) -> npt.NDArray[np.float32]:
    """What a sensor sees of a photograph, as in the paper's synthetic evaluation: its values, taken for linear, made
    smaller, with noise in every channel, clipped, and of each pixel the one colour that a BGGR mosaic has there.

    Args:
        photograph: ``[H, W, 3]``, R, G, B in 0..1.
        alpha, sigma: the noise: variance = alpha x + sigma^2; see :meth:`Sensor.noise`.
        rng: source of the noise.
        size: S, even.

    Returns:
        float32 ``[3, S, S]``, as :class:`rawzoo_anscombe.classifiers.JointNetwork` takes it.
    """
    picture = np.asarray(photograph, np.float32)
    small = picture[np.ix_(nearest(picture.shape[0], size), nearest(picture.shape[1], size))]
    noisy = np.clip(noise.add_noise(small, [(alpha, sigma**2)], rng), 0.0, 1.0)
    return np.ascontiguousarray((noisy * _mask(size, size)).transpose(2, 0, 1))


def _mask(height: int, width: int) -> npt.NDArray[np.float32]:
    """``[H, W, 3]`` of 0 and 1: which of R, G, B a BGGR mosaic has at each pixel."""
    colour = color_tile("BGGR")[np.ix_(np.arange(height) % 2, np.arange(width) % 2)]
    return np.asarray(np.eye(3, dtype=np.float32)[colour])
