"""The networks against the golden files, and against what they promise."""

import numpy as np
import pytest
import torch
from anscombe_golden import nchw, nhwc
from torch import nn

from rawzoo.errors import UsageError
from rawzoo_anscombe.classifiers import ChenUNet, DeeperMobileNetV1, JointNetwork, MobileNetV1
from rawzoo_anscombe.isp import AnscombeISP, Restorer, bayer_mask
from rawzoo_anscombe.plugin import CARDS


def assert_close(found, expected, tolerance=1e-5):
    """Largest difference, of full scale: the largest output, 1 at least."""
    allowed = tolerance * max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(found, expected, rtol=0, atol=allowed)


@pytest.fixture(params=["recorded", "not recorded"])
def gradients(request):
    """Both ways: batch normalisation as it is, and folded into the convolutions."""
    with torch.set_grad_enabled(request.param == "recorded"):
        yield


ISP_CASES = {
    "base": ({}, ("alpha", "sigma")),
    "no_noise_ch": ({"noise_channel": False}, ("alpha", "sigma")),
    "iters4": ({"num_iters": 4}, ("alpha", "sigma")),
    "real": ({}, ("alpha3", "sigma3")),
    "plain": ({"use_anscombe": False, "noise_channel": False}, ()),
    "plain_noise_ch": ({"use_anscombe": False}, ("alpha", "sigma")),
}


@pytest.mark.parametrize("case", ISP_CASES)
def test_isp(golden, loaded, gradients, case):
    options, noise = ISP_CASES[case]
    file = golden.file("isp")
    variables = golden.isp(options.get("num_iters", 1), options.get("noise_channel", True))
    network = AnscombeISP(**options)
    count = sum(v.size for v in variables.values())
    assert count == {"iters4": 192305, "no_noise_ch": 48005, "plain": 48005}.get(case, 48077)
    tensors = [v for k, v in network.state_dict().items() if not k.endswith("num_batches_tracked")]
    assert sum(t.numel() for t in tensors) == count
    assert len(tensors) == len(variables)
    network = loaded(network, variables)
    rgb = nchw(file["rgb_u8"] / np.float32(255))
    y = rgb * bayer_mask(rgb)
    parameters = [torch.from_numpy(file[name]) for name in noise]
    assert_close(nhwc(network(y, *parameters).detach()), file[f"{case}/outputs"])
    if network.use_anscombe:
        f, bounds = network.normalise(y, *parameters)
        assert_close(nhwc(f), file[f"{case}/post_anscombe"])
        g = network.denoise(f, bounds.scale).detach()
        assert_close(nhwc(g), file[f"{case}/pre_inv_anscombe"])


@pytest.mark.parametrize("size", [128, 32])
def test_mobilenet(golden, loaded, gradients, size):
    file = golden.file("mobilenet_v1")
    network = loaded(MobileNetV1(), golden.mobilenet(), "mobilenet-v1")
    seen = {}
    for name, layer in network.layers.named_children():
        layer.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: nhwc(out.detach())}))
    network.dropout.register_forward_hook(lambda _m, _i, out: seen.update(avgpool=nhwc(out.detach())))
    logits = network(nchw(2 * (file[f"rgb_u8_{size}"] / np.float32(255)) - 1)).detach()
    assert_close(logits.numpy(), file[f"logits_{size}"])
    assert_close(logits.softmax(1).numpy(), file[f"pred_{size}"])
    assert_close(seen["avgpool"], file[f"avgpool_{size}"])
    if size == 32:
        assert_close(seen["Conv2d_0"][:1], file["conv2d_0_32"])
        assert_close(seen["Conv2d_1_depthwise"][:1], file["conv2d_1_depthwise_32"])
        assert_close(seen["Conv2d_13_pointwise"], file["conv2d_13_pointwise_32"])


@pytest.mark.parametrize(("prefix", "size", "noise"), [("", 128, ""), ("real/", 64, "3")])
def test_joint(golden, loaded, gradients, prefix, size, noise):
    file = golden.file("joint")
    network = loaded(JointNetwork(), golden.joint())
    rgb = nchw(file[f"rgb_u8_{size}"] / np.float32(255))
    parameters = [torch.from_numpy(file[name + noise]) for name in ("alpha", "sigma")]
    y = rgb * bayer_mask(rgb)
    picture = network.restore(y, *parameters).detach()
    assert_close(nhwc(picture), file[f"{prefix}mobilenet_input_{size}"])
    assert_close(network(y, *parameters).detach().numpy(), file[f"{prefix}logits_{size}"])


def test_sizes(golden):
    def count(module, trained=False):
        if trained:
            return sum(p.numel() for p in module.parameters())
        return sum(v.numel() for k, v in module.state_dict().items() if not k.endswith("num_batches_tracked"))

    assert (count(MobileNetV1()), count(MobileNetV1(), True)) == (4254889, 4233001)
    assert (count(JointNetwork()), count(JointNetwork(), True)) == (4302966, 4280662)
    assert count(DeeperMobileNetV1()) == 4742821
    assert count(AnscombeISP(), True) == 47661
    isp = {layer.eps for layer in AnscombeISP().modules() if isinstance(layer, nn.BatchNorm2d)}
    assert isp == {1e-4}


def chen(x, v):
    """The U-Net in float64, by its description, with other operations than the module's; NHWC."""
    root = "MobilenetV1/gauss_den_chen_unet/"

    def conv(x, name, act=True):
        w = v[f"{root}{name}/weights"].astype(float)
        reach = w.shape[0] // 2
        windows = np.lib.stride_tricks.sliding_window_view(
            np.pad(x, ((reach, reach), (reach, reach), (0, 0))), w.shape[:2], axis=(0, 1)
        )
        x = np.einsum("hwcyx,yxco->hwo", windows, w)
        n = {
            k: v[f"{root}{name}/BatchNorm/{k}"].astype(float)
            for k in ("gamma", "beta", "moving_mean", "moving_variance")
        }
        x = (x - n["moving_mean"]) / np.sqrt(n["moving_variance"] + 1e-3) * n["gamma"] + n["beta"]
        return np.maximum(0.2 * x, x) if act else x

    def pool(x):
        h, w, c = x.shape
        x = np.pad(x, ((0, h % 2), (0, w % 2), (0, 0)), constant_values=-np.inf)
        return x.reshape(-(-h // 2), 2, -(-w // 2), 2, c).max((1, 3))

    def up(x, skip, name):
        larger = np.einsum("hwi,yxoi->hywxo", x, v[root + name].astype(float))
        h, y, w, z, o = larger.shape
        return np.concatenate([larger.reshape(h * y, w * z, o)[: skip.shape[0], : skip.shape[1]], skip], 2)

    skips = []
    for level in range(1, 6):
        x = conv(conv(x if level == 1 else pool(x), f"g_conv{level}_1"), f"g_conv{level}_2")
        skips.append(x)
    for level, name in zip(range(6, 10), ("Variable", "Variable_1", "Variable_2", "Variable_3"), strict=True):
        x = up(x, skips[9 - level], name)
        x = conv(conv(x, f"g_conv{level}_1"), f"g_conv{level}_2")
    return conv(x, "g_conv10", act=False)


@pytest.mark.parametrize("size", [(32, 32), (37, 50)])
def test_baseline_unet(golden, loaded, gradients, size):
    variables = golden.of("deeper_mobilenet_v1")
    network = loaded(DeeperMobileNetV1(), variables)
    x = np.random.default_rng(0).uniform(-1, 1, (*size, 3))
    expected = chen(x, variables)
    found = nhwc(network.unet(nchw(x[None].astype(np.float32))).detach())[0]
    assert_close(found, expected)
    whole = network(nchw(x[None].astype(np.float32))).detach().numpy()
    alone = loaded(MobileNetV1(), {k: v for k, v in variables.items() if "chen" not in k}, "mobilenet-v1")
    assert_close(whole, alone(nchw(expected[None].astype(np.float32))).detach().numpy(), 1e-4)


@pytest.mark.parametrize("unbiased", [False, True])
def test_transform_and_its_inverse(golden, unbiased):
    """Means of transformed data come back as the golden inverses say, in units of the gain."""
    file = golden.file("gat")
    network = AnscombeISP(unbiased=unbiased)
    for s, means, expected in zip(
        file["sigma"], file["mean_transformed"], file["closed_form" if unbiased else "asymptotic"], strict=True
    ):
        alpha = 0.05
        h = torch.from_numpy(np.tile(means.astype(np.float32), (1, 3, 4, 1)))
        unit = network.normalise(torch.rand(1, 3, 4, 4), torch.tensor([1.0]), torch.tensor([1.0]))[1]
        bounds = unit._replace(low=torch.zeros(1, 1, 1, 1), scale=torch.ones(1, 1, 1, 1))
        found = network.restore(h, bounds, torch.tensor([alpha]), torch.tensor([alpha * s])) / alpha
        np.testing.assert_allclose(found[0, 0, 0].numpy(), expected, atol=2e-4, rtol=2e-6)


def test_plain_torch_gives_the_same_as_the_native_ops():
    from unittest import mock

    from rawzoo_anscombe import isp

    network = AnscombeISP().eval()
    y = torch.rand(2, 3, 16, 16)
    noise = torch.tensor([[0.01, 0.02, 0.03], [0.04, 0.05, 0.06]])
    with torch.no_grad():
        native = network(y, noise, noise)
        with mock.patch.object(isp, "_traced", return_value=True):
            plain = network(y, noise, noise)
    assert_close(native.numpy(), plain.numpy())


def test_picture_of_one_value_stays_finite():
    network = JointNetwork().eval()
    noise = torch.tensor([0.1, 0.1])
    with torch.no_grad():
        for value in (0.0, 1.0):
            y = torch.full((2, 3, 32, 32), value)
            assert network(y, noise, noise).isfinite().all()
            assert network.restore(y, noise, noise).isfinite().all()


def test_folding_follows_the_weights():
    network = MobileNetV1().eval()
    x = torch.rand(1, 3, 32, 32)
    reference = MobileNetV1().eval()
    for change in ("load", "in place", "data", "dtype"):
        with torch.no_grad():
            before = network(x)
            for tensor in reference.state_dict().values():
                if tensor.is_floating_point() and change != "dtype":
                    tensor.add_(0.1 * torch.rand_like(tensor))
            if change == "load":
                network.load_state_dict(reference.state_dict())
            elif change == "in place":
                for ours, theirs in zip(network.state_dict().values(), reference.state_dict().values(), strict=True):
                    ours.copy_(theirs)
            elif change == "data":
                for ours, theirs in zip(network.parameters(), reference.parameters(), strict=True):
                    ours.data = theirs.data.clone()
                for ours, theirs in zip(network.buffers(), reference.buffers(), strict=True):
                    ours.data = theirs.data.clone()
            else:
                network, reference, x, before = network.double(), reference.double(), x.double(), before.double()
            after = network(x)
        expected = reference(x).detach()
        assert_close(after.numpy(), expected.numpy())
        assert change == "dtype" or not torch.allclose(before, after)


def test_training_moves_statistics_and_weights():
    """Gradients reach every parameter through both networks and the transform."""
    network = JointNetwork().train()
    y = torch.rand(4, 3, 32, 32)
    noise = torch.tensor([0.1, 0.05, 0.02, 0.01])
    network(y * bayer_mask(y), noise, noise).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert network.isp.lambda_.grad.abs() > 0
    assert network.classifier.layers.Conv2d_0.norm.running_mean.abs().max() > 0


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: AnscombeISP()(torch.rand(1, 3, 6, 8), torch.ones(1), torch.ones(1)), r"multiples of 4, not \[1, 3, 6"),
        (lambda: AnscombeISP()(torch.rand(1, 4, 8, 8), torch.ones(1), torch.ones(1)), r"takes \[B, 3, H, W\]"),
        (lambda: AnscombeISP()(torch.rand(1, 3, 8, 8)), "give alpha and sigma"),
        (lambda: AnscombeISP(use_anscombe=False)(torch.rand(1, 3, 8, 8)), "one sigma for each picture"),
        (
            lambda: AnscombeISP(use_anscombe=False)(torch.rand(1, 3, 8, 8), torch.ones(1, 3), torch.ones(1, 3)),
            "one sigma for each picture",
        ),
        (lambda: MobileNetV1()(torch.rand(1, 3, 257, 8)), "up to 256"),
        (lambda: AnscombeISP()(torch.rand(1, 3, 8, 8), torch.zeros(1), torch.ones(1)), "gain must be positive"),
    ],
)
def test_wrong_calls(call, message):
    with torch.no_grad(), pytest.raises(UsageError, match=message):
        call()


@pytest.mark.parametrize("size", [(1, 1), (7, 30), (255, 256)])
def test_mobilenet_takes_any_size(size):
    assert MobileNetV1(classes=10).eval()(torch.rand(1, 3, *size)).shape == (1, 10)


def plain_ops(program):
    return {str(node.target).split(".")[0] for node in program.graph.nodes if node.op == "call_function"}


@pytest.mark.parametrize("strict", [False, True])
def test_export_has_plain_operations_only(strict):
    network = JointNetwork().eval()
    args = torch.rand(2, 3, 32, 32), torch.tensor([0.1, 0.05]), torch.tensor([0.2, 0.1])
    program = torch.export.export(network, args, strict=strict)
    assert plain_ops(program) == {"aten"}
    other = torch.rand(2, 3, 32, 32), torch.tensor([0.02, 0.3]), torch.tensor([0.1, 0.4])
    with torch.no_grad():
        assert_close(program.module()(*other).detach().numpy(), network(*other).numpy())


def test_onnx_export(tmp_path):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    network = JointNetwork().eval()
    args = torch.rand(1, 3, 32, 32), torch.tensor([[0.1, 0.05, 0.2]]), torch.tensor([[0.1, 0.05, 0.2]])
    torch.onnx.export(network, args, tmp_path / "joint.onnx", dynamo=True, verbose=False)
    model = onnx.load(tmp_path / "joint.onnx")
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(tmp_path / "joint.onnx")
    other = args[0].flip(3), args[1] / 3, args[2] * 2
    (found,) = session.run(None, {i.name: a.numpy() for i, a in zip(session.get_inputs(), other, strict=True)})
    with torch.no_grad():
        assert_close(found, network(*other).numpy(), 1e-4)


def test_chen_unet_keeps_the_size():
    assert ChenUNet().eval()(torch.rand(1, 3, 45, 67)).shape == (1, 3, 45, 67)


def test_halo_of_the_card():
    """With weights that let everything through, an output depends on what is 32 pixels away, and on nothing beyond."""
    network = Restorer().double().eval()
    for parameter in network.parameters():
        parameter.data.uniform_(0.05, 0.1)
    reach = 0
    for middle in range(80, 84):
        x = torch.rand(1, 4, 160, 160, dtype=torch.double, requires_grad=True)
        network(x)[0, :, middle, middle].sum().backward()
        seen = x.grad.abs().sum((0, 1)).nonzero()
        reach = max(reach, int((seen - middle).abs().max()))
    assert reach == 32
    assert [card.halo for card in CARDS if card.task == "isp"] == [n * reach for n in (1, 2, 3, 4)]
