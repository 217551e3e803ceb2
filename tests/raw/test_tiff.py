"""TIFF directories: hostile input, and EXIF put into files of tifffile."""

import io
import struct

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rawzoo.raw import metadata, tiff
from rawzoo.raw.tiff import ASCII, BYTE, LONG, RATIONAL, SHORT, SRATIONAL, UNDEFINED, Tag

EXIF = tiff.exif_block(
    [Tag.of_text(271, "Acme"), Tag.of_text(33432, "(c) somebody, 2026"), Tag.of(274, SHORT, 6)],
    [
        Tag.of(33434, RATIONAL, 1, 60),
        Tag.of(37380, SRATIONAL, -1, 3),
        Tag(36864, UNDEFINED, 4, b"0232"),
        Tag.of_text(42036, "Acme 50mm F1.8"),
    ],
    [Tag.of(0, BYTE, 2, 3, 0, 0), Tag(1, ASCII, 2, b"N\0"), Tag.of(2, RATIONAL, 52, 1, 31, 1, 1234, 100)],
)


def check_exif(exif: Image.Exif) -> None:
    assert exif[271] == "Acme"
    assert exif[33432] == "(c) somebody, 2026"
    details = exif.get_ifd(0x8769)
    assert float(details[33434]) == pytest.approx(1 / 60)
    assert float(details[37380]) == pytest.approx(-1 / 3)
    assert details[42036] == "Acme 50mm F1.8"
    gps = exif.get_ifd(0x8825)
    assert gps[1] == "N"
    assert [float(v) for v in gps[2]] == [52.0, 31.0, 12.34]


def test_block_is_read_by_pillow():
    exif = Image.Exif()
    exif.load(EXIF)
    check_exif(exif)
    assert exif[274] == 6


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("tiled", [False, True])
def test_embedding_leaves_the_picture_alone(tmp_path, byteorder, tiled):
    picture = np.random.default_rng(0).integers(0, 65536, (50, 70, 3), dtype=np.uint16)
    path = tmp_path / "a.tif"
    layout = {"tile": (16, 16)} if tiled else {"rowsperstrip": 7}
    tifffile.imwrite(path, picture, photometric="rgb", byteorder=byteorder, compression="zlib", software="me", **layout)
    tiff.embed_exif(path, EXIF)
    assert np.array_equal(tifffile.imread(path), picture)
    with tifffile.TiffFile(path) as file:
        assert len(file.pages) == 1
        assert file.pages[0].tags["Software"].value == "me"
        assert file.pages[0].tags["ExifTag"].value["LensModel"] == "Acme 50mm F1.8"
    with open(path, "rb") as file:
        exif = Image.Exif()
        exif.load_from_fp(file)
        check_exif(exif)


def test_embedding_keeps_what_the_file_says(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8), extratags=[(274, 3, 1, 3, True)])
    tiff.embed_exif(path, EXIF)
    with tifffile.TiffFile(path) as file:
        assert file.pages[0].tags["Orientation"].value == 3


def test_embedding_nothing_changes_nothing(tmp_path):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, np.zeros((4, 4), np.uint8))
    before = path.read_bytes()
    tiff.embed_exif(path, b"")
    assert path.read_bytes() == before


def test_values_of_both_byte_orders_are_equal():
    for type_, values in ((SHORT, (1, 2, 60000)), (LONG, (7, 2**31)), (RATIONAL, (1, 3, 5, 7)), (12, (0.1, -2.5))):
        tag = Tag.of(1, type_, *values)
        swapped = Tag(1, type_, tag.count, tag.data_in(">"), ">")
        assert swapped.data != tag.data
        assert swapped.numbers() == tag.numbers()
    assert str(Tag.of(1, RATIONAL, 1, 0).numbers()[0]) == "nan"


def test_loops_and_bombs_end():
    entry = struct.pack("<HHII", 256, 4, 1, 1)
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + entry + struct.pack("<I", 8)
    assert len(tiff.read(io.BytesIO(loop))) == 1
    itself = struct.pack("<HHII", 330, 4, 1, 8)
    nested = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + itself + struct.pack("<I", 0)
    (directory,) = tiff.read(io.BytesIO(nested))
    assert directory.children[330] == []
    huge = struct.pack("<HHII", 273, 4, 0xFFFFFFFF, 8)
    bomb = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", 1) + huge + struct.pack("<I", 0)
    (directory,) = tiff.read(io.BytesIO(bomb))
    assert 273 not in directory.tags


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08", EXIF[:60], EXIF]))
def test_any_bytes_are_survived(noise, head):
    for data in (head + noise, noise[:40].join([head[:30], head[30:]])):
        file = io.BytesIO(data)
        exif = metadata.read(file, tiff.read(file))
        assert isinstance(exif.block(), bytes)
        exif.metadata()


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(EXIF) - 1), st.integers(0, 255)), min_size=1, max_size=6))
def test_damaged_exif_is_survived(changes):
    data = bytearray(EXIF)
    for at, value in changes:
        data[at] = value
    file = io.BytesIO(bytes(data))
    exif = metadata.read(file, tiff.read(file))
    exif.metadata()
    again = io.BytesIO(exif.block())
    tiff.read(again)
