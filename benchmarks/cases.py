"""Calls that reach every op in every variant: what the safety tests and the GPU check run.

Demosaic methods come from :func:`rawzoo.ops.demosaic_methods`; an op that :data:`rawzoo.ops.dispatch.OPS` has and this
list lacks is reported by :func:`missing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo import ops
from rawzoo.ops import backend
from rawzoo.ops.dispatch import OPS
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN

GAINS = (2.0, 1.0, 1.5)
MATRIX = ((1.6, -0.4, -0.2), (-0.2, 1.5, -0.3), (0.1, -0.6, 1.5))
NOISE = {"gain": 1.7, "sigma": 12.0, "offset": 40.0}
#: The same kind of noise where white is 1.
FRACTIONS = {"gain": 2e-4, "sigma": 1e-3, "offset": 0.0}
_GRID = np.linspace(0, 1, 4096)
SRGB = np.where(_GRID <= 0.0031308, 12.92 * _GRID, 1.055 * _GRID ** (1 / 2.4) - 0.055).astype(np.float32)


def xtrans_phases() -> tuple[str, ...]:
    """The X-Trans tile, shifted to each of its 18 distinct phases."""
    tile = np.array(list(XTRANS_PATTERN)).reshape(6, 6)
    shifted = ("".join(np.roll(tile, (-y, -x), (0, 1)).ravel()) for y in range(6) for x in range(6))
    return tuple(dict.fromkeys(shifted))


@dataclass(frozen=True)
class Case:
    """One variant of an op.

    Attributes:
        op: name in :data:`rawzoo.ops.dispatch.OPS`; ``..._map`` is the op of the name before it.
        source: dtype of the input.
        options: what is passed to the op beside the input and ``out``.
        planes: planes of the input; 0: it is a mosaic.
        smallest: least height and width; sides are multiples of ``step``.
        tolerance: by how much implementations may differ, in units of the result.
        torch_only: NumPy lacks the dtype of the result.
    """

    op: str
    source: str
    options: dict[str, Any] = field(default_factory=dict)
    planes: int = 0
    smallest: int = 1
    step: int = 1
    tolerance: float = 0.0
    torch_only: bool = False

    @property
    def label(self) -> str:
        shown = {k: v for k, v in self.options.items() if k in ("cfa", "method", "encode", "dtype", "clip", "layout")}
        curve = ["curve"] if self.options.get("curve") is not None else []
        return " ".join([self.op, self.source, *(f"{k}={v}" for k, v in shown.items()), *curve])

    @property
    def interleaved(self) -> bool:
        """The result is ``[H, W, 3]``."""
        return self.op in ("develop", "render") or self.options.get("layout") == "interleaved"

    def sizes(self) -> tuple[tuple[int, int], ...]:
        """The smallest size, odd ones where the op takes them, and one of several thread blocks."""
        least, step = self.smallest, self.step
        wanted = [(least, least), (least, least + 3), (least + 5, least + 1), (37, 131), (64, 258)]
        return tuple(dict.fromkeys((-(-h // step) * step, -(-w // step) * step) for h, w in wanted))

    def shape(self, height: int, width: int) -> tuple[int, ...]:
        """Shape of the input for an image of this size."""
        if self.op.startswith("unpack"):
            return self.step**2, height // self.step, width // self.step
        return (self.planes, height, width) if self.planes else (height, width)

    def input(self, height: int, width: int, seed: int = 0) -> npt.NDArray[Any]:
        """Values all over the range; floating input also beyond black and white."""
        rng = np.random.default_rng([seed, height, width])
        shape = self.shape(height, width)
        if self.source == "uint16":
            return rng.integers(0, 1 << 16, shape, dtype=np.uint16)
        low, high = (-0.2, 1.3) if self.op in ("unpack", "render") else (-500, 20000)
        if self.op == "unpack_anscombe":
            low, high = 0.0, 60.0
        return rng.uniform(low, high, shape).astype(self.source)

    def __call__(self, x: Any, out: Any = None) -> Any:
        options = self.options
        if self.op.endswith("_map"):
            # As if each element had noise of its own.
            def everywhere(value: float) -> Any:
                return np.full(x.shape, value, x.dtype) if isinstance(x, np.ndarray) else x.new_full(x.shape, value)

            options = {k: everywhere(v) if k in NOISE else v for k, v in options.items()}
        return getattr(ops, self.op.removesuffix("_map"))(x, **options, out=out)


def _levels(cfa: str) -> dict[str, Any]:
    count = 4 if len(cfa) == 4 else 3
    black, white = (500.0, 510.0, 520.0, 530.0)[:count], (15000.0, 15100.0, 15200.0, 15300.0)[:count]
    return {"cfa": cfa, "black": black, "white": white, "gains": GAINS}


def _pictures() -> Iterator[tuple[dict[str, Any], float]]:
    for dtype in ("uint8", "uint16"):
        for curve in (None, SRGB):
            # The CPU looks up bytes in a table; words may round differently next to the middle between two.
            yield {"dtype": dtype, "curve": curve}, 1.0
    yield {"dtype": "float32", "curve": None}, 0.0


def _demosaic(cfa: str) -> Iterator[Case]:
    smallest = 2 if len(cfa) == 4 else 6
    variants: list[dict[str, Any]] = [
        {},
        {"dtype": "float16"},
        {"layout": "interleaved", "encode": "sqrt"},
    ]
    for method in ops.demosaic_methods(cfa):
        for source in ("uint16", "float32"):
            for variant in variants:
                yield Case("demosaic", source, {"cfa": cfa, "method": method, **variant}, smallest=smallest)
            # The fused pass takes its phases from the same code: three of X-Trans are enough.
            for encode in ("none", "sqrt") if cfa in (*BAYER_PATTERNS, *xtrans_phases()[::6]) else ():
                for picture, tolerance in _pictures():
                    options = {**_levels(cfa), "clip": 1.0, "matrix": MATRIX, "method": method, "encode": encode}
                    yield Case("develop", source, options | picture, smallest=smallest, tolerance=tolerance)


def cases() -> Iterator[Case]:
    """Every variant of every op."""
    for cfa in (*BAYER_PATTERNS, *xtrans_phases()):
        step = 2 if len(cfa) == 4 else 6
        tiles = partial(Case, smallest=step, step=step)
        any_size = partial(Case, smallest=step)
        count = 4 if step == 2 else 3
        for fused, noise in (("", {}), ("_anscombe", FRACTIONS)):
            for dtype in ("float32", "float16", "bfloat16"):
                for source in ("uint16", "float32"):
                    options = {**_levels(cfa), **noise, "dtype": dtype}
                    yield tiles(f"pack{fused}", source, options, torch_only=dtype == "bfloat16")
            for source in ("float32", "float16"):
                for dtype in ("uint16", "float32"):
                    # 1 / scale, in single or double precision, decides some roundings.
                    tolerance = 1.0 if dtype == "uint16" else 0.0
                    yield tiles(
                        f"unpack{fused}", source, {**_levels(cfa), **noise, "dtype": dtype}, tolerance=tolerance
                    )
        for source in ("uint16", "float32"):
            for clip in (None, 1.0):
                yield Case("white_balance", source, {**_levels(cfa), "clip": clip})
            tolerance = 1.0 if source == "uint16" else 0.0
            hot = {"cfa": cfa, "gain": 1.7, "sigma": 12.0, "offset": 500.0, "threshold": 3.0}
            yield any_size("hot_pixels", source, hot, tolerance=tolerance)
            for factor in (1, 2, 3):
                yield any_size("downscale_mosaic", source, {"cfa": cfa, "factor": factor}, tolerance=tolerance)
            bins = {"cfa": cfa, "black": (500.0,) * count, "white": (15000.0,) * count, "grid": (2, 2)}
            yield any_size("bin_stats", source, bins)
        yield from _demosaic(cfa)
    for end, planes in (("", 0), ("_map", 3)):
        yield Case(f"anscombe{end}", "float32", NOISE, planes=planes)
        for method in ("algebraic", "asymptotic", "exact"):
            yield Case(f"inverse_anscombe{end}", "float32", {**NOISE, "method": method}, planes=planes)
    by_channel = {"gain": (1.7, 1.0, 2.0), "sigma": 12.0, "offset": 40.0}
    yield Case("anscombe", "float32", by_channel, planes=3)
    yield Case("inverse_anscombe", "float32", by_channel, planes=3)
    for picture, tolerance in _pictures():
        yield Case("render", "float32", {"matrix": MATRIX, **picture}, planes=3, tolerance=tolerance)


@contextmanager
def by_reference() -> Iterator[None]:
    """Meanwhile the torch reference serves every op, as where no native module is built."""
    native = backend.module_for
    backend.module_for = lambda _device: None
    try:
        yield
    finally:
        backend.module_for = native


def one_of_each(choose: Callable[[Case], object] = lambda case: case.op) -> list[Case]:
    """The first case of each kind, an op unless ``choose`` says otherwise."""
    first: dict[object, Case] = {}
    for case in cases():
        first.setdefault(choose(case), case)
    return list(first.values())


def missing() -> set[str]:
    """Ops that no case calls."""
    return set(OPS) - {case.op for case in cases()}
