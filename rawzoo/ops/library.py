"""``torch.ops.rawzoo.*``: what autograd, torch.compile and torch.export see. Importing this registers them.

Each has the kernels of :func:`rawzoo.ops.dispatch.compute`, a fake that tells shape and dtype, and, where the op is
differentiable, its derivative made of these same ops, so that second derivatives exist too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, library

from rawzoo.errors import UsageError
from rawzoo.ops import reference, reference_mosaic
from rawzoo.ops.dispatch import OPS, compute, dtype_name, expected
from rawzoo.ops.levels import scales

_UNIT = (1.0, 1.0, 1.0)
#: The demosaic methods with a derivative.
LINEAR_METHODS = ("bilinear", "malvar", "superpixel")


@library.custom_op("rawzoo::pack", mutates_args=())
def pack(
    mosaic: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    return compute("pack", mosaic, (cfa, black, white, gains, dtype))


@library.custom_op("rawzoo::unpack", mutates_args=())
def unpack(
    planes: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    return compute("unpack", planes, (cfa, black, white, gains, dtype))


@library.custom_op("rawzoo::white_balance", mutates_args=())
def white_balance(
    mosaic: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], clip: float
) -> Tensor:
    return compute("white_balance", mosaic, (cfa, black, white, gains, clip))


@library.custom_op("rawzoo::pack_anscombe", mutates_args=())
def pack_anscombe(
    mosaic: Tensor,
    cfa: str,
    black: Sequence[float],
    white: Sequence[float],
    gains: Sequence[float],
    gain: Sequence[float],
    sigma: Sequence[float],
    offset: Sequence[float],
    dtype: str,
) -> Tensor:
    return compute("pack_anscombe", mosaic, (cfa, black, white, gains, gain, sigma, offset, dtype))


@library.custom_op("rawzoo::unpack_anscombe", mutates_args=())
def unpack_anscombe(
    planes: Tensor,
    cfa: str,
    black: Sequence[float],
    white: Sequence[float],
    gains: Sequence[float],
    gain: Sequence[float],
    sigma: Sequence[float],
    offset: Sequence[float],
    method: str,
    dtype: str,
) -> Tensor:
    return compute("unpack_anscombe", planes, (cfa, black, white, gains, gain, sigma, offset, method, dtype))


@library.custom_op("rawzoo::anscombe", mutates_args=())
def anscombe(x: Tensor, gain: Sequence[float], sigma: Sequence[float], offset: Sequence[float]) -> Tensor:
    return compute("anscombe", x, (gain, sigma, offset))


@library.custom_op("rawzoo::anscombe_map", mutates_args=())
def anscombe_map(x: Tensor, gain: Tensor, sigma: Tensor, offset: Tensor) -> Tensor:
    return compute("anscombe_map", x, (gain, sigma, offset))


@library.custom_op("rawzoo::inverse_anscombe", mutates_args=())
def inverse_anscombe(
    y: Tensor, gain: Sequence[float], sigma: Sequence[float], offset: Sequence[float], method: str
) -> Tensor:
    return compute("inverse_anscombe", y, (gain, sigma, offset, method))


@library.custom_op("rawzoo::inverse_anscombe_map", mutates_args=())
def inverse_anscombe_map(y: Tensor, gain: Tensor, sigma: Tensor, offset: Tensor, method: str) -> Tensor:
    return compute("inverse_anscombe_map", y, (gain, sigma, offset, method))


@library.custom_op("rawzoo::hot_pixels", mutates_args=())
def hot_pixels(
    mosaic: Tensor, cfa: str, gain: float, sigma: float, offset: float, threshold: float, dtype: str
) -> Tensor:
    return compute("hot_pixels", mosaic, (cfa, gain, sigma, offset, threshold, dtype))


@library.custom_op("rawzoo::bin_stats", mutates_args=())
def bin_stats(
    mosaic: Tensor,
    cfa: str,
    black: Sequence[float],
    white: Sequence[float],
    rows: int,
    columns: int,
    low: float,
    high: float,
) -> Tensor:
    return compute("bin_stats", mosaic, (cfa, black, white, rows, columns, low, high))


@library.custom_op("rawzoo::downscale_mosaic", mutates_args=())
def downscale_mosaic(mosaic: Tensor, cfa: str, factor: int, dtype: str) -> Tensor:
    return compute("downscale_mosaic", mosaic, (cfa, factor, dtype))


@library.custom_op("rawzoo::downscale_mosaic_adjoint", mutates_args=())
def downscale_mosaic_adjoint(gradient: Tensor, cfa: str, factor: int, height: int, width: int) -> Tensor:
    return reference_mosaic.downscale_mosaic_adjoint(gradient, cfa, factor, height, width)


@library.custom_op("rawzoo::demosaic", mutates_args=())
def demosaic(mosaic: Tensor, cfa: str, method: str, encode: str, dtype: str, layout: str) -> Tensor:
    return compute("demosaic", mosaic, (cfa, method, encode, dtype, layout))


@library.custom_op("rawzoo::develop", mutates_args=())
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
    dtype: str,
    encode: str,
) -> Tensor:
    return compute("develop", mosaic, (cfa, black, white, gains, clip, matrix, curve, method, dtype, encode))


@library.custom_op("rawzoo::render", mutates_args=())
def render(rgb: Tensor, matrix: Sequence[float], curve: Tensor | None, dtype: str) -> Tensor:
    return compute("render", rgb, (matrix, curve, dtype))


@library.custom_op("rawzoo::demosaic_adjoint", mutates_args=())
def demosaic_adjoint(gradient: Tensor, cfa: str, method: str) -> Tensor:
    return reference.demosaic_adjoint(gradient, cfa, method)


def _register_fake(name: str) -> None:
    def fake(x: Tensor, *args: Any) -> Tensor:
        shape, dtype = expected(OPS[name], tuple(x.shape), dtype_name(x.dtype), args)
        return x.new_empty(shape, dtype=getattr(torch, dtype))

    library.register_fake(f"rawzoo::{name}", fake)


for _name in OPS:
    _register_fake(_name)


@demosaic_adjoint.register_fake
def _(gradient: Tensor, cfa: str, method: str) -> Tensor:  # noqa: ARG001
    return gradient.new_empty(gradient.shape[1:])


@downscale_mosaic_adjoint.register_fake
def _(gradient: Tensor, cfa: str, factor: int, height: int, width: int) -> Tensor:  # noqa: ARG001
    return gradient.new_empty(height, width)


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


def _per_plane(values: Sequence[float], x: Tensor) -> float | Tensor:
    """One value, or one for each plane along the first axis of ``x``."""
    if len(values) == 1:
        return values[0]
    return torch.tensor(values, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.dim() - 1))


def _anscombe_slope(y: Tensor, gain: float | Tensor) -> Tensor:
    # y = 2 sqrt(v), v = x / gain + ..., so dy/dx = 2 / (gain y); 0 where v was below zero.
    positive = y > 0
    return torch.where(positive, 2 / (gain * torch.where(positive, y, 1.0)), 0.0)


def _inverse_slope(y: Tensor, gain: float | Tensor, method: str) -> Tensor:
    slope = 0.5 * y
    if method == "exact":
        c = math.sqrt(1.5)
        above = y > reference.EXACT_FLOOR
        d = torch.where(above, y, 1.0)
        slope = torch.where(above, slope - 0.25 * c / d**2 + 2.75 / d**3 - 1.875 * c / d**4, 0.0)
    return slope * gain


def _save_noise(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.gain = inputs[1]
    ctx.save_for_backward(output)


def _anscombe_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (y,) = ctx.saved_tensors
    return gradient * _anscombe_slope(y, _per_plane(ctx.gain, y)), None, None, None


def _save_inverse(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it
    y, ctx.gain, _, _, ctx.method = inputs
    ctx.save_for_backward(y)


def _inverse_anscombe_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (y,) = ctx.saved_tensors
    return gradient * _inverse_slope(y, _per_plane(ctx.gain, y), ctx.method), None, None, None, None


def _save_noise_map(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs, output)


def _anscombe_map_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    # v = (x - offset) / gain + 3/8 + (sigma / gain)^2 by each parameter, from dy/dx = (dy/dv) / gain.
    x, gain, sigma, offset, y = ctx.saved_tensors
    by_x = gradient * _anscombe_slope(y, gain)
    by_gain = -by_x * ((x - offset) / gain + 2 * (sigma / gain) ** 2)
    return by_x, by_gain, by_x * 2 * sigma / gain, -by_x


def _save_inverse_map(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it
    ctx.method = inputs[4]
    ctx.save_for_backward(*inputs[:3])


def _inverse_anscombe_map_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    y, gain, sigma = ctx.saved_tensors
    ratio = sigma / gain
    by_gain = gradient * (reference.inverse_square(y, ctx.method) + ratio**2)
    return gradient * _inverse_slope(y, gain, ctx.method), by_gain, gradient * -2 * ratio, gradient, None


def _plane_gain(cfa: str, gain: Sequence[float], x: Tensor) -> Tensor:
    values = reference.per_plane(cfa, gain)
    return torch.tensor(values, dtype=x.dtype, device=x.device)[:, None, None]


def _save_pack_anscombe(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _save_levels(ctx, inputs, output)
    ctx.gain = inputs[5]
    ctx.save_for_backward(output)


def _pack_anscombe_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (y,) = ctx.saved_tensors
    return *_pack_backward(ctx, gradient * _anscombe_slope(y, _plane_gain(ctx.cfa, ctx.gain, y))), None, None, None


def _save_unpack_anscombe(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _save_levels(ctx, inputs, output)
    ctx.gain, ctx.method = inputs[5], inputs[8]
    ctx.save_for_backward(inputs[0])


def _unpack_anscombe_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    (y,) = ctx.saved_tensors
    planes, *rest = _unpack_backward(ctx, gradient)
    assert planes is not None
    slope = _inverse_slope(y, _plane_gain(ctx.cfa, ctx.gain, y), ctx.method)
    return planes * slope, *rest, None, None, None, None


def _refuse_gradients(name: str) -> Callable[[Any, tuple[Any, ...], Tensor], None]:
    def refuse(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes them
        raise UsageError(f"{name} has no derivative; use torch.no_grad().")

    return refuse


def _no_backward(ctx: Any, gradient: Tensor) -> None:  # noqa: ARG001 - the set-up raises
    return None


def _save_downscale(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001 - torch passes it
    mosaic, ctx.cfa, ctx.factor, _ = inputs
    ctx.shape = mosaic.shape


def _downscale_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    return torch.ops.rawzoo.downscale_mosaic_adjoint(gradient, ctx.cfa, ctx.factor, *ctx.shape), None, None, None


def _save_downscale_adjoint(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    _, ctx.cfa, ctx.factor, _, _ = inputs


def _downscale_adjoint_backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    smaller = torch.ops.rawzoo.downscale_mosaic(gradient, ctx.cfa, ctx.factor, dtype_name(gradient.dtype))
    return smaller, None, None, None, None


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
anscombe_map.register_autograd(_anscombe_map_backward, setup_context=_save_noise_map)
inverse_anscombe_map.register_autograd(_inverse_anscombe_map_backward, setup_context=_save_inverse_map)
pack_anscombe.register_autograd(_pack_anscombe_backward, setup_context=_save_pack_anscombe)
unpack_anscombe.register_autograd(_unpack_anscombe_backward, setup_context=_save_unpack_anscombe)
downscale_mosaic.register_autograd(_downscale_backward, setup_context=_save_downscale)
downscale_mosaic_adjoint.register_autograd(_downscale_adjoint_backward, setup_context=_save_downscale_adjoint)
for _name, _op in (("hot_pixels", hot_pixels), ("bin_stats", bin_stats)):
    _op.register_autograd(_no_backward, setup_context=_refuse_gradients(_name))
demosaic.register_autograd(_demosaic_backward, setup_context=_save_demosaic)
demosaic_adjoint.register_autograd(_demosaic_adjoint_backward, setup_context=_save_adjoint)
