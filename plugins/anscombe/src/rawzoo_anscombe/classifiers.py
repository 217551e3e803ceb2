"""The networks that name what a picture shows: MobileNet v1, alone, behind a U-Net, and behind the Anscombe network."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo.errors import UsageError
from rawzoo_anscombe.isp import AnscombeISP, bayer_mask
from rawzoo_anscombe.layers import ConvNorm

#: The classes of ImageNet's challenge, and the background in front of them.
CLASSES = 1001

#: Side of the mosaic and of the picture that the networks see by default; the paper's captured images.
SIZE = 224

#: The largest side: beyond it the last pooling leaves more than one value.
LARGEST = 256

# Stride and channels of each pair of a depthwise and a pointwise convolution.
_PAIRS = ((1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), *[(1, 512)] * 5, (2, 1024), (1, 1024))

_EPS, _DECAY = 1e-3, 0.9997


def _block(inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, depthwise: bool = False) -> ConvNorm:
    return ConvNorm(
        inputs,
        outputs,
        kernel,
        stride=stride,
        depthwise=depthwise,
        eps=_EPS,
        decay=_DECAY,
        activation=nn.ReLU6(inplace=True),
    )


class MobileNetV1(nn.Module):
    """MobileNet v1 1.0 (Howard et al. 2017, arXiv 1704.04861) as TensorFlow's slim builds it.

    Args:
        classes: K.
    """

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__()
        self.layers = nn.Sequential()
        self.layers.add_module("Conv2d_0", _block(3, 32, stride=2))
        channels = 32
        for i, (stride, outputs) in enumerate(_PAIRS, 1):
            self.layers.add_module(f"Conv2d_{i}_depthwise", _block(channels, channels, stride=stride, depthwise=True))
            self.layers.add_module(f"Conv2d_{i}_pointwise", _block(channels, outputs, 1))
            channels = outputs
        self.dropout = nn.Dropout(0.001)
        self.logits = nn.Conv2d(channels, classes, 1)

    def example_inputs(self, height: int, width: int) -> tuple[Tensor, ...]:  # noqa: ARG002 - its pooling has one size
        """What it sees by default, for export."""
        return (2.0 * torch.rand(1, 3, SIZE, SIZE) - 1.0,)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[B, K]`` of pictures ``[B, 3, H, W]``, R, G, B in -1..1; H and W from 1 to 256.

        Raises:
            UsageError: another size.
        """
        if x.shape[1] != 3 or max(x.shape[2:]) > LARGEST:
            raise UsageError(f"MobileNet takes [B, 3, H, W] with H and W up to {LARGEST}, not {list(x.shape)}.")
        x = self.layers(x)
        height, width = x.shape[2:]
        # Of 8 x 8 cells, from a picture of 256 pixels, the first 7 x 7 count, as in the original.
        x = functional.avg_pool2d(x, (min(height, 7), min(width, 7)), stride=2)
        logits: Tensor = self.logits(self.dropout(x))
        return logits.flatten(1)


class ChenUNet(nn.Module):
    """The U-Net of Chen et al. ("Learning to see in the dark", CVPR 2018) with a quarter of its width and batch
    normalisation: five scales, max pooling, leaky ReLU. ``[B, 3, H, W]`` to the same, any size."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 16, 32, 64, 128)

        def block(inputs: int, outputs: int, kernel: int, activation: nn.Module | None) -> ConvNorm:
            return ConvNorm(inputs, outputs, kernel, eps=_EPS, decay=_DECAY, activation=activation)

        def pair(inputs: int, outputs: int) -> nn.Sequential:
            return nn.Sequential(*(block(n, outputs, 3, nn.LeakyReLU(0.2, inplace=True)) for n in (inputs, outputs)))

        self.down = nn.ModuleList(pair(*io) for io in zip((3, *widths), widths, strict=False))
        falling = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(*io, 2, stride=2, bias=False) for io in falling)
        self.merge = nn.ModuleList(pair(*io) for io in falling)
        self.out = block(widths[0], 3, 1, None)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for level, convolutions in enumerate(self.down):
            if level:
                skips.append(x)
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = convolutions(x)
        for up, convolutions in zip(self.up, self.merge, strict=True):
            skip = skips.pop()
            larger = up(x)[:, :, : skip.shape[2], : skip.shape[3]]
            x = convolutions(torch.cat([larger, skip], 1))
        out: Tensor = self.out(x)
        return out


class DeeperMobileNetV1(MobileNetV1):
    """:class:`ChenUNet`, then MobileNet v1: the paper's baseline of about the joint network's depth.

    Takes what MobileNet takes.
    """

    def __init__(self, classes: int = CLASSES) -> None:
        super().__init__(classes)
        self.unet = ChenUNet()

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.unet(x))


class JointNetwork(nn.Module):
    """The Anscombe network and MobileNet v1 on its picture, trained as one on the labels only.

    Args:
        use_anscombe, noise_channel, num_iters: of :class:`rawzoo_anscombe.isp.AnscombeISP`.
        classes: K.
    """

    def __init__(
        self, use_anscombe: bool = True, noise_channel: bool = True, num_iters: int = 1, classes: int = CLASSES
    ) -> None:
        super().__init__()
        self.isp = AnscombeISP(use_anscombe, noise_channel, num_iters)
        self.classifier = MobileNetV1(classes)

    def example_inputs(self, height: int, width: int) -> tuple[Tensor, ...]:  # noqa: ARG002 - MobileNet has one size
        """What it sees by default, for export: the mosaic, and where it is needed its noise in R, G, B."""
        y = torch.rand(1, 3, SIZE, SIZE)
        y = y * bayer_mask(y)
        return (y, 0.01 * torch.rand(1, 3) + 0.01, 0.01 * torch.rand(1, 3)) if self.isp.use_anscombe else (y,)

    def forward(self, y: Tensor, alpha: Tensor | None = None, sigma: Tensor | None = None) -> Tensor:
        """Logits ``[B, K]``; the arguments are those of :meth:`rawzoo_anscombe.isp.AnscombeISP.forward`, H and W up to
        256."""
        return self.judge(self.restore(y, alpha, sigma))

    def restore(self, y: Tensor, alpha: Tensor | None = None, sigma: Tensor | None = None) -> Tensor:
        """The picture between the two networks, ``[B, 3, H, W]`` in 0..1."""
        picture: Tensor = self.isp(y, alpha, sigma)
        return picture.clamp(0.0, 1.0)

    def judge(self, picture: Tensor) -> Tensor:
        """Logits ``[B, K]`` of a picture of :meth:`restore`."""
        logits: Tensor = self.classifier(2.0 * (picture - 0.5))
        return logits
