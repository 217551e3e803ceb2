"""Task ``isp``: a network that makes the whole picture of a mosaic, in the colours and tones it learned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from rawzoo.errors import PluginError
from rawzoo.picture import Picture, upright
from rawzoo.tasks.demosaic import require_mosaic
from rawzoo.zoo import registry

if TYPE_CHECKING:
    from torch import Tensor

    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage


class Adapter(Protocol):
    """What ``ModelCard.adapter`` of a model of this task names.

    It packs and scales the mosaic as the network was trained, for any size and any CFA phase that the card takes, and
    runs the network.

    Returns:
        float32 ``[3, H, W]`` on the CPU, of the size of ``raw.mosaic``: sRGB-encoded, 1 is white; it may leave 0..1
        a little. The task crops it and turns it upright.
    """

    def __call__(self, predictor: Predictor, raw: RawImage, *, progress: Progress | None = None) -> Tensor: ...


def render(predictor: Predictor, raw: RawImage, *, progress: Progress | None = None) -> Picture:
    """The picture a model of this task makes of a raw image: its default crop, upright, not clipped.

    Raises:
        UsageError: the image holds no mosaic, or one of a kind the model does not take.
        PluginError: the model's adapter breaks its contract.
    """
    card = predictor.card
    require_mosaic(card, raw)
    adapter: Adapter = registry.adapter(card)
    rgb = adapter(predictor, raw, progress=progress)
    if list(rgb.shape) != [3, raw.height, raw.width]:
        raise PluginError(
            f"model {card.name!r}: its adapter gave {list(rgb.shape)} for a mosaic of {raw.height} x {raw.width}; "
            f"[3, {raw.height}, {raw.width}] is due."
        )
    pixels = rgb.float().numpy().transpose(1, 2, 0)[raw.default_crop.slices]
    return Picture(upright(pixels, raw.orientation), raw.exif, source=raw.source)
