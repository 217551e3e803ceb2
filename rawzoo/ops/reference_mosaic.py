"""Mending, measuring and shrinking mosaics in plain torch; see csrc/kernels/mosaic_formulas.h."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from rawzoo.ops.levels import cells
from rawzoo.raw import cfa as cfa_patterns


def _at_cells(tile: Tensor, shape: Sequence[int]) -> Tensor:
    rows, columns = (torch.arange(n, device=tile.device) % tile.shape[0] for n in shape)
    return tile[rows[:, None], columns[None, :]]


def _continued(indices: Tensor, n: int, period: int) -> Tensor:
    """Indices beyond an axis of n samples brought inside, keeping the phase."""
    if period == 2:
        indices = indices.abs() % (2 * (n - 1))
        return torch.minimum(indices, 2 * (n - 1) - indices)
    indices = torch.where(indices < 0, indices % 6, indices)
    return torch.where(indices >= n, n - 6 + (indices - n) % 6, indices)


def _rounded(x: Tensor, dtype: str) -> Tensor:
    if dtype == "uint16":
        return (x.clamp(0, 65535).nan_to_num(0.0) + 0.5).to(torch.int32).to(torch.uint16)
    return x.to(getattr(torch, dtype))


def hot_pixels(
    mosaic: Tensor, cfa: str, gain: float, sigma: float, offset: float, threshold: float, dtype: str
) -> Tensor:
    period = cfa_patterns.period(cfa)
    x = mosaic.to(torch.float64 if mosaic.dtype == torch.float64 else torch.float32)
    colors = torch.as_tensor(cfa_patterns.color_tile(cfa), device=x.device)
    h, w = x.shape
    low, high = torch.full_like(x, math.inf), torch.full_like(x, -math.inf)
    total, count = torch.zeros_like(x), torch.zeros_like(x)
    rows, columns = (torch.arange(n, device=x.device) for n in (h, w))
    for dy in range(-2, 3):
        for dx in range(-2, 3):
            if (dy, dx) == (0, 0) or (period == 2 and (dy % 2 or dx % 2)):
                continue
            same = _at_cells(torch.roll(colors, (-dy, -dx), (0, 1)) == colors, (h, w))
            near = x[_continued(rows + dy, h, period)][:, _continued(columns + dx, w, period)]
            low = torch.where(same & (near < low), near, low)
            high = torch.where(same & (near > high), near, high)
            total = torch.where(same, total + near, total)
            count = count + same.to(x.dtype)

    def noise(level: Tensor) -> Tensor:
        return torch.sqrt(gain * (level - offset).clamp(min=0) + sigma * sigma)

    above, below, spread = x - high, low - x, high - low
    hot = ((above > spread) & (above > threshold * noise(high))) | ((below > spread) & (below > threshold * noise(low)))
    mean = ((total - low) - high) / (count - 2)
    return torch.where(hot & (count >= 3), _rounded(mean, dtype).to(mosaic.dtype), mosaic)


def bin_stats(
    mosaic: Tensor,
    cfa: str,
    black: Sequence[float],
    white: Sequence[float],
    grid_rows: int,
    grid_columns: int,
    low: float,
    high: float,
) -> Tensor:
    period, level = cfa_patterns.period(cfa), cells(cfa, black, white, (1.0, 1.0, 1.0))
    h, w = mosaic.shape

    def tiled(values: Sequence[float]) -> Tensor:
        tile = torch.tensor(values, dtype=torch.float32, device=mosaic.device).reshape(period, period)
        return _at_cells(tile, (h, w))

    x = (mosaic.to(torch.float32) - tiled(level.black)) * tiled(level.scale)
    channel = _at_cells(torch.as_tensor(cfa_patterns.channel_tile(cfa), device=x.device), (h, w))
    low_bound, high_bound = (torch.tensor(v, dtype=torch.float32, device=x.device) for v in (low, high))
    within = (x >= low_bound) & (x <= high_bound)
    bins = []
    for n, count in ((h, grid_rows), (w, grid_columns)):
        starts = torch.arange(count, device=x.device) * n // count
        bins.append(torch.searchsorted(starts, torch.arange(n, device=x.device), right=True) - 1)

    def binned(values: Tensor) -> Tensor:
        rows = values.new_zeros(grid_rows, w).index_add(0, bins[0], values)
        return rows.new_zeros(grid_rows, grid_columns).index_add(1, bins[1], rows)

    means, counts = [], []
    for c in range(len(cfa_patterns.channels(cfa))):
        chosen = within & (channel == c)
        n = binned(chosen.to(torch.float64))
        means.append(binned(torch.where(chosen, x, 0.0).to(torch.float64)) / n.clamp(min=1))
        counts.append(n)
    return torch.stack([torch.stack(means), torch.stack(counts)]).to(torch.float32)


def downscale_mosaic(mosaic: Tensor, cfa: str, factor: int, dtype: str) -> Tensor:
    x = mosaic.to(torch.float64 if mosaic.dtype == torch.float64 else torch.float32)
    size = [n // factor for n in x.shape]
    tile = torch.as_tensor(cfa_patterns.channel_tile(cfa), device=x.device)
    channel, of_output = _at_cells(tile, x.shape), _at_cells(tile, size)
    result = x.new_zeros(size)
    for c in range(len(cfa_patterns.channels(cfa))):
        summed = torch.where(channel == c, x, 0.0)
        reach, scale = _tent(cfa, c, factor)
        for axis in (0, 1):
            taps = _tent_taps(size[axis], x.shape[axis], factor, reach, cfa, axis, x)
            shape = [size[i] if i == axis else n for i, n in enumerate(summed.shape)]
            summed = sum((weight * summed.index_select(axis, at) for at, weight in taps), summed.new_zeros(shape))
        result = torch.where(of_output == c, summed * scale, result)
    return _rounded(result, dtype)


def downscale_mosaic_adjoint(gradient: Tensor, cfa: str, factor: int, height: int, width: int) -> Tensor:
    """The transpose of :func:`downscale_mosaic`, which is linear."""
    size = (height, width)
    tile = torch.as_tensor(cfa_patterns.channel_tile(cfa), device=gradient.device)
    channel, of_output = _at_cells(tile, size), _at_cells(tile, gradient.shape)
    result = gradient.new_zeros(size)
    for c in range(len(cfa_patterns.channels(cfa))):
        reach, scale = _tent(cfa, c, factor)
        spread = torch.where(of_output == c, gradient * scale, 0.0)
        for axis in (1, 0):
            taps = _tent_taps(gradient.shape[axis], size[axis], factor, reach, cfa, axis, gradient)
            wide = gradient.new_zeros([size[i] if i == axis else n for i, n in enumerate(spread.shape)])
            for at, weight in taps:
                wide = wide.index_add(axis, at, weight * spread)
            spread = wide
        result = torch.where(channel == c, spread, result)
    return result


def _tent(cfa: str, channel: int, factor: int) -> tuple[int, float]:
    """Half width of the tent for a channel, and the inverse of the sum of its weights."""
    tile, period = cfa_patterns.channel_tile(cfa) == channel, cfa_patterns.period(cfa)
    every_third = period == 6 and all((np.roll(tile, 3, axis) == tile).all() for axis in (0, 1))
    repeats = 3 if every_third else period
    reach = -(-factor // repeats) * repeats
    return reach, float(period**2 / (reach**2 * max(tile.sum(), 1)))


def _tent_taps(
    count: int, n: int, factor: int, reach: int, cfa: str, axis: int, like: Tensor
) -> Iterator[tuple[Tensor, Tensor]]:
    """Where along an axis of n samples ``count`` output samples look, and with what weights: one tap after another."""
    twice_place = (2 * torch.arange(count, device=like.device) + 1) * factor - 1
    first = torch.div(twice_place, 2, rounding_mode="floor") - reach + 1
    for k in range(2 * reach):
        at = first + k
        weight = (1 - (2 * at - twice_place).abs().to(like.dtype) / (2 * reach)).clamp(min=0)
        yield _continued(at, n, cfa_patterns.period(cfa)), weight[:, None] if axis == 0 else weight[None, :]
