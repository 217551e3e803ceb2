import pytest

import rawzoo
from rawzoo.errors import WeightsError
from rawzoo.testing import assert_model_contract, write_random_weights


@pytest.mark.parametrize("name", ["naf-tiny", "naf-small", "treenet", "cond-naf", "nafnet-denoise", "nafnet-deblur"])
def test_contract(name, tmp_path):
    assert_model_contract(name, weights=write_random_weights(name, tmp_path / "weights.safetensors"))


@pytest.mark.parametrize("name", ["treenet", "cond-naf", "nafnet-denoise", "nafnet-deblur"])
def test_without_weights(name):
    with pytest.raises(WeightsError, match="import"):
        rawzoo.load(name)
