"""The U-Net that all published NAF networks are."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from rawzoo.inference.statistics import PictureMean
from rawzoo_naf.blocks import MakeBlock


class UNet(nn.Module):
    """Blocks at several levels, each half the size of the one above, with skips from encoders to decoders.

    Args:
        chans: channels of each level, from the input's size downwards.
        encoder: blocks at each level but the last, on the way down.
        middle: blocks at the last level.
        decoder: blocks at each level but the last, on the way up, the lowest first.
        block: makes a block.
        merge: makes what joins a skip with what comes up; None adds them.
        in_channels, out_channels: of the network.
        packed: the input is a packed mosaic, and all levels are twice its size.
        condition: (given, made): numbers in the condition, and what a small network makes of them for the blocks; None
            where blocks get the condition as it is, or there is none.
        memory: channels of what blocks hand on in place of a condition; it begins with the means of the features before
            the first block. None where they hand on nothing.
        residual: the output is added to the input.
        base_merge: the features before the first block are merged once more before the last convolution.
        scaled: the output has one learned factor.
    """

    def __init__(
        self,
        chans: Sequence[int],
        encoder: Sequence[int],
        middle: int,
        decoder: Sequence[int],
        *,
        block: MakeBlock,
        merge: MakeBlock | None = None,
        in_channels: int = 3,
        out_channels: int = 3,
        packed: bool = False,
        condition: tuple[int, int] | None = None,
        memory: int | None = None,
        residual: bool = False,
        base_merge: bool = False,
        scaled: bool = False,
    ) -> None:
        super().__init__()
        if len(chans) != len(encoder) + 1 or len(chans) != len(decoder) + 1:
            raise ValueError(f"{len(chans)} levels need {len(chans) - 1} encoders and decoders")
        self.packed = packed
        self.residual = residual
        self.period = 2 ** len(encoder)
        if condition is not None:
            given, made = condition
            # The third layer is dropout in training, and counts in the names.
            self.conditioning_gen = nn.Sequential(nn.Linear(given, 64), nn.ReLU(), nn.Identity(), nn.Linear(64, made))
        else:
            self.conditioning_gen = None  # type: ignore[assignment]
        if memory is not None:
            self.global_channel_producer = nn.Sequential(PictureMean(), nn.Conv2d(chans[0], memory, 1))
        else:
            self.global_channel_producer = None  # type: ignore[assignment]
        intro = nn.Conv2d(in_channels, 4 * chans[0] if packed else chans[0], 3, padding=1)
        self.intro = nn.Sequential(intro, nn.PixelShuffle(2)) if packed else intro
        self.ending = nn.Conv2d(chans[0], out_channels, 3, padding=1)
        self.encoders = nn.ModuleList(_stage(block, c, n) for c, n in zip(chans[:-1], encoder, strict=True))
        self.downs = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in itertools.pairwise(chans))
        self.middle_blks = _stage(block, chans[-1], middle)
        up = list(reversed(chans))
        self.ups = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, 4 * b, 1, bias=False), nn.PixelShuffle(2)) for a, b in itertools.pairwise(up)
        )
        self.merges = nn.ModuleList(_Add() if merge is None else merge(c) for c in up[1:])
        self.decoders = nn.ModuleList(_stage(block, c, n) for c, n in zip(up[1:], decoder, strict=True))
        self.base_merge = None if not base_merge or merge is None else merge(chans[0])
        self.alpha = nn.Parameter(self.ending.weight.new_zeros(1, 1, 1, 1)) if scaled else None

    def forward(self, x: Tensor, cond: Tensor | None = None) -> Tensor:
        """``[N, C, H, W]`` of any size, and the condition ``[N, K]``, to ``[N, C', H, W]``, or 2H x 2W where packed."""
        height, width = (2 * n if self.packed else n for n in x.shape[2:])
        if self.conditioning_gen is not None:
            assert cond is not None
            cond = self.conditioning_gen(cond.to(x.dtype))
        x = functional.pad(x, (0, -x.shape[3] % self.period, 0, -x.shape[2] % self.period))
        base: Tensor = self.intro(x)
        if self.global_channel_producer is not None:
            cond = self.global_channel_producer(base)
        y = base
        skips = []
        for blocks, down in zip(self.encoders, self.downs, strict=True):
            y, cond = _run(blocks, y, cond)
            skips.append(y)
            y = down(y)
        y, cond = _run(self.middle_blks, y, cond)
        for up, merge, blocks in zip(self.ups, self.merges, self.decoders, strict=True):
            y, cond = _run(blocks, merge(up(y), skips.pop(), cond), cond)
        if self.base_merge is not None:
            y = self.base_merge(y, base, cond)
        y = self.ending(y)
        if self.alpha is not None:
            y = self.alpha * y
        if self.residual:
            y = y + x
        cropped: Tensor = y[:, :, :height, :width]
        return cropped


class _Add(nn.Module):
    def forward(self, up: Tensor, skip: Tensor, condition: Tensor | None) -> Tensor:  # noqa: ARG002
        return up + skip


def _stage(block: MakeBlock, channels: int, count: int) -> nn.ModuleList:
    return nn.ModuleList(block(channels) for _ in range(count))


def _run(blocks: nn.Module, x: Tensor, condition: Tensor | None) -> tuple[Tensor, Tensor | None]:
    assert isinstance(blocks, nn.ModuleList)
    for block in blocks:
        found = block(x, condition)
        x, condition = found if isinstance(found, tuple) else (found, condition)
    return x, condition
