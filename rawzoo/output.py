"""Writing developed pictures: JPEG, PNG, TIFF, NumPy, each with its ICC profile and the source's EXIF."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from rawzoo.errors import UsageError
from rawzoo.files import atomic_path
from rawzoo.icc import icc_profile

#: File formats by suffix, with the dtypes each one holds, default first.
FORMATS = {
    "jpg": ("uint8",),
    "png": ("uint8", "uint16"),
    "tif": ("uint16", "uint8"),
    "npy": ("float32", "uint16", "uint8"),
    "dng": ("uint16",),
}
_ALIASES = {"jpeg": "jpg", "tiff": "tif"}


def format_of(name: str) -> str:
    """Canonical format of a suffix or file name.

    Raises:
        UsageError: no format has that suffix.
    """
    suffix = name.rpartition(".")[2].lower()
    suffix = _ALIASES.get(suffix, suffix)
    if suffix not in FORMATS:
        raise UsageError(f"{name}: output must be one of {', '.join('.' + s for s in FORMATS)}.")
    return suffix


def write_picture(
    path: Path, picture: np.ndarray, *, space: str = "srgb", exif: bytes = b"", quality: int = 95
) -> None:
    """Write ``[H, W, 3]`` uint8, uint16 or (``.npy``) float32; the file appears only when complete.

    Args:
        space: output space the values are in; decides the ICC profile.
        exif: TIFF block of the source (:attr:`RawImage.exif`); orientation is set to upright.
        quality: JPEG quality, 1 to 100; from 90 the colour planes keep full resolution.

    Raises:
        UsageError: the format does not hold this dtype.
    """
    form = format_of(path.name)
    if str(picture.dtype) not in FORMATS[form] or form == "dng":
        raise UsageError(f"{path.name}: .{form} holds {' or '.join(FORMATS[form])}, not {picture.dtype}.")
    profile = icc_profile(space)
    with atomic_path(path) as aside:
        if form == "npy":
            with open(aside, "wb") as file:
                np.save(file, picture)
        elif form == "jpg":
            _write_jpeg(aside, picture, profile, upright_exif(exif, picture.shape, space), quality)
        elif form == "png":
            _write_png(aside, picture, profile, upright_exif(exif, picture.shape, space))
        else:
            _write_tiff(aside, picture, profile, upright_exif(exif, picture.shape, space))


def quantised(picture: np.ndarray, dtype: str) -> np.ndarray:
    """A float picture, 0..1, as samples: uint8 or uint16, rounded, or the same as float32."""
    if dtype == "float32":
        return picture
    return np.rint(picture * np.float32(np.iinfo(dtype).max)).astype(dtype)


def upright_exif(exif: bytes, shape: tuple[int, ...], space: str) -> bytes:
    """The source's EXIF with what the picture changed: size, orientation, colour space, software."""
    from PIL import Image

    from rawzoo import __version__

    block = Image.Exif()
    if exif:
        block.load(exif)
    block[0x0112] = 1  # Orientation
    block[0x0131] = f"rawzoo {__version__}"  # Software
    details: dict[int, Any] = block.get_ifd(0x8769)
    details[0xA001] = 1 if space == "srgb" else 0xFFFF  # ColorSpace: sRGB or uncalibrated
    details[0xA002], details[0xA003] = shape[1], shape[0]  # PixelXDimension, PixelYDimension
    details.setdefault(0x9000, b"0232")  # ExifVersion
    return bytes(block.tobytes()).removeprefix(b"Exif\0\0")


def _write_jpeg(path: Path, picture: np.ndarray, profile: bytes | None, exif: bytes, quality: int) -> None:
    from PIL import Image

    if max(picture.shape[:2]) > 65535:
        raise UsageError(f"{path.name}: JPEG holds at most 65535 pixels a side; write PNG or TIFF.")
    options: dict[str, Any] = {"icc_profile": profile} if profile else {}
    image = Image.fromarray(picture)
    subsampling = "4:4:4" if quality >= 90 else "4:2:0"
    image.save(path, "JPEG", quality=quality, subsampling=subsampling, exif=b"Exif\0\0" + exif, **options)


def _write_png(path: Path, picture: np.ndarray, profile: bytes | None, exif: bytes) -> None:
    # Pillow has no 16-bit RGB PNG, and imagecodecs writes no metadata: the chunks go in after IHDR by hand.
    import imagecodecs

    encoded = imagecodecs.png_encode(np.ascontiguousarray(picture), level=6)
    header_end = 8 + 25
    with open(path, "wb") as file:
        file.write(encoded[:header_end])
        if profile:
            file.write(_png_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(profile)))
        file.write(_png_chunk(b"eXIf", exif))
        file.write(memoryview(encoded)[header_end:])


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _write_tiff(path: Path, picture: np.ndarray, profile: bytes | None, exif: bytes) -> None:
    import tifffile

    from rawzoo.raw.tiff import embed_exif

    with open(path, "wb") as file:  # a handle, so that the temporary suffix does not matter
        tifffile.imwrite(
            file,
            picture,
            photometric="rgb",
            compression="zlib",
            predictor=True,
            rowsperstrip=64,
            iccprofile=profile,
            metadata=None,
            software=False,
        )
    embed_exif(path, exif)
