"""Edge-directed X-Trans demosaicing in plain torch; see csrc/kernels/xtrans_formulas.h for the arithmetic.

Every 3x3 of the X-Trans tile is the same but for red and blue: a solitary green, at (0, 0) here, four sites of red or
blue beside it, and a 2x2 block of greens. So a site has coordinates -1, 0, 1 in either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from rawzoo.raw import cfa as cfa_patterns

PASSES = {"markesteijn-1": 1, "markesteijn": 3}

Offset = tuple[int, int]
_HORIZONTAL, _VERTICAL, _FALLING, _RISING = range(4)
_STEPS: tuple[Offset, ...] = ((0, 1), (1, 0), (1, 1), (1, -1))


def reach(method: str) -> int:
    """Rows and columns that a pixel depends on, in each direction."""
    return 10 + 9 * (PASSES[method] - 1)


def demosaic(extended: Tensor, cfa: str, method: str) -> Tensor:
    """Mosaic that is continued by :func:`reach` on every side, ``[H + 2 reach, W + 2 reach]``, to ``[3, H, W]``."""
    margin = reach(method)
    sites = _Sites(cfa, extended, margin)
    green = sites.first_green()
    for i in range(PASSES[method]):
        if i:
            green = sites.green_again(green, merged)
        merged = sites.merge([sites.image(green[d], d) for d in range(4)])
    return merged[:, margin:-margin, margin:-margin]


def _at(x: Tensor, offset: Offset, times: int = 1) -> Tensor:
    """``x`` seen from ``times * offset`` away; wraps around, within the margin."""
    return torch.roll(x, (-times * offset[0], -times * offset[1]), (-2, -1))


def _middle(a: Tensor, b: Tensor) -> Tensor:
    return 0.5 * (a + b)


def _pair(x: Tensor, one: Offset, other: Offset, share: float) -> Tensor:
    a = _at(x, one)
    return a + (_at(x, other) - a) * share


def _direction(offset: Offset) -> int:
    dy, dx = offset
    return _HORIZONTAL if dy == 0 else _VERTICAL if dx == 0 else _FALLING if dy * dx > 0 else _RISING


class _Sites:
    """A mosaic, and which of its sites are what."""

    def __init__(self, cfa: str, extended: Tensor, margin: int) -> None:
        row, column = (2 - i for i in cfa_patterns.xtrans_phase(cfa))  # of a solitary green
        self.x = extended
        rows, columns = (torch.arange(-margin, n - margin, device=extended.device) for n in extended.shape)
        colors = torch.as_tensor(cfa_patterns.color_tile(cfa), device=extended.device)
        self.color = colors[(rows % 6)[:, None], (columns % 6)[None, :]]
        self.in_y = ((rows - row + 1) % 3 - 1)[:, None]
        self.in_x = ((columns - column + 1) % 3 - 1)[None, :]

    def _at_coordinates(self, dy: int, dx: int) -> Tensor:
        return (self.in_y == dy) & (self.in_x == dx)

    def _axes(self) -> Iterator[tuple[Tensor, Callable[[int, int], Offset]]]:
        """The four kinds of red and blue sites: where they are, and offsets by steps along the axis that leads to the
        solitary green (positive: towards it) and across."""
        for k in (-1, 1):
            yield self._at_coordinates(k, 0), lambda along, across, k=k: (-k * along, across)  # type: ignore[misc]
            yield self._at_coordinates(0, k), lambda along, across, k=k: (across, -k * along)  # type: ignore[misc]

    def _bounds(self, step: Callable[[int, int], Offset]) -> tuple[Tensor, Tensor]:
        hexagon = [step(0, -1), step(0, 1), step(1, 0), step(-2, 0), step(-1, -1), step(-1, 1)]
        around = torch.stack([_at(self.x, offset) for offset in hexagon])
        return around.amin(0), around.amax(0)

    def first_green(self) -> Tensor:
        """Green of the four images, ``[4, H, W]``: Markesteijn's weights."""
        x = self.x
        green = x.expand(4, *x.shape).clone()
        for mask, step in self._axes():
            low, high = self._bounds(step)

            def sample(along: int, across: int, step: Callable[[int, int], Offset] = step) -> Tensor:
                return _at(x, step(along, across))

            left, right = sample(0, -1), sample(0, 1)
            estimates = {
                _direction(step(0, 1)): _middle(left, right)
                + (46 / 256) * ((left - sample(0, -2)) + (right - sample(0, 2))),
                _direction(step(1, 0)): sample(1, 0)
                + ((33 / 256) * (sample(-2, 0) - sample(1, 0)) + (92 / 256) * (x - sample(2, 0))),
            }
            for side in (-1, 1):
                near = sample(-1, side)
                own = (x - sample(-3, 3 * side)) + (x - sample(3, -3 * side))
                estimates[_direction(step(-1, side))] = near + (
                    (92 / 256) * (sample(2, -2 * side) - near) + (33 / 256) * own
                )
            for direction, estimate in estimates.items():
                bounded = torch.minimum(torch.maximum(estimate, low), high)
                green[direction] = torch.where(mask, bounded, green[direction])
        return green

    def green_again(self, green: Tensor, merged: Tensor) -> Tensor:
        """Green from the colour differences of the picture so far, in each direction, and some of the way there."""
        again = green.clone()
        for mask, step in self._axes():
            low, high = self._bounds(step)
            pairs = [
                (step(0, -1), step(0, 1), 1 / 2),
                (step(1, 0), step(-2, 0), 1 / 3),
                (step(-1, -1), step(2, 2), 1 / 3),
                (step(-1, 1), step(2, -2), 1 / 3),
            ]
            for one, other, share in pairs:
                red, mean, blue = _pair(merged, one, other, share)
                estimate = mean + (self.x - torch.where(self.color == 0, red, blue))
                bounded = torch.minimum(torch.maximum(estimate, low), high)
                old = green[_direction(one)]
                again[_direction(one)] = torch.where(mask, old + 0.25 * (bounded - old), again[_direction(one)])
        return again

    def image(self, green: Tensor, direction: int) -> Tensor:
        """Red and blue to the green of one direction: ``[3, H, W]``."""
        color = self.color
        red, blue = (torch.where(color == c, self.x, torch.zeros_like(self.x)) for c in (0, 2))
        red, blue = self._at_solitary_greens(red, green, blue, direction)

        # The other colour at red and blue sites.
        other = torch.where(color == 0, blue, red)

        def estimate(of: Tensor, offset: Offset, times: int) -> Tensor:
            mean = _middle(_at(of, offset, -times), _at(of, offset, times))
            return mean + (green - _middle(_at(green, offset, -times), _at(green, offset, times)))

        def change(offset: Offset, times: int) -> Tensor:
            return (green - _at(green, offset, -times)).abs() + (green - _at(green, offset, times)).abs()

        for mask, step in self._axes():
            along, across = step(1, 0), step(0, 1)
            value = torch.where(color == 0, estimate(blue, along, 1), estimate(red, along, 1))
            if direction == _direction(across):
                far = torch.where(color == 0, estimate(blue, across, 3), estimate(red, across, 3))
                value = torch.where(change(along, 1) < 2 * change(across, 3), value, far)
            other = torch.where(mask, value, other)
        red, blue = torch.where(color == 2, other, red), torch.where(color == 0, other, blue)
        image = torch.stack([red, green, blue])
        for dy in (-1, 1):
            for dx in (-1, 1):
                one, two, share = _beside_block(dy, dx, direction)
                mean = _pair(image, one, two, share)
                value = mean + (green - mean[1])
                image = torch.where(self._at_coordinates(dy, dx), value, image)
        image[1] = green
        return image

    def _at_solitary_greens(self, red: Tensor, green: Tensor, blue: Tensor, direction: int) -> tuple[Tensor, Tensor]:
        of_row = _at(self.color, (0, 1))
        row, column = torch.where(of_row == 0, red, blue), torch.where(of_row == 0, blue, red)
        # The colour of the row beside, the other beyond; columns the other way round. Only at solitary greens.
        planes = {0: red, 2: blue}

        def pick(times: int, offset: Offset, color: Tensor) -> tuple[Tensor, Tensor]:
            before, after = (
                torch.where(color == 0, _at(planes[0], offset, t), _at(planes[2], offset, t)) for t in (-times, times)
            )
            green_before, green_after = _at(green, offset, -times), _at(green, offset, times)
            value = _middle(before, after) + (green - _middle(green_before, green_after))
            return value, ((before - after) - (green_before - green_after)) ** 2

        of_column = 2 - of_row
        level = pick(1, (0, 1), of_row), pick(2, (0, 1), of_column)
        steep = pick(2, (1, 0), of_row), pick(1, (1, 0), of_column)
        if direction == _HORIZONTAL:
            row, column = level[0][0], level[1][0]
        elif direction == _VERTICAL:
            row, column = steep[0][0], steep[1][0]
        else:
            is_level = level[0][1] + level[1][1] <= steep[0][1] + steep[1][1]
            row = torch.where(is_level, level[0][0], steep[0][0])
            column = torch.where(is_level, level[1][0], steep[1][0])
        solitary = self._at_coordinates(0, 0)
        return (
            torch.where(solitary, torch.where(of_row == 0, row, column), red),
            torch.where(solitary, torch.where(of_row == 0, column, row), blue),
        )

    def merge(self, images: list[Tensor]) -> Tensor:
        """The mean of the images, weighted by how straight each goes on in its direction around the site."""
        weights = []
        for image, step in zip(images, _STEPS, strict=True):
            red, green, blue = (image - _at(image, step, -1)) + (image - _at(image, step))
            luma = 0.5 * green + 0.25 * (red + blue)
            energy = luma**2 + 4.0 * ((red - green) ** 2 + (blue - green) ** 2)
            energy = (_at(energy, (-1, 0)) + _at(energy, (1, 0))) + energy
            energy = (_at(energy, (0, -1)) + _at(energy, (0, 1))) + energy
            energy = energy + 1e-20
            weights.append(1 / (energy * torch.sqrt(energy)))
        scale = 1 / ((weights[0] + weights[1]) + (weights[2] + weights[3]))
        base = images[0]
        parts = [(weight * scale) * (image - base) for weight, image in zip(weights, images, strict=True)]
        return base + (parts[1] + (parts[2] + parts[3]))


def _beside_block(dy: int, dx: int, direction: int) -> tuple[Offset, Offset, float]:
    """From where a green of a 2x2 block gets red and blue: two offsets and the share of the second."""
    if direction == _HORIZONTAL:
        return (0, -dx), (0, 2 * dx), 1 / 3
    if direction == _VERTICAL:
        return (-dy, 0), (2 * dy, 0), 1 / 3
    if (dy * dx > 0) == (direction == _FALLING):  # leads to solitary greens
        return (-dy, -dx), (2 * dy, 2 * dx), 1 / 3
    return (-dy, dx), (dy, -dx), 1 / 2
