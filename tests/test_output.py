"""Written pictures, read back by libraries that did not write them."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

from rawzoo import output
from rawzoo.errors import UsageError

EXIF = Image.Exif()
EXIF[0x010F], EXIF[0x0110], EXIF[0x0112] = "Maker", "Model", 6
EXIF.get_ifd(0x8769)[0x8827] = 800
BLOCK = EXIF.tobytes().removeprefix(b"Exif\0\0")


def picture(dtype: str) -> np.ndarray:
    top = 255 if dtype == "uint8" else 65535
    return np.random.default_rng(1).integers(0, top, (37, 53, 3)).astype(dtype)


def test_jpeg(tmp_path: Path) -> None:
    flat = np.full((40, 60, 3), (200, 100, 50), np.uint8)
    output.write_picture(tmp_path / "a.jpg", flat, space="display-p3", exif=BLOCK)
    with Image.open(tmp_path / "a.jpg") as image:
        assert np.abs(np.asarray(image).astype(int) - flat).max() <= 2
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
        assert "P3" in ImageCms.getProfileDescription(profile)
        exif = image.getexif()
        assert (exif[0x010F], exif[0x0112]) == ("Maker", 1)
        assert exif.get_ifd(0x8769)[0x8827] == 800
        assert exif.get_ifd(0x8769)[0xA002] == 60


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_png(tmp_path: Path, dtype: str) -> None:
    expected = picture(dtype)
    output.write_picture(tmp_path / "a.png", expected, exif=BLOCK)
    decoded = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded[..., ::-1], expected)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert image.getexif()[0x0110] == "Model"
        assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"])))


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_tiff(tmp_path: Path, dtype: str) -> None:
    expected = picture(dtype)
    output.write_picture(tmp_path / "a.tif", expected, exif=BLOCK)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        np.testing.assert_array_equal(file.pages[0].asarray(), expected)
        assert file.pages[0].tags[34675].count > 100
    with Image.open(tmp_path / "a.tif") as image:
        assert image.getexif().get_ifd(0x8769)[0x8827] == 800


def test_npy(tmp_path: Path) -> None:
    expected = np.random.default_rng(0).normal(size=(5, 7, 3)).astype(np.float32)
    output.write_picture(tmp_path / "a.npy", expected, space="camera")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), expected)


def test_a_space_without_colorimetry_gets_no_profile(tmp_path: Path) -> None:
    output.write_picture(tmp_path / "a.png", picture("uint16"), space="camera")
    with Image.open(tmp_path / "a.png") as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("a.jpg", "uint16"), ("a.jpg", "float32"), ("a.tif", "float32"), ("a.gif", "uint8"), ("a", "uint8")],
)
def test_what_a_format_cannot_hold_is_refused(tmp_path: Path, name: str, dtype: str) -> None:
    with pytest.raises(UsageError, match=name):
        output.write_picture(tmp_path / name, np.zeros((4, 4, 3), dtype))
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(output, "_write_png", fail)
    (tmp_path / "a.png").write_bytes(b"before")
    with pytest.raises(OSError, match="disk full"):
        output.write_picture(tmp_path / "a.png", picture("uint8"))
    assert [f.name for f in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"before"
