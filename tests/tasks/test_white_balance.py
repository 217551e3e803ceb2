"""The task white-balance with a model of the test's own: what develop does with it, and wrong calls."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import rawzoo
from rawzoo import pipeline
from rawzoo.cli import app
from rawzoo.errors import PluginError, UsageError, WeightsError
from rawzoo.raw.image import RawImage
from rawzoo.tasks.white_balance import TASK, WhiteBalance, estimate, mired_error
from rawzoo.zoo.card import ModelCard
from rawzoo.zoo.manager import get_manager

NETWORK = """
import torch
from torch import nn
from rawzoo.tasks.white_balance import WhiteBalance

class Net(nn.Module):
    def forward(self, x, lux):
        return 1000 * x.mean((1, 2, 3)) + lux

class Offset(Net):
    def __init__(self):
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x, lux):
        return super().forward(x, lux) + self.offset

def adapt(predictor, raw, tuning):
    kelvin = float(predictor.run(torch.full((3, 2, 2), 4.0), lux=100.0))
    red = 2.0 if tuning is None else float(tuning)
    return WhiteBalance(kelvin, (red, 1.0, 1.5), 100.0, f"tuning {tuning}")
"""


@pytest.fixture
def model(tmp_path, monkeypatch):
    (tmp_path / "balance_network.py").write_text(NETWORK)
    monkeypatch.syspath_prepend(tmp_path)
    fields = {
        "task": TASK,
        "architecture": "balance_network:Net",
        "input": "awb-grid",
        "output": "temperature",
        "config": {},
        "conditioning": ("lux",),
        "halo": None,
    }

    class Plugin:
        @rawzoo.hookimpl
        def rawzoo_register_models(self, register):
            register(ModelCard(name="balance", adapter="balance_network:adapt", **fields))
            register(ModelCard(name="helpless", **fields))
            trained = {**fields, "architecture": "balance_network:Offset"}
            register(ModelCard(name="offset", adapter="balance_network:adapt", **trained))

    get_manager().add(Plugin(), "balance-plugin")
    yield "balance"
    get_manager().remove("balance-plugin")


def raw_image():
    mosaic = np.random.default_rng(0).integers(500, 15000, (32, 48)).astype(np.uint16)
    return RawImage.from_array(mosaic, cfa="RGGB", black_level=512, white_level=16383, as_shot_neutral=(0.5, 1, 0.65))


@pytest.mark.parametrize(("suffix", "gains"), [("", "2,1,1.5"), (":3.5", "3.5,1,1.5")])
def test_develop_with_the_gains_of_a_model(model, suffix, gains):
    raw = raw_image()
    np.testing.assert_array_equal(
        rawzoo.develop(raw, white_balance=model + suffix), rawzoo.develop(raw, white_balance=gains)
    )


def test_what_was_used_is_told_in_words(model):
    neutral, words = pipeline.white_balance_neutral(raw_image(), "balance:3.5")
    np.testing.assert_allclose(neutral, (1 / 3.5, 1, 1 / 1.5))
    assert words == "balance: 4100 K, gains 3.500,1,1.500 (100 lux, tuning 3.5)"


def test_weights_are_chosen_by_name(model, tmp_path, monkeypatch):
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path))
    folder = tmp_path / "imported" / "offset"
    folder.mkdir(parents=True)
    with pytest.raises(WeightsError, match="model offset has no weights here"):
        rawzoo.develop(raw_image(), white_balance="offset")
    for name, kelvin in (("colder", 500.0), ("warmer", -500.0)):
        save_file({"offset": torch.tensor([kelvin])}, folder / f"{name}.safetensors")
    for choice, kelvin in (("offset@colder", 4600), ("offset@warmer:3.5", 3600)):
        _, words = pipeline.white_balance_neutral(raw_image(), choice)
        assert words.startswith(f"{choice.partition(':')[0]}: {kelvin} K")
    with pytest.raises(UsageError, match="several imported weights, say which: colder, warmer"):
        rawzoo.develop(raw_image(), white_balance="offset")
    (folder / "warmer.safetensors").unlink()
    assert estimate(raw_image(), "offset") == estimate(raw_image(), "offset", weights="colder")


def test_result_is_json(model):
    found = estimate(raw_image(), rawzoo.load(model))
    assert found == estimate(raw_image(), model)
    assert json.loads(json.dumps(found.to_dict())) == {
        "temperature": 4100.0,
        "gains": [2.0, 1.0, 1.5],
        "lux": 100.0,
        "tuning": "tuning None",
    }
    assert WhiteBalance(4100.0, (2.0, 1.0, 1.5), 100.0, "tuning None") == found


def test_wrong_models_are_refused(model):
    for choice, message in (
        ("balanced", r"or a model of task white-balance \(.*balance, helpless, offset\)"),
        ("malvar", "model malvar is for task demosaic; white balance needs one of task white-balance"),
    ):
        with pytest.raises(UsageError, match=message):
            rawzoo.develop(raw_image(), white_balance=choice)
    with pytest.raises(PluginError, match="the card names none"):
        rawzoo.develop(raw_image(), white_balance="helpless")
    with pytest.raises(UsageError, match="task white-balance"):
        rawzoo.develop(raw_image(), model="balance")


def test_command_line(model, tmp_path):
    rawzoo.write_dng(tmp_path / "in.dng", raw_image())
    found = CliRunner().invoke(app, ["develop", str(tmp_path / "in.dng"), "-o", str(tmp_path / "a.png"), "-w", model])
    assert found.exit_code == 0, found.output
    given = ["develop", str(tmp_path / "in.dng"), "-o", str(tmp_path / "b.png"), "-w", "2,1,1.5"]
    assert CliRunner().invoke(app, given).exit_code == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_card_with_a_bad_adapter_is_not_valid():
    from rawzoo.zoo.card import problems

    assert problems(ModelCard("x", TASK, "a:b", adapter="not a path")) == [
        "adapter must be 'package.module:function' or empty, not 'not a path'"
    ]


def test_mired_error():
    np.testing.assert_allclose(mired_error([5000, 2500], 5000), [0, 200])
