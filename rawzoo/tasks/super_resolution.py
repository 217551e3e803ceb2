"""Task ``super-resolution``: a developed picture to a larger one."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from rawzoo.picture import Picture

if TYPE_CHECKING:
    from torch import Tensor

    from rawzoo.inference.predictor import Predictor, Progress

#: The value of white in each domain.
WHITE = {"srgb": 1.0, "srgb-255": 255.0}


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
