"""Colour against published figures, OpenCV and LittleCMS."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageCms

from rawzoo.errors import UsageError
from rawzoo.icc import icc_profile
from rawzoo.raw import color
from rawzoo.raw.image import ColorMatrix, RawImage

# A published D65 matrix of a real camera (Canon 550D, from its DNG), rounded.
MATRIX = ((0.6941, -0.1164, -0.0857), (-0.3825, 1.1597, 0.2497), (-0.0416, 0.1540, 0.6039))


def raw_image(matrices: tuple[ColorMatrix, ...] = (ColorMatrix(21, MATRIX),)) -> RawImage:
    mosaic = np.full((16, 16), 500, np.uint16)
    return RawImage.from_array(mosaic, cfa="RGGB", white_level=1000, color_matrices=matrices)


def test_srgb_matrix_is_the_published_one() -> None:
    published = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    np.testing.assert_allclose(color.rgb_to_xyz("srgb"), published, atol=1e-4)


@pytest.mark.parametrize(
    ("kelvin", "xy"), [(2856, (0.4476, 0.4074)), (6504, (0.3127, 0.3290)), (5003, (0.3457, 0.3585))]
)
def test_temperatures_of_the_cie_illuminants(kelvin: float, xy: tuple[float, float]) -> None:
    np.testing.assert_allclose(color.temperature_to_xy(kelvin), xy, atol=2e-3)
    assert color.xy_to_temperature(xy) == pytest.approx(kelvin, rel=0.01)


def test_temperature_is_smooth_and_monotonic() -> None:
    x = [color.temperature_to_xy(k)[0] for k in range(1700, 20000, 50)]
    assert np.all(np.diff(x) < 0)


def test_positive_tint_means_greener_light() -> None:
    _, y = color.temperature_to_xy(5500)
    assert color.temperature_to_xy(5500, 20)[1] > y > color.temperature_to_xy(5500, -20)[1]


@pytest.mark.parametrize("space", ["srgb", "display-p3", "rec2020-linear"])
@pytest.mark.parametrize("illuminants", [(21,), (17,), (17, 21), (21, 17)])
def test_white_stays_white(space: str, illuminants: tuple[int, ...]) -> None:
    raw = raw_image(tuple(ColorMatrix(i, MATRIX) for i in illuminants))
    for neutral in ([0.5, 1.0, 0.6], [0.8, 1.0, 0.35]):
        np.testing.assert_allclose(color.camera_to_linear(raw, neutral, space).sum(axis=1), 1.0, atol=1e-12)


def test_two_calibrations_mix_in_inverse_temperature() -> None:
    warm, cold = ColorMatrix(17, MATRIX), ColorMatrix(21, tuple(tuple(2 * v for v in row) for row in MATRIX))
    np.testing.assert_allclose(color.matrix_at((warm, cold), 2000), MATRIX)
    np.testing.assert_allclose(color.matrix_at((cold, warm), 9000), 2 * np.array(MATRIX))
    middle = 1 / ((1 / 2856 + 1 / 6504) / 2)
    np.testing.assert_allclose(color.matrix_at((warm, cold), middle), 1.5 * np.array(MATRIX))


def test_neutral_to_xy_undoes_the_camera() -> None:
    matrices = (ColorMatrix(21, MATRIX),)
    for kelvin in (3000, 5000, 8000):
        xy = color.temperature_to_xy(kelvin)
        neutral = np.array(MATRIX) @ color.xy_to_xyz(xy)
        np.testing.assert_allclose(color.neutral_to_xy(matrices, neutral), xy, atol=1e-6)


def test_white_balance_choices() -> None:
    raw = replace(raw_image(), as_shot_neutral=(0.5, 1.0, 0.7))
    np.testing.assert_allclose(color.white_balance_neutral(raw, "as-shot")[0], (0.5, 1.0, 0.7))
    np.testing.assert_allclose(color.white_balance_neutral(raw, "2,1,1.25")[0], (0.5, 1.0, 0.8))
    daylight = color.white_balance_neutral(raw, "daylight")[0]
    np.testing.assert_allclose(color.white_balance_neutral(raw, "6504K")[0], daylight, rtol=2e-3)
    warm, cold = (color.white_balance_neutral(raw, k)[0] for k in ("3000", "9000"))
    assert warm[0] > daylight[0] > cold[0]
    assert warm[2] < daylight[2] < cold[2]


def test_grey_world_ignores_saturated_cells() -> None:
    mosaic = np.zeros((64, 64), np.uint16)
    mosaic[0::2, 0::2], mosaic[0::2, 1::2], mosaic[1::2, 0::2], mosaic[1::2, 1::2] = 200, 400, 400, 300
    mosaic[:32] = 1000
    raw = RawImage.from_array(mosaic, cfa="RGGB", white_level=1000)
    np.testing.assert_allclose(color.grey_world_neutral(raw), (0.5, 1.0, 0.75))


@pytest.mark.parametrize("choice", ["sunny", "1,2", "100", "-1,1,1", "1,nan,1", "", "nan"])
def test_unusable_white_balance_is_refused(choice: str) -> None:
    with pytest.raises(UsageError):
        color.white_balance_neutral(replace(raw_image(), as_shot_neutral=(0.5, 1.0, 0.7)), choice)


def test_temperature_without_a_matrix_is_refused() -> None:
    with pytest.raises(UsageError, match="colour matrix"):
        color.white_balance_neutral(raw_image(()), "5000")


@pytest.mark.parametrize("space", ["srgb", "display-p3", "rec2020-linear"])
def test_profile_is_read_by_littlecms(space: str) -> None:
    profile = icc_profile(space)
    assert profile is not None
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    srgb = ImageCms.createProfile("sRGB")
    converted = np.asarray(ImageCms.profileToProfile(image, source, srgb)).astype(int)
    values = np.asarray(image) / 255
    linear = values if space.endswith("linear") else color.srgb_decode(values)
    ours = linear @ (np.linalg.inv(color.rgb_to_xyz("srgb")) @ color.rgb_to_xyz(space)).T
    expected = np.round(color.srgb_encode(ours) * 255)
    # LittleCMS works in 16-bit fixed point, which is coarse at the dark end of a linear profile.
    assert np.quantile(np.abs(converted - expected), 0.99) <= 1


def test_srgb_transfer_inverts() -> None:
    x = np.linspace(0, 1, 1001)
    np.testing.assert_allclose(color.srgb_decode(color.srgb_encode(x)), x, atol=1e-12)
