"""What PyNET is made of: every part with its name, size and place. Plain data; imports no torch.

Ignatov, Van Gool, Timofte: Replacing Mobile Camera ISP with a Single Deep Learning Model (arXiv 2002.05509), and the
two published networks, one for TensorFlow and one for PyTorch, which differ (:data:`VARIANTS`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

LEVELS = range(6)


@dataclass(frozen=True)
class Variant:
    """One of the two published networks.

    Attributes:
        padding: of convolutions, by half the kernel: ``reflect`` or ``zeros``.
        epsilon: of the instance norm.
        transposed: upsampling is a transposed 3x3 convolution of stride 2 without bias; otherwise bilinear between
            aligned corners, then a 3x3 convolution.
        head: ``sigmoid``, 0..1; or ``tanh``: 0.5 + 0.58 tanh, -0.08..1.08.
        deep_residuals: the second and third block of level 5 add their input.
        fine_norm: blocks of level 1 have an instance norm, all but the first and the last.
        last: channels of level 0.
    """

    padding: Literal["reflect", "zeros"]
    epsilon: float
    transposed: bool
    head: Literal["sigmoid", "tanh"]
    deep_residuals: bool
    fine_norm: bool
    last: int


VARIANTS = {
    "torch": Variant("reflect", 1e-5, False, "sigmoid", False, True, 16),
    "tf": Variant("zeros", 1e-3, True, "tanh", True, False, 8),
}


@dataclass(frozen=True)
class Part:
    """A block, an upsampling or a head.

    Attributes:
        name: in the state dict, as in the published PyTorch checkpoints.
        kind: ``block``: for each kernel size two convolutions, the results side by side; ``up``: twice the size;
            ``head``: to three channels.
        inputs, outputs: channels; ``outputs`` of one kernel size.
        level: a head makes this level's output; anything else is needed for this level's output and for larger ones.
        size: of its output, as the level that has it.
        kernels: sizes.
        norm: an instance norm follows each convolution.
    """

    name: str
    kind: Literal["block", "up", "head"]
    inputs: int
    outputs: int
    level: int
    size: int
    kernels: tuple[int, ...] = (3,)
    norm: bool = False

    def serves(self, level: int) -> bool:
        """Whether the output of ``level`` depends on this part."""
        return level == self.level if self.kind == "head" else level <= self.level


def parts(variant: str) -> list[Part]:
    """Every part of a variant, in the order in which the TensorFlow network creates its variables."""
    kind = VARIANTS[variant]
    found: list[Part] = []

    def block(name: str, inputs: int, outputs: int, largest: int, norm: bool = True) -> None:
        kernels = tuple(range(3, largest + 1, 2))
        size = int(name[6])
        # The encoder makes features of all sizes on the way to the smallest.
        level = 5 if name.endswith("_d1") else size
        found.append(Part(name, "block", inputs, outputs, level, size, kernels, norm))

    def finish(level: int, channels: int) -> None:
        if level > 1:
            for letter in "ab":
                found.append(Part(f"conv_t{level - 1}{letter}", "up", channels, channels // 2, level - 1, level - 1))
        found.append(Part(f"conv_l{level}_out", "head", channels, 3, level, level))

    block("conv_l1_d1", 4, 32, 3, norm=False)
    block("conv_l2_d1", 32, 64, 3)
    block("conv_l3_d1", 64, 128, 3)
    block("conv_l4_d1", 128, 256, 3)

    block("conv_l5_d1", 256, 512, 3)
    for n in (2, 3, 4):
        block(f"conv_l5_d{n}", 512, 512, 3)
    finish(5, 512)

    block("conv_l4_d3", 512, 256, 3)
    for n in (4, 5, 6):
        block(f"conv_l4_d{n}", 256, 256, 3)
    block("conv_l4_d8", 512, 256, 3)
    finish(4, 256)

    for n in (3, 4, 5, 6):
        block(f"conv_l3_d{n}", 256, 128, 5)
    block("conv_l3_d8", 512, 128, 3)
    finish(3, 128)

    block("conv_l2_d3", 128, 64, 5)
    for n in (5, 6, 7, 8):
        block(f"conv_l2_d{n}", 192, 64, 7)
    block("conv_l2_d10", 256, 64, 5)
    block("conv_l2_d12", 192, 64, 3)
    finish(2, 64)

    block("conv_l1_d3", 64, 32, 5, norm=False)
    block("conv_l1_d5", 96, 32, 7, kind.fine_norm)
    block("conv_l1_d6", 96, 32, 9, kind.fine_norm)
    for n in (7, 8, 9):
        block(f"conv_l1_d{n}", 128, 32, 9, kind.fine_norm)
    block("conv_l1_d10", 128, 32, 7, kind.fine_norm)
    block("conv_l1_d12", 128, 32, 5, kind.fine_norm)
    block("conv_l1_d14", 128, 32, 3, norm=False)
    finish(1, 32)

    found.append(Part("conv_t0", "up", 32, kind.last, 0, 0))
    found.append(Part("conv_l0_d1", "head", kind.last, 3, 0, 0))
    return found


@dataclass(frozen=True)
class Stored:
    """One tensor: its name and shape in the state dict; convolution kernels have four axes."""

    name: str
    shape: tuple[int, ...]

    @property
    def tensorflow_shape(self) -> tuple[int, ...]:
        """Its shape in a TensorFlow checkpoint: both kinds of kernels have the axes reversed, in pairs."""
        return tuple(self.shape[axis] for axis in (2, 3, 1, 0)) if len(self.shape) == 4 else self.shape


def tensors(part: Part, variant: str) -> Iterator[Stored]:
    """The tensors of a part, in the order of :func:`parts`: kernel, bias, shift and scale of the norm."""
    if part.kind == "up" and VARIANTS[variant].transposed:
        yield Stored(f"{part.name}.conv2d.weight", (part.inputs, part.outputs, 3, 3))
        return
    if part.kind != "block":
        yield Stored(f"{part.name}.conv2d.weight", (part.outputs, part.inputs, 3, 3))
        yield Stored(f"{part.name}.conv2d.bias", (part.outputs,))
        return
    for kernel in part.kernels:
        for letter, inputs in (("a", part.inputs), ("b", part.outputs)):
            layer = f"{part.name}.conv_{kernel}{letter}"
            yield Stored(f"{layer}.conv2d.weight", (part.outputs, inputs, kernel, kernel))
            yield Stored(f"{layer}.conv2d.bias", (part.outputs,))
            if part.norm:
                yield Stored(f"{layer}.instance.bias", (part.outputs,))
                yield Stored(f"{layer}.instance.weight", (part.outputs,))


def multiplications(variant: str, level: int) -> float:
    """Multiplications of the convolutions for each packed pixel."""
    total = 0.0
    for part in parts(variant):
        if part.serves(level):
            # A transposed convolution multiplies each pixel of its input, which is the next smaller one.
            size = part.size + 1 if part.kind == "up" and VARIANTS[variant].transposed else part.size
            kernels = sum(math.prod(t.shape) for t in tensors(part, variant) if len(t.shape) == 4)
            total += kernels * 4.0 ** (1 - size)
    return total
