"""Comparison sheets: one picture made in several ways, whole and in magnified crops side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.raw.image import Box

if TYPE_CHECKING:
    from PIL import Image

_BACKGROUND = (27, 27, 29)
_TEXT = (236, 236, 238)
_QUIET = (150, 151, 156)
_MARK = (255, 196, 61)
_MARGIN = 56
_GAP = 14
_LEAST_WIDTH = 1080


@dataclass(frozen=True)
class Column:
    """One way of making the picture.

    Attributes:
        title: its name.
        picture: uint8 ``[H, W, 3]`` in sRGB; all columns of a sheet have the same size.
        note: a short line under the title, such as a figure of merit.
    """

    title: str
    picture: npt.NDArray[np.uint8]
    note: str = ""


def comparison_sheet(
    columns: Sequence[Column],
    crops: Sequence[Box],
    *,
    heading: str,
    caption: str = "",
    magnify: int = 3,
    whole_height: int | None = None,
) -> Image.Image:
    """Lay out a sheet: the last column's picture whole, with the crops marked; below, each crop of each column.

    Args:
        columns: the pictures to compare, left to right.
        crops: what to show of each, top to bottom, one shape for all.
        heading, caption: above the picture; the caption may have several lines.
        magnify: pixels of the sheet per pixel of a crop, along both axes (nearest neighbour).
        whole_height: how high the whole picture may become; it is as wide as the sheet otherwise.

    Returns:
        An RGB image.

    Raises:
        UsageError: no column or crop, pictures of different sizes, or a crop of another shape or outside the picture.
    """
    from PIL import Image, ImageDraw

    _check(columns, crops)
    cell_width, cell_height = crops[0].width * magnify, crops[0].height * magnify
    inner = max(len(columns) * (cell_width + _GAP) - _GAP, _LEAST_WIDTH)
    shown = columns[-1]
    whole = Image.fromarray(shown.picture)
    scale = inner / whole.width
    if whole_height is not None:
        scale = min(scale, whole_height / whole.height)
    size = (max(round(whole.width * scale), 1), max(round(whole.height * scale), 1))
    whole = whole.resize(size, Image.Resampling.LANCZOS)

    lines = caption.splitlines()
    whole_top = _MARGIN + 64 + 27 * len(lines) + 14
    head_top = whole_top + whole.height + 62
    grid_top = head_top + 72
    height = grid_top + len(crops) * (cell_height + _GAP) - _GAP + _MARGIN
    sheet = Image.new("RGB", (inner + 2 * _MARGIN, height), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)

    def text(x: int, y: int, words: str, size: int, color: tuple[int, int, int]) -> None:
        draw.text((x, y), words, fill=color, font=_font(size), anchor="ls")

    def badge(x: int, y: int, number: int) -> None:
        draw.rectangle((x, y, x + 21, y + 23), fill=_MARK)
        draw.text((x + 11, y + 12), str(number), fill=_BACKGROUND, font=_font(17), anchor="mm")

    text(_MARGIN - 2, _MARGIN + 34, heading, 44, _TEXT)
    for number, line in enumerate(lines):
        text(_MARGIN, _MARGIN + 80 + 27 * number, line, 19, _QUIET)

    sheet.paste(whole, (_MARGIN, whole_top))
    for number, box in enumerate(crops, 1):
        left, top = round(_MARGIN + box.left * scale), round(whole_top + box.top * scale)
        right, bottom = round(_MARGIN + box.right * scale), round(whole_top + box.bottom * scale)
        draw.rectangle((left - 2, top - 2, right + 1, bottom + 1), outline=_MARK, width=2)
        badge(left - 2, top - 2, number)
    closer = f"{magnify} x magnified" if magnify > 1 else "at 100 %"
    text(_MARGIN, whole_top + whole.height + 28, f"whole: {shown.title}; below, {closer}", 17, _QUIET)

    for index, column in enumerate(columns):
        left = _MARGIN + index * (cell_width + _GAP)
        text(left, head_top + 24, column.title, 27, _TEXT)
        text(left, head_top + 54, column.note, 18, _QUIET)
        for number, box in enumerate(crops):
            crop = Image.fromarray(np.ascontiguousarray(column.picture[box.slices]))
            top = grid_top + number * (cell_height + _GAP)
            sheet.paste(crop.resize((cell_width, cell_height), Image.Resampling.NEAREST), (left, top))
            if index == 0:
                badge(left, top, number + 1)
    return sheet


def _check(columns: Sequence[Column], crops: Sequence[Box]) -> None:
    if not columns or not crops:
        raise UsageError("a comparison sheet needs at least one column and one crop.")
    shape = columns[0].picture.shape
    for column in columns:
        if column.picture.dtype != np.uint8 or column.picture.ndim != 3 or column.picture.shape[2] != 3:
            raise UsageError(f"the picture of {column.title!r} must be uint8 [H, W, 3].")
        if column.picture.shape != shape:
            raise UsageError(
                f"the pictures of {columns[0].title!r} and {column.title!r} differ in size: "
                f"{shape[1]} x {shape[0]} and {column.picture.shape[1]} x {column.picture.shape[0]}."
            )
    for box in crops:
        if not (0 <= box.top < box.bottom <= shape[0] and 0 <= box.left < box.right <= shape[1]):
            raise UsageError(f"crop {tuple(box)} lies outside the picture of {shape[1]} x {shape[0]} pixels.")
        if (box.height, box.width) != (crops[0].height, crops[0].width):
            raise UsageError("all crops of a comparison sheet must have one shape.")


def _font(size: int) -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size)
