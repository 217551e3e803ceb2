"""``rawzoo export``: files that other programs run, compared with the model before they appear."""

import json

import numpy as np
import pytest
import torch

import rawzoo
from rawzoo import exporting
from rawzoo.errors import RawzooError, UsageError


@pytest.mark.parametrize(("model", "channels"), [("larger", 3), ("render", 4), ("plain", 4), ("judge", 3)])
def test_the_file_gives_what_the_model_gives(weights, tmp_path, command, model, channels):
    path = tmp_path / "new" / "out.pt"
    arguments = ("export", model, "--to", "torchscript", "-o", path, "--weights", weights[model])
    status, said, errors = command(*arguments)
    assert (status, errors, said.splitlines()[0]) == (0, "", str(path))
    facts = {exporting.FACTS: ""}
    exported = torch.jit.load(path, _extra_files=facts)
    assert json.loads(facts[exporting.FACTS])["inputs"] == [[1, channels, 128, 128]]
    net = rawzoo.load(model, weights=weights[model], dtype="float32")
    x = torch.rand(1, channels, 70, 50)
    with torch.inference_mode():
        np.testing.assert_allclose(exported(x), net.module(x), rtol=1e-5, atol=1e-6)
    assert all(parameter.requires_grad for parameter in net.module.parameters())


def test_json_and_the_name_of_the_file(weights, tmp_path, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, said, _ = command("export", "larger", "--to", "torchscript", "--weights", weights["larger"], "--json")
    report = json.loads(said)
    assert (status, report["path"], report["inputs"]) == (0, "larger.pt", [[1, 3, 128, 128]])
    assert report["compared"] == [[1, 3, 96, 160]]
    assert 0 <= report["difference"] <= exporting.TOLERANCE
    assert not report["one_size"]
    assert (tmp_path / "larger.pt").is_file()


def test_what_depends_on_the_size_gets_no_file(weights, tmp_path, command):
    """A network whose Python looks at the size: the trace holds for the traced size only."""
    path = tmp_path / "sized.pt"
    arguments = ("export", "sized", "--to", "torchscript", "-o", path, "--weights", weights["larger"])
    status, said, errors = command(*arguments)
    assert (status, said) == (1, "")
    assert "model sized cannot be exported: of other inputs, [[1, 3, 96, 160]], what was traced makes another" in errors
    assert list(tmp_path.glob("*sized*")) == [weights["sized"]]


def test_an_exported_file_stays_where_the_next_one_fails(weights, tmp_path):
    path = tmp_path / "out.pt"
    path.write_text("before")
    with pytest.raises(RawzooError, match="another result"):
        exporting.export("sized", path, weights=weights["sized"])
    assert path.read_text() == "before"


def test_what_cannot_be_exported(weights, tmp_path, command):
    status, _, errors = command("export", "larger", "--to", "onnx", "--weights", weights["larger"])
    assert (status, errors) == (
        2,
        "rawzoo: format 'onnx' is none of those that models can be exported to: torchscript.\n",
    )
    with pytest.raises(UsageError, match="model see cannot be exported: its network takes inputs of its own"):
        exporting.export("see", tmp_path / "x.pt", weights=weights["see"])
    with pytest.raises(UsageError, match="gbtf cannot be exported: it is told cfa"):
        exporting.export("gbtf", tmp_path / "x.pt")
    half = rawzoo.load("larger", weights=weights["larger"], dtype="bfloat16")
    with pytest.raises(UsageError, match=r"loaded in torch\.bfloat16 on cpu"):
        exporting.export(half, tmp_path / "x.pt")
    assert not (tmp_path / "x.pt").exists()
