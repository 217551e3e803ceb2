"""Task ``isp``: a network that makes the whole picture of a mosaic, in the colours and tones it learned."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

from rawzoo.errors import PluginError
from rawzoo.picture import Picture, upright
from rawzoo.tasks.demosaic import require_mosaic
from rawzoo.zoo import registry

if TYPE_CHECKING:
    from torch import Tensor

    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage
    from rawzoo.zoo.card import ModelCard


class Adapter(Protocol):
    """What ``ModelCard.adapter`` of a model of this task names.

    It packs and scales the mosaic as the network was trained, for any size and any CFA phase that the card takes, and
    runs the network.

    Further keywords, with types, are options of the model.

    Returns:
        float32 ``[3, H, W]`` on the CPU, of the size :func:`size` says: sRGB-encoded, 1 is white; it may leave 0..1
        a little. The task crops it and turns it upright.
    """

    def __call__(
        self, predictor: Predictor, raw: RawImage, *, progress: Progress | None = None, **options: Any
    ) -> Tensor: ...


def size(card: ModelCard, rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of the picture that a model makes of as many of a mosaic.

    ``card.scale`` relates to the input tensor: ``raw-planes`` have half the mosaic's sides, so that a scale of 2 gives
    a picture of the mosaic's size, ``raw-sparse`` all of them. A fraction of a pixel counts as one.
    """
    return math.ceil(rows * _scale(card)), math.ceil(columns * _scale(card))


def _scale(card: ModelCard) -> Fraction:
    """Pixels of the picture to one of the mosaic."""
    return card.scale / 2 if card.input == "raw-planes" else card.scale


def render(predictor: Predictor, raw: RawImage, *, progress: Progress | None = None, **options: Any) -> Picture:
    """The picture a model of this task makes of a raw image: its default crop, upright, not clipped; ``options`` go to
    its :class:`Adapter`.

    Raises:
        UsageError: the image holds no mosaic, or one of a kind the model does not take.
        PluginError: the model's adapter breaks its contract.
    """
    card = predictor.card
    require_mosaic(card, raw)
    adapter: Adapter = registry.adapter(card)
    rgb = adapter(predictor, raw, progress=progress, **options)
    due = [3, *size(card, raw.height, raw.width)]
    if list(rgb.shape) != due:
        raise PluginError(
            f"model {card.name!r}: its adapter gave {list(rgb.shape)} for a mosaic of {raw.height} x {raw.width}; "
            f"{due} is due."
        )
    crop = raw.default_crop
    height, width = size(card, crop.height, crop.width)
    top, left = (int(edge * _scale(card)) for edge in (crop.top, crop.left))
    pixels = rgb.float().numpy().transpose(1, 2, 0)[top : top + height, left : left + width]
    return Picture(upright(pixels, raw.orientation), raw.exif, source=raw.source)
