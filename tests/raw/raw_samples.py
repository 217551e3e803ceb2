"""Raw images to write and open; the tests of this folder import it by its bare name."""

from dataclasses import replace
from datetime import datetime

import numpy as np

from rawzoo.raw.cfa import XTRANS_PATTERN
from rawzoo.raw.image import Box, ColorMatrix, Metadata, RawImage

KINDS = ("RGGB", "BGGR", "GRBG", "GBRG", "xtrans", "mono", "linear")
MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))
MATRIX_A = ((0.8532, -0.1892, -0.0521), (-0.3271, 1.1012, 0.2598), (-0.0198, 0.1401, 0.5893))


def build_raw(kind: str = "RGGB", height: int = 61, width: int = 83, seed: int = 0) -> RawImage:
    """Random data over the full 16 bit range, and a value in every field."""
    rng = np.random.default_rng(seed)
    channels = {"mono": 1, "linear": 3, "xtrans": 3}.get(kind, 4)
    shape = (height, width, 3) if kind == "linear" else (height, width)
    colour = kind != "mono"
    raw = RawImage.from_array(
        rng.integers(0, 65536, shape, dtype=np.uint16),
        cfa={"xtrans": XTRANS_PATTERN, "mono": None, "linear": None}.get(kind, kind),
        black_level=(500.25, 510.0, 520.0, 531.5)[:channels],
        white_level=16383,
        as_shot_neutral=(0.4711, 1.0, 0.6123) if colour else None,
        color_matrices=(ColorMatrix(17, MATRIX_A), ColorMatrix(21, MATRIX)) if colour else (),
        noise_profile=[(1e-4, 1e-6)],
        orientation=6,
        metadata=Metadata(
            make="Acme",
            model="Acme One",
            lens="Acme 50mm F1.8",
            iso=200.0,
            shutter_s=1 / 60,
            aperture=5.6,
            focal_length_mm=50.0,
            time=datetime(2026, 2, 28, 12, 30, 59),
        ),
    )
    return replace(raw, default_crop=Box(2, 4, height - 3, width - 5), baseline_exposure=-0.35, noise_reduction=0.25)
