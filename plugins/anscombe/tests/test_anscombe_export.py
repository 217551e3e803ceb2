"""The joint network as a TorchScript file: both halves and the transform, in plain operations."""

import numpy as np
import pytest
import torch

import rawzoo
from rawzoo import exporting
from rawzoo.testing import write_random_weights
from rawzoo_anscombe.isp import bayer_mask

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.mark.parametrize("name", ["dirty-pixels", "dirty-pixels-no-anscombe", "deeper-mobilenet-v1"])
def test_classifiers(name, tmp_path):
    net = rawzoo.load(name, weights=write_random_weights(name, tmp_path / "w.safetensors"))
    done = exporting.export(net, tmp_path / "net.pt")
    assert done.one_size
    y = torch.rand(1, 3, 224, 224)
    inputs = [y * bayer_mask(y)]
    if name == "dirty-pixels":
        inputs += [torch.tensor([[0.06, 0.05, 0.04]]), torch.tensor([[0.16, 0.1, 0.1]])]
    assert done.inputs == [list(x.shape) for x in inputs]
    with torch.inference_mode():
        expected = net.module(*inputs)
        found = torch.jit.load(tmp_path / "net.pt")(*inputs)
    np.testing.assert_allclose(found, expected, atol=1e-5 * expected.abs().max())
