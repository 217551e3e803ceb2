"""The ops in plain torch: standard operators only, any device, exportable.

They are what the native kernels are tested against, what runs where no native module does, and what float64 input
takes. Arguments are those of :mod:`rawzoo.ops`, already checked, and all of them given.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

from rawzoo.ops import markesteijn, reference_bayer
from rawzoo.ops.levels import cells, planes
from rawzoo.ops.reference_mosaic import bin_stats, downscale_mosaic, hot_pixels
from rawzoo.raw import cfa as cfa_patterns

__all__ = ["bin_stats", "downscale_mosaic", "hot_pixels"]

_SQRT_3_2 = math.sqrt(1.5)
#: The least value of the Anscombe transform of pure Poisson data, where the closed-form inverse is zero.
EXACT_FLOOR = 2 * math.sqrt(3 / 8)


def _floating(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.to(torch.float32)


def _tiled(values: Sequence[float], period: int, x: Tensor) -> Tensor:
    """Values per cell of the CFA tile, at each position of mosaic ``x``."""
    return _at_cells(torch.tensor(values, dtype=x.dtype, device=x.device).reshape(period, period), x.shape[-2:])


def _at_cells(tile: Tensor, shape: Sequence[int], start: int = 0) -> Tensor:
    rows, columns = (torch.arange(start, start + n, device=tile.device) % tile.shape[0] for n in shape)
    return tile[rows[:, None], columns[None, :]]


def _round_to(x: Tensor, dtype: str) -> Tensor:
    """Nearest integer in the range of uint8 or uint16; NaN is 0. Other dtypes: a conversion."""
    if dtype not in ("uint8", "uint16"):
        return x.to(getattr(torch, dtype))
    largest = 255 if dtype == "uint8" else 65535
    return (x.clamp(0, largest).nan_to_num(0.0) + 0.5).to(torch.int32).to(getattr(torch, dtype))


def pack(
    mosaic: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    return _pack(mosaic, cfa, black, white, gains, dtype).to(getattr(torch, dtype))


def _pack(
    mosaic: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    level, period = cells(cfa, black, white, gains), cfa_patterns.period(cfa)
    x = mosaic.to(torch.float64) if dtype == "float64" else _floating(mosaic)
    cell = {
        plane: (x[i // period :: period, i % period :: period] - level.black[i]) * level.scale[i]
        for i, plane in enumerate(planes(cfa))
    }
    return torch.stack([cell[plane] for plane in range(period**2)])


def unpack(
    stack: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    return _unpack(_planes(stack, dtype), cfa, black, white, gains, dtype)


def _planes(stack: Tensor, dtype: str) -> Tensor:
    return stack.to(torch.float64) if dtype == "float64" else _floating(stack)


def _unpack(
    x: Tensor, cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float], dtype: str
) -> Tensor:
    level, period = cells(cfa, black, white, gains), cfa_patterns.period(cfa)
    cell = [x[plane] * (1.0 / level.scale[i]) + level.black[i] for i, plane in enumerate(planes(cfa))]
    rows = [torch.stack(cell[i : i + period], dim=-1).flatten(-2) for i in range(0, period**2, period)]
    return _round_to(torch.stack(rows, dim=1).flatten(0, 1), dtype)


def per_plane(cfa: str, values: Sequence[float]) -> list[float]:
    """Values per channel as values per plane of a pack."""
    channel, plane_of = cfa_patterns.channel_tile(cfa).ravel().tolist(), planes(cfa)
    return [values[channel[plane_of.index(plane)]] for plane in range(len(plane_of))]


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
    packed = _pack(mosaic, cfa, black, white, gains, dtype)
    return anscombe(packed, *(per_plane(cfa, values) for values in (gain, sigma, offset))).to(getattr(torch, dtype))


def unpack_anscombe(
    stack: Tensor,
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
    x = inverse_anscombe(_planes(stack, dtype), *(per_plane(cfa, values) for values in (gain, sigma, offset)), method)
    return _unpack(x, cfa, black, white, gains, dtype)


def white_balance(
    mosaic: Tensor,
    cfa: str,
    black: Sequence[float],
    white: Sequence[float],
    gains: Sequence[float],
    clip: float,
) -> Tensor:
    level, period = cells(cfa, black, white, gains), cfa_patterns.period(cfa)
    x = _floating(mosaic)
    balanced = (x - _tiled(level.black, period, x)) * _tiled(level.scale, period, x)
    return balanced if math.isinf(clip) else balanced.clamp(max=clip)


def anscombe(x: Tensor, gain: Sequence[float], sigma: Sequence[float], offset: Sequence[float]) -> Tensor:
    if len(gain) > 1:
        channels = zip(x, gain, sigma, offset, strict=True)
        return torch.stack([anscombe(plane, (g,), (s,), (o,)) for plane, g, s, o in channels])
    shift = 0.375 + (sigma[0] / gain[0]) ** 2
    return 2 * torch.sqrt(torch.clamp((x - offset[0]) * (1 / gain[0]) + shift, min=0))


def anscombe_map(x: Tensor, gain: Tensor, sigma: Tensor, offset: Tensor) -> Tensor:
    return 2 * torch.sqrt(torch.clamp((x - offset) * (1 / gain) + (0.375 + (sigma / gain) ** 2), min=0))


def inverse_square(y: Tensor, method: str) -> Tensor:
    """The inverse in photo-electrons, but for the Gaussian part."""
    if method == "exact":
        d = y.clamp(min=EXACT_FLOOR)
        return 0.25 * d * d + 0.25 * _SQRT_3_2 / d - 1.375 / d**2 + 0.625 * _SQRT_3_2 / d**3 - 0.125
    return 0.25 * y * y - (0.375 if method == "algebraic" else 0.125)


def inverse_anscombe(
    y: Tensor, gain: Sequence[float], sigma: Sequence[float], offset: Sequence[float], method: str
) -> Tensor:
    if len(gain) > 1:
        channels = zip(y, gain, sigma, offset, strict=True)
        return torch.stack([inverse_anscombe(plane, (g,), (s,), (o,), method) for plane, g, s, o in channels])
    return (inverse_square(y, method) - (sigma[0] / gain[0]) ** 2) * gain[0] + offset[0]


def inverse_anscombe_map(y: Tensor, gain: Tensor, sigma: Tensor, offset: Tensor, method: str) -> Tensor:
    return (inverse_square(y, method) - (sigma / gain) ** 2) * gain + offset


def _extend(n: int, period: int, radius: int, device: torch.device) -> Tensor:
    """Indices -radius ... n + radius - 1 into an axis of n samples, brought inside: mirrored without repeating the edge
    (Bayer), or by whole periods (X-Trans); both keep the phase."""
    i = torch.arange(-radius, n + radius, device=device)
    if period == 2:
        i = i.abs() % (2 * (n - 1))
        return torch.minimum(i, 2 * (n - 1) - i)
    i = torch.where(i < 0, i % period, i)
    return torch.where(i >= n, n - period + (i - n) % period, i)


def demosaic(
    mosaic: Tensor, cfa: str, method: str, encode: str = "none", dtype: str | None = None, layout: str = "planar"
) -> Tensor:
    x = _floating(mosaic)
    if encode == "sqrt":
        # By way of float64, for torch's own float32 root is not always the nearest.
        x = torch.copysign(x.abs().to(torch.float64).sqrt().to(x.dtype), x)
    rgb = _demosaic(x, cfa, method)
    if encode == "sqrt":
        rgb = rgb * rgb.abs()
    rgb = rgb.to(getattr(torch, dtype)) if dtype else rgb
    return rgb if layout == "planar" else rgb.permute(1, 2, 0).contiguous()


def _demosaic(x: Tensor, cfa: str, method: str) -> Tensor:
    if method in markesteijn.PASSES:
        rows, columns = (_extend(n, 6, markesteijn.reach(method), x.device) for n in x.shape)
        return markesteijn.demosaic(x[rows][:, columns], cfa, method)
    if cfa_patterns.period(cfa) == 6:
        return _demosaic_xtrans(x, cfa)
    if method == "superpixel":
        return _superpixel(x, cfa)
    h, w = x.shape
    if method in reference_bayer.METHODS:
        rows, columns = (_extend(n, 2, reference_bayer.RADIUS, x.device) for n in (h, w))
        return reference_bayer.demosaic(x[rows][:, columns], cfa, method)
    extended = x[_extend(h, 2, 2, x.device)][:, _extend(w, 2, 2, x.device)]

    def at(dy: int, dx: int) -> Tensor:
        return extended[2 + dy : 2 + dy + h, 2 + dx : 2 + dx + w]

    # Sums are paired so that equal samples cancel exactly; see csrc/kernels/formulas.h.
    row, column = at(0, -1) + at(0, 1), at(-1, 0) + at(1, 0)
    diagonal = (at(-1, -1) + at(-1, 1)) + (at(1, -1) + at(1, 1))
    if method == "malvar":
        row2, column2 = at(0, -2) + at(0, 2), at(-2, 0) + at(2, 0)
        laplacian = 4 * x - (column2 + row2)
        green = (laplacian + 2 * (column + row)) * 0.125
        opposite = (1.5 * laplacian + 2 * diagonal) * 0.125
        beside = (4 * row + ((4 * x - diagonal) + ((x - row2) + 0.5 * column2))) * 0.125
        above = (4 * column + ((4 * x - diagonal) + ((x - column2) + 0.5 * row2))) * 0.125
    else:
        green, opposite, beside, above = 0.25 * (column + row), 0.25 * diagonal, 0.5 * row, 0.5 * column

    channel = _at_cells(torch.as_tensor(cfa_patterns.channel_tile(cfa), device=x.device), x.shape)
    at_red, at_gr, at_gb, at_blue = (channel == i for i in range(4))
    red = torch.where(at_red, x, torch.where(at_gr, beside, torch.where(at_gb, above, opposite)))
    blue = torch.where(at_blue, x, torch.where(at_gb, beside, torch.where(at_gr, above, opposite)))
    return torch.stack([red, torch.where(at_red | at_blue, green, x), blue])


def _superpixel(x: Tensor, cfa: str) -> Tensor:
    h, w = x.shape[0] // 2 * 2, x.shape[1] // 2 * 2
    sites: list[list[Tensor]] = [[], [], []]
    for i, color in enumerate(cfa_patterns.color_tile(cfa).ravel().tolist()):
        sites[color].append(x[i // 2 : h : 2, i % 2 : w : 2])
    return torch.stack([sites[0][0], 0.5 * (sites[1][0] + sites[1][1]), sites[2][0]])


def superpixel_adjoint(gradient: Tensor, cfa: str, shape: Sequence[int]) -> Tensor:
    """The transpose of superpixel demosaicing: ``[3, H/2, W/2]`` to a mosaic of ``shape``."""
    cell = [gradient[c] * (0.5 if c == 1 else 1.0) for c in cfa_patterns.color_tile(cfa).ravel().tolist()]
    rows = [torch.stack(cell[i : i + 2], dim=-1).flatten(-2) for i in (0, 2)]
    mosaic = torch.stack(rows, dim=1).flatten(0, 1)
    return torch.nn.functional.pad(mosaic, (0, shape[1] % 2, 0, shape[0] % 2))


def _demosaic_xtrans(x: Tensor, cfa: str) -> Tensor:
    h, w = x.shape
    radius = 3
    extended = x[_extend(h, 6, radius, x.device)][:, _extend(w, 6, radius, x.device)]
    planes = []
    for color in range(3):
        taps = _xtrans_taps(cfa, color)
        base = torch.zeros_like(x)
        samples = {}
        for (dy, dx), _, is_base in taps:
            samples[dy, dx] = extended[radius + dy : radius + dy + h, radius + dx : radius + dx + w]
            base = torch.where(_tiled(is_base, 6, x) > 0, samples[dy, dx], base)
        mean = base
        for offset, weight, is_base in taps:
            # Not the base itself: of an infinite sample that would make NaN.
            weights = _tiled([0.0 if first else w for w, first in zip(weight, is_base, strict=True)], 6, x)
            mean = mean + torch.where(weights > 0, weights * (samples[offset] - base), torch.zeros_like(x))
        planes.append(mean)
    return torch.stack(planes)


@lru_cache(maxsize=16)
def _xtrans_taps(cfa: str, color: int) -> tuple[tuple[tuple[int, int], tuple[float, ...], tuple[float, ...]], ...]:
    """Offsets in reading order, each with its weight at the 36 cells and a 1 at the cells whose first tap it is."""
    colors = cfa_patterns.color_tile(cfa)
    weights: dict[tuple[int, int], list[float]] = {}
    first: dict[tuple[int, int], list[float]] = {}
    for cell in range(36):
        y, x = divmod(cell, 6)
        for r in range(4):
            span = range(-r, r + 1)
            window = [(dy, dx) for dy in span for dx in span if colors[(y + dy) % 6, (x + dx) % 6] == color]
            if window:
                break
        weight = [(r + 1 - abs(dy)) * (r + 1 - abs(dx)) for dy, dx in window]
        for i, offset in enumerate(window):
            weights.setdefault(offset, [0.0] * 36)[cell] = weight[i] / sum(weight)
            first.setdefault(offset, [0.0] * 36)[cell] = float(i == 0)
    return tuple((offset, tuple(weights[offset]), tuple(first[offset])) for offset in sorted(weights))


@lru_cache(maxsize=32)
def _impulse_responses(cfa: str, method: str) -> Tensor:
    """What an impulse at each cell of the tile contributes around it: float64 ``[P, P, 3, 2r + 1, 2r + 1]``."""
    period = cfa_patterns.period(cfa)
    radius = 2 if period == 2 else 3
    responses = torch.zeros(period, period, 3, 2 * radius + 1, 2 * radius + 1, dtype=torch.float64)
    for y in range(period):
        for x in range(period):
            impulse = torch.zeros(12 + period, 12 + period, dtype=torch.float64)
            impulse[6 + y, 6 + x] = 1  # whole tiles from the edges, beyond what their continuation repeats
            rows, columns = (slice(6 + i - radius, 6 + i + radius + 1) for i in (y, x))
            responses[y, x] = demosaic(impulse, cfa, method)[:, rows, columns]
    return responses


def demosaic_adjoint(gradient: Tensor, cfa: str, method: str) -> Tensor:
    """The transpose of :func:`demosaic`, which is linear: ``[3, H, W]`` to ``[H, W]``."""
    _, h, w = gradient.shape
    period = cfa_patterns.period(cfa)
    responses = _impulse_responses(cfa, method).to(gradient)
    radius = responses.shape[-1] // 2
    # Each sample of the extended mosaic collects what it contributed; then the extension folds back.
    padded = torch.nn.functional.pad(gradient, (2 * radius,) * 4)
    extended = gradient.new_zeros(h + 2 * radius, w + 2 * radius)
    for color in range(3):
        for dy in range(2 * radius + 1):
            for dx in range(2 * radius + 1):
                tile = responses[:, :, color, dy, dx]
                if tile.any():
                    window = padded[color, dy : dy + h + 2 * radius, dx : dx + w + 2 * radius]
                    extended += _at_cells(tile, extended.shape, start=-radius) * window
    rows, columns = (_extend(n, period, radius, gradient.device) for n in (h, w))
    folded = gradient.new_zeros(h, w + 2 * radius).index_add(0, rows, extended)
    return gradient.new_zeros(h, w).index_add(1, columns, folded)


def _tone(rgb: Tensor, matrix: Sequence[float], curve: Tensor | None, dtype: str) -> Tensor:
    m = [matrix[i : i + 3] for i in (0, 3, 6)]
    linear = torch.stack([(a * rgb[0] + b * rgb[1]) + c * rgb[2] for a, b, c in m], dim=-1)
    if dtype == "float32":
        return linear
    value = linear.clamp(0, 1).nan_to_num(0.0)
    if curve is not None:
        at = value * (len(curve) - 1)
        low = at.to(torch.int64).clamp(max=len(curve) - 2)
        value = curve[low] + (at - low) * (curve[low + 1] - curve[low])
    return _round_to(value * (255 if dtype == "uint8" else 65535), dtype)


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
    encode: str = "none",
) -> Tensor:
    balanced = white_balance(mosaic, cfa, black, white, gains, clip)
    return _tone(demosaic(balanced, cfa, method, encode), matrix, curve, dtype)


def render(rgb: Tensor, matrix: Sequence[float], curve: Tensor | None, dtype: str) -> Tensor:
    return _tone(rgb, matrix, curve, dtype)
