"""A 12-megapixel DNG file to an sRGB 8-bit array, against LibRaw through rawpy."""

from pathlib import Path

import pytest
import rawpy
from pytest_benchmark.fixture import BenchmarkFixture

import rawzoo


def with_rawzoo(path: Path) -> object:
    return rawzoo.develop(rawzoo.open(path))


def with_libraw(path: Path, algorithm: rawpy.DemosaicAlgorithm) -> object:
    with rawpy.imread(str(path)) as raw:
        return raw.postprocess(use_camera_wb=True, no_auto_bright=True, demosaic_algorithm=algorithm)


@pytest.mark.benchmark(group="12 MP DNG to sRGB u8")
@pytest.mark.parametrize("developer", ["rawzoo", "PPG", "AHD"])
def test_file_to_srgb(benchmark: BenchmarkFixture, dng_12mp: Path, developer: str) -> None:
    if developer == "rawzoo":
        picture = benchmark.pedantic(with_rawzoo, (dng_12mp,), rounds=7, warmup_rounds=1)
    else:
        algorithm = rawpy.DemosaicAlgorithm[developer]
        picture = benchmark.pedantic(with_libraw, (dng_12mp, algorithm), rounds=3, warmup_rounds=1)
    assert picture.shape == (3000, 4000, 3)
