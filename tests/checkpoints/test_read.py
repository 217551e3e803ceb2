"""Formats are told from the content; safetensors; files that are none of it."""

import json
import shutil
import struct
import tracemalloc

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import FORMATS, read


def test_safetensors(tmp_path, assert_same):
    names = ["float64", "float32", "float16", "bfloat16", "bool"]
    names += [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
    tensors = {name: torch.tensor([[1.0, 0.0, 5.0]]).to(getattr(torch, name)) for name in names}
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 4)
    path = tmp_path / "x.safetensors"
    save_file(tensors, path, {"from": "here"})
    found = read(path)
    arrays = {name: (t.float() if t.dtype == torch.bfloat16 else t).numpy() for name, t in tensors.items()}
    assert_same(found.tensors, arrays)
    assert found.metadata["header"] == {"from": "here"}


def header(entries):
    text = json.dumps(entries).encode() if not isinstance(entries, bytes) else entries
    return struct.pack("<Q", len(text)) + text


@pytest.mark.parametrize(
    "content",
    [
        header({"a": {"dtype": "F32", "shape": [1 << 40], "data_offsets": [0, 4 << 40]}}),
        header({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}) + bytes(4),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}}) + bytes(4),
        header({"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}) + bytes(4),
        header({"a": {"dtype": "F32", "shape": [1.0], "data_offsets": [0, 4]}}) + bytes(4),
        header({"a": [1]}),
        header(b"{" * 100_000),
        header(b"{\xff}"),
    ],
)
def test_lies_of_safetensors(tmp_path, content):
    path = tmp_path / "x.safetensors"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(WeightsError, match=r"x\.safetensors is damaged or cut off \("):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


def test_formats_are_told_from_the_content(files, tmp_path):
    torch.save({"a": torch.ones(2)}, tmp_path / "zip")
    torch.save({"a": torch.ones(2)}, tmp_path / "legacy", _use_new_zipfile_serialization=False)
    save_file({"a": torch.ones(2)}, tmp_path / "safe")
    kinds = {
        tmp_path / "zip": "pytorch",
        tmp_path / "legacy": "pytorch",
        tmp_path / "safe": "safetensors",
        files / "model.keras": "keras",
        files / "model.h5": "keras",
        files / "float.tflite": "tflite",
        files / "frozen.pb": "tensorflow-graph",
    }
    for path, kind in kinds.items():
        shutil.copy(path, tmp_path / "weights.xyz")
        found = read(tmp_path / "weights.xyz")
        assert found.format == kind
        assert kind in FORMATS
        assert found.tensors


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"hello, world" * 10, bytes(1000), b"PK\3\4" + bytes(100), np.arange(999.0).tobytes()]
)
def test_something_else(tmp_path, content):
    path = tmp_path / "x.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"x\.pth is (no checkpoint rawzoo can read; it reads: safetensors|damaged)"):
        read(path)


def test_missing(tmp_path):
    for path in (tmp_path / "x.pth", tmp_path):
        with pytest.raises(WeightsError, match="does not exist; check the path"):
            read(path)


def test_file_that_changes_while_it_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(200)}, path)
    tensor = read(path).tensors["a"]
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(WeightsError, match="it became shorter"):
        tensor.numpy()
    path.unlink()
    with pytest.raises(WeightsError, match="cannot be read: No such file"):
        tensor.numpy()


def test_reading_needs_no_torch():
    """Whoever only wants to look into a file does not wait for torch."""
    import subprocess
    import sys

    code = "import sys, rawzoo.zoo.checkpoints; print(sorted({'torch', 'h5py', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
