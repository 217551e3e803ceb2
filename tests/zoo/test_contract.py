"""The contract test passes what keeps the contract and says of everything else what is wrong with it."""

import json
from fractions import Fraction

import pytest
from plugin_sources import registers_models

from rawzoo.testing import assert_model_contract, write_random_weights
from rawzoo.zoo import registry

NETWORKS = """
import torch
from torch import nn
from torch.nn import functional as F

class Conv(nn.Module):
    # A blur of the given radius; deterministic.
    def __init__(self, radius=1, out=3, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(1, out, 2 * radius + 1, padding=radius)
        self.stride = stride
        with torch.no_grad():
            self.conv.weight.copy_(torch.linspace(0, 1, self.conv.weight.numel()).view_as(self.conv.weight))
            self.conv.bias.zero_()

    def forward(self, x):
        y = self.conv(x)
        if self.stride > 1:
            y = F.interpolate(y[:, :, :: self.stride, :: self.stride], scale_factor=self.stride)
        return y

class Random(Conv):
    def __init__(self):
        super().__init__()
        self.offset = torch.rand(1)

    def forward(self, x):
        return super().forward(x) + self.offset

class Noisy(Conv):
    def forward(self, x):
        return super().forward(x) + torch.rand(1)

class Log(Conv):
    def forward(self, x):
        return super().forward(x).log()

class Global(Conv):
    def forward(self, x):
        return super().forward(x) - x.mean()

class Fixed(Conv):
    def load_state_dict(self, state, **options):
        pass

class Half(Conv):
    def forward(self, x):
        if x.dtype == torch.float16:
            raise RuntimeError("not implemented for 'Half'")
        return super().forward(x)
"""


@pytest.fixture
def model(install, tmp_path, monkeypatch):
    (tmp_path / "contract_networks.py").write_text(NETWORKS)
    monkeypatch.syspath_prepend(tmp_path)

    def make(network, source="", **fields):
        card = {"architecture": f"contract_networks:{network}", "summary": "A blur.", "cfa": "RGGB"} | fields
        install("contract-zoo", source + registers_models("net", **card))
        return write_random_weights("net", tmp_path / "net.safetensors")

    return make


@pytest.mark.parametrize(
    "name", ["bilinear", "gbtf", "hamilton-adams", "malvar", "markesteijn", "markesteijn-1", "menon", "rcd"]
)
def test_classical_models_keep_it(name):
    assert_model_contract(name)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"config": {"radius": 3}, "halo": 3},
        {"config": {"radius": 1, "stride": 4}, "halo": 4, "period": 4},
        {"config": {"radius": 3}, "halo": 3, "border": "model"},
        {"halo": None},
        {"dtypes": ("float32", "bfloat16", "float16", "float64")},
        {"dtypes": ("bfloat16",)},
        {"cfa": "any"},
    ],
    ids=str,
)
def test_models_that_keep_it(model, fields):
    assert_model_contract("net", weights=model("Conv", **fields))


def test_global_context_that_is_admitted(model):
    assert_model_contract("net", weights=model("Global", halo=None))


def test_model_without_weights(model):
    model("Conv")
    with pytest.raises(AssertionError, match=r"model net has no weights here: .* write_random_weights makes some"):
        assert_model_contract("net")


def test_random_weights_are_the_same_every_time(model, tmp_path):
    first = model("Conv").read_bytes()
    assert write_random_weights("net", tmp_path / "again.safetensors").read_bytes() == first


@pytest.mark.parametrize(
    ("network", "fields", "message"),
    [
        ("Conv", {"summary": ""}, "the card has no summary"),
        ("Conv", {"config": {"out": 4}}, r"gives \[4, .* promise \[3, "),
        ("Conv", {"config": {"radius": 3}, "halo": 2}, r"in tiles of 18 it differs .* card.halo \(2\)"),
        ("Conv", {"config": {"radius": 31}, "halo": 30, "border": "model"}, r"differs .* card.halo \(30\)"),
        ("Conv", {"config": {"stride": 4}, "halo": 4, "period": 2}, "Check .* card.period is the product"),
        ("Global", {}, "needs halo=None"),
        ("Random", {}, "loaded twice it gives two results: .* make it a buffer"),
        ("Noisy", {"halo": None}, "two runs on one input differ"),
        ("Log", {}, "gives NaN or infinity"),
        ("Fixed", {}, "does not take the value in the weights file"),
        ("Half", {"dtypes": ("float32", "float16")}, "card.dtypes lists float16, but it does not run in it"),
    ],
)
def test_models_that_break_it(model, network, fields, message):
    weights = model(network, **({"cfa": "RGGB"} | fields))
    with pytest.raises(AssertionError, match=f"^(net: |model 'net').*{message}"):
        assert_model_contract("net", weights=weights)


def test_wrong_scale(install, tmp_path, monkeypatch, model):
    fields = {"name": "net", "scale": "2", "architecture": "contract_networks:Conv", "task": "demosaic", "weights": {}}
    fields |= {"summary": "A blur.", "halo": 1}
    install(
        "scale-zoo",
        f"""
        @rawzoo.hookimpl
        def rawzoo_register_models(register):
            register(rawzoo.ModelCard.from_dict({fields!r}))
        """,
    )
    assert registry.card("net").scale == Fraction(2)
    weights = write_random_weights("net", tmp_path / "net.safetensors")
    with pytest.raises(AssertionError, match=r"card says scale 2.* Check card.scale"):
        assert_model_contract("net", weights=weights)


def test_listing_that_imports_torch(model, tmp_path, monkeypatch):
    model("Conv", source="import torch\n")
    # The child interpreter that looks for torch has to find the plugin, too.
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site-packages"), prepend=":")
    with pytest.raises(AssertionError, match="listing it imports torch"):
        assert_model_contract("net")


def test_card_that_json_changes(model):
    model("Conv", config={"radius": 1}, dtypes=("float32",))
    card = registry.card("net")
    assert json.loads(json.dumps(card.to_dict()))["dtypes"] == ["float32"]
    object.__setattr__(card, "config", {"radius": (1, 2)})
    with pytest.raises(AssertionError, match="changes on a way through JSON"):
        assert_model_contract("net")
