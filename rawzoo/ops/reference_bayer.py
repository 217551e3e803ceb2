"""The edge-directed Bayer methods in plain torch: the arithmetic of csrc/kernels/bayer_formulas.h in the same order."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from rawzoo.raw import cfa as cfa_patterns

#: More than any method looks around; even, so that the phase stays.
RADIUS = 12

Sums = Callable[[Tensor, int], Tensor]


def _at(x: Tensor, dy: int, dx: int) -> Tensor:
    """At each site the sample (dy, dx) away; what wraps around ends in the margin that is cut off."""
    return torch.roll(x, (-dy, -dx), (-2, -1))


def _h(x: Tensor, n: int) -> Tensor:
    return _at(x, 0, -n) + _at(x, 0, n)


def _v(x: Tensor, n: int) -> Tensor:
    return _at(x, -n, 0) + _at(x, n, 0)


def _corners(x: Tensor) -> Tensor:
    return (_at(x, -1, -1) + _at(x, -1, 1)) + (_at(x, 1, -1) + _at(x, 1, 1))


def _blend(w: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return b + w * (a - b)


def _along(green: Tensor, colors: Tensor, greens: Tensor) -> Tensor:
    return 0.5 * colors + 0.5 * (2 * green - greens)


def _hamilton_adams(m: Tensor, sums: Sums) -> Tensor:
    return 0.5 * sums(m, 1) + 0.25 * (2 * m - sums(m, 2))


# Each takes the extended mosaic and the mask of green sites, and gives, over all sites: green, the colour of the row
# (red in rows that hold red), and the opposite colour.
Planes = tuple[Tensor, Tensor, Tensor]


def hamilton_adams(m: Tensor, at_green: Tensor) -> Planes:
    h = (_at(m, 0, -1) - _at(m, 0, 1)).abs() + (2 * m - _h(m, 2)).abs()
    v = (_at(m, -1, 0) - _at(m, 1, 0)).abs() + (2 * m - _v(m, 2)).abs()
    w = v / ((h + v) + 1e-20)
    green = torch.where(at_green, m, _blend(w, _hamilton_adams(m, _h), _hamilton_adams(m, _v)))
    opposite = 0.25 * _corners(m) + (green - 0.25 * _corners(green))
    row, column = _along(m, _h(m, 1), _h(green, 1)), _along(m, _v(m, 1), _v(green, 1))
    return green, torch.where(at_green, row, m), torch.where(at_green, column, opposite)


def gbtf(m: Tensor, at_green: Tensor) -> Planes:
    def changes(sums: Sums, dy: int, dx: int) -> Tensor:
        difference = sums(m, 2) + 2 * (m - sums(m, 1))
        change = (_at(difference, -dy, -dx) - _at(difference, dy, dx)).abs()
        for around in (_h, _v):
            change = (around(change, 2) + change) + around(change, 1)
        return change * change + 1e-8

    def candidate(sums: Sums) -> Tensor:
        near = sums(m, 1)
        return (0.5 * near + 0.0625 * (sums(m, 3) - near)) + 0.25 * (2 * m - sums(m, 2))

    h, v = changes(_h, 0, 1), changes(_v, 1, 0)
    w = v / (h + v)
    green = torch.where(at_green, m, _blend(w, candidate(_h), candidate(_v)))
    difference = green - m
    n3, s3 = _at(difference, -3, 0), _at(difference, 3, 0)
    far = (_h(_at(difference, -1, 0), 3) + _h(_at(difference, 1, 0), 3)) + (_h(n3, 1) + _h(s3, 1))
    opposite = 0.25 * _corners(m) + ((green - 0.25 * _corners(green)) - 0.03125 * (2 * _corners(difference) - far))
    own, other = _directed(m, green, opposite, lambda h, v: _blend(w, h, v))
    return green, torch.where(at_green, own, m), torch.where(at_green, other, opposite)


def _directed(
    m: Tensor, green: Tensor, opposite: Tensor, choose: Callable[[Tensor, Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Both colours at green sites, from estimates along the row and along the column."""
    greens_h, greens_v = _h(green, 1), _v(green, 1)
    own = choose(_along(m, _h(m, 1), greens_h), _along(m, _v(opposite, 1), greens_v))
    other = choose(_along(m, _h(opposite, 1), greens_h), _along(m, _v(m, 1), greens_v))
    return own, other


def menon(m: Tensor, at_green: Tensor) -> Planes:
    green_h, green_v = _hamilton_adams(m, _h), _hamilton_adams(m, _v)
    change_h = ((m - green_h) - _at(m - green_h, 0, 2)).abs()
    change_v = ((m - green_v) - _at(m - green_v, 2, 0)).abs()

    def pair(x: Tensor, dy: int, dx: int, step_y: int, step_x: int) -> Tensor:
        return _at(x, dy, dx) + _at(x, dy + step_y, dx + step_x)

    score_h = ((pair(change_h, -2, -2, 0, 2) + pair(change_h, 2, -2, 0, 2)) + 3 * pair(change_h, 0, -2, 0, 2)) + (
        _at(change_h, -1, -1) + _at(change_h, 1, -1)
    )
    score_v = ((pair(change_v, -2, -2, 0, 4) + pair(change_v, 0, -2, 0, 4)) + 3 * pair(change_v, -2, 0, 2, 0)) + (
        _at(change_v, -1, -1) + _at(change_v, -1, 1)
    )
    rows = score_v >= score_h

    def colors(green: Tensor) -> tuple[Tensor, Tensor]:
        return _along(m, _h(m, 1), _h(green, 1)), _along(m, _v(m, 1), _v(green, 1))

    green = torch.where(rows, green_h, green_v)
    row, column = colors(green)
    opposite = torch.where(rows, _along(m, _h(column, 1), _h(row, 1)), _along(m, _v(row, 1), _v(column, 1)))
    beside = torch.where(rows, _h(row - m, 1), _v(column - m, 1))
    green = green + (2 * (m - green) - beside) / 3
    row, column = colors(green)
    beside = torch.where(rows, _h(column - row, 1), _v(row - column, 1))
    opposite = opposite + (beside - 2 * (opposite - m)) / 3
    return torch.where(at_green, m, green), torch.where(at_green, row, m), torch.where(at_green, column, opposite)


_EPSILON = 1e-5
_NORTH, _SOUTH, _WEST, _EAST = (-1, 0), (1, 0), (0, -1), (0, 1)


def _share(first: Tensor, second: Tensor) -> Tensor:
    first, second = first.clamp(min=1e-10), second.clamp(min=1e-10)
    share = first / (first + second)
    mean = 0.25 * _corners(share)
    return torch.where((0.5 - share).abs() < (0.5 - mean).abs(), mean, share)


def rcd(m: Tensor, at_green: Tensor) -> Planes:
    def go(x: Tensor, direction: tuple[int, int], n: int) -> Tensor:
        return _at(x, n * direction[0], n * direction[1])

    def energy(direction: tuple[int, int]) -> Tensor:
        back = (-direction[0], -direction[1])
        near, far, third = (go(m, direction, n) + go(m, back, n) for n in (1, 2, 3))
        high = (third - 3 * far - near) + 6 * m
        square = high * high
        return square + (go(square, direction, 1) + go(square, back, 1))

    share = _share(energy(_NORTH), energy(_WEST))
    low = 0.0625 * (_corners(m) + 2 * (_v(m, 1) + _h(m, 1))) + 0.25 * m

    def green_along(one: tuple[int, int], two: tuple[int, int]) -> Tensor:
        def gradient(d: tuple[int, int], back: tuple[int, int]) -> Tensor:
            c1, c2, c3, c4 = (go(m, d, n) for n in (1, 2, 3, 4))
            return _EPSILON + (((c1 - go(m, back, 1)).abs() + (m - c2).abs()) + ((c1 - c3).abs() + (c2 - c4).abs()))

        def estimate(d: tuple[int, int]) -> Tensor:
            low2 = go(low, d, 2)
            return go(m, d, 1) * (1 + (low - low2) / (_EPSILON + (low.abs() + low2.abs())))

        first, second = gradient(one, two), gradient(two, one)
        return _blend(second / (first + second), estimate(one), estimate(two))

    green = _blend(share, green_along(_WEST, _EAST), green_along(_NORTH, _SOUTH))
    green = torch.where(at_green, m, green)

    def color_along(color: Tensor, one: tuple[int, int], two: tuple[int, int]) -> Tensor:
        def gradient(d: tuple[int, int], back: tuple[int, int]) -> Tensor:
            c1 = go(color, d, 1)
            return _EPSILON + (
                ((c1 - go(color, back, 1)).abs() + (c1 - go(color, d, 3)).abs()) + (green - go(green, d, 2)).abs()
            )

        first, second = gradient(one, two), gradient(two, one)
        w = second / (first + second)
        return _blend(w, go(color, one, 1), go(color, two, 1)) + (
            green - _blend(w, go(green, one, 1), go(green, two, 1))
        )

    nw, ne, sw, se = (-1, -1), (-1, 1), (1, -1), (1, 1)
    opposite = _blend(_share(energy(nw), energy(ne)), color_along(m, ne, sw), color_along(m, nw, se))
    own = _blend(share, color_along(m, _WEST, _EAST), color_along(opposite, _NORTH, _SOUTH))
    other = _blend(share, color_along(opposite, _WEST, _EAST), color_along(m, _NORTH, _SOUTH))
    return green, torch.where(at_green, own, m), torch.where(at_green, other, opposite)


METHODS: dict[str, Callable[[Tensor, Tensor], Planes]] = {
    "hamilton-adams": hamilton_adams,
    "menon": menon,
    "rcd": rcd,
    "gbtf": gbtf,
}


def demosaic(extended: Tensor, cfa: str, method: str) -> Tensor:
    """A mosaic continued by RADIUS to planes ``[3, H, W]``; see :func:`rawzoo.ops.demosaic`."""
    colors = torch.as_tensor(cfa_patterns.color_tile(cfa), device=extended.device)
    height, width = extended.shape
    y, x = (torch.arange(n, device=extended.device) % 2 for n in (height, width))
    at_green = (colors == 1)[y[:, None], x[None, :]]
    red_row = (colors == 0).any(dim=1)[y][:, None]
    green, own, other = METHODS[method](extended, at_green)
    planes = torch.stack([torch.where(red_row, own, other), green, torch.where(red_row, other, own)])
    return planes[:, RADIUS:-RADIUS, RADIUS:-RADIUS]
