"""TIFF directories: reading those of an untrusted file, building an EXIF block, putting one into a written file.

Classic TIFF 6.0 and the raw formats that share its structure (RW2, ORF); BigTIFF is not read.
"""

from __future__ import annotations

import io
import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

ByteOrder = Literal["<", ">"]

BYTE, ASCII, SHORT, LONG, RATIONAL, UNDEFINED, SRATIONAL, DOUBLE = 1, 2, 3, 4, 5, 7, 10, 12

#: Letter of :mod:`struct` and how many of them make one value, by TIFF type.
_TYPES = {
    1: ("B", 1), 2: ("B", 1), 3: ("H", 1), 4: ("I", 1), 5: ("I", 2), 6: ("b", 1), 7: ("B", 1), 8: ("h", 1),
    9: ("i", 1), 10: ("i", 2), 11: ("f", 1), 12: ("d", 1), 13: ("I", 1),
}  # fmt: skip

#: Third and fourth byte: TIFF, RW2, and two of ORF.
_MAGIC = (42, 0x55, 0x4F52, 0x5352)

SUB_IFDS, EXIF_IFD, GPS_IFD = 330, 34665, 34853

# What a file may ask for before it is taken for a bomb.
_MAX_DIRECTORIES, _MAX_ENTRIES, _MAX_VALUE_BYTES = 64, 4096, 1 << 22


@dataclass(frozen=True)
class Tag:
    """One entry of a directory; ``data`` holds the value's bytes in the byte order ``order``."""

    code: int
    type: int
    count: int
    data: bytes
    order: ByteOrder = "<"

    @classmethod
    def of(cls, code: int, type_: int, *values: float) -> Tag:
        """A tag of numbers; a rational takes its numerators and denominators in turn."""
        letter, each = _TYPES[type_]
        return cls(code, type_, len(values) // each, struct.pack(f"<{len(values)}{letter}", *values))

    @classmethod
    def of_text(cls, code: int, text: str) -> Tag:
        data = text.encode("ascii", "replace") + b"\0"
        return cls(code, ASCII, len(data), data)

    def numbers(self) -> tuple[float, ...]:
        """The values; integers stay int, a rational with denominator 0 is nan."""
        letter, each = _TYPES[self.type]
        flat = struct.unpack(f"{self.order}{self.count * each}{letter}", self.data)
        if each == 1:
            return flat
        return tuple(n / d if d else math.nan for n, d in zip(flat[::2], flat[1::2], strict=True))

    def text(self) -> str:
        """The value up to its first NUL, without blanks around it."""
        return self.data.split(b"\0", 1)[0].decode("utf-8", "replace").strip()

    def data_in(self, order: ByteOrder) -> bytes:
        letter, each = _TYPES[self.type]
        if order == self.order:
            return self.data
        layout = f"{self.count * each}{letter}"
        return struct.pack(order + layout, *struct.unpack(self.order + layout, self.data))


@dataclass(frozen=True)
class Directory:
    """One image file directory (IFD) with those it points to."""

    offset: int
    tags: Mapping[int, Tag]
    children: Mapping[int, Sequence[Directory]] = field(default_factory=dict)

    def numbers(self, code: int) -> tuple[float, ...] | None:
        """Values of a tag, or None when it is not there or empty."""
        tag = self.tags.get(code)
        return None if tag is None else tag.numbers() or None

    def integer(self, code: int, default: int) -> int:
        """First value of a tag as an integer."""
        values = self.numbers(code)
        return int(values[0]) if values and math.isfinite(values[0]) else default

    def text(self, code: int) -> str | None:
        """Text of a tag, or None when it is not there or blank."""
        tag = self.tags.get(code)
        return None if tag is None else tag.text() or None

    def with_children(self) -> Iterator[Directory]:
        """This directory and the images below it."""
        yield self
        for child in self.children.get(SUB_IFDS, ()):
            yield from child.with_children()


def read(file: BinaryIO) -> list[Directory]:
    """The directories of a TIFF file in file order; empty when it is none, or its first directory is not whole.

    Entries whose value lies outside the file, and directories outside it or in a loop, are left out.
    """
    file.seek(0, io.SEEK_END)
    size = file.tell()
    header = _bytes_at(file, 0, 8, size)
    order = _byte_order(header)
    if order is None:
        return []
    seen: set[int] = set()
    offset: int | None = struct.unpack(order + "I", header[4:])[0]
    found: list[Directory] = []
    while offset is not None and offset != 0:
        directory, offset = _read_directory(file, offset, order, size, seen)
        if directory is None or (offset is None and not found):
            break
        found.append(directory)
    return found


def has_tiff_header(head: bytes) -> bool:
    """Whether a file that begins with ``head`` says it is a TIFF or one of the raw formats like it."""
    return _byte_order(head[:8]) is not None


def _byte_order(header: bytes) -> ByteOrder | None:
    order: ByteOrder | None = {b"II": "<", b"MM": ">"}.get(header[:2])  # type: ignore[assignment]
    if order is None or len(header) < 8 or struct.unpack(order + "H", header[2:4])[0] not in _MAGIC:
        return None
    return order


def _bytes_at(file: BinaryIO, offset: int, count: int, size: int) -> bytes:
    if offset + count > size:
        return b""
    file.seek(offset)
    return file.read(count)


def _read_directory(
    file: BinaryIO, offset: int, order: ByteOrder, size: int, seen: set[int]
) -> tuple[Directory | None, int | None]:
    """The directory at ``offset`` and the offset of the next one in its chain; None where the file ends before."""
    if offset in seen or len(seen) >= _MAX_DIRECTORIES:
        return None, 0
    seen.add(offset)
    head = _bytes_at(file, offset, 2, size)
    entries = struct.unpack(order + "H", head)[0] if head else 0
    body = _bytes_at(file, offset + 2, 12 * entries, size)
    if not 0 < entries <= _MAX_ENTRIES or not body:
        return None, 0
    tags = {}
    for i in range(entries):
        code, type_, count, where = struct.unpack(order + "HHII", body[12 * i : 12 * i + 12])
        letter, each = _TYPES.get(type_, ("", 0))
        length = struct.calcsize("=" + letter) * each * count
        if not letter or length > _MAX_VALUE_BYTES:
            continue
        data = body[12 * i + 8 : 12 * i + 8 + length] if length <= 4 else _bytes_at(file, where, length, size)
        if len(data) == length:
            tags[code] = Tag(code, type_, count, data, order)
    children = {
        code: [
            child
            for start in tags[code].numbers()
            if (child := _read_directory(file, int(start), order, size, seen)[0]) is not None
        ]
        for code in (SUB_IFDS, EXIF_IFD, GPS_IFD)
        if code in tags and tags[code].type in (LONG, 13)
    }
    following = _bytes_at(file, offset + 2 + 12 * entries, 4, size)
    return Directory(offset, tags, children), struct.unpack(order + "I", following)[0] if following else None


def data_ranges(directory: Directory) -> list[tuple[int, int]]:
    """``(offset, bytes)`` of each strip or tile of a directory's image."""
    for offsets_code, counts_code in ((324, 325), (273, 279)):
        offsets = directory.numbers(offsets_code)
        counts = directory.numbers(counts_code)
        if offsets and counts and len(offsets) == len(counts):
            return [(int(o), int(c)) for o, c in zip(offsets, counts, strict=True)]
    return []


def exif_block(ifd0: Sequence[Tag], exif: Sequence[Tag] = (), gps: Sequence[Tag] = ()) -> bytes:
    """A self-contained little-endian TIFF block of these tags: what follows ``Exif\\0\\0`` in a JPEG."""
    block = bytearray(8)
    main = {tag.code: tag for tag in ifd0}
    for code, tags in ((EXIF_IFD, exif), (GPS_IFD, gps)):
        if tags:
            data, start = _directory_bytes({tag.code: tag for tag in tags}, len(block), "<")
            main[code] = Tag.of(code, LONG, start)
            block += data
    data, start = _directory_bytes(main, len(block), "<")
    block[:8] = struct.pack("<2sHI", b"II", 42, start)
    return bytes(block + data)


def _directory_bytes(
    entries: Mapping[int, Tag | bytes], at: int, order: ByteOrder, following: int = 0
) -> tuple[bytes, int]:
    """A directory to be put at the even file offset ``at``, and the offset to point to.

    Its values come first, so that a file which is cut short lacks the directory rather than a value. Entries given
    as bytes are kept as they are.
    """
    table, values = bytearray(struct.pack(order + "H", len(entries))), bytearray()
    for code in sorted(entries):
        entry = entries[code]
        packed = entry if isinstance(entry, bytes) else _entry(entry, order, at + len(values))
        table += packed[:12]
        values += packed[12:]
    return bytes(values + table + struct.pack(order + "I", following)), at + len(values)


def _entry(tag: Tag, order: ByteOrder, value_at: int = 0) -> bytes:
    """Twelve bytes of a directory, followed by the value where it does not fit into the last four of them."""
    data = tag.data_in(order)
    head = struct.pack(order + "HHI", tag.code, tag.type, tag.count)
    if len(data) <= 4:
        return head + data.ljust(4, b"\0")
    return head + struct.pack(order + "I", value_at) + data + b"\0" * (len(data) % 2)


def embed_exif(path: Path, exif: bytes) -> None:
    """Put EXIF into a TIFF or DNG that is already written; tifffile cannot write EXIF directories itself.

    The first directory is written anew at the end of the file, with pointers to the EXIF and GPS directories there;
    image data stays where it is. Tags that the file has already are kept. A BigTIFF (over 4 GiB) is left unchanged.

    Args:
        exif: a TIFF block as in :attr:`RawImage.exif`; empty does nothing.
    """
    source = read(io.BytesIO(exif))
    with open(path, "r+b") as file:
        header = file.read(8)
        order = _byte_order(header)
        if not source or order is None:
            return
        file.seek(struct.unpack(order + "I", header[4:])[0])
        entries = struct.unpack(order + "H", file.read(2))[0]
        table = [file.read(12) for _ in range(entries)]
        following = struct.unpack(order + "I", file.read(4))[0]
        main: dict[int, Tag | bytes] = dict(source[0].tags)
        file.seek(0, io.SEEK_END)
        for code in (EXIF_IFD, GPS_IFD):
            main.pop(code, None)
            for directory in source[0].children.get(code, ())[:1]:
                _align(file)
                data, start = _directory_bytes(directory.tags, file.tell(), order)
                main[code] = Tag.of(code, LONG, start)
                file.write(data)
        main.update({struct.unpack(order + "H", entry[:2])[0]: entry for entry in table})
        _align(file)
        data, start = _directory_bytes(main, file.tell(), order, following)
        file.write(data)
        file.seek(4)
        file.write(struct.pack(order + "I", start))


def amend(path: Path, directory: Directory, tag: Tag) -> None:
    """Change one entry of a written file in place, for what tifffile does not let its caller choose.

    Args:
        directory: of this file, from :func:`read`; it holds an entry with the tag's code.
        tag: with a value of at most four bytes.
    """
    with open(path, "r+b") as file:
        order = _byte_order(file.read(8))
        assert order is not None
        file.seek(directory.offset)
        entries = struct.unpack(order + "H", file.read(2))[0]
        for _ in range(entries):
            at = file.tell()
            if struct.unpack(order + "H", file.read(12)[:2])[0] == tag.code:
                file.seek(at)
                file.write(_entry(tag, order)[:12])
                return


def _align(file: BinaryIO) -> None:
    if file.tell() % 2:
        file.write(b"\0")
