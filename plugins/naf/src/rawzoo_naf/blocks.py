"""The layers of the NAF networks: blocks, channel attention, and how decoders take in what encoders found.

Names of parameters are those of the published checkpoints. Blocks are called with the features ``[N, C, H, W]`` and the
condition ``[N, K]``; networks without a condition give None. They return the features, or these and what the next block
gets as condition.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo.inference.statistics import PictureMean

#: Makes a block of a number of channels.
MakeBlock = Callable[[int], nn.Module]


def gate(x: Tensor) -> Tensor:
    """One half of the channels times the other: the only non-linearity (SimpleGate)."""
    first, second = x.chunk(2, dim=1)
    return first * second


def depthwise(channels: int, kernel: int = 3) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, padding=kernel // 2, groups=channels)


class LayerNorm(nn.Module):
    """Each pixel normalised over its channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        last = functional.layer_norm(x.permute(0, 2, 3, 1), self.weight.shape, self.weight, self.bias, 1e-6)
        return last.permute(0, 3, 1, 2)


class LocalMean(nn.Module):
    """Mean over the window around each pixel, in place of the mean over the picture: TLC (Chu et al., "Improving image
    restoration by revisiting global information aggregation", ECCV 2022). Near the edges the nearest whole window.

    Args:
        window: edge of the window; where it covers the picture, this is the picture's mean.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.window >= height and self.window >= width:
            return x.mean((2, 3), keepdim=True)
        rows, columns = min(self.window, height), min(self.window, width)
        # Sums of single rows and columns stay small enough for float32.
        mean = _moving_sum(_moving_sum(x.float(), columns, 3), rows, 2) / (rows * columns)
        top, left = (rows - 1) // 2, (columns - 1) // 2
        pad = (left, columns - 1 - left, top, rows - 1 - top)
        return functional.pad(mean, pad, mode="replicate").to(x.dtype)


def _moving_sum(x: Tensor, count: int, dim: int) -> Tensor:
    sums = x.cumsum(dim)
    last = sums.narrow(dim, count - 1, x.shape[dim] - count + 1)
    before = sums.narrow(dim, 0, x.shape[dim] - count)
    return torch.cat([last.narrow(dim, 0, 1), last.narrow(dim, 1, x.shape[dim] - count) - before], dim)


class PlainAttention(nn.ModuleList):
    """Channel weights from the channels' means (simplified channel attention of NAFNet).

    Args:
        channels: in and out.
        window: of the means, or None for those of the picture.
    """

    def __init__(self, channels: int, window: int | None = None) -> None:
        pool = PictureMean() if window is None else LocalMean(window)
        super().__init__([pool, nn.Conv2d(channels, channels, 1)])

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:  # noqa: ARG002 - called like the others
        pool, convolution = self
        weights: Tensor = convolution(pool(x))
        return weights


class ConditionedAttention(nn.Module):
    """Channel weights from the channels' means and the condition.

    Args:
        channels: of the features.
        condition: numbers in the condition.
        out: weights; None for one each channel.
    """

    def __init__(self, channels: int, condition: int, out: int | None = None) -> None:
        super().__init__()
        self.pool = PictureMean()
        self.mlp = nn.Sequential(nn.Linear(channels + condition, out or channels))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        known = torch.cat([self.pool(x).flatten(1), condition.to(x.dtype)], dim=1)
        weights: Tensor = self.mlp(known)
        return weights[:, :, None, None]


class NafBlock(nn.Module):
    """Chen et al., "Simple baselines for image restoration" (ECCV 2022): spatial mixing, then channel mixing.

    Args:
        channels: in and out.
        attention: makes the channel attention.
        learned_norm: numbers in the condition where the second normalisation is modulated by attention to the block's
            input, else None.
        unused: numbers in the condition where the published block holds an attention it does not use, else None.
    """

    def __init__(
        self, channels: int, attention: MakeBlock, learned_norm: int | None = None, unused: int | None = None
    ) -> None:
        super().__init__()
        self.norm1 = LayerNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = depthwise(2 * channels)
        self.sca = attention(channels)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = LayerNorm(channels)
        self.conv4 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv5 = nn.Conv2d(channels, channels, 1)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.learned_norm = learned_norm is not None
        if learned_norm is not None:
            self.sca_mul = ConditionedAttention(channels, learned_norm)
            self.sca_add = ConditionedAttention(channels, learned_norm)
        if unused is not None:
            self.sca_out = ConditionedAttention(channels, unused)
            self.delta = nn.Parameter(torch.zeros(1, 1, 1, 1))

    def forward(self, x: Tensor, condition: Tensor | None) -> Tensor:
        y = self._mixed(x)
        return self._added(x, y * self.sca(y, condition), condition)

    def _mixed(self, x: Tensor) -> Tensor:
        return gate(self.conv2(self.conv1(self.norm1(x))))

    def _added(self, x: Tensor, weighted: Tensor, condition: Tensor | None) -> Tensor:
        y = x + self.beta * self.conv3(weighted)
        z = self.norm2(y)
        if self.learned_norm:
            z = (1 + self.sca_mul(x, condition)) * z + self.sca_add(x, condition)
        out: Tensor = y + self.gamma * self.conv5(gate(self.conv4(z)))
        return out


class GlobalReasoning(nn.Module):
    """Channel weights and a change of the memory, from the channels' means and the memory.

    Args:
        channels: of the features.
        memory: of the memory.
    """

    def __init__(self, channels: int, memory: int) -> None:
        super().__init__()
        self.pool = PictureMean()
        self.conv1 = nn.Conv2d(channels + memory, channels + memory, 1)
        self.conv2 = nn.Conv2d(channels + memory, channels + memory, 1)
        self.split = [channels, memory]

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        known = torch.cat([self.pool(x), memory], dim=1)
        weights, change = self.conv2(functional.gelu(self.conv1(known))).split(self.split, dim=1)
        return weights, change


class ReasoningBlock(NafBlock):
    """The block of a later ``Cond_NAF_SSID``: what all blocks know of the picture, the memory ``[N, K, 1, 1]``, weighs
    the channels and goes from block to block."""

    def __init__(self, channels: int, memory: int) -> None:
        super().__init__(channels, attention=lambda _: nn.Identity())
        self.grm = GlobalReasoning(channels, memory)
        self.delta = nn.Parameter(torch.zeros(1, memory, 1, 1))

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        y = self._mixed(x)
        weights, change = self.grm(y, memory)
        return self._added(x, y * weights, None), memory + self.delta * change


class KernelAttention(nn.Module):
    """Pixel weights from a few channels and a 3x3 neighbourhood (NKA)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = channels // 8
        self.proj_1 = nn.Conv2d(channels, few, 1)
        self.dwconv = depthwise(few)
        self.proj_2 = nn.Conv2d(few, 2 * few, 1)
        self.attention = nn.Conv2d(few, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        weights: Tensor = self.attention(gate(self.proj_2(self.dwconv(self.proj_1(x)))))
        return x * weights


class SwiGlu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.w1 = nn.Conv2d(channels, 2 * channels, 1)
        self.w2 = nn.Conv2d(channels, 2 * channels, 1)
        self.w3 = nn.Conv2d(2 * channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.w3(functional.silu(self.w1(x)) * self.w2(x))
        return out


class AttentionBlock(nn.Module):
    """Cond_NAF's ``use_attnblock``: kernel and channel attention, normalised over the picture, then SwiGLU."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.dw = depthwise(channels)
        self.nka = KernelAttention(channels)
        self.sca = ConditionedAttention(channels, condition)
        self.norm = nn.GroupNorm(1, channels)
        self.swiglu = SwiGlu(channels)
        self.alpha = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.nka(self.dw(x))
        y = self.norm(x + self.alpha * (self.sca(y, condition) * y))
        out: Tensor = y + self.beta * self.swiglu(y)
        return out


class ChaspaBlock(nn.Module):
    """Cond_CHASPA's block: channel mixing with attention, then kernel attention."""

    def __init__(self, channels: int, condition: int) -> None:
        super().__init__()
        self.norm1 = nn.GroupNorm(1, channels)
        self.conv2 = nn.Conv2d(channels, 2 * channels, 1)
        self.sca = ConditionedAttention(channels, condition)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.norm2 = nn.GroupNorm(1, channels)
        self.NKA = KernelAttention(channels)
        self.conv1 = depthwise(channels)
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.gamma = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = gate(self.conv2(self.norm1(x)))
        x = x + self.beta * self.conv3(y * self.sca(y, condition))
        out: Tensor = x + self.gamma * self.conv1(self.NKA(self.norm2(x)))
        return out


class NextBlock(nn.Module):
    """The first Restorer's block: ConvNeXt's with channel attention (channels last inside)."""

    def __init__(self, channels: int, condition: int, expand: int) -> None:
        super().__init__()
        self.dwconv = depthwise(channels)
        self.norm = LayerNorm(channels)
        self.pwconv1 = nn.Linear(channels, expand * channels)
        self.sca = ConditionedAttention(expand * channels, condition)
        self.pwconv2 = nn.Linear(expand * channels, channels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = self.pwconv1(self.norm(self.dwconv(x)).permute(0, 2, 3, 1))
        y = functional.gelu(y).permute(0, 3, 1, 2)
        y = self.pwconv2((y * self.sca(y, condition)).permute(0, 2, 3, 1))
        out: Tensor = x + y.permute(0, 3, 1, 2)
        return out


class AffineAttention(nn.Module):
    """Channels scaled and, where ``affine``, moved by attention."""

    def __init__(self, channels: int, condition: int, affine: bool) -> None:
        super().__init__()
        self.sca = ConditionedAttention(channels, condition)
        self.sca_add = ConditionedAttention(channels, condition) if affine else None

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y: Tensor = x * self.sca(x, condition)
        return y if self.sca_add is None else y + self.sca_add(x, condition)


class Branch(nn.Module):
    """One half of a NAF block: of TreeNet.

    Args:
        channels: in and out.
        kernel: edge of the depthwise convolution; 0 for none.
        condition: numbers in the condition.
        affine: see :class:`AffineAttention`.
        early: the ancestor in the Restorer repository, with plain attention and normalised over the picture.
    """

    def __init__(
        self, channels: int, kernel: int, condition: int, *, affine: bool = False, early: bool = False
    ) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, channels) if early else LayerNorm(channels)
        self.conv1 = nn.Conv2d(channels, 2 * channels, 1)
        self.conv2 = depthwise(2 * channels, kernel) if kernel else nn.Identity()
        self.sca = ConditionedAttention(channels, condition) if early else AffineAttention(channels, condition, affine)
        self.conv3 = nn.Conv2d(channels, channels, 1)
        self.alpha = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.early = early

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        y = gate(self.conv2(self.conv1(self.norm(x))))
        weighted = y * self.sca(y, condition) if self.early else self.sca(y, condition)
        out: Tensor = x + self.alpha * self.conv3(weighted)
        return out


class Tree(nn.Module):
    """Branches one after the other."""

    def __init__(self, channels: int, kernels: Sequence[int], condition: int, **options: Any) -> None:
        super().__init__()
        self.trunk = nn.ModuleList(Branch(channels, kernel, condition, **options) for kernel in kernels)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        for branch in self.trunk:
            x = branch(x, condition)
        return x


class Merge(nn.Module):
    """Joins what came up from the level below with what the encoder left at this level.

    Called with both, ``[N, C, H, W]``, and the condition. Kinds, with t the two joined, a its conditioned attention:
    ``gated``: up + sigmoid(a) sigmoid(conv t) skip; ``gated-1``: the same with one channel from the convolution;
    ``sum``, ``product``: of the halves of a t (CondFuser of older revisions, and V2, whose kernel attention has no
    effect); ``mix``: halves of a t weighted pixel by pixel (V3); ``pointwise``: a 1x1 convolution of a t (V4).

    Args:
        channels: of each.
        kind: see above.
        condition: numbers in the condition.
    """

    def __init__(self, channels: int, kind: str, condition: int) -> None:
        super().__init__()
        self.kind = kind
        gated = kind.startswith("gated")
        self.cca = ConditionedAttention(2 * channels, condition, out=channels if gated else None)
        if gated:
            self.sa = nn.Sequential(nn.Conv2d(2 * channels, 1 if kind == "gated-1" else channels, 3, padding=1))
        elif kind == "product":
            self.spa: nn.Module = KernelAttention(2 * channels)
        elif kind == "mix":
            self.spa = nn.Conv2d(2 * channels, 1, 3, padding=1)
        elif kind == "pointwise":
            self.pw = nn.Conv2d(2 * channels, channels, 1)
        elif kind != "sum":
            raise ValueError(f"merge {kind!r} is none of gated, gated-1, sum, product, mix, pointwise")

    def forward(self, up: Tensor, skip: Tensor, condition: Tensor) -> Tensor:
        joined = torch.cat([up, skip], dim=1)
        attention = self.cca(joined, condition)
        if self.kind.startswith("gated"):
            gated: Tensor = up + attention.sigmoid() * self.sa(joined).sigmoid() * skip
            return gated
        joined = attention * joined
        y: Tensor
        if self.kind == "pointwise":
            y = self.pw(joined)
            return y
        first, second = joined.chunk(2, dim=1)
        if self.kind == "sum":
            y = first + second
        elif self.kind == "product":
            y = first * second
        else:
            share = self.spa(joined).sigmoid()
            y = share * first + (1 - share) * second
        return y


class PlainMerge(nn.Module):
    """Merge of ``Cond_NAF_SSID``: without a condition. ``gated`` as in :class:`Merge`, else ``sum``."""

    def __init__(self, channels: int, gated: bool) -> None:
        super().__init__()
        self.gated = gated
        self.ca = nn.Sequential(PictureMean(), nn.Conv2d(2 * channels, channels if gated else 2 * channels, 1))
        if gated:
            # The published sequence begins with the convolution; a sigmoid follows each.
            self.sa = nn.Sequential(nn.Conv2d(2 * channels, channels, 3, padding=1))

    def forward(self, up: Tensor, skip: Tensor, condition: Tensor | None) -> Tensor:  # noqa: ARG002
        joined = torch.cat([up, skip], dim=1)
        if self.gated:
            weighted: Tensor = up + self.ca(joined).sigmoid() * self.sa(joined).sigmoid() * skip
            return weighted
        first, second = (self.ca(joined) * joined).chunk(2, dim=1)
        summed: Tensor = first + second
        return summed
