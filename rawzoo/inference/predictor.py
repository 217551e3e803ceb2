"""Predictor: a model that takes pictures of any size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from rawzoo.errors import RawzooError, UsageError
from rawzoo.inference.canvas import Canvas, Extended, Source
from rawzoo.inference.tiling import Plan, plan
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.zoo.card import ModelCard

#: Called with the finished fraction of a picture, 0 to 1.
Progress = Callable[[float], None]

# The default tile. Activations are taken as 256 float32 channels per input pixel (1 KiB), which few networks exceed;
# a tile may fill a quarter of what is free on the GPU with them. Beyond these edges a larger tile gains no speed.
_BYTES_PER_PIXEL = 1024
_CPU_TILE = 512
_CPU_READ = 1024
_CUDA_TILE = 2048


class Predictor:
    """A model with what is needed to run it on a picture of any size: device, dtype and tiles.

    A tiled run equals a run in one piece to float tolerance: tiles start on multiples of the model's period and of the
    CFA's, each reads a halo of the model's receptive field, and nothing is measured per tile. At the edges of the
    picture the model sees its extension (:func:`rawzoo.inference.tiling.extend`), or, where the card says
    ``border="model"``, what its own layers put there: tiles end where the picture ends.

    A model with global context (``card.halo`` None) runs on the whole picture at once. If it is given a tile smaller
    than the picture it runs in tiles that overlap by a quarter, and a warning says what that changes.

    Without ``tile``, the core of a tile is 512 pixels square on a CPU, more where the halo is wide (eight times the
    halo, as long as a tile reads no more than 1024 pixels square), and on a GPU as large as a quarter of the free
    memory allows at 1 KiB per input pixel, 2048 at most; in either case not less than twice the halo. When GPU memory
    runs out the tile is halved, a warning says so, and work goes on; it never moves to the CPU.

    Args:
        card: what the model is.
        module: the architecture with its weights. Moved to ``device`` and ``dtype`` in place and put in evaluation
            mode; a convolutional one is laid out channels-last.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        dtype: the model's working precision, one of ``card.dtypes``; None takes the first of them.
        tile: largest edge of a tile's core, in pixels of the input tensor; rounded down to the model's lattice.

    Attributes:
        card, module, device, dtype: as given.
        tile: as given, and halved when memory ran out; None where each picture's default applies.

    Raises:
        UsageError: a device that is not there, a dtype the card does not list, a tile below 1.
    """

    def __init__(
        self,
        card: ModelCard,
        module: nn.Module,
        *,
        device: str | torch.device = "cpu",
        dtype: str | torch.dtype | None = None,
        tile: int | None = None,
    ) -> None:
        self.card = card
        self.device = _device(device)
        self.dtype = _dtype(card, dtype)
        if tile is not None and tile < 1:
            raise UsageError(f"tile must be at least 1 pixel, not {tile}.")
        self.tile = tile
        self.module = module.to(self.device, self.dtype).eval()
        self._memory_format = _memory_format(module)
        self.module.to(memory_format=self._memory_format)  # type: ignore[call-overload]  # torch's stub lacks it

    def __call__(self, x: Tensor, *, cfa: str | None = None, progress: Progress | None = None) -> Tensor:
        """Run the model on a picture.

        Args:
            x: ``[C, H, W]`` in the card's input domain, any H and W from 1.
            cfa: CFA pattern at the top-left of a mosaic. Needed by models conditioned on it and for X-Trans.
            progress: called after each tile.

        Returns:
            float32 ``[C', ceil(H * scale), ceil(W * scale)]``, on the device of ``x``.

        Raises:
            UsageError: not three axes, or no ``cfa`` for a model that needs it.
            RawzooError: the model's output does not have the size its card promises, or GPU memory does not suffice.
        """
        if x.ndim != 3:
            raise UsageError(f"model {self.card.name!r} takes one picture [C, H, W], not {list(x.shape)}.")
        height, width = x.shape[1:]
        out: Tensor | None = None
        for y0, y1, rows in self.stream(lambda a, b: x[:, a:b], height, width, cfa=cfa, progress=progress):
            if out is None:
                if y1 == math.ceil(height * self.card.scale):
                    return rows
                out = rows.new_empty(rows.shape[0], math.ceil(height * self.card.scale), rows.shape[2])
            out[:, y0:y1] = rows
        assert out is not None  # plans have at least one row
        return out

    def run(self, x: Tensor, **conditions: float) -> Tensor:
        """Run the model once on the whole of an input, as tasks do whose result is not a picture.

        Args:
            x: ``[C, H, W]`` in the card's input domain.
            conditions: the card's conditioning, one number each; the module gets them as float32 ``[1]``.

        Returns:
            float32, the module's output without its batch axis, on the device of ``x``.

        Raises:
            UsageError: other conditions than the card asks for.
        """
        if set(conditions) != set(self.card.conditioning):
            asked = ", ".join(self.card.conditioning) or "nothing"
            raise UsageError(f"model {self.card.name!r} takes {asked} beside its input, not {', '.join(conditions)}.")
        with torch.inference_mode():
            batch = x.unsqueeze(0).to(self.device, self.dtype)
            tensors = {name: torch.tensor([value], device=self.device) for name, value in conditions.items()}
            y: Tensor = self.module(batch, **tensors)
            return y.squeeze(0).to(x.device, torch.float32)

    def stream(
        self,
        source: Source,
        height: int,
        width: int,
        *,
        cfa: str | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Run the model on a picture that is read, and whose output is given, a few rows at a time.

        One row of tiles is alive at any moment, so memory grows with the picture's width and not with its height.

        Args:
            source: ``source(y0, y1)`` gives input rows ``[C, y1 - y0, width]``, ``0 <= y0 < y1 <= height``, in the
                card's input domain; neighbouring requests overlap by the halo.
            height, width: size of the picture in pixels of the input tensor.
            cfa, progress: as for calling the predictor.

        Yields:
            ``(y0, y1, rows)``: output rows y0 to y1, float32 ``[C', y1 - y0, ceil(width * scale)]`` on the device of
            the source's rows; top to bottom, every row once.

        Raises:
            UsageError, RawzooError: as for calling the predictor.
        """
        period = self._cfa_period(cfa)
        return self.stream_canvas(Extended(source, height, width, period), cfa=cfa, progress=progress)

    def stream_canvas(
        self, canvas: Canvas, *, cfa: str | None = None, progress: Progress | None = None
    ) -> Iterator[tuple[int, int, Tensor]]:
        """:meth:`stream` for a picture that brings its own extension beyond its edges."""
        if unknown := set(self.card.conditioning) - {"cfa"}:
            raise UsageError(
                f"model {self.card.name!r} also takes {', '.join(sorted(unknown))}: it does not make a picture of a "
                "picture; use what its task offers."
            )
        if "cfa" in self.card.conditioning and cfa is None:
            raise UsageError(f"model {self.card.name!r} needs to know the CFA pattern of its input; pass cfa=.")
        return self._stream(canvas, self._plan(canvas.height, canvas.width, self._cfa_period(cfa)), cfa, progress)

    def _cfa_period(self, cfa: str | None) -> int:
        """Period of the CFA in pixels of the input tensor."""
        if self.card.input != "mosaic":
            return 1
        if cfa is not None:
            return cfa_patterns.period(cfa)
        return 6 if self.card.cfa == "xtrans" or len(self.card.cfa) == 36 else 2

    def _plan(self, height: int, width: int, cfa_period: int) -> Plan:
        card = self.card
        tile, halo = self.tile, card.halo
        if halo is None:
            if tile is None or tile >= max(height, width):
                tile, halo = None, 0
            else:
                halo = tile // 4
                warnings.warn(
                    f"model {card.name!r} judges a picture as a whole; in tiles of {tile} pixels each is judged by "
                    "itself, so brightness and colour may differ between tiles. Leave out the tile to run it whole.",
                    stacklevel=4,
                )
        elif tile is None:
            tile = _default_tile(self.device, halo)
        return plan(
            height,
            width,
            tile=tile,
            halo=halo,
            period=math.lcm(card.period, cfa_period),
            scale=card.scale,
            bounded=card.border == "model",
        )

    def _stream(
        self, canvas: Canvas, tiles: Plan, cfa: str | None, progress: Progress | None
    ) -> Iterator[tuple[int, int, Tensor]]:
        top = 0
        while top < tiles.height:
            rows = self._row(canvas, tiles, top, cfa, progress)
            if rows is None:
                tiles = self._halved(tiles, canvas)
                continue
            tile = tiles.row(top)[0]
            yield tile.out.top, tile.out.bottom, rows
            top = tile.core.bottom

    def _row(self, canvas: Canvas, tiles: Plan, top: int, cfa: str | None, progress: Progress | None) -> Tensor | None:
        """Output of one row of tiles; None when the device's memory did not suffice."""
        row = tiles.row(top)
        left = row[0].read.left
        band = canvas.block(row[0].read.top, row[0].read.bottom, left, row[-1].read.right)
        out: Tensor | None = None
        for tile in row:
            x = band[:, :, tile.read.left - left : tile.read.right - left]
            try:
                y = self._run(x, cfa)
            except torch.OutOfMemoryError:
                return None
            expected = [int(tile.read.height * tiles.scale), int(tile.read.width * tiles.scale)]
            if y.ndim != 3 or list(y.shape[1:]) != expected:
                raise RawzooError(
                    f"model {self.card.name!r} made {list(y.shape)} of {list(x.shape)}, but its card says scale "
                    f"{self.card.scale}: its card or its architecture is wrong."
                )
            if out is None:
                out = torch.empty(y.shape[0], tile.out.height, tiles.out_width, device=band.device)
            rows, columns = tile.crop.slices
            out[:, :, tile.out.left : tile.out.right] = y[:, rows, columns]
            if progress is not None:
                done = tile.out.top * tiles.out_width + tile.out.height * tile.out.right
                progress(done / (tiles.out_height * tiles.out_width))
        return out

    def _run(self, x: Tensor, cfa: str | None) -> Tensor:
        conditions: dict[str, Any] = {"cfa": cfa} if "cfa" in self.card.conditioning else {}
        with torch.inference_mode():
            batch = x.unsqueeze(0).to(self.device, self.dtype).contiguous(memory_format=self._memory_format)
            y: Tensor = self.module(batch, **conditions)
            return y.squeeze(0)

    def _halved(self, tiles: Plan, canvas: Canvas) -> Plan:
        """The plan to go on with when the memory of the device did not suffice for this one."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        cell = f"model {self.card.name!r} on {self.device}"
        if self.card.halo is None and self.tile is None:
            raise RawzooError(
                f"there is not enough memory for {cell}, which takes a picture of {tiles.width} x {tiles.height} "
                "pixels as a whole; use a larger GPU or the CPU."
            )
        # A tile as large as the picture, or larger, is no smaller after halving.
        edge = min(tiles.tile, -(-max(canvas.height, canvas.width) // tiles.lattice) * tiles.lattice)
        if edge == tiles.lattice:
            raise RawzooError(f"there is not enough memory for {cell}, not even for its smallest tile; use the CPU.")
        self.tile = edge // 2 // tiles.lattice * tiles.lattice
        warnings.warn(f"not enough memory for {cell} in tiles of {edge}; using {self.tile}.", stacklevel=3)
        return replace(tiles, tile=self.tile)


def _device(name: str | torch.device) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"{str(name)!r} is no device; use cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"device {str(device)!r} is not there; rawzoo doctor lists what is.")
    return device


def _dtype(card: ModelCard, dtype: str | torch.dtype | None) -> torch.dtype:
    name = card.dtypes[0] if dtype is None else str(dtype).removeprefix("torch.")
    if name not in card.dtypes:
        raise UsageError(f"model {card.name!r} does not work in {name}; it works in {', '.join(card.dtypes)}.")
    found: torch.dtype = getattr(torch, name)
    return found


def _memory_format(module: nn.Module) -> torch.memory_format:
    """Channels-last for convolutional networks, where it takes half the time (measured on a CPU); torch's instance
    normalisation is slower in it."""
    axes = {parameter.ndim for parameter in module.parameters()}
    if max(axes, default=0) == 4 and not any(isinstance(child, nn.InstanceNorm2d) for child in module.modules()):
        return torch.channels_last
    return torch.contiguous_format


def _default_tile(device: torch.device, halo: int) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        edge = min(_CUDA_TILE, math.isqrt(free // 4 // _BYTES_PER_PIXEL))
    else:
        # A halo of an eighth on each side costs about half as much again; of a fifth, twice as much.
        edge = max(_CPU_TILE, min(8 * halo, _CPU_READ - 2 * halo))
    return max(edge, 2 * halo)
