"""Whatever is done to a file, reading it succeeds or gives a WeightsError: no other error, no hang, no memory."""

import shutil
import tracemalloc

import numpy as np
import pytest
import scipy.io
import torch
from checkpoint_writers import write_graph, write_tensorflow, write_tflite
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import read, sstable, tensorflow

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(120)]


def arrays():
    rng = np.random.default_rng(0)
    return {"a/kernel": rng.random((3, 3, 2, 2), np.float32), "a/bias": rng.random(2, np.float32), "n": np.arange(3)}


def tensors():
    return {name.replace("/", "."): torch.from_numpy(array) for name, array in arrays().items()}


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = torch.nn.Conv2d(1, 2, 3)

    def forward(self, x):
        return self.conv(x)


MAKERS = {
    "safetensors": lambda path, _: save_file(tensors(), path),
    "zip": lambda path, _: torch.save({"state_dict": tensors(), "epoch": 1}, path),
    "legacy": lambda path, _: torch.save(tensors(), path, _use_new_zipfile_serialization=False),
    "torchscript": lambda path, _: torch.jit.script(Net()).save(path),
    "tensorflow": lambda path, _: write_tensorflow(path.with_suffix(""), arrays()),
    "slices": lambda path, files: [
        shutil.copy(f, path.with_suffix(f.name.removeprefix("model.ckpt-3"))) for f in (files / "v1").glob("model*")
    ],
    "graph": lambda path, _: write_graph(path, arrays()),
    "tensorflow's graph": lambda path, files: shutil.copy(files / "frozen.pb", path),
    "tflite": lambda path, _: write_tflite(path, {**arrays(), "q": (np.ones((2, 2), np.int8), [1, 2], [0, 0], 1)}),
    "tensorflow's tflite": lambda path, files: shutil.copy(files / "int8.tflite", path),
    "mat": lambda path, _: scipy.io.savemat(path, {"net": {"w": arrays()["a/kernel"], "n": "x"}}, appendmat=False),
    "compressed mat": lambda path, _: scipy.io.savemat(path, {"a": arrays()}, appendmat=False, do_compression=True),
}

FUZZING = settings(max_examples=200, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
CHANGES = st.tuples(
    st.lists(
        st.tuples(st.floats(0, 1, exclude_max=True), st.one_of(st.sampled_from([0, 1, 127, 255]), st.integers(0, 255))),
        max_size=6,
    ),
    st.none() | st.floats(0, 1),
    st.none() | st.tuples(*[st.floats(0, 1)] * 3),
)


def changed(data, change):
    """Bytes replaced, the end cut off, a stretch copied to another place."""
    replaced, cut, copied = change
    data = bytearray(data)
    for place, value in replaced:
        data[int(place * len(data))] = value
    if cut is not None:
        del data[int(cut * len(data)) :]
    if copied is not None:
        start, length, target = (int(part * len(data)) for part in copied)
        data[target:target] = data[start : start + length // 4]
    return bytes(data)


def read_all(path):
    message = None
    try:
        found = read(path)
        for tensor in (*found.tensors.values(), *found.averages.values()):
            array = tensor.numpy()
            assert (array.shape, array.dtype) == (tensor.shape, tensor.dtype)
    except WeightsError as error:
        message = str(error)
    assert message is None or ("\n" not in message and path.stem in message)


def fuzz(path, whole, change):
    path.write_bytes(changed(whole, change))
    tracemalloc.start()
    try:
        read_all(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200 * max(len(whole), 10_000)


@pytest.mark.parametrize("kind", MAKERS)
def test_mutations(kind, files, tmp_path):
    path = tmp_path / ("net.index" if kind in ("tensorflow", "slices") else "net")
    MAKERS[kind](path, files)
    whole = path.read_bytes()
    read_all(path)  # also imports what is imported late

    @FUZZING
    @given(CHANGES)
    def mutate(change):
        fuzz(path, whole, change)

    mutate()


@pytest.mark.parametrize(("folder", "index"), [("v1", "model.ckpt-3.index"), ("objects", "ckpt-1.index")])
def test_mutations_of_a_tensorflow_index_with_right_checksums(files, tmp_path, monkeypatch, folder, index):
    """Checksums stop nearly every change above; here they do not."""
    monkeypatch.setattr(sstable, "crc32c", lambda data: 0)
    monkeypatch.setattr(sstable, "unmask", lambda crc: 0)
    monkeypatch.setattr(tensorflow, "crc32c", lambda data: 0)
    shutil.copytree(files / folder, tmp_path / folder)
    path = tmp_path / folder / index
    whole = path.read_bytes()

    @FUZZING
    @given(CHANGES)
    def mutate(change):
        fuzz(path, whole, change)

    mutate()


@pytest.mark.parametrize("name", ["model.h5", "model.keras"])
def test_mutations_of_hdf5(name, files, tmp_path):
    """Fewer, for each takes a process: damaged HDF5 files crash and hang the library."""
    whole = (files / name).read_bytes()
    rng = np.random.default_rng(1)
    for i in range(12):
        data = bytearray(whole)
        for place in rng.integers(0, len(data) if i % 2 else 6000, 1 + i):
            data[place] = rng.integers(256)
        path = tmp_path / name
        path.write_bytes(data if i else data[: len(data) // 2])
        read_all(path)
