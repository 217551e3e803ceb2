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

from rawzoo_pynet.layers import InstanceNorm, Window
from rawzoo_pynet.network import PERIOD, SMALLEST, PyNet

Box = tuple[int, int, int, int]

#: What a tile reads around its core, in packed pixels. A pixel of the output depends on 494 to each side, but little on
#: those far away.
HALO = 128
# Largest edge of the cells that the sample is taken from. Larger ones have fewer borders, smaller ones are spread better.
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
        for box, core in boxes(height, width, tile):
            window = Window(box[0], box[2], height, width)
            y = network(prepare(x[None, :, box[0] : box[1], box[2] : box[3]]), window)[0]
            # The network's output pixels per packed pixel, as a fraction: the cores lie on multiples of 16.
            up, down = y.shape[1], box[1] - box[0]
            if out is None:
                out = x.new_empty(3, height * up // down, width * up // down)
            y0, y1, x0, x1 = (edge * up // down for edge in core)
            top, left = box[0] * up // down, box[2] * up // down
            out[:, y0:y1, x0:x1] = y[:, y0 - top : y1 - top, x0 - left : x1 - left]
    assert out is not None
    return out


def reads(x: Tensor, tile: int) -> list[int]:
    """How many packed pixels are run at once, each time: of the sample, and of each tile."""
    crops = sample(x, tile)
    return [crops.numel() // 4, *((b - t) * (r - l) for (t, b, l, r), _ in boxes(*x.shape[1:], tile))]


def boxes(height: int, width: int, tile: int) -> Iterator[tuple[Box, Box]]:
    """What each tile reads and what it answers for, in packed pixels: top, bottom, left, right.

    Nothing beyond the picture's edges is read: what the layers do there is what they do to the whole picture.
    """
    for top in range(0, height, tile):
        for left in range(0, width, tile):
            core = (top, min(top + tile, height), left, min(left + tile, width))
            read = (max(top - HALO, 0), min(core[1] + HALO, height), max(left - HALO, 0), min(core[3] + HALO, width))
            yield read, core
