import numpy as np
import pytest

from rawzoo.errors import UsageError
from rawzoo.raw import noise
from rawzoo.raw.cfa import XTRANS_PATTERN, channel_tile

LEVELS = (0.0, 0.01, 0.1, 0.5, 1.0)


@pytest.mark.parametrize("profile", [(2e-4, 4e-7), (1e-2, 1e-5), (0.0, 1e-4), (1e-3, 0.0)])
@pytest.mark.parametrize("level", LEVELS)
def test_mean_and_variance_are_those_of_the_model(profile, level):
    clean = np.full((400, 500), level)
    noisy = noise.add_noise(clean, [profile], np.random.default_rng(1))
    predicted = noise.variance(clean, [profile])[0, 0]
    assert predicted == pytest.approx(profile[0] * level + profile[1])
    n = clean.size
    assert noisy.mean() == pytest.approx(level, abs=5 * np.sqrt(predicted / n) + 1e-7)
    # The standard error of a variance is about sqrt((kurtosis - 1) / n) of it; the Poisson part's kurtosis is 3 + 1/N.
    if predicted:
        electrons = level / profile[0] if profile[0] else np.inf
        kurtosis = 3 + (1 / electrons if electrons else 0)
        assert noisy.var() == pytest.approx(predicted, rel=5 * np.sqrt((kurtosis - 1) / n))


@pytest.mark.parametrize(("cfa", "gains"), [("GBRG", (2.0, 1.0, 1.0, 1.5)), (XTRANS_PATTERN, (2.0, 1.0, 1.5))])
def test_balanced_profile_predicts_the_balanced_mosaic(cfa, gains):
    profile = [(2e-3, 1e-5)]
    noisy = noise.add_noise(np.full((600, 600), 0.3), profile, np.random.default_rng(3), cfa)
    tile = channel_tile(cfa)
    channel = np.tile(tile, (600 // len(tile), 600 // len(tile)))
    found = noise.balanced(profile, (2.0, 1.0, 1.5), cfa)
    assert len(found) == len(gains)
    for i, (gain, (scale, offset)) in enumerate(zip(gains, found, strict=True)):
        assert (gain * noisy[channel == i]).var() == pytest.approx(scale * gain * 0.3 + offset, rel=0.05)


def test_profile_of_other_channels_is_refused():
    with pytest.raises(UsageError, match="3 numbers"):
        noise.balanced([(1e-3, 1e-5)] * 3, (2.0, 1.0, 1.5), "RGGB")
    with pytest.raises(UsageError, match="pairs"):
        noise.balanced([(-1e-3, 1e-5)], (2.0, 1.0, 1.5), "RGGB")


def test_shot_noise_is_whole_electrons():
    noisy = noise.add_noise(np.full((64, 64), 0.02), [(0.01, 0.0)], np.random.default_rng(0))
    electrons = noisy / 0.01
    assert np.allclose(electrons, np.rint(electrons), atol=1e-5)
    assert len(np.unique(np.rint(electrons))) > 4


def test_each_channel_has_its_own_noise():
    profile = [(1e-4, 1e-6), (1e-3, 1e-6), (4e-3, 1e-6), (1e-2, 1e-6)]
    clean = np.full((400, 400), 0.5)
    noisy = noise.add_noise(clean, profile, np.random.default_rng(2), "GBRG")
    tile = np.tile(channel_tile("GBRG"), (200, 200))
    for channel, (scale, offset) in enumerate(profile):
        assert noisy[tile == channel].var() == pytest.approx(scale * 0.5 + offset, rel=0.05)
    assert np.array_equal(noise.variance(clean, profile, "GBRG")[tile == 2], np.full(40000, 4e-3 * 0.5 + 1e-6))


def test_same_seed_same_noise():
    clean = np.linspace(0, 1, 300).reshape(10, 30)
    first, again, other = (noise.add_noise(clean, [(1e-3, 1e-5)], np.random.default_rng(s)) for s in (7, 7, 8))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_quantise_clips_at_white_and_keeps_noise_below_black():
    values = np.array([[-1.0, -0.01, 0.0, 0.5, 1.0, 1.2]])
    assert noise.quantise(values, 512, 16383).tolist() == [[0, 353, 512, 8448, 16383, 16383]]


def test_quantise_per_channel():
    stored = noise.quantise(np.ones((2, 2)), (10, 20, 30, 40), (1000, 2000, 3000, 4000), "BGGR")
    assert stored.tolist() == [[4000, 3000], [2000, 1000]]
    stored = noise.quantise(np.zeros((2, 2)), (10, 20, 30, 40), 5000, "BGGR")
    assert stored.tolist() == [[40, 30], [20, 10]]


def test_electrons():
    scale, offset = noise.profile_from_electrons(5000.0, 3.0)
    black = noise.add_noise(np.zeros((300, 300)), [(scale, offset)], np.random.default_rng(0))
    assert black.std() * 5000 == pytest.approx(3.0, rel=0.02)
    white = noise.add_noise(np.ones((300, 300)), [(scale, 0.0)], np.random.default_rng(0))
    assert white.std() * 5000 == pytest.approx(np.sqrt(5000), rel=0.02)


@pytest.mark.parametrize(
    "call",
    [
        lambda: noise.add_noise(np.ones((2, 2)), [(1e-3, 0)] * 3, np.random.default_rng(0), "RGGB"),
        lambda: noise.add_noise(np.ones((2, 2)), [(-1e-3, 0)], np.random.default_rng(0)),
        lambda: noise.quantise(np.ones((2, 2)), 100, 50),
        lambda: noise.quantise(np.ones((2, 2)), 0, 70000),
        lambda: noise.profile_from_electrons(0, 1),
    ],
)
def test_nonsense_is_refused(call):
    with pytest.raises(UsageError):
        call()


# Published profiles (sources in the module's docstring) as (ISO, scale, offset), at the lowest and the highest ISO.
# Calibrations in electrons are turned into units of white: 15871 steps above black of 14 bits, 3855 of 12, 959 of 10.
def _electrons(iso, gain, read, floor, full):
    scale = gain / full
    return iso, scale, scale**2 * (read**2 + (floor * 100 / iso) ** 2)


def _sigma(iso, log_gain, slope, bias, full):
    return iso, np.exp(log_gain) / full, (np.exp(slope * log_gain + bias) / full) ** 2


PUBLISHED = {
    "Sony A7S II": (_sigma(200, -1.67214, 0.82966, 1.49343, 15871), _sigma(12800, 2.51606, 0.82878, 0.44162, 15871)),
    "Nikon D850": (_sigma(800, 1.2, 0.8322, -0.1754, 15871), _sigma(3200, 2.4828, 0.8322, -0.1754, 15871)),
    "IMX686": (_sigma(640, -0.19118, 0.85187, 0.67991, 959), _sigma(6400, 2.16820, 0.85187, 0.67991, 959)),
    "Sony A7R": (_electrons(100, 0.326, 0.699, 0.036, 15871), _electrons(6400, 0.326 * 64, 0.699, 0.036, 15871)),
    "Sony A7R III": (_electrons(100, 0.398, 0.705, 3.028, 15871), _electrons(6400, 0.398 * 64, 0.705, 3.028, 15871)),
    "Canon 500D": (_electrons(100, 1.233, 0.938, 5.005, 15871), _electrons(3200, 1.233 * 32, 0.938, 5.005, 15871)),
    "Samsung S9": (_electrons(100, 0.312, 1.063, 2.373, 959), _electrons(800, 0.312 * 8, 1.063, 2.373, 959)),
    "Samsung S6": ((100, 5.928246e-4, 0.0), (3200, 1.75841665e-2, 4.811261e-4)),
    "Google Pixel": ((100, 2.653817e-4, 2.619070e-6), (10000, 2.28839011e-2, 1.317243e-3)),
    "Nexus 6": ((100, 4.526757e-4, 3.217001e-6), (3200, 1.37550188e-2, 5.384936e-4)),
    "LG G4": ((100, 3.938314e-4, 3.041726e-6), (800, 2.8555957e-3, 3.138330e-5)),
    "IMX586": ((100, 0.06864 / 959, 0.18719 / 959**2), (6400, 3.84566 / 959, 33.4387 / 959**2)),
    "IMX385": ((100, 0.22 / 3855, 0.0466 / 3855**2), (25600, 52.032536 / 3855, 1819.818657 / 3855**2)),
}


def _population():
    """(scale / ISO, read electrons, floor electrons at ISO 100 where it can be told) of each published sensor."""
    for (low, a, b), (high, c, d) in PUBLISHED.values():
        read = np.sqrt(d) / c
        floor = np.sqrt(max(b / a**2 - read**2, 0)) * low / 100
        # Not told by a lowest ISO well above 100, nor where it is less than a tenth of an electron.
        yield c / high, read, floor if low <= 200 and floor > 0.1 else np.nan


def test_the_population_of_sensors_is_the_published_one():
    scale, read, floor = np.array(list(_population())).T
    low, high = noise.SENSORS.scale_per_iso
    assert low == pytest.approx(scale.min(), rel=0.05)
    assert high == pytest.approx(scale.max(), rel=0.05)
    for values, (median, sigma) in ((read, noise.SENSORS.read_electrons), (floor, noise.SENSORS.floor_electrons)):
        logs = np.log(values[~np.isnan(values)])
        assert len(logs) >= 9
        assert median == pytest.approx(np.exp(logs.mean()), rel=0.1)
        assert sigma == pytest.approx(logs.std(), abs=0.1)
    noisiest = max(point[1] for points in PUBLISHED.values() for point in points)
    assert noise.SENSORS.max_scale == pytest.approx(2 * noisiest, rel=0.2)
    full_frame = [s for s, name in zip(scale, PUBLISHED, strict=True) if name.startswith(("Sony", "Nikon"))]
    assert pytest.approx(np.exp(np.mean(np.log(full_frame))), rel=0.1) == noise.FULL_FRAME_SCALE


@pytest.mark.parametrize("name", ["Sony A7R III", "Google Pixel", "Nexus 6", "IMX586"])
def test_two_numbers_describe_a_sensor_at_every_iso(name):
    (low, a, b), (high, c, d) = PUBLISHED[name]
    scale, read, floor = dict(zip(PUBLISHED, _population(), strict=True))[name]
    assert noise.profile_at_iso(high, scale, read, floor) == pytest.approx((c, d), rel=0.02)
    assert noise.profile_at_iso(low, scale, read, floor) == pytest.approx((a, b), rel=0.4)


def test_iso_must_be_positive():
    with pytest.raises(UsageError):
        noise.profile_at_iso(0)
