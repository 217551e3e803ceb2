import pytest

from rawzoo.testing import assert_model_contract


@pytest.mark.parametrize("name", ["awb-pisp", "awb-vc4"])
def test_contract(name):
    assert_model_contract(name)
