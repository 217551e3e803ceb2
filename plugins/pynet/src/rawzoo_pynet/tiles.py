"""Running PyNET in tiles, for pictures that are too large to run whole.

Instance norm ties every pixel to the statistics of the whole picture. A first pass runs a sample of the picture, crops
spread evenly over it, as one batch and keeps the statistics of each layer over all of them; the tiles are then run with
these. So tiles agree with each other in colour and tone, and differ from a run of the whole picture by what the sample
leaves out. Upsampling between aligned corners depends on where a tile lies, and is told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from rawzoo.raw.image import Box
from rawzoo_pynet.layers import InstanceNorm, Window
from rawzoo_pynet.network import PERIOD, SMALLEST, PyNet

#: What a tile reads around its core, in packed pixels. A pixel of the output depends on 494 to each side, but little on
#: those far away.
HALO = 128
# Largest edge of the cells that the sample is taken from: larger ones have fewer borders, smaller ones spread better.
_CELL = 512


def sample(x: Tensor, tile: int) -> Tensor:
    """Crops ``[K, C, h, w]`` spread evenly over ``x`` ``[C, H, W]``, together no larger than what a tile reads.

    The picture is cut into equal cells, and the middle of each is taken; all of it, where that is not too much.
    """
    height, width = x.shape[1:]
    share = min((tile + 2 * HALO) / math.sqrt(height * width), 1.0)

    def spans(size: int) -> list[slice]:
        cells = -(-size // _CELL)
        length = max(int(share * size / cells) // PERIOD * PERIOD, SMALLEST)
        starts = (round((size * (i + 0.5) / cells - length / 2) / PERIOD) * PERIOD for i in range(cells))
        return [slice(start, start + length) for start in starts]

    return torch.stack([x[:, rows, columns] for rows in spans(height) for columns in spans(width)])


@contextmanager
def statistics_of(network: PyNet, crops: Tensor) -> Iterator[None]:
    """While this is open the network normalises by the statistics of ``crops``, ``[K, 4, n, n]``."""
    norms = [module for module in network.modules() if isinstance(module, InstanceNorm)]
    try:
        for norm in norms:
            norm.pooled = True
        network(crops)
        for norm in norms:
            norm.pooled = False
        yield
    finally:
        for norm in norms:
            norm.pooled, norm.kept = False, None


def run(network: PyNet, x: Tensor, tile: int, prepare: Callable[[Tensor], Tensor]) -> Tensor:
    """The picture in tiles.

    Args:
        x: ``[4, H, W]``, as :meth:`PyNet.forward` takes it.
        tile: edge of the tiles' cores, a multiple of 16.
        prepare: makes of ``[N, 4, h, w]`` what the network takes: device, dtype, memory format.

    Returns:
        float32 ``[3, h, w]`` on the device of ``x``.
    """
    height, width = x.shape[1:]
    out: Tensor | None = None
    with statistics_of(network, prepare(sample(x, tile))):
        for read, core in boxes(height, width, tile):
            rows, columns = read.slices
            y = network(prepare(x[None, :, rows, columns]), Window(read.top, read.left, height, width))[0]
            # Output pixels for so many packed ones; all edges lie on multiples of 16.
            up, down = y.shape[1], read.height
            if out is None:
                out = x.new_empty(3, height * up // down, width * up // down)
            top, left, bottom, right = (edge * up // down for edge in core)
            y0, x0 = read.top * up // down, read.left * up // down
            out[:, top:bottom, left:right] = y[:, top - y0 : bottom - y0, left - x0 : right - x0]
    assert out is not None  # a picture has at least one tile
    return out


def reads(x: Tensor, tile: int) -> list[int]:
    """How many packed pixels are run at once, each time: of the sample, and of each tile."""
    planes, height, width = x.shape
    areas = [read.height * read.width for read, _ in boxes(height, width, tile)]
    return [sample(x, tile).numel() // planes, *areas]


def boxes(height: int, width: int, tile: int) -> Iterator[tuple[Box, Box]]:
    """What each tile reads and what it answers for, in packed pixels.

    Nothing beyond the picture's edges is read: what the layers do there is what they do to the whole picture.
    """
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            core = Box(top, left, min(top + tile, height), min(left + tile, width))
            yield (
                Box(
                    max(core.top - HALO, 0),
                    max(core.left - HALO, 0),
                    min(core.bottom + HALO, height),
                    min(core.right + HALO, width),
                ),
                core,
            )
