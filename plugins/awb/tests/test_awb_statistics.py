"""Statistics against OpenCV and against what the reference converter wrote."""

import json
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import imagecodecs
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import rawzoo
from rawzoo.errors import UsageError
from rawzoo.raw.cfa import BAYER_PATTERNS, XTRANS_PATTERN
from rawzoo.raw.image import RawImage
from rawzoo_awb import dataset, resize, statistics, tuning

GRIDS = list(dataset.GRIDS.values())


def noise(height, width, seed=0, top=65536):
    return np.random.default_rng(seed).integers(0, top, (height, width)).astype(np.uint16)


@settings(deadline=None, max_examples=80)
@example(68, 2, (12, 16), 40)  # where 68 / 12 and 1 / (12 / 68) differ
@given(st.integers(2, 160), st.integers(2, 160), st.sampled_from([*GRIDS, (5, 7)]), st.sampled_from([1, 40, 65536]))
def test_area_equals_opencv(height, width, size, top):
    image = np.random.default_rng(height * 997 + width).integers(0, top, (height, width, 3)).astype(np.uint16)
    expected = cv2.resize(image, size[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resize.area(image, *size), expected)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 9), st.integers(1, 9), st.sampled_from([*GRIDS, (5, 7)]))
def test_area_by_whole_factors_equals_opencv(down, right, size):
    image = np.random.default_rng(down * 10 + right).integers(0, 65536, (size[0] * down, size[1] * right, 3))
    expected = cv2.resize(image.astype(np.uint16), size[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resize.area(image.astype(np.uint16), *size), expected)


@pytest.mark.parametrize("size", [(48, 64), (1000, 701), (9, 13), (12, 16)])
def test_linear_equals_opencv(size):
    table = np.random.default_rng(0).random((12, 16)) + 1.0
    np.testing.assert_allclose(resize.linear(table, *size), cv2.resize(table, size[::-1]), atol=2e-7)


@pytest.mark.parametrize("cfa", BAYER_PATTERNS)
@pytest.mark.parametrize("shape", [(300, 411), (64, 64), (20, 500), (512, 512), (768, 1536), (1030, 611), (529, 701)])
@pytest.mark.parametrize("size", GRIDS)
def test_grid_is_the_mean_of_the_stack(cfa, shape, size):
    raw = RawImage.from_array(noise(*shape, top=4400), cfa=cfa, black_level=255.5, white_level=4095)
    stack = statistics.stack(raw)
    # The definition, step by step.
    mosaic = raw.mosaic[: shape[0] // 2 * 2, : shape[1] // 2 * 2].astype(float)
    cells = [(cfa[2 * y + x], mosaic[y::2, x::2]) for y in range(2) for x in range(2)]
    planes = [np.mean([plane for letter, plane in cells if letter == colour], axis=0) for colour in "RGB"]
    expected = (np.clip((np.stack(planes, -1) - 255.5) / 4095, 0, 1) * 65535).astype(np.uint16)
    np.testing.assert_array_equal(stack, expected)
    check_grid(raw, stack, size)


def check_grid(raw, stack, size, tolerance=1e-6):
    """The grid is the exact mean, rounded; OpenCV's float32 sums, which the converter takes, come within 1 of it."""
    found = statistics.grid(raw, *size)
    shares = []
    for length, count in zip(stack.shape[:2], size, strict=True):
        edges, at = np.arange(count + 1) * (length / count), np.arange(length)
        shares.append(np.clip(np.minimum(at + 1, edges[1:, None]) - np.maximum(at, edges[:-1, None]), 0, 1))
    if np.all(np.array(stack.shape[:2]) >= size):
        means = np.einsum("ih,hwc,jw->ijc", shares[0], stack.astype(float), shares[1], optimize=True)
        means /= np.prod(stack.shape[:2]) / np.prod(size)
        np.testing.assert_allclose(found, means, atol=0.5 + tolerance)
    opencv = cv2.resize(stack, size[::-1], interpolation=cv2.INTER_AREA)
    np.testing.assert_array_equal(resize.area(stack, *size), opencv)
    np.testing.assert_allclose(found, opencv, atol=1)
    return (found != opencv).mean()


@pytest.mark.parametrize(("shape", "white"), [((3040, 4056), 4095), ((2592, 4608), 65535), ((2000, 3000), 15000)])
@pytest.mark.parametrize("size", GRIDS)
def test_full_resolution_grid(shape, white, size):
    raw = RawImage.from_array(noise(*shape, top=white + 300), cfa="BGGR", black_level=256, white_level=white)
    assert check_grid(raw, statistics.stack(raw), size) < 0.03


@pytest.mark.parametrize("levels", [(255.5, 4095), (256, 4094.7), (0.01, 0.93), (256, 65534)])
@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_grid_of_any_levels(levels, dtype):
    black, white = levels
    samples = np.random.default_rng(0).uniform(0.8 * black, 1.1 * (black + white), (600, 800)).astype(dtype)
    raw = RawImage.from_array(samples, cfa="GBRG", black_level=black, white_level=white)
    # Sums of float32 samples are rounded before they are truncated.
    check_grid(raw, statistics.stack(raw), (32, 32), 1e-6 if dtype == np.uint16 else 0.01)


@pytest.mark.parametrize("size", GRIDS)
def test_grid_does_not_depend_on_the_sample_type(size):
    mosaic = noise(200, 300, top=4400)
    levels = {"cfa": "GRBG", "black_level": 256, "white_level": 4095}
    integer, floating = (RawImage.from_array(m, **levels) for m in (mosaic, mosaic.astype(np.float32)))
    np.testing.assert_array_equal(statistics.grid(integer, *size), statistics.grid(floating, *size))


def test_xtrans_and_linear_files_have_a_grid_too():
    flat = np.array([1000, 2000, 1500], np.uint16)
    tile = np.array(["RGB".index(c) for c in XTRANS_PATTERN]).reshape(6, 6)
    xtrans = RawImage.from_array(np.tile(flat[tile], (40, 50)), cfa=XTRANS_PATTERN, black_level=100, white_level=4095)
    linear = RawImage.from_array(np.broadcast_to(flat, (90, 70, 3)).copy(), black_level=100, white_level=4095)
    expected = ((flat - 100.0) / 4095 * 65535).astype(np.uint16)
    for raw in (xtrans, linear):
        for size in GRIDS:
            assert np.all(statistics.grid(raw, *size) == expected)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (RawImage.from_array(noise(64, 64), white_level=65535), "monochrome"),
        (RawImage.from_array(noise(1, 64), cfa="RGGB", white_level=65535), "smaller than one CFA tile"),
        (RawImage.from_array(noise(5, 64), cfa=XTRANS_PATTERN, white_level=65535), "smaller than one CFA tile"),
    ],
)
def test_images_without_statistics_are_refused(raw, message):
    with pytest.raises(UsageError, match=message):
        statistics.grid(raw, 32, 32)


@pytest.fixture(scope="session")
def converted(specs, tmp_path_factory):
    """Folder of the reference converter's inputs and outputs."""
    folder = tmp_path_factory.mktemp("converter")
    with zipfile.ZipFile(specs / "golden_converter.zip") as archive:
        archive.extractall(folder)
    return folder


def read_dng(path):
    """A golden DNG; its ISO stands where the reference's EXIF reader was told to look."""
    raw = rawzoo.open(path)
    return replace(raw, metadata=replace(raw.metadata, iso=150.0, shutter_s=1 / 50))


@pytest.mark.parametrize("target", ["pisp", "vc4"])
@pytest.mark.parametrize("shot", ["imx708,00001", "imx708,00002", "imx477,00003", "imx219,00004"])
def test_golden_converter(converted, published, target, shot):
    (path,) = (converted / "dng").glob(f"synth,{shot},*.dng")
    user, sensor, number, *label = path.stem.split(",")
    raw = read_dng(path)
    camera = tuning.from_file(published / "tunings" / target / f"{sensor}.json")
    expected = json.loads((converted / "expected.json").read_text())[f"{target}:{path.name}"]
    numbers = [float(n) for n in label]
    gains = numbers if len(numbers) == 2 else dataset.rectangle_gains(raw, *map(int, numbers))
    np.testing.assert_allclose(gains, expected["gains"], rtol=1e-12)

    example = dataset.convert(raw, camera, target, gains)
    assert example.temperature == pytest.approx(expected["temp"], abs=1e-6)
    assert example.camera_temperature == pytest.approx(expected["camera_temp"], abs=1e-6)
    (image,) = (converted / target / "network_input").glob(f"synth,{shot},*.png")
    if target == "vc4" and len(numbers) == 4:
        # The reference takes black away twice here.
        assert example.lux == pytest.approx(670, abs=0.5)
    else:
        assert example.lux == pytest.approx(expected["lux"], rel=1e-6)
        assert example.name(user, sensor, number) == image.name
    expected_image = imagecodecs.png_decode(image.read_bytes())
    np.testing.assert_array_equal(example.image, expected_image)
    grid = statistics.grid(raw, *dataset.GRIDS[target])
    np.testing.assert_array_equal(statistics.render(grid, camera, 5000.0), expected_image)
    (look,) = (converted / target / "colour_test").glob(f"synth,{shot},*.png")
    np.testing.assert_array_equal(
        dataset.colour_test(raw, camera, target, gains), imagecodecs.png_decode(look.read_bytes())
    )
    assert Path(image.name) == Path(look.name)


def test_empty_rectangle_is_refused(converted):
    raw = read_dng(next((converted / "dng").glob("*.dng")))
    with pytest.raises(UsageError, match="rectangle"):
        dataset.rectangle_gains(raw, 10, 10, 10, 20)
