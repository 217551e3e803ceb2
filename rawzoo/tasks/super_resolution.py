"""Task ``super-resolution``: a developed picture to a larger one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rawzoo.errors import UsageError
from rawzoo.picture import Picture

if TYPE_CHECKING:
    from torch import Tensor

    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.tasks import Result

#: The value of white in each domain.
WHITE = {"srgb": 1.0, "srgb-255": 255.0}

# Pixels by which an enlarged picture and the original may differ: less than the largest scale in use.
_FRACTION = 7


def enlarge(predictor: Predictor, picture: Picture, *, progress: Progress | None = None) -> Picture:
    """The picture ``card.scale`` times as large, in tiles, not clipped.

    Raises:
        RawzooError: as :meth:`Predictor.stream`.
    """
    white, scale = WHITE[predictor.card.input], predictor.card.scale
    x = picture.tensor()

    def source(y0: int, y1: int) -> Tensor:
        return x[:, y0:y1] * white

    pixels = np.empty((math.ceil(picture.height * scale), math.ceil(picture.width * scale), 3), np.float32)
    for y0, y1, rows in predictor.stream(source, picture.height, picture.width, progress=progress):
        np.divide(rows.permute(1, 2, 0).numpy(), np.float32(white), out=pixels[y0:y1])
    return Picture(pixels, picture.exif, source=picture.source)


def measure(result: Result, truth: Picture, *, shave: int = 4) -> dict[str, float]:
    """How near the larger picture is to the one it should be, as EUSR measures it.

    Both are rounded to 8 bit, cropped to their common size at the bottom and right, where the smaller picture had a
    fraction of a pixel, and lose ``shave`` pixels at each edge.

    Raises:
        UsageError: they differ in size by more than that, or nothing is left.
    """
    from rawzoo import metrics

    assert isinstance(result, Picture)
    height, width = min(result.height, truth.height), min(result.width, truth.width)
    if max(result.height - height, truth.height - height, result.width - width, truth.width - width) > _FRACTION:
        raise UsageError(
            f"it becomes {result.width} x {result.height} pixels, and {truth.source} has {truth.width} x "
            f"{truth.height}; a pair must be of one size."
        )
    found, expected = (metrics.shaved(metrics.eight_bit(p.pixels[:height, :width]), shave) for p in (result, truth))
    luma, expected_luma = metrics.luma(found), metrics.luma(expected)
    return {
        "psnr": metrics.psnr(found, expected),
        "rmse": 255.0 * metrics.rmse(found, expected),
        "psnr_y": metrics.psnr(luma, expected_luma, 255.0),
        "ssim_y": metrics.ssim(luma, expected_luma, 255.0),
    }
