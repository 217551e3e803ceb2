"""Noise of the cameras that Dirty Pixels was calibrated for.

A sensor's noise is calibrated at ISO 100; at light level L it is amplified by 1 / L: a signal x in 0..1 has the
variance alpha x + sigma^2, with alpha = poisson / L and sigma = gaussian / L.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


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
