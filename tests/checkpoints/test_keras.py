"""Keras models and the HDF5 in them."""

import zipfile

import h5py
import numpy as np
import pytest

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import hdf5, read


def test_archive_of_keras(files, expected, assert_same):
    found = read(files / "model.keras")
    values = expected("keras")
    layers = {"conv2d": "first", "depthwise_conv2d": "depthwise_conv2d", "dense": "dense"}
    assert_same(
        found.tensors,
        {
            f"layers/{inside}/vars/{i}": values[f"net/{layer}/{kind}"]
            for inside, layer in layers.items()
            for i, kind in enumerate(("kernel", "bias"))
        },
    )
    assert found.format == "keras"
    assert found.metadata["config"]["class_name"] == "Sequential"


def test_older_file_of_keras(files, expected, assert_same):
    found = read(files / "model.h5")
    assert_same(found.tensors, expected("keras"))
    assert list(found.tensors)[:2] == ["net/first/kernel", "net/first/bias"]
    assert found.metadata["config"]["config"]["name"] == "net"


@pytest.mark.parametrize("target", ["pisp", "vc4"])
def test_published_models(shared, assert_same, target):
    folder = shared / "data" / "awb" / "models"
    with np.load(folder / f"weights_{target}.npz") as archive:
        trained = {
            f"layers/{name.replace('kernel', 'vars/0').replace('bias', 'vars/1')}": archive[name] for name in archive
        }
    found = read(folder / f"model_{target}.keras")
    assert_same(found.tensors, trained)
    assert "optimizer/vars/0" in found.metadata["left_out"]


def test_weights_only_and_long_lists(tmp_path, assert_same):
    """Keras cuts a list of names that is longer than an attribute may be."""
    arrays = {f"layer{i}/kernel": np.full((2, i + 1), i, np.float32) for i in range(4)}
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.attrs["layer_names0"] = np.array([b"layer3", b"layer0"])
        file.attrs["layer_names1"] = np.array([b"layer2", b"layer1"])
        for name, array in arrays.items():
            group = file.create_group(name.split("/")[0])
            group.attrs["weight_names"] = np.array([f"{name}:0".encode()])
            group[f"{name}:0"] = array
    found = read(tmp_path / "w.h5")
    assert_same(found.tensors, arrays)
    assert [name[5] for name in found.tensors] == ["3", "0", "2", "1"]


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_layouts_and_filters(tmp_path, assert_same, version):
    rng = np.random.default_rng(0)
    arrays = {
        "plain": rng.random((5, 7)).astype(np.float32),
        "big": rng.random((3, 2)).astype(">f8"),
        "chunked": rng.random((23, 17)).astype(np.float32),
        "all": rng.integers(0, 9, (40, 30)).astype(np.int32),
        "scalar": np.array(3.5),
        "empty": np.zeros((0, 3), np.float32),
        "never": np.zeros((4, 4), np.float32),
        "half": rng.random(9).astype(np.float16),
    }
    path = tmp_path / "w.h5"
    with h5py.File(path, "w", libver=version) as file:
        group = file.create_group("deep/er")
        for name in ("plain", "big", "scalar", "empty", "half"):
            group[name] = arrays[name]
        file.create_dataset("chunked", data=arrays["chunked"], chunks=(5, 6))
        file.create_dataset("all", data=arrays["all"], chunks=(7, 7), compression=9, shuffle=True, fletcher32=True)
        file.create_dataset("never", shape=(4, 4), dtype="f4")
        compact = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        compact.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple((3,))
        dataset = h5py.h5d.create(file.id, b"compact", h5py.h5t.IEEE_F32LE, space, compact)
        dataset.write(space, space, np.array([1, 2, 3], np.float32))
        file["text"] = "no number"
        file["elsewhere"] = h5py.ExternalLink("/etc/passwd", "/")
        file["again"] = h5py.SoftLink("/deep/er/plain")
    expected = {("" if n in ("chunked", "all", "never") else "deep/er/") + n: a for n, a in arrays.items()}
    expected["deep/er/big"] = arrays["big"].astype(np.float64)
    expected["compact"] = np.array([1, 2, 3], np.float32)
    found = read(path)
    assert_same(found.tensors, expected)
    assert found.metadata["left_out"] == ["text"]


def test_archive_packed_again(files, tmp_path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(files / "model.keras") as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    with pytest.raises(WeightsError, match="was packed again, compressed"):
        read(path)


def test_bit_rot_in_the_archive(files, tmp_path):
    data = bytearray((files / "model.keras").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model.keras").write_bytes(data)
    with pytest.raises(WeightsError, match="checksum"):
        read(tmp_path / "model.keras")


def test_sizes_that_nothing_justifies(tmp_path):
    """Never written, or compressed a thousandfold: the file would be small and the tensor huge."""
    for name, options in (("never", {}), ("zeros", {"chunks": (1 << 10, 1 << 10), "compression": 9})):
        with h5py.File(tmp_path / "w.h5", "w") as file:
            file.create_dataset(name, shape=(1 << 20, 1 << 20), dtype="f4", **options)
        with pytest.raises(WeightsError, match="larger than the file"):
            read(tmp_path / "w.h5")


def test_unknown_filter(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file.create_dataset("x", data=np.arange(100.0), chunks=(10,), compression="lzf")
    with pytest.raises(WeightsError, match=r"compressed in a way rawzoo does not know \(HDF5 filter 32000\)"):
        read(tmp_path / "w.h5")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("while True: pass", r"could not be read within 0\.5 s"),
        ("import os; os.abort()", "the HDF5 library crashed on it"),
        ("raise OSError('no such thing')", "no such thing"),
    ],
)
def test_library_that_hangs_or_crashes(files, monkeypatch, code, message):
    monkeypatch.setattr(hdf5, "_TIMEOUT_S", 0.5)
    monkeypatch.setattr(hdf5, "_START", code)
    with pytest.raises(WeightsError, match=message):
        read(files / "model.h5")


def test_without_h5py(files, monkeypatch):
    monkeypatch.setattr(hdf5.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(
        WeightsError, match=r"h5py, which reads these, is not installed; run pip install 'rawzoo\[import\]'"
    ):
        read(files / "model.keras")


def test_current_folder_is_not_imported_from(files, tmp_path, monkeypatch):
    """A download folder may hold a file called h5py.py."""
    (tmp_path / "h5py.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')")
    monkeypatch.chdir(tmp_path)
    assert read(files / "model.h5").tensors
    assert not (tmp_path / "executed").exists()


def test_config_that_is_no_json(tmp_path, files):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(files / "model.keras") as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            new.writestr(name, "[" * 100_000 if name == "config.json" else old.read(name))
    with pytest.raises(WeightsError, match="is damaged"):
        read(path)
