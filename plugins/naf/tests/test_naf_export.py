"""The published networks as TorchScript files, with the published inputs."""

from dataclasses import replace

import pytest
import torch
from naf_golden import arrays, assert_near, fill, parameters

import rawzoo
from rawzoo import exporting
from rawzoo.inference.predictor import Predictor
from rawzoo.testing import write_random_weights
from rawzoo.zoo import registry
from rawzoo_naf import networks

BLOCKS = {"encoder": [1, 1], "middle": 1, "decoder": [1, 1]}

pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


def exported(net, card, path):
    """A network that stands for a card's, through a file."""
    done = exporting.export(Predictor(replace(registry.card(card), dtypes=("float32",)), net), path)
    return torch.jit.load(path), done


@torch.no_grad()
def test_cond_naf_of_record(golden, tmp_path):
    data = arrays(golden, "cond_naf_rggb")
    net = networks.CondNaf(**registry.card("cond-naf").config).eval()
    fill(net, parameters(golden, "cond_naf_rggb")["tensors"])
    script, done = exported(net, "cond-naf", tmp_path / "net.pt")
    assert done.inputs == [[1, 4, 128, 128], [1, 1], [1, 3, 256, 256]]
    assert_near(script(data["x"], data["cond"], data["residual"]), data["y"])


@torch.no_grad()
@pytest.mark.parametrize("name", ["treenet_w8", "treenet_w8x2_affine"])
def test_treenet(golden, tmp_path, name):
    data = arrays(golden, name)
    count = 2 if name.endswith("affine") else 1
    net = networks.TreeNet(8, [count] * 4, count, [count] * 4, affine=count == 2)
    fill(net, parameters(golden, name)["tensors"])
    script, done = exported(net, "treenet", tmp_path / "net.pt")
    assert done.inputs == [[1, 3, 256, 256], [1, 1]]
    assert_near(script(data["x"], data["cond"]), data["y"])


@torch.no_grad()
@pytest.mark.parametrize("train_size", [None, 128])
def test_nafnet(tmp_path, train_size):
    """With windows, for pictures that are larger than these."""
    torch.manual_seed(0)
    net = networks.NafNet(4, **BLOCKS, train_size=train_size)
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    script, done = exported(net, "nafnet-denoise", tmp_path / "net.pt")
    edge = 128 if train_size is None else 256
    assert (done.inputs, done.one_size) == ([[1, 3, edge, edge]], False)
    x = torch.rand(1, 3, 208, 336)
    assert_near(script(x), net.eval()(x))


@torch.no_grad()
def test_own_denoiser_is_plain_torch(tmp_path):
    """Its gbtf too."""
    net = rawzoo.load("naf-tiny", weights=write_random_weights("naf-tiny", tmp_path / "w.safetensors"), dtype="float32")
    for parameter in net.module.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    exporting.export(net, tmp_path / "net.pt")
    x, noise = torch.rand(1, 4, 60, 44), torch.full((1, 4, 2), 1e-3)
    assert_near(torch.jit.load(tmp_path / "net.pt")(x, noise), net.module(x, noise))
