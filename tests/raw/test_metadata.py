import io
import struct
from datetime import datetime

import numpy as np
from PIL import Image

from rawzoo.raw import metadata, tiff
from rawzoo.raw.image import Metadata
from rawzoo.raw.tiff import RATIONAL, SHORT, UNDEFINED, Tag


def read(data: bytes) -> metadata.Exif:
    file = io.BytesIO(data)
    return metadata.read(file, tiff.read(file))


def test_metadata_there_and_back():
    shot = Metadata("Acme", "One", "50mm", 800.0, 1 / 250, 2.8, 50.0, datetime(2026, 1, 2, 3, 4, 5))
    assert read(metadata.from_metadata(shot)).metadata() == shot
    assert metadata.from_metadata(Metadata()) == b""


def test_zero_and_blank_mean_unknown():
    block = tiff.exif_block(
        [Tag.of_text(271, "  ")],
        [Tag.of(33434, RATIONAL, 0, 1), Tag.of(33437, RATIONAL, 0, 0), Tag.of(34855, SHORT, 0), Tag.of_text(36867, "")],
    )
    assert read(block).metadata() == Metadata()


def test_iso_above_sixteen_bits():
    block = tiff.exif_block([], [Tag.of(34855, SHORT, 65535), Tag.of(34866, tiff.LONG, 102400)])
    assert read(block).metadata().iso == 102400.0


def test_private_and_structural_tags_stay_behind():
    block = tiff.exif_block(
        [Tag.of(256, SHORT, 4000), Tag.of_text(272, "One")],
        [Tag(37500, UNDEFINED, 8, b"secret\0\0"), Tag.of(40962, SHORT, 4000), Tag.of(34855, SHORT, 100)],
    )
    (carried,) = tiff.read(io.BytesIO(read(block).block()))
    assert set(carried.tags) == {272, tiff.EXIF_IFD}
    assert set(carried.children[tiff.EXIF_IFD][0].tags) == {34855}


def test_oversized_values_stay_behind():
    block = tiff.exif_block([Tag.of_text(272, "One")], [Tag(37510, UNDEFINED, 50000, bytes(50000))])
    assert len(read(block).block()) < 200


def jpeg_with_exif() -> bytes:
    exif = Image.Exif()
    exif[271], exif[272] = "FUJIFILM", "X-One"
    exif.get_ifd(0x8769)[34855] = 640
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "JPEG", exif=exif)
    return file.getvalue()


def test_raf():
    jpeg = jpeg_with_exif()
    header = b"FUJIFILMCCD-RAW 0201FF000000X-One".ljust(84, b"\0") + struct.pack(">II", 160, len(jpeg))
    found = read(header.ljust(160, b"\0") + jpeg).metadata()
    assert (found.make, found.model, found.iso) == ("FUJIFILM", "X-One", 640.0)


def test_cr3(shared_raw):
    # Cut from a Canon EOS R6 file: all of its metadata, none of its sensor data.
    with open(shared_raw / "broken" / "canon_r6_pruned.CR3", "rb") as file:
        found = metadata.read(file, tiff.read(file))
    shot = found.metadata()
    assert (shot.make, shot.model) == ("Canon", "Canon EOS R6")
    assert shot.iso is not None
    assert shot.lens
    assert shot.shutter_s
    assert found.orientation == 1
