"""Adapters of the task ``classify``: a raw image to labels, by the protocol of Dirty Pixels' captured images.

The mosaic is not shrunk by averaging, which would take its noise away, but thinned out: a square from its middle, and
of that every k-th cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt
import torch

from rawzoo.errors import UsageError
from rawzoo.picture import upright
from rawzoo.pipeline import develop
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.tasks.classify import Classification
from rawzoo_anscombe import labels as label_table
from rawzoo_anscombe import sensors, signal
from rawzoo_anscombe.classifiers import SIZE, JointNetwork

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage

#: The smallest mosaic, whose last feature map has one cell.
SMALLEST = 32

Float32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Thinned:
    """A mosaic as the networks see it.

    Attributes:
        mosaic: float32 ``[3, S, S]``, R, G, B in 0..1, 0 but for the colour of each cell of a BGGR mosaic.
        factors: ``[3]``, what R, G, B between black (0) and white (1) were multiplied by.
        note: what was assumed, or empty.
    """

    mosaic: Float32
    factors: npt.NDArray[np.float64]
    note: str


def thinned(raw: RawImage, size: int = SIZE) -> Thinned:
    """A raw image as a small mosaic, upright, as bright as its brightest fiftieth allows.

    Args:
        raw: a Bayer mosaic.
        size: S, a multiple of 4; a smaller image gives what it has.

    Raises:
        UsageError: the image is smaller than 34 x 34 pixels.
    """
    gains, note = signal.gains_of(raw)
    planes = _planes(upright(signal.balanced(raw, gains), raw.orientation), _turned(raw))
    edge = min(planes.shape[1:])
    side = min(size // 2, edge // 2 * 2)
    if side < SMALLEST // 2:
        name, least = raw.source or "this raw image", SMALLEST + 2
        raise UsageError(
            f"{name} has {raw.width} x {raw.height} pixels; to tell what it shows takes {least} x {least}."
        )
    step = edge // side
    top, left = ((n - step * side) // 2 for n in planes.shape[1:])
    planes = planes[:, top : top + step * side : step, left : left + step * side : step]
    bright = float(np.percentile(planes, 98))
    scale = 1.0 / bright if bright > 0 else 1.0
    red, green_below_blue, green_beside_blue, blue = np.clip(planes * np.float32(scale), 0.0, 1.0)
    mosaic = np.zeros((3, 2 * side, 2 * side), np.float32)
    mosaic[0, 1::2, 1::2] = red
    mosaic[1, 1::2, 0::2] = green_below_blue
    mosaic[1, 0::2, 1::2] = green_beside_blue
    mosaic[2, 0::2, 0::2] = blue
    return Thinned(mosaic, scale * np.array(gains), note)


def _turned(raw: RawImage) -> str:
    """The CFA pattern of the upright mosaic."""
    assert raw.cfa is not None
    # A mosaic of as odd or even sides turns the same way.
    rows, columns = 2 + raw.height % 2, 2 + raw.width % 2
    tile = np.tile(cfa_patterns.color_tile(raw.cfa), (2, 2))[:rows, :columns]
    return "".join("RGB"[colour] for colour in upright(tile, raw.orientation)[:2, :2].ravel())


def _planes(mosaic: Float32, cfa: str) -> Float32:
    """R, G below blue, G beside blue, B of the whole BGGR cells of a mosaic; ``[4, h, w]``."""
    top, left = signal.to_bggr(cfa)
    height, width = ((n - first) // 2 for n, first in zip(mosaic.shape, (top, left), strict=True))
    cells = mosaic[top : top + 2 * height, left : left + 2 * width]
    return np.stack([cells[y::2, x::2] for y, x in ((1, 1), (1, 0), (0, 1), (0, 0))])


def joint(
    predictor: Predictor,
    raw: RawImage,
    *,
    noise: tuple[float, float] | None = None,
    labels: str | PathLike[str] | None = None,
    size: int = SIZE,
    progress: Progress | None = None,
) -> Classification:
    """For the joint networks; see :class:`rawzoo.tasks.classify.Adapter`. The image is the picture between the two
    networks: white-balanced camera colours without tone curve.

    Args:
        labels: a file of names (:func:`rawzoo_anscombe.labels.read`); None for ImageNet's.
        size: side of the mosaic, a multiple of 4 up to 256.
    """
    _check_size(size, 4)
    module = cast(JointNetwork, predictor.module)
    small = thinned(raw, size)
    notes, parameters = [small.note], []
    if module.isp.use_anscombe:
        found = signal.noise_of(raw, noise)
        # In float32 whatever the network works in: the transform does.
        parameters = [torch.from_numpy(v)[None].float().to(predictor.device) for v in found.scaled(small.factors)]
        notes.append(found.note)
    with torch.inference_mode():
        y = torch.from_numpy(small.mosaic)[None].to(predictor.device, predictor.dtype)
        picture = module.restore(y, *parameters)
        logits = module.judge(picture)
    note = "; ".join(filter(None, notes))
    return _classification(logits, picture[0].float().cpu().numpy(), note, labels, progress)


def mosaic(
    predictor: Predictor,
    raw: RawImage,
    *,
    noise: tuple[float, float] | None = None,  # noqa: ARG001 - of the task
    labels: str | PathLike[str] | None = None,
    size: int = SIZE,
    progress: Progress | None = None,
) -> Classification:
    """For classifiers of bare mosaics; as :func:`joint`, but nobody asks for the noise. The image is the mosaic."""
    _check_size(size, 4)
    small = thinned(raw, size)
    found = predictor.run(torch.from_numpy(2.0 * (small.mosaic - 0.5)))
    return _classification(found, small.mosaic, small.note, labels, progress)


def developed(
    predictor: Predictor,
    raw: RawImage,
    *,
    noise: tuple[float, float] | None = None,  # noqa: ARG001 - of the task
    labels: str | PathLike[str] | None = None,
    size: int = SIZE,
    progress: Progress | None = None,
) -> Classification:
    """For classifiers of pictures: the developed picture's middle 87.5 %, as slim evaluates them; as :func:`joint`."""
    _check_size(size, 1)
    picture = develop(raw)
    rows, columns = (slice(*sensors.middle(n)) for n in picture.shape[:2])
    middle = torch.from_numpy(picture[rows, columns]).permute(2, 0, 1)[None].float() / 255.0
    small = torch.nn.functional.interpolate(middle, (size, size), mode="bilinear", antialias=True)[0]
    found = predictor.run(2.0 * small - 1.0)
    return _classification(found, small.numpy(), "", labels, progress)


def _check_size(size: int, period: int) -> None:
    if not SMALLEST <= size <= 256 or size % period:
        raise UsageError(f"size {size} must be a multiple of {period} from {SMALLEST} to 256.")


def _classification(
    logits: torch.Tensor,
    image: Float32,
    note: str,
    labels: str | PathLike[str] | None,
    progress: Progress | None,
) -> Classification:
    probabilities = logits.flatten().float().softmax(0).cpu().numpy()
    names = label_table.of(len(probabilities)) if labels is None else label_table.read(labels)
    if len(names) != len(probabilities):
        raise UsageError(f"label file {labels} names {len(names)} classes, and the network has {len(probabilities)}.")
    if progress is not None:
        progress(1.0)
    return Classification(probabilities, names, image, note)
