"""Checkpoints written here in the published layouts, with the golden weights."""

from pathlib import Path

import checkpoint_writers
import numpy as np
import pytest
import torch
from test_pynet_network import GOLDEN, golden

import rawzoo
from rawzoo.errors import UsageError, WeightsError
from rawzoo.zoo import checkpoints, importing
from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo.zoo.checkpoints.crc32c import crc32c
from rawzoo_pynet import importer
from rawzoo_pynet.topology import LEVELS


def write(path, variant, tensors, prefix="module."):
    """A checkpoint as the framework writes it; gives the path a user would name."""
    if variant == "torch":
        torch.save({prefix + name: torch.from_numpy(array) for name, array in tensors.items()}, path)
        return path
    return checkpoint_writers.write_tensorflow(path, tensors)


def check(specs, name, level, weights):
    variant, tolerance = GOLDEN[name]
    x, expected = golden(specs, name, level)
    found = rawzoo.load(f"pynet-{variant}-{level}", weights=weights).run(x[0])
    torch.testing.assert_close(found, expected[0], atol=tolerance, rtol=0)


@pytest.mark.parametrize("prefix", ["module.", ""])
def test_pytorch(specs, published, tmp_path, prefix):
    path = write(tmp_path / "pynet_level_0_epoch_24.pth", "torch", published["torch"], prefix)
    done = importing.import_checkpoint(path)
    assert (done.provenance.model, done.name) == ("pynet-torch-0", "pynet-level-0-epoch-24")
    assert done.provenance.description == "PyNET, PyTorch, level 0, epoch 24"
    assert done.tensors == 532  # 542 without the heads of levels 1 to 5
    check(specs, "torch_48x64", 0, None)


def test_tensorflow(specs, published, tmp_path, monkeypatch):
    # The writer's own sum of 190 MB would take minutes; its small ones are compared elsewhere.
    monkeypatch.setattr(checkpoint_writers, "crc32c", crc32c)
    write(tmp_path / "pynet_level_0_iteration_100000.ckpt", "tf", published["tf"])
    done = importing.import_checkpoint(tmp_path / "pynet_level_0_iteration_100000.ckpt")
    assert done.provenance.model == "pynet-tf-0"
    assert done.provenance.description == "PyNET, TensorFlow, level 0, iteration 100000"
    check(specs, "tf_32x48", 0, "pynet-level-0-iteration-100000")
    # No other level can be meant, but under a name that does not tell, any.
    with pytest.raises(UsageError, match="not for pynet-tf-3, it was recognised as pynet-tf-0"):
        importing.import_checkpoint(tmp_path / "pynet_level_0_iteration_100000.ckpt.index", model="pynet-tf-3")


def test_level_in_no_name(specs, published, tmp_path):
    path = write(tmp_path / "mine.pth", "torch", published["torch"])
    with pytest.raises(UsageError, match=r"mine\.pth could be one of several: pynet-torch-0 \(PyNET, PyTorch, level 0"):
        importing.import_checkpoint(path)
    importing.import_checkpoint(path, model="pynet-torch-4", name="four")
    check(specs, "torch_48x64", 4, "four")
    with pytest.raises(UsageError, match="not for pynet-tf-4"):
        importing.import_checkpoint(path, model="pynet-tf-4")


def held(tensors, name="x.pth"):
    """A checkpoint in memory."""
    return Checkpoint(
        Path(name),
        "pytorch",
        {key: Tensor(a.shape, a.dtype, Path(name), lambda a=a: a) for key, a in tensors.items()},
    )


@pytest.mark.parametrize("variant", ["torch", "tf"])
@pytest.mark.parametrize("level", LEVELS)
def test_every_level(published, weights, variant, level):
    """By the file's name, and the tensors are those of the network."""
    found = held(published[variant], f"pynet_level_{level}_epoch_7.pth")
    (match,) = importer.detect(found)
    assert match.model == f"pynet-{variant}-{level}"
    expected = weights.network(variant, level).state_dict()
    tensors = match.convert()
    assert tensors.keys() == expected.keys()
    for name, array in tensors.items():
        np.testing.assert_array_equal(array, expected[name])


def test_half_precision_becomes_float32(published):
    halves = {name: array.astype(np.float16) for name, array in published["torch"].items()}
    (match,) = importer.detect(held(halves, "pynet_level_5.pth"))
    assert {array.dtype for array in match.convert().values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("variant", ["torch", "tf"])
def test_other_networks_are_not_taken(published, variant):
    tensors = published[variant]
    first, *_, last = tensors
    assert importer.detect(held({})) == []
    assert importer.detect(held({k: v for k, v in tensors.items() if k != last})) == []
    assert importer.detect(held(tensors | {"more": tensors[last]})) == []
    assert importer.detect(held(tensors | {first: tensors[first][..., :2]})) == []
    assert len(importer.detect(held(dict(reversed(tensors.items()))))) == 6


def test_torn_file_is_refused(published, tmp_path):
    path = write(tmp_path / "pynet_level_5.pth", "torch", published["torch"])
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(WeightsError, match=r"pynet_level_5\.pth"):
        checkpoints.read(path)
