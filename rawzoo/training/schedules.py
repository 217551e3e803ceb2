"""Schedules: the learning rate's factor at a step."""

from __future__ import annotations

import math


def constant(step: int, steps: int, *, warmup: int = 0) -> float:  # noqa: ARG001 - all are called alike
    """1 after ``warmup`` steps that rise to it linearly."""
    return min(1.0, (step + 1) / (warmup + 1))


def cosine(step: int, steps: int, *, warmup: int = 0, final: float = 0.01) -> float:
    """From 1 to ``final`` along half a cosine over all ``steps`` (Loshchilov and Hutter, ICLR 2017, eq. 5)."""
    return constant(step, steps, warmup=warmup) * (
        final + (1 - final) * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))
    )


def linear(step: int, steps: int, *, warmup: int = 0, final: float = 0.1) -> float:
    """From 1 to ``final`` along a line."""
    return constant(step, steps, warmup=warmup) * (1 - (1 - final) * min(step / steps, 1.0))
