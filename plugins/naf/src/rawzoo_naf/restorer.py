"""Adapters of the networks of the Restorer and TreeNet repositories: raw image -> Rec. 2020 -> network -> camera RGB.

As in Raw Refinery, the application they are deployed in: the mosaic goes to linear Rec. 2020 before it is demosaiced,
the network sees tiles of 256 pixels, for its attention was trained on pictures of that size, and tiles are cross-faded.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from rawzoo import ops
from rawzoo.errors import RawWarning
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import color

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage

Matrix = npt.NDArray[np.float64]

#: Edge of a tile in pixels of the picture, and the part of it that neighbours share.
TILE, OVERLAP = 256, 0.25
#: ISO at which the condition is 1, and what is taken for files that do not tell theirs.
ISO_SCALE, ISO_DEFAULT = 6400.0, 100.0

# XYZ to linear Rec. 2020, rounded as in the published code.
_REC2020 = np.array(
    [
        [1.71666343, -0.35567332, -0.25336809],
        [-0.66667384, 1.61645574, 0.0157683],
        [0.01764248, -0.04277698, 0.94224328],
    ]
)


def treenet(predictor: Predictor, raw: RawImage, *, progress: Progress | None = None) -> Tensor:
    """See :class:`rawzoo.tasks.demosaic.Adapter`. The network gets the demosaiced picture."""

    def run(packed: Tensor, rgb: Tensor, condition: list[float]) -> Tensor:  # noqa: ARG001 - as of the other
        return predictor.run(rgb, cond=condition)

    return _restore(predictor, raw, run, progress)


def cond_naf(predictor: Predictor, raw: RawImage, *, progress: Progress | None = None) -> Tensor:
    """See :class:`rawzoo.tasks.demosaic.Adapter`. The network gets the packed mosaic."""
    given = int(predictor.card.config.get("cond_input", 1))

    def run(packed: Tensor, rgb: Tensor, condition: list[float]) -> Tensor:  # noqa: ARG001 - as of the other
        # A second number, of one experiment, is the amount of grain; none is wanted.
        condition = [*condition, 0.0][:given]
        return predictor.run(packed.clamp(0, 1), cond=condition)

    return _restore(predictor, raw, run, progress)


def _restore(
    predictor: Predictor,
    raw: RawImage,
    run: Callable[[Tensor, Tensor, list[float]], Tensor],
    progress: Progress | None,
) -> Tensor:
    assert raw.cfa is not None
    to_rec2020 = camera_to_rec2020(raw)
    balanced = ops.white_balance(raw.mosaic, raw.cfa, raw.black_level, raw.white_level, (1.0, 1.0, 1.0))
    down, right, mosaic = _as_rggb(torch.from_numpy(balanced), raw.cfa)
    packed = functional.pixel_unshuffle(mosaic[None], 2)
    packed = torch.einsum("ij,jhw->ihw", torch.from_numpy(packed_matrix(to_rec2020)).float(), packed)
    rgb = ops.demosaic(functional.pixel_shuffle(packed, 2)[0], "RGGB", "malvar").clamp(0, 1)
    condition = [_iso(raw) / ISO_SCALE]

    def restored(top: int, left: int, bottom: int, edge: int) -> Tensor:
        part = packed[:, top // 2 : bottom // 2, left // 2 : edge // 2]
        return run(part, rgb[:, top:bottom, left:edge], condition)

    tile = (predictor.tile or TILE) // 2 * 2
    out = blended(restored, rgb.shape[1], rgb.shape[2], max(tile, 2), progress=progress)
    out = out[:, down : down + raw.height, right : right + raw.width]
    return torch.einsum("ij,jhw->ihw", torch.from_numpy(np.linalg.inv(to_rec2020)).float(), out)


def _iso(raw: RawImage) -> float:
    if raw.metadata.iso:
        return raw.metadata.iso
    warnings.warn(
        f"{raw.source or 'this raw image'}: its ISO is unknown, so the network is told {ISO_DEFAULT:g}.",
        RawWarning,
        stacklevel=5,
    )
    return ISO_DEFAULT


def _as_rggb(mosaic: Tensor, cfa: str) -> tuple[int, int, Tensor]:
    """The mosaic mirrored beyond its edges until it starts as RGGB and has even sides, and where it begins in that."""
    shifts = [(y, x) for y in (0, 1) for x in (0, 1)]
    down, right = next(s for s in shifts if cfa_patterns.shift(cfa, *s) == "RGGB")
    height, width = mosaic.shape
    pad = (right, (width + right) % 2, down, (height + down) % 2)
    return down, right, functional.pad(mosaic[None, None], pad, mode="reflect")[0, 0]


def camera_to_rec2020(raw: RawImage) -> Matrix:
    """Camera RGB, not white-balanced, to linear Rec. 2020. A camera of unknown colour is taken to see Rec. 2020."""
    if raw.color_matrices:
        xyz_to_camera = color.matrix_at(raw.color_matrices, 6504.0)
        if np.linalg.cond(xyz_to_camera) < 1e4:
            return np.asarray(_REC2020 @ np.linalg.inv(xyz_to_camera))
    warnings.warn(
        f"{raw.source or 'this raw image'}: the camera's colours are unknown, so the network sees other ones than it "
        "was trained with.",
        RawWarning,
        stacklevel=4,
    )
    return np.eye(3)


def packed_matrix(matrix: Matrix) -> Matrix:
    """A colour matrix for packed planes R, Gr, Gb, B, ``[4, 4]``: red and blue take the mean of the greens, each green
    takes itself. Exact where the picture is flat."""
    (rr, rg, rb), (gr, gg, gb), (br, bg, bb) = matrix
    return np.array(
        [
            [rr, rg / 2, rg / 2, rb],
            [gr, gg, 0.0, gb],
            [gr, 0.0, gg, gb],
            [br, bg / 2, bg / 2, bb],
        ]
    )


def blended(
    run: Callable[[int, int, int, int], Tensor],
    height: int,
    width: int,
    tile: int = TILE,
    overlap: float = OVERLAP,
    progress: Progress | None = None,
) -> Tensor:
    """A picture made of tiles that are faded into each other.

    Args:
        run: makes the part ``(top, left, bottom, right)`` of the picture, ``[3, bottom - top, right - left]``.
        height, width: of the picture; where it is smaller than a tile, it is one along that axis.
        tile: edge of a tile.
        overlap: part of a tile shared with the next.
        progress: called after each tile with the finished fraction.

    Returns:
        float32 ``[3, height, width]``.
    """
    rows, columns = fades(height, tile, overlap), fades(width, tile, overlap)
    out = torch.zeros(3, height, width)
    for i, (top, down) in enumerate(rows):
        for j, (left, across) in enumerate(columns):
            bottom, right = top + len(down), left + len(across)
            part = run(top, left, bottom, right).float().cpu()
            out[:, top:bottom, left:right] += part * (down[:, None] * across)
            if progress is not None:
                progress((i * len(columns) + j + 1) / (len(rows) * len(columns)))
    return out


def fades(size: int, tile: int, overlap: float) -> list[tuple[int, Tensor]]:
    """Where the tiles along an axis start, and their weights, float32 ``[tile]``, which sum to 1 at every pixel.

    The last tile ends with the axis, so it may share more with the one before; it rises where that one falls.
    """
    if size <= tile:
        return [(0, torch.ones(size))]
    step = int(tile * (1 - overlap))
    starts = list(range(0, size - tile, step))
    starts.append(size - tile)
    ramp = math.ceil(tile * overlap)
    if len(starts) == 2 and tile > size / 2:
        ramp = 2 * tile - size  # all that the two share
    weights = [torch.ones(tile) for _ in starts]
    for i, start in enumerate(starts[1:], 1):
        shared = starts[i - 1] + tile - start
        rise = torch.linspace(0, 1, ramp)
        weights[i - 1][tile - ramp :] *= 1 - rise
        weights[i][: shared - ramp] = 0
        weights[i][shared - ramp : shared] *= rise
    return list(zip(starts, weights, strict=True))


def keep_grain(image: Tensor, denoised: Tensor, luma: float, chroma: float) -> Tensor:
    """The denoised picture with a part of what was taken away: of its brightness, along the colour of the denoised
    pixel, and of its colour.

    Args:
        image, denoised: ``[3, H, W]``.
        luma, chroma: parts of both, 0 to 1.
    """
    share = (image * denoised).sum(0) / (denoised.square().sum(0) + 1e-6)
    bright = share * denoised
    return (1 - luma) * denoised + luma * bright + chroma * (image - bright)
