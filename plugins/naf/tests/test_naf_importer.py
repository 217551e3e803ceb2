"""Recognising published checkpoints, of every family and variant, in every form they are saved in."""

import json

import pytest
import torch

import rawzoo
from rawzoo.errors import UsageError, WeightsError
from rawzoo.zoo import checkpoints, importing
from rawzoo_naf import importer
from rawzoo_naf.networks import CondNaf, NafNet, TreeNet

NAF = {"width": 4, "encoder": [1, 2], "middle": 1, "decoder": [2, 1]}
COND = {"chans": [8, 12, 16], "encoder": [1, 2], "middle": 1, "decoder": [2, 1]}
TREES = [
    {**NAF},
    {**NAF, "affine": True, "cond_channels": 2},
    {**NAF, "kernels_up": [3, 0, 3, 0], "middle_kernels": [5, 0], "kernels_down": [7, 3, 0]},
]
CONDS = [
    {"form": "residual", "gamma": 2.2},
    *({"form": "residual", "gamma": 2.2, "merge": m} for m in ("product", "mix", "pointwise", "sum", "gated-1", "add")),
    *({"form": "residual", "gamma": 2.2, "block": b} for b in ("naf-learned-norm", "attention", "tree", "next-4")),
    {"form": "residual", "gamma": 2.2, "cond_input": 2, "cond_output": 8},
    {"form": "residual-linear", "merge": "add", "cond_output": 1},
    {"form": "residual-linear", "merge": "sum", "block": "chaspa"},
    *({"form": form, "merge": "add"} for form in ("debayer", "debayer-half", "debayer-in", "shuffle", "shuffle-pass")),
    {"form": "debayer-joined", "merge": "sum", "block": "naf-unused"},
    *({"form": form, "merge": "sum"} for form in ("demosaic", "demosaic-in")),
    {"form": "shuffle", "merge": "add", "block": "next-2"},
]
DEFAULTS = {"block": "naf", "merge": "gated", "cond_input": 1, "cond_output": 32}


def randomised(net):
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.2)
    return net.eval()


def saved(path, content):
    torch.save(content, path)
    return path


def check(path, model, net, inputs, config):
    """Imported and loaded, it is the same network."""
    found = importing.import_checkpoint(path)
    assert found.provenance.model == model
    assert found.provenance.config == json.loads(json.dumps(config))
    loaded = rawzoo.load(model, weights=found.name, dtype="float32").module
    with torch.inference_mode():
        torch.testing.assert_close(loaded(*inputs), net(*inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", TREES)
def test_treenet(tmp_path, config):
    net = randomised(TreeNet(**config))
    inputs = torch.rand(1, 3, 16, 16), torch.full((1, config.get("cond_channels", 1)), 0.5)
    full = {"kernels_up": [3, 0], "middle_kernels": [3, 0], "kernels_down": [3, 0], "cond_channels": 1, "affine": False}
    check(saved(tmp_path / "a.pt", net.state_dict()), "treenet", net, inputs, full | config)


def test_torchscript_archive_as_deployed(tmp_path):
    net = randomised(TreeNet(**NAF))
    inputs = torch.rand(1, 3, 32, 32), torch.tensor([[0.5]])
    torch.jit.trace(net, inputs).save(tmp_path / "ShadowWeightedL1.pt")
    config = {"kernels_up": [3, 0], "middle_kernels": [3, 0], "kernels_down": [3, 0], "cond_channels": 1}
    check(tmp_path / "ShadowWeightedL1.pt", "treenet", net, inputs, {**NAF, **config, "affine": False})


@pytest.mark.parametrize("config", CONDS, ids=lambda c: "-".join(str(v) for v in c.values()))
def test_cond_naf(tmp_path, config):
    net = randomised(CondNaf(**COND, **config))
    inputs = torch.rand(1, 4, 8, 8), torch.full((1, config.get("cond_input", 1)), 0.5)
    check(saved(tmp_path / "a.pt", net.state_dict()), "cond-naf", net, inputs, COND | DEFAULTS | config)


def test_first_restorer_without_dropout_has_a_layer_less(tmp_path):
    net = randomised(CondNaf(**COND, form="shuffle-pass", merge="add", block="next-2"))
    older = {name.replace("conditioning_gen.3", "conditioning_gen.2"): v for name, v in net.state_dict().items()}
    config = COND | DEFAULTS | {"form": "shuffle-pass", "merge": "add", "block": "next-2"}
    inputs = torch.rand(1, 4, 8, 8), torch.tensor([[0.5]])
    check(saved(tmp_path / "a.pt", older), "cond-naf", net, inputs, config)


def test_nafnet(tmp_path):
    x = (torch.rand(1, 3, 16, 16),)
    denoise = randomised(NafNet(**NAF))
    check(saved(tmp_path / "a.pth", {"params": denoise.state_dict()}), "nafnet-denoise", denoise, x, NAF)
    deblur = {"width": 4, "encoder": [1, 1, 1, 28], "middle": 1, "decoder": [1, 1, 1, 1], "train_size": 256}
    net = randomised(NafNet(**deblur))
    wrapped = {f"module.{name}": value for name, value in net.state_dict().items()}
    check(saved(tmp_path / "b.pth", {"params": wrapped}), "nafnet-deblur", net, x, deblur)


@pytest.mark.parametrize("merge", ["gated", "sum"])
def test_nafnet_with_learned_merges(tmp_path, merge):
    net = randomised(NafNet(**NAF, merge=merge))
    state = net.state_dict()
    if merge == "sum":  # whatever the convolution was called
        state = {
            name.replace(".ca.1.", ".cca.attention.") if "merges" in name else name: v for name, v in state.items()
        }
    x = (torch.rand(1, 3, 16, 16),)
    check(saved(tmp_path / "a.pth", state), "nafnet-denoise", net, x, {**NAF, "merge": merge})


@pytest.mark.parametrize("merge", ["gated", "add"])
def test_nafnet_with_global_reasoning(tmp_path, merge):
    config = {**NAF, "encoder": [1, 1, 1, 28], "decoder": [1, 1, 1, 1], "memory": 6}
    config |= {"merge": merge} if merge != "add" else {}
    net = randomised(NafNet(**config))
    x = (torch.rand(1, 3, 16, 16),)
    check(saved(tmp_path / "a.pth", net.state_dict()), "nafnet-denoise", net, x, config)


def test_half_precision_is_widened(tmp_path):
    net = randomised(NafNet(**NAF)).half()
    found = importing.import_checkpoint(saved(tmp_path / "a.pth", net.state_dict()))
    loaded = rawzoo.load("nafnet-denoise", weights=found.name).module.state_dict()
    assert all(torch.equal(value, loaded[name].half()) for name, value in net.state_dict().items())


def test_unknown_family_names_the_known_ones(tmp_path):
    state = {"intro.weight": torch.zeros(8, 3, 3, 3), "body.0.weight": torch.zeros(8, 8)}
    with pytest.raises(WeightsError, match=r"a\.pt .*NAFNet, TreeNet of Raw Refinery, Cond_NAF of Restorer"):
        importing.import_checkpoint(saved(tmp_path / "a.pt", state))


def drop(state, part):
    return {name: value for name, value in state.items() if part not in name}


def test_damaged_checkpoints_are_not_taken(tmp_path):
    tree, cond, naf = TreeNet(**TREES[2]).state_dict(), CondNaf(**COND).state_dict(), NafNet(**NAF).state_dict()
    for state in (
        drop(tree, "downs.1"),
        drop(tree, "encoders.1.1.trunk.3."),  # trees that differ
        drop(cond, "model.ending.weight"),
        drop(cond, "model.intro"),
        drop(naf, "downs"),
        drop(naf, "encoders.0") | {"downs.0.weight": torch.zeros(9, 4, 2, 2)},
    ):
        with pytest.raises((WeightsError, UsageError)):
            importing.import_checkpoint(saved(tmp_path / "a.pt", state))
    # Networks of the repository that are experiments, or take pictures of unknown channels.
    other = {name: value for name, value in CondNaf(**COND).state_dict().items() if "intro" not in name}
    other |= {"model.intro.weight": torch.zeros(8, 6, 3, 3), "model.intro.bias": torch.zeros(8)}
    assert importer.detect(checkpoints.read(saved(tmp_path / "b.pt", other))) == []
    transformer = CondNaf(**COND, form="shuffle", merge="add", block="next-2").state_dict()
    transformer["model.encoders.1.2.vit.attn.in_proj_weight"] = torch.zeros(72, 24)
    assert importer.detect(checkpoints.read(saved(tmp_path / "c.pt", transformer))) == []


def test_nothing_in_a_checkpoint_is_executed(tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    path = saved(tmp_path / "a.pt", {**NafNet(**NAF).state_dict(), "payload": Payload()})
    with pytest.raises(WeightsError, match=r"a\.pt"):
        importing.import_checkpoint(path)
    assert not (tmp_path / "executed").exists()
