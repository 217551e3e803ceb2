"""Importers of plugins: one recognises, several dispute, none knows, one fails; and what is kept."""

import hashlib
import json
import os

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import rawzoo
from rawzoo.errors import PluginError, UsageError, WeightsError
from rawzoo.zoo.importing import import_checkpoint
from rawzoo.zoo.manager import get_manager
from rawzoo.zoo.weights import Provenance, imported_weights

# A network of any width, and an importer that knows it by the names another framework gave it.
LENET = """
from rawzoo.zoo.importers import Importer, Match

@rawzoo.hookimpl
def rawzoo_register_models(register):
    for name in ("lenet", "lenet-twin"):
        register(rawzoo.ModelCard(
            name, "demosaic", "lenet_zoo:make", config={"width": 3}, halo=1,
            weights={"own": rawzoo.Weights("nowhere.safetensors")} if name == "lenet-twin" else {},
        ))

def make(width):
    import torch
    module = torch.nn.Module()
    module.conv = torch.nn.Conv2d(1, width, 3, padding=1)
    module.forward = module.conv.forward
    return module

@rawzoo.hookimpl
def rawzoo_register_importers(register):
    register(Importer("lenet", "lenet_zoo:detect", summary="LeNet of any width"))

def detect(checkpoint):
    kernel = checkpoint.tensors.get("lenet/kernel")
    if kernel is None:
        return []

    def convert():
        return {
            "conv.weight": kernel.numpy().transpose(3, 2, 0, 1),
            "conv.bias": checkpoint.tensors["lenet/bias"].numpy(),
        }

    step = checkpoint.metadata.get("epoch")
    if "lenet/twin" in checkpoint.tensors:  # the weights of both
        return [
            Match(name, f"{name} of a pair", convert, config={"width": kernel.shape[3]}, group="pair")
            for name in ("lenet", "lenet-twin")
        ]
    return [Match("lenet", f"LeNet, width {kernel.shape[3]}, epoch {step}", convert, config={"width": kernel.shape[3]})]
"""


@pytest.fixture
def lenet(install, tmp_path, monkeypatch):
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))
    install("lenet-zoo", LENET)


@pytest.fixture
def published(tmp_path):
    """``published(width)``: a checkpoint with averages, and what its kernel is in torch's order."""

    def make(width=5, name="LeNet best_v2.pth", **extra):
        generator = torch.Generator().manual_seed(width)
        state = {
            "lenet/kernel": torch.rand(3, 3, 1, width, generator=generator),
            "lenet/bias": torch.rand(width, generator=generator),
        }
        averaged = {key: value + 1 for key, value in state.items()}
        torch.save({"params": {**state, **extra}, "params_ema": averaged, "epoch": 9}, tmp_path / name)
        return tmp_path / name, state["lenet/kernel"].permute(3, 2, 0, 1)

    return make


def other(source, module):
    """An importer that says what ``source`` says, in a plugin of its own."""
    return f"""
from rawzoo.zoo.importers import Importer, Match

@rawzoo.hookimpl
def rawzoo_register_importers(register):
    register(Importer("other", "{module}:detect"))

def detect(checkpoint):
    {source}
"""


def test_import_and_load(lenet, published, tmp_path):
    path, kernel = published(5)
    done = import_checkpoint(path)
    assert (done.name, done.tensors) == ("lenet-best-v2", 2)
    assert done.path == tmp_path / "cache" / "imported" / "lenet" / "lenet-best-v2.safetensors"
    assert [p.name for p in done.path.parent.iterdir()] == [done.path.name]
    (tmp_path / "ordinary").touch()
    assert done.path.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    predictor = rawzoo.load("lenet", weights="lenet-best-v2")
    assert torch.equal(predictor.module.conv.weight, kernel)
    assert predictor.card.config == {"width": 5}
    assert torch.equal(rawzoo.load("lenet").module.conv.weight, kernel)  # the only weights there are
    assert torch.equal(rawzoo.load("lenet", weights=done.path).module.conv.weight, kernel)
    with safe_open(done.path, framework="numpy") as file:
        said = json.loads(file.metadata()["rawzoo"])
    assert said == {
        "model": "lenet",
        "config": {"width": 5},
        "description": "LeNet, width 5, epoch 9",
        "sources": {path.name: hashlib.sha256(path.read_bytes()).hexdigest()},
        "importer": "lenet (lenet-zoo 1.0)",
        "rawzoo": rawzoo.__version__,
    }
    with pytest.raises(WeightsError, match="was imported for model lenet, not for lenet-twin"):
        rawzoo.load("lenet-twin", weights=done.path)


def test_names(lenet, published):
    first, kernel5 = published(5)
    import_checkpoint(first)
    import_checkpoint(first)  # the same again is fine
    second, kernel6 = published(6)
    with pytest.raises(
        UsageError, match=r"already has weights named 'lenet-best-v2', imported from LeNet best_v2\.pth"
    ):
        import_checkpoint(second)
    import_checkpoint(second, name="wide")
    assert list(imported_weights("lenet")) == ["lenet-best-v2", "wide"]
    with pytest.raises(UsageError, match="model lenet has several imported weights, say which: lenet-best-v2, wide"):
        rawzoo.load("lenet")
    assert torch.equal(rawzoo.load("lenet", weights="wide").module.conv.weight, kernel6)
    assert torch.equal(rawzoo.load("lenet", weights="lenet-best-v2").module.conv.weight, kernel5)
    with pytest.raises(UsageError, match=r"no weights named 'x'; give one of lenet-best-v2, wide, or the path"):
        rawzoo.load("lenet", weights="x")
    with pytest.raises(UsageError, match="--name 'No!' must consist of"):
        import_checkpoint(first, name="No!")


def test_averages(lenet, published):
    path, kernel = published(5)
    done = import_checkpoint(path, averages=True, name="ema")
    assert done.provenance.description == "LeNet, width 5, epoch 9, moving averages"
    assert torch.equal(rawzoo.load("lenet", weights="ema").module.conv.weight, kernel + 1)
    with pytest.raises(UsageError, match="already has weights named 'ema'"):
        import_checkpoint(path, name="ema")
    save_file({"conv.weight": kernel.contiguous()}, path)
    with pytest.raises(UsageError, match="has no moving averages; import it without --averages"):
        import_checkpoint(path, averages=True)


def test_checkpoint_that_does_not_fit(lenet, published):
    path, _ = published(5, **{"lenet/bias": torch.rand(4)})
    with pytest.raises(WeightsError, match=r"checkpoint .*pth does not fit model lenet: conv.bias is \[4\] and should"):
        import_checkpoint(path)
    assert imported_weights("lenet") == {}


def test_all_models_a_file_holds(lenet, published):
    path, _ = published(5, **{"lenet/twin": torch.rand(1)})
    done = import_checkpoint(path)
    assert [done.provenance.model, *(other.provenance.model for other in done.others)] == ["lenet", "lenet-twin"]
    for model in ("lenet", "lenet-twin"):
        assert list(imported_weights(model)) == [done.name]
    one = import_checkpoint(path, model="lenet-twin", name="alone")
    assert (one.provenance.model, one.others) == ("lenet-twin", ())
    assert list(imported_weights("lenet")) == [done.name]


def test_all_or_none_of_the_models_a_file_holds(lenet, published):
    path, _ = published(5, **{"lenet/twin": torch.rand(1)})
    with pytest.raises(UsageError, match="lenet-twin has weights of its own named 'own'"):
        import_checkpoint(path, name="own")
    assert imported_weights("lenet") == {}


def test_nothing_recognises_it(lenet, tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2, 3)}, path)
    with pytest.raises(WeightsError) as caught:
        import_checkpoint(path)
    assert str(caught.value) == (
        f"{path} is a safetensors file whose tensors (1, first a [2, 3]) no importer recognises; importers: "
        "lenet (LeNet of any width). If its tensors have the names of a model's own, say which with --as MODEL."
    )


def test_tensors_with_the_model_s_own_names(lenet, tmp_path):
    path = tmp_path / "mine.safetensors"
    kernel = torch.rand(3, 1, 3, 3)
    save_file({"conv.weight": kernel, "conv.bias": torch.rand(3)}, path)
    done = import_checkpoint(path, model="lenet")
    assert done.provenance.importer is None
    assert torch.equal(rawzoo.load("lenet", weights="mine").module.conv.weight, kernel)
    with pytest.raises(WeightsError, match=r"does not fit model bilinear: conv\.bias is not in the model"):
        import_checkpoint(path, model="bilinear")
    with pytest.raises(UsageError, match="no model is named 'lenett'; did you mean 'lenet'"):
        import_checkpoint(path, model="lenett")


def test_two_importers_dispute(lenet, install, published):
    source = 'return [Match("lenet-twin", "the twin", lambda: {}), Match("bilinear", "no", lambda: {})]'
    install("other-zoo", other(source, "other_zoo"))
    path, kernel = published(3)
    with pytest.raises(UsageError) as caught:
        import_checkpoint(path)
    assert str(caught.value) == (
        f"{path} could be one of several: lenet (LeNet, width 3, epoch 9); lenet-twin (the twin); bilinear (no); "
        "say which with --as MODEL."
    )
    import_checkpoint(path, model="lenet")
    assert torch.equal(rawzoo.load("lenet").module.conv.weight, kernel)
    with pytest.raises(UsageError, match=r"not for malvar, it was recognised as lenet \(LeNet, width 3, epoch 9\)"):
        import_checkpoint(path, model="malvar")
    with pytest.raises(UsageError, match="lenet-twin has weights of its own named 'own'"):
        import_checkpoint(path, model="lenet-twin", name="own")


def test_one_model_in_two_ways(lenet, install, published):
    install("other-zoo", other('return [Match("lenet", "another width", lambda: {})]', "other_zoo"))
    path, _ = published(3)
    with pytest.raises(
        PluginError, match=r"more than one way by lenet \(lenet-zoo 1\.0\) and other \(other-zoo 1\.0\)"
    ):
        import_checkpoint(path)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("raise KeyError('oops')", "KeyError: 'oops'"),
        ("return [5]", "PluginError: it gave a int, not a Match."),
        ("return 5", "TypeError: 'int' object is not iterable"),
        ("return [Match('gone', '', dict)]", "UsageError: no model is named 'gone'"),
        ("import nowhere_at_all", "ModuleNotFoundError: No module"),
    ],
)
def test_importer_that_fails_is_passed_over(lenet, install, published, warned, monkeypatch, source, reason):
    install("other-zoo", other(source, "other_zoo"))
    path, _ = published(3)
    import_checkpoint(path)
    (line,) = warned()
    assert line.startswith(f"rawzoo: importer other (other-zoo 1.0) passed over, it failed: {reason}")
    save_file({"a": torch.ones(2)}, path)
    with pytest.raises((WeightsError, UsageError), match="failed: other"):
        import_checkpoint(path)
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")
    with pytest.raises(Exception, match=r".") as caught:
        import_checkpoint(path)
    assert reason.startswith(type(caught.value).__name__)


@pytest.mark.parametrize(
    ("convert", "message"),
    [
        ("lambda: 1 / 0", "importer other .* could not convert .*: ZeroDivisionError"),
        ("lambda: {'a': [1]}", "importer other .* did not convert .* to a dict of NumPy arrays"),
    ],
)
def test_conversion_that_fails(lenet, install, tmp_path, convert, message):
    install("other-zoo", other(f'return [Match("lenet", "x", {convert})]', "other_zoo"))
    save_file({"a": torch.ones(2)}, tmp_path / "x.safetensors")
    with pytest.raises(PluginError, match=message):
        import_checkpoint(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("registered", "message"),
    [
        ("'lenet'", "it registers a str in place of an Importer"),
        ("Importer('Le Net', 'a:b')", "an importer cannot be named 'Le Net'"),
        ("Importer('lenet', 'no dots')", "importer 'lenet' must name its function as"),
    ],
)
def test_bad_registration(install, warned, registered, message):
    install(
        "bad-zoo",
        f"""
        from rawzoo.zoo.importers import Importer

        @rawzoo.hookimpl
        def rawzoo_register_importers(register):
            register({registered})
        """,
    )
    assert get_manager().names("importer") == []
    (line,) = warned()
    assert message in line


def test_weights_that_cannot_be_stored(lenet, published, tmp_path, monkeypatch):
    path, _ = published(3)
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"weights cannot be stored in .*; set RAWZOO_CACHE"):
        import_checkpoint(path)


def test_failure_while_writing_leaves_nothing(lenet, published, monkeypatch):
    path, _ = published(3)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(WeightsError, match="No space left on device"):
        import_checkpoint(path)
    assert imported_weights("lenet") == {}


@pytest.mark.parametrize("said", ["[", "{}", '{"model": 5}', json.dumps({"a": 1})])
def test_damaged_metadata(lenet, published, said):
    path, kernel = published(3)
    done = import_checkpoint(path)
    save_file({"conv.weight": kernel.contiguous(), "conv.bias": torch.rand(3)}, done.path, {"rawzoo": said})
    with pytest.raises(WeightsError, match=r"has damaged metadata.*import it again"):
        rawzoo.load("lenet", weights=done.name)
    import_checkpoint(path)  # replaces what is damaged
    assert Provenance.of(done.path).model == "lenet"


def test_dtypes_are_kept(lenet, tmp_path):
    kernel = np.random.default_rng(0).random((3, 1, 3, 3)).astype(np.float16)
    save_file({"conv.weight": torch.from_numpy(kernel), "conv.bias": torch.rand(3)}, tmp_path / "half.safetensors")
    done = import_checkpoint(tmp_path / "half.safetensors", model="lenet")
    with safe_open(done.path, framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("conv.weight"), kernel)
