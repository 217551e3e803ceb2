"""PyNET's layers as one would write them with torch.nn, put into the same graph."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rawzoo_pynet.network import PyNet
from rawzoo_pynet.topology import VARIANTS, Part, Variant, parts


def layers(inputs: int, outputs: int, kernel: int, variant: Variant, norm: bool = False) -> nn.Sequential:
    pad = nn.ReflectionPad2d if variant.padding == "reflect" else nn.ZeroPad2d
    made: list[nn.Module] = [pad(kernel // 2), nn.Conv2d(inputs, outputs, kernel)]
    if norm:
        made.append(nn.InstanceNorm2d(outputs, eps=variant.epsilon, affine=True))
    return nn.Sequential(*made)


class Block(nn.Module):
    def __init__(self, part: Part, variant: Variant) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                layers(part.inputs, part.outputs, kernel, variant, part.norm),
                nn.LeakyReLU(0.2),
                layers(part.outputs, part.outputs, kernel, variant, part.norm),
                nn.LeakyReLU(0.2),
            )
            for kernel in part.kernels
        )

    def forward(self, *inputs: Tensor, residual: bool = False) -> Tensor:
        x = torch.cat(inputs, 1) if len(inputs) > 1 else inputs[0]
        y = torch.cat([branch(x) for branch in self.branches], 1)
        return x + y if residual else y


class Up(nn.Module):
    def __init__(self, part: Part, variant: Variant) -> None:
        super().__init__()
        self.transposed = variant.transposed
        if variant.transposed:
            self.last: nn.Module = nn.ConvTranspose2d(part.inputs, part.outputs, 3, stride=2, bias=False)
        else:
            self.last = nn.Sequential(
                nn.UpsamplingBilinear2d(scale_factor=2), *layers(part.inputs, part.outputs, 3, variant)
            )

    def forward(self, x: Tensor, window: object = None) -> Tensor:
        y = self.last(x)
        return functional.leaky_relu(y[:, :, :-1, :-1] if self.transposed else y, 0.2)


class Head(nn.Module):
    def __init__(self, part: Part, variant: Variant) -> None:
        super().__init__()
        self.sigmoid = variant.head == "sigmoid"
        self.last = layers(part.inputs, part.outputs, 3, variant)

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(x)
        return y.sigmoid() if self.sigmoid else 0.58 * y.tanh() + 0.5


def plain(network: PyNet) -> nn.Module:
    """The network with these layers and the same weights."""
    variant = VARIANTS[network.variant]
    made = PyNet(network.variant, network.level)
    for part in parts(network.variant):
        if part.serves(network.level):
            setattr(made, part.name, {"block": Block, "up": Up, "head": Head}[part.kind](part, variant))
    with torch.no_grad():
        for own, theirs in zip(made.parameters(), network.parameters(), strict=True):
            own.copy_(theirs)
    return made.eval()
