"""How good a demosaicer is: linear PSNR over four photographs of scikit-image."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import peers

from rawzoo.raw.cfa import color_tile

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
#: What the four are mosaiced with, what is cropped, and what PSNR relates to.
PROTOCOL = (
    "16-bit mosaic of the linear picture, result clipped to 0..1 (not rounded), border of 8 cropped, MSE pooled over "
    "RGB in each picture, mean of the dB over the pictures"
)


@lru_cache(maxsize=1)
def _linear() -> tuple[npt.NDArray[np.float64], ...] | None:
    package = peers.optional("skimage.data")
    if package is None:
        return None
    encoded = (getattr(package, name)()[..., :3] / 255 for name in PHOTOGRAPHS)
    return tuple(np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4) for v in encoded)


def psnr(demosaic: Callable[[npt.NDArray[np.uint16]], npt.ArrayLike], cfa: str) -> float | None:
    """Mean PSNR in dB; None without scikit-image.

    Args:
        demosaic: uint16 ``[H, W]`` to ``[3, H, W]`` or ``[H, W, 3]`` on the scale of its input.
    """
    pictures = _linear()
    if pictures is None:
        return None
    tile, decibels = color_tile(cfa), []
    for picture in pictures:
        height, width = picture.shape[:2]
        codes = np.round(picture * 65535).astype(np.uint16)
        y, x = np.indices((height, width))
        result = np.asarray(demosaic(codes[y, x, tile[y % len(tile), x % len(tile)]]), dtype=float)
        result = result.transpose(1, 2, 0) if result.shape[0] == 3 else result
        error = (np.clip(result / 65535, 0, 1) - codes / 65535)[8:-8, 8:-8]
        decibels.append(-10 * np.log10(np.mean(error**2)))
    return float(np.mean(decibels))
