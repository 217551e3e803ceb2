"""DNG files: written by rawzoo, read back by rawzoo, LibRaw, exiftool and tifffile."""

import io
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest
import rawpy
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from raw_samples import KINDS, build_raw

from rawzoo.errors import RawFileError, UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import color, metadata, tiff
from rawzoo.raw.dng import COMPRESSIONS, write_dng
from rawzoo.raw.image import Box, RawImage
from rawzoo.raw.reader import open as open_raw

PREVIEW = np.random.default_rng(5).integers(0, 256, (48, 64, 3), dtype=np.uint8)


def assert_same(again: RawImage, raw: RawImage) -> None:
    assert np.array_equal(again.mosaic, raw.mosaic)
    assert again.data.dtype == raw.data.dtype
    for name in (
        "kind",
        "cfa",
        "black_level",
        "white_level",
        "default_crop",
        "orientation",
        "as_shot_neutral",
        "color_matrices",
        "noise_profile",
        "noise_reduction",
        "baseline_exposure",
        "metadata",
    ):
        assert getattr(again, name) == getattr(raw, name), name
    assert (again.height, again.width) == (raw.height, raw.width)
    assert again.warnings == ()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("preview", [None, PREVIEW], ids=["plain", "preview"])
def test_round_trip(tmp_path, kind, compression, preview):
    raw = build_raw(kind, 271, 303)
    write_dng(tmp_path / "a.dng", raw, compression=compression, preview=preview)
    assert [f.name for f in tmp_path.iterdir()] == ["a.dng"]
    assert_same(open_raw(tmp_path / "a.dng"), raw)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", ["none", "ljpeg"])
@pytest.mark.parametrize("area", [(0, 0), (6, 6), (12, 18), (8, 2), (3, 5)])
def test_libraw_reads_the_same(tmp_path, kind, compression, area):
    raw = build_raw(kind, 90, 130)
    raw = replace(raw, active_area=Box(*area, 87, 126), default_crop=Box(0, 0, 60, 80))
    write_dng(tmp_path / "a.dng", raw, compression=compression)
    with rawpy.imread(str(tmp_path / "a.dng")) as reader:
        pixels = reader.raw_image_visible
        assert np.array_equal(pixels[..., :3] if pixels.ndim == 3 else pixels, raw.mosaic)
        assert reader.white_level == 16383
        if raw.kind in ("bayer", "xtrans"):
            letters = "".join("RGBG"[i] for i in reader.raw_pattern.ravel())
            assert letters == raw.cfa
        if raw.kind == "bayer":
            # LibRaw truncates fractions, and orders R, G1, B, G2 with G1 in the red rows.
            r, gr, gb, b = (int(v) for v in raw.black_level)
            assert reader.black_level_per_channel == [r, gr, b, gb]
        if raw.kind != "mono":
            # For linear files LibRaw works differences of the black level into the gains.
            tolerance = 2e-3 if kind == "linear" else 1e-6
            gains = [1 / n for n in raw.as_shot_neutral]
            assert reader.camera_whitebalance[:3] == pytest.approx(gains, rel=tolerance)
            to_camera = np.array(raw.color_matrices[1].xyz_to_camera) @ color.rgb_to_xyz("srgb")
            expected = np.linalg.inv(to_camera / to_camera.sum(axis=1, keepdims=True))
            assert reader.color_matrix[:, :3] == pytest.approx(expected, abs=2e-3)
    again = open_raw(tmp_path / "a.dng")
    assert np.array_equal(again.mosaic, raw.mosaic)
    assert again.cfa == raw.cfa


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    kind=st.sampled_from(KINDS),
    compression=st.sampled_from(COMPRESSIONS),
    height=st.integers(1, 300),
    width=st.integers(1, 300),
    data=st.data(),
)
def test_any_size_and_area(tmp_path, kind, compression, height, width, data):
    raw = build_raw(kind, height, width, seed=height * 1000 + width)
    top, left = data.draw(st.integers(0, min(height - 1, 20))), data.draw(st.integers(0, min(width - 1, 20)))
    bottom, right = data.draw(st.integers(top + 1, height)), data.draw(st.integers(left + 1, width))
    area = Box(top, left, bottom, right)
    raw = replace(raw, active_area=area, default_crop=Box(0, 0, area.height, area.width))
    if raw.data.max() == 0 or np.percentile(raw.mosaic, 99) < 532:
        return  # nothing in it that a reader could believe
    write_dng(tmp_path / "a.dng", raw, compression=compression)
    assert_same(open_raw(tmp_path / "a.dng"), raw)


@pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is not installed")
@pytest.mark.parametrize("kind", ["GBRG", "xtrans", "mono", "linear"])
@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("preview", [None, PREVIEW], ids=["plain", "preview"])
def test_exiftool_finds_nothing_wrong(tmp_path, kind, compression, preview):
    raw = replace(build_raw(kind), exif=exif_with_gps())
    write_dng(tmp_path / "a.dng", raw, compression=compression, preview=preview)
    found = subprocess.run(
        ["exiftool", "-validate", "-warning", "-error", "-a", str(tmp_path / "a.dng")],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert found.split(":", 1)[1].strip() == "OK", found


def exif_with_gps() -> bytes:
    Tag = tiff.Tag
    return tiff.exif_block(
        [Tag.of_text(271, "Acme"), Tag.of_text(272, "Acme One"), Tag.of_text(315, "A. Photographer")],
        [
            Tag.of(33434, tiff.RATIONAL, 1, 60),
            Tag.of(33437, tiff.RATIONAL, 28, 5),
            Tag.of(34855, tiff.SHORT, 200),
            Tag(36864, tiff.UNDEFINED, 4, b"0232"),
            Tag.of_text(36867, "2026:02:28 12:30:59"),
            Tag.of(37386, tiff.RATIONAL, 50, 1),
            Tag.of_text(42036, "Acme 50mm F1.8"),
        ],
        [
            Tag.of(0, tiff.BYTE, 2, 3, 0, 0),
            Tag.of_text(1, "N"),
            Tag.of(2, tiff.RATIONAL, 52, 1, 31, 1, 12, 1),
            Tag.of_text(3, "E"),
            Tag.of(4, tiff.RATIONAL, 13, 1, 24, 1, 18, 1),
        ],
    )


@pytest.mark.parametrize("preview", [None, PREVIEW], ids=["plain", "preview"])
def test_exif_is_carried_over(tmp_path, preview):
    raw = replace(build_raw(), exif=exif_with_gps())
    write_dng(tmp_path / "a.dng", raw, preview=preview)
    once = open_raw(tmp_path / "a.dng")
    write_dng(tmp_path / "b.dng", once, compression="ljpeg")
    twice = open_raw(tmp_path / "b.dng")
    for exif_bytes in (once.exif, twice.exif):
        exif = Image.Exif()
        exif.load(exif_bytes)
        assert exif[315] == "A. Photographer"
        assert float(exif.get_ifd(0x8769)[33437]) == 5.6
        assert [float(v) for v in exif.get_ifd(0x8825)[4]] == [13, 24, 18]
    assert twice.metadata == raw.metadata


def test_preview_is_found(tmp_path):
    smooth = np.repeat(np.linspace(0, 255, 64, dtype=np.uint8)[None, :, None], 48, axis=0).repeat(3, axis=2)
    write_dng(tmp_path / "a.dng", build_raw(), preview=smooth)
    with rawpy.imread(str(tmp_path / "a.dng")) as reader:
        thumb = reader.extract_thumb()
    assert thumb.format == rawpy.ThumbFormat.JPEG
    with Image.open(io.BytesIO(thumb.data)) as image:
        shown = np.asarray(image.convert("RGB"))
    assert np.abs(shown.astype(int) - smooth).max() < 12
    with tifffile.TiffFile(tmp_path / "a.dng") as file:
        assert np.abs(file.pages[0].asarray().astype(int) - smooth).max() < 12


def test_differing_levels_of_every_kind_survive(tmp_path):
    linear = replace(build_raw("linear"), white_level=(60000.0, 61000.0, 62000.0))
    write_dng(tmp_path / "a.dng", linear)
    assert open_raw(tmp_path / "a.dng").white_level == linear.white_level
    bayer = replace(build_raw(), white_level=(15000.0, 16000.0, 16000.0, 15500.0))
    write_dng(tmp_path / "a.dng", bayer)
    assert open_raw(tmp_path / "a.dng").white_level == (15000.0,) * 4
    noisy = replace(build_raw(), noise_profile=((1e-4, 1e-6), (2e-4, 2e-6), (4e-4, 4e-6), (3e-4, 3e-6)))
    write_dng(tmp_path / "a.dng", noisy)
    green = pytest.approx((3e-4, 3e-6))
    assert open_raw(tmp_path / "a.dng").noise_profile == ((1e-4, 1e-6), green, green, (3e-4, 3e-6))


def test_floating_point_data(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(0.4, 0.2, (60, 80)).astype(np.float32)
    raw = RawImage.from_array(values, cfa="GRBG", black_level=(0, 0.01, 0.02, 0.03), white_level=(1, 0.9, 0.9, 1.1))
    write_dng(tmp_path / "a.dng", raw)
    with pytest.warns(UserWarning, match="white balance|matrix"):
        again = open_raw(tmp_path / "a.dng")
    tile = np.tile(cfa_patterns.channel_tile("GRBG"), (30, 40))

    def normalised(image):
        black, white = np.array(image.black_level)[tile], np.array(image.white_level)[tile]
        return (image.data - black) / (white - black)

    wanted = normalised(raw)
    inside = (wanted > -0.015) & (wanted < 1)
    assert inside.mean() > 0.9
    assert np.abs(normalised(again) - wanted)[inside].max() < 1 / 64000
    assert normalised(again)[wanted > 1].min() == 1


def test_whole_numbers_in_floating_point_stay(tmp_path):
    raw = build_raw()
    write_dng(tmp_path / "a.dng", replace(raw, data=raw.data.astype(np.float32)))
    assert_same(open_raw(tmp_path / "a.dng"), raw)


def test_bad_options_write_nothing(tmp_path):
    for options in (
        {"compression": "zip"},
        {"preview": np.zeros((4, 4), np.uint8)},
        {"preview": np.zeros((4, 4, 3), np.float32)},
    ):
        with pytest.raises(UsageError):
            write_dng(tmp_path / "a.dng", build_raw(), **options)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.dng"
    path.write_bytes(b"old")

    def fail(*_):
        raise OSError("disk full")

    monkeypatch.setattr(tiff, "embed_exif", fail)
    with pytest.raises(OSError, match="disk full"):
        write_dng(path, build_raw())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("preview", [None, PREVIEW], ids=["plain", "preview"])
@pytest.mark.parametrize("with_exif", [False, True], ids=["bare", "exif"])
def test_truncated_anywhere_is_refused(tmp_path, compression, preview, with_exif):
    raw = build_raw("RGGB", 300, 280)
    raw = raw if with_exif else replace(raw, metadata=metadata.Metadata())
    path = tmp_path / "a.dng"
    write_dng(path, raw, compression=compression, preview=preview)
    whole = path.read_bytes()
    # The last strip may end in a byte of padding.
    for length in np.linspace(0, len(whole) - 2, 20).astype(int):
        path.write_bytes(whole[:length])
        with pytest.raises(RawFileError, match=r"a\.dng") as caught:
            open_raw(path)
        assert str(caught.value).count("\n") == 0


def test_lossless_jpeg_in_strips_is_read_whole(tmp_path):
    """LibRaw decodes the first strip only and says nothing."""
    raw = build_raw("RGGB", 128, 96)
    path = tmp_path / "strips.dng"
    write_dng(path, raw, compression="ljpeg")
    with tifffile.TiffFile(path) as file:
        kept = [(t.code, t.dtype, t.count, t.value, True) for t in file.pages[0].tags if t.code > 33000]
    kept = [t for t in kept if t[0] not in (tiff.EXIF_IFD, tiff.GPS_IFD)]
    tifffile.imwrite(
        path,
        raw.data,
        photometric=32803,
        compression="jpeg",
        compressionargs={"lossless": True, "bitspersample": 16},
        rowsperstrip=32,
        metadata=None,
        extratags=[(c, d, n, v, w) for c, d, n, v, w in kept],
    )
    assert np.array_equal(open_raw(path).mosaic, raw.mosaic)
