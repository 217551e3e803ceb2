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
