"""How good the demosaicers are: on scikit-image's photographs, and against LibRaw on the shared ones."""

from pathlib import Path

import numpy as np
import peers
import pytest
from PIL import Image
from skimage import data

from rawzoo import developer, ops
from rawzoo.raw.cfa import BAYER_PATTERNS, color_tile
from rawzoo.zoo import registry

PHOTOS = Path(__file__).parents[2] / "../shared/data/photos"


def mosaic_of(image: np.ndarray, cfa: str = "RGGB") -> np.ndarray:
    y, x = np.indices(image.shape[:2])
    return np.take_along_axis(image, color_tile(cfa)[y % 2, x % 2][..., None], 2)[..., 0]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((a - b)[8:-8, 8:-8] ** 2)))


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    return [getattr(data, name)()[..., :3] / 255 for name in ("astronaut", "chelsea", "coffee", "rocket")]


@pytest.mark.parametrize(
    ("method", "least"), [("bilinear", 30.9), ("malvar", 34.0), ("hamilton-adams", 35.6), ("menon", 35.7),
                          ("rcd", 35.6), ("gbtf", 36.4)],
)  # fmt: skip
def test_quality(pictures: list[np.ndarray], method: str, least: float) -> None:
    by_phase = []
    for cfa in BAYER_PATTERNS:
        figures = []
        for picture in pictures:
            mosaic = np.round(mosaic_of(picture, cfa) * 65535).astype(np.uint16)
            rgb = ops.demosaic(mosaic, cfa, method, layout="interleaved")
            figures.append(psnr(rgb / 65535.0, picture))
        by_phase.append(np.mean(figures))
    assert min(by_phase) > least - 0.1
    assert by_phase[0] > least  # RGGB
    assert np.ptp(by_phase) < 0.25


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    """Linear crops."""
    if not PHOTOS.is_dir():
        pytest.skip(f"the shared photographs are not at {PHOTOS}")
    files = [*sorted((PHOTOS / "clic").iterdir())[::8], *sorted((PHOTOS / "gb82").iterdir())[::8]][:6]
    crops = []
    for file in files:
        encoded = np.asarray(Image.open(file).convert("RGB"))
        top, left = ((n - 256) // 4 * 2 for n in encoded.shape[:2])
        v = encoded[top : top + 256, left : left + 256] / 255
        crops.append(np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4))
    return crops


@pytest.mark.parametrize("gain", [0.0, 2e-4, 1e-3, 4e-3, 1.6e-2])
def test_default_developer_against_libraw(photographs: list[np.ndarray], gain: float) -> None:
    # PSNR of the square roots of linear values, at noise from none to far beyond ISO 25600.
    rng = np.random.default_rng(0)
    config = registry.card(developer.DEFAULT_DEVELOPER[2]).config
    ours, theirs = [], []
    for picture in photographs:
        mosaic = mosaic_of(picture)
        if gain:
            mosaic = rng.poisson(mosaic / gain) * gain + rng.normal(0, 1.8 * gain**1.09, mosaic.shape)
        for rgb, figures in (
            (ops.demosaic(mosaic.astype(np.float32), "RGGB", layout="interleaved", **config), ours),
            (peers.libraw_demosaic(mosaic, "AHD"), theirs),
        ):
            figures.append(psnr(np.sqrt(np.clip(rgb, 0, 1)), np.sqrt(picture)))
    assert np.mean(ours) > np.mean(theirs) + (0 if gain else 3)
