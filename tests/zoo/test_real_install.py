"""The proof from outside: wheels of rawzoo, its plugins, the template and a broken plugin, in a fresh environment."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]
PLUGINS = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
TEMPLATE = ROOT / "examples" / "rawzoo-plugin-template"


def run(*command, folder, status=0, **environment):
    """Runs a command away from the source tree, with no way back to it."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "RAWZOO_")) and k != "VIRTUAL_ENV"}
    child = subprocess.run(
        list(map(str, command)), cwd=folder, env=clean | environment, capture_output=True, text=True, timeout=280
    )
    assert child.returncode == status, f"{command} exited with {child.returncode}:\n{child.stdout}\n{child.stderr}"
    return child


def broken_plugin(folder):
    """Source of a distribution with two plugins that fail in different ways."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text(
        dedent("""
        [build-system]
        requires = ["setuptools>=77"]
        build-backend = "setuptools.build_meta"
        [project]
        name = "rawzoo-broken"
        version = "6.6"
        [project.entry-points.rawzoo]
        cannot-import = "rawzoo_broken_import"
        cannot-register = "rawzoo_broken_hook"
        [tool.setuptools]
        py-modules = ["rawzoo_broken_import", "rawzoo_broken_hook"]
        """)
    )
    (folder / "rawzoo_broken_import.py").write_text("import a_package_that_is_not_there\n")
    (folder / "rawzoo_broken_hook.py").write_text(
        dedent("""
        import rawzoo

        @rawzoo.hookimpl
        def rawzoo_register_models(register):
            register(rawzoo.ModelCard("never-seen", "demosaic", "rawzoo_broken_hook:Net"))
            raise RuntimeError("on purpose")
        """)
    )
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Folder with ``bin/`` of a virtual environment into which the wheels were installed, and nothing else.

    The extra ``all`` has to find the plugins in the folder of wheels; only the rest may come from an index.
    """
    folder = tmp_path_factory.mktemp("install")
    # Copies: building must neither see nor leave anything in the working tree.
    copies = {ROOT: folder / "rawzoo", TEMPLATE: folder / "template"} | {p: folder / p.name for p in PLUGINS}
    sources = [*copies.values(), broken_plugin(folder / "broken")]
    ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "*.so", "__pycache__")
    for source, copy in copies.items():
        shutil.copytree(source, copy, ignore=ignored)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    wheels = folder / "wheels"
    # No CUDA: it takes minutes to compile and changes nothing about plugins.
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, *sources, folder=folder, RAWZOO_CUDA="0")
    run(sys.executable, "-m", "venv", "--without-pip", folder / "venv", folder=folder)
    scripts = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    install = (
        *pip,
        "--python",
        scripts / "python",
        "install",
        "--no-compile",
        "--constraint",
        ROOT / "constraints.txt",
    )
    (core,) = wheels.glob("rawzoo-[0-9]*.whl")
    run(*install, f"{core}[import]", "pytest", folder=folder)
    own = ("rawzoo[all]", "rawzoo-plugin-template", "rawzoo-broken")
    run(*install, "--no-index", "--find-links", wheels, *own, folder=folder)
    (folder / "empty").mkdir()
    return folder / "empty", scripts


def test_the_wheels_in_a_fresh_environment(environment):
    folder, scripts = environment

    models = run(scripts / "rawzoo", "models", "--json", folder=folder)
    cards = {card["name"]: card for card in json.loads(models.stdout)}
    assert sorted(cards) == [
        "4pp-eusr",
        "4pp-eusr-via2",
        "4pp-eusr-via8",
        "awb-pisp",
        "awb-vc4",
        "bilinear",
        "cond-naf",
        "deeper-mobilenet-v1",
        "dirty-pixels",
        "dirty-pixels-isp",
        "dirty-pixels-isp-2",
        "dirty-pixels-isp-3",
        "dirty-pixels-isp-4",
        "dirty-pixels-no-anscombe",
        "eusr-aesthetic",
        "eusr-subjective",
        "eusr-x2",
        "eusr-x4",
        "eusr-x8",
        "gbtf",
        "hamilton-adams",
        "malvar",
        "markesteijn",
        "markesteijn-1",
        "menon",
        "mobilenet-v1",
        "mobilenet-v1-mosaic",
        "naf-base",
        "naf-small",
        "naf-tiny",
        "nafnet-deblur",
        "nafnet-denoise",
        "packed-bilinear",
        "pynet-tf-0",
        "pynet-tf-1",
        "pynet-tf-2",
        "pynet-tf-3",
        "pynet-tf-4",
        "pynet-tf-5",
        "pynet-torch-0",
        "pynet-torch-1",
        "pynet-torch-2",
        "pynet-torch-3",
        "pynet-torch-4",
        "pynet-torch-5",
        "rcd",
        "treenet",
    ]
    assert cards["packed-bilinear"]["plugin"]["distribution"] == "rawzoo-plugin-template"
    assert [line.split(" left out")[0] for line in models.stderr.splitlines()] == [
        "rawzoo: plugin cannot-import (rawzoo-broken 6.6)",
        "rawzoo: plugin cannot-register (rawzoo-broken 6.6)",
    ]

    report = json.loads(run(scripts / "rawzoo", "plugins", "--json", folder=folder).stdout)
    assert {f["name"]: f["phase"] for f in report["failures"]} == {"cannot-import": "import", "cannot-register": "hook"}
    assert all("Traceback" in f["traceback"] for f in report["failures"])
    template = next(p for p in report["plugins"] if p["distribution"] == "rawzoo-plugin-template")
    assert template["registered"] == {"model": ["packed-bilinear"]}

    doctor = json.loads(run(scripts / "rawzoo", "doctor", "--json", folder=folder, status=1).stdout)
    assert {f["name"] for f in doctor["findings"] if f["broken"]} == {"cannot-import", "cannot-register"}


def test_model_of_the_plugin_develops(environment):
    """It is the same interpolation as rawzoo's own bilinear, so it has to give the same picture."""
    folder, scripts = environment
    code = """
    import numpy as np, rawzoo, rawzoo_plugin_template

    for module in (rawzoo, rawzoo_plugin_template):
        assert "site-packages" in module.__file__, module.__file__
    for cfa in ("RGGB", "GBRG"):
        mosaic = np.random.default_rng(0).integers(600, 15000, (101, 67)).astype(np.uint16)
        raw = rawzoo.RawImage.from_array(
            mosaic, cfa=cfa, black_level=512, white_level=16383, as_shot_neutral=(0.5, 1, 0.7)
        )
        expected = rawzoo.develop(raw, model="bilinear", space="camera", dtype="float32")
        assert expected.shape == (101, 67, 3) and expected.std() > 0.1
        for model in ("packed-bilinear", rawzoo.load("packed-bilinear", tile=16)):
            found = rawzoo.develop(raw, model=model, space="camera", dtype="float32")
            np.testing.assert_allclose(found, expected, atol=1e-5)
    """
    run(scripts / "python", "-c", dedent(code), folder=folder)


def test_tests_of_the_plugin_pass(environment):
    folder, scripts = environment
    done = run(
        scripts / "python",
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        folder.parent / "template" / "tests",
        folder=folder,
    )
    assert "2 passed" in done.stdout
