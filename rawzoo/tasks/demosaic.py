"""Running models of the task ``demosaic``: from a white-balanced mosaic to camera RGB, whatever the model's input."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from rawzoo.errors import UsageError
from rawzoo.picture import Picture
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.zoo.card import ModelCard

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from rawzoo.inference.canvas import Canvas
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage
    from rawzoo.raw.noise import Profile
    from rawzoo.tasks import Result

TASK = "demosaic"

#: How much lower a signal to noise ratio has to be for a model that :func:`resamples` to gain. On 15 photographs
#: naf-small gained 0.6 dB over markesteijn at a ratio of 30 (mid grey), but lost 0.4 on one; at 21 it gained 1.4 dB and
#: lost 0.04 at most. (With more saturated colours than cameras record: -0.1 and -1.0, +0.6 and -0.5.)
RESAMPLED_SNR = 0.6


def accepts(card: ModelCard, cfa: str) -> bool:
    """Whether a model can take mosaics of this CFA pattern, if need be with the origin shifted."""
    if cfa_patterns.period(cfa) == 2:
        return card.cfa in ("any", "bayer", *cfa_patterns.BAYER_PATTERNS)
    return card.input != "packed" and (card.cfa in ("any", "xtrans") or _shift(cfa, card.cfa) is not None)


def resamples(card: ModelCard, cfa: str) -> bool:
    """Whether a model gets a mosaic of this pattern by way of camera RGB, sampled anew as the pattern it takes.

    That is how denoisers of Bayer mosaics do X-Trans, which they are not made for. What demosaicing blurs is lost to
    them, so that they gain in strong noise only; the classical demosaicers gain nothing by it.
    """
    return cfa_patterns.period(cfa) == 6 and not accepts(card, cfa) and "noise" in card.conditioning


def require_mosaic(card: ModelCard, raw: RawImage) -> str:
    """The CFA pattern of a raw image that a model can take.

    Raises:
        UsageError: the image holds no mosaic, or one of a kind the model does not take.
    """
    name = raw.source or "this raw image"
    if raw.cfa is None:
        raise UsageError(f"{name} holds no mosaic ({raw.kind}), and model {card.name} works on one; use another model.")
    if not accepts(card, raw.cfa):
        raise UsageError(f"model {card.name} takes {card.cfa} mosaics, and {name} is {raw.kind}.")
    return raw.cfa


class Adapter(Protocol):
    """What ``ModelCard.adapter`` of a model names whose input is ``network``.

    It makes of the raw image what the network was trained with, for any size and any CFA phase that the card takes,
    runs it, and makes camera RGB of the output.

    Returns:
        float32 ``[3, H, W]`` on the CPU, of the size of ``raw.mosaic``: linear camera RGB between black (0) and white
        (1), without white balance.
    """

    def __call__(self, predictor: Predictor, raw: RawImage, *, progress: Progress | None = None) -> Tensor: ...


def stream(
    predictor: Predictor,
    source: Callable[[int, int], Tensor | np.ndarray],
    height: int,
    width: int,
    cfa: str,
    *,
    noise: Profile | None = None,
    progress: Progress | None = None,
) -> Iterator[tuple[int, int, Tensor]]:
    """Demosaic a picture that is read, and whose output is given, a few rows at a time.

    Args:
        predictor: a model of this task.
        source: ``source(y0, y1)`` gives rows of the white-balanced mosaic, float ``[y1 - y0, width]``,
            ``0 <= y0 < y1 <= height``; neighbouring requests overlap.
        height, width: size of the mosaic.
        cfa: its pattern. Where the card names another phase of the same pattern, the mosaic is extended by mirroring
            above and to the left until it starts with that phase, and the result is cropped back.
        noise: one (a, b) of all channels, or one per channel of the CFA (:mod:`rawzoo.raw.cfa`): in the balanced
            mosaic, the noise of a clean value x has variance a x + b. Models conditioned on noise need it; others
            leave it unused.
        progress: called after each tile with the finished fraction.

    Yields:
        ``(y0, y1, rows)``: rows y0 to y1 of camera RGB, float32 ``[3, y1 - y0, width]``; top to bottom, each once.

    Raises:
        UsageError: the model does not take this CFA pattern, needs a noise level and got none or an impossible one,
            or its card breaks the task's contract.
        RawzooError: as :meth:`Predictor.stream`.
    """
    from rawzoo.inference.canvas import Extended, Packed

    card = predictor.card
    if not accepts(card, cfa):
        raise UsageError(f"model {card.name!r} takes {card.cfa} mosaics, not {cfa}.")
    if card.scale != (2 if card.input == "packed" else 1):
        raise UsageError(f"model {card.name!r}: scale {card.scale} does not lead from {card.input} to full size.")
    down, right = _shift(cfa, card.cfa) or (0, 0)
    cfa = cfa_patterns.shift(cfa, -down, -right)
    period = cfa_patterns.period(cfa)
    canvas: Canvas = Extended(lambda y0, y1: source(y0, y1)[None], height, width, period, top=down, left=right)
    if card.input == "packed":
        canvas = Packed(canvas, cfa)
    conditions = {"noise": _noise(card, noise, cfa)} if "noise" in card.conditioning else {}
    rows = predictor.stream_canvas(canvas, cfa=cfa, progress=progress, **conditions)
    return _cropped(rows, down, right, height, width)


def demosaic(
    predictor: Predictor, mosaic: Tensor, cfa: str, *, noise: Profile | None = None, progress: Progress | None = None
) -> Tensor:
    """:func:`stream` for a picture in memory: ``[H, W]`` -> float32 ``[3, H, W]``."""
    if mosaic.ndim != 2:
        raise UsageError(f"a mosaic must have shape [H, W], not {list(mosaic.shape)}.")
    height, width = mosaic.shape
    out: Tensor | None = None
    found = stream(predictor, lambda a, b: mosaic[a:b], height, width, cfa, noise=noise, progress=progress)
    for y0, y1, rows in found:
        out = rows.new_empty(3, height, width) if out is None else out
        out[:, y0:y1] = rows
    assert out is not None  # plans have at least one row
    return out


def _noise(card: ModelCard, noise: Profile | None, cfa: str) -> list[tuple[float, float]]:
    """A pair for each channel."""
    if noise is None:
        raise UsageError(f"model {card.name!r} needs to know how noisy its input is; give noise=[(a, b)].")
    count = len(cfa_patterns.channels(cfa))
    pairs = [(float(a), float(b)) for a, b in noise]
    if len(pairs) not in (1, count) or not all(math.isfinite(n) and n >= 0 for pair in pairs for n in pair):
        raise UsageError(f"noise must be 1 or {count} pairs (a, b), finite and not negative, not {noise!r}.")
    return pairs * (count // len(pairs))


def _shift(cfa: str, wanted: str) -> tuple[int, int] | None:
    """How far (down, right) the pattern ``cfa`` moves when it is extended until it starts as ``wanted``."""
    n = math.isqrt(len(cfa))
    for down in range(n):
        for right in range(n):
            if cfa_patterns.shift(cfa, -down, -right) == wanted:
                return down, right
    return None


def _cropped(
    rows: Iterator[tuple[int, int, Tensor]], top: int, left: int, height: int, width: int
) -> Iterator[tuple[int, int, Tensor]]:
    for y0, y1, block in rows:
        first, last = max(y0 - top, 0), min(y1 - top, height)
        if first < last:
            yield first, last, block[:, first + top - y0 : last + top - y0, left : left + width]


def measure(result: Result, truth: Picture) -> dict[str, float]:
    """How near the picture is to the one it should be: of tasks ``demosaic`` and ``isp``, by the metrics they name.

    Raises:
        UsageError: they differ in size.
    """
    from rawzoo import metrics

    assert isinstance(result, Picture)
    found, expected = result.pixels, truth.pixels
    if found.shape != expected.shape:
        raise UsageError(
            f"it becomes {result.width} x {result.height} pixels, and {truth.source} has {truth.width} x "
            f"{truth.height}; a pair must be of one size."
        )
    return {
        "psnr": metrics.psnr(found, expected),
        "ssim": metrics.ssim(found, expected),
        "ms_ssim": metrics.ms_ssim(found, expected),
        "ms_ssim_pytorch": metrics.ms_ssim(found, expected, definition="pytorch"),
        "delta_e": metrics.delta_e(found, expected),
    }


#: The metrics of :func:`measure_camera_rgb`.
OF_CAMERA_RGB = {
    "psnr_sqrt": "dB, of square roots of white-balanced camera RGB, clipped to 0..1, without 8 pixels at each edge",
    "psnr": "dB, of the same without the roots",
    "ssim_sqrt": "structural similarity of the square roots",
}


def measure_camera_rgb(result: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> dict[str, float]:
    """How near camera RGB ``[H, W, 3]`` is to what it should be, by :data:`OF_CAMERA_RGB`."""
    from rawzoo import metrics

    return metrics.camera_figures(result, truth)


def clean_camera_rgb(noisy: RawImage, clean: RawImage) -> npt.NDArray[np.float32]:
    """What a noisy shot should become, of a clean shot of the same: demosaiced by the default method, in the white
    balance of the noisy one. White-balanced linear camera RGB ``[H, W, 3]``.

    Raises:
        UsageError: they differ in size or kind.
    """
    from rawzoo import pipeline

    if (noisy.height, noisy.width, noisy.kind, noisy.cfa) != (clean.height, clean.width, clean.kind, clean.cfa):
        what = [f"{raw.width} x {raw.height} pixels, {raw.cfa or raw.kind}" for raw in (noisy, clean)]
        raise UsageError(f"it has {what[0]}, and {clean.source} has {what[1]}; a pair must be of one size and pattern.")
    balanced = replace(
        clean, as_shot_neutral=noisy.as_shot_neutral, default_crop=noisy.default_crop, orientation=noisy.orientation
    )
    return pipeline.develop(balanced, space="camera", dtype="float32")
