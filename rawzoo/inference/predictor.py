"""Predictor: a model that takes pictures of any size."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, Union, cast

import numpy.typing as npt
import torch
from torch import Tensor, nn

from rawzoo.errors import RawzooError, UsageError
from rawzoo.inference import statistics
from rawzoo.inference.canvas import Canvas, Extended, Source
from rawzoo.inference.tiling import Plan, Tile, plan
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.zoo.card import ModelCard

#: Called with the finished fraction of a picture, 0 to 1.
Progress = Callable[[float], None]

#: What a picture brings along for the module: a number, or an array in any form.
Condition = Union[float, Sequence["Condition"], "npt.NDArray[Any]", Tensor]

# The default tile. Activations are taken as 256 float32 channels per input pixel (1 KiB), which few networks exceed;
# a tile may fill a quarter of what is free on the GPU with them. Beyond these edges a larger tile gains no speed.
_BYTES_PER_PIXEL = 1024
_CPU_TILE = 512
_CPU_READ = 1024
_CUDA_TILE = 2048

# Passes that measure the means of a picture. On a network of random weights, with attention of full strength, the error
# of tiles fell from 3.1 standard deviations of the picture to 0.46, 0.023 and 0.0008 with each.
_MEASURING = 2


class Predictor:
    """A model with what is needed to run it on a picture of any size: device, dtype and tiles.

    A tiled run equals a run in one piece to float tolerance: tiles start on multiples of the model's period and of the
    CFA's, each reads a halo of the model's receptive field, and nothing is measured per tile. At the edges of the
    picture the model sees its extension (:func:`rawzoo.inference.tiling.extend`), or, where the card says
    ``border="model"``, what its own layers put there: tiles end where the picture ends.

    A model with global context (``card.halo`` None) runs on the whole picture at once. If it is given a tile smaller
    than the picture, and its context are means of which the module tells how far it sees beside them (``module.reach``,
    in input pixels, and :class:`rawzoo.inference.statistics.PictureMean`), the means of the picture are measured in two
    passes over all tiles, so that the tiles of the third agree. (In the first, tiles have means of their own, so only
    the first mean of the network is the picture's; each further pass mends the next.) Other models run in tiles that
    overlap by a quarter, and a warning says what that changes.

    Without ``tile``, the core of a tile is 512 pixels square on a CPU, more where the halo is wide (eight times the
    halo, as long as a tile reads no more than 1024 pixels square), and on a GPU as large as a quarter of the free
    memory allows at 1 KiB per input pixel, 2048 at most; in either case not less than twice the halo. When GPU memory
    runs out the tile is halved, a warning says so, and work goes on; it never moves to the CPU.

    Args:
        card: what the model is.
        module: the architecture with its weights. Moved to ``device`` and ``dtype`` in place and put in evaluation
            mode; a convolutional one is laid out channels-last. One with a true attribute ``autocast`` keeps its
            weights, and gets its input, in float32; lower precision is then torch's autocast.
        device: ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        dtype: the model's working precision, one of ``card.dtypes``; None takes the first of them that the device
            computes in natively.
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
        self.dtype = _dtype(card, dtype, self.device)
        if tile is not None and tile < 1:
            raise UsageError(f"tile must be at least 1 pixel, not {tile}.")
        self.tile = tile
        self._autocast = getattr(module, "autocast", False) and self.dtype.itemsize == 2
        self._stored = torch.float32 if self._autocast else self.dtype
        self.module = module.to(self.device, self._stored).eval()
        self._memory_format = memory_format(module)
        self.module.to(memory_format=self._memory_format)  # type: ignore[call-overload]  # torch's stub lacks it

    def __call__(
        self, x: Tensor, *, cfa: str | None = None, progress: Progress | None = None, **conditions: Condition
    ) -> Tensor:
        """Run the model on a picture.

        Args:
            x: ``[C, H, W]`` in the card's input domain, any H and W from 1.
            cfa: CFA pattern at the top-left of a mosaic. Needed by models conditioned on it and for X-Trans.
            progress: called after each tile.
            conditions: what else the card's conditioning lists, for this picture: numbers, sequences or tensors. The
                module gets each as a float32 tensor with a batch axis, the same for every tile.

        Returns:
            float32 ``[C', ceil(H * scale), ceil(W * scale)]``, on the device of ``x``.

        Raises:
            UsageError: not three axes, no ``cfa`` for a model that needs it, or other conditions than the card asks
                for.
            RawzooError: the model's output does not have the size its card promises, or GPU memory does not suffice.
        """
        if x.ndim != 3:
            raise UsageError(f"model {self.card.name!r} takes one picture [C, H, W], not {list(x.shape)}.")
        height, width = x.shape[1:]
        out: Tensor | None = None
        rows_of = self.stream(lambda a, b: x[:, a:b], height, width, cfa=cfa, progress=progress, **conditions)
        for y0, y1, rows in rows_of:
            if out is None:
                if y1 == math.ceil(height * self.card.scale):
                    return rows
                out = rows.new_empty(rows.shape[0], math.ceil(height * self.card.scale), rows.shape[2])
            out[:, y0:y1] = rows
        assert out is not None  # plans have at least one row
        return out

    def run(self, x: Tensor, **conditions: Condition) -> Tensor:
        """Run the model once on the whole of an input, as tasks do whose result is not a picture.

        Args:
            x: ``[C, H, W]`` in the card's input domain.
            conditions: the card's conditioning, as for calling the predictor.

        Returns:
            float32, the module's output without its batch axis, on the device of ``x``.

        Raises:
            UsageError: other conditions than the card asks for.
        """
        return self._run(x, self._conditions(conditions)).to(x.device, torch.float32)

    def stream(
        self,
        source: Source,
        height: int,
        width: int,
        *,
        cfa: str | None = None,
        progress: Progress | None = None,
        **conditions: Condition,
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Run the model on a picture that is read, and whose output is given, a few rows at a time.

        One row of tiles is alive at any moment, so memory grows with the picture's width and not with its height.

        Args:
            source: ``source(y0, y1)`` gives input rows ``[C, y1 - y0, width]``, ``0 <= y0 < y1 <= height``, in the
                card's input domain; neighbouring requests overlap by the halo.
            height, width: size of the picture in pixels of the input tensor.
            cfa, progress, conditions: as for calling the predictor.

        Yields:
            ``(y0, y1, rows)``: output rows y0 to y1, float32 ``[C', y1 - y0, ceil(width * scale)]`` on the device of
            the source's rows; top to bottom, every row once.

        Raises:
            UsageError, RawzooError: as for calling the predictor.
        """
        period = self._cfa_period(cfa)
        canvas = Extended(source, height, width, period)
        return self.stream_canvas(canvas, cfa=cfa, progress=progress, **conditions)

    def stream_canvas(
        self, canvas: Canvas, *, cfa: str | None = None, progress: Progress | None = None, **conditions: Condition
    ) -> Iterator[tuple[int, int, Tensor]]:
        """:meth:`stream` for a picture that brings its own extension beyond its edges."""
        given: dict[str, Any] = {}
        if "cfa" in self.card.conditioning:
            if cfa is None:
                raise UsageError(f"model {self.card.name!r} needs to know the CFA pattern of its input; pass cfa=.")
            given["cfa"] = cfa
        given |= self._conditions(conditions)
        tiles = self._plan(canvas.height, canvas.width, self._cfa_period(cfa))
        if self.card.halo is None and tiles.halo and hasattr(self.module, "reach"):
            return self._stream_measured(canvas, tiles, given, progress)
        return self._stream(canvas, tiles, given, progress)

    def _conditions(self, given: Mapping[str, Condition]) -> dict[str, Tensor]:
        """What the module gets beside the picture and the CFA pattern."""
        if set(given) != set(self.card.conditioning) - {"cfa"}:
            asked = ", ".join(self.card.conditioning) or "nothing"
            raise UsageError(
                f"model {self.card.name!r} takes {asked} beside its input, not {', '.join(given) or 'nothing'}."
            )
        return {
            name: torch.as_tensor(value, dtype=torch.float32, device=self.device).unsqueeze(0)
            for name, value in given.items()
        }

    def _cfa_period(self, cfa: str | None) -> int:
        """Period of the CFA in pixels of the input tensor."""
        if self.card.input != "mosaic":
            return 1
        if cfa is not None:
            return cfa_patterns.period(cfa)
        return 6 if self.card.cfa == "xtrans" or len(self.card.cfa) == 36 else 2

    def _plan(self, height: int, width: int, cfa_period: int) -> Plan:
        card = self.card
        tile, halo, lattice = self.tile, card.halo, math.lcm(card.period, cfa_period)
        if halo is None:
            if tile is None or tile >= max(height, width):
                tile, halo = None, 0
            elif hasattr(self.module, "reach"):
                halo = cast(int, self.module.reach)
            else:
                halo = tile // 4
                warnings.warn(
                    f"model {card.name!r} judges a picture as a whole; in tiles of {tile} pixels each is judged by "
                    "itself, so brightness and colour may differ between tiles. Leave out the tile to run it whole.",
                    stacklevel=4,
                )
        elif tile is None:
            tile = _evened(_default_tile(self.device, halo), lattice, height, width)
        return plan(
            height,
            width,
            tile=tile,
            halo=halo,
            period=lattice,
            scale=card.scale,
            bounded=card.border == "model",
        )

    def _stream_measured(
        self, canvas: Canvas, tiles: Plan, conditions: Mapping[str, Any], progress: Progress | None
    ) -> Iterator[tuple[int, int, Tensor]]:
        """Passes over all tiles that measure the picture's means, then one that uses them."""

        def part(number: int) -> Progress | None:
            return None if progress is None else lambda done: progress((number + done) / (_MEASURING + 1))

        means: list[Tensor] = []
        for number in range(_MEASURING):
            with statistics.measuring(self.module) as measurement:
                # Tiles of a row in which memory ran out count twice; that hardly moves a mean.
                for _ in self._stream(canvas, tiles, conditions, part(number), before=measurement.enter, means=means):
                    pass
                means = measurement.result()
        yield from self._stream(canvas, tiles, conditions, part(_MEASURING), means=means)

    def _stream(
        self,
        canvas: Canvas,
        tiles: Plan,
        conditions: Mapping[str, Any],
        progress: Progress | None,
        *,
        before: Callable[[Tile], None] | None = None,
        means: Sequence[Tensor] = (),
    ) -> Iterator[tuple[int, int, Tensor]]:
        """All rows of tiles; ``before`` is called with each tile, ``means`` are those of the picture."""
        top = 0
        while top < tiles.height:
            with statistics.given(self.module, means):
                rows = self._row(canvas, tiles, top, conditions, progress, before)
            if rows is None:
                tiles = self._halved(tiles, canvas)
                continue
            tile = tiles.row(top)[0]
            yield tile.out.top, tile.out.bottom, rows
            top = tile.core.bottom

    def _row(
        self,
        canvas: Canvas,
        tiles: Plan,
        top: int,
        conditions: Mapping[str, Any],
        progress: Progress | None,
        before: Callable[[Tile], None] | None,
    ) -> Tensor | None:
        """Output of one row of tiles; None when the device's memory did not suffice."""
        row = tiles.row(top)
        left = row[0].read.left
        band = canvas.block(row[0].read.top, row[0].read.bottom, left, row[-1].read.right)
        out: Tensor | None = None
        for tile in row:
            x = band[:, :, tile.read.left - left : tile.read.right - left]
            if before is not None:
                before(tile)
            try:
                y = self._run(x, conditions)
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

    def _run(self, x: Tensor, conditions: Mapping[str, Any]) -> Tensor:
        """The module's output for one input without a batch axis, without it too."""
        # Entering autocast to turn it off takes as long as a small network's layer; seldom is it on.
        asked = self._autocast or torch.is_autocast_enabled(self.device.type)
        precision = torch.autocast(self.device.type, self.dtype, enabled=self._autocast) if asked else nullcontext()
        with torch.inference_mode(), precision:
            batch = x.unsqueeze(0).to(self.device, self._stored)
            if batch.ndim == 4:
                batch = batch.contiguous(memory_format=self._memory_format)
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


def _dtype(card: ModelCard, dtype: str | torch.dtype | None, device: torch.device) -> torch.dtype:
    if dtype is None:
        dtype = next((name for name in card.dtypes if _is_native(name, device)), card.dtypes[0])
    name = str(dtype).removeprefix("torch.")
    if name not in card.dtypes:
        raise UsageError(f"model {card.name!r} does not work in {name}; it works in {', '.join(card.dtypes)}.")
    found: torch.dtype = getattr(torch, name)
    return found


def _is_native(dtype: str, device: torch.device) -> bool:
    """Whether the device computes in a dtype, rather than by way of a wider one, which gains nothing."""
    if dtype == "bfloat16":
        if device.type == "cuda":
            return torch.cuda.get_device_capability(device) >= (8, 0)
        return torch.cpu._is_avx512_bf16_supported()
    return dtype != "float16" or device.type == "cuda"


def memory_format(module: nn.Module) -> torch.memory_format:
    """Channels-last for convolutional networks, where it takes half the time (measured on a CPU); torch's instance
    normalisation is slower in it."""
    axes = {parameter.ndim for parameter in module.parameters()}
    if max(axes, default=0) == 4 and not any(isinstance(child, nn.InstanceNorm2d) for child in module.modules()):
        return torch.channels_last
    return torch.contiguous_format


def _evened(edge: int, lattice: int, *sides: int) -> int:
    """A tile a little larger, where a side of the picture then takes one tile less: each reads its halo."""
    most = (edge + edge // 8) // lattice * lattice
    even = (-(-side // -(-side // max(most, 1))) for side in sides)
    return max(edge, *(-(-size // lattice) * lattice for size in even))


def _default_tile(device: torch.device, halo: int) -> int:
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        edge = min(_CUDA_TILE, math.isqrt(free // 4 // _BYTES_PER_PIXEL))
    else:
        # A halo of an eighth on each side costs about half as much again; of a fifth, twice as much.
        edge = max(_CPU_TILE, min(8 * halo, _CPU_READ - 2 * halo))
    return max(edge, 2 * halo)
