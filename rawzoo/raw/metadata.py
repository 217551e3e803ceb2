"""What the camera wrote about the shot: EXIF of the TIFF family, Canon's CR3, Fujifilm's RAF and JPEG."""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from typing import BinaryIO

from rawzoo.raw import tiff
from rawzoo.raw.image import Metadata
from rawzoo.raw.tiff import ASCII, RATIONAL, SHORT, UNDEFINED, Tag

MAKE, MODEL, ORIENTATION, DATE_TIME = 271, 272, 274, 306
EXPOSURE_TIME, F_NUMBER, ISO, DATE_TIME_ORIGINAL = 33434, 33437, 34855, 36867
EXPOSURE_INDEX, ISO_SPEED, FOCAL_LENGTH, LENS_MODEL = 34866, 34867, 37386, 42036

#: IFD0 tags that describe the shot rather than the file: ImageDescription, Make, Model, Software, DateTime, Artist,
#: Copyright.
_CARRIED = (270, MAKE, MODEL, 305, DATE_TIME, 315, 33432)
#: EXIF tags that stay behind, since they are private, or describe the file or the mosaic they came in: MakerNote,
#: PixelXDimension, PixelYDimension, interoperability pointer, CFAPattern, Padding.
_LEFT_BEHIND = (37500, 40962, 40963, 40965, 41730, 59932)

#: What TIFF/EP, and many a DNG with it, puts into IFD0 instead.
_BESIDE_THE_PICTURE = (EXPOSURE_TIME, F_NUMBER, ISO, DATE_TIME_ORIGINAL, FOCAL_LENGTH)

#: What fits into the segment of a JPEG, with room for what a writer adds. Longer values than a line or two of text are
#: private data, wherever they stand.
_MAX_BLOCK, _MAX_VALUE = 60_000, 8192


@dataclass(frozen=True)
class Exif:
    """The EXIF directories of a file, by tag code; empty where the file has none. ``exif`` also has what TIFF/EP puts
    into IFD0."""

    ifd0: Mapping[int, Tag] = field(default_factory=dict)
    exif: Mapping[int, Tag] = field(default_factory=dict)
    gps: Mapping[int, Tag] = field(default_factory=dict)

    @property
    def orientation(self) -> int | None:
        """EXIF orientation, 1 to 8 in a sane file; None when it is absent or 0, which means unknown."""
        value = _number(self.ifd0, ORIENTATION)
        return int(value) if value is not None and math.isfinite(value) and value != 0 else None

    def block(self) -> bytes:
        """The shot's EXIF as one TIFF block (see :attr:`RawImage.exif`), or empty when there is nothing to carry."""
        ifd0 = [tag for code, tag in self.ifd0.items() if code in _CARRIED and _says_something(tag)]
        exif = [tag for code, tag in self.exif.items() if code not in _LEFT_BEHIND and _says_something(tag)]
        gps = [tag for tag in self.gps.values() if _says_something(tag)]
        block = tiff.exif_block(ifd0, exif, gps) if ifd0 or exif or gps else b""
        return block if len(block) <= _MAX_BLOCK else b""

    def metadata(self) -> Metadata:
        """The shot in rawzoo's terms; zero, blank and impossible values are None."""
        iso = _positive(self.exif, ISO)
        if iso is None or iso >= 65535:  # the tag is 16 bit; higher values have tags of their own
            iso = _positive(self.exif, ISO_SPEED) or _positive(self.exif, EXPOSURE_INDEX) or iso
        return Metadata(
            make=_text(self.ifd0, MAKE),
            model=_text(self.ifd0, MODEL),
            lens=_text(self.exif, LENS_MODEL),
            iso=iso,
            shutter_s=_positive(self.exif, EXPOSURE_TIME),
            aperture=_positive(self.exif, F_NUMBER),
            focal_length_mm=_positive(self.exif, FOCAL_LENGTH),
            time=_time(_text(self.exif, DATE_TIME_ORIGINAL)) or _time(_text(self.ifd0, DATE_TIME)),
        )


def read(file: BinaryIO, directories: Sequence[tiff.Directory]) -> Exif:
    """EXIF of a raw file; empty when it has none that can be read. Never fails on damaged data.

    Args:
        file: opened for reading in binary mode.
        directories: what :func:`rawzoo.raw.tiff.read` found in it.
    """
    try:
        if directories:
            return _from_directories(directories)
        file.seek(0)
        head = file.read(112)
        if head[4:12] == b"ftypcrx ":
            return _from_cr3(file)
        if head.startswith(b"FUJIFILMCCD-RAW "):
            offset, length = struct.unpack(">II", head[84:92])
            file.seek(offset)
            return _from_jpeg(file.read(min(length, 1 << 17)))
        if head.startswith(b"\xff\xd8"):
            file.seek(0)
            return _from_jpeg(file.read(1 << 17))
    except (struct.error, ValueError, OSError, OverflowError):
        pass
    return Exif()


def _from_directories(directories: Sequence[tiff.Directory]) -> Exif:
    def first_child(code: int) -> Mapping[int, Tag]:
        return next((d.children[code][0].tags for d in directories if d.children.get(code)), {})

    main = directories[0].tags
    beside = {code: main[code] for code in _BESIDE_THE_PICTURE if code in main}
    return Exif(main, {**beside, **first_child(tiff.EXIF_IFD)}, first_child(tiff.GPS_IFD))


def _from_jpeg(data: bytes) -> Exif:
    """EXIF in the APP1 segment of a JPEG that ``data`` begins with."""
    at = 2
    while data[at : at + 1] == b"\xff" and at + 4 <= len(data):
        marker, length = struct.unpack(">xBH", data[at : at + 4])
        if marker == 0xE1 and data[at + 4 : at + 10] == b"Exif\0\0":
            return _from_directories(tiff.read(io.BytesIO(data[at + 10 : at + 2 + length])))
        at += 2 + length
    return Exif()


def _from_cr3(file: BinaryIO) -> Exif:
    """Canon's boxes CMT1, CMT2 and CMT4, each a TIFF block holding IFD0, EXIF and GPS."""
    found: dict[bytes, Mapping[int, Tag]] = {}
    file.seek(0)
    for kind, box in _boxes(file.read(1 << 20)):
        if kind == b"moov":
            for inner_kind, inner in _boxes(box):
                if inner_kind == b"uuid":
                    for name, block in _boxes(inner[16:]):
                        directories = tiff.read(io.BytesIO(block)) if name.startswith(b"CMT") else []
                        if directories:
                            found[name] = directories[0].tags
    return Exif(found.get(b"CMT1", {}), found.get(b"CMT2", {}), found.get(b"CMT4", {}))


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """ISO base media boxes (ISO/IEC 14496-12) with 32-bit sizes."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if size < 8:
            return
        yield kind, data[at + 8 : at + size]
        at += size


def from_metadata(metadata: Metadata) -> bytes:
    """EXIF block saying what ``metadata`` says, for raw images that come without EXIF; empty when it says nothing."""
    ifd0 = [Tag.of_text(code, text) for code, text in ((MAKE, metadata.make), (MODEL, metadata.model)) if text]
    exif = [
        Tag.of(code, RATIONAL, *_ratio(value))
        for code, value in (
            (EXPOSURE_TIME, metadata.shutter_s),
            (F_NUMBER, metadata.aperture),
            (FOCAL_LENGTH, metadata.focal_length_mm),
        )
        if value
    ]
    if metadata.iso:
        exif.append(Tag.of(ISO, SHORT, min(round(metadata.iso), 65535)))
    if metadata.time:
        exif.append(Tag.of_text(DATE_TIME_ORIGINAL, metadata.time.strftime("%Y:%m:%d %H:%M:%S")))
    if metadata.lens:
        exif.append(Tag.of_text(LENS_MODEL, metadata.lens))
    if exif:
        exif.append(Tag(0x9000, UNDEFINED, 4, b"0232"))  # ExifVersion
    return tiff.exif_block(ifd0, exif) if ifd0 or exif else b""


def _ratio(value: float) -> tuple[int, int]:
    fraction = Fraction(value).limit_denominator(1_000_000)
    return fraction.numerator, fraction.denominator


def _says_something(tag: Tag) -> bool:
    if len(tag.data) > _MAX_VALUE:
        return False
    if tag.type == ASCII:
        return bool(tag.text())
    return tag.count > 0 and tag.code not in (tiff.SUB_IFDS, tiff.EXIF_IFD, tiff.GPS_IFD)


def _number(tags: Mapping[int, Tag], code: int) -> float | None:
    values = tags[code].numbers() if code in tags else ()
    return values[0] if values else None


def _positive(tags: Mapping[int, Tag], code: int) -> float | None:
    value = _number(tags, code)
    return float(value) if value is not None and math.isfinite(value) and value > 0 else None


def _text(tags: Mapping[int, Tag], code: int) -> str | None:
    tag = tags.get(code)
    return tag.text() or None if tag is not None and tag.type in (1, ASCII, UNDEFINED) else None


def _time(text: str | None) -> datetime | None:
    try:
        return datetime.strptime(text or "", "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
