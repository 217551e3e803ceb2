"""TensorFlow checkpoints: what TensorFlow wrote, and damage and lies of every kind."""

import shutil
import tracemalloc

import numpy as np
import pytest
from checkpoint_writers import bundle_entry, crc32c, field, masked, shape_proto, table, write_tensorflow

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import read
from rawzoo.zoo.checkpoints.tensorflow import _slice_key


@pytest.fixture
def arrays():
    rng = np.random.default_rng(0)
    return {f"net/layer{i}/kernel": rng.standard_normal((3, 3, i + 1)).astype(np.float32) for i in range(40)}


def test_variables_slots_averages_and_steps_of_tensorflow_1(files, expected, assert_same):
    found = read(files / "v1" / "model.ckpt-3")
    assert (found.format, found.path) == ("tensorflow", files / "v1" / "model.ckpt-3")
    values = expected("v1")
    network = {name for name in values if name.count("/") <= 2 and name.startswith("net/") and "Adam" not in name}
    network -= {name for name in network if name.endswith("ExponentialMovingAverage")}
    assert network == {f"net/{n}" for n in ("conv/kernel", "conv/bias", "part", "half", "brain", "flags")}
    assert_same(found.tensors, {name: values[name] for name in network})
    averaged = {n: values[f"{n}/ExponentialMovingAverage"] for n in ("net/conv/kernel", "net/conv/bias")}
    assert_same(found.averages, averaged)
    assert found.metadata["step"] == 3
    slots = {f"net/{n}/Adam{i}" for n in ("conv/kernel", "conv/bias", "part") for i in ("", "_1")}
    assert set(found.metadata["left_out"]) == slots | {"net/text", "global_step", "beta1_power", "beta2_power"}
    assert [file.name for file in found.files] == ["model.ckpt-3.index", "model.ckpt-3.data-00000-of-00001"]


@pytest.mark.parametrize(
    "name", ["", "checkpoint", "model.ckpt-3", "model.ckpt-3.index", "model.ckpt-3.data-00000-of-00001"]
)
def test_every_way_to_name_it(files, name):
    """The file ``checkpoint`` names a path of another machine; what is meant lies beside it."""
    assert len(read(files / "v1" / name).tensors) == 6


def test_object_graph_gives_the_names_of_the_program(files, expected, assert_same):
    found = read(files / "objects")
    assert_same(found.tensors, expected("keras"))
    assert found.metadata["step"] == 7


def test_saved_model_folder(files, expected, assert_same, tmp_path):
    (tmp_path / "variables").mkdir()
    for file in (files / "objects").glob("ckpt-1.*"):
        shutil.copy(file, tmp_path / "variables" / file.name.replace("ckpt-1", "variables"))
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12\x00")
    for path in (tmp_path, tmp_path / "saved_model.pb"):
        assert_same(read(path).tensors, expected("keras"))


def test_our_own_writer(tmp_path, arrays, assert_same):
    """Several blocks, shared prefixes, names in the file's order."""
    index = write_tensorflow(tmp_path / "model", arrays)
    found = read(index)
    assert_same(found.tensors, arrays)
    assert list(found.tensors) == sorted(arrays)


def test_a_scope_that_is_called_like_a_slot_is_no_slot(tmp_path, assert_same):
    arrays = {"a/Adam": np.ones(3, np.float32), "a": np.ones(2, np.float32), "b/Momentum": np.ones(1, np.float32)}
    assert_same(read(write_tensorflow(tmp_path / "model", arrays)).tensors, arrays)


@pytest.mark.parametrize(
    ("start", "length"), [(0, 5), (63, 64), (64, 8191), (8192, 1 << 20), (1 << 40, -1), (-65, -64)]
)
def test_keys_of_slices(start, length):
    """The ordered code of each number, from its description: n ones, a zero, 7n - 1 bits; inverted below 0."""

    def code(value):
        bits, size = value if value >= 0 else ~value, 1
        while bits >= 1 << (7 * size - 1):
            size += 1
        text = "1" * size + "0" + format(bits, f"0{7 * size - 1}b")
        if value < 0:
            text = text.translate({48: 49, 49: 48})
        return int(text, 2).to_bytes(size, "big")

    assert _slice_key(b"a\0\xffb", ((start, length),)) == (
        b"\0" + b"a\0\xff\xff\x00b\0\1" + b"\1\1" + code(start) + code(length)
    )


def test_missing_parts(files, tmp_path):
    shutil.copytree(files / "v1", tmp_path, dirs_exist_ok=True)
    data = tmp_path / "model.ckpt-3.data-00000-of-00001"
    data.unlink()
    with pytest.raises(WeightsError, match=f"{data.name} is missing; copy all files"):
        read(tmp_path / "model.ckpt-3.index")
    (tmp_path / "model.ckpt-3.index").unlink()
    data.touch()
    for name in (data.name, "checkpoint"):
        with pytest.raises(WeightsError, match=r"needs model\.ckpt-3\.index beside it"):
            read(tmp_path / name)


def test_checksums_are_verified(tmp_path, arrays):
    index = write_tensorflow(tmp_path / "model", arrays)
    data = tmp_path / "model.data-00000-of-00001"
    raw = bytearray(data.read_bytes())
    raw[5] ^= 1
    data.write_bytes(raw)
    found = read(index)
    with pytest.raises(WeightsError, match="the checksum of a variable does not match"):
        found.tensors["net/layer0/kernel"].numpy()
    found.tensors["net/layer1/kernel"].numpy()
    raw = bytearray(index.read_bytes())
    raw[20] ^= 1
    index.write_bytes(raw)
    with pytest.raises(WeightsError, match="the checksum of its index does not match"):
        read(index)


HUGE = (1 << 20, 1 << 20)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({b"a": bundle_entry(1, HUGE, 0, 4 << 40, 0)}, "larger than the file"),
        ({b"a": bundle_entry(1, (4,), 0, 1 << 40, 0)}, "are not a tensor of shape"),
        ({b"a": bundle_entry(1, (4,), 10**6, 16, 0)}, "are not a tensor of shape"),
        ({b"a": bundle_entry(1, (4,), -8, 16, 0)}, "are not a tensor of shape"),
        ({b"a": bundle_entry(1, (-4,), 0, 16, 0)}, "is no shape"),
        ({b"a": bundle_entry(1, (4,), 0, 16, 0, shard=7)}, "a data file it does not have"),
        ({b"a": bundle_entry(1, HUGE, 0, 0, 0, extra=field(7, field(1, b"") * 2))}, "is damaged"),
        (
            {
                b"a": bundle_entry(1, HUGE, 0, 0, 0, extra=field(7, field(1, b"") * 2)),
                _slice_key(b"a", ((0, -1), (0, -1))): bundle_entry(1, HUGE, 0, 4 << 40, 0),
            },
            "larger than the file",
        ),
        ({b"a": b"\x0b"}, "a field of unknown kind"),
        ({b"a": field(2, b"\xff")}, "index out of range"),
    ],
)
def test_lies(tmp_path, entries, message):
    """Checksums are right, numbers are not; nothing is allocated for them."""
    index = write_tensorflow(tmp_path / "model", {"b": np.ones(100, np.float32)})
    index.write_bytes(table({b"": field(1, 1), **entries}))
    tracemalloc.start()
    try:
        with pytest.raises(WeightsError, match=message) as caught:
            read(index)
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
    assert str(index) in str(caught.value)


def test_what_is_not_supported_is_said(tmp_path, arrays):
    with pytest.raises(WeightsError, match="its index is compressed"):
        read(write_tensorflow(tmp_path / "snappy", arrays, kind=1))
    with pytest.raises(WeightsError, match="big-endian machine"):
        read(write_tensorflow(tmp_path / "big", arrays, header=field(1, 1) + field(2, 1)))


def test_table_with_endless_prefixes(tmp_path):
    """A long key shared by many entries would take the square of the file's size."""
    many = {b"k" * 3000 + bytes([i // 256, i % 256]): b"" for i in range(300)}
    index = write_tensorflow(tmp_path / "model", {})
    index.write_bytes(table(many, per_block=500))
    with pytest.raises(WeightsError, match="impossibly long"):
        read(index)


def test_whole_shape_with_slices(tmp_path, assert_same):
    """A variable of three slices along the first axis, as a partitioner leaves it."""
    array = np.arange(70 * 2, dtype=np.float32).reshape(70, 2)
    entries, data, extents = {b"": field(1, 1)}, b"", []
    for start, stop in ((0, 24), (24, 47), (47, 70)):
        part = array[start:stop]
        slices = ((start, stop - start), (0, -1))
        entries[_slice_key(b"v", slices)] = bundle_entry(
            1, part.shape, len(data), part.nbytes, masked(crc32c(part.tobytes()))
        )
        data += part.tobytes()
        first = (field(1, start) if start else b"") + field(2, stop - start)
        extents.append(field(7, field(1, first) + field(1, b"")))
    entries[b"v"] = field(1, 1) + field(2, shape_proto(array.shape)) + b"".join(extents)
    index = tmp_path / "model.index"
    index.write_bytes(table(entries))
    (tmp_path / "model.data-00000-of-00001").write_bytes(data)
    assert_same(read(index).tensors, {"v": array})
    entries[b"v"] = field(1, 1) + field(2, shape_proto((71, 2))) + b"".join(extents)
    index.write_bytes(table(entries))
    with pytest.raises(WeightsError, match="its slices do not make up the variable"):
        read(index)
