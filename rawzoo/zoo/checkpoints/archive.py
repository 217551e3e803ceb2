"""Members of zip archives, in the few ways checkpoints use them."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints.checkpoint import Source

# No text of a checkpoint is compressed better than this; zip bombs are.
_MOST_COMPRESSED = 100


@dataclass(frozen=True)
class Span:
    """Where in the file the bytes of an uncompressed member lie."""

    start: int
    count: int
    crc: int

    def check(self, data: bytes) -> None:
        """Raises ValueError when the data do not match the archive's checksum."""
        if zlib.crc32(data) != self.crc:
            raise ValueError("the checksum of a tensor does not match")


class Archive:
    """A zip archive, read without taking its word for any size."""

    def __init__(self, source: Source) -> None:
        self._source = source
        with zipfile.ZipFile(source.path) as archive:
            self._members = {info.filename: info for info in archive.infolist()}
        self.names = tuple(self._members)

    def read(self, name: str) -> bytes:
        """A whole member, such as a pickle or JSON."""
        info = self._members[name]
        if info.file_size > max(info.compress_size * _MOST_COMPRESSED, 4096) or info.compress_size > self._source.size:
            raise ValueError(f"its member {name} would grow to {info.file_size} bytes")
        if info.flag_bits & 1:
            raise ValueError("it is encrypted")
        with zipfile.ZipFile(self._source.path) as archive:
            return archive.read(info)

    def span(self, name: str) -> Span:
        """Where a member's bytes lie; such members, tensors, are never compressed in checkpoints."""
        info = self._members[name]
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
            raise WeightsError(
                f"{self._source.path} was packed again, compressed; unpack it and pack it without compression (zip -0)."
            )
        signature, name_length, extra_length = struct.unpack("<4s22xHH", self._source.read(info.header_offset, 30))
        start = info.header_offset + 30 + name_length + extra_length
        if signature != b"PK\3\4" or start + info.file_size > self._source.size:
            raise ValueError(f"its member {name} is not where its directory says")
        return Span(start, info.file_size, info.CRC)
