"""Fixtures of the benchmarks: mosaics and files of 12 and 24 megapixels, made here, and what the JSON record says."""

import os
import platform
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import peers
import pytest
import torch
from mosaics import make_raw

import rawzoo
from rawzoo import ops
from rawzoo.raw.cfa import XTRANS_PATTERN
from rawzoo.raw.image import RawImage

SIZES = {12: (3000, 4000), 24: (4000, 6000)}
PACKAGES = (
    "rawzoo", "numpy", "torch", "opencv-python-headless", "colour-demosaicing", "kornia", "rawpy", "scikit-image",
)  # fmt: skip


@pytest.fixture(scope="session")
def raw_12mp() -> RawImage:
    return make_raw(*SIZES[12])


@pytest.fixture(scope="session")
def dng_12mp(raw_12mp: RawImage, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "12mp.dng"
    rawzoo.write_dng(path, raw_12mp)
    return path


@pytest.fixture(scope="session")
def xtrans_dng_12mp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Whole tiles, as LibRaw asks.
    path = tmp_path_factory.mktemp("bench") / "12mp-xtrans.dng"
    rawzoo.write_dng(path, make_raw(3000, 3996, XTRANS_PATTERN))
    return path


@pytest.fixture(params=sorted(SIZES), ids=lambda megapixels: f"{megapixels}MP", scope="session")
def megapixels(request: pytest.FixtureRequest) -> int:
    return int(request.param)


@pytest.fixture(scope="session")
def mosaic(megapixels: int) -> np.ndarray:
    """uint16, the same samples for Bayer and X-Trans."""
    return np.asarray(make_raw(*SIZES[megapixels]).data)


@pytest.fixture(params=[1, 2], ids=["1thread", "2threads"])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    """Threads that rawzoo, torch, OpenCV and LibRaw may use."""
    if request.param > ops.num_threads():
        pytest.skip("this machine has one core")
    before = torch.get_num_threads()
    peers.set_threads(request.param)
    yield request.param
    peers.set_threads(before)


def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    machine_info.pop("node", None)  # the host's name is nobody's business
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = None
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    machine_info.update(
        versions=versions,
        python=platform.python_version(),
        cores=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        memory_gib=round(pages / 2**30, 1),
        load=os.getloadavg(),
        ops=ops.available(),
    )
