"""Running PyNET in tiles, for pictures that are too large to run whole.

Instance norm ties every pixel to the statistics of the whole picture. A first pass runs a sample of the picture, crops
spread evenly over it, as one batch and keeps the statistics of each layer over all of them; the tiles are then run with
these. So tiles agree with each other in colour and tone, and differ from a run of the whole picture by what the sample
leaves out. Upsampling between aligned corners depends on where a tile lies, and is told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from rawzoo_pynet.layers import InstanceNorm, Window
from rawzoo_pynet.network import PERIOD, PyNet

Box = tuple[int, int, int, int]

#: What a tile reads around its core, in packed pixels. A pixel of the output depends on 494 to each side, but little on
#: those far away.
HALO = 64
# Edge of the crops of the sample, and how many packed pixels they have in all at most.
_CROP = 256
_SAMPLE = 1 << 20


def sample(x: Tensor, tile: int) -> Tensor:
    """Square crops ``[K, C, n, n]`` spread evenly over ``x`` ``[C, H, W]``, no more pixels than a tile reads."""
    height, width = x.shape[1:]
    edge = min(_CROP, height, width, tile + 2 * HALO)
    # In rows and columns as the shape asks for, and not more than lie side by side.
    count = max(min((tile + 2 * HALO) ** 2, _SAMPLE) // edge**2, 1)
    rows = min(max(round((count * height / width) ** 0.5), 1), -(-height // edge))
    columns = min(max(count // rows, 1), -(-width // edge))
    tops, lefts = _spread(height - edge, rows), _spread(width - edge, columns)
    return torch.stack([x[:, top : top + edge, left : left + edge] for top in tops for left in lefts])


def _spread(room: int, count: int) -> list[int]:
    """``count`` multiples of the network's period, evenly from 0 to ``room``; one alone lies in the middle."""
    if count == 1:
        return [room // 2 // PERIOD * PERIOD]
    return [round(room * i / (count - 1) / PERIOD) * PERIOD for i in range(count)]


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
