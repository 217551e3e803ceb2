"""PyTorch checkpoints as torch writes them, and pickles that want to be executed."""

import collections
import os
import pickle
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import pickles, read

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize")


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.intro = nn.Conv2d(3, 4, 3)
        self.blocks = nn.ModuleList([nn.Linear(4, 2), nn.BatchNorm2d(2)])
        self.beta = nn.Parameter(torch.rand(1, 4, 1, 1))
        self.sizes = [1, 2]
        self.register_buffer("table", torch.arange(5))

    def forward(self, x):
        return self.intro(x) + self.beta


@pytest.fixture
def net():
    return Net().eval()


def arrays(state):
    return {name: (t.float() if t.dtype == torch.bfloat16 else t).detach().numpy() for name, t in state.items()}


FORMATS = pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])


@pytest.fixture
def save(tmp_path):
    def save(what, as_zip=True, name="net.pth"):
        torch.save(what, tmp_path / name, _use_new_zipfile_serialization=as_zip)
        return tmp_path / name

    return save


@FORMATS
def test_state_dict(net, save, assert_same, as_zip):
    found = read(save(net.state_dict(), as_zip))
    assert found.format == "pytorch"
    assert_same(found.tensors, arrays(net.state_dict()))
    assert list(found.tensors) == list(net.state_dict())


@FORMATS
def test_what_scripts_save_around_it(net, save, assert_same, as_zip):
    state = net.state_dict()
    optimiser = torch.optim.Adam(net.parameters())
    net(torch.rand(1, 3, 8, 8)).sum().backward()
    optimiser.step()
    found = read(
        save(
            {
                "epoch": 3,
                "global_step": 77,
                "state_dict": {f"module.{name}": value for name, value in state.items()},
                "optimizer": optimiser.state_dict(),
                "best": np.float64(0.5),
                "arguments": __import__("argparse").Namespace(lr=1e-3),
            },
            as_zip,
        )
    )
    assert_same(found.tensors, arrays(state))
    assert found.metadata == {"outer": ["state_dict"], "prefix": "module.", "epoch": 3, "step": 77}


def test_averages(net, save, assert_same):
    state = net.state_dict()
    averaged = {name: value * 2 for name, value in state.items()}
    found = read(save({"params": state, "params_ema": averaged}))
    assert_same(found.tensors, arrays(state))
    assert_same(found.averages, arrays(averaged))
    assert_same(read(save({"params_ema": averaged})).tensors, arrays(averaged))


def test_nothing_known_around_it(net, save, assert_same):
    found = read(
        save({"G": net.state_dict(), "D": [torch.ones(2), {"w": torch.zeros(1)}], "optimizer_G": {"x": torch.ones(3)}})
    )
    expected = {f"G.{name}": value for name, value in arrays(net.state_dict()).items()}
    assert_same(found.tensors, {**expected, "D.0": np.ones(2, np.float32), "D.1.w": np.zeros(1, np.float32)})


@FORMATS
def test_dtypes_views_and_sharing(save, assert_same, as_zip):
    names = ["float16", "bfloat16", "float32", "float64", "complex64", "complex128", "bool"]
    names += ["uint8", "int8", "int16", "int32", "int64"]
    state = {name: (torch.randn(3, 5) * 3).to(getattr(torch, name)) for name in names}
    storage = torch.randn(10)
    state |= {
        "transposed": torch.randn(6, 4).t(),
        "strided": storage[2:9:2],
        "shared": storage,
        "parameter": nn.Parameter(torch.ones(2)),
        "scalar": torch.tensor(3.5),
        "empty": torch.zeros(0, 3),
        "expanded": torch.ones(1).expand(7),
    }
    if as_zip:
        state["uint16"] = torch.tensor([1, 60000], dtype=torch.uint16)
    assert_same(read(save(state, as_zip)).tensors, arrays(state))


def test_big_endian_archive(save, tmp_path, assert_same):
    path = save({"a": torch.tensor([1.5, -2.0])})
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "big.pth", "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name.endswith("byteorder"):
                data = b"big"
            elif "/data/" in name:
                data = np.frombuffer(data, "<f4").astype(">f4").tobytes()
            new.writestr(name, data)
    assert_same(read(tmp_path / "big.pth").tensors, {"a": np.array([1.5, -2], np.float32)})


class Command:
    """Runs a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


class Attack:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@FORMATS
def test_code_is_refused_and_not_run(save, net, tmp_path, as_zip):
    marker = tmp_path / "executed"
    path = save({**net.state_dict(), "z": Command(marker)}, as_zip)
    with pytest.raises(
        WeightsError, match=r"net\.pth was refused: opening it as Python does would run code \(\w+\.system\)"
    ):
        read(path)
    assert not marker.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "attack",
    [
        Attack(eval, "1+1"),
        Attack(getattr, "x", "upper"),
        Attack(__import__, "os"),
        Attack(collections.namedtuple, "a", "b"),
        Attack(torch.load, "x"),
    ],
    ids=["eval", "getattr", "import", "namedtuple", "torch"],
)
def test_plain_pickles_are_refused(tmp_path, protocol, attack):
    path = tmp_path / "x.pth"
    text = pickle.dumps({"weights": [attack]}, protocol)
    path.write_bytes(text if protocol >= 2 else b"\x80\x02" + text)
    with pytest.raises(WeightsError, match="was refused: opening it as Python does would run code"):
        read(path)


@pytest.mark.parametrize(
    "text",
    [
        b"(S'echo'\nios\nsystem\n.",  # INST
        b"(cos\nsystem\nS'echo'\no.",  # OBJ
        b"cos\nsystem\n)\x81.",  # NEWOBJ
        b"cos\nsystem\n)}\x92.",  # NEWOBJ_EX
        b"\x8c\x02os\x8c\x06system\x93\x8c\x04echo\x85R.",  # STACK_GLOBAL
        b"ctorch._utils\n_rebuild_parameter\n(cos\nsystem\n(S'echo'\ntRtR.",  # inside a harmless call
    ],
)
def test_every_instruction_that_calls_is_refused(tmp_path, text):
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x04" + text)
    with pytest.raises(WeightsError, match=r"would run code \(os\.system\)"):
        read(path)


def test_whole_module_is_refused(save, net):
    with pytest.raises(WeightsError, match=r"would run code \(\w*test_pytorch\.Net\).*save its state_dict\(\)"):
        read(save(net))


def test_harmless_pickle_of_something_else(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps({"a": [1, 2]}))
    with pytest.raises(WeightsError, match=r"is a Python pickle that torch\.save did not write"):
        read(path)


def test_tensors_that_are_no_arrays(save):
    with pytest.raises(WeightsError, match="holds tensors that are not plain arrays"):
        read(save({"a": torch.eye(3).to_sparse()}))
    with pytest.raises(WeightsError, match="holds tensors that are not plain arrays"):
        read(save({"a": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}))


@pytest.mark.parametrize("kind", ["script", "trace"])
def test_torchscript(net, tmp_path, assert_same, kind):
    path = tmp_path / "net.pt"
    (torch.jit.script(net) if kind == "script" else torch.jit.trace(net, torch.rand(1, 3, 8, 8))).save(path)
    found = read(path)
    assert found.format == "torchscript"
    assert_same(found.tensors, arrays(net.state_dict()))


def test_frozen_torchscript(net, tmp_path):
    path = tmp_path / "net.pt"
    torch.jit.freeze(torch.jit.script(net)).save(path)
    found = {tensor.shape: tensor for tensor in read(path).tensors.values()}
    np.testing.assert_array_equal(found[4, 3, 3, 3].numpy(), net.intro.weight.detach().numpy())


def test_torchscript_code_is_refused(net, tmp_path):
    """An archive whose pickle calls something; its code, which is text, is not looked at."""
    path, evil = tmp_path / "net.pt", tmp_path / "evil.pt"
    torch.jit.script(net).save(path)
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(evil, "w") as new:
        for name in old.namelist():
            new.writestr(name, b"cos\nsystem\n(S'echo'\ntR." if name.endswith("data.pkl") else old.read(name))
    with pytest.raises(WeightsError, match=r"would run code \(os\.system\)"):
        read(evil)


def repacked(path, target, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, change(name, old.read(name)))
    return target


def test_compressed_archive(save, tmp_path):
    path = repacked(save({"a": torch.zeros(5000)}), tmp_path / "b.pth", lambda _, data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(WeightsError, match="was packed again, compressed; unpack it"):
        read(path)


def test_zip_bomb(save, tmp_path):
    def bomb(name, data):
        return b"\x80\x02" + b"0" * (50 << 20) if name.endswith("data.pkl") else data

    path = repacked(save({"a": torch.zeros(5)}), tmp_path / "b.pth", bomb, zipfile.ZIP_DEFLATED)
    tracemalloc.start()
    with pytest.raises(WeightsError, match="would grow to 52428802 bytes"):
        read(path)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def tensor_pickle(size, stride, count=4):
    """A state dict with one tensor of this size and stride over a storage of ``count`` numbers."""

    def numbers(values):
        return b"(" + b"".join(b"I%d\n" % v for v in values) + b"t"

    storage = b"(S'storage'\nctorch\nFloatStorage\nS'0'\nS'cpu'\nI%d\ntQ" % count
    call = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + b"I0\n" + numbers(size) + numbers(stride) + b"I00\nNtR"
    return b"(dS'a'\n" + call + b"s."


@pytest.mark.parametrize(
    ("size", "stride", "message"),
    [
        ((1 << 40,), (0,), "larger than the file"),
        ((1 << 20, 1 << 20), (1, 1), "larger than the file"),
        ((4,), (2,), "larger than its storage"),
        ((4,), (-1,), "impossible strides"),
        ((-4,), (1,), "is no shape"),
        ((2, 2), (1,), "impossible strides"),
    ],
)
def test_lies_about_tensors(save, tmp_path, size, stride, message):
    def lie(name, data):
        return tensor_pickle(size, stride) if name.endswith("data.pkl") else data

    path = repacked(save({"a": torch.zeros(4)}), tmp_path / "b.pth", lie)
    with pytest.raises(WeightsError, match=message):
        read(path)


def test_the_handmade_pickle_is_right(save, tmp_path, assert_same):
    path = repacked(
        save({"a": torch.arange(4.0)}),
        tmp_path / "b.pth",
        lambda name, data: tensor_pickle((2, 2), (1, 2)) if name.endswith("data.pkl") else data,
    )
    assert_same(read(path).tensors, {"a": np.array([[0, 2], [1, 3]], np.float32)})


@pytest.mark.parametrize(
    "text",
    [
        b"\x8e" + struct.pack("<Q", 1 << 60),  # a text of an exabyte
        b"r" + struct.pack("<I", 0xFFFFFFF0) + b".",  # a place in the memo far out
        b"N" + b"r" + struct.pack("<I", 0xFFFFFFF0) + b"." * 3,
        b"]" + b"2a" * 10_000,
        b"(" * 30_000,
        b"}" * 30_000,
    ],
)
def test_pickles_that_want_memory(tmp_path, monkeypatch, text):
    monkeypatch.setattr(pickles, "_MOST_INSTRUCTIONS", 20_000)
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x04" + text)
    tracemalloc.start()
    with pytest.raises(WeightsError):
        read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # 64 bytes and a place on the stack for each empty dict is the most a byte can ask for.
    assert peak < 100 * path.stat().st_size + (1 << 20)


def test_containers_that_contain_themselves(tmp_path, save, net):
    """Sharing makes a tree of any size from a few bytes; each container is looked at once."""
    nested = torch.ones(2)
    for _ in range(60):
        nested = (nested, nested)
    loop = {"deep": nested, "w": torch.zeros(3)}
    loop["itself"] = loop
    tensors = read(save(loop)).tensors
    assert {tensor.shape for tensor in tensors.values()} == {(2,), (3,)}


def test_checksum_of_a_storage(save):
    path = save({"a": torch.rand(1000)})
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    tensor = read(path).tensors["a"]
    with pytest.raises(WeightsError, match="the checksum of a tensor does not match"):
        tensor.numpy()


def test_older_than_everything(tmp_path):
    path = tmp_path / "x.pth"
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2)
    path.write_bytes(magic + pickle.dumps(999, 2) + pickle.dumps({"little_endian": True}, 2))
    with pytest.raises(WeightsError, match="a version of torch's file format that is not in use"):
        read(path)
