"""What is said about memory holds: counted over every tensor of a run, on a device that computes nothing."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from rawzoo_pynet import layers, memory
from rawzoo_pynet.network import PyNet


class Peak(TorchDispatchMode):
    """Bytes of all tensors that are alive at once, at most."""

    def __init__(self):
        super().__init__()
        self.live = {}
        self.bytes = self.peak = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in self.live:
                    self.live[storage._cdata] = storage.nbytes()
                    self.bytes += storage.nbytes()
                    self.peak = max(self.peak, self.bytes)
                    weakref.finalize(storage, self.free, storage._cdata)
        return out

    def free(self, key):
        self.bytes -= self.live.pop(key)


@pytest.mark.parametrize(
    ("variant", "level", "dtype"),
    [
        ("torch", 0, torch.float32),
        ("torch", 0, torch.bfloat16),
        ("tf", 0, torch.float32),
        *(("torch", level, torch.float32) for level in range(2, 6)),
    ],
)
def test_peak(variant, level, dtype, monkeypatch):
    height, width = (1488, 2016) if level == 0 and variant == "torch" else (752, 1008)
    monkeypatch.setitem(layers._STRIPE_BYTES, "meta", layers._STRIPE_BYTES["cpu"])
    with torch.device("meta"):
        network = PyNet(variant, level).to(dtype)
        x = torch.empty(1, 4, height, width, dtype=dtype)
    with torch.inference_mode(), Peak() as found:
        network(x)
    weights = sum(p.nbytes for p in network.parameters())
    promised = memory.needed(network, dtype, height * width)
    # The interpreter and its libraries take about 400 MB more than is counted here.
    assert 0.75 * promised < found.peak + weights + (400 << 20) <= promised
    if (height, width, dtype) == (1488, 2016, torch.float32):  # 12 megapixels
        assert promised <= 5 << 30


def test_largest_square():
    with torch.device("meta"):
        network = PyNet("torch", 0)
    for allowed in (0, 1 << 30, 3 << 30, 8 << 30):
        edge = memory.largest_square(network, torch.float32, allowed)
        assert edge % 16 == 0
        assert edge == 0 or memory.needed(network, torch.float32, edge**2) <= allowed
        assert memory.needed(network, torch.float32, (edge + 16) ** 2) > allowed


def test_available():
    found = memory.available(torch.device("cpu"))
    assert found is None or 1 << 26 < found < 1 << 50
