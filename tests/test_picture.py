"""Reading pictures: formats, depths, colour spaces, orientation, and files that are none."""

import zlib

import colour
import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms

import rawzoo
from rawzoo import output
from rawzoo.errors import PictureError, RawWarning, UsageError
from rawzoo.picture import Picture, open_picture, upright


def gradient(dtype=np.uint8, height=24, width=40):
    y, x = np.mgrid[0:height, 0:width]
    values = np.stack([x / (width - 1), y / (height - 1), (x + y) / (width + height - 2)], axis=-1)
    return np.rint(values * np.iinfo(dtype).max).astype(dtype)


@pytest.mark.parametrize(
    ("suffix", "dtype"),
    [("png", "uint8"), ("png", "uint16"), ("tif", "uint8"), ("tif", "uint16"), ("npy", "uint16"), ("npy", "float32")],
)
def test_what_rawzoo_writes_comes_back(tmp_path, suffix, dtype):
    samples = gradient(np.uint16 if dtype != "uint8" else np.uint8)
    if dtype == "float32":
        samples = (samples / np.float32(65535)).astype(np.float32)
    output.write_picture(tmp_path / f"a.{suffix}", samples)
    found = rawzoo.open_picture(tmp_path / f"a.{suffix}")
    white = 1 if dtype == "float32" else np.iinfo(dtype).max
    np.testing.assert_array_equal(found.pixels, (samples / np.float32(white)).astype(np.float32))
    assert (found.height, found.width, found.warnings) == (24, 40, ())


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_files_opencv_wrote(tmp_path, suffix, dtype):
    samples = gradient(dtype)
    path = tmp_path / f"a.{suffix}"
    assert cv2.imwrite(str(path), samples[..., ::-1])
    np.testing.assert_array_equal(open_picture(path).pixels, (samples / np.float32(np.iinfo(dtype).max)))


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_formats(tmp_path, form):
    Image.fromarray(gradient()).save(tmp_path / "a", form, quality=98)
    assert np.abs(open_picture(tmp_path / "a").pixels - gradient() / 255).max() < 0.08


@pytest.mark.parametrize(("suffix", "dtype"), [("png", np.uint8), ("tif", np.uint16)])
def test_a_colour_profile_is_applied(tmp_path, suffix, dtype):
    """Display P3 to sRGB, against colour-science."""
    samples = gradient(dtype)
    output.write_picture(tmp_path / f"p3.{suffix}", samples, space="display-p3")
    found = open_picture(tmp_path / f"p3.{suffix}").pixels
    values = samples / np.iinfo(dtype).max
    linear = colour.RGB_to_RGB(
        colour.models.eotf_sRGB(values), "Display P3", "sRGB", chromatic_adaptation_transform=None
    )
    np.testing.assert_allclose(
        found, np.clip(colour.models.eotf_inverse_sRGB(linear), 0, 1), atol=2e-3
    )  # matrices of 4 digits
    assert np.abs(found - values).max() > 0.05


def test_the_usual_srgb_profile_changes_nothing(tmp_path):
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(gradient()).save(tmp_path / "a.png", icc_profile=profile)
    np.testing.assert_array_equal(open_picture(tmp_path / "a.png").pixels, gradient() / np.float32(255))


@pytest.mark.parametrize("profile", [b"not a profile" * 20, bytes(16) + b"RGB " + bytes(200)])
def test_a_bad_profile_is_named(tmp_path, profile):
    Image.fromarray(gradient()).save(tmp_path / "a.png", icc_profile=profile)
    with pytest.warns(RawWarning, match=r"a\.png has a .*profile.* taken as sRGB"):
        found = open_picture(tmp_path / "a.png")
    np.testing.assert_array_equal(found.pixels, gradient() / np.float32(255))


def test_grey_palette_and_transparency(tmp_path):
    grey = gradient()[..., 0]
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "grey.png").pixels, np.dstack([grey] * 3) / np.float32(255))
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "grey16.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "grey16.png").pixels[..., 1], grey / np.float32(255))
    Image.fromarray(grey // 32).convert("P").save(tmp_path / "palette.png")
    assert np.abs(open_picture(tmp_path / "palette.png").pixels[..., 0] * 255 - grey // 32).max() < 1
    alpha = np.dstack([gradient(), np.full(grey.shape, 255, np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "opaque.png")
    np.testing.assert_array_equal(open_picture(tmp_path / "opaque.png").pixels, gradient() / np.float32(255))
    alpha[0, 0, 3], alpha[1, 1, 3] = 0, 128
    Image.fromarray(alpha).save(tmp_path / "clear.png")
    with pytest.warns(RawWarning, match="transparent"):
        found = open_picture(tmp_path / "clear.png").pixels
    np.testing.assert_array_equal(found[0, 0], 1.0)
    np.testing.assert_allclose(found[1, 1], (alpha[1, 1, :3] * (128 / 255) + 127) / 255, atol=0.6 / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
def test_pictures_are_turned_upright(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(gradient()).save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(tmp_path / f"a.{suffix}") as image:
        stored = np.asarray(image)
    np.testing.assert_array_equal(open_picture(tmp_path / f"a.{suffix}").pixels * 255, upright(stored, orientation))


def test_exif_is_carried(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0112] = "Maker", 6
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", exif=exif)
    block = Image.Exif()
    block.load(open_picture(tmp_path / "a.jpg").exif)
    assert block[0x010F] == "Maker"


def test_bad_files_are_one_sentence(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "good.png")
    cv2.imwrite(str(tmp_path / "deep.png"), gradient(np.uint16))
    tifffile.imwrite(tmp_path / "deep.tif", gradient(np.uint16), photometric="rgb")
    Image.fromarray(gradient()).save(tmp_path / "good.jpg")
    cases = {"empty.png": b"", "text.png": b"Dear diary, " * 50, "random.jpg": np.random.default_rng(0).bytes(2000)}
    for name in ("good.png", "deep.png", "deep.tif", "good.jpg"):
        data = (tmp_path / name).read_bytes()
        cases |= {f"half_{name}": data[: len(data) // 2], f"head_{name}": data[:30]}
    Image.fromarray(gradient()).convert("CMYK").save(tmp_path / "cmyk.jpg")
    cases["cmyk2.jpg"] = (tmp_path / "cmyk.jpg").read_bytes()
    tifffile.imwrite(tmp_path / "float.tif", gradient().astype(np.float32), photometric="rgb")
    cases["float2.tif"] = (tmp_path / "float.tif").read_bytes()
    np.save(tmp_path / "x.npy", np.zeros((4, 5, 7), np.float32))
    cases["shape.npy"] = (tmp_path / "x.npy").read_bytes()
    np.save(tmp_path / "x.npy", np.full((4, 5, 3), np.nan, np.float32))
    cases["nan.npy"] = (tmp_path / "x.npy").read_bytes()
    cases["short.npy"] = (tmp_path / "x.npy").read_bytes()[:-9]
    cases["pickle.npy"] = b"\x93NUMPY\x01\x00" + cases["nan.npy"][8:].replace(b"<f4", b"|O ")
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(PictureError, match=rf"{name}.*\S\.?$") as error:
            open_picture(tmp_path / name)
        assert "\n" not in str(error.value)
    for name in ("missing.png", ""):
        with pytest.raises(PictureError):
            open_picture(tmp_path / name)


def test_a_png_that_claims_to_be_huge_is_refused(tmp_path):
    Image.fromarray(gradient()).save(tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = (60000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(PictureError, match="too large for memory"):
        open_picture(tmp_path / "a.png")


def test_arrays():
    np.testing.assert_array_equal(Picture.from_array(gradient()).pixels, gradient() / np.float32(255))
    assert Picture.from_array(np.zeros((3, 4))).pixels.shape == (3, 4, 3)
    over = Picture.from_array(np.array([[[-0.5, 0.5, 1.5]]]))
    np.testing.assert_array_equal(over.picture, [[[0.0, 0.5, 1.0]]])
    assert over.tensor().shape == (3, 1, 1)
    for bad in (np.zeros((3, 4, 2)), np.zeros((3, 4, 3), np.int32), np.full((2, 2), np.inf), np.zeros((0, 4, 3))):
        with pytest.raises(UsageError):
            Picture.from_array(bad)
