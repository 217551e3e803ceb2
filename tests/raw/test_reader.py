"""Opening raw files: good ones, liars, and what is no raw file."""

import os
import subprocess
import sys
import threading
import warnings
from dataclasses import replace

import imagecodecs
import numpy as np
import pytest
import rawpy
import tifffile
from PIL import Image
from raw_samples import MATRIX, build_raw

from rawzoo.errors import RawFileError, RawWarning, UsageError
from rawzoo.raw import color, dng_tags, tiff
from rawzoo.raw.cfa import XTRANS_PATTERN
from rawzoo.raw.dng import write_dng
from rawzoo.raw.image import Box, ColorMatrix, RawImage
from rawzoo.raw.reader import open as open_raw

SHARED = {
    # name: kind, CFA, data shape, black, white, orientation, warnings
    "canon_6d_linear_lossy.dng": ("linear", None, (816, 1224, 3), 0, 65535, 1, 0),
    "canon_kiss_x4_colorchart.dng": ("bayer", "RGGB", (1182, 1888), 2056, 15000, 1, 0),
    "derived_canon_colorchart_BGGR_768x512.dng": ("bayer", "BGGR", (512, 768), 2056, 15000, 1, 0),
    "derived_canon_colorchart_GBRG_768x512.dng": ("bayer", "GBRG", (512, 768), 2056, 15000, 1, 0),
    "derived_canon_colorchart_GRBG_768x512.dng": ("bayer", "GRBG", (512, 768), 2056, 15000, 1, 0),
    "derived_canon_colorchart_RGGB_ljpeg.dng": ("bayer", "RGGB", (1156, 1734), 2056, 15000, 1, 0),
    "dngsdk_linear_16bit.dng": ("linear", None, (200, 200, 3), 0, 65535, 1, 0),
    "dngsdk_linear_float32.dng": ("linear", None, (100, 1000, 3), 0, 1, 1, 0),
    "kodak_dc50_DC0008L.KDC": ("bayer", "GRBG", (512, 768), 0, 16383, 1, 1),
    "lg_g4_linear_lossy.dng": ("linear", None, (338, 600, 3), 0, 65535, 1, 0),
    "lg_g4_linear_lossy_rotated.dng": ("linear", None, (338, 600, 3), 0, 65535, 8, 0),
    "quicktake_Image__1.QTK": ("bayer", "GRBG", (480, 640), 0, 1023, 1, 1),
    "quicktake_raw_Image_08.QTK": ("bayer", "GRBG", (480, 640), 0, 16383, 1, 1),
    "synthetic_linear_uncompressed.dng": ("linear", None, (512, 768, 3), 512, 65535, 1, 0),
    "synthetic_mono_12bit.dng": ("mono", None, (512, 768), 256, 4095, 1, 0),
    "synthetic_xtrans.dng": ("xtrans", None, (510, 696), 1024, 16383, 1, 0),
}


def opened(path) -> RawImage:
    """The image, with its warnings checked to be both issued and kept."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        raw = open_raw(path)
    assert tuple(str(w.message) for w in caught if w.category is RawWarning) == raw.warnings
    for sentence in raw.warnings:
        assert sentence.startswith(f"{path}: ")
        assert sentence.endswith(".")
    return raw


@pytest.mark.parametrize("name", SHARED)
def test_shared_file(shared_raw, name):
    kind, cfa, shape, black, white, orientation, count = SHARED[name]
    raw = opened(shared_raw / name)
    assert raw.kind == kind
    assert raw.data.shape == shape
    if kind == "xtrans":
        assert raw.cfa is not None
        assert len(raw.cfa) == 36
    else:
        assert raw.cfa == cfa
    assert set(raw.black_level) == {black}
    assert set(raw.white_level) == {white}
    assert raw.orientation == orientation
    assert len(raw.warnings) == count
    assert 0 <= raw.default_crop.top < raw.default_crop.bottom <= raw.height
    assert 0 <= raw.default_crop.left < raw.default_crop.right <= raw.width
    if raw.data.dtype == np.uint16:
        with rawpy.imread(str(shared_raw / name)) as reader:
            theirs = reader.raw_image[..., :3] if kind == "linear" else reader.raw_image
            assert np.array_equal(raw.data, theirs)


def test_canon_details(shared_raw):
    raw = opened(shared_raw / "canon_kiss_x4_colorchart.dng")
    assert raw.active_area == Box(26, 152, 1182, 1886)
    assert raw.default_crop == Box(0, 0, 1156, 1734)
    assert raw.mosaic.min() < 2056  # noise below black is kept
    # The file's neutral is normalised to red.
    assert raw.as_shot_neutral == pytest.approx((1 / 2.477, 1, 1.462 / 2.477), rel=1e-3)
    assert raw.color_matrices[0].xyz_to_camera[0] == (0.6461, -0.1164, -0.0857)
    assert (raw.metadata.make, raw.metadata.model) == ("Canon", "Canon EOS Kiss X4")
    assert (raw.metadata.iso, raw.metadata.shutter_s, raw.metadata.aperture, raw.metadata.time) == (None,) * 4


def test_calibration_is_multiplied_in(shared_raw):
    raw = opened(shared_raw / "canon_6d_linear_lossy.dng")
    d65 = np.array(raw.color_matrices[1].xyz_to_camera)
    # exiftool: ColorMatrix2 0.7034 ..., AnalogBalance 2.158672 1 1.414752, CameraCalibration 0.9883 1 1.
    assert d65[0, 0] == pytest.approx(0.7034 * 2.158672 * 0.9883, rel=1e-4)
    with rawpy.imread(str(shared_raw / "canon_6d_linear_lossy.dng")) as reader:
        assert reader.color_matrix[:, :3] == pytest.approx(libraw_matrix(d65), abs=2e-3)
    assert len(raw.noise_profile) == 3
    assert raw.baseline_exposure == 0.25
    assert raw.metadata.lens == "EF24-105mm f/4L IS USM"


def libraw_matrix(xyz_to_camera) -> np.ndarray:
    to_camera = np.array(xyz_to_camera) @ color.rgb_to_xyz("srgb")
    return np.linalg.inv(to_camera / to_camera.sum(axis=1, keepdims=True))


def test_floating_point_keeps_its_precision(shared_raw):
    raw = opened(shared_raw / "dngsdk_linear_float32.dng")
    assert raw.data.dtype == np.float32
    with tifffile.TiffFile(shared_raw / "dngsdk_linear_float32.dng") as file:
        assert np.array_equal(raw.data, file.pages[0].asarray())


# What is no raw file, or only part of one

SENTENCES = {
    "canon_r6_pruned.CR3": "damaged or cut short",
    "header_only.dng": "cut short or a mere header",
    "jpeg_named_nef.nef": "is a JPEG picture",
    "truncated_half_colorchart.dng": "cut short",
}


@pytest.mark.parametrize("name", SENTENCES)
def test_broken_shared_file(shared_raw, name):
    assert_refused(shared_raw / "broken" / name, SENTENCES[name])


def assert_refused(path, sentence) -> None:
    with pytest.raises(RawFileError) as caught:
        open_raw(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert sentence in message
    assert message.endswith(".")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("empty.dng", b"", "is empty"),
        ("text.cr2", b"Dear diary, today I renamed a text file.\n" * 50, "is not a raw file"),
        ("random.arw", np.random.default_rng(0).bytes(100_000), "is not a raw file"),
        ("header.dng", b"II*\0" + bytes(60), "directory of contents is missing"),
        ("zeros.nef", bytes(10_000), "is not a raw file"),
        ("one.raf", b"F", "is not a raw file"),
        ("head.raf", b"FUJIFILMCCD-RAW 0201FF000000X-One" + bytes(200), ""),
    ],
)
def test_what_is_no_raw_file(tmp_path, capfd, name, content, sentence):
    (tmp_path / name).write_bytes(content)
    assert_refused(tmp_path / name, sentence)
    assert capfd.readouterr() == ("", "")


def test_missing_and_folder(tmp_path):
    assert_refused(tmp_path / "missing.dng", "does not exist")
    assert_refused(tmp_path, "is a folder")
    os.mkfifo(tmp_path / "pipe.dng")
    assert_refused(tmp_path / "pipe.dng", "not a regular file")


def test_pictures_are_told_how_to_be_mosaics(tmp_path):
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    for name, sentence in (("a.png", "(cfa, black, white)"), ("a.tif", "(cfa, black, white)"), ("a.jpg", "is a JPEG")):
        image.save(tmp_path / name)
        assert_refused(tmp_path / name, sentence)


def test_damage_is_silent_and_refused(shared_raw, tmp_path, capfd):
    data = bytearray((shared_raw / "derived_canon_colorchart_RGGB_ljpeg.dng").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)
    (tmp_path / "a.dng").write_bytes(data)
    assert_refused(tmp_path / "a.dng", "is damaged")
    assert capfd.readouterr() == ("", "")


@pytest.mark.filterwarnings("ignore::rawzoo.errors.RawWarning")
def test_partial_damage_is_told(shared_raw, tmp_path, capfd):
    data = bytearray((shared_raw / "canon_6d_linear_lossy.dng").read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)
    (tmp_path / "a.dng").write_bytes(data)
    raw = opened(tmp_path / "a.dng")
    assert any("damaged" in sentence for sentence in raw.warnings)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("name", ["kodak_dc50_DC0008L.KDC", "quicktake_Image__1.QTK", "quicktake_raw_Image_08.QTK"])
def test_other_formats_truncated(shared_raw, tmp_path, name):
    whole = (shared_raw / name).read_bytes()
    path = tmp_path / name
    for length in np.linspace(0, len(whole) * 0.97, 12).astype(int):
        path.write_bytes(whole[:length])
        assert_refused(path, "")


def test_all_zero_is_refused(tmp_path):
    raw = build_raw()
    write_dng(tmp_path / "a.dng", replace(raw, data=np.zeros_like(raw.data)))
    assert_refused(tmp_path / "a.dng", "every sample is zero")


# Files that lie


def lying(tmp_path, raw: RawImage | None = None, **changes: tiff.Tag) -> RawImage:
    """A DNG whose tags were changed after writing."""
    path = tmp_path / "liar.dng"
    write_dng(path, raw or build_raw())
    for tag in changes.values():
        with open(path, "rb") as file:
            (directory,) = tiff.read(file)
        if len(tag.data) <= 4:
            tiff.amend(path, directory, tag)
        else:
            data = bytearray(path.read_bytes())
            old = directory.tags[tag.code].data
            assert data.count(old) == 1
            assert len(old) == len(tag.data)
            at = data.find(old)
            data[at : at + len(old)] = tag.data
            path.write_bytes(data)
    return opened(path)


Tag = tiff.Tag


def test_zero_white_balance(tmp_path):
    raw = lying(tmp_path, wb=Tag.of(dng_tags.AS_SHOT_NEUTRAL, tiff.RATIONAL, 0, 1, 1, 1, 0, 1))
    assert raw.as_shot_neutral is None
    assert raw.daylight_neutral is not None
    assert "white balance" in raw.warnings[0]


def test_undefined_white_balance(tmp_path):
    raw = lying(tmp_path, wb=Tag.of(dng_tags.AS_SHOT_NEUTRAL, tiff.RATIONAL, 0, 0, 0, 0, 0, 0))
    assert raw.as_shot_neutral is None
    assert len(raw.warnings) == 1


def test_absent_white_balance_and_matrix(tmp_path):
    bare = replace(build_raw(), as_shot_neutral=None, color_matrices=(), noise_profile=None)
    raw = lying(tmp_path, bare)
    assert (raw.as_shot_neutral, raw.daylight_neutral, raw.color_matrices) == (None, None, ())
    assert (raw.noise_profile, len(raw.warnings)) == (None, 2)


@pytest.mark.parametrize("value", [(0, 0), (3, 2)])
def test_noise_reduction_that_says_nothing(tmp_path, value):
    raw = lying(tmp_path, reduction=Tag.of(dng_tags.NOISE_REDUCTION, tiff.RATIONAL, *value))
    assert (raw.noise_reduction, raw.warnings) == (None, ())


def test_zero_matrix(tmp_path):
    one = replace(build_raw(), color_matrices=(ColorMatrix(21, MATRIX),))
    raw = lying(tmp_path, one, matrix=Tag.of(dng_tags.COLOR_MATRIX[0], tiff.SRATIONAL, *(0, 1) * 9))
    assert raw.color_matrices == ()
    assert "colour matrix" in raw.warnings[0]


def test_one_unusable_matrix_of_two(tmp_path):
    raw = lying(tmp_path, matrix=Tag.of(dng_tags.COLOR_MATRIX[0], tiff.SRATIONAL, *(1, 1) * 9))
    assert [m.illuminant for m in raw.color_matrices] == [21]
    assert raw.warnings == ()


def test_white_not_above_black(tmp_path):
    low = replace(build_raw(), data=np.random.default_rng(0).integers(600, 4000, (61, 83), dtype=np.uint16))
    raw = lying(tmp_path, low, white=Tag.of(dng_tags.WHITE_LEVEL, tiff.LONG, 500))
    assert raw.white_level == (4095.0,) * 4
    assert "4095 is taken as white" in raw.warnings[0]


def test_white_beyond_the_samples(tmp_path):
    raw = lying(tmp_path, white=Tag.of(dng_tags.WHITE_LEVEL, tiff.LONG, 1_000_000))
    assert raw.white_level == (65535.0,) * 4
    assert "more than the samples can hold" in raw.warnings[0]


def test_everything_below_black(tmp_path):
    dim = np.random.default_rng(0).integers(100, 500, (61, 83), dtype=np.uint16)
    raw = lying(tmp_path, replace(build_raw(), data=dim, black_level=(2000.0,) * 4))
    assert raw.black_level == (pytest.approx(100, abs=5),) * 4
    assert "below its black level" in raw.warnings[0]


def test_some_noise_below_black_is_no_lie(tmp_path):
    dark = np.random.default_rng(0).normal(512, 10, (61, 83)).astype(np.uint16)
    raw = lying(tmp_path, replace(build_raw(), data=dark, black_level=(512.0,) * 4))
    assert raw.black_level == (512.0,) * 4
    assert raw.warnings == ()


def test_active_area_beyond_the_sensor(tmp_path):
    raw = lying(tmp_path, area=Tag.of(dng_tags.ACTIVE_AREA, tiff.LONG, 0, 0, 61, 900))
    assert raw.active_area == Box(0, 0, 61, 83)
    assert "reaches beyond" in raw.warnings[0]
    raw = lying(tmp_path, area=Tag.of(dng_tags.ACTIVE_AREA, tiff.LONG, 700, 700, 800, 900))
    assert raw.active_area == Box(0, 0, 61, 83)
    assert "outside the sensor" in raw.warnings[0]


def test_default_crop_outside(tmp_path):
    raw = lying(tmp_path, crop=Tag.of(dng_tags.CROP_ORIGIN, tiff.LONG, 500, 500))
    assert raw.default_crop == Box(0, 0, raw.height, raw.width)
    assert "default crop" in raw.warnings[0]


def test_black_level_that_varies_within_a_colour(tmp_path):
    raw = lying(
        tmp_path, repeat=Tag.of(dng_tags.BLACK_REPEAT, tiff.SHORT, 1, 4)
    )  # four values in a row instead of a square: RGRG gets 500.25 and 520, 510 and 531.5
    assert raw.black_level == (510.125, 520.75, 510.125, 520.75)
    assert "varies" in raw.warnings[0]


def test_unknown_colours_are_refused(tmp_path):
    with pytest.raises(RawFileError, match="other colours than red, green and blue"):
        lying(tmp_path, cfa=Tag.of(dng_tags.CFA_PATTERN, tiff.BYTE, 3, 4, 5, 6))


def test_orientation_out_of_range(tmp_path):
    raw = lying(tmp_path, orientation=Tag.of(274, tiff.SHORT, 77))
    assert raw.orientation == 1
    assert "orientation 77" in raw.warnings[0]
    assert lying(tmp_path, orientation=Tag.of(274, tiff.SHORT, 0)).warnings == ()


def test_xtrans_with_wide_margins(tmp_path):
    """LibRaw reads the pattern outside its own table then."""
    wide = replace(build_raw("xtrans", 90, 120), active_area=Box(6, 6, 90, 120), default_crop=Box(0, 0, 70, 100))
    raw = lying(tmp_path, wide, area=Tag.of(dng_tags.ACTIVE_AREA, tiff.LONG, 12, 18, 90, 120))
    assert raw.cfa == XTRANS_PATTERN
    assert raw.active_area == Box(12, 18, 90, 120)


def test_random_damage_never_surprises(tmp_path):
    """Any flip of bytes gives an image or one sentence."""
    rng = np.random.default_rng(4)
    path = tmp_path / "a.dng"
    write_dng(path, build_raw("GBRG", 40, 60), compression="none")
    whole = path.read_bytes()
    structure = len(whole) - 40 * 60 * 2
    for _ in range(150):
        data = bytearray(whole)
        # Bytes of the directory at the end, of the tags before the pixels, and anywhere.
        for at in (len(whole) - rng.integers(1, 900), rng.integers(4, structure), rng.integers(0, len(whole))):
            data[at % len(whole)] = rng.integers(0, 256)
        path.write_bytes(data)
        outcome = image_or_sentence(path)
        if isinstance(outcome, RawImage):
            assert outcome.height > 0
            assert outcome.width > 0
            assert all(b < w for b, w in zip(outcome.black_level, outcome.white_level, strict=True))
        else:
            assert "\n" not in outcome


def image_or_sentence(path) -> RawImage | str:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return open_raw(path)
        except RawFileError as error:
            return str(error)


# Mosaics stored as pictures


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_mosaic_picture(tmp_path, suffix, dtype):
    mosaic = np.random.default_rng(0).integers(0, 200, (20, 30)).astype(dtype)
    path = tmp_path / f"m.{suffix}"
    if suffix == "png":
        path.write_bytes(imagecodecs.png_encode(mosaic))
    else:
        tifffile.imwrite(path, mosaic)
    raw = open_raw(path, cfa="GRBG", black=[1, 2, 3, 4], white=200)
    assert (raw.kind, raw.cfa, raw.black_level, raw.white_level) == ("bayer", "GRBG", (1, 2, 3, 4), (200,) * 4)
    assert np.array_equal(raw.data, mosaic)
    assert raw.data.dtype == np.uint16
    assert open_raw(path, white=200).kind == "mono"


def test_linear_picture(tmp_path):
    picture = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    (tmp_path / "l.png").write_bytes(imagecodecs.png_encode(picture))
    raw = open_raw(tmp_path / "l.png", black=64, white=65535)
    assert raw.kind == "linear"
    assert np.array_equal(raw.data, picture)


def test_wrong_levels_of_a_picture(tmp_path):
    path = tmp_path / "m.png"
    path.write_bytes(imagecodecs.png_encode(np.ones((20, 30), np.uint8)))
    for options, sentence in (
        ({"cfa": "RGGB"}, "white level"),
        ({"cfa": "RGXB", "white": 255}, "CFA pattern"),
        ({"white": 1023}, "more than uint8 samples can hold"),
        ({"white": 10, "black": 20}, "above black level"),
    ):
        with pytest.raises(UsageError, match=sentence) as caught:
            open_raw(path, **options)
        assert "m.png" in str(caught.value)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(RawFileError, match="is damaged"):
        open_raw(path, white=255)


def test_levels_are_not_for_raw_files(tmp_path):
    write_dng(tmp_path / "a.dng", build_raw())
    with pytest.raises(UsageError, match="leave out cfa, black and white"):
        open_raw(tmp_path / "a.dng", white=4095)
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(100))
    with pytest.raises(UsageError, match="PNG or TIFF"):
        open_raw(tmp_path / "a.jpg", white=255)


# The process around


def test_threads_take_turns(tmp_path):
    write_dng(tmp_path / "a.dng", build_raw(height=200, width=300))
    wanted, failed = build_raw(height=200, width=300).data, []

    def work():
        for _ in range(5):
            if not np.array_equal(open_raw(tmp_path / "a.dng").data, wanted):
                failed.append(1)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def test_without_standard_error(tmp_path):
    write_dng(tmp_path / "a.dng", build_raw())
    script = (
        "import os, sys; os.close(2); sys.stderr = None; from rawzoo.raw.reader import open; "
        f"print(open({str(tmp_path / 'a.dng')!r}).height)"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "61"
