import pytest

import rawzoo
from rawzoo.errors import WeightsError
from rawzoo.testing import assert_model_contract

MODELS = pytest.mark.parametrize("name", ["awb-pisp", "awb-vc4"])


@MODELS
def test_contract(name, generated):
    assert_model_contract(name)


@MODELS
def test_contract_with_the_published_weights(name, trained):
    assert_model_contract(name)


@MODELS
def test_without_weights(name):
    with pytest.raises(WeightsError, match=f"has no weights here: .*model_{name[4:]}.keras .*raspberrypi/awb_nn"):
        rawzoo.load(name)
