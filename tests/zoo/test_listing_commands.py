"""``rawzoo models``, ``show``, ``plugins`` and ``doctor``, and what they must not import."""

import json
import subprocess
import sys

import pytest
import typer
from plugin_sources import registers_models, write_plugin
from typer.testing import CliRunner

from rawzoo.cli import doctor, models, plugins, show
from rawzoo.errors import UsageError


@pytest.fixture
def run(install):
    app = typer.Typer()
    for name, command in (
        ("models", models.models),
        ("show", show.show),
        ("plugins", plugins.plugins),
        ("doctor", doctor.doctor),
    ):
        app.command(name)(command)

    def run(*arguments, status=0):
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == status, result.output
        return result.stdout

    return run


def test_models(run, install):
    install("one-zoo", registers_models("one", summary="Something long. " * 30))
    lines = run("models").splitlines()
    assert [line.split()[0] for line in lines] == [
        "name",
        "bilinear",
        "gbtf",
        "hamilton-adams",
        "malvar",
        "markesteijn",
        "markesteijn-1",
        "menon",
        "one",
        "rcd",
    ]
    assert lines[-2].endswith("Something long.")
    assert not any(line.endswith(" ") for line in lines)
    cards = json.loads(run("models", "--json"))
    assert [card["name"] for card in cards] == [
        "bilinear",
        "gbtf",
        "hamilton-adams",
        "malvar",
        "markesteijn",
        "markesteijn-1",
        "menon",
        "one",
        "rcd",
    ]
    assert cards[-2]["plugin"] == {"name": "plugin", "distribution": "one-zoo", "version": "1.0", "built_in": False}


def test_models_of_a_task(run, install):
    install("one-zoo", registers_models("one", task="other"))
    assert "one" not in run("models", "--task", "demosaic")
    with pytest.raises(UsageError, match="no task is named 'cooking'"):
        run("models", "--task", "cooking")


def test_show(run):
    text = run("show", "malvar")
    assert "Malvar, He, Cutler" in text
    assert "White-balanced mosaic to linear camera RGB" in text
    card = json.loads(run("show", "malvar", "--json"))
    assert card["halo"] == 2
    assert card["plugin"]["distribution"] == "rawzoo"


def test_show_of_a_model_with_weights(run, install):
    source = registers_models("one").replace(
        "name=name", "name=name, weights={'best': rawzoo.Weights('x.safetensors', quality={'PSNR, dB': 38.1})}"
    )
    install("one-zoo", source)
    text = run("show", "one")
    assert "weights best (default)" in text
    assert "38.1" in text


def test_show_of_a_model_for_an_unknown_task(run, install):
    install("one-zoo", registers_models("one", task="telepathy"))
    with pytest.raises(UsageError, match="no task is named 'telepathy'"):
        run("show", "one")


def test_plugins(run, install):
    install("broken-zoo", "raise RuntimeError('no luck')")
    install("one-zoo", registers_models("one", "two"))
    text = run("plugins")
    assert "models one, two" in text
    assert "plugin (broken-zoo 1.0) was left out: its import failed." in text
    assert "raise RuntimeError('no luck')" in text  # the line of the plugin's source that failed
    report = json.loads(run("plugins", "--json"))
    assert report["plugins"][-1]["registered"] == {"model": ["one", "two"]}
    assert report["plugins"][-1]["hooks"] == ["rawzoo_register_models"]
    (failure,) = report["failures"]
    assert failure["error"] == "RuntimeError: no luck"
    assert failure["traceback"].startswith("Traceback (most recent call last):\n")


def test_doctor(run):
    report = json.loads(run("doctor", "--json"))
    assert report["ok"]
    found = {(f["section"], f["name"]): f["value"] for f in report["findings"]}
    assert "LibRaw" in found["version", "rawpy"]
    assert ("runtime", "torch") in found
    assert any(section == "ops" for section, _ in found)
    assert any(section == "gpu" for section, _ in found)
    assert "Nothing is broken." in run("doctor")


def test_doctor_finds_what_is_broken(run, install, monkeypatch, tmp_path):
    install("broken-zoo", "raise RuntimeError('no luck')")
    (tmp_path / "file").touch()
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setitem(sys.modules, "pooch", None)
    text = run("doctor", status=1)
    assert "Broken: version pooch, plugin plugin, cache weights." in text
    assert "import failed: RuntimeError: no luck" in text
    report = json.loads(run("doctor", "--json", status=1))
    assert not report["ok"]


def python(code, *folders):
    child = subprocess.run(
        [sys.executable, "-c", f"import sys\nsys.path[:0] = {list(map(str, folders))!r}\n{code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return child.stdout, child.stderr


def imported(code, modules):
    """Those of ``modules`` that Python has imported after it ran ``code``, with every installed plugin."""
    _, errors = python(f"{code}\nprint(*sorted({modules!r} & set(sys.modules)), file=sys.stderr)")
    return errors.split()


# What takes longer to import than the whole command may. pydantic: of some versions of typer.
HEAVY = {"torch", "numpy", "rawpy", "tifffile", "imagecodecs", "PIL", "pooch", "safetensors", "h5py", "pydantic"}
MAIN = "from rawzoo.cli import main\ntry:\n    main()\nexcept SystemExit as e:\n    assert not e.code, e.code"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["models"], ["models", "--json"]])
def test_listing_imports_nothing_heavy(arguments):
    assert imported(f"sys.argv = {['rawzoo', *arguments]!r}\n{MAIN}", HEAVY) == []


def test_the_list_of_models_imports_no_command_line():
    assert imported("import rawzoo; rawzoo.models()", HEAVY | {"typer", "rich"}) == []


def test_importing_rawzoo_imports_next_to_nothing():
    assert imported("import rawzoo", HEAVY | {"typer", "rich", "pluggy", "importlib.metadata", "inspect"}) == []


def test_warning_is_one_line_on_standard_error(tmp_path):
    write_plugin(tmp_path, "broken-zoo", "raise RuntimeError('no luck')")
    output, errors = python("import rawzoo; print(len(rawzoo.models()))", tmp_path)
    assert int(output) >= 2
    assert errors == "rawzoo: plugin plugin (broken-zoo 1.0) left out, import failed: RuntimeError: no luck\n"
