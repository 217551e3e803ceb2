"""The plugin's tests compare with golden vectors of the published code, where they are beside the repository."""

import json
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.fixture(autouse=True)
def _strict(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the plugin raises reaches the test as it is. Not for the whole process: rawzoo's own tests run in it too."""
    monkeypatch.setenv("RAWZOO_STRICT_PLUGINS", "1")


@pytest.fixture(scope="session")
def specs(shared: Path) -> Path:
    """Golden vectors."""
    return shared / "specs" / "eusr"


@pytest.fixture(scope="session")
def published(specs):
    """``published("eusr")``: the variables that the golden outputs belong to, by their names in TensorFlow.

    They are generated, by the rule of the golden files: seeded with the name, scaled by kind and fan-in.
    """
    kinds = {"bias": (0, 0.1), "norm_bias": (0, 0.1), "norm_scale": (1, 0.1), "running_mean": (0, 0.1)}

    def variables(what, salt=""):
        made = {}
        for entry in json.loads((specs / f"params_{what}.json").read_text()):
            seed = np.random.PCG64(zlib.crc32((salt + entry["name"]).encode()))
            w = np.random.Generator(seed).standard_normal(entry["shape"], dtype=np.float32)
            if entry["cls"] == "kernel":
                fan_in = np.prod(entry["shape"][: 2 if entry["layout"].startswith("HWCM") else -1])
                value = w * np.float32(entry["gain"] * np.sqrt(1 / fan_in))
            elif entry["cls"] == "running_var":
                value = np.float32(1) + np.float32(0.1) * np.abs(w)
            else:
                offset, factor = kinds[entry["cls"]]
                value = np.float32(offset) + np.float32(factor) * w
            made[entry["name"]] = value
        return made

    return variables


@pytest.fixture(scope="session")
def planar():
    """``planar(images)``: ``[N, H, W, C]`` as the networks take it, float32 ``[N, C, H, W]``."""
    return lambda images: torch.from_numpy(np.ascontiguousarray(np.moveaxis(images.astype(np.float32), -1, 1)))
