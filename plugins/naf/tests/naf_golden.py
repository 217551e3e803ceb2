"""Golden vectors of the published code, and the deterministic weights they were computed with."""

from __future__ import annotations

import json
import math
import zlib
from pathlib import Path

import numpy as np
import torch

SCALES = {"bias": 0.1, "norm_bias": 0.1, "layer_scale": 0.1}


def weights(tensors, layer_scale=0.1):
    """State dict of the tensors a ``.params.json`` lists; those left as the code sets them are left out."""
    state = {}
    for tensor in tensors:
        name, shape, kind = tensor["name"], tuple(tensor["shape"]), tensor["class"]
        if kind == "constant":
            continue
        rng = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode())))
        w = torch.from_numpy(rng.standard_normal(shape, np.float32))
        if kind == "kernel":
            w = w * math.sqrt(1 / math.prod(shape[1:]))
        elif kind == "norm_scale":
            w = 1 + 0.1 * w
        else:
            w = w * {**SCALES, "layer_scale": layer_scale}[kind]
        state[name] = w
    return state


def fill(module, tensors, layer_scale=0.1):
    """Loads the weights; every name has to fit but those of constants."""
    state = weights(tensors, layer_scale)
    constants = {t["name"] for t in tensors if t["class"] == "constant"}
    missing, unexpected = module.load_state_dict(state, strict=False)
    assert set(missing) == constants, set(missing) ^ constants
    assert not unexpected, unexpected
    return module.eval()


def parameters(folder: Path, name: str):
    return json.loads((folder / f"{name}.params.json").read_text())


def arrays(folder: Path, name: str):
    with np.load(folder / f"{name}.npz") as file:
        return {key: torch.from_numpy(file[key]) for key in file.files}


def assert_near(found, expected):
    """1e-4 of the largest value."""
    assert found.shape == expected.shape
    worst = (found - expected).abs().max().item()
    allowed = 1e-4 + 1e-4 * expected.abs().max().item()
    assert worst <= allowed, f"{worst:.3g} > {allowed:.3g}"
