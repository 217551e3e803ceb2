"""Uncompressed DNGs are read without LibRaw, and give what LibRaw gives."""

import struct
from dataclasses import fields

import numpy as np
import pytest
import rawpy
import tifffile
from raw_samples import KINDS, MATRIX, build_raw
from test_reader import assert_refused

from rawzoo.raw import dng_tags, reader, tiff
from rawzoo.raw.dng import write_dng
from rawzoo.raw.image import RawImage
from rawzoo.raw.tiff import Tag

PLAIN = {f"derived_canon_colorchart_{cfa}_768x512.dng" for cfa in ("BGGR", "GBRG", "GRBG")} | {
    f"synthetic_{kind}.dng" for kind in ("linear_uncompressed", "mono_12bit", "xtrans")
}


@pytest.fixture
def open_both(monkeypatch):
    """Opens a file without LibRaw and with it; the images, which must be equal in every field."""

    def both(path, direct=True) -> RawImage:
        with monkeypatch.context() as patch:
            if direct:
                patch.setattr(rawpy, "imread", lambda _: pytest.fail(f"{path} went to LibRaw"))
            ours = reader.open(path)
        with monkeypatch.context() as patch:
            patch.setattr(reader, "_decode_plain", lambda *_: None)
            theirs = reader.open(path)
        for field in fields(RawImage):
            one, other = getattr(ours, field.name), getattr(theirs, field.name)
            if field.name == "data":
                assert one.dtype == other.dtype
                assert np.array_equal(one, other)
            else:
                assert one == other, field.name
        return ours

    return both


@pytest.mark.filterwarnings("ignore::rawzoo.errors.RawWarning")
def test_shared_files(open_both, shared_raw):
    for path in sorted(shared_raw.glob("*.dng")):
        open_both(path, direct=path.name in PLAIN)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(61, 83), (6, 6), (200, 37)])
def test_written_files(open_both, tmp_path, kind, size):
    raw = build_raw(kind, *size) if min(size) > 10 else build_raw(kind, 61, 83)
    write_dng(tmp_path / "a.dng", raw)
    assert np.array_equal(open_both(tmp_path / "a.dng").data, raw.data)


def write_cfa(path, data, pattern="RGGB", *more, byteorder="<", **layout) -> None:
    """A CFA DNG by tifffile alone; ``more`` are further tags in its notation."""
    side = 2 if len(pattern) == 4 else 6
    tags = [
        (274, "H", 1, 3),
        (dng_tags.CFA_REPEAT, "H", 2, (side, side)),
        (dng_tags.CFA_PATTERN, "B", side**2, bytes("RGB".index(c) for c in pattern)),
        (dng_tags.DNG_VERSION, "B", 4, bytes((1, 4, 0, 0))),
        (dng_tags.BLACK_LEVEL, "I", 1, 500),
        (dng_tags.WHITE_LEVEL, "I", 1, 16000),
        (50721, "2i", 9, [n for row in MATRIX for value in row for n in (round(1e4 * value), 10000)]),
        (dng_tags.AS_SHOT_NEUTRAL, "2I", 3, (1, 2, 1, 1, 2, 3)),
        *more,
    ]  # fmt: skip
    layout = {"rowsperstrip": data.shape[0]} | layout
    with open(path, "wb") as file, tifffile.TiffWriter(file, byteorder=byteorder) as writer:
        writer.write(
            data, photometric=dng_tags.CFA, metadata=None, software=False, subfiletype=0,
            extratags=[(*tag, True) for tag in sorted(tags)], **layout,
        )  # fmt: skip


def noise(height=61, width=83) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 1 << 16, (height, width), np.uint16)


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("rows", [1, 7, 61])
@pytest.mark.parametrize("pattern", ["GBRG", "GGRGGBGGBGGRBRGRBGGGBGGRGGRGGBRBGBRG"])
def test_byte_order_and_strips(open_both, tmp_path, byteorder, rows, pattern):
    write_cfa(tmp_path / "a.dng", noise(), pattern, byteorder=byteorder, rowsperstrip=rows)
    raw = open_both(tmp_path / "a.dng")
    assert np.array_equal(raw.data, noise())
    assert raw.data.flags.writeable


@pytest.mark.parametrize("top", [0, 1, 4])
@pytest.mark.parametrize("left", [0, 3, 8])
def test_active_area_and_crop(open_both, tmp_path, top, left):
    area = (dng_tags.ACTIVE_AREA, "I", 4, (top, left, 58, 80))
    crop = [(dng_tags.CROP_ORIGIN, "I", 2, (3, 1)), (dng_tags.CROP_SIZE, "I", 2, (33, 41))]
    write_cfa(tmp_path / "a.dng", noise(), "RGGB", area, *crop)
    raw = open_both(tmp_path / "a.dng")
    assert raw.active_area == (top, left, 58, 80)
    assert raw.default_crop == (1, 3, 42, 36)


@pytest.mark.parametrize("length", [1, 300, 4096, 65536])
def test_linearisation_table(open_both, tmp_path, length):
    table = np.random.default_rng(length).integers(400, 16000, length, np.uint16)
    data = noise() % np.uint16(length + 50) if length < 60000 else noise()
    write_cfa(tmp_path / "a.dng", data, "RGGB", (dng_tags.LINEARIZATION_TABLE, "H", length, table.tobytes()))
    raw = open_both(tmp_path / "a.dng")
    assert np.array_equal(raw.data, table[np.minimum(data, length - 1)])


def test_exposure_beside_the_picture(open_both, tmp_path):
    """Where TIFF/EP puts it."""
    shutter, iso = (33434, "2I", 1, (1, 50)), (34855, "H", 1, 250)
    write_cfa(tmp_path / "a.dng", noise(), "RGGB", shutter, iso, (33437, "2I", 1, (28, 10)))
    shot = open_both(tmp_path / "a.dng").metadata
    assert (shot.shutter_s, shot.iso, shot.aperture) == (1 / 50, 250.0, 2.8)


@pytest.mark.parametrize(
    "tag",
    [
        (700, "B", 5, b"<xmp>"),  # anything may stand there
        (50736, "2I", 4, (24, 1, 70, 1, 28, 10, 4, 1)),
        (37377, "2i", 1, (6, 1)),  # the shutter speed as a logarithm
        (306, "s", 0, "2026:02:28 12:30:59 or so"),
        (dng_tags.ACTIVE_AREA, "I", 3, (0, 0, 50)),
        (dng_tags.CROP_SIZE, "I", 2, (33, 41)),
    ],
)
def test_libraw_is_asked_where_it_may_know_more(open_both, tmp_path, tag):
    write_cfa(tmp_path / "a.dng", noise(), "RGGB", tag)
    open_both(tmp_path / "a.dng", direct=False)
    directories = directories_of(tmp_path / "a.dng")
    assert not reader._tags_suffice(dng_tags.find(directories), reader.metadata.read(None, directories))


def directories_of(path) -> list[tiff.Directory]:
    with open(path, "rb") as file:
        return tiff.read(file)


def patched(path, code, *values) -> None:
    """The file with another value of a tag, of as many values as before."""
    old = directories_of(path)[0].tags[code]
    data = bytearray(path.read_bytes())
    new = Tag.of(code, old.type, *values)
    assert new.count == old.count
    at = data.index(struct.pack("<HHI", code, old.type, old.count)) + 8
    if len(new.data) > 4:
        at = struct.unpack_from("<I", data, at)[0]
    data[at : at + len(new.data)] = new.data
    path.write_bytes(data)


def strips_of(path) -> tuple[list[int], list[int]]:
    tags = directories_of(path)[0].tags
    return [int(n) for n in tags[273].numbers()], [int(n) for n in tags[279].numbers()]


def test_strips_anywhere(tmp_path):
    # LibRaw reads on from the first strip, wherever the others are.
    path = tmp_path / "a.dng"
    write_cfa(path, noise(60, 80), rowsperstrip=20)
    offsets, _ = strips_of(path)
    patched(path, 273, *offsets[::-1])
    assert np.array_equal(reader.open(path).data, noise(60, 80).reshape(3, 20, 80)[::-1].reshape(60, 80))


def test_bytes_behind_a_strip_are_left_alone(open_both, tmp_path):
    path = tmp_path / "a.dng"
    write_cfa(path, noise(60, 80), rowsperstrip=60)
    path.write_bytes(path.read_bytes() + bytes(100))
    patched(path, 279, strips_of(path)[1][0] + 60)
    assert np.array_equal(open_both(path).data, noise(60, 80))


def test_strips_over_each_other_are_no_plain_file(tmp_path):
    """A small file must not ask for much memory."""
    path = tmp_path / "a.dng"
    write_cfa(path, noise(60, 80), rowsperstrip=20)
    offsets, _ = strips_of(path)
    size = path.stat().st_size
    patched(path, 273, *[offsets[0]] * 3)
    dng = dng_tags.find(directories_of(path))
    assert reader._decode_plain(path, dng).data.shape == (60, 80)
    path.write_bytes(path.read_bytes()[: size // 2])
    assert reader._decode_plain(path, dng) is None


@pytest.mark.parametrize(("code", "values"), [(278, (0,)), (278, (7,)), (277, (2,)), (256, (1 << 30,)), (257, (0,))])
def test_tags_that_do_not_fit_the_strips(tmp_path, code, values):
    path = tmp_path / "a.dng"
    write_cfa(path, noise(60, 80), rowsperstrip=20)
    patched(path, code, *values)
    dng = dng_tags.find(directories_of(path))
    assert dng is None or dng.plain_strips() is None


def test_cut_short(tmp_path):
    path = tmp_path / "a.dng"
    write_cfa(path, noise(), rowsperstrip=5)
    whole = path.read_bytes()
    for share in np.linspace(0.02, 0.99, 20):
        path.write_bytes(whole[: int(share * len(whole))])
        assert_refused(path, "")
