"""The networks against the reference's own outputs, and their two forms against each other."""

import json

import numpy as np
import pytest
import torch

from rawzoo.errors import UsageError
from rawzoo_pynet import layers
from rawzoo_pynet.network import PyNet
from rawzoo_pynet.topology import LEVELS, VARIANTS, multiplications, parts, tensors

#: Golden file -> variant and tolerance (SPEC 12).
GOLDEN = {
    "torch_32x32": ("torch", 5e-4),
    "torch_32x48": ("torch", 1e-4),
    "torch_48x64": ("torch", 5e-5),
    "tf_32x48": ("tf", 5e-5),
}

#: Levels 5 to 0 (SPEC 1.7).
PARAMETERS = {
    "torch": [18895171, 28333635, 36349123, 43202563, 47523747, 47527939],
    "tf": [18895171, 28333123, 36348355, 43201667, 47519715, 47521371],
}

VARIANT = pytest.mark.parametrize("variant", VARIANTS)


def golden(specs, name, level):
    """Input and output, ``[1, C, H, W]``."""
    file = np.load(specs / f"golden_{name}.npz")
    x, y = (torch.from_numpy(file[key]) for key in ("x", f"output_l{level}"))
    return (x.permute(0, 3, 1, 2), y.permute(0, 3, 1, 2)) if name.startswith("tf") else (x, y)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", GOLDEN)
def test_golden(specs, weights, name, level):
    variant, tolerance = GOLDEN[name]
    x, expected = golden(specs, name, level)
    network = weights.network(variant, level)
    with torch.inference_mode():
        found = network(x)
        laid_out = network(x.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, atol=tolerance, rtol=0)
    torch.testing.assert_close(laid_out, expected, atol=tolerance, rtol=0)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("name", ["torch_32x48", "tf_32x48"])
def test_golden_in_the_plain_form(specs, weights, name, level):
    variant, tolerance = GOLDEN[name]
    x, expected = golden(specs, name, level)
    found = weights.network(variant, level)(x)
    assert found.requires_grad
    torch.testing.assert_close(found.detach(), expected, atol=tolerance, rtol=0)


@VARIANT
def test_stripes_change_nothing(weights, variant, monkeypatch):
    """Of many rows or of the fewest, which are as many as the margin, for a batch too."""
    network = weights.network(variant, 0)
    x = torch.rand(2, 4, 48, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        whole = network(x)
        calls = []
        hook = network.conv_l1_d7.conv_9a.conv2d.register_forward_hook(lambda *_: calls.append(1))
        monkeypatch.setitem(layers._STRIPE_BYTES, "cpu", 1)
        striped = network(x)
        hook.remove()
        alone = network(x[1:])
    assert len(calls) == 3
    # As the golden file of this size allows for rounding.
    torch.testing.assert_close(striped, whole, atol=1e-4, rtol=0)
    torch.testing.assert_close(alone, whole[1:], atol=1e-4, rtol=0)


def test_stripes_of_every_height(monkeypatch):
    """The margin of each stripe holds what lies there before the output overwrites it."""
    layer = layers.ConvLayer(3, 3, 9, VARIANTS["torch"])
    for height in range(5, 60):
        x = torch.rand(1, 3, height, 7, generator=torch.Generator().manual_seed(height))
        with torch.inference_mode():
            expected = layer(x)
            for allowed in (1, 10000, 20000):
                monkeypatch.setitem(layers._STRIPE_BYTES, "cpu", allowed)
                own = x.clone()
                layers._striped(layers.Joined([own]), [layer], [own])
                torch.testing.assert_close(own, expected)


@pytest.mark.parametrize(("offset", "spread"), [(0, 1), (1000, 1e-2)])
def test_moments_of_pieces(offset, spread):
    """Mean and variance collected piece by piece, also where the mean is large."""
    x = offset + spread * torch.randn(2, 5, 41, 13, generator=torch.Generator().manual_seed(0))
    for pooled in (False, True):
        moments = layers._Moments(pooled)
        for top, bottom in ((0, 1), (1, 20), (20, 41)):
            moments.add(x[:, :, top:bottom])
        dims = (0, 2, 3) if pooled else (2, 3)
        variance, mean = torch.var_mean(x.double(), dims, correction=0, keepdim=True)
        torch.testing.assert_close(moments.result()[0].double(), mean, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(moments.result()[1].double(), variance, rtol=5e-3, atol=0)


@VARIANT
def test_topology(specs, variant):
    """Every tensor of the checkpoints, its shape, and their order in TensorFlow's."""
    own = [tensor for part in parts(variant) for tensor in tensors(part, variant)]
    if variant == "torch":
        listed = json.loads((specs / "params.json").read_text())["tensors"]
        assert {t.name: list(t.shape) for t in own} == {t["name"]: t["shape"] for t in listed}
    else:
        listed = json.loads((specs / "tf_map.json").read_text())["tensors"]
        assert [(t.name, list(t.tensorflow_shape)) for t in own] == [(t["torch_name"], t["tf_shape"]) for t in listed]


@VARIANT
def test_each_level_has_what_it_needs(variant):
    for level, expected in zip(reversed(LEVELS), PARAMETERS[variant], strict=True):
        with torch.device("meta"):
            state = PyNet(variant, level).state_dict()
        assert sum(value.numel() for value in state.values()) == expected
        needed = {t.name: t.shape for part in parts(variant) if part.serves(level) for t in tensors(part, variant)}
        assert {name: tuple(value.shape) for name, value in state.items()} == needed


@pytest.mark.parametrize(
    ("level", "counted"),
    [(5, 157_878), (4, 305_442), (3, 806_394), (2, 2_518_954), (1, 6_818_570), (0, 6_820_298)],
)
def test_multiplications(level, counted):
    """SPEC 12's table counts the reference, which runs the heads of smaller pictures and the next upsampling too."""
    unused = 0.0
    for part in parts("torch"):
        if part.level > level if part.kind == "head" else part.kind == "up" and part.level == level - 1:
            unused += part.inputs * part.outputs * 9 * 4.0 ** (1 - part.size)
    assert multiplications("torch", level) == counted - unused


@VARIANT
def test_every_parameter_has_a_gradient(variant):
    network = PyNet(variant, 0)
    network(torch.rand(1, 4, 32, 32)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


@pytest.mark.parametrize("size", [(16, 64), (64, 16), (40, 64), (64, 33)])
def test_other_sizes_are_refused(size):
    with torch.device("meta"):
        network = PyNet("tf", 5)
    with pytest.raises(UsageError, match=f"multiples of 16 and at least 32, not {size[0]} x {size[1]}"):
        network(torch.empty(1, 4, *size, device="meta"))


@pytest.mark.parametrize(("variant", "level"), [("keras", 0), ("torch", 6), ("tf", -1)])
def test_other_networks_are_refused(variant, level):
    with pytest.raises(UsageError, match="variants torch, tf and levels 0 to 5"):
        PyNet(variant, level)


@VARIANT
def test_export_takes_the_plain_form(variant):
    """What is traced knows no stripes: one convolution each, for every size."""
    network = PyNet(variant, 5).eval()
    with torch.no_grad():
        graph = torch.export.export(network, (torch.rand(1, 4, 32, 32),)).graph
    kinds = [str(node.target) for node in graph.nodes if node.op == "call_function"]
    convolutions = sum(2 * len(p.kernels) if p.kind == "block" else 1 for p in parts(variant) if p.serves(5))
    assert sum("conv" in kind for kind in kinds) == convolutions
    assert not any("copy_" in kind for kind in kinds)
