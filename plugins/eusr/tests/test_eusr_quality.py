"""How the score predictors judge pictures."""

import numpy as np
import pytest
import torch
from torch.nn import functional

import rawzoo
from rawzoo.testing import write_random_weights
from rawzoo_eusr.predictor import SIZE, ScorePredictor, assess


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    return rawzoo.load("eusr-subjective", weights=write_random_weights("eusr-subjective", path))


def judged(predictor, monkeypatch, picture):
    """What the network is given."""
    seen = []
    run = predictor.run
    monkeypatch.setattr(predictor, "run", lambda x: seen.append(x) or run(x))
    found = assess(predictor, picture)
    assert found.distribution.dtype == np.float32
    assert found.scores.tolist() == list(range(10))
    return seen[0]


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(192, 192, 0, 0), (301, 500, 54, 153), (700, 200, 254, 4)]
)
def test_the_middle_is_judged(predictor, monkeypatch, height, width, top, left):
    picture = torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))
    x = judged(predictor, monkeypatch, picture)
    torch.testing.assert_close(x, 255 * picture[:, top : top + SIZE, left : left + SIZE])


def test_a_small_picture_is_enlarged(predictor, monkeypatch):
    picture = torch.rand(3, 50, 96, generator=torch.Generator().manual_seed(0))
    x = judged(predictor, monkeypatch, picture)
    assert x.shape == (3, SIZE, SIZE)
    # First pixels coincide, and positions are 50 / 192 of a pixel apart.
    square = 255 * picture[:, :, 23:73]
    torch.testing.assert_close(x[:, 0, 0], square[:, 0, 0])
    torch.testing.assert_close(x[:, 96, 96], square[:, 25, 25])
    torch.testing.assert_close(x[:, 48, 96], (square[:, 12, 25] + square[:, 13, 25]) / 2)


def test_scores(predictor):
    picture = torch.rand(3, 200, 220, generator=torch.Generator().manual_seed(0))
    found = assess(predictor, picture)
    expected = np.arange(10) @ found.distribution
    assert found.mean == pytest.approx(expected, abs=1e-5)
    assert 0 < found.mean < 9
    assert rawzoo.models("quality")[0].config["scores"] == list(range(1, 11))


def test_features_lead_to_the_distribution():
    torch.manual_seed(0)
    net = ScorePredictor(range(1, 11)).eval()
    x = 255 * torch.rand(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        features = net.features(x)
        assert features.shape == (2, 1280)
        torch.testing.assert_close(net(x), functional.softmax(net.dense(features), dim=1))
        # The score of one picture does not depend on what else is in the batch.
        torch.testing.assert_close(net(x[1:]), net(x)[1:], rtol=0, atol=1e-6)
