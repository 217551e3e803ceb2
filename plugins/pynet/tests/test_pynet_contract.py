import pytest

import rawzoo
from rawzoo.errors import WeightsError
from rawzoo.testing import assert_model_contract, write_random_weights
from rawzoo_pynet.plugin import CARDS


@pytest.mark.parametrize(
    "name",
    [
        "pynet-torch-5",
        "pynet-tf-4",
        *(pytest.param(card.name, marks=pytest.mark.slow) for card in CARDS),
    ],
)
def test_contract(name, tmp_path):
    assert_model_contract(name, weights=write_random_weights(name, tmp_path / "random.safetensors"))


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_cards_say_where_the_weights_are(card):
    assert "CC BY-NC-SA 4.0" in card.published
    assert "no commercial use" in card.published
    assert "No published checkpoint could be had" in card.verified
    with pytest.raises(WeightsError, match=f"{card.name} has no weights here: .*no commercial use"):
        rawzoo.load(card.name)
