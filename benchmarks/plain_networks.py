"""Networks with their layers as one would write them with torch.nn, and the same weights."""

from copy import deepcopy

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo_anscombe.layers import ConvNorm
from rawzoo_eusr.network import Generator, ResidualModule


class PaddedConv(nn.Module):
    """TensorFlow's SAME padding, and a convolution without bias."""

    def __init__(self, layer: ConvNorm) -> None:
        super().__init__()
        self.conv = nn.Conv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size[0],
            layer.stride[0],
            groups=layer.groups,
            bias=False,
        )
        self.conv.weight = layer.weight

    def forward(self, x: Tensor) -> Tensor:
        stride, reach = self.conv.stride[0], self.conv.kernel_size[0] // 2
        top, left = (reach if stride == 1 else n % 2 for n in x.shape[2:])
        return self.conv(functional.pad(x, (left, reach, top, reach)))


def with_batch_norm(network: nn.Module) -> nn.Module:
    """A network of Dirty Pixels, or MobileNet, as convolutions, batch norms and activations one after another."""
    plain = deepcopy(network).to(memory_format=torch.contiguous_format)
    for parent in list(plain.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, ConvNorm):
                parts = [PaddedConv(layer), layer.norm, *([layer.activation] if layer.activation else [])]
                setattr(parent, name, nn.Sequential(*parts))
    return plain.eval()


def as_it_is(network: nn.Module) -> nn.Module:
    """A network that is written so already, in torch's usual memory layout."""
    return deepcopy(network).to(memory_format=torch.contiguous_format).eval()


def awb(network: nn.Module) -> nn.Module:
    """The white balance network, each channel by itself."""
    return PlainAwb(network).eval()


class PlainAwb(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = deepcopy(network).to(memory_format=torch.contiguous_format)

    def forward(self, x: Tensor, lux: Tensor) -> Tensor:
        green = x[:, 1].clamp(0.1, 1.0)
        red, blue = (((x[:, c] / green).clamp(0.01, 1.0).log() + 1.0) / 2.0 for c in (0, 2))
        brightness = (lux.log() / 10.0)[:, None, None].expand_as(green)
        y = torch.stack([red, brightness, blue], dim=1).clamp(0.0, 1.0)
        for layer, convolution in enumerate(self.network.convolutions):
            y = functional.relu(convolution(functional.max_pool2d(y, 2) if layer else y))
        sharp = functional.softmax(self.network.dense(y.flatten(1)), dim=1).square()
        return (sharp * self.network.centres).sum(1) / sharp.sum(1)


def eusr(network: Generator) -> nn.Module:
    """The generator of one scale."""
    return PlainEusr(network).eval()


class PlainEusr(nn.Module):
    def __init__(self, network: Generator) -> None:
        super().__init__()
        self.network = deepcopy(network).to(memory_format=torch.contiguous_format)
        self.mean = network.mean

    def forward(self, x: Tensor) -> Tensor:
        net = self.network
        (branch,) = net.branches.values()
        x = net.first(x - self.mean)
        for block in branch.initial:
            x = residual(block, x)
        x = module(net.shared, x)
        for stage in branch.upscaling.stages:
            cells = []
            for part in stage:
                x = module(part, x)
                cells.append(x)
            x = depth_to_space(torch.cat(cells, 1))
        return branch.upscaling.last(x) + self.mean


def residual(block: nn.Module, x: Tensor) -> Tensor:
    return x + block.conv2(functional.relu(block.conv1(x)))


def module(part: ResidualModule, x: Tensor) -> Tensor:
    y = x
    for block in part.blocks:
        y = residual(block, y)
    return x + part.tail(y)


def depth_to_space(x: Tensor) -> Tensor:
    """TensorFlow's, for blocks of two."""
    n, channels, height, width = x.shape
    cells = x.reshape(n, 2, 2, channels // 4, height, width)
    return cells.permute(0, 3, 4, 1, 5, 2).reshape(n, channels // 4, 2 * height, 2 * width)
