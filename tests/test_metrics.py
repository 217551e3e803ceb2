"""The metrics against published implementations' golden values, scikit-image, OpenCV and colour-science."""

import json
import math

import colour
import cv2
import numpy as np
import pytest
import skimage.color
import skimage.metrics

from rawzoo import metrics
from rawzoo.errors import UsageError


def pair(side, seed, amplitude):
    """The recipe of golden_metrics.json."""
    y, x, c = np.mgrid[0:side, 0:side, 0:3].astype(np.float64)
    a = 0.5 + 0.2 * np.sin(2 * np.pi * (x * (c + 1) / 97 + y * (3 - c) / 61))
    a += 0.2 * np.cos(2 * np.pi * x * y / (4000 * (c + 1)))
    noise = np.random.Generator(np.random.PCG64(seed)).standard_normal((side, side, 3))
    return a.astype(np.float32), np.clip(0.9 * a + 0.03 + amplitude * noise, 0, 1).astype(np.float32)


@pytest.mark.parametrize("side", [448, 224])
def test_golden_values_of_pynet(shared, side):
    golden = json.loads((shared / "specs" / "pynet" / "golden_metrics.json").read_text())["values_by_size"][str(side)]
    pairs = [pair(side, 7, 0.05), pair(side, 8, 0.1)]
    for i, (a, b) in enumerate(pairs):
        assert metrics.psnr(b, a) == pytest.approx(golden["psnr"][i], abs=1e-4)
        assert metrics.ssim(b, a) == pytest.approx(golden["tf_ssim"][i], abs=5e-6)
        assert metrics.ms_ssim(b, a) == pytest.approx(golden["tf_ms_ssim"][i], abs=5e-6)
        assert metrics.ms_ssim(a, b, definition="pytorch") == pytest.approx(golden["torch_ms_ssim_single"][i], abs=2e-6)
    both = np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])
    assert metrics.ms_ssim(*both, definition="pytorch") == pytest.approx(golden["torch_ms_ssim_batch"], abs=2e-6)
    assert metrics.ms_ssim(*both) == pytest.approx(np.mean(golden["tf_ms_ssim"]), abs=2e-6)
    a = pairs[0][0]
    assert metrics.ms_ssim(a, 1 - a) == golden["tf_ms_ssim_negative_case"] == 0.0
    assert math.isnan(metrics.ms_ssim(a, 1 - a, definition="pytorch"))
    assert golden["torch_ms_ssim_negative_case"] == "nan"


def test_golden_values_of_super_resolution(shared):
    golden = np.load(shared / "specs" / "eusr" / "golden_misc.npz")
    output, truth = metrics.eight_bit(golden["metric_output"] / 255), golden["metric_truth"] / 255
    truth = truth[: output.shape[0], : output.shape[1]]
    output, truth = metrics.shaved(output, 4), metrics.shaved(truth, 4)
    assert metrics.psnr(output, truth) == pytest.approx(float(golden["psnr_rgb"]), abs=1e-6)
    assert 255 * metrics.rmse(output, truth) == pytest.approx(float(golden["rmse_rgb"]), abs=1e-6)
    for rounded, name in ((False, "psnr_y_float"), (True, "psnr_y_rounded")):
        found = metrics.psnr(metrics.luma(output, rounded=rounded), metrics.luma(truth, rounded=rounded), 255)
        assert found == pytest.approx(float(golden[name]), abs=1e-6)


@pytest.mark.parametrize("shape", [(61, 83, 3), (11, 11, 3), (40, 50)])
def test_against_scikit_image(shape):
    rng = np.random.default_rng(0)
    a = rng.random(shape)
    b = np.clip(a + 0.1 * rng.standard_normal(shape), 0, 1)
    axis = 2 if a.ndim == 3 else None
    similarity = skimage.metrics.structural_similarity(
        a, b, data_range=1.0, channel_axis=axis, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert metrics.ssim(a, b) == pytest.approx(similarity, abs=1e-9)
    assert metrics.psnr(a, b) == pytest.approx(skimage.metrics.peak_signal_noise_ratio(b, a, data_range=1.0))
    assert metrics.rmse(a, b) ** 2 == pytest.approx(skimage.metrics.mean_squared_error(a, b))


@pytest.mark.parametrize("definition", ["tensorflow", "pytorch"])
def test_odd_sides_against_opencv(definition):
    a, b = (x[:181, :203].astype(np.float64) for x in pair(208, 7, 0.05))
    expected = []
    for scale in range(5):
        kernel = cv2.getGaussianKernel(11, 1.5)
        blur = lambda x: cv2.sepFilter2D(x, -1, kernel, kernel)[5:-5, 5:-5]  # noqa: E731, B023
        mean_a, mean_b = blur(a), blur(b)
        term = (2 * (blur(a * b) - mean_a * mean_b) + 9e-4) / (blur(a * a + b * b) - mean_a**2 - mean_b**2 + 9e-4)
        if scale == 4:
            term *= (2 * mean_a * mean_b + 1e-4) / (mean_a**2 + mean_b**2 + 1e-4)
        expected.append(term.mean(axis=(0, 1)))
        height, width = (n + n % 2 if definition == "tensorflow" else n - n % 2 for n in a.shape[:2])
        a, b = (np.pad(x, ((0, 1), (0, 1), (0, 0)), mode="edge")[:height, :width] for x in (a, b))
        a, b = (cv2.resize(x, (width // 2, height // 2), interpolation=cv2.INTER_AREA) for x in (a, b))
    a, b = (x[:181, :203] for x in pair(208, 7, 0.05))
    terms = np.array(expected) if definition == "tensorflow" else np.mean(expected, axis=1, keepdims=True)
    value = np.prod(terms ** np.array([[0.0448], [0.2856], [0.3001], [0.2363], [0.1333]]), axis=0).mean()
    assert metrics.ms_ssim(a, b, definition=definition) == pytest.approx(value, abs=1e-9)


def test_where_there_is_no_value():
    a, b = pair(200, 7, 0.05)
    assert math.isnan(metrics.ssim(a[:10], b[:10]))
    assert math.isnan(metrics.ms_ssim(a[:175], b[:175]))
    assert not math.isnan(metrics.ms_ssim(a[:176], b[:176]))
    assert 0 < metrics.ms_ssim(a[:16], b[:16], definition="pytorch") < 1
    assert math.isnan(metrics.ms_ssim(a[:15], b[:15], definition="pytorch"))
    assert metrics.psnr(a, a) == math.inf
    for function in (metrics.psnr, metrics.ssim, metrics.ms_ssim, metrics.delta_e):
        with pytest.raises(UsageError, match="same size"):
            function(a, b[1:])
    with pytest.raises(UsageError, match="none left"):
        metrics.shaved(a, 100)


def test_equal_pictures_are_equal():
    a, _ = pair(180, 7, 0.05)
    assert metrics.ssim(a, a) == pytest.approx(1.0)
    assert metrics.ms_ssim(a, a) == metrics.ms_ssim(a, a, definition="pytorch") == pytest.approx(1.0)
    assert metrics.delta_e(a, a) == 0.0


def test_lab_and_its_differences():
    rng = np.random.default_rng(0)
    rgb, other = rng.random((50, 60, 3)), rng.random((50, 60, 3))
    rgb[0, 0], rgb[0, 1], other[0, 1] = 0.0, 0.5, 1.0
    lab, reference = metrics.srgb_to_lab(rgb), metrics.srgb_to_lab(other)
    # scikit-image rounds its matrix to 6 digits.
    np.testing.assert_allclose(lab, skimage.color.rgb2lab(rgb), atol=0.02)
    np.testing.assert_allclose(metrics.cie76(lab, reference), skimage.color.deltaE_cie76(lab, reference))
    np.testing.assert_allclose(
        metrics.ciede2000(lab, reference), skimage.color.deltaE_ciede2000(lab, reference), atol=1e-9
    )
    np.testing.assert_allclose(
        metrics.ciede2000(lab, reference), colour.difference.delta_E_CIE2000(lab, reference), atol=1e-9
    )
    assert metrics.delta_e(rgb, other) == pytest.approx(metrics.ciede2000(lab, reference).mean())
    assert metrics.delta_e(rgb, other, "cie76") == pytest.approx(metrics.cie76(lab, reference).mean())


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [  # Sharma, Wu, Dalal (2005), table 1: the pairs around the discontinuities of hue
        ((50.0, 2.6772, -79.7751), (50.0, 0.0, -82.7485), 2.0425),
        ((50.0, 0.0, 0.0), (50.0, -1.0, 2.0), 2.3669),
        ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0009), 7.1792),
        ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0010), 7.1792),
        ((50.0, 2.4900, -0.0010), (50.0, -2.4900, 0.0011), 7.2195),
        ((50.0, -0.0010, 2.4900), (50.0, 0.0009, -2.4900), 4.8045),
        ((50.0, -0.0010, 2.4900), (50.0, 0.0011, -2.4900), 4.7461),
        ((50.0, 2.5, 0.0), (50.0, 0.0, -2.5), 4.3065),
        ((2.0776, 0.0795, -1.1350), (0.9033, -0.0636, -0.5514), 0.9082),
    ],
)
def test_ciede2000_of_the_paper(first, second, expected):
    assert float(metrics.ciede2000(first, second)) == pytest.approx(expected, abs=5e-5)
    assert float(metrics.ciede2000(second, first)) == pytest.approx(expected, abs=5e-5)


def test_best_labels():
    shares = [0.1, 0.4, 0.1, 0.3, 0.1]
    assert metrics.is_among_best(shares, 1, 1)
    assert not metrics.is_among_best(shares, 3, 1)
    assert [metrics.is_among_best(shares, k, 3) for k in range(5)] == [True, True, False, True, False]
