"""EUSR and the four-pass 4PP-EUSR generator, and the discriminator that 4PP-EUSR was trained against.

Kim, Lee: Deep residual network with enhanced upscaling module for super-resolution, CVPR Workshops 2018; Choi, Kim,
Cheon, Lee: Deep learning-based image super-resolution considering quantitative and perceptual quality,
Neurocomputing 2020. Images are R, G, B in 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo.inference.tiling import plan
from rawzoo.raw.image import Box

#: Mean of R, G, B over the training images, subtracted before the network and added after it.
MEAN = (114.4, 111.5, 103.0)

# Edge, in output pixels, of the blocks in which features are upscaled. The last stage takes most of the memory: half
# a gigabyte for a block, where a whole tile would take many.
_BLOCK = 1024


class Generator(nn.Module):
    """EUSR: residual blocks at the input's size, then modules that double it.

    Args:
        scales: any of 2, 4, 8. Each has blocks of its own before and after the shared ones.
        features: channels of all layers between the first and the last.
        blocks: residual blocks that all scales share.
        depth: residual blocks in each module of the upscaling stages.
        initial: whether each scale has its own blocks before the shared ones. Networks of the original repository
            that were trained for one scale have not.
        mean: subtracted from R, G, B before the first layer and added after the last.
    """

    mean: Tensor

    def __init__(
        self,
        scales: Sequence[int],
        features: int = 64,
        blocks: int = 32,
        depth: int = 1,
        initial: bool = True,
        mean: Sequence[float] = MEAN,
    ) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, features, 3, padding=1)
        self.shared = ResidualModule(features, blocks)
        self.branches = nn.ModuleDict({str(scale): Branch(scale, features, depth, initial) for scale in scales})
        self.register_buffer("mean", torch.tensor(mean)[:, None, None], persistent=False)

    def forward(self, x: Tensor, scale: int | None = None) -> Tensor:
        """Upscale.

        Args:
            x: ``[N, 3, h, w]``, 0..255.
            scale: one of the network's; may be left out where there is only one.

        Returns:
            ``[N, 3, scale * h, scale * w]``, about 0..255; neither clipped nor rounded.
        """
        (only,) = [str(scale)] if scale is not None else self.branches
        branch = self.branches[only]
        assert isinstance(branch, Branch)
        y: Tensor = branch.upscaling(self.shared(branch.initial(self.first(x - self.mean))))
        return y + self.mean


class FourPass(Generator):
    """One of the passes of 4PP-EUSR, all of which make a picture of four times the size with the same weights.

    Args:
        via: the scale of the generator that is used. 4: once, the published use. 2: twice; the first result goes on as
            it is. 8: once, keeping every other row and column, which is what the legacy bicubic resize of TensorFlow
            1 to half the size amounts to.
        options: of :class:`Generator`.
    """

    def __init__(self, via: int, **options: Any) -> None:
        super().__init__((via,), **options)
        self.via = via

    def forward(self, x: Tensor, scale: int | None = None) -> Tensor:
        """``[N, 3, h, w]`` -> ``[N, 3, 4h, 4w]``, as :meth:`Generator.forward`."""
        y = super().forward(x, scale)
        if self.via == 2:
            return super().forward(y, scale)
        return y if self.via == 4 else y[:, :, ::2, ::2]


class Branch(nn.Module):
    """What one scale has for itself."""

    def __init__(self, scale: int, features: int, depth: int, initial: bool) -> None:
        super().__init__()
        self.initial = nn.Sequential(*(ResidualBlock(features, 5) for _ in range(2 if initial else 0)))
        self.upscaling = Upscaling(scale, features, depth)


class ResidualBlock(nn.Module):
    """x + conv(relu(conv(x)))."""

    def __init__(self, features: int, kernel: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(features, features, kernel, padding=kernel // 2)
        self.conv2 = nn.Conv2d(features, features, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv2(functional.relu_(self.conv1(x)))
        return y.add_(x)


class ResidualModule(nn.Module):
    """x + conv(blocks(x))."""

    def __init__(self, features: int, blocks: int) -> None:
        super().__init__()
        self.blocks = nn.Sequential(*(ResidualBlock(features) for _ in range(blocks)))
        self.tail = nn.Conv2d(features, features, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.tail(self.blocks(x))
        return y.add_(x)


class Stage(nn.ModuleList):
    """Doubles the size: four residual modules, each fed by the one before it, give the pixels of each 2x2 cell."""

    def forward(self, x: Tensor) -> Tensor:
        """``[N, F, h, w]`` -> ``[N, F, 2h, 2w]``, channels-last."""
        cells = []
        for module in self:
            x = module(x)
            cells.append(x.permute(0, 2, 3, 1))
        # TensorFlow's depth_to_space of the concatenated channels: each part is one pixel of the cell. (torch's pixel
        # shuffle takes each pixel's channels from all over.) Channels stay next to each other in memory.
        rows = [torch.stack(cells[i : i + 2], dim=3).flatten(2, 3) for i in (0, 2)]
        return torch.stack(rows, dim=2).flatten(1, 2).permute(0, 3, 1, 2)


class Upscaling(nn.Module):
    """Stages that double the size, and the last convolution."""

    def __init__(self, scale: int, features: int, depth: int) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            Stage(ResidualModule(features, depth) for _ in range(4)) for _ in range(scale.bit_length() - 1)
        )
        self.last = nn.Conv2d(features, 3, 3, padding=1)
        self.scale = scale
        # How far beyond a block its result reaches, at the input of each stage and of the last convolution.
        reach = [1]
        for _ in self.stages:
            reach.insert(0, -(-reach[0] // 2) + 4 * (2 * depth + 1))
        self._reach = reach

    def forward(self, x: Tensor) -> Tensor:
        """``[N, F, h, w]`` -> ``[N, 3, scale * h, scale * w]``; block by block where no gradient is needed."""
        height, width = x.shape[2:]
        edge = _BLOCK // self.scale
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or max(height, width) <= edge:
            return self._block(x, Box(0, 0, height, width), Box(0, 0, height, width))
        blocks = plan(height, width, tile=edge, halo=self._reach[0], scale=self.scale, bounded=True)
        out = x.new_empty(x.shape[0], 3, blocks.out_height, blocks.out_width)
        for row in blocks.rows():
            for block in row:
                rows, columns = block.read.slices
                there, across = block.out.slices
                out[:, :, there, across] = self._block(x[:, :, rows, columns], block.read, block.core)
        return out

    def _block(self, x: Tensor, read: Box, core: Box) -> Tensor:
        """The result for ``core``, from the features of ``read`` around it; what is no longer needed is cut off."""
        for stage, reach in zip(self.stages, self._reach[1:], strict=True):
            x = stage(x)
            read, core = Box(*(2 * edge for edge in read)), Box(*(2 * edge for edge in core))
            needed = Box(
                max(core.top - reach, read.top),
                max(core.left - reach, read.left),
                min(core.bottom + reach, read.bottom),
                min(core.right + reach, read.right),
            )
            x, read = _cut(x, read, needed), needed
        return _cut(self.last(x), read, core)


def _cut(x: Tensor, read: Box, part: Box) -> Tensor:
    """The pixels of ``part`` from those of ``read``."""
    return x[:, :, part.top - read.top : part.bottom - read.top, part.left - read.left : part.right - read.left]


class Discriminator(nn.Module):
    """Tells upscaled from true pictures, 32x32 pixels at a time.

    Args:
        features: channels of the first of the five pairs of convolutions; each pair has twice as many and halves the
            size.
    """

    def __init__(self, features: int = 32) -> None:
        super().__init__()
        layers, channels = [], 3
        for pair in range(5):
            layers.append(nn.Conv2d(channels, features << pair, 3, padding=1))
            layers.append(nn.Conv2d(features << pair, features << pair, 3, stride=2))
            channels = features << pair
        self.convolutions = nn.ModuleList(layers)
        self.dense = nn.Linear(channels, 1024)
        self.last = nn.Linear(1024, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of being true.

        Args:
            x: ``[N, 3, H, W]``, 0..255, any size.

        Returns:
            ``[N, ceil(H / 32), ceil(W / 32)]``.
        """
        for layer in self.convolutions:
            x = functional.leaky_relu_(layer(halving_pad(x) if layer.stride == (2, 2) else x), 0.2)
        y = functional.leaky_relu_(self.dense(x.permute(0, 2, 3, 1)), 0.2)
        logits: Tensor = self.last(y).squeeze(3)
        return logits


def halving_pad(x: Tensor) -> Tensor:
    """Zeros around ``[N, C, H, W]`` as TensorFlow's "same" puts them for a 3x3 kernel with stride 2: an even side gets
    one after it, an odd side one at both ends."""
    height, width = x.shape[2:]
    return functional.pad(x, (width % 2, 1, height % 2, 1))
