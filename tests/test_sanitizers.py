"""The C++ tests of the kernels (csrc/tests), built with sanitizers and run."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from rawzoo import ops
from rawzoo.raw.cfa import XTRANS_PATTERN

ROOT = Path(__file__).parents[1]


def tool(name: str) -> str:
    """Path of cmake or ninja: of the Python package of this name, else of the system."""
    try:
        folder = __import__(name)
        return str(Path(getattr(folder, "CMAKE_BIN_DIR", None) or folder.BIN_DIR) / name)
    except ImportError:
        found = shutil.which(name)
        return found or pytest.skip(f"{name} is not installed")


def build(folder: Path, sanitizers: str) -> Path:
    """The test program; skips where there is no compiler or it has no sanitizers."""
    if not any(map(shutil.which, (os.environ.get("CXX", "c++"), "g++", "clang++"))):
        pytest.skip("there is no C++ compiler")
    configure = [tool("cmake"), f"-S{ROOT}", f"-B{folder}", "-GNinja", f"-DCMAKE_MAKE_PROGRAM={tool('ninja')}"]
    options = ["-DRAWZOO_TESTS=ON", f"-DRAWZOO_SANITIZE={sanitizers}", "-DRAWZOO_WERROR=ON"]
    for command in ([*configure, *options], [tool("cmake"), "--build", str(folder)]):
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode and "does not link with -fsanitize" in done.stdout:
            pytest.skip(f"this compiler cannot link {sanitizers} sanitizers")
        assert done.returncode == 0, done.stdout[-8000:]
    return folder / "kernels_test"


def run(program: Path, fill: int = 0x00) -> str:
    # Leak detection needs ptrace, which containers often forbid. Fresh memory is filled with the byte all through.
    options = f"detect_leaks=0:max_malloc_fill_size=1000000000:malloc_fill_byte={fill}"
    done = subprocess.run([program], env={**os.environ, "ASAN_OPTIONS": options}, capture_output=True, text=True)
    if "unexpected memory mapping" in done.stderr:
        pytest.skip("ThreadSanitizer does not run with this kernel's address space layout")
    assert done.returncode == 0, done.stderr[:8000]
    return done.stdout


@pytest.mark.timeout(600)
def test_address_and_undefined_behaviour(tmp_path: Path) -> None:
    program = build(tmp_path, "address,undefined")
    with ThreadPoolExecutor() as pool:
        printed, other = pool.map(lambda fill: run(program, fill), (0x00, 0xFF))
    # The checksum of all results differs if any of them depends on memory that nothing was written to.
    assert other == printed
    bayer, xtrans, _ = printed.splitlines()
    assert bayer.split() == ["bayer:", *ops.demosaic_methods("RGGB")], "csrc/tests/kernels_test.cpp lacks a method"
    assert xtrans.split() == ["xtrans:", *ops.demosaic_methods(XTRANS_PATTERN)], (
        "csrc/tests/kernels_test.cpp lacks a method"
    )


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_data_races(tmp_path: Path) -> None:
    run(build(tmp_path, "thread"))
