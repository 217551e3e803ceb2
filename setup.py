"""Builds the native modules through CMake and Ninja; everything else about the package is in pyproject.toml.

Environment:
    RAWZOO_NATIVE=0|1   0: no native module, the torch reference serves every op. 1: fail where there is no compiler.
                        Unset: build, and install without where there is no compiler.
    RAWZOO_CUDA=0|1     0: no CUDA module. 1: fail where there is no nvcc. Unset: build it where nvcc works.
    RAWZOO_WERROR=1     compiler warnings are errors (for developers).
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import cmake
import ninja
import pybind11
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent.resolve()

#: What CMake says of a machine that cannot compile, and what that means.
NEEDED = {
    "No CMAKE_CXX_COMPILER": "no C++ compiler",
    "is not able to compile": "no working C++ compiler",
    "Could NOT find Python": "no Python header",
}


def switch(name: str) -> str:
    """AUTO, ON or OFF from an environment variable that is unset, 1 or 0."""
    value = os.environ.get(name, "")
    if value not in ("", "0", "1"):
        sys.exit(f"{name} must be 0 or 1, not {value!r}.")
    return {"": "AUTO", "0": "OFF", "1": "ON"}[value]


class CMakeBuild(build_ext):
    def build_extensions(self) -> None:
        native = switch("RAWZOO_NATIVE")
        if native == "OFF":
            print("rawzoo: RAWZOO_NATIVE=0, the torch reference serves every op.", file=sys.stderr)
            return
        build = Path(self.build_temp).resolve()
        build.mkdir(parents=True, exist_ok=True)
        for name in map(self.get_ext_filename, ("_native", "_native_cuda")):
            (build / name).unlink(missing_ok=True)  # what an earlier build with other settings left
        command = str(Path(cmake.CMAKE_BIN_DIR) / "cmake")
        configure = subprocess.run(
            [
                command,
                f"-S{ROOT}",
                f"-B{build}",
                "-GNinja",
                f"-DCMAKE_MAKE_PROGRAM={Path(ninja.BIN_DIR) / 'ninja'}",
                "-DCMAKE_BUILD_TYPE=Release",
                f"-DCMAKE_LIBRARY_OUTPUT_DIRECTORY={build}",
                f"-DPython_EXECUTABLE={sys.executable}",
                f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
                f"-DRAWZOO_CUDA={switch('RAWZOO_CUDA')}",
                f"-DRAWZOO_WERROR={'ON' if switch('RAWZOO_WERROR') == 'ON' else 'OFF'}",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        print(configure.stdout)
        if configure.returncode:
            missing = [what for text, what in NEEDED.items() if text in configure.stdout]
            if native == "AUTO" and missing:
                print(
                    f"rawzoo: {missing[0]} was found, so rawzoo installs without its native module and the slower "
                    "torch reference serves every op; install it (Debian: apt install g++ python3-dev) and reinstall.",
                    file=sys.stderr,
                )
                return
            sys.exit("rawzoo: configuring the native module failed, see CMake's message above.")
        if subprocess.run([command, "--build", str(build)]).returncode:
            sys.exit("rawzoo: the native module did not compile; RAWZOO_NATIVE=0 installs without it.")
        for extension in self.extensions:
            built = build / self.get_ext_filename(extension.name.rpartition(".")[2])
            target = Path(self.get_ext_fullpath(extension.name))
            target.unlink(missing_ok=True)
            if built.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(built, target)


setup(
    # Optional, for setuptools then accepts that a module was not built.
    ext_modules=[Extension(f"rawzoo.{name}", sources=[], optional=True) for name in ("_native", "_native_cuda")],
    cmdclass={"build_ext": CMakeBuild},
)
