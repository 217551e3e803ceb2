"""Black, white and white balance as one multiplication: balanced value = (value - black) * scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, NamedTuple

from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns

Values = tuple[float, ...]


class Cells(NamedTuple):
    """Per cell of the CFA tile, in reading order: black level, scale, and channel."""

    black: Values
    scale: Values
    channel: tuple[int, ...]


def per_channel(name: str, value: float | Sequence[float], count: int) -> Values:
    """One number, or ``count`` of them, as ``count`` floats.

    Raises:
        UsageError: another number of them, or one that is not finite.
    """
    try:
        values = tuple(map(float, value)) if hasattr(value, "__len__") else (float(value),) * count  # type: ignore[arg-type]
    except (TypeError, ValueError):
        values = ()
    if len(values) != count or not all(abs(v) < math.inf for v in values):
        raise UsageError(f"{name} must be {count} finite numbers, one for each channel, not {value!r}.")
    return values


def check(
    cfa: str, black: float | Sequence[float], white: float | Sequence[float], gains: Sequence[float]
) -> tuple[Values, Values, Values]:
    """The levels as tuples of floats: black and white per channel, gains of R, G, B.

    Raises:
        UsageError: an unknown pattern, a wrong number of values, white not above black, or a gain that is not positive.
    """
    try:
        return _check_hashable(cfa, black, white, gains)
    except TypeError:  # a list or an array
        return _check(cfa, black, white, gains)


def _check(cfa: str, black: Any, white: Any, gains: Any) -> tuple[Values, Values, Values]:
    count = len(cfa_patterns.channels(cfa))
    blacks, whites = per_channel("black", black, count), per_channel("white", white, count)
    for low, high in zip(blacks, whites, strict=True):
        if not low < high:
            raise UsageError(f"white level {high:g} must be above black level {low:g}.")
    values = per_channel("gains", gains, 3)
    if min(values) <= 0:
        raise UsageError(f"gains must be positive, not {gains!r}.")
    return blacks, whites, values


_check_hashable = lru_cache(maxsize=256)(_check)


def scales(cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float]) -> Values:
    """Per channel: gain of its colour over (white - black)."""
    return tuple(
        gains["RGB".index(channel[0])] / (high - low)
        for channel, low, high in zip(cfa_patterns.channels(cfa), black, white, strict=True)
    )


@lru_cache(maxsize=256)
def _cells(cfa: str, black: Values, white: Values, gains: Values) -> Cells:
    channel = tuple(cfa_patterns.channel_tile(cfa).ravel().tolist())
    scale = scales(cfa, black, white, gains)
    return Cells(tuple(black[c] for c in channel), tuple(scale[c] for c in channel), channel)


def cells(cfa: str, black: Sequence[float], white: Sequence[float], gains: Sequence[float]) -> Cells:
    """Levels, already checked, laid out over the CFA tile."""
    return _cells(cfa, tuple(black), tuple(white), tuple(gains))


@lru_cache(maxsize=64)
def planes(cfa: str) -> tuple[int, ...]:
    """Which plane of a pack each cell of the tile goes to: Bayer, its channel; X-Trans, the cell of
    :data:`rawzoo.raw.cfa.XTRANS_PATTERN` that it is.

    Raises:
        UsageError: an X-Trans pattern that is not that tile in any phase.
    """
    if cfa_patterns.period(cfa) == 2:
        return tuple(cfa_patterns.channel_tile(cfa).ravel().tolist())
    rows, columns = cfa_patterns.xtrans_phase(cfa)
    return tuple((y + rows) % 6 * 6 + (x + columns) % 6 for y in range(6) for x in range(6))
