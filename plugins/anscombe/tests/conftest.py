"""What the tests of this plugin share: the golden files and the weights they were computed with."""

import sys
from pathlib import Path

import numpy as np
import pytest
from anscombe_golden import Golden

# The writers of checkpoints lie with the tests of their readers.
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "tests" / "checkpoints"))


@pytest.fixture(scope="session")
def golden(shared):
    return Golden(shared / "specs" / "anscombe")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def loaded():
    """A module with weights of a checkpoint held in memory, by the importer."""
    import torch

    from rawzoo.zoo.checkpoints import Checkpoint, Tensor
    from rawzoo_anscombe import importer

    def load(module, variables, model=None):
        held = {name: Tensor(v.shape, v.dtype, Path("memory"), lambda v=v: v) for name, v in variables.items()}
        matches = importer.detect(Checkpoint(Path("memory"), "tensorflow", held))
        match = next(m for m in matches if model in (None, m.model))
        state = {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in match.convert().items()}
        module.load_state_dict(state)
        return module.eval()

    return load
