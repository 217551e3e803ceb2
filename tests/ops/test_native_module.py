"""The native module itself: what it refuses, threads, instruction sets, and life without it."""

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch.utils.dlpack import to_dlpack

from rawzoo import _native, ops
from rawzoo.ops import backend
from rawzoo.raw.cfa import XTRANS_PATTERN, channel_tile

CELLS = ((0.0,) * 4, (1.0,) * 4)
NO_NOISE = ((), (), ())
MATRIX = np.array([[1.6, -0.4, -0.2], [-0.2, 1.5, -0.3], [0.1, -0.6, 1.5]])


def run_python(code: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_knows_nothing_of_torch() -> None:
    symbols = subprocess.run(["nm", "-DC", "--undefined-only", _native.__file__], capture_output=True, text=True)
    if symbols.returncode:
        pytest.skip(f"nm does not work here: {symbols.stderr}")
    assert "PyObject" in symbols.stdout
    assert not [line for line in symbols.stdout.splitlines() if any(s in line for s in ("c10::", "at::", "torch"))]


def test_numpy_input_does_not_import_torch() -> None:
    run_python(
        "import sys, numpy as np; from rawzoo import ops; x = np.ones((6, 6), np.uint16)\n"
        "planes = ops.pack(x, 'RGGB', 0, 1); ops.unpack(planes, 'RGGB', 0, 1)\n"
        "balanced = ops.white_balance(x, 'RGGB', 0, 1, (1, 1, 1)); rgb = ops.demosaic(x, 'RGGB', 'malvar')\n"
        "ops.inverse_anscombe(ops.anscombe(balanced, 1, 1), 1, 1, method='exact'); ops.render(rgb, np.eye(3), [0, 1])\n"
        "ops.develop(x, 'RGGB', 0, 1, (1, 1, 1), 1, np.eye(3)); ops.num_threads()\n"
        "assert 'torch' not in sys.modules"
    )


def test_number_of_threads() -> None:
    for count in (3, 1):
        torch.set_num_threads(count)
        assert ops.num_threads() == count
    code = "from rawzoo import ops; print(ops.num_threads())"
    assert run_python(code, OMP_NUM_THREADS="3").strip() == "3"
    assert run_python(code, OMP_NUM_THREADS="4,2").strip() == "4"
    assert run_python(code, OMP_NUM_THREADS="").strip() == str(len(os.sched_getaffinity(0)))


@pytest.mark.parametrize("cfa", ["GBRG", XTRANS_PATTERN])
def test_results_depend_neither_on_threads_nor_on_the_instruction_set(cfa: str) -> None:
    # Tall and narrow: several strips, cheap.
    x = np.random.default_rng(0).integers(0, 1 << 16, (2600, 50), dtype=np.uint16)
    period = 2 if len(cfa) == 4 else 6
    method = ops.demosaic_methods(cfa)[-1]
    cells = (np.linspace(0, 500, period**2).tolist(), np.linspace(1e-5, 3e-5, period**2).tolist())
    curve = np.linspace(0, 1, 999, dtype=np.float32) ** np.float32(0.4)
    rgb = np.random.default_rng(0).normal(0.5, 0.5, (3, 2600, 50)).astype(np.float32)

    def everything(threads: int) -> Iterator[np.ndarray]:
        yield (out := np.empty((3, 2600, 50), np.float32))
        _native.demosaic(x, cfa, method, "sqrt", False, out, threads)
        yield (balanced := np.empty((2600, 50), np.float32))
        _native.white_balance(x, period, *cells, 0.7, balanced, threads)
        for dtype, table in (("uint8", curve), ("uint16", curve), ("float32", None)):
            yield (picture := np.empty((2600, 50, 3), dtype))
            _native.develop(x, cfa, *cells, 1.0, method, "sqrt", MATRIX.ravel().tolist(), table, picture, threads)
            yield (rendered := np.empty((2600, 50, 3), dtype))
            _native.render(rgb, MATRIX.ravel().tolist(), table, rendered, threads)
        yield (transformed := np.empty_like(rgb))
        _native.anscombe(rgb, [0.01] * 3, [0.02] * 3, [0.1, 0.2, 0.0], transformed, threads)
        for inverse in ("algebraic", "exact"):
            yield (back := np.empty_like(rgb))
            _native.inverse_anscombe(transformed, [0.01], [0.02], [0.1], inverse, back, threads)
        tiles, cell_count = x[: 2600 // period * period, :48], period**2
        plane_of = tuple(range(cell_count))
        for dtype in ("float32", "float16"):
            for noise in (NO_NOISE, ((0.01,) * cell_count, (0.02,) * cell_count, (0.1,) * cell_count)):
                yield (planes := np.empty((cell_count, len(tiles) // period, 48 // period), dtype))
                _native.pack(tiles, period, *cells, plane_of, *noise, planes, threads)
                yield (again := np.empty(tiles.shape, np.uint16))
                _native.unpack(planes, period, *cells, plane_of, *noise, "exact", again, threads)
        yield (transformed := np.empty_like(rgb))
        _native.anscombe_map(
            rgb, *np.random.default_rng(1).uniform(0.01, 0.1, (3, *rgb.shape)).astype("f4"), transformed, threads
        )
        yield (repaired := np.empty_like(x))
        _native.hot_pixels(x, cfa, 0.0, 9000.0, 0.0, 1.0, repaired, threads)
        channel_of = channel_tile(cfa).ravel().tolist()
        yield (stats := np.empty((2, max(channel_of) + 1, 19, 3), np.float32))
        _native.bin_stats(x, period, *cells, channel_of, 0.1, 1.0, stats, threads)
        yield (smaller := np.empty((866, 16), np.uint16))
        _native.downscale_mosaic(x, period, channel_of, 3, smaller, threads)

    expected = list(everything(1))
    fastest = _native.isa()
    try:
        for isa in ("baseline", "avx2", "avx512"):
            for threads in (1, 2, 7):
                if _native.select_isa(isa):
                    for first, other in zip(expected, list(everything(threads)), strict=True):
                        np.testing.assert_array_equal(first, other, err_msg=f"{isa}, {threads} threads")
    finally:
        _native.select_isa(fastest)
    assert not _native.select_isa("altivec")


def frozen(x: np.ndarray) -> np.ndarray:
    x.setflags(write=False)
    return x


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda x, o: _native.pack([[1, 2]], 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o, 1),
            TypeError,
            "must be a NumPy array or",
        ),
        (
            lambda x, o: _native.pack(x.astype("i4"), 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o, 1),
            TypeError,
            "mosaic has a dtype",
        ),
        (
            lambda x, o: _native.pack(x.astype(">u2"), 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o, 1),
            TypeError,
            "mosaic has a dtype",
        ),
        (
            lambda x, o: _native.pack(x.astype("u1"), 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o, 1),
            TypeError,
            "mosaic must be uint16 or",
        ),
        (
            lambda x, o: _native.pack(x[None], 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o, 1),
            ValueError,
            r"shape \[any, any\], not \[1, 8",
        ),
        (lambda x, o: _native.pack(x[:7], 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o, 1), ValueError, "whole tiles"),
        (
            lambda x, o: _native.pack(x[:, ::2], 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o[..., :2], 1),
            ValueError,
            "contiguous along",
        ),
        (
            lambda x, o: _native.pack(x, 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o[:, :3], 1),
            ValueError,
            r"out must have shape \[4, 4, 4\]",
        ),
        (
            lambda x, o: _native.pack(x, 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, frozen(o), 1),
            ValueError,
            "out is read-only",
        ),
        (lambda x, o: _native.pack(x, 2, *CELLS, (0, 1, 2, 2), *NO_NOISE, o, 1), ValueError, "plane_of"),
        (lambda x, o: _native.pack(x, 2, (0.0,), (1.0,), (0, 1, 2, 3), *NO_NOISE, o, 1), ValueError, "levels"),
        (lambda x, o: _native.pack(x, 2, *CELLS, (0, 1, 2, 3), *NO_NOISE, o, 0), ValueError, "threads"),
        (lambda x, o: _native.white_balance(x, 3, *CELLS, 1, o, 1), (TypeError, ValueError), "out must|period"),
        (lambda x, o: _native.demosaic(x, "RGB", "bilinear", "none", False, o, 1), ValueError, "4 or 36 letters"),
        (lambda x, o: _native.demosaic(x, "RGGX", "bilinear", "none", False, o, 1), ValueError, "made of R, G and B"),
        (lambda x, o: _native.demosaic(x, "RGBG", "bilinear", "none", False, o, 1), ValueError, "greens on a diagonal"),
        (lambda x, o: _native.demosaic(x, "RGGB", "x", "none", False, o, 1), ValueError, "method 'x'"),
        (lambda x, o: _native.demosaic(x[:1], "RGGB", "malvar", "none", False, o, 1), ValueError, "at least as large"),
        (lambda x, o: _native.anscombe(o, [0.0], [1.0], [0.0], o.copy(), 1), ValueError, "gain must be positive"),
        (lambda x, o: _native.render(o[:3], [1.0] * 8, None, np.empty((4, 4, 3), "u1"), 1), ValueError, "nine"),
        (
            lambda x, o: _native.render(o[:3], [1.0] * 9, np.ones(1, "f4"), np.empty((4, 4, 3), "u1"), 1),
            ValueError,
            "at least two samples",
        ),
    ],
)
def test_refuses_before_touching_memory(call, error, words) -> None:
    out = np.full((4, 4, 4), 7, np.float32)
    with pytest.raises(error, match=words):
        call(np.ones((8, 8), np.uint16), out)
    assert (out == 7).all()


def test_takes_capsules_as_often_as_wanted() -> None:
    x, out = torch.ones(4, 4), torch.empty(3, 4, 4)
    capsule = to_dlpack(x)
    for _ in range(2):
        _native.demosaic(capsule, "RGGB", "bilinear", "none", False, to_dlpack(out), 1)
    assert (out == 1).all()
    torch.from_dlpack(capsule)
    with pytest.raises(TypeError, match="unused DLPack capsule"):
        _native.demosaic(capsule, "RGGB", "bilinear", "none", False, to_dlpack(out), 1)


def test_honours_the_read_only_flag_of_versioned_capsules() -> None:
    x, out = np.ones((4, 4), np.float32), np.empty((3, 4, 4), np.float32)
    try:
        capsule = frozen(x).__dlpack__(max_version=(1, 0))
        target = frozen(out).__dlpack__(max_version=(1, 0))
    except TypeError:
        pytest.skip("this NumPy knows no versioned capsules")
    with pytest.raises(ValueError, match="out is read-only"):
        _native.demosaic(capsule, "RGGB", "bilinear", "none", False, target, 1)
    writable = np.empty((3, 4, 4), np.float32)
    _native.demosaic(capsule, "RGGB", "bilinear", "none", False, writable, 1)
    assert (writable == 1).all()


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "rawzoo._native", None)  # what importing a missing module does
    backend._cpu.cache_clear()
    yield
    backend._cpu.cache_clear()


def test_the_reference_takes_over_without_the_native_module(without_native: None) -> None:
    assert ops.available()["cpu"].startswith("torch reference: ")
    x = np.random.default_rng(0).integers(0, 60000, (12, 14), dtype=np.uint16)
    x = frozen(x[::-1])
    curve = np.linspace(0, 1, 99) ** 0.4

    def everything() -> list[np.ndarray]:
        rgb = ops.demosaic(x, "BGGR", "malvar")
        planes = ops.pack(x, "BGGR", 10, 60000, (2, 1, 1.5))
        return [
            rgb,
            planes,
            ops.unpack(planes, "BGGR", 10, 60000, (2, 1, 1.5)),
            ops.demosaic(x, XTRANS_PATTERN, out=np.empty((3, 12, 14), np.float32)),
            ops.anscombe(rgb, 3.0, 2.0),
            ops.inverse_anscombe(rgb, 3.0, 2.0, method="exact"),
            ops.white_balance(x, "BGGR", 10, 60000, (2, 1, 1.5), 0.9),
            ops.develop(x, "BGGR", 10, 60000, (2, 1, 1.5), 1.0, MATRIX, curve),
            ops.render(rgb / 60000, MATRIX, curve, dtype="uint16"),
            ops.demosaic(torch.tensor(x.copy()), "BGGR").numpy(),
        ]

    plain = everything()
    backend._cpu.cache_clear()
    sys.modules["rawzoo._native"] = _native
    assert ops.available()["cpu"].startswith("native")
    for got, expected in zip(plain, everything(), strict=True):
        assert got.dtype == expected.dtype
        tolerance = 1 if got.dtype.kind == "u" else 0
        np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=3e-7, atol=tolerance)
