import pytest

import rawzoo
from rawzoo.errors import WeightsError
from rawzoo.testing import assert_model_contract, write_random_weights
from rawzoo_anscombe.plugin import CARDS

MODELS = pytest.mark.parametrize("name", [card.name for card in CARDS])


@MODELS
def test_contract(name, tmp_path):
    assert_model_contract(name, weights=write_random_weights(name, tmp_path / "random.safetensors"))


@MODELS
def test_without_weights(name):
    with pytest.raises(WeightsError, match="has no weights here"):
        rawzoo.load(name)
