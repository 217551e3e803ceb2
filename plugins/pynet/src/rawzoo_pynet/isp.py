"""The adapter of task ``isp``: raw image -> planes as PyNET was trained with -> picture."""

from __future__ import annotations

import logging
import math
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from rawzoo import ops
from rawzoo.inference.tiling import extend
from rawzoo.raw import cfa as cfa_patterns
from rawzoo_pynet import memory, tiles
from rawzoo_pynet.network import PERIOD, SMALLEST, PyNet
from rawzoo_pynet.topology import multiplications

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage

_log = logging.getLogger("rawzoo")

# The networks were trained on 10-bit values divided by 1020, black not taken away: black is 64, white 1023.
_BLACK, _WHITE, _UNIT = 64.0, 1023.0, 1020.0
# Planes in the order of the networks' input, as channels R, Gr, Gb, B.
_ORDER = (3, 1, 0, 2)

# A picture may take this much of the free memory.
_SHARE = 0.8
# Time is estimated from a crop of this edge, in packed pixels, where the whole takes this many times as long.
_TRIAL, _WORTH = 64, 32
_SMALLEST_TILE = 128


def planes(raw: RawImage) -> tuple[Tensor, int, int]:
    """The input of the networks.

    Black and white of every channel become those of the training data; nothing is clipped or white-balanced. The
    mosaic is mirrored by a pixel above and to the left where it does not begin with red, and below and to the right
    until the sides are multiples of 16 packed pixels, 32 at least.

    Args:
        raw: a Bayer mosaic.

    Returns:
        ``[4, h, w]`` float32, and how many rows and columns were put above and to the left.
    """
    assert raw.cfa is not None
    cfa = raw.cfa
    down, right = next((y, x) for y in range(2) for x in range(2) if cfa_patterns.shift(cfa, -y, -x) == "RGGB")

    def line(size: int, before: int) -> np.ndarray[Any, Any]:
        packed = max(-(-(before + size) // (2 * PERIOD)) * PERIOD, SMALLEST)
        return extend(-before, 2 * packed - before, size, 2)

    mosaic = raw.mosaic[line(raw.height, down)[:, None], line(raw.width, right)]
    packed = ops.pack(mosaic, "RGGB", raw.black_level, raw.white_level)
    scaled = packed[list(_ORDER)] * np.float32((_WHITE - _BLACK) / _UNIT) + np.float32(_BLACK / _UNIT)
    return torch.from_numpy(scaled), down, right


def render(predictor: Predictor, raw: RawImage, *, progress: Progress | None = None) -> Tensor:
    """See :class:`rawzoo.tasks.isp.Adapter`; at level L the picture has 1 / 2^L of the mosaic's sides, rounded up.

    The picture is run as a whole where memory allows, which is exact; else, or where the predictor was given a tile, in
    tiles (:mod:`rawzoo_pynet.tiles`). Before it starts, the log says what it will take.
    """
    network = predictor.module
    assert isinstance(network, PyNet)
    x, down, right = planes(raw)

    def prepare(crops: Tensor) -> Tensor:
        return crops.to(predictor.device, predictor.dtype, memory_format=torch.channels_last)

    tile = _tile(predictor, network, x)
    reads = [x.shape[1:].numel()] if tile is None else tiles.reads(x, tile)
    work = sum(reads) * multiplications(network.variant, network.level)
    with torch.inference_mode():
        _announce(predictor, network, raw, max(reads), tile, _seconds(network, prepare(x[None]), work))
        with _counted(network, work, progress):
            y = network(prepare(x[None]))[0] if tile is None else tiles.run(network, x, tile, prepare)
        y = y.to("cpu", torch.float32)
    if network.level == 0:
        y = y[:, down:, right:]
    size = 2**network.level
    return y[:, : math.ceil(raw.height / size), : math.ceil(raw.width / size)].contiguous()


def _tile(predictor: Predictor, network: PyNet, x: Tensor) -> int | None:
    """Edge of the tiles; None: whole."""
    height, width = x.shape[1:]
    if predictor.tile is not None:
        why, tile = "as was asked for", max(predictor.tile // PERIOD * PERIOD, PERIOD)
    else:
        free = memory.available(predictor.device)
        if free is None or memory.needed(network, predictor.dtype, height * width) <= free * _SHARE:
            return None
        edge = memory.largest_square(network, predictor.dtype, int(free * _SHARE)) - 2 * tiles.HALO
        why, tile = f"since only {_gib(free)} of memory are free", max(edge, _SMALLEST_TILE)
    if tile >= max(height, width):
        return None
    warnings.warn(
        f"model {predictor.card.name!r} judges a picture as a whole; it is run in tiles of {tile} packed pixels, "
        f"{why}, with the statistics of a sample of the picture, which may change brightness and colour a little.",
        stacklevel=4,
    )
    return tile


def _announce(
    predictor: Predictor, network: PyNet, raw: RawImage, pixels: int, tile: int | None, seconds: float | None
) -> None:
    name = predictor.card.name
    rate = _gib(memory.per_pixel(network, predictor.dtype) * 250_000)  # a packed pixel is four of the mosaic's
    how = "as a whole" if tile is None else f"in tiles of {tile} packed pixels"
    need = _gib(memory.needed(network, predictor.dtype, pixels))
    duration = "" if seconds is None else f", and about {_duration(seconds)}"
    _log.info(
        "rawzoo: %s: %.1f megapixels %s need about %s of memory (%s per megapixel run at once)%s.",
        name, raw.height * raw.width / 1e6, how, need, rate, duration,
    )  # fmt: skip


def _gib(count: int) -> str:
    return f"{count / 2**30:.2g} GiB"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def _seconds(network: PyNet, x: Tensor, work: float) -> float | None:
    """How long so many multiplications will take, by a trial; None where that is too short to matter."""
    crop = x[:, :, :_TRIAL, :_TRIAL]
    trial = crop.shape[2:].numel() * multiplications(network.variant, network.level)
    if work < _WORTH * trial:
        return None
    times = []
    for _ in range(3):  # the first one warms up
        start = time.perf_counter()
        network(crop).cpu()  # a GPU is only then finished
        times.append(time.perf_counter() - start)
    return min(times) * work / trial


@contextmanager
def _counted(network: PyNet, work: float, progress: Progress | None) -> Iterator[None]:
    """While this is open ``progress`` hears, after each stripe of each layer, which share of the work is done."""
    done = 0.0

    def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal done
        each = inputs[0] if isinstance(layer, nn.ConvTranspose2d) else output
        done += each.shape[0] * each.shape[2:].numel() * sum(p.numel() for p in layer.parameters() if p.ndim == 4)
        if progress is not None:
            progress(min(done / work, 1.0))

    convolutions = (module for module in network.modules() if isinstance(module, nn.Conv2d | nn.ConvTranspose2d))
    handles = [layer.register_forward_hook(count) for layer in convolutions]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
