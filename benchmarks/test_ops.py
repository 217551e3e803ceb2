"""Each op on 12 and 24 megapixels with one thread and two, against what people use today and against plain copies.

Buffers are made once and reused by all. A copy "of equal bytes" reads and writes as much in total as the op does.
The goals are those the project set itself; the tables show misses like hits.
"""

from __future__ import annotations

import timeit
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pytest
import quality
import torch
from cases import MATRIX, SRGB, by_reference
from measure import Goal, Peer, versus
from pytest_benchmark.fixture import BenchmarkFixture

from rawzoo import ops
from rawzoo.developer import DEFAULT_DEVELOPER
from rawzoo.raw.cfa import XTRANS_PATTERN, period
from rawzoo.zoo import registry

LEVELS: dict[str, Any] = {"black": 512.0, "white": 16383.0, "gains": (2.0, 1.0, 1.54)}
NOISE = {"gain": 1.7, "sigma": 12.0, "offset": 512.0}
#: rawzoo's result on this corner is compared with the reference's on CORNER + HALO.
CORNER, HALO = 192, 48

# fast, edge-aware; and the slow, good ones
FAST_METHODS, GOOD_METHODS = ("hamilton-adams",), ("menon", "rcd", "gbtf")


def copies(traffic: int, threads: int, memcpy: Goal | None, nt: Goal | None) -> dict[str, Peer]:
    goals = {"memcpy": memcpy, "NT copy": nt}
    return {
        name: Peer(call, goals[name] if threads == 1 else None) for name, call in peers.copies(traffic, threads).items()
    }


def one_thread(threads: int, op: Callable[[], Any], goal: Goal) -> dict[str, Peer]:
    """The op itself with one thread, where two are measured."""

    def call() -> None:
        peers.set_threads(1)
        op()
        peers.set_threads(threads)

    return {"1 thread": Peer(call, goal)} if threads > 1 else {}


def compiled(function: Callable[..., Any], *args: Any) -> Peer:
    """torch.compile of plain torch code."""
    torch._dynamo.reset()
    fast = torch.compile(function, dynamic=False)

    def call() -> Any:
        with torch.inference_mode():
            return fast(*args)

    try:
        call()
    except Exception as error:  # noqa: BLE001 - no compiler, or one that inductor cannot use
        print(f"torch.compile does not work here: {error}")
        return Peer(None)
    return Peer(call)


def eager(function: Callable[..., Any], *args: Any) -> Callable[[], Any]:
    def call() -> Any:
        with torch.inference_mode():
            return function(*args)

    return call


def accuracy(result: np.ndarray, op: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> dict[str, Any]:
    """How far the timed result is from what the torch reference makes of ``x``, in units of the result. Integers may be
    rounded the other way."""
    with by_reference():
        wanted = op(np.ascontiguousarray(x)).astype(float)
    gap = np.abs(result.astype(float) - wanted)
    close = gap <= (1 if result.dtype.kind == "u" else 1e-4 * np.abs(wanted).max())
    return {"against": "torch reference", "max_difference": float(gap.max()), "equal": float(np.mean(close))}


def corner(x: np.ndarray, extra: int = 0) -> np.ndarray:
    side = CORNER + extra
    return x[..., :side, :side]


@pytest.mark.benchmark(group="pack")
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_pack(benchmark: BenchmarkFixture, mosaic: np.ndarray, megapixels: int, threads: int, dtype: str) -> None:
    wide = dtype == "float32"
    h, w = mosaic.shape
    out, scratch = np.empty((4, h // 2, w // 2), dtype), np.empty((h // 2, w // 2), np.float32)
    tensor = torch.from_numpy(mosaic)
    level = [np.float32(512), [np.float32(g / 15871) for g in (2.0, 1.0, 1.0, 1.54)]]
    args = (tensor, 512.0, [float(v) for v in level[1]], getattr(torch, dtype))

    def with_rawzoo() -> None:
        ops.pack(mosaic, "RGGB", **LEVELS, dtype=dtype, out=out)

    def with_numpy() -> None:
        for i in range(4):
            target = out[i] if wide else scratch
            np.subtract(mosaic[i // 2 :: 2, i % 2 :: 2], level[0], out=target, dtype=np.float32)
            np.multiply(target, level[1][i], out=target)
            if not wide:
                np.copyto(out[i], target)

    planes, plane = torch.from_numpy(out), torch.from_numpy(scratch)

    def in_place() -> None:
        with torch.inference_mode():
            for i in range(4):
                target = planes[i] if wide else plane
                target.copy_(tensor[i // 2 :: 2, i % 2 :: 2]).sub_(512).mul_(float(level[1][i]))
                if not wide:
                    planes[i].copy_(target)

    against: dict[str, Peer | None] = {
        **copies(
            mosaic.nbytes + out.nbytes,
            threads,
            Goal(1.2 if wide else 1.1, None, "time"),
            Goal(None, 1.2, "time"),
        ),
        "NumPy": Peer(with_numpy, Goal(4 if wide else 15) if threads == 1 else None),
        "torch": Peer(eager(peers.torch_pack, *args)),
        "torch in place": Peer(in_place),
        "torch.compile": compiled(peers.torch_pack, *args) if (megapixels, threads) == (12, 1) else None,
        **one_thread(threads, with_rawzoo, Goal(1.0)),
    }
    with_rawzoo()
    check = accuracy(corner(out), lambda x: corner(ops.pack(x, "RGGB", **LEVELS, dtype=dtype)), corner(mosaic, CORNER))
    versus(
        benchmark,
        with_rawzoo,
        against,
        name=f"pack u16 -> {dtype}",
        megapixels=megapixels,
        threads=threads,
        accuracy=check,
    )


@pytest.mark.benchmark(group="anscombe")
@pytest.mark.parametrize("method", ["forward", "algebraic", "exact"])
def test_anscombe(benchmark: BenchmarkFixture, mosaic: np.ndarray, megapixels: int, threads: int, method: str) -> None:
    forward = method == "forward"
    x = mosaic.astype(np.float32)
    if not forward:
        x = ops.anscombe(x, **NOISE)
    out = np.empty_like(x)
    tensor = torch.from_numpy(x)
    args = (tensor, *NOISE.values()) if forward else (tensor, *NOISE.values(), method)
    plain = peers.torch_anscombe if forward else peers.torch_inverse_anscombe
    shift = np.float32(0.375 + (12 / 1.7) ** 2)

    def transform(source: np.ndarray, target: np.ndarray | None = None) -> np.ndarray:
        if forward:
            return ops.anscombe(source, **NOISE, out=target)
        return ops.inverse_anscombe(source, **NOISE, method=method, out=target)

    def with_rawzoo() -> None:
        transform(x, out)

    def with_numpy() -> None:
        if forward:
            np.subtract(x, np.float32(512), out=out)
            np.multiply(out, np.float32(1 / 1.7), out=out)
            np.add(out, shift, out=out)
            np.maximum(out, 0, out=out)
            np.sqrt(out, out=out)
            np.multiply(out, 2, out=out)
        else:
            np.multiply(x, x, out=out)
            np.multiply(out, np.float32(0.25 * 1.7), out=out)
            np.add(out, np.float32(512) - shift * np.float32(1.7), out=out)

    result = torch.from_numpy(out)

    def in_place() -> None:
        with torch.inference_mode():
            if forward:
                torch.sub(tensor, 512, out=result).mul_(1 / 1.7).add_(float(shift)).clamp_(min=0).sqrt_().mul_(2)
            else:
                torch.mul(tensor, tensor, out=result).mul_(0.25 * 1.7).add_(512 - 1.7 * float(shift))

    goals = (
        (Goal(1.0, None, "time"), Goal(None, 1.15, "time"))
        if forward
        else (Goal(1.1, None, "time"), Goal(None, 1.3, "time"))
    )
    against: dict[str, Peer | None] = {
        **copies(2 * x.nbytes, threads, *goals),
        "NumPy": Peer(with_numpy) if method != "exact" else None,
        "torch": Peer(eager(plain, *args), Goal(5 if forward else 15) if threads == 1 else None),
        "torch in place": Peer(in_place) if method != "exact" else None,
        "torch.compile": compiled(plain, *args) if (megapixels, threads) == (12, 1) else None,
        **one_thread(threads, with_rawzoo, Goal(1.0)),
    }
    with_rawzoo()
    check = accuracy(corner(out), transform, corner(x).copy())
    name = "Anscombe" if forward else f"inverse Anscombe, {method}"
    versus(benchmark, with_rawzoo, against, name=name, megapixels=megapixels, threads=threads, accuracy=check)


@pytest.mark.benchmark(group="pack + anscombe")
def test_pack_anscombe(benchmark: BenchmarkFixture, mosaic: np.ndarray, megapixels: int, threads: int) -> None:
    h, w = mosaic.shape
    out, unfused = (np.empty((4, h // 2, w // 2), np.float32) for _ in range(2))
    arguments = fused_arguments()

    def with_rawzoo() -> None:
        ops.pack_anscombe(mosaic, **arguments, out=out)

    def two_passes() -> None:
        ops.pack(mosaic, "RGGB", **LEVELS, out=unfused)
        ops.anscombe(unfused, *fused_noise(arguments), out=unfused_out)

    unfused_out = np.empty_like(unfused)

    def with_numpy() -> None:
        gain, sigma, offset = fused_noise(arguments)
        shift = np.float32(0.375 + (sigma / gain) ** 2)
        for i, balance in enumerate((2.0, 1.0, 1.0, 1.54)):
            target = unfused[i]
            np.subtract(mosaic[i // 2 :: 2, i % 2 :: 2], np.float32(512), out=target, dtype=np.float32)
            np.multiply(target, np.float32(balance / 15871 / gain), out=target)
            np.add(target, shift - np.float32(offset / gain), out=target)
            np.maximum(target, 0, out=target)
            np.sqrt(target, out=target)
            np.multiply(target, 2, out=target)

    against = {
        **copies(mosaic.nbytes + out.nbytes, threads, Goal(1.0, None, "time"), Goal(None, 1.3, "time")),
        "NumPy": Peer(with_numpy, Goal(10) if threads == 1 else None),
        "pack, then anscombe": Peer(two_passes, Goal(1.5) if threads == 1 else None),
        **one_thread(threads, with_rawzoo, Goal(1.0)),
    }
    with_rawzoo()
    two_passes()
    check = accuracy(
        corner(out), lambda x: corner(ops.pack_anscombe(x, **arguments)), np.ascontiguousarray(corner(mosaic, CORNER))
    )
    versus(
        benchmark, with_rawzoo, against, name="pack + Anscombe", megapixels=megapixels, threads=threads, accuracy=check
    )


def fused_arguments() -> dict[str, Any]:
    return {"cfa": "RGGB", **LEVELS, "gain": 1e-4, "sigma": 1e-3, "offset": 0.0}


def fused_noise(arguments: dict[str, Any]) -> tuple[float, float, float]:
    return arguments["gain"], arguments["sigma"], arguments["offset"]


METHODS = [(cfa, method) for cfa in ("RGGB", XTRANS_PATTERN) for method in ops.demosaic_methods(cfa)]


@pytest.mark.benchmark(group="demosaic")
@pytest.mark.parametrize(
    ("cfa", "method"), METHODS, ids=[f"{'Bayer' if len(cfa) == 4 else 'X-Trans'}-{method}" for cfa, method in METHODS]
)
def test_demosaic(
    benchmark: BenchmarkFixture,
    mosaic: np.ndarray,
    megapixels: int,
    threads: int,
    cfa: str,
    method: str,
    request: pytest.FixtureRequest,
) -> None:
    bayer = len(cfa) == 4
    out = ops.demosaic(mosaic, cfa, method)

    def with_rawzoo() -> None:
        ops.demosaic(mosaic, cfa, method, out=out)

    linear, once = method in ("bilinear", "malvar"), (megapixels, threads) == (12, 1)
    quick = Goal(3, 2, "time") if linear and bayer else Goal(5, 4, "time") if method in FAST_METHODS else None
    against: dict[str, Peer | None] = {
        **copies(mosaic.nbytes + out.nbytes, threads, None, quick),
        **(bayer_peers(mosaic, method, once, request) if bayer else xtrans_peers(method, once, request)),
        **one_thread(threads, with_rawzoo, Goal(1.35, 1.7)),
    }
    with_rawzoo()
    side = CORNER // 2
    check = accuracy(
        out[:, :side, :side], lambda x: ops.demosaic(x, cfa, method)[:, :side, :side], corner(mosaic, HALO)
    )
    if method != "superpixel":
        for encode in ("none", "sqrt"):
            check[f"psnr_{encode}"] = quality.psnr(lambda x, e=encode: ops.demosaic(x, cfa, method, encode=e), cfa)
    name = f"{method} ({'Bayer' if bayer else 'X-Trans'})"
    versus(benchmark, with_rawzoo, against, name=name, megapixels=megapixels, threads=threads, accuracy=check)


def bayer_peers(mosaic: np.ndarray, method: str, once: bool, request: pytest.FixtureRequest) -> dict[str, Peer | None]:
    """``once``: also those that take seconds or compile."""
    tensor = torch.from_numpy(mosaic.astype(np.float32))
    good = method in GOOD_METHODS
    found: dict[str, Peer | None] = {}
    if method in ("bilinear", "malvar"):
        found["OpenCV bilinear"] = Peer(peers.opencv(mosaic, "bilinear"), Goal(1.0))
    if method == "bilinear":
        found["kornia bilinear"] = Peer(peers.kornia_bilinear(mosaic))
    if method == "malvar":
        found["torch conv2d"] = Peer(lambda: peers.malvar_conv2d(tensor), Goal(10), slow=True)
        found["torch.compile conv2d"] = compiled(peers.malvar_conv2d, tensor) if once else None
    if method in FAST_METHODS or good:
        found["OpenCV EA"] = Peer(peers.opencv(mosaic, "EA"))
    if once and method != "superpixel":
        # A quarter of the picture, time times four: the whole takes a minute and many gigabytes.
        quarter = mosaic[: mosaic.shape[0] // 2, : mosaic.shape[1] // 2]
        kind = {"bilinear": "bilinear", "malvar": "Malvar2004"}.get(method, "Menon2007")
        goal = Goal(40) if good else None
        found[f"colour-demosaicing {kind}"] = Peer(peers.colour(quarter, kind), goal, slow=True, scale=4)
        dng = request.getfixturevalue("dng_12mp")
        number, name = {"bilinear": (0, "bilinear")}.get(method, (3, "AHD") if good else (2, "PPG"))
        stage = peers.libraw_stage(dng, number)
        goal = Goal(8, 16) if good else None
        found[f"LibRaw {name}"] = Peer(stage and stage.seconds, goal, slow=True, self_timed=True)
    return found


def xtrans_peers(method: str, once: bool, request: pytest.FixtureRequest) -> dict[str, Peer | None]:
    if not once:
        return {}
    dng = request.getfixturevalue("xtrans_dng_12mp")
    three = method.startswith("markesteijn") and "1" not in method
    number, name = (0, "bilinear") if method == "bilinear" else (3, "3 passes") if three else (2, "1 pass")
    stage = peers.libraw_stage(dng, number)
    goal = Goal(3, 6) if three else None
    return {f"LibRaw X-Trans {name}": Peer(stage and stage.seconds, goal, slow=True, self_timed=True)}


def developers() -> list[tuple[str, dict[str, str]]]:
    """What ``rawzoo develop`` runs where no network is asked for, and the plain ones."""
    best = [(cfa, dict(registry.card(DEFAULT_DEVELOPER[period(cfa)]).config)) for cfa in ("RGGB", XTRANS_PATTERN)]
    plain = [("RGGB", {"method": "malvar"}), (XTRANS_PATTERN, {"method": "bilinear"})]
    return [*best, *(choice for choice in plain if choice not in best)]


@pytest.mark.benchmark(group="develop")
@pytest.mark.parametrize(("cfa", "how"), developers(), ids=lambda v: v["method"] if isinstance(v, dict) else v[:4])
def test_develop(
    benchmark: BenchmarkFixture,
    mosaic: np.ndarray,
    megapixels: int,
    threads: int,
    cfa: str,
    how: dict[str, str],
    dng_12mp: Path,
) -> None:
    out = np.empty((*mosaic.shape, 3), np.uint8)
    options = {**LEVELS, "clip": 1.0, "matrix": MATRIX, "curve": SRGB, **how}

    def with_rawzoo() -> None:
        ops.develop(mosaic, cfa, **options, out=out)

    # A quarter of the picture, time times four.
    quarter = torch.from_numpy(mosaic[: mosaic.shape[0] // 2, : mosaic.shape[1] // 2])

    def with_torch() -> None:
        with torch.inference_mode(), by_reference():
            ops.develop(quarter, cfa, **options)

    bayer = len(cfa) == 4
    once = megapixels == 12 and bayer
    against: dict[str, Peer | None] = {
        **copies(mosaic.nbytes + out.nbytes, threads, None, None),
        "torch": Peer(with_torch, slow=True, scale=4) if once and threads == 1 else None,
        **(rawpy_peers(dng_12mp) if once else {}),
        **one_thread(threads, with_rawzoo, Goal(1.35, 1.7)),
    }
    with_rawzoo()
    check = accuracy(
        out[:CORNER, :CORNER], lambda x: ops.develop(x, cfa, **options)[:CORNER, :CORNER], corner(mosaic, HALO)
    )
    words = [how["method"], *(["on square roots"] if how.get("encode") == "sqrt" else [])]
    name = f"develop to sRGB u8, {' '.join(words)} ({'Bayer' if bayer else 'X-Trans'})"
    versus(benchmark, with_rawzoo, against, name=name, megapixels=megapixels, threads=threads, accuracy=check)


def rawpy_peers(dng: Path) -> dict[str, Peer | None]:
    return {
        "rawpy PPG from the file": Peer(peers.rawpy_develop(dng, "PPG"), Goal(10, 20), slow=True),
        "rawpy AHD from the file": Peer(peers.rawpy_develop(dng, "AHD"), slow=True),
    }


@pytest.mark.benchmark(group="call overhead")
@pytest.mark.parametrize("kind", ["torch", "NumPy"])
def test_call_overhead(benchmark: BenchmarkFixture, kind: str) -> None:
    """What a call costs beside its work: a mosaic of 4x4, out given."""
    x, out = torch.zeros(4, 4, dtype=torch.uint16), torch.empty(4, 2, 2)
    arrays = x.numpy(), out.numpy()
    black, white, gains = (0.0,) * 4, (1.0,) * 4, (1.0, 1.0, 1.0)

    def call() -> None:
        source, target = (x, out) if kind == "torch" else arrays
        ops.pack(source, "RGGB", black, white, gains, out=target)

    with torch.inference_mode():
        call()
        benchmark.pedantic(call, rounds=30, iterations=500, warmup_rounds=2)
        like = torch.empty(4, 2, 2)
        add = min(timeit.repeat(lambda: torch.add(like, 1.0, out=out), number=500, repeat=10)) / 500
    if not benchmark.disabled:
        benchmark.extra_info.update(
            name=f"call overhead, {kind}",
            us={"min": 1e6 * benchmark.stats.stats.min, "median": 1e6 * benchmark.stats.stats.median},
            torch_add_us=1e6 * add,
            goal={"must": 10, "stretch": 4},
        )


@pytest.mark.benchmark(group="quality")
def test_quality(benchmark: BenchmarkFixture) -> None:
    """PSNR of every demosaicer, ours and others; not a time."""

    def others() -> dict[str, Callable[[np.ndarray], Any] | None]:
        # Built for one mosaic each, as their buffers are.
        def run(peer: Callable[..., Any], kind: str) -> Callable[[np.ndarray], Any] | None:
            probe = np.zeros((8, 8), np.uint16)
            return (lambda codes: peer(codes, kind)()) if peer(probe, kind) else None

        return {
            "OpenCV bilinear": run(peers.opencv, "bilinear"),
            "OpenCV EA": run(peers.opencv, "EA"),
            "colour-demosaicing Malvar2004": run(peers.colour, "Malvar2004"),
            "colour-demosaicing Menon2007": run(peers.colour, "Menon2007"),
            "torch conv2d Malvar": lambda codes: peers.malvar_conv2d(torch.from_numpy(codes.astype(np.float32))),
        }

    def measure() -> dict[str, dict[str, float | None]]:
        table: dict[str, dict[str, float | None]] = {"Bayer": {}, "X-Trans": {}}
        for cfa, method in METHODS:
            if method == "superpixel":
                continue  # half the size: nothing to compare with
            kind = "Bayer" if len(cfa) == 4 else "X-Trans"
            for encode, words in (("none", ""), ("sqrt", " on square roots")):

                def run(codes: np.ndarray, cfa: str = cfa, method: str = method, encode: str = encode) -> Any:
                    return ops.demosaic(codes, cfa, method, encode=encode)

                table[kind][f"rawzoo {method}{words}"] = quality.psnr(run, cfa)
        for name, peer in others().items():
            table["Bayer"][name] = quality.psnr(peer, "RGGB") if peer else None
        return table

    table = benchmark.pedantic(measure, rounds=1)
    benchmark.extra_info.update(name="quality", psnr=table, protocol=quality.PROTOCOL)
