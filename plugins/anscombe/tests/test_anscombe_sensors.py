"""Noise of sensors, and the labels."""

import numpy as np
import pytest
import torch
from anscombe_golden import nhwc

from rawzoo.errors import RawzooError
from rawzoo.raw import noise
from rawzoo_anscombe import labels
from rawzoo_anscombe.isp import bayer_mask
from rawzoo_anscombe.sensors import PROFILES, SENSORS, draw_light_levels, expose, nearest


@pytest.fixture
def file(golden):
    return golden.file("sensor")


def test_calibration(file):
    found = np.array([SENSORS["Nexus_6P_rear"].noise(level) for level in file["light_levels"]])
    np.testing.assert_allclose(found, np.stack([file["nexus_a"], file["nexus_sigma"]], 1), rtol=1e-12)


@pytest.mark.parametrize("level", ["0.001", "0.0015", "0.003", "0.01", "0.1"])
def test_noise_of_the_core_is_the_reference_simulator(file, level):
    """Mean and variance per level, before and after clipping, from as many samples as the reference took."""
    count = int(file["n_samples"])
    alpha, sigma = SENSORS["Nexus_6P_rear"].noise(float(level))
    rng = np.random.default_rng(0)
    get = lambda name: file[f"stats/{level}/{name}"]  # noqa: E731
    for i, value in enumerate(file["levels"]):
        noisy = noise.add_noise(np.full((1, count), value), [(alpha, sigma**2)], rng).astype(float)
        for name, sample in (("unclipped", noisy), ("clipped", np.clip(noisy, 0, 1))):
            # Both sides are drawn, so the deviation of their difference is sqrt(2) of one's.
            error = np.sqrt(2 * sample.var() / count)
            assert sample.mean() == pytest.approx(get(f"{name}_mean")[i], abs=5 * error)
            assert sample.var() == pytest.approx(get(f"{name}_var")[i], rel=0.03)
        clipped = np.clip(noisy, 0, 1)
        assert clipped.mean() == pytest.approx(get("analytic_clipped_mean")[i], abs=5 * clipped.std() / count**0.5)
        assert clipped.var() == pytest.approx(get("analytic_clipped_var")[i], rel=0.03)


@pytest.mark.parametrize("name", ["Nexus_6P_rear", "Pixel3x3", "SEMCO"])
def test_light_level_of_a_deviation(file, name):
    found = [SENSORS[name].light_level(std, 0.4) for std in file["std2ll_in"]]
    np.testing.assert_allclose(found, file[f"std2ll/{name}"], rtol=1e-9)
    alpha, sigma = SENSORS[name].noise(found[1])
    assert alpha * 0.4 + sigma**2 == pytest.approx(file["std2ll_in"][1] ** 2)


def test_light_levels_of_a_profile(file):
    drawn = np.log(draw_light_levels("2to200lux", 20000, np.random.default_rng(0)))
    np.testing.assert_allclose(np.percentile(drawn, [10, 25, 50, 75, 90]), file["logll_quantiles_2to200"], atol=0.08)
    assert set(draw_light_levels("6lux", 5, np.random.default_rng(0))) == {0.003}
    assert {name: 2000 * low for name, (low, _) in PROFILES.items()} == {
        "3lux": 3, "6lux": 6, "2to20lux": 2, "2to200lux": 2,
    }  # fmt: skip


def test_crop_and_size_of_the_synthetic_evaluation(file):
    np.testing.assert_array_equal(nearest(375, 128), file["crop_resize_375x500/rows"])
    np.testing.assert_array_equal(nearest(500, 128), file["crop_resize_375x500/cols"])


def test_what_the_sensor_sees_of_a_photograph(file):
    """Without noise, the kept pixels behind the reference's mask; with it, its moments and limits."""
    mask = file["mask_4x6"]
    photograph = np.random.default_rng(0).uniform(0.1, 1, (375, 500, 3)).astype(np.float32)
    clean = expose(photograph, 0.0, 0.0, np.random.default_rng(0))
    rows, columns = file["crop_resize_375x500/rows"], file["crop_resize_375x500/cols"]
    expected = np.moveaxis(photograph[np.ix_(rows, columns)], -1, 0)
    seen = np.tile(mask, (32, 22, 1))[:128, :128].transpose(2, 0, 1)
    np.testing.assert_array_equal(clean, expected * seen)
    np.testing.assert_array_equal(nhwc(bayer_mask(torch.zeros(1, 3, 4, 6)))[0], mask)

    level = "0.003"
    noisy = expose(
        np.full((375, 500, 3), file["levels"][3]), *SENSORS["Nexus_6P_rear"].noise(float(level)),
        np.random.default_rng(0), size=512,
    )[seen_by := np.tile(mask, (128, 86, 1))[:512, :512].transpose(2, 0, 1) > 0]  # fmt: skip
    assert seen_by.sum() == 512 * 512
    for name, found in (("mean", noisy.mean()), ("var", noisy.var())):
        assert found == pytest.approx(file[f"stats/{level}/analytic_clipped_{name}"][3], rel=0.02)
    assert (noisy.min(), noisy.max()) == (0, 1)


def test_labels_of_imagenet():
    names = labels.imagenet()
    assert len(names) == len(set(names)) == 1001
    assert names[:2] == ("background", "n01440764 tench, Tinca tinca")
    assert names[259] == "n02111889 Samoyed, Samoyede"
    synsets = [name.split()[0] for name in names[1:]]
    assert synsets == sorted(synsets)
    assert labels.of(1001) == names
    assert labels.of(1000) == names[1:]
    assert labels.of(3) == ("class 0", "class 1", "class 2")


def test_labels_of_a_file(tmp_path):
    path = tmp_path / "labels.txt"
    path.write_text("0:background\n\n2 : goldfish, Carassius: auratus\n1:tench\n")
    assert labels.read(path) == ("background", "tench", "goldfish, Carassius: auratus")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "each class from 0 on; it names 0"),
        ("1:tench", "each class from 0 on"),
        ("0:a\n0:b", "line 2 names a class again"),
        ("0:a\ntench", "line 2 is not 'index:name'"),
        ("0:", "line 1 is not"),
        ("-1:a", "line 1 is not"),
        (b"\xff\xfe", "cannot be read"),
        (None, "cannot be read"),
    ],
)
def test_label_files_that_are_none(tmp_path, text, message):
    path = tmp_path / "labels.txt"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(RawzooError, match=message) as caught:
        labels.read(path)
    assert str(path) in str(caught.value)
