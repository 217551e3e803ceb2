"""Noise of sensors, and the labels."""

import numpy as np
import pytest

from rawzoo.errors import RawzooError
from rawzoo.raw import noise
from rawzoo_anscombe import labels
from rawzoo_anscombe.sensors import PROFILES, SENSORS, draw_light_levels


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


def test_light_levels_of_a_profile(file):
    drawn = np.log(draw_light_levels("2to200lux", 20000, np.random.default_rng(0)))
    np.testing.assert_allclose(np.percentile(drawn, [10, 25, 50, 75, 90]), file["logll_quantiles_2to200"], atol=0.08)
    assert set(draw_light_levels("6lux", 5, np.random.default_rng(0))) == {0.003}
    assert {name: 2000 * low for name, (low, _) in PROFILES.items()} == {
        "3lux": 3, "6lux": 6, "2to20lux": 2, "2to200lux": 2,
    }  # fmt: skip


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
