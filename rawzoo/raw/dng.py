"""Writing DNG (Digital Negative Specification 1.4): mosaics, monochrome and linear files that other readers open.

Facts about readers that shape this file were seen with LibRaw 0.22: lossless JPEG must be tiled, since of several
strips only the first is decoded, with no tile wider than the image; the active area must start on a whole CFA tile,
for X-Trans on the first or second; integer deflate (valid since DNG 1.4) is refused, so ``deflate`` files are for
rawzoo, tifffile and Adobe's readers.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.files import atomic_path
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import dng_tags, metadata, tiff
from rawzoo.raw.image import Box, RawImage
from rawzoo.raw.tiff import Tag

COMPRESSIONS = ("none", "ljpeg", "deflate")

#: Levels of floating point data after conversion: room for noise below black.
_BLACK_16, _WHITE_16 = 1024.0, 65535.0

_TILE = 256
_MAX_32 = 2**31 - 1

#: (code, TIFF type as tifffile names it, count, value)
_ExtraTag = tuple[int, str, int, Any]


def write_dng(
    path: str | os.PathLike[str],
    raw: RawImage,
    *,
    compression: str = "none",
    preview: npt.NDArray[np.uint8] | None = None,
) -> None:
    """Write a raw image as a 16-bit DNG; the file appears only when complete.

    Bayer and X-Trans become a CFA DNG, monochrome and linear ones a LinearRaw DNG. Opening it again gives the same
    samples, levels, colour and metadata, except for what DNG has no place for: of white levels that differ within a
    mosaic the lowest is written, and of the two greens' noise profiles the mean. Masked rows and columns before the
    active area are dropped as far as needed for it to start on a whole CFA tile (X-Trans: the first or second one),
    since readers disagree about others.

    Args:
        raw: floating point data that is whole numbers from 0 to 65535 is stored as it is; other is scaled per channel
            to black level 1024 and white level 65535, and clipped beyond.
        compression: ``none``; ``ljpeg``, lossless JPEG in tiles; ``deflate``, smaller, but not read by LibRaw.
        preview: ``[h, w, 3]`` uint8 sRGB, any size, for viewers that do not develop; stored as JPEG, not rotated: it
            has the orientation of the sensor data.

    Raises:
        UsageError: an option or preview that makes no sense.
    """
    if compression not in COMPRESSIONS:
        raise UsageError(f"DNG compression {compression!r} is none of {', '.join(COMPRESSIONS)}.")
    if preview is not None and (preview.dtype != np.uint8 or preview.ndim != 3 or preview.shape[2] != 3):
        raise UsageError(f"a preview must be uint8 [h, w, 3], not {preview.dtype} {list(preview.shape)}.")
    import tifffile

    raw = _on_whole_tile(_as_uint16(raw))
    main, picture = _main_tags(raw, compression), _picture_tags(raw)
    # tifffile knows LinearRaw with three samples only; one sample is written as grey and amended.
    photometric: Any = dng_tags.CFA if raw.cfa else "minisblack" if raw.kind == "mono" else dng_tags.LINEAR_RAW
    layout = {"photometric": photometric, "subfiletype": 0, **_storage(raw.data, compression)}
    common: dict[str, Any] = {"metadata": None, "software": False}
    path = Path(path)
    with atomic_path(path) as aside:
        with open(aside, "wb") as file, tifffile.TiffWriter(file, bigtiff=False) as writer:
            if preview is None:
                writer.write(raw.data, extratags=_sorted(main + picture), **layout, **common)
            else:
                writer.write(
                    np.ascontiguousarray(preview),
                    photometric="rgb",
                    compression="jpeg",
                    compressionargs={"level": 90},
                    rowsperstrip=preview.shape[0],
                    subfiletype=1,
                    subifds=1,
                    extratags=_sorted(main),
                    **common,
                )
                writer.write(raw.data, extratags=_sorted(picture), **layout, **common)
        _amend(aside, raw, has_preview=preview is not None)
        tiff.embed_exif(aside, raw.exif or metadata.from_metadata(raw.metadata))


def _storage(data: npt.NDArray[Any], compression: str) -> dict[str, Any]:
    """Arguments of tifffile: compression, and strips or tiles."""
    height, width = data.shape[:2]
    one_strip = {"rowsperstrip": height}
    if compression == "none":
        return one_strip
    # Tile edges are multiples of 16, and no tile may be wider than the image.
    edges = [min(_TILE, length // 16 * 16) for length in (height, width)]
    chunks = {"tile": tuple(edges)} if all(edges) else one_strip
    if compression == "deflate":
        return {"compression": "adobe_deflate", "predictor": 2, **chunks}
    return {"compression": "jpeg", "compressionargs": {"lossless": True, "bitspersample": 16}, **chunks}


def _amend(path: Path, raw: RawImage, has_preview: bool) -> None:
    with open(path, "rb") as file:
        main = tiff.read(file)[0]
    if has_preview:  # tifffile's newer type for the pointer is allowed by DNG, but not known to every reader
        (at,) = main.numbers(tiff.SUB_IFDS) or (0,)
        tiff.amend(path, main, Tag.of(tiff.SUB_IFDS, tiff.LONG, at))
    if raw.kind == "mono":
        picture = main.children[tiff.SUB_IFDS][0] if has_preview else main
        tiff.amend(path, picture, Tag.of(dng_tags.PHOTOMETRIC, tiff.SHORT, dng_tags.LINEAR_RAW))


def _as_uint16(raw: RawImage) -> RawImage:
    if raw.data.dtype == np.uint16:
        return raw
    whole = np.rint(raw.data)
    if np.array_equal(whole, raw.data) and whole.min() >= 0 and whole.max() <= 65535 and max(raw.white_level) > 1:
        return replace(raw, data=whole.astype(np.uint16))
    black, white = _level_maps(raw, raw.black_level), _level_maps(raw, raw.white_level)
    values = (raw.data - black) * ((_WHITE_16 - _BLACK_16) / (white - black)) + (_BLACK_16 + 0.5)
    count = len(raw.black_level)
    return replace(
        raw,
        data=np.clip(values, 0.0, 65535.0).astype(np.uint16),
        black_level=(_BLACK_16,) * count,
        white_level=(_WHITE_16,) * count,
    )


def _level_maps(raw: RawImage, levels: Sequence[float]) -> npt.NDArray[np.float32]:
    """Per-channel levels in a shape that broadcasts over ``raw.data``."""
    values = np.array(levels, np.float32)
    if raw.cfa is None:
        return values
    top, left = raw.active_area.top, raw.active_area.left
    tile = cfa_patterns.channel_tile(raw.cfa)
    height, width = raw.data.shape
    rows, columns = (np.arange(height) - top) % len(tile), (np.arange(width) - left) % len(tile)
    return np.asarray(values[tile[np.ix_(rows, columns)]])


def _on_whole_tile(raw: RawImage) -> RawImage:
    """The same image with the active area starting where LibRaw finds the CFA pattern's origin."""
    if raw.cfa is None:
        return raw
    area, n = raw.active_area, cfa_patterns.period(raw.cfa)
    if n == 2:
        rows, columns = area.top % n, area.left % n
    else:
        rows, columns = (margin - n if margin >= n else margin for margin in (area.top, area.left))
    if not rows and not columns:
        return raw
    moved = Box(area.top - rows, area.left - columns, area.bottom - rows, area.right - columns)
    return replace(raw, data=raw.data[rows:, columns:], active_area=moved)


def _main_tags(raw: RawImage, compression: str) -> list[_ExtraTag]:
    """Tags of the first directory: the shot and its colour."""
    make, model = raw.metadata.make, raw.metadata.model
    name = " ".join(dict.fromkeys(part for part in (make, model) if part)) or "rawzoo"
    oldest = (1, 4, 0, 0) if compression == "deflate" else (1, 3, 0, 0) if raw.kind == "xtrans" else (1, 1, 0, 0)
    tags: list[_ExtraTag] = [
        (metadata.ORIENTATION, "H", 1, raw.orientation),
        (dng_tags.DNG_VERSION, "B", 4, (1, 4, 0, 0)),
        (dng_tags.DNG_BACKWARD_VERSION, "B", 4, oldest),
        _text(dng_tags.UNIQUE_CAMERA_MODEL, name),
        _rationals(dng_tags.BASELINE_EXPOSURE, [raw.baseline_exposure], signed=True),
    ]
    tags += [_text(code, text) for code, text in ((metadata.MAKE, make), (metadata.MODEL, model)) if text]
    if raw.as_shot_neutral is not None:
        tags.append(_rationals(dng_tags.AS_SHOT_NEUTRAL, raw.as_shot_neutral))
    for code, illuminant_code, matrix in zip(
        dng_tags.COLOR_MATRIX, dng_tags.ILLUMINANT, raw.color_matrices, strict=False
    ):
        tags.append(_rationals(code, [value for row in matrix.xyz_to_camera for value in row], signed=True))
        tags.append((illuminant_code, "H", 1, matrix.illuminant))
    return tags


def _picture_tags(raw: RawImage) -> list[_ExtraTag]:
    """Tags of the directory that holds the raw data: how to read it."""
    area, crop = raw.active_area, raw.default_crop
    tags = _black_tags(raw)
    white = [round(w) for w in raw.white_level]
    white = white if raw.kind == "linear" else [min(white)]
    tags += [
        (dng_tags.WHITE_LEVEL, "I", len(white), tuple(white)),
        (dng_tags.CROP_ORIGIN, "I", 2, (crop.left, crop.top)),
        (dng_tags.CROP_SIZE, "I", 2, (crop.width, crop.height)),
        (dng_tags.ACTIVE_AREA, "I", 4, tuple(area)),
    ]
    if raw.cfa is not None:
        n = cfa_patterns.period(raw.cfa)
        tags += [
            (dng_tags.CFA_REPEAT, "H", 2, (n, n)),
            (dng_tags.CFA_PATTERN, "B", n * n, bytes("RGB".index(c) for c in raw.cfa)),
            (dng_tags.CFA_PLANE_COLOR, "B", 3, bytes((0, 1, 2))),
            (dng_tags.CFA_LAYOUT, "H", 1, 1),
        ]
    if raw.noise_profile is not None:
        pairs = list(raw.noise_profile)
        if len(pairs) == 4:
            r, gr, gb, b = pairs
            pairs = [r, ((gr[0] + gb[0]) / 2, (gr[1] + gb[1]) / 2), b]
        tags.append((dng_tags.NOISE_PROFILE, "d", 2 * len(pairs), tuple(v for pair in pairs for v in pair)))
    if raw.noise_reduction is not None:
        tags.append(_rationals(dng_tags.NOISE_REDUCTION, [raw.noise_reduction]))
    return tags


def _black_tags(raw: RawImage) -> list[_ExtraTag]:
    levels = raw.black_level
    if raw.kind == "linear":
        repeat, cells = 1, list(levels)
    elif raw.cfa is None or len(set(levels)) == 1:
        repeat, cells = 1, [levels[0]]
    else:
        tile = cfa_patterns.channel_tile(raw.cfa)
        repeat, cells = len(tile), [levels[c] for c in tile.ravel()]
    whole = all(level == int(level) for level in cells)
    black = (
        (dng_tags.BLACK_LEVEL, "I", len(cells), tuple(int(c) for c in cells))
        if whole
        else _rationals(dng_tags.BLACK_LEVEL, cells)
    )
    return [(dng_tags.BLACK_REPEAT, "H", 2, (repeat, repeat)), black]


def _text(code: int, text: str) -> _ExtraTag:
    return (code, "s", 0, text.encode("ascii", "replace").decode("ascii"))


def _rationals(code: int, values: Sequence[float], signed: bool = False) -> _ExtraTag:
    flat: list[int] = []
    for value in values:
        # The closest fraction in 32 bits; it differs from a double by less than that can tell.
        limit = max(1, int(_MAX_32 / max(1.0, abs(value))))
        fraction = Fraction(value).limit_denominator(limit)
        flat += [fraction.numerator, fraction.denominator]
    return (code, "2i" if signed else "2I", len(values), tuple(flat))


def _sorted(tags: list[_ExtraTag]) -> list[tuple[int, str, int, Any, bool]]:
    return [(*tag, True) for tag in sorted(tags)]
