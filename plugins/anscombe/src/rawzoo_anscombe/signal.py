"""What a raw image says in the terms of the networks: a white-balanced mosaic, and how noisy it is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import noise_level
from rawzoo.raw.color import white_balance_neutral
from rawzoo.raw.image import RawImage

#: The phase the networks know.
CFA = "BGGR"


@dataclass(frozen=True)
class Noise:
    """Noise of a black-subtracted mosaic with 1 = white, R, G, B: variance = a x + b.

    Attributes:
        a, b: ``[3]`` float64, a above 0.
        note: where they are from, a sentence.
    """

    a: npt.NDArray[np.float64]
    b: npt.NDArray[np.float64]
    note: str

    def scaled(self, factors: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """(alpha, sigma) of R, G, B after the mosaic was multiplied by factors of R, G, B."""
        factors = np.asarray(factors)
        return self.a * factors, np.sqrt(self.b) * factors


def noise_of(raw: RawImage, given: tuple[float, float] | None = None) -> Noise:
    """Noise of a Bayer mosaic: as given, or :func:`rawzoo.raw.noise_level.of` it.

    Raises:
        UsageError: the given numbers are no noise.
    """
    if given is not None:
        if not all(math.isfinite(v) and v >= 0 for v in given) or max(given) == 0:
            raise UsageError(f"noise {given} must be two numbers (a, b), variance = a x + b: not negative, not both 0.")
        return _noise([given], "noise as given")
    level = noise_level.of(raw)
    return _noise(level.profile, f"noise {level.source}")


def _noise(profile: Sequence[tuple[float, float]], note: str) -> Noise:
    pairs = np.asarray(profile, np.float64)
    if len(pairs) == 4:  # R, Gr, Gb, B
        pairs = np.stack([pairs[0], pairs[1:3].mean(0), pairs[3]])
    a, b = np.broadcast_to(pairs, (3, 2)).T
    # Where there is no shot noise to speak of, a little keeps the Anscombe transform defined, and exact in float32.
    return Noise(np.maximum(a, 1e-3 * np.sqrt(b)), b.copy(), note)


def gains_of(raw: RawImage) -> tuple[tuple[float, float, float], str]:
    """White balance gains of R, G, B, green = 1, as the camera set them, and a sentence where it set none."""
    neutral, source = white_balance_neutral(raw, "as-shot")
    red, green, blue = (1.0 / neutral).tolist()
    return (red, green, blue), "" if raw.as_shot_neutral is not None else f"white balance: {source}"


def balanced(raw: RawImage, gains: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """The active area, black-subtracted, 1 = white of green, white-balanced; ``[H, W]``, not clipped."""
    assert raw.cfa is not None
    return np.asarray(ops.white_balance(raw.mosaic, raw.cfa, raw.black_level, raw.white_level, gains))


def to_bggr(cfa: str) -> tuple[int, int]:
    """How many rows and columns of a Bayer mosaic come before the first blue cell."""
    return next((y, x) for y in range(2) for x in range(2) if cfa_patterns.shift(cfa, y, x) == CFA)
