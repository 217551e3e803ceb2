"""Adapter of the task ``isp``: a raw image to a picture by the restoration network, in tiles, any size."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from rawzoo import ops
from rawzoo.inference.canvas import Extended
from rawzoo.pipeline import Look, tone_table
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw.color import camera_to_linear
from rawzoo_anscombe import signal
from rawzoo_anscombe.isp import Restorer

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage


def restore(predictor: Predictor, raw: RawImage, *, progress: Progress | None = None) -> Tensor:
    """See :class:`rawzoo.tasks.isp.Adapter`.

    The network gives linear, white-balanced camera RGB; colours, tone and exposure are those of
    :func:`rawzoo.develop`. The range of the transformed mosaic, which the network sees as 0..1, is that of the whole
    picture and known before, so that tiles change nothing.
    """
    assert raw.cfa is not None
    module = cast(Restorer, predictor.module)
    gains, _ = signal.gains_of(raw)
    mosaic = signal.balanced(raw, gains)
    # As in rawzoo.develop: where the first balanced channel saturates, all of them end, so that white stays white.
    white = min(gains)
    np.clip(mosaic, 0.0, white, out=mosaic)
    alpha, sigma = (torch.from_numpy(v)[None].float() for v in signal.noise_of(raw).scaled(gains))
    tile = cfa_patterns.color_tile(raw.cfa)
    colours = [(tile == colour) for colour in range(3)]

    def sparse(y0: int, y1: int) -> Tensor:
        """Rows as R, G, B, 0 but for the colour of each cell; ``[1, 3, n, W]``."""
        rows = torch.from_numpy(mosaic[y0:y1])
        out = rows.new_zeros(1, 3, y1 - y0, raw.width)
        for colour, cells in enumerate(colours):
            for y, x in np.argwhere(cells).tolist():
                where = slice((y - y0) % 2, None, 2), slice(x, None, 2)
                out[0, colour][where] = rows[where]
        return out

    # The transform rises with the signal, so the largest and least of each colour bound it.
    extremes = torch.zeros(1, 3, 1, 2)
    for colour, cells in enumerate(colours):
        extremes[0, colour, 0, 1] = max(float(mosaic[y::2, x::2].max(initial=0.0)) for y, x in np.argwhere(cells))
    _, bounds = module.normalise(extremes, alpha, sigma)

    def source(y0: int, y1: int) -> Tensor:
        f, _ = module.normalise(sparse(y0, y1), alpha, sigma, bounds)
        return torch.cat([f, bounds.scale.expand(1, 1, *f.shape[2:])], 1)[0]

    down, right = ((2 - n) % 2 for n in signal.to_bggr(raw.cfa))
    canvas = Extended(source, raw.height, raw.width, cfa_patterns.period(raw.cfa), top=down, left=right)
    neutral = 1.0 / np.array(gains)
    matrix = camera_to_linear(raw, neutral, "srgb") / white
    curve = tone_table(raw.baseline_exposure, Look())
    assert curve is not None
    steps = np.linspace(0.0, 1.0, len(curve))
    picture = torch.empty(3, raw.height, raw.width)
    for y0, y1, g in predictor.stream_canvas(canvas, progress=progress):
        rgb = module.restore(g[None, :, max(down - y0, 0) :, right:], bounds, alpha, sigma)[0].numpy()
        linear = ops.render(np.ascontiguousarray(rgb), matrix, None, dtype="float32")
        encoded = np.interp(linear, steps, curve).astype(np.float32)
        picture[:, max(y0 - down, 0) : y1 - down] = torch.from_numpy(encoded).permute(2, 0, 1)
    return picture
