"""Comparison sheets: what is pasted must be the pixels of the pictures."""

import numpy as np
import pytest

from rawzoo.errors import UsageError
from rawzoo.raw.image import Box
from rawzoo.sheet import Column, comparison_sheet

BOXES = (Box(10, 20, 42, 84), Box(70, 100, 102, 164))


def picture(seed, height=160, width=240):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def places(sheet, patch):
    """Where (top, left) ``patch`` is in ``sheet``, pixel for pixel."""
    height, width = patch.shape[:2]
    fits = np.ones((sheet.shape[0] - height + 1, sheet.shape[1] - width + 1), bool)
    for y, x in ((0, 0), (height - 1, width - 1), (height // 2, width // 3)):
        fits &= np.all(sheet[y : y + fits.shape[0], x : x + fits.shape[1]] == patch[y, x], axis=2)
    return [(y, x) for y, x in np.argwhere(fits) if np.array_equal(sheet[y : y + height, x : x + width], patch)]


@pytest.mark.parametrize("count", [1, 2, 6])
def test_crops_are_pasted_pixel_for_pixel_in_a_grid(count):
    columns = [Column(f"column {seed}", picture(seed), "a note") for seed in range(count)]
    sheet = np.asarray(comparison_sheet(columns, BOXES, heading="heading", caption="two\nlines", magnify=3))
    tops, lefts = [], []
    for column in columns:
        for box in BOXES:
            # Rows below the numbers that mark the first column.
            crop = column.picture[box.slices].repeat(3, 0).repeat(3, 1)[24:]
            (place,) = places(sheet, crop)
            tops.append(place[0])
            lefts.append(place[1])
    assert tops == tops[:2] * count
    assert lefts == sorted(lefts)
    assert len(set(lefts)) == count
    # Margins are equal and nothing is cut off: the frame is plain background.
    assert len(np.unique(np.concatenate([sheet[:40].reshape(-1, 3), sheet[-40:].reshape(-1, 3)]), axis=0)) == 1
    assert len(np.unique(np.concatenate([sheet[:, :40], sheet[:, -40:]], axis=1).reshape(-1, 3), axis=0)) == 1


def test_the_last_picture_is_shown_whole():
    plain = np.full((160, 240, 3), 90, np.uint8)
    columns = [Column("first", picture(0)), Column("last", plain)]
    sheet = np.asarray(comparison_sheet(columns, BOXES, heading="heading"))
    # 240 pixels wide enlarged to the sheet's inner width of 1080: 4.5 times along both axes.
    share = np.mean(np.all(sheet == 90, axis=2))
    assert share > 0.9 * 1080 * 720 / (sheet.shape[0] * sheet.shape[1])


@pytest.mark.parametrize(
    ("columns", "crops", "message"),
    [
        ([], BOXES, "at least one"),
        ([Column("a", picture(0))], (), "at least one"),
        ([Column("a", picture(0)), Column("b", picture(1, 100))], BOXES, "differ in size"),
        ([Column("a", picture(0).astype(np.float32))], BOXES, "uint8"),
        ([Column("a", picture(0))], (Box(0, 0, 161, 64),), "outside"),
        ([Column("a", picture(0))], (BOXES[0], Box(0, 0, 32, 32)), "one shape"),
    ],
)
def test_senseless_calls_are_refused(columns, crops, message):
    with pytest.raises(UsageError, match=message):
        comparison_sheet(columns, crops, heading="heading")
