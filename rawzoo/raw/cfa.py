"""Colour filter array patterns.

A pattern is a string of the letters R, G and B in reading order over the repeating tile, starting at the top-left
pixel of the active area: 4 letters for the 2x2 Bayer tile (``"RGGB"``), 36 for the 6x6 X-Trans tile.

Channels of a pattern, in the order every per-channel value (black level, white level, noise) uses:

* Bayer: R, Gr, Gb, B, where Gr is the green that shares a row with red;
* X-Trans: R, G, B.
"""

from functools import lru_cache

import numpy as np

from rawzoo.errors import UsageError

BAYER_PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")

#: The X-Trans tile of Fujifilm's sensors in the phase LibRaw reports most often.
XTRANS_PATTERN = "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"


def period(cfa: str) -> int:
    """Edge length of the repeating tile: 2 for Bayer, 6 for X-Trans.

    Raises:
        UsageError: the string is no Bayer or X-Trans pattern.
    """
    if cfa in BAYER_PATTERNS:
        return 2
    # LibRaw's own sanity bounds: nominally 8 red, 20 green, 8 blue cells.
    red, green, blue = map(cfa.count, "RGB")
    if len(cfa) == red + green + blue == 36 and 6 <= red <= 10 and 16 <= green <= 24 and 6 <= blue <= 10:
        return 6
    raise UsageError(
        f"CFA pattern {cfa!r} is not one of {', '.join(BAYER_PATTERNS)} nor 36 letters of an X-Trans tile."
    )


def channels(cfa: str) -> tuple[str, ...]:
    """Names of the pattern's channels, in per-channel order."""
    return ("R", "Gr", "Gb", "B") if period(cfa) == 2 else ("R", "G", "B")


@lru_cache(maxsize=64)
def _channel_cells(cfa: str) -> tuple[tuple[int, ...], ...]:
    n = period(cfa)
    rows = [cfa[i * n : (i + 1) * n] for i in range(n)]
    if n == 6:
        return tuple(tuple("RGB".index(c) for c in row) for row in rows)
    return tuple(tuple({"R": 0, "B": 3}.get(c, 1 if "R" in row else 2) for c in row) for row in rows)


def channel_tile(cfa: str) -> np.ndarray:
    """Channel index of each cell, int64 ``[period, period]``: Bayer 0..3 = R, Gr, Gb, B; X-Trans 0..2 = R, G, B."""
    return np.array(_channel_cells(cfa))


def color_tile(cfa: str) -> np.ndarray:
    """Colour index of each cell, int64 ``[period, period]``: 0 = R, 1 = G, 2 = B."""
    n = period(cfa)
    return np.array(["RGB".index(c) for c in cfa]).reshape(n, n)


def shift(cfa: str, rows: int, columns: int) -> str:
    """Pattern seen from the pixel ``rows`` below and ``columns`` right of the present origin (may be negative)."""
    n = period(cfa)
    return "".join(cfa[((y + rows) % n) * n + (x + columns) % n] for y in range(n) for x in range(n))


@lru_cache(maxsize=64)
def xtrans_phase(cfa: str) -> tuple[int, int]:
    """Row and column, 0 to 5, of :data:`XTRANS_PATTERN` at which the pattern starts.

    Raises:
        UsageError: the pattern is not that tile in any phase.
    """
    for rows in range(6):
        for columns in range(6):
            if cfa == shift(XTRANS_PATTERN, rows, columns):
                return rows, columns
    raise UsageError(f"CFA pattern {cfa} is not the X-Trans tile in any phase.")
