"""Everything a GPU can show about rawzoo's CUDA ops, in one run of a few minutes that writes one JSON.

On a machine with an NVIDIA GPU, a CUDA toolkit and torch for CUDA, in the root of the repository:

    RAWZOO_CUDA=1 python setup.py -q egg_info build_ext --inplace      # needs cmake, ninja, pybind11, setuptools
    PYTHONPATH=. python benchmarks/gpu.py --output benchmarks/gpu.json
    python benchmarks/tables.py --gpu benchmarks/gpu.json

(or ``RAWZOO_CUDA=1 pip install --no-build-isolation --no-deps --editable .`` for the first line). It exits with 0 where
all is well, 1 where a result is wrong, 2 where there is no GPU or no CUDA module.

1. Correctness: every case of cases.py, all sizes, contiguous and strided, with and without out=, on the default stream
   and on another, against the CPU's native kernels (or the reference).
2. compute-sanitizer memcheck and racecheck over a part of these, where it is on the PATH.
3. Speed: CUDA events, warm-up, median of many, the L2 cache filled with something else before each; bytes are what the
   op must read and write at least once, and the yardstick a copy on the device of 512 MiB, measured in the same run.

``--correctness-only --device reference`` checks the logic of part 1 without a GPU: the torch reference on the CPU takes
the GPU's place.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from cases import SRGB, XTRANS_PATTERN, Case, by_reference, cases, missing

from rawzoo import ops
from rawzoo.ops.dispatch import OPS

SIZES = {12: (3000, 4000), 24: (4000, 6000), 48: (6000, 8000)}
#: Methods that choose between directions.
DECIDING = ("hamilton-adams", "menon", "rcd", "gbtf", "markesteijn", "markesteijn-1")
#: Parts of a sample that may differ by more than the tolerance, for methods that decide between directions: a tie may
#: be broken differently after a last-bit difference.
DECIDED_DIFFERENTLY = 1e-3


# --- correctness -----------------------------------------------------------------------------------------------------


def to_device(x: np.ndarray, device: str, strided: bool) -> torch.Tensor:
    tensor = torch.from_numpy(x)
    if not strided:
        return tensor.to(device)
    # Rows further apart than they are long, at an offset that spoils alignment.
    wider = torch.zeros((*x.shape[:-1], x.shape[-1] + 5), dtype=tensor.dtype, device=device)
    view = wider[..., 3 : 3 + x.shape[-1]]
    view.copy_(tensor)
    return view


def strided_out(like: torch.Tensor, interleaved: bool) -> torch.Tensor:
    axis = -2 if interleaved else -1
    shape = list(like.shape)
    shape[axis] += 7
    return torch.zeros(shape, dtype=like.dtype, device=like.device).narrow(axis, 3, like.shape[axis])


def difference(got: torch.Tensor, expected: torch.Tensor, tolerance: float) -> tuple[float, float]:
    """Largest difference, and the part of the samples that differ by more than the tolerance; NaN equals NaN."""
    a, b = got.cpu().double(), expected.cpu().double()
    both_nan, same = a.isnan() & b.isnan(), a == b
    gap = torch.where(both_nan | same, 0.0, (a - b).abs())
    gap = torch.where(gap.isnan(), torch.inf, gap)
    if not gap.numel():
        return 0.0, 0.0
    # Floating results: a few units in the last place of the largest value.
    scale = float(b[b.isfinite()].abs().max()) if bool(b.isfinite().any()) else 0.0
    allowed = tolerance
    if got.is_floating_point():
        allowed += scale * (4 if got.dtype == torch.float32 else 1) * torch.finfo(got.dtype).eps
    return float(gap.max()), float((gap > allowed).double().mean())


def special(x: np.ndarray) -> np.ndarray:
    """The same with a NaN and infinities in it, where it is floating."""
    if x.dtype.kind != "f" or x.size < 64:
        return x
    x = x.copy()
    flat = x.reshape(-1)
    flat[[7, x.size // 2, x.size - 9]] = np.nan, np.inf, -np.inf
    return x


def far_from_bad(x: np.ndarray, like: torch.Tensor, interleaved: bool) -> torch.Tensor:
    """Which pixels of a result have no bad sample of a mosaic within 24 pixels; the rest of them is undefined."""
    if not like.numel():
        return torch.ones(like.shape, dtype=torch.bool)
    bad = torch.from_numpy(~np.isfinite(x)).float()[None, None]
    near = torch.nn.functional.max_pool2d(bad, 49, stride=1, padding=24)
    height, width = like.shape[:2] if interleaved else like.shape[-2:]
    far = torch.nn.functional.interpolate(near, (height, width))[0, 0] == 0
    return (far[..., None] if interleaved else far).expand(like.shape)


def call(
    case: Case, x: np.ndarray, like: torch.Tensor, way: str, device: str, stream: torch.cuda.Stream | None
) -> torch.Tensor:
    """The result of a case on the device: freshly allocated; strided input and out; out and another stream."""
    where = "cuda" if device == "cuda" else "cpu"
    source = to_device(x, where, strided=way == "strided")
    gaps = not OPS[case.op].contiguous  # out may have them between its rows
    if way == "contiguous" or (way == "strided" and not gaps):
        return case(source)
    if way == "strided":
        return case(source, strided_out(like.to(where), case.interleaved))
    out = torch.empty_like(like, device=where)
    if stream is None:
        return case(source, out)
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        case(source, out)
    torch.cuda.current_stream().wait_stream(stream)
    return out


def check_case(case: Case, device: str, quick: bool) -> Iterator[dict[str, Any]]:
    """One record for each size and way of calling."""
    other = torch.cuda.Stream() if device == "cuda" else None
    decides = case.op in ("hot_pixels", "downscale_mosaic") or case.options.get("method") in DECIDING
    for height, width in case.sizes()[: 3 if quick else None]:
        for kind in ("plain", "special"):
            x = case.input(height, width)
            if kind == "special":
                if x.dtype.kind != "f":
                    continue
                x = special(x)
            expected = case(torch.from_numpy(x))
            for way in ("contiguous", "strided", "stream"):
                with by_reference() if device == "reference" else nullcontext():
                    got = call(case, x, expected, way, device, other)
                if device == "cuda":
                    torch.cuda.synchronize()
                if kind == "special" and decides:
                    # What comes of comparing or weighing what is no number may differ, near by.
                    far = far_from_bad(x, expected, case.interleaved)
                    largest, outside = difference(got.cpu()[far], expected[far], case.tolerance)
                else:
                    largest, outside = difference(got, expected, case.tolerance)
                yield {
                    "case": case.label,
                    "size": [height, width],
                    "way": f"{way}, {kind}",
                    "largest_difference": largest,
                    "part_outside": outside,
                }


def correctness(device: str, seconds: float, quick: bool = False) -> dict[str, Any]:
    """All cases in an order that mixes ops, until none is left or the time is up."""
    chosen = list(cases())
    random.Random(0).shuffle(chosen)
    if quick:
        chosen = [c for c in chosen if c.options.get("cfa", "GBRG") in ("GBRG", XTRANS_PATTERN)]
    begin, checks, done, worst, inexact, failures = time.monotonic(), 0, 0, {}, {}, []
    for case in chosen:
        if time.monotonic() - begin > seconds:
            break
        try:
            for record in check_case(case, device, quick):
                checks += 1
                method = case.options.get("method", "")
                allowed = 0.0 if method not in DECIDING else DECIDED_DIFFERENTLY
                if record["part_outside"] > allowed:
                    failures.append(record)
                key = f"{case.op} {method}".strip()
                worst[key] = max(worst.get(key, 0.0), record["largest_difference"])
                inexact[key] = max(inexact.get(key, 0.0), record["part_outside"])
        except Exception as error:  # noqa: BLE001 - the run goes on and says so
            failures.append({"case": case.label, "error": f"{type(error).__name__}: {error}"})
            if device == "cuda" and "CUDA" in str(error):
                traceback.print_exc()
                break  # the context is lost
        done += 1
    return {
        "device": device,
        "checks": checks,
        "cases": done,
        "cases_left_for_lack_of_time": len(chosen) - done,
        "ops_without_a_case": sorted(missing()),
        "largest_difference": worst,
        "part_outside_tolerance": inexact,
        "failures": failures[:50],
        "seconds": round(time.monotonic() - begin, 1),
    }


def sanitize(seconds: float) -> dict[str, str]:
    """compute-sanitizer's verdict over the quick part of the correctness run."""
    tool = shutil.which("compute-sanitizer")
    if tool is None:
        return {"memcheck": "not run: compute-sanitizer is not on the PATH"}
    found = {}
    for check in ("memcheck", "racecheck"):
        command = [tool, "--tool", check, "--error-exitcode", "99", "--print-limit", "20", sys.executable, __file__]
        command += ["--correctness-only", "--quick", "--seconds", str(seconds / 3), "--output", os.devnull]
        # torch's caching allocator hides what lies beyond a tensor; without it each tensor is an allocation.
        environment = {**os.environ, "PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}
        try:
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=seconds)
        except subprocess.TimeoutExpired:
            found[check] = f"not finished within {seconds:.0f} s"
            continue
        summary = [line for line in done.stdout.splitlines() if "SUMMARY" in line]
        verdict = summary[-1].replace("=", "").strip() if summary else (done.stderr or done.stdout)[-400:]
        found[check] = verdict if done.returncode == 0 else f"FAILED ({done.returncode}): {verdict}"
    return found


# --- speed -----------------------------------------------------------------------------------------------------------


class Timer:
    """Median microseconds of a call on the device, the L2 cache cold."""

    def __init__(self) -> None:
        l2 = getattr(torch.cuda.get_device_properties(0), "L2_cache_size", 64 << 20)
        self.flush = torch.empty(2 * l2, dtype=torch.uint8, device="cuda")

    def __call__(self, call: Callable[[], Any], seconds: float = 0.15) -> float:
        for _ in range(5):
            call()
        torch.cuda.synchronize()
        events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        end = time.monotonic() + seconds
        while len(events) < 20 or (time.monotonic() < end and len(events) < 200):
            pair = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            self.flush.zero_()
            pair[0].record()
            call()
            pair[1].record()
            events.append(pair)
            if len(events) % 20 == 0:
                torch.cuda.synchronize()
        torch.cuda.synchronize()
        return 1e3 * median(a.elapsed_time(b) for a, b in events)


def goal(op: str, method: str, half: bool) -> float | None:
    """The fraction of the copy bandwidth that an op must reach."""
    if op in ("pack", "pack_anscombe"):
        return 0.80 if half or op == "pack_anscombe" else 0.85
    if op in ("anscombe", "inverse_anscombe"):
        return 0.85
    if op == "develop":
        return 0.50
    if op == "demosaic" and method in ("bilinear", "malvar"):
        return (0.75, 0.65)[half]
    return {"hamilton-adams": 0.50, "menon": 0.20, "rcd": 0.20, "gbtf": 0.20}.get(method) if op == "demosaic" else None


def timed_cases() -> list[Case]:
    """One case for each op, method, CFA period and dtype of the result; mosaics are uint16, as sensors give them."""
    chosen: dict[tuple[Any, ...], Case] = {}
    for case in cases():
        o = case.options
        takes_mosaic = OPS[case.op].argument == "mosaic"
        if (takes_mosaic and case.source != "uint16") or case.op.endswith("_map"):
            continue
        if case.op in ("develop", "render") and (o["dtype"] != "uint8" or o["curve"] is None):
            continue
        key = (case.op, *map(o.get, ("method", "encode", "dtype", "layout")), len(o.get("cfa", "")), case.source)
        chosen.setdefault(key, case)
    return list(chosen.values())


def speed(timer: Timer, copy_gb_per_s: float, seconds: float) -> tuple[list[dict[str, Any]], int]:
    """A row for each case and size, and how many were left when the time was up."""
    rows: list[dict[str, Any]] = []
    todo = [(size, case) for size in SIZES for case in timed_cases()]
    begin, inputs = time.monotonic(), {}
    for megapixels, case in todo:
        if time.monotonic() - begin > seconds:
            break
        height, width = (side // case.step * case.step for side in SIZES[megapixels])
        key = case.source, case.shape(height, width)
        if key not in inputs:
            inputs = {k: v for k, v in inputs.items() if k[1][-1] == key[1][-1]}
            inputs[key] = torch.from_numpy(case.input(height, width)).cuda()
        x, o = inputs[key], case.options
        if o.get("curve") is not None:
            # Its upload, which a caller with an array pays, is not to be timed.
            case = replace(case, options={**o, "curve": torch.from_numpy(SRGB).cuda()})
        out = case(x)
        taken = timer(partial(case, x, out))
        rate = (x.nbytes + out.nbytes) / taken / 1e3
        cfa = {4: "Bayer", 36: "X-Trans"}.get(len(o.get("cfa", "")), "")
        words = [case.op, o.get("method", ""), cfa, f"{case.source} -> {str(out.dtype).removeprefix('torch.')}"]
        must = goal(case.op, o.get("method", ""), out.dtype in (torch.float16, torch.bfloat16))
        rows.append(
            {
                "name": " ".join(filter(None, [*words, o.get("layout", ""), o.get("encode", "").replace("none", "")])),
                "megapixels": megapixels,
                "us": taken,
                "gb_per_s": rate,
                "fraction": rate / copy_gb_per_s,
                "must": None if cfa == "X-Trans" else must,
            }
        )
    return rows, len(todo) - len(rows)


def copy_bandwidth(timer: Timer) -> float:
    """GB/s, read plus written, of a copy of 512 MiB."""
    source = torch.empty(512 << 20, dtype=torch.uint8, device="cuda").fill_(1)
    target = torch.empty_like(source)
    return 2 * source.nbytes / timer(lambda: target.copy_(source)) / 1e3


def call_overhead() -> float:
    """Microseconds of CPU time for a call with a tiny tensor, out given, in inference mode."""
    x, out = torch.zeros(4, 4, dtype=torch.uint16, device="cuda"), torch.empty(4, 2, 2, device="cuda")
    arguments = ("RGGB", (0.0,) * 4, (1.0,) * 4, (1.0, 1.0, 1.0))
    found = []
    with torch.inference_mode():
        for _ in range(20):
            torch.cuda.synchronize()
            begin = time.perf_counter()
            for _ in range(200):
                ops.pack(x, *arguments, out=out)
            found.append((time.perf_counter() - begin) / 200 * 1e6)
    return min(found[2:])


def machine() -> dict[str, Any]:
    def output(*command: str) -> str:
        try:
            return subprocess.run(command, capture_output=True, text=True, timeout=30).stdout.strip()
        except OSError:
            return "unknown"

    properties = torch.cuda.get_device_properties(0)
    return {
        "gpu": properties.name,
        "memory_gib": round(properties.total_memory / 2**30, 1),
        "l2_mib": getattr(properties, "L2_cache_size", 0) >> 20,
        "compute_capability": f"{properties.major}.{properties.minor}",
        "driver": output("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader").partition("\n")[0],
        "clocks": output(
            "nvidia-smi", "--query-gpu=clocks.sm,clocks.mem,temperature.gpu", "--format=csv,noheader"
        ).partition("\n")[0],
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": sys.version.split()[0],
        "numpy": np.__version__,
        "commit": output("git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD") or "unknown",
        "ops": ops.available(),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu.json"), help="JSON to write")
    parser.add_argument("--device", default="cuda", choices=("cuda", "reference"))
    parser.add_argument("--correctness-only", action="store_true")
    parser.add_argument("--quick", action="store_true", help="small sizes and two CFA patterns")
    parser.add_argument("--seconds", type=float, default=150, help="limit of each part")
    options = parser.parse_args()
    if options.device == "reference" and not options.correctness_only:
        parser.error("--device reference goes with --correctness-only.")
    if options.device == "cuda" and not torch.cuda.is_available():
        print("No GPU: torch sees no CUDA device on this machine, so there is nothing to check.", file=sys.stderr)
        return 2
    if options.device == "cuda" and ops.available()["cuda"] != "native":
        print(f"The CUDA module is not built ({ops.available()['cuda']}): see the top of this file.", file=sys.stderr)
        return 2

    record: dict[str, Any] = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds")}

    def save() -> None:
        # After each part, so that a run that is cut short leaves what it found.
        options.output.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    if options.device == "cuda":
        record["machine"] = machine()
    record["correctness"] = correctness(options.device, options.seconds, options.quick)
    save()
    if not options.correctness_only:
        timer = Timer()
        record["copy_gb_per_s"] = copy_bandwidth(timer)
        record["speed"], record["speed_left_for_lack_of_time"] = speed(timer, record["copy_gb_per_s"], options.seconds)
        record["copy_gb_per_s_at_the_end"] = copy_bandwidth(timer)
        record["call_overhead_us"] = call_overhead()
        save()
        record["sanitizer"] = sanitize(options.seconds / 2)
        save()
    found = record["correctness"]
    left = found["cases_left_for_lack_of_time"]
    print(f"{found['checks']} comparisons, {len(found['failures'])} failures, {left} cases left for lack of time")
    for failure in found["failures"][:10]:
        print("  ", failure)
    for row in record.get("speed", ()):
        words = f"{row['name']:60} {row['megapixels']:3} MP {row['us']:9.1f} us {row['fraction']:5.2f} of copy"
        print(f"  {words}, must {row['must']}")
    for tool, verdict in record.get("sanitizer", {}).items():
        print(f"  {tool}: {verdict}")
    bad = found["failures"] or found["ops_without_a_case"]
    bad = bad or any(verdict.startswith("FAILED") for verdict in record.get("sanitizer", {}).values())
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
