"""PyNET: packed raw planes to a picture, from coarse to fine over five sizes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn import functional

from rawzoo.errors import UsageError
from rawzoo_pynet.layers import Window, make
from rawzoo_pynet.topology import LEVELS, VARIANTS, parts

#: Sides of the input must be multiples of this: four poolings.
PERIOD = 16
#: Least side of the input: mirroring by one pixel at a sixteenth of the size takes two.
SMALLEST = 32


class PyNet(nn.Module):
    """The network of one level (Ignatov, Van Gool, Timofte, arXiv 2002.05509).

    Level 5 works at a sixteenth of the size of the packed planes; each level below doubles the picture and refines it,
    down to level 0 with the full size of the mosaic. The network of a level has the parts that its output depends on,
    by the names of the published PyTorch checkpoints.

    Args:
        variant: ``torch`` or ``tf``: which of the two published networks (:data:`rawzoo_pynet.topology.VARIANTS`).
        level: 5 to 0.
    """

    def __init__(self, variant: str, level: int) -> None:
        super().__init__()
        if variant not in VARIANTS or level not in LEVELS:
            raise UsageError(f"PyNET has variants {', '.join(VARIANTS)} and levels 0 to 5, not {variant!r}, {level!r}.")
        self.variant = variant
        self.level = level
        for part in parts(variant):
            if part.serves(level):
                self.add_module(part.name, make(part, VARIANTS[variant]))

    if TYPE_CHECKING:  # the parts, by their names

        def __getattr__(self, name: str) -> Callable[..., Tensor]: ...  # type: ignore[override]

    def forward(self, x: Tensor, window: Window | None = None) -> Tensor:
        """A picture, or a tile of it.

        Args:
            x: ``[N, 4, H, W]``, H and W multiples of 16 and at least 32; planes B, G of the red rows, R, G of the blue
                rows; 10-bit raw values over 1020, black (about 64) not taken away.
            window: where a tile lies in its picture; upsampling depends on it.

        Returns:
            ``[N, 3, 2H / 2^level, 2W / 2^level]`` sRGB. Variant ``torch``: 0..1; ``tf``: -0.08..1.08.

        Raises:
            UsageError: another size.
        """
        height, width = x.shape[2:]
        if height % PERIOD or width % PERIOD or min(height, width) < SMALLEST:
            raise UsageError(
                f"PyNET takes planes whose sides are multiples of {PERIOD} and at least {SMALLEST}, "
                f"not {height} x {width}."
            )
        deep = VARIANTS[self.variant].deep_residuals

        def at(stride: int) -> Window | None:
            return window and Window(*(edge // stride for edge in window))

        # Names as in the published networks: e1 to e4 are the encoder's features, x is what the next part takes. A
        # tensor is let go as soon as nothing needs it: at the full size each is a large part of all memory.
        e1 = self.conv_l1_d1(x)
        e2 = self.conv_l2_d1(functional.max_pool2d(e1, 2))
        e3 = self.conv_l3_d1(functional.max_pool2d(e2, 2))
        e4 = self.conv_l4_d1(functional.max_pool2d(e3, 2))

        x = self.conv_l5_d1(functional.max_pool2d(e4, 2))
        x = self.conv_l5_d2(x, residual=deep)
        x = self.conv_l5_d3(x, residual=deep)
        x = self.conv_l5_d4(x)
        if self.level == 5:
            return self.conv_l5_out(x)

        coarse = x
        x = self.conv_l4_d3(e4, self.conv_t4a(coarse, at(16)))
        del e4
        x = self.conv_l4_d4(x, residual=True)
        x = self.conv_l4_d5(x, residual=True)
        x = self.conv_l4_d6(x)
        x = self.conv_l4_d8(x, self.conv_t4b(coarse, at(16)))
        if self.level == 4:
            return self.conv_l4_out(x)

        coarse = x
        x = self.conv_l3_d3(e3, self.conv_t3a(coarse, at(8)), residual=True)
        x = self.conv_l3_d4(x, residual=True)
        x = self.conv_l3_d5(x, residual=True)
        x = self.conv_l3_d6(x)
        x = self.conv_l3_d8(x, e3, self.conv_t3b(coarse, at(8)))
        del e3
        if self.level == 3:
            return self.conv_l3_out(x)

        coarse = x
        x = self.conv_l2_d3(e2, self.conv_t2a(coarse, at(4)))
        x = self.conv_l2_d5(x, e2, residual=True)
        x = self.conv_l2_d6(x, residual=True)
        x = self.conv_l2_d7(x, residual=True)
        x = self.conv_l2_d8(x)
        x = self.conv_l2_d10(x, e2)
        del e2
        x = self.conv_l2_d12(x, self.conv_t2b(coarse, at(4)))
        if self.level == 2:
            return self.conv_l2_out(x)

        coarse = x
        x = self.conv_l1_d3(e1, self.conv_t1a(coarse, at(2)))
        x = self.conv_l1_d5(x, e1)
        x = self.conv_l1_d6(x)
        x = self.conv_l1_d7(x, residual=True)
        x = self.conv_l1_d8(x, residual=True)
        x = self.conv_l1_d9(x, residual=True)
        x = self.conv_l1_d10(x)
        x = self.conv_l1_d12(x, e1)
        x = self.conv_l1_d14(x, self.conv_t1b(coarse, at(2)), e1)
        del e1, coarse
        if self.level == 1:
            return self.conv_l1_out(x)
        return self.conv_l0_d1(self.conv_t0(x, at(1)))
