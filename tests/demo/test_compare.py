"""``rawzoo compare``: crops worth looking at, and the sheet."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import rawzoo
from rawzoo import compare
from rawzoo.errors import UsageError
from rawzoo.raw.image import ColorMatrix, RawImage

MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))


def pictures() -> list[np.ndarray]:
    """Grey; fine stripes top left; faint ones in the dark bottom left; two versions that differ top right."""
    first = np.full((400, 600, 3), 120, np.uint8)
    first[:100, :150, :] = np.where(np.arange(150) // 2 % 2, 60, 200)[None, :, None]
    first[300:, :150, :] = np.where(np.arange(150) // 2 % 2, 5, 20)[None, :, None]
    second = first.copy()
    second[:100, 450:] += 30
    return [first, second]


def test_crops_show_detail_difference_darkness_and_an_even_surface() -> None:
    fine, apart, dark, even = compare.choose_crops(pictures(), 100, 150, 4)
    assert (fine.top, fine.left) == (0, 0)
    assert (apart.top, apart.left) == (0, 450)
    assert (dark.top, dark.left) == (300, 0)
    assert np.ptp(pictures()[0][even.slices]) == 0
    assert all((box.height, box.width) == (100, 150) for box in (fine, apart, dark, even))


@pytest.mark.parametrize(("height", "width", "expected"), [(400, 600, 1), (200, 300, 4), (399, 599, 1)])
def test_crops_do_not_overlap(height: int, width: int, expected: int) -> None:
    found = compare.choose_crops(pictures(), height, width, 9)
    assert len(found) == expected
    covered = np.zeros((400, 600), int)
    for box in found:
        covered[box.slices] += 1
    assert covered.max() == 1


def test_models_have_to_be_named_once() -> None:
    for names in ([], ["gbtf", "none", "gbtf"]):
        with pytest.raises(UsageError, match="each once"):
            compare.load(names)


def shot(height: int, width: int) -> RawImage:
    y, x = np.mgrid[:height, :width]
    mosaic = (1500 + 20 * x + 10 * y + np.random.default_rng(0).normal(0, 60, x.shape)).astype(np.uint16)
    colour = {"as_shot_neutral": (0.5, 1.0, 0.65), "color_matrices": (ColorMatrix(21, MATRIX),)}
    return RawImage.from_array(mosaic, cfa="GRBG", black_level=512, white_level=16383, **colour)


@pytest.mark.parametrize("size", [(16, 16), (17, 40), (200, 300)])
def test_sheet_of_any_size(size: tuple[int, int]) -> None:
    columns, seconds = compare.develop_all(shot(*size), compare.load(["none", "malvar", "bilinear"]))
    assert [column.title for column in columns] == ["none: gbtf", "malvar", "bilinear"]
    assert all(second > 0 for second in seconds.values())
    sheet = compare.lay_out(shot(*size), columns, 4)
    assert sheet.size[0] >= 1000


def test_the_command(tmp_path) -> None:
    rawzoo.write_dng(tmp_path / "shot.dng", shot(720, 960))
    code = "from rawzoo.cli import main; main()"
    command = [sys.executable, "-c", code, "compare", "shot.dng", "--models", "bilinear,none"]
    found = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    lines = found.stdout.splitlines()
    assert [line.split(":")[0] for line in lines[:2]] == ["bilinear", "none"]
    assert lines[2:] == ["shot-compare.png"]
    with Image.open(tmp_path / "shot-compare.png") as sheet:
        pixels = np.asarray(sheet.convert("RGB"))
    # The crops are there as they are, the last column's too.
    picture = rawzoo.develop(rawzoo.open(tmp_path / "shot.dng"))
    (box,) = compare.choose_crops([rawzoo.develop(shot(720, 960), "bilinear"), picture], 240, 320, 1)
    crop = picture[box.slices][30:60, 30:60]
    windows = np.lib.stride_tricks.sliding_window_view(pixels[..., 1], (30, 1))[..., 0]
    assert (windows == crop[:, 0, 1]).all(axis=-1).any()
    wrong = subprocess.run([*command[:-1], "no-such"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert len(wrong.stderr.splitlines()) == 1
