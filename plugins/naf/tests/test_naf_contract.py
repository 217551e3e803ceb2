from dataclasses import replace

import pytest

import rawzoo
from rawzoo.errors import WeightsError
from rawzoo.testing import assert_model_contract, write_random_weights
from rawzoo.zoo import registry

BLOCKS = {"encoder": [1, 1, 1, 1], "middle": 1, "decoder": [1, 1, 1, 1]}


def test_contract(tmp_path):
    assert_model_contract("naf-tiny", weights=write_random_weights("naf-tiny", tmp_path / "weights.safetensors"))


@pytest.mark.parametrize(("name", "config"), [
    ("treenet", {"width": 8, **BLOCKS}),
    ("cond-naf", {"chans": [4, 8, 8, 8, 16], "gamma": 2.2, **BLOCKS}),
    ("nafnet-denoise", {"width": 4, **BLOCKS}),
    ("nafnet-deblur", {"width": 4, "train_size": 256, **BLOCKS}),
])  # fmt: skip
def test_contract_of_published_networks(name, config, tmp_path, monkeypatch):
    """Thin ones: what the contract asks does not depend on the number of channels and blocks."""
    thin = replace(registry.card(name), config=config)
    card = registry.card
    monkeypatch.setattr(registry, "card", lambda asked: thin if asked == name else card(asked))
    assert_model_contract(name, weights=write_random_weights(name, tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("name", ["treenet", "cond-naf", "nafnet-denoise", "nafnet-deblur"])
def test_without_weights(name):
    with pytest.raises(WeightsError, match="import"):
        rawzoo.load(name)
