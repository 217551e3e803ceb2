"""Every denoiser against the TreeNet architectures of Raw Refinery: seconds and memory, raw or picture to sRGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
#: Other cards of the plugin, and the edge of a picture that they take seconds for; ``treenet`` is TreeNet, width 32.
CARDS = {"cond-naf": 512, "nafnet-denoise": 512, "nafnet-deblur": 512}


def denoiser(name: str) -> Predictor:
    card = registry.card("treenet" if name in PUBLISHED else name)
    card = replace(card, config={**card.config, **PUBLISHED.get(name, {})})
    return Predictor(card, registry.build(card), tile=None)


def noisy(height: int, width: int) -> RawImage:
    return replace(make_raw(height, width), noise_profile=((1e-3, 1e-6),), metadata=Metadata(iso=6400.0))


def work(predictor: Predictor, raw: RawImage) -> Callable[[], npt.ArrayLike]:
    """Developing the raw image, or restoring a picture of its size."""
    if predictor.card.task == "demosaic":
        return lambda: rawzoo.develop(raw, predictor)
    picture = rawzoo.Picture.from_array(rawzoo.develop(raw, "bilinear"))
    return lambda: np.round(255 * rawzoo.run(predictor, picture).picture).astype(np.uint8)


def peak_gigabytes(job: tuple[str, int, int]) -> float:
    """Of a process that develops one picture, which it has in memory, and does nothing else."""
    name, height, width = job
    call = work(denoiser(name), noisy(height, width))
    # From here on: making the raw image took more.
    Path("/proc/self/clear_refs").write_text("5")
    call()
    # Not ru_maxrss, which a child has from its parent.
    (peak,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) / 2**20


@pytest.mark.benchmark(group="denoisers")
@pytest.mark.parametrize("model", [*OURS, *CARDS])
def test_denoiser(benchmark: BenchmarkFixture, threads: int, model: str) -> None:
    if model not in [card.name for card in registry.models()]:
        pytest.skip(f"the plugin with {model} is not installed")
    edge = CARDS.get(model, 1024)
    raw, own = noisy(edge, edge), denoiser(model)
    call, full = work(own, raw), work(Predictor(own.card, own.module, dtype="float32"), raw)
    peers = {name: Peer(work(denoiser(name), raw), slow=True) for name in PUBLISHED}
    gap = np.abs(np.asarray(call(), int) - np.asarray(full(), int))
    versus(
        benchmark,
        call,
        {"itself in float32": Peer(full, slow=model in CARDS), **peers},
        name=f"{model}, {'raw' if own.card.task == 'demosaic' else 'picture'} to sRGB",
        megapixels=edge * edge / 2**20,
        threads=threads,
        accuracy={"against": "float32, 8 bit", "max_difference": int(gap.max()), "equal": float(np.mean(gap <= 1))},
    )


SIZES = [(name, 1000, 2000) for name in (*OURS, *PUBLISHED, *CARDS)]
SIZES += [(name, height, width) for height, width in ((4000, 6000), (8000, 12500)) for name in OURS[:2]]


@pytest.mark.benchmark(group="denoisers")
@pytest.mark.parametrize("job", SIZES, ids=lambda job: f"{job[0]}-{job[1] * job[2] // 10**6}MP")
def test_memory(benchmark: BenchmarkFixture, job: tuple[str, int, int]) -> None:
    """Peak memory of a whole process; not a time."""

    def measure() -> float:
        with get_context("spawn").Pool(1) as pool:
            return pool.apply(peak_gigabytes, (job,))

    peak = benchmark.pedantic(measure, rounds=1)
    name, height, width = job
    benchmark.extra_info.update(name="memory of denoisers", gigabytes={f"{name}, {height * width // 10**6} MP": peak})
