"""rawzoo's own denoisers against the TreeNet architectures of Raw Refinery: seconds and memory, raw to sRGB."""

from __future__ import annotations

from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from measure import Peer, versus
from pytest_benchmark.fixture import BenchmarkFixture

import rawzoo
from conftest import make_raw
from rawzoo.inference.predictor import Predictor
from rawzoo.raw.image import Metadata, RawImage
from rawzoo.zoo import registry

#: Time does not depend on the weights, and TreeNet's published ones are not rawzoo's to ship.
PUBLISHED = {"TreeNet, width 8": {"width": 8}, "TreeNet, width 32": {"width": 32}}
OURS = ("naf-tiny", "naf-small", "naf-base")


def denoiser(name: str) -> Predictor:
    card = registry.card("treenet" if name in PUBLISHED else name)
    card = replace(card, config={**card.config, **PUBLISHED.get(name, {})})
    return Predictor(card, registry.build(card), tile=None)


def noisy(height: int, width: int) -> RawImage:
    return replace(make_raw(height, width), noise_profile=((1e-3, 1e-6),), metadata=Metadata(iso=6400.0))


def peak_gigabytes(job: tuple[str, int, int]) -> float:
    """Of a process that develops one picture, which it has in memory, and does nothing else."""
    name, height, width = job
    raw, predictor = noisy(height, width), denoiser(name)
    # From here on: making the raw image took more.
    Path("/proc/self/clear_refs").write_text("5")
    rawzoo.develop(raw, predictor)
    # Not ru_maxrss, which a child has from its parent.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 2**20


@pytest.mark.benchmark(group="denoisers")
@pytest.mark.parametrize("model", OURS)
def test_denoiser(benchmark: BenchmarkFixture, threads: int, model: str) -> None:
    if model not in [card.name for card in registry.models()]:
        pytest.skip(f"the plugin with {model} is not installed")
    raw = noisy(1024, 1024)
    own, published = denoiser(model), {name: denoiser(name) for name in PUBLISHED}
    full = Predictor(own.card, own.module, dtype="float32")
    peers = {name: Peer(lambda p=p: rawzoo.develop(raw, p), slow=True) for name, p in published.items()}
    gap = np.abs(rawzoo.develop(raw, own).astype(int) - rawzoo.develop(raw, full).astype(int))
    versus(
        benchmark,
        lambda: rawzoo.develop(raw, own),
        {"itself in float32": Peer(lambda: rawzoo.develop(raw, full)), **peers},
        name=f"{model}, raw to sRGB",
        megapixels=1,
        threads=threads,
        accuracy={"against": "float32, 8 bit", "max_difference": int(gap.max()), "equal": float(np.mean(gap <= 1))},
    )


@pytest.mark.benchmark(group="denoisers")
def test_memory(benchmark: BenchmarkFixture) -> None:
    """Peak memory of whole processes; not a time."""
    jobs = [(name, 1000, 2000) for name in (*OURS, *PUBLISHED)] + [(name, 4000, 6000) for name in OURS[:2]]
    jobs.append(("naf-tiny", 8000, 12500))

    def measure() -> dict[str, float]:
        # A process for each, so that none inherits another's peak.
        with get_context("spawn").Pool(1, maxtasksperchild=1) as pool:
            peaks = pool.map(peak_gigabytes, jobs, chunksize=1)
        return {f"{name}, {h * w // 10**6} MP": peak for (name, h, w), peak in zip(jobs, peaks, strict=True)}

    benchmark.extra_info.update(name="memory of denoisers", gigabytes=benchmark.pedantic(measure, rounds=1))
