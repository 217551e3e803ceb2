"""Raw images made here, of any size."""

import numpy as np

from rawzoo.raw.image import ColorMatrix, RawImage

MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))


def make_raw(height: int, width: int, cfa: str = "RGGB") -> RawImage:
    """A smooth scene with texture and noise: what a demosaicer's branches meet in a photograph."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    scene = 4000 + 3000 * np.sin(x / 97) * np.cos(y / 61) + 800 * np.sin(x * y / 90000)
    scene += np.random.default_rng(0).normal(0, 60, scene.shape).astype(np.float32)
    return RawImage.from_array(
        np.clip(scene, 0, 16383).astype(np.uint16),
        cfa=cfa,
        black_level=512,
        white_level=16383,
        as_shot_neutral=(0.5, 1.0, 0.65),
        color_matrices=(ColorMatrix(21, MATRIX),),
    )
