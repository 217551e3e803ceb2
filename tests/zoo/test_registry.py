"""Cards, and loading what they describe."""

import dataclasses
import json
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plugin_sources import registers_models
from safetensors.torch import save_file

import rawzoo
from rawzoo.errors import PluginError, UsageError, WeightsError
from rawzoo.zoo import registry
from rawzoo.zoo.card import ModelCard, Weights, problems

GOOD = ModelCard("a-model", "demosaic", "package.network:Net")


@pytest.mark.parametrize(
    ("field", "value", "phrase"),
    [
        ("name", "Upper Case", "name 'Upper Case' must consist of"),
        ("name", 3, "name must be a string, not 3"),
        ("task", "", "task '' is no task name"),
        ("architecture", "package.network.Net", "'package.module:factory', not 'package.network.Net'"),
        ("architecture", "package/network.py:Net", "'package.module:factory'"),
        ("config", {"width": {1, 2}}, "config must hold JSON values only"),
        ("config", {"width": float("nan")}, "config must hold JSON values only"),
        ("config", None, "config must be a mapping"),
        ("cfa", "RGB", "cfa must be 'bayer'"),
        ("cfa", "RGBG", "cfa must be 'bayer'"),
        ("scale", 2, "scale must be a positive Fraction, not 2"),
        ("scale", Fraction(0), "scale must be a positive Fraction"),
        ("period", 0, "period must be a whole number of at least 1"),
        ("period", True, "period must be a whole number"),
        ("halo", -1, "halo must be a whole number of at least 0, or None"),
        ("halo", 1.5, "halo must be a whole number"),
        ("auto_below_snr", 0, "auto_below_snr must be a positive number or None"),
        ("auto_below_snr", True, "auto_below_snr must be a positive number or None"),
        ("border", "zero", "border must be 'mirror' or 'model'"),
        ("dtypes", (), "dtypes must be some of float32"),
        ("dtypes", ("half",), "dtypes must be some of float32"),
        ("dtypes", "float32", "dtypes must be a tuple of strings"),
        ("conditioning", "cfa", "conditioning must be a tuple of strings"),
        ("weights", {"A b": Weights("x.safetensors")}, "weights name 'A b'"),
        ("weights", {"a": "x.safetensors"}, "weights 'a': must be a rawzoo.Weights"),
        ("weights", {"a": Weights("x.pth")}, "weights 'a': where must name a .safetensors file"),
        ("weights", {"a": Weights("package:x.safetensors")}, "'package:module/path.safetensors'"),
        ("weights", {"a": Weights("https://host/x.safetensors")}, "needs a sha256"),
        ("weights", {"a": Weights("x.safetensors", sha256="ABC")}, "sha256 must be 64 lower-case hex digits"),
    ],
)
def test_problems_of_a_card(field, value, phrase):
    assert problems(GOOD) == []
    found = problems(dataclasses.replace(GOOD, **{field: value}))
    assert len(found) == 1
    assert phrase in found[0]


def test_problems_of_something_else():
    assert problems("a-model") == ["it is a str, not a rawzoo.ModelCard"]


texts = st.text(max_size=8)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | texts, lambda v: st.lists(v, max_size=2) | st.dictionaries(texts, v)
)


@given(
    st.builds(
        ModelCard,
        config=st.dictionaries(texts, json_values),
        scale=st.fractions(min_value=Fraction(1, 8), max_value=8),
        halo=st.none() | st.integers(0, 500),
        auto_below_snr=st.none() | st.floats(1, 1000),
        border=st.sampled_from(["mirror", "model"]),
        dtypes=st.tuples(texts, texts),
        weights=st.dictionaries(texts, st.builds(Weights, quality=st.dictionaries(texts, st.floats(0, 100)))),
    )
)
def test_card_survives_json(card):
    assert ModelCard.from_dict(json.loads(json.dumps(card.to_dict()))) == card


CLASSICAL = ["bilinear", "gbtf", "hamilton-adams", "malvar", "markesteijn", "markesteijn-1", "menon", "rcd"]


def test_models_by_task(install):
    install("one-zoo", registers_models("for-awb", task="white-balance"))
    assert [card.name for card in rawzoo.models()] == ["bilinear", "for-awb", *CLASSICAL[1:]]
    assert [card.name for card in rawzoo.models("demosaic")] == CLASSICAL
    with pytest.raises(UsageError, match=r"no task is named 'demosiac'; did you mean 'demosaic'\?"):
        rawzoo.models("demosiac")


def test_unknown_names(install, tmp_path):
    with pytest.raises(UsageError, match=r"no model is named 'malvra'; did you mean 'malvar'\?"):
        registry.card("malvra")
    with pytest.raises(UsageError, match="no model is named 'xyz'; known: bilinear, gbtf"):
        rawzoo.load("xyz")
    with pytest.raises(UsageError, match="no runtime is named 'warp'; known: torch"):
        rawzoo.load("malvar", runtime="warp")
    with pytest.raises(UsageError, match="model malvar has no weights named 'best'; give the path"):
        rawzoo.load("malvar", weights="best")
    checkpoint = tmp_path / "best.pt"
    checkpoint.touch()
    with pytest.raises(UsageError, match=r"best\.pt is no \.safetensors file; 'rawzoo import .*best\.pt' makes one"):
        rawzoo.load("malvar", weights=str(checkpoint))


NETWORK = """
import torch

class Net(torch.nn.Module):
    def __init__(self, width=3):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, width, 3, padding=1)

    def forward(self, x):
        return self.conv(x)

class Constant(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("value", torch.tensor(0.5))

    def forward(self, x):
        return self.value.expand(len(x), 3, *x.shape[2:])

def broken():
    raise ValueError("no such width")

nothing = dict
"""


@pytest.fixture
def model(install, tmp_path, monkeypatch):
    """``model(**card_fields)``: a model "net" whose network is installed."""
    (tmp_path / "net_of_the_test.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)

    def make(**fields):
        install("net-zoo", registers_models("net", **({"architecture": "net_of_the_test:Net"} | fields)))

    return make


@pytest.fixture
def tensors():
    return {"conv.weight": torch.rand(3, 1, 3, 3), "conv.bias": torch.rand(3)}


def saved(tensors, path):
    save_file(tensors, path)
    return path


def test_load_with_weights_of_a_file(model, tensors, tmp_path):
    model()
    path = saved(tensors, tmp_path / "net.safetensors")
    for where in (path, str(path)):
        predictor = rawzoo.load("net", weights=where, tile=8)
        assert predictor.card.name == "net"
        assert predictor.tile == 8
        assert not predictor.module.training
        assert torch.equal(predictor.module.conv.bias, tensors["conv.bias"])
    x = torch.rand(1, 12, 17)
    expected = torch.nn.functional.conv2d(x, tensors["conv.weight"], tensors["conv.bias"])
    torch.testing.assert_close(predictor(x)[:, 1:-1, 1:-1], expected)


def test_first_weights_of_the_card_are_the_default(install, tmp_path, monkeypatch, tensors):
    (tmp_path / "net_of_the_test.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    other = {key: value + 1 for key, value in tensors.items()}
    sets = {
        "z": f"rawzoo.Weights({str(saved(tensors, tmp_path / 'z.safetensors'))!r})",
        "a": f"rawzoo.Weights({str(saved(other, tmp_path / 'a.safetensors'))!r})",
    }
    source = registers_models("net", architecture="net_of_the_test:Net")
    written = "{" + ", ".join(f"{name!r}: {value}" for name, value in sets.items()) + "}"
    install("net-zoo", source.replace("name=name", f"name=name, weights={written}"))
    assert torch.equal(rawzoo.load("net").module.conv.bias, tensors["conv.bias"])
    assert torch.equal(rawzoo.load("net", weights="a").module.conv.bias, other["conv.bias"])
    with pytest.raises(UsageError, match="give one of z, a, or the path"):
        rawzoo.load("net", weights="b")


def test_weights_that_do_not_fit(model, tensors, tmp_path):
    model()
    path = tmp_path / "net.safetensors"

    def message(tensors):
        with pytest.raises(WeightsError) as caught:
            rawzoo.load("net", weights=saved(tensors, path))
        return str(caught.value)

    start = f"weights file {path} does not fit model net: "
    assert message(tensors | {"extra": torch.zeros(1)}) == f"{start}extra is not in the model."
    assert message({"conv.bias": tensors["conv.bias"]}) == f"{start}conv.weight is missing."
    assert message(tensors | {"conv.bias": torch.zeros(4)}) == f"{start}conv.bias is [4] and should be [3]."
    many = {f"t{i}": torch.zeros(1) for i in range(5)}
    assert message(many).endswith("conv.weight is missing, conv.bias is missing, t0 is not in the model and 4 more.")

    path.write_bytes(b"not safetensors at all")
    with pytest.raises(WeightsError, match="is not a readable safetensors file"):
        rawzoo.load("net", weights=path)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "no_such_module:Net"}, "no_such_module:Net cannot be imported: ModuleNotFoundError"),
        ({"architecture": "net_of_the_test:Missing"}, "cannot be imported: AttributeError"),
        ({"architecture": "net_of_the_test:broken"}, "cannot be built: ValueError: no such width"),
        ({"config": {"depth": 3}}, "cannot be built: TypeError"),
        ({"architecture": "net_of_the_test:nothing"}, "returned a dict, not a torch.nn.Module"),
        ({"input": "packets"}, "input 'packets' is none of task demosaic's: mosaic, packed"),
        ({"output": "srgb"}, "output 'srgb' is none of task demosaic's: camera-rgb"),
        ({"conditioning": ("mood",)}, "task demosaic has no conditioning 'mood'"),
    ],
)
def test_card_that_promises_what_is_not_there(model, fields, message):
    model(**fields)
    with pytest.raises(PluginError, match=message):
        rawzoo.load("net")


def test_card_for_no_task(model):
    model(task="telepathy")
    with pytest.raises(UsageError, match="no task is named 'telepathy'"):
        rawzoo.load("net")


@pytest.mark.parametrize(
    ("published", "end"),
    [
        ("", "as its weights."),
        ("net.pth at example.org, MIT.", "as its weights; published: net.pth at example.org, MIT."),
    ],
)
def test_parameters_are_never_random(model, monkeypatch, tmp_path, published, end):
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))
    model(published=published)
    with pytest.raises(WeightsError) as caught:
        rawzoo.load("net")
    start = "model net has no weights here: import some with `rawzoo import FILE`, or give a .safetensors file "
    assert str(caught.value) == start + end


def test_module_without_parameters_needs_no_weights(model):
    model(architecture="net_of_the_test:Constant")
    assert rawzoo.load("net")(torch.rand(1, 8, 8)).tolist() == torch.full((3, 8, 8), 0.5).tolist()


def test_dtype_and_device(model, tensors, tmp_path):
    model(dtypes=("bfloat16", "float32"))
    path = saved(tensors, tmp_path / "net.safetensors")
    assert rawzoo.load("net", weights=path).module.conv.weight.dtype == torch.bfloat16
    assert rawzoo.load("net", weights=path, dtype=torch.float32).module.conv.weight.dtype == torch.float32
    with pytest.raises(UsageError, match="bfloat16, float32"):
        rawzoo.load("net", weights=path, dtype="float16")
    with pytest.raises(UsageError, match="device"):
        rawzoo.load("net", weights=path, device="cuda:77")


def test_runtime_of_a_plugin(model, install, tensors, tmp_path):
    model()
    install(
        "fast-zoo",
        """
        @rawzoo.hookimpl
        def rawzoo_register_runtimes(register):
            register("echo", "fast_zoo:run")
            register("broken", "fast_zoo:missing")

        def run(card, module, *, device, dtype, tile):
            return card.name, type(module).__name__, device, dtype, tile
        """,
    )
    assert registry.runtimes() == ["broken", "echo", "torch"]
    path = saved(tensors, tmp_path / "net.safetensors")
    loaded = rawzoo.load("net", weights=path, runtime="echo", device="cpu", dtype="float32", tile=64)
    assert loaded == ("net", "Net", "cpu", "float32", 64)
    with pytest.raises(PluginError, match=r"runtime 'broken' of fast-zoo 1.0: fast_zoo:missing cannot be imported"):
        rawzoo.load("net", runtime="broken")


def test_task_of_a_plugin(install):
    install(
        "task-zoo",
        """
        from rawzoo.tasks import Task

        @rawzoo.hookimpl
        def rawzoo_register_tasks(register):
            register(Task("smell", "Mosaic to smell.", {"mosaic": "[1, H, W]"}, {"smell": "[1]"}, {}))
        """,
    )
    assert registry.task("smell").summary == "Mosaic to smell."
    assert "smell" in [task.name for task in registry.tasks()]
