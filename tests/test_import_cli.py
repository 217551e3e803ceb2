"""``rawzoo import`` as a user calls it: a child process, a plugin that is really installed, checkpoints of torch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

PLUGIN = """
import rawzoo
from rawzoo.zoo.importers import Importer, Match

@rawzoo.hookimpl
def rawzoo_register_models(register):
    register(rawzoo.ModelCard("toy", "demosaic", "toy_zoo:make", config={"width": 3}, halo=1))

def make(width):
    import torch
    class Toy(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, width, 3, padding=1)
            self.out = torch.nn.Conv2d(width, 3, 1)
        def forward(self, x):
            return self.out(self.conv(x))
    return Toy()

@rawzoo.hookimpl
def rawzoo_register_importers(register):
    register(Importer("toy", "toy_zoo:detect"))

def detect(checkpoint):
    if "net.conv.weight" not in checkpoint.tensors:
        return []
    width = checkpoint.tensors["net.conv.weight"].shape[0]
    convert = lambda: {k.removeprefix("net."): t.numpy() for k, t in checkpoint.tensors.items()}
    return [Match("toy", f"Toy of width {width}", convert, config={"width": width})]
"""


@pytest.fixture
def command(tmp_path):
    """``command(*arguments)`` runs rawzoo with the plugin installed and a cache of its own."""
    folder = tmp_path / "site"
    info = folder / "toy_zoo-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "toy_zoo.py").write_text(PLUGIN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-zoo\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[rawzoo]\nplugin = toy_zoo\n")
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    ours = {"PYTHONPATH": path, "RAWZOO_PLUGINS": "toy-zoo", "RAWZOO_CACHE": str(tmp_path / "cache")}

    def run(*arguments, status=0):
        done = subprocess.run(
            [sys.executable, "-c", "from rawzoo.cli import main; main()", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, **ours},
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout if status == 0 else done.stderr

    return run


@pytest.fixture
def checkpoint(tmp_path) -> Path:
    state = {"net.conv.weight": torch.rand(4, 1, 3, 3), "net.conv.bias": torch.rand(4)}
    state |= {"net.out.weight": torch.rand(3, 4, 1, 1), "net.out.bias": torch.rand(3)}
    torch.save({"model": {f"module.{name}": value for name, value in state.items()}}, tmp_path / "toy_final.pth")
    return tmp_path / "toy_final.pth"


def test_import_show_and_develop(command, checkpoint, tmp_path):
    text = command("import", checkpoint)
    where = tmp_path / "cache" / "imported" / "toy" / "toy-final.safetensors"
    assert text.splitlines()[0] == "Toy of width 4"
    assert str(where) in text
    assert 'rawzoo.load("toy", weights="toy-final")' in text
    assert "rawzoo develop FILE -o OUT --model toy --weights toy-final" in text
    assert "toy has no others, so they need not be named" in text
    assert where.is_file()

    shown = command("show", "toy")
    assert "weights toy-final (imported)" in shown
    assert "toy_final.pth, sha256 " in shown
    report = json.loads(command("show", "toy", "--json"))["imported"]["toy-final"]
    assert (report["where"], report["config"], report["importer"]) == (str(where), {"width": 4}, "toy (toy-zoo 1.0)")

    mosaic = tmp_path / "mosaic.png"
    from PIL import Image

    Image.new("I;16", (32, 24), 3000).save(mosaic)
    out = tmp_path / "out.png"
    options = ("--cfa", "RGGB", "--black", 0, "--white", 4095, "--white-balance", "1,1,1")
    command("develop", mosaic, "-o", out, "--model", "toy", "--weights", "toy-final", *options)
    with Image.open(out) as image:
        assert image.size == (32, 24)
    command("develop", mosaic, "-o", out, "--model", "toy", *options)
    assert "need not be named" not in command("import", checkpoint, "--name", "again")
    text = command("develop", mosaic, "-o", out, "--model", "toy", *options, status=2)
    assert text == "rawzoo: model toy has several imported weights, say which: again, toy-final.\n"
    text = command("develop", mosaic, "-o", out, "--model", "malvar", "--weights", "toy-final", *options, status=2)
    assert text == "rawzoo: --weights toy-final makes no sense with --model malvar, which has none.\n"


def test_json(command, checkpoint):
    report = json.loads(command("import", checkpoint, "--name", "mine", "--json"))
    assert report["weights"] == "mine"
    assert (report["model"], report["format"], report["tensors"]) == ("toy", "pytorch", 4)
    assert list(report["sources"]) == ["toy_final.pth"]


def test_errors_are_one_line(command, checkpoint, tmp_path):
    text = command("import", tmp_path / "gone.pth", status=1)
    assert text == f"rawzoo: checkpoint {tmp_path / 'gone.pth'} does not exist; check the path.\n"
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pth")
    text = command("import", tmp_path / "module.pth", status=1)
    assert text.startswith(f"rawzoo: {tmp_path / 'module.pth'} was refused: opening it as Python does would run code")
    assert text.count("\n") == 1
    text = command("import", checkpoint, "--as", "malvar", status=2)
    assert "is not for malvar, it was recognised as toy (Toy of width 4); leave out --as" in text
