"""What a crop of a pair costs when it is read from disk: of whole raw files, of raw crops, of the small JPEG set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from measure import Peer, versus
from mosaics import make_raw
from pytest_benchmark.fixture import BenchmarkFixture
from typer.testing import CliRunner

import rawzoo
from conftest import SIZES
from rawzoo.cli import app
from rawzoo.raw.image import Metadata
from rawzoo.training.datasets import TrainingData
from rawzoo.zoo.manager import register_commands

datasets: Any = pytest.importorskip("rawzoo_naf.datasets", reason="the plugin rawzoo-naf is not installed")

CROP, EDGE = 256, 2000


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tables of two aligned pairs of 24 MP, lossless JPEG, and of what ``rawzoo naf make-small`` makes of them."""
    folder = tmp_path_factory.mktemp("pairs")
    clean = replace(make_raw(*SIZES[24]), metadata=Metadata(iso=6400.0))
    grain = np.random.default_rng(1).normal(0, 200, clean.data.shape)
    noisy = replace(clean, data=np.clip(clean.data + grain, 0, 16383).astype(np.uint16))
    rows = ["noisy,clean,scene,iso"]
    for scene in ("held-out", "trained"):
        for name, raw in (("noisy", noisy), ("clean", clean)):
            rawzoo.write_dng(folder / f"{scene}-{name}.dng", raw, compression="ljpeg")
        rows.append(f"{scene}-noisy.dng,{scene}-clean.dng,{scene},6400")
    table = folder / "pairs.csv"
    table.write_text("\n".join(rows) + "\n")
    register_commands(app)
    for name, options in (("small", []), ("crops", ["--raw"])):
        result = CliRunner().invoke(
            app, ["naf", "make-small", str(table), "-o", str(folder / name), "--size", str(EDGE), *options]
        )
        assert result.exit_code == 0, result.output
    return {"whole": table, "crops": folder / "crops" / "pairs.csv", "small": folder / "small" / "pairs.csv"}


def reader(data: TrainingData) -> Callable[[], Any]:
    rng = np.random.default_rng(0)
    return lambda: data.sample(0, rng)


def megabytes(table: Path) -> float:
    files = [f for f in table.parent.glob("*trained*") if f.is_file()]
    return sum(f.stat().st_size for f in files) / 1e6


@pytest.mark.benchmark(group="training data")
@pytest.mark.parametrize("threads", [1], indirect=True)
def test_reading_pairs(benchmark: BenchmarkFixture, threads: int, pairs: dict[str, Path]) -> None:
    options = {"validation": ["held-out"], "patch": CROP, "memory": 0.0}
    names = {
        "whole": f"raw files of {SIZES[24][0]} x {SIZES[24][1]}, lossless JPEG DNG",
        "crops": f"raw crops of {EDGE} x {EDGE}, DNG",
        "small": f"the small set: {EDGE} x {EDGE}, JPEG",
    }
    read = {
        name: reader((datasets.SmallSet if name == "small" else datasets.RawNind)(str(table), **options))
        for name, table in pairs.items()
    }
    versus(
        benchmark,
        read["small"],
        {names[key]: Peer(read[key], slow=key == "whole") for key in ("whole", "crops")},
        name=names["small"],
        crop=CROP,
        threads=threads,
        megapixels=CROP * CROP / 1e6,
        megabytes={names[key]: megabytes(table) for key, table in pairs.items()},
    )
