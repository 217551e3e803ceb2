"""``torch.ops.rawzoo.*``: what autograd, torch.compile and torch.export see. Importing this registers them.

Each has the kernels of :func:`rawzoo.ops.dispatch.compute`, a fake that tells shape and dtype, and, where the op is
differentiable, its derivative made of these same ops, so that second derivatives exist too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from rawzoo.errors import UsageError
from rawzoo.ops import reference
from rawzoo.ops.dispatch import OPS, compute, dtype_name, expected
from rawzoo.ops.levels import scales

_UNIT = (1.0, 1.0, 1.0)
#: The demosaic methods with a derivative.
LINEAR_METHODS = ("bilinear", "malvar", "superpixel")


@torch.library.custom_op("rawzoo::pack", mutates_args=())
def pack(
    mosaic: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    return compute("pack", mosaic, (cfa, black, white, gains, dtype))


@torch.library.custom_op("rawzoo::unpack", mutates_args=())
def unpack(
    planes: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    return compute("unpack", planes, (cfa, black, white, gains, dtype))


@torch.library.custom_op("rawzoo::white_balance", mutates_args=())
def white_balance(
    mosaic: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], clip: float
) -> Tensor:
    return compute("white_balance", mosaic, (cfa, black, white, gains, clip))


@torch.library.custom_op("rawzoo::anscombe", mutates_args=())
def anscombe(x: Tensor, gain: float, sigma: float, offset: float) -> Tensor:
    return compute("anscombe", x, (gain, sigma, offset))


@torch.library.custom_op("rawzoo::inverse_anscombe", mutates_args=())
def inverse_anscombe(y: Tensor, gain: float, sigma: float, offset: float, method: str) -> Tensor:
    return compute("inverse_anscombe", y, (gain, sigma, offset, method))


@torch.library.custom_op("rawzoo::demosaic", mutates_args=())
def demosaic(mosaic: Tensor, cfa: str, method: str, encode: str, dtype: str, layout: str) -> Tensor:
    return compute("demosaic", mosaic, (cfa, method, encode, dtype, layout))


@torch.library.custom_op("rawzoo::develop", mutates_args=())
def develop(
    mosaic: Tensor,
    cfa: str,
    black: Sequence[float],
    white: Sequence[float],
    gains: Sequence[float],
    clip: float,
    matrix: Sequence[float],
    curve: Tensor | None,
    method: str,
    encode: str,
    dtype: str,
) -> Tensor:
    return compute("develop", mosaic, (cfa, black, white, gains, clip, matrix, curve, method, encode, dtype))


@torch.library.custom_op("rawzoo::render", mutates_args=())
def render(rgb: Tensor, matrix: Sequence[float], curve: Tensor | None, dtype: str) -> Tensor:
    return compute("render", rgb, (matrix, curve, dtype))


@torch.library.custom_op("rawzoo::demosaic_adjoint", mutates_args=())
def demosaic_adjoint(gradient: Tensor, cfa: str, method: str) -> Tensor:
    return reference.demosaic_adjoint(gradient, cfa, method)


def _register_fake(name: str) -> None:
    def fake(x: Tensor, *args: Any) -> Tensor:
        shape, dtype = expected(OPS[name], tuple(x.shape), dtype_name(x.dtype), args)
        return x.new_empty(shape, dtype=getattr(torch, dtype))

    torch.library.register_fake(f"rawzoo::{name}", fake)


for _name in OPS:
    _register_fake(_name)


@demosaic_adjoint.register_fake
def _(gradient: Tensor, cfa: str, method: str) -> Tensor:  # noqa: ARG001
    return gradient.new_empty(gradient.shape[1:])


def _save_levels(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it
    x, ctx.cfa, black, white, gains = inputs[:5]
    ctx.zero = (0.0,) * len(black)
    ctx.scale = scales(ctx.cfa, black, white, gains)
    ctx.dtype = dtype_name(x.dtype)


# Packing multiplies by scale = gain / (white - black); unpacking divides by it, and is thereby the adjoint of packing
# with the inverse scale, and the other way round.
def _pack_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    mosaic = torch.ops.rawzoo.unpack(gradient, ctx.cfa, ctx.zero, ctx.scale, _UNIT, ctx.dtype)
    return mosaic, None, None, None, None, None


def _unpack_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    planes = torch.ops.rawzoo.pack(gradient, ctx.cfa, ctx.zero, ctx.scale, _UNIT, ctx.dtype)
    return planes, None, None, None, None, None


def _save_white_balance(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _save_levels(ctx, inputs, output)
    ctx.clip = inputs[5]
    ctx.save_for_backward(output)


def _white_balance_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (balanced,) = ctx.saved_tensors
    inverse = tuple(1 / scale for scale in ctx.scale)
    scaled = torch.ops.rawzoo.white_balance(gradient, ctx.cfa, ctx.zero, inverse, _UNIT, math.inf)
    return torch.where(balanced < ctx.clip, scaled, 0.0), None, None, None, None, None


def _save_noise(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.gain = inputs[1]
    ctx.save_for_backward(output)


def _anscombe_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    # y = 2 sqrt(v), v = x / gain + ..., so dy/dx = 2 / (gain y); 0 where v was below zero.
    (y,) = ctx.saved_tensors
    positive = y > 0
    slope = torch.where(positive, 2 / (ctx.gain * torch.where(positive, y, 1.0)), 0.0)
    return gradient * slope, None, None, None


def _save_inverse(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it
    y, ctx.gain, _, _, ctx.method = inputs
    ctx.save_for_backward(y)


def _inverse_anscombe_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (y,) = ctx.saved_tensors
    slope = 0.5 * y
    if ctx.method == "exact":
        c = math.sqrt(1.5)
        above = y > reference.EXACT_FLOOR
        d = torch.where(above, y, 1.0)
        slope = torch.where(above, slope - 0.25 * c / d**2 + 2.75 / d**3 - 1.875 * c / d**4, 0.0)
    return gradient * slope * ctx.gain, None, None, None, None


def _save_demosaic(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it
    mosaic, ctx.cfa, ctx.method, encode, _, ctx.layout = inputs
    ctx.shape, ctx.dtype = tuple(mosaic.shape), mosaic.dtype
    if ctx.method not in LINEAR_METHODS or encode != "none":
        raise UsageError(
            f"demosaic has no derivative for method {ctx.method} with encode {encode}; use {', '.join(LINEAR_METHODS)} "
            "with encode none, or torch.no_grad()."
        )


def _demosaic_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    planes = gradient.permute(2, 0, 1) if ctx.layout == "interleaved" else gradient
    planes = planes.to(ctx.dtype)
    if ctx.method == "superpixel":
        mosaic = reference.superpixel_adjoint(planes, ctx.cfa, ctx.shape)
    else:
        mosaic = torch.ops.rawzoo.demosaic_adjoint(planes, ctx.cfa, ctx.method)
    return mosaic, None, None, None, None, None


def _save_adjoint(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it
    _, ctx.cfa, ctx.method = inputs


def _demosaic_adjoint_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    dtype = dtype_name(gradient.dtype)
    return torch.ops.rawzoo.demosaic(gradient, ctx.cfa, ctx.method, "none", dtype, "planar"), None, None


pack.register_autograd(_pack_backward, setup_context=_save_levels)
unpack.register_autograd(_unpack_backward, setup_context=_save_levels)
white_balance.register_autograd(_white_balance_backward, setup_context=_save_white_balance)
anscombe.register_autograd(_anscombe_backward, setup_context=_save_noise)
inverse_anscombe.register_autograd(_inverse_anscombe_backward, setup_context=_save_inverse)
demosaic.register_autograd(_demosaic_backward, setup_context=_save_demosaic)
demosaic_adjoint.register_autograd(_demosaic_adjoint_backward, setup_context=_save_adjoint)
