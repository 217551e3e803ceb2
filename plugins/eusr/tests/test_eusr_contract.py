import json

import pytest
import torch
from safetensors.torch import save_file

import rawzoo
from rawzoo.testing import assert_model_contract, write_random_weights
from rawzoo.zoo import registry
from rawzoo.zoo.weights import Provenance

NAMES = [card.name for card in rawzoo.models() if card.name.startswith(("eusr-", "4pp-eusr"))]


@pytest.mark.parametrize("name", ["eusr-aesthetic", "eusr-subjective"])
def test_predictors(name, tmp_path):
    assert_model_contract(name, weights=write_random_weights(name, tmp_path / "random.safetensors"))


@pytest.mark.parametrize(
    "name",
    ["eusr-x2", *(pytest.param(f"eusr-x{s}", marks=pytest.mark.slow) for s in (4, 8))]
    + [pytest.param(f"4pp-eusr{via}", marks=pytest.mark.slow) for via in ("", "-via2", "-via8")],
)
def test_generators(name, tmp_path):
    """Narrow and short ones: the contract runs them on hundreds of tiles, each as large as the halo."""
    card = registry.card(name)
    config = {**card.config, "features": 4, "blocks": 1}
    torch.manual_seed(0)
    state = registry.build(registry.replace(card, config=config)).state_dict()
    path = tmp_path / "narrow.safetensors"
    made = Provenance(name, config, "random", {}, None, rawzoo.__version__)
    save_file({key: value.contiguous() for key, value in state.items()}, path, {"rawzoo": json.dumps(made.to_dict())})
    assert_model_contract(name, weights=path)
