"""setup.py where the machine lacks something."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

for _module in ("cmake", "ninja", "pybind11", "setuptools"):
    pytest.importorskip(_module, reason="the build's own requirements are not installed")


def build(tmp_path: Path, **environment: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
    clean = {k: v for k, v in os.environ.items() if k not in ("CC", "CXX", "CUDACXX") and not k.startswith("RAWZOO_")}
    result = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", f"--build-lib={tmp_path}/lib", f"--build-temp={tmp_path}/temp"],
        cwd=ROOT,
        env=clean | environment,
        capture_output=True,
        text=True,
    )
    return result, [path.name for path in (tmp_path / "lib").rglob("*.so")]


def test_without_a_compiler_it_installs_and_says_so_once(tmp_path: Path) -> None:
    result, built = build(tmp_path, PATH=str(tmp_path))
    assert result.returncode == 0, result.stdout + result.stderr
    assert built == []
    assert result.stderr.count("no C++ compiler was found, so rawzoo installs without") == 1


def test_without_a_compiler_native_required_fails(tmp_path: Path) -> None:
    result, built = build(tmp_path, PATH=str(tmp_path), RAWZOO_NATIVE="1")
    assert result.returncode != 0
    assert "configuring the native module failed" in result.stderr
    assert built == []


def test_native_can_be_declined(tmp_path: Path) -> None:
    result, built = build(tmp_path, RAWZOO_NATIVE="0")
    assert result.returncode == 0
    assert built == []


def test_cuda_required_without_nvcc_fails(tmp_path: Path) -> None:
    result, _ = build(tmp_path, RAWZOO_CUDA="1", CUDACXX="/nonexistent/nvcc")
    assert result.returncode != 0
    assert "RAWZOO_CUDA=1, but no working nvcc was found" in result.stdout


def test_a_switch_is_0_or_1(tmp_path: Path) -> None:
    result, _ = build(tmp_path, RAWZOO_NATIVE="yes")
    assert result.returncode != 0
    assert "RAWZOO_NATIVE must be 0 or 1, not 'yes'." in result.stderr
