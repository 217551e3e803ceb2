"""The published networks, built of their configurations; what cards and imported weights name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo_naf.blocks import (
    AttentionBlock,
    ChaspaBlock,
    ConditionedAttention,
    MakeBlock,
    Merge,
    NafBlock,
    NextBlock,
    PlainAttention,
    PlainMerge,
    ReasoningBlock,
    Tree,
)
from rawzoo_naf.debayer import Debayer5x5, FromPacked
from rawzoo_naf.unet import UNet


def doubling(width: int, levels: int) -> list[int]:
    """Channels of levels that double."""
    return [width << level for level in range(levels)]


class NafNet(UNet):
    """Chen et al., "Simple baselines for image restoration" (ECCV 2022).

    Args:
        width: channels of the first level; they double.
        encoder, middle, decoder: blocks, see :class:`UNet`.
        train_size: None for attention to the whole picture. Else TLC: attention to windows 1.5 times the size that
            pictures had in training, this many pixels.
        merge: ``add``, or ``gated`` or ``sum`` of ``Cond_NAF_SSID``.
        memory: channels of what the blocks of a later ``Cond_NAF_SSID`` hand on, which have no attention to windows.
    """

    def __init__(
        self,
        width: int,
        encoder: Sequence[int],
        middle: int,
        decoder: Sequence[int],
        train_size: int | None = None,
        merge: str = "add",
        memory: int | None = None,
    ) -> None:
        if memory is not None and train_size is not None:
            raise ValueError("blocks with a memory have no attention to windows")
        chans = doubling(width, len(encoder) + 1)
        level_of = {c: level for level, c in enumerate(chans)}

        def attention(channels: int) -> nn.Module:
            if train_size is None:
                return PlainAttention(channels)
            return PlainAttention(channels, (train_size >> level_of[channels]) * int(1.5 * train_size) // train_size)

        super().__init__(
            chans,
            encoder,
            middle,
            decoder,
            block=partial(NafBlock, attention=attention) if memory is None else partial(ReasoningBlock, memory=memory),
            merge=None if merge == "add" else partial(PlainMerge, gated=merge == "gated"),
            memory=memory,
            residual=True,
        )
        self.window = None if train_size is None else int(1.5 * train_size)
        if train_size is None:
            self.reach = _reach(encoder, middle, decoder)

    def example_inputs(self, height: int, width: int) -> tuple[Tensor, ...]:
        """A picture larger than the windows, where there are some: what is traced holds for such pictures."""
        times = 1 if self.window is None else self.window // min(height, width) + 1
        return (torch.rand(1, 3, times * height, times * width),)


def _reach(encoder: Sequence[int], middle: int, decoder: Sequence[int]) -> int:
    """Pixels that an output pixel sees to each side, beside the attention, rounded up to the period: a pixel of its
    level each block, one at either end, and where the pixels of a level begin."""
    period = 1 << len(encoder)
    pixels = 2 + period
    for levels in ([*encoder, middle], reversed(decoder)):
        pixels += sum(count << level for level, count in enumerate(levels))
    return -(-pixels // period) * period


class TreeNet(UNet):
    """ForestNetV1Cond of the TreeNet repository: what Raw Refinery deploys.

    Linear Rec. 2020 pictures ``[N, 3, H, W]`` in 0..1, demosaiced, and the condition ``[N, 1]``, ISO / 6400.

    Args:
        width: channels of the first level; they double.
        encoder, middle, decoder: trees, see :class:`UNet`.
        kernels_up, middle_kernels, kernels_down: branches of each tree by the edge of their depthwise convolution,
            0 for none: of the encoders, the middle and the decoders.
        cond_channels: numbers in the condition.
        affine: attention also moves the channels.
    """

    def __init__(
        self,
        width: int,
        encoder: Sequence[int],
        middle: int,
        decoder: Sequence[int],
        kernels_up: Sequence[int] = (3, 0),
        middle_kernels: Sequence[int] = (3, 0),
        kernels_down: Sequence[int] = (3, 0),
        cond_channels: int = 1,
        affine: bool = False,
    ) -> None:
        kernels = iter([kernels_up] * sum(encoder) + [middle_kernels] * middle + [kernels_down] * sum(decoder))

        def tree(channels: int) -> nn.Module:  # called for encoders, middle and decoders, in this order
            return Tree(channels, next(kernels), cond_channels, affine=affine)

        chans = doubling(width, len(encoder) + 1)
        super().__init__(chans, encoder, middle, decoder, block=tree, residual=True)
        self.cond_channels = cond_channels

    def example_inputs(self, height: int, width: int) -> tuple[Tensor, ...]:
        """As published for export: the picture, twice the size of the packed mosaic, and the condition."""
        return torch.rand(1, 3, 2 * height, 2 * width), torch.rand(1, self.cond_channels)


_BLOCKS: dict[str, Callable[[int], MakeBlock]] = {
    "naf": lambda c: partial(NafBlock, attention=partial(ConditionedAttention, condition=c)),
    "naf-learned-norm": lambda c: partial(
        NafBlock, attention=partial(ConditionedAttention, condition=c), learned_norm=c
    ),
    "naf-unused": lambda c: partial(NafBlock, attention=partial(ConditionedAttention, condition=c), unused=c),
    "attention": lambda c: partial(AttentionBlock, condition=c),
    "chaspa": lambda c: partial(ChaspaBlock, condition=c),
    "next-2": lambda c: partial(NextBlock, condition=c, expand=2),
    "next-4": lambda c: partial(NextBlock, condition=c, expand=4),
    "tree": lambda c: partial(Tree, kernels=(5, 3, 0), condition=c, early=True),
}


class CondNaf(nn.Module):
    """The networks of the Restorer repository: packed RGGB mosaics to pictures, conditioned on ISO.

    Args:
        form: what is around the U-Net. With x the packed mosaic, r a demosaiced picture, d what
            :class:`Debayer5x5` makes of x, and g ``gamma``:

            * ``residual``: clip(clip(r)^(1/g) + net(clip(x)^(1/g)))^g;
            * ``residual-linear``: r + net(x);
            * ``debayer``: d + net(x);
            * ``debayer-half``: d + shuffle(net(x)), the U-Net at the mosaic's size;
            * ``debayer-in``: d + net(d);
            * ``debayer-joined``: d + net(d and a first convolution of x);
            * ``demosaic``: clip(d' + a net(x'))^g of x' = clip(x)^(1/g), with one learned a;
            * ``demosaic-in``: the same with net(d');
            * ``shuffle``: shuffle(net(x));
            * ``shuffle-pass``: shuffle(net(x)) + a transposed convolution of x.
        chans, encoder, middle, decoder: see :class:`UNet`.
        block: ``naf``, ``naf-learned-norm``, ``naf-unused``, ``attention``, ``chaspa``, ``next-2``, ``next-4`` or
            ``tree``.
        merge: ``add`` or a kind of :class:`Merge`.
        cond_input, cond_output: numbers in the condition, and what blocks get of them.
        gamma: exponent of the encoding, see ``form``.
    """

    def __init__(
        self,
        chans: Sequence[int],
        encoder: Sequence[int],
        middle: int,
        decoder: Sequence[int],
        form: str = "residual",
        block: str = "naf",
        merge: str = "gated",
        cond_input: int = 1,
        cond_output: int = 32,
        gamma: float = 1.0,
    ) -> None:
        super().__init__()
        self.form = form
        self.gamma = gamma
        self.cond_input = cond_input
        half = form in ("debayer-half", "shuffle", "shuffle-pass")
        inside = {"debayer-in": 3, "demosaic-in": 3, "debayer-joined": 32}.get(form, 4)
        make: MakeBlock = _BLOCKS[block](cond_output)
        self.model = UNet(
            chans,
            encoder,
            middle,
            decoder,
            block=make,
            merge=None if merge == "add" else partial(Merge, kind=merge, condition=cond_output),
            in_channels=inside,
            out_channels=12 if half else 3,
            packed=inside == 4 and not half,
            condition=(cond_input, cond_output),
            base_merge=form == "debayer-joined",
            scaled=form.startswith("demosaic"),
        )
        if form.startswith(("debayer", "residual")):
            self.demosaicer = FromPacked(stored=form.startswith("debayer"))
        if form.startswith("demosaic"):
            self.demosaicing = Debayer5x5()
        if form == "debayer-joined":
            self.intro = nn.Sequential(nn.Conv2d(4, 4 * 29, 3, padding=1), nn.PixelShuffle(2))
        if form == "shuffle-pass":
            self.upscale = nn.Sequential(nn.ConvTranspose2d(4, 3, 2, stride=2))

    def example_inputs(self, height: int, width: int) -> tuple[Tensor, ...]:
        """As published for export: the mosaic, the condition, and where it is added to, the demosaiced picture."""
        inputs = torch.rand(1, 4, height, width), torch.rand(1, self.cond_input)
        return (*inputs, torch.rand(1, 3, 2 * height, 2 * width)) if self.form.startswith("residual") else inputs

    def forward(self, x: Tensor, cond: Tensor, residual: Tensor | None = None) -> Tensor:
        """``[N, 4, h, w]`` R, Gr, Gb, B and ``[N, cond_input]`` to ``[N, 3, 2h, 2w]``, all linear Rec. 2020 in 0..1.

        Args:
            residual: ``[N, 3, 2h, 2w]``, the demosaiced picture that forms ``residual`` and ``residual-linear`` add to;
                None for d.
        """
        net = self.model
        y: Tensor
        if self.form in ("residual", "demosaic", "demosaic-in"):
            root = self._encoded(x)
            if self.form == "residual":
                base = self._encoded(self.demosaicer(x) if residual is None else residual)
            else:
                base = self.demosaicing(functional.pixel_shuffle(root, 2))
            y = base + net(base if self.form == "demosaic-in" else root, cond)
            return y.clamp(0, 1) ** self.gamma
        if self.form == "residual-linear":
            y = (self.demosaicer(x) if residual is None else residual) + net(x, cond)
        elif self.form == "shuffle":
            y = functional.pixel_shuffle(net(x, cond), 2)
        elif self.form == "shuffle-pass":
            y = functional.pixel_shuffle(net(x, cond), 2) + self.upscale(x)
        else:
            rgb = self.demosaicer(x)
            if self.form == "debayer-in":
                y = rgb + net(rgb, cond)
            elif self.form == "debayer-joined":
                y = rgb + net(torch.cat([rgb, self.intro(x)], dim=1), cond)
            elif self.form == "debayer-half":
                y = rgb + functional.pixel_shuffle(net(x, cond), 2)
            else:
                y = rgb + net(x, cond)
        return y

    def _encoded(self, x: Tensor) -> Tensor:
        return x.clamp(0, 1) ** (1 / self.gamma)
