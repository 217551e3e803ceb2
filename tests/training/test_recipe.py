import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rawzoo.errors import PluginError, UsageError
from rawzoo.training import recipe as recipes

TOY = {"architecture": "toy_training:Line", "inputs": ["mosaic"]}
BASE = {"model": TOY, "data": {"name": "photographs", "folders": ["photos"]}}


def make(**sections) -> recipes.Recipe:
    return recipes.from_dict({**BASE, **sections})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(BASE))
    return path


def test_a_recipe_survives_yaml(file, tmp_path):
    recipe = recipes.read(file, ["optimizer.lr=3e-3", "trainer.steps=20", "loss=l2", "data.levels=[0, 1e-3]"])
    assert recipe.optimizer.options == {"lr": 0.003}
    assert recipe.trainer.steps == 20
    assert recipe.loss.name == "l2"
    assert recipe.data.options["levels"] == [0, 0.001]
    assert recipe.output == str(Path("runs/small"))
    resolved = tmp_path / "resolved.yaml"
    resolved.write_text(recipe.to_yaml())
    assert recipes.read(resolved) == recipe


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("trainer.stepz=3", r"trainer\.stepz does not exist \(did you mean steps\?\)"),
        ("trainr.steps=3", r"trainr does not exist \(did you mean trainer\?\)"),
        ("data.pach=3", r"data\.pach does not exist \(did you mean patch\?\); data photographs has folders"),
        ("data.name=photograps", r"'photograps' does not exist \(did you mean photographs\?\)"),
        ("optimizer.learning_rate=1", r"optimizer\.learning_rate does not exist"),
        ("schedule.warmups=1", r"did you mean warmup\?"),
        ("loss.name=l3", r"loss\.name 'l3' does not exist"),
        ("trainer.steps=many", r"trainer\.steps must be a whole number, not 'many'"),
        ("trainer.steps=1.5", r"a whole number"),
        ("trainer.compile=1", r"true or false"),
        ("trainer.steps=0", r"at least 1"),
        ("trainer.average=1", r"below 1"),
        ("trainer.validate_every=7", r"multiple of trainer\.checkpoint_every"),
        ("trainer.loggers=[wandb]", r"tensorboard and mlflow, not 'wandb'"),
        ("trainer.loggers=tensorboard", r"a list of texts"),
        ("model.inputs=[]", r"model\.inputs must say"),
        ("model.name=malvar", r"give model\.name .* or model\.architecture"),
        ("model.architecture=nowhere", r"package\.module:factory"),
        ("trainer=5", r"must consist of keys"),
        ("steps", r"no override"),
        ("trainer.steps=[", r"not valid YAML"),
    ],
)
def test_what_is_wrong_is_named(file, override, message):
    with pytest.raises(UsageError, match=message):
        recipes.read(file, [override])


def test_what_is_missing_is_named(tmp_path):
    path = tmp_path / "r.yaml"
    for text, message in (
        ("model: {}", "data is missing"),
        (yaml.safe_dump({"model": TOY, "data": "photographs"}), r"data\.folders is missing"),
        ("- 1", "must consist of sections"),
        ("a: [", r"r\.yaml is not valid YAML, line 1"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            recipes.read(path)
    with pytest.raises(UsageError, match="cannot be read"):
        recipes.read(tmp_path / "none.yaml")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not a text file"):
        recipes.read(path)
    with pytest.raises(UsageError, match="no model is named"):
        make(model={"name": "malver"})


def test_dotted_paths_bring_what_plugins_have():
    recipe = make(data={"name": "toy_training:Lines", "size": 16}, loss="toy_training:OfLast")
    assert recipe.part("data")().size == 16
    with pytest.raises(UsageError, match=r"data\.sise does not exist \(did you mean size"):
        make(data={"name": "toy_training:Lines", "sise": 16})
    with pytest.raises(PluginError, match="cannot be imported"):
        make(loss="toy_training:Nothing")


@given(st.floats(1e-12, 1e12))
def test_numbers_with_exponents_are_numbers(value):
    text = f"{value:.3e}"
    assert recipes._yaml(text, "") == pytest.approx(float(text))


@given(st.lists(st.sampled_from("abc.=:[]{}#&*!|>'\"%@` \n-1"), max_size=12).map("".join))
def test_overrides_of_any_text_are_taken_or_refused(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("r") / "r.yaml"
    path.write_text(yaml.safe_dump(BASE))
    with contextlib.suppress(UsageError):
        assert isinstance(recipes.read(path, [f"output={text}"]).output, str)


def test_reading_a_recipe_imports_no_lightning():
    code = "import rawzoo.training.recipe, sys; sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
