"""White balance of a 12-megapixel mosaic that has been read, by the networks of plugins/awb, against its statistics
alone as the reference's converter makes them: NumPy and OpenCV. The goal is in milliseconds: 20."""

from pathlib import Path
from typing import Any

import numpy as np
import peers
import pytest
from measure import Peer, versus
from pytest_benchmark.fixture import BenchmarkFixture

import rawzoo
from rawzoo.raw.image import Metadata, RawImage
from rawzoo.tasks.white_balance import estimate
from rawzoo.testing import write_random_weights

statistics = pytest.importorskip("rawzoo_awb.statistics")
cv2 = pytest.importorskip("cv2")

#: Rows and columns of the mosaic, white level: cells of fractions of samples, cells of whole ones, an odd white level.
SENSORS = {"4056x3040": (3040, 4056, 4095), "4096x3072": (3072, 4096, 65535), "4000x3000": (3000, 4000, 15000)}


def with_opencv(raw: RawImage, rows: int, columns: int) -> Any:
    top, bottom = raw.mosaic[0::2].astype(np.float64), raw.mosaic[1::2].astype(np.float64)
    planes = np.stack([top[:, 0::2], (top[:, 1::2] + bottom[:, 0::2]) / 2, bottom[:, 1::2]], axis=-1)
    stack = np.clip((planes - raw.black_level[0]) / raw.white_level[0], 0, 1) * 65535
    return cv2.resize(stack.astype(np.uint16), (columns, rows), interpolation=cv2.INTER_AREA)


@pytest.mark.benchmark(group="white balance, read mosaic to gains")
@pytest.mark.parametrize("model", ["awb-pisp", "awb-vc4"])
@pytest.mark.parametrize("sensor", SENSORS)
def test_white_balance(
    benchmark: BenchmarkFixture, raw_12mp: RawImage, tmp_path: Path, threads: int, sensor: str, model: str
) -> None:
    height, width, white = SENSORS[sensor]
    scene = np.asarray(np.resize(raw_12mp.mosaic, (height, width)) * (white / 16383), np.uint16)
    raw = RawImage.from_array(
        scene,
        cfa="RGGB",
        black_level=white // 32,
        white_level=white,
        color_matrices=raw_12mp.color_matrices,
        metadata=Metadata(iso=100.0, shutter_s=0.01, aperture=2.0),
    )
    # As fast as with trained ones.
    predictor = rawzoo.load(model, weights=write_random_weights(model, tmp_path / "random.safetensors"))
    rows, columns = predictor.card.config["grid"]
    # The reference's sums are float32.
    gap = np.abs(statistics.grid(raw, rows, columns) - with_opencv(raw, rows, columns).astype(int))
    versus(
        benchmark,
        lambda: estimate(raw, predictor),
        {
            "NumPy and OpenCV, statistics only": Peer(lambda: with_opencv(raw, rows, columns), slow=True),
            **{name: Peer(call) for name, call in peers.copies(scene.nbytes, threads).items()},
        },
        name=f"{model}, {sensor}, white {white}",
        megapixels=12,
        threads=threads,
        accuracy={"against": "OpenCV", "max_difference": float(gap.max()), "equal": float(np.mean(gap <= 1))},
    )
