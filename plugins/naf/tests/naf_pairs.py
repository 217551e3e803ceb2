"""A folder of raw files as RawNIND's, made of one picture: shifted, turned, darker, noisy; and ``rawzoo naf`` on it."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from typer.testing import CliRunner

import rawzoo
from rawzoo.cli import app
from rawzoo.raw.cfa import color_tile
from rawzoo.raw.image import ColorMatrix, Metadata
from rawzoo.zoo.manager import register_commands

MATRIX = ColorMatrix(21, ((0.7034, -0.0804, -0.1014), (-0.442, 1.2564, 0.2058), (-0.0851, 0.1994, 0.5758)))


class View:
    """A continuous picture of things of all sizes, drawn four times as fine as it is seen."""

    def __init__(self, height: int = 240, width: int = 320, oversampling: int = 4) -> None:
        self.shape, self.s = (height, width), oversampling
        rng = np.random.default_rng(5)
        size = oversampling * (width + 32), oversampling * (height + 32)
        picture = Image.new("RGB", size, (70, 90, 110))
        draw = ImageDraw.Draw(picture)
        for i in range(700):
            x, y, w, h = rng.random(4) * (*size, *[400 / (1 + i / 20) + 12] * 2)
            shape = (draw.rectangle, draw.ellipse)[i % 2]
            shape((x - w / 2, y - h / 2, x + w / 2, y + h / 2), fill=tuple(rng.integers(10, 250, 3).tolist()))
        self.fine = (np.asarray(picture.filter(ImageFilter.GaussianBlur(oversampling / 2)), np.float32) / 255) ** 2.2

    def seen(self, shift: tuple[float, float] = (0.0, 0.0), degrees: float = 0.0) -> np.ndarray:
        """``[H, W, 3]``: pixel (x, y) shows the place R (x, y) + shift, with R a turn around the origin."""
        import cv2

        height, width = self.shape
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        k, o = self.s, (self.s - 1) / 2
        rotation = np.array([[c, -s], [s, c]])
        # Fine pixels of the output, which a box then joins, to fine pixels of the picture.
        origin = k * (np.array(shift) + 16) + o - rotation @ [o, o]
        matrix = np.column_stack([rotation, origin])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        fine = cv2.warpAffine(self.fine, matrix, (k * width, k * height), flags=flags)
        return fine.reshape(height, k, width, k, 3).mean((1, 3))


def matrix_of(shift: tuple[float, float], degrees: float) -> np.ndarray:
    """What aligning ``seen(shift, degrees)`` to ``seen()`` must find."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, shift[0]], [s, c, shift[1]]])


def raw_of(
    picture: np.ndarray, *, iso: float, gain: float = 1.0, noise: float = 1e-6, cfa: str = "RGGB", seed: int = 0
) -> rawzoo.RawImage:
    """A mosaic of a picture, with noise of variance ``noise`` times the signal; black 512, white 16383."""
    height, width, _ = picture.shape
    tile = color_tile(cfa)
    period = len(tile)
    y, x = np.mgrid[:height, :width]
    balance = np.array([0.55, 1.0, 0.65])
    values = gain * np.take_along_axis(picture * balance, tile[y % period, x % period][..., None], 2)[..., 0]
    values = np.random.default_rng(seed).poisson(values.clip(0, 1.2) / noise) * noise
    return rawzoo.RawImage.from_array(
        (512 + 15871 * values).round().clip(0, 16383).astype(np.uint16),
        cfa=cfa,
        black_level=512,
        white_level=16383,
        as_shot_neutral=(0.55, 1.0, 0.65),
        color_matrices=[MATRIX],
        noise_profile=[(noise, 1e-8)],
        metadata=Metadata(iso=iso),
    )


def write(folder: Path, scene: str, iso: int, raw: rawzoo.RawImage, truth: bool = False, cfa: str = "Bayer") -> Path:
    """A DNG named as in RawNIND."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{cfa}_{scene}{'_GT' * truth}_ISO{iso}_sha1={iso:040x}.dng"
    rawzoo.write_dng(path, raw)
    return path


def rawzoo_naf(*arguments):
    register_commands(app)
    return CliRunner().invoke(app, ["naf", *map(str, arguments)])


def rows_of(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
