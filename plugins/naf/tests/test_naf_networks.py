"""The published networks against outputs of the published code, with the same generated weights."""

import pytest
import torch
from naf_golden import arrays, assert_near, fill, parameters
from torch.nn import functional

from rawzoo import ops
from rawzoo.inference import statistics
from rawzoo.inference.predictor import Predictor
from rawzoo.zoo.card import ModelCard
from rawzoo_naf.blocks import LocalMean
from rawzoo_naf.debayer import Debayer5x5, FromPacked
from rawzoo_naf.networks import CondNaf, NafNet, TreeNet

SIDD = {"width": 32, "encoder": [2, 2, 4, 8], "middle": 12, "decoder": [2, 2, 2, 2]}
VARIANTS = {
    "default": {},
    "use_add": {"merge": "add"},
    "use_CondFuserV2": {"merge": "product"},
    "use_CondFuserV3": {"merge": "mix"},
    "use_CondFuserV4": {"merge": "pointwise"},
    "use_attnblock": {"block": "attention"},
    "use_NAFBlock0_learned_norm": {"block": "naf-learned-norm"},
    "NoRes": {"merge": "add", "form": "debayer"},
    "PS": {"merge": "add", "form": "debayer-half"},
    "DemoIn": {"merge": "add", "form": "debayer-in"},
}


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def test_nafnet_sidd(golden):
    tensors, data = parameters(golden, "nafnet_sidd_w32")["tensors"], arrays(golden, "nafnet_sidd_w32")
    net = fill(NafNet(**SIDD), tensors)
    assert_near(net(data["x"]), data["y"])
    assert_near(net(data["x2"]), data["y2"])  # of a size that is padded
    assert_near(fill(net, tensors, 1.0)(data["x"]), data["y_ls1"])


def test_nafnet_with_windows(golden):
    tensors, data = parameters(golden, "nafnet_local_tlc")["tensors"], arrays(golden, "nafnet_local_tlc")
    blocks = {"width": 8, "encoder": [1, 1, 1, 2], "middle": 1, "decoder": [1, 1, 1, 1]}
    net = NafNet(**blocks, train_size=32)
    assert_near(fill(net, tensors)(data["x"]), data["y"])
    assert_near(fill(NafNet(**blocks), tensors)(data["x"]), data["y_global"])
    named = {name: module.window for name, module in net.named_modules() if isinstance(module, LocalMean)}
    expected = parameters(golden, "nafnet_local_tlc")["meta"]["pool_kernels"]
    assert {name: [window, window] for name, window in named.items()} == expected


@pytest.mark.parametrize(("name", "width", "count", "affine"), [
    ("treenet_w32", 32, 1, False), ("treenet_w8", 8, 1, False), ("treenet_w8x2_affine", 8, 2, True),
])  # fmt: skip
def test_treenet(golden, name, width, count, affine):
    tensors, data = parameters(golden, name)["tensors"], arrays(golden, name)
    net = fill(TreeNet(width, [count] * 4, count, [count] * 4, affine=affine), tensors)
    assert_near(net(data["x"], data["cond"]), data["y"])
    if "x2" in data:
        assert_near(net(data["x2"], data["cond2"]), data["y2"])
    assert_near(fill(net, tensors, 1.0)(data["x"], data["cond"]), data["y_ls1"])


def test_treenet_has_the_published_size():
    """Parameters of the published files, as far as they are known to all digits."""

    def count(**config):
        return sum(p.numel() for p in TreeNet(**config).parameters())

    ones, twos = ({"encoder": [n] * 4, "middle": n, "decoder": [n] * 4} for n in (1, 2))
    assert count(width=32, **ones) == 4_938_147
    assert count(width=8, **ones) == 319_083
    assert count(width=8, **twos, affine=True) == 662_443
    deep = (3, 0, 3, 0)
    assert count(width=24, **twos) == 4_790_907
    assert count(width=24, **ones, kernels_up=deep, middle_kernels=deep, kernels_down=deep) == 4_790_907


def test_cond_naf_of_record(golden):
    tensors, data = parameters(golden, "cond_naf_rggb")["tensors"], arrays(golden, "cond_naf_rggb")
    net = CondNaf([32, 64, 128, 256, 256, 256], [2, 2, 2, 3, 4], 12, [2, 2, 2, 2, 2], gamma=2.2)
    fill(net, tensors)
    assert sum(p.numel() for p in net.parameters()) == 16_072_323
    root = data["x"] ** (1 / 2.2)
    assert_near(net.model(root, data["cond"]), data["net_out"])
    assert_near(net(data["x"], data["cond"], data["residual"]), data["y"])
    assert_near(net(data["x2"], data["cond2"], data["residual2"]), data["y2"])
    assert_near(fill(net, tensors, 1.0).model(root, data["cond"]), data["net_out_ls1"])


@pytest.mark.parametrize("name", VARIANTS)
def test_cond_naf_variants(golden, name):
    data = arrays(golden, "cond_naf_variants")
    net = CondNaf([8, 12, 16], [1, 1], 1, [1, 1], gamma=2.2, **VARIANTS[name])
    fill(net, parameters(golden, "cond_naf_variants")["variants"][name], 1.0)
    assert_near(net(data["x"], data["cond"], data["residual"]), data[f"y_{name}"])
    if f"net_{name}" in data:
        assert_near(net.model(data["x"] ** (1 / 2.2), data["cond"]), data[f"net_{name}"])


def test_residual_is_the_debayered_picture_where_none_is_given():
    torch.manual_seed(0)
    net = CondNaf([8, 12], [1], 1, [1], gamma=2.2).eval()
    x, cond = torch.rand(1, 4, 8, 8), torch.tensor([[0.5]])
    assert torch.equal(net(x, cond), net(x, cond, FromPacked()(x)))
    assert not any("demosaic" in name for name in net.state_dict())


def test_other_forms_begin_as_published():
    """What the wrappers without golden vectors give while the network inside is silent: its last layer, or its learned
    factor, is zero."""
    x, cond = torch.rand(1, 4, 8, 8), torch.tensor([[0.5]])
    rgb = FromPacked()(x)

    def silent(**config):
        net = CondNaf([8, 12], [1], 1, [1], **config).eval()
        net.model.ending.weight.zero_()
        net.model.ending.bias.zero_()
        return net

    for form in ("debayer", "debayer-half", "debayer-in", "debayer-joined"):
        assert torch.equal(silent(form=form)(x, cond), rgb)
    demosaiced = Debayer5x5()(functional.pixel_shuffle(x.sqrt(), 2)).square()
    for form in ("demosaic", "demosaic-in"):
        net = CondNaf([8, 12], [1], 1, [1], form=form, gamma=2.0).eval()
        torch.testing.assert_close(net(x, cond), demosaiced)
    assert not silent(form="shuffle")(x, cond).any()
    passed = silent(form="shuffle-pass")
    assert torch.equal(passed(x, cond), passed.upscale(x))
    joined = torch.rand(1, 3, 16, 16)
    assert torch.equal(silent(form="residual-linear", block="chaspa", merge="sum")(x, cond, joined), joined)


@pytest.mark.parametrize("block", ["naf-unused", "chaspa", "next-2", "next-4", "tree"])
@pytest.mark.parametrize("merge", ["gated-1", "sum"])
def test_blocks_without_golden_vectors_use_all_they_have(block, merge):
    """Each parameter moves the output, but those that the published block does not use."""
    with torch.inference_mode(mode=False):
        torch.manual_seed(0)
        net = CondNaf([8, 12], [1], 1, [1], block=block, merge=merge, form="residual-linear")
        with torch.no_grad():
            for parameter in net.parameters():
                parameter.normal_(0, 0.3)
        net(torch.rand(1, 4, 8, 8), torch.tensor([[0.5]]), torch.zeros(1, 3, 16, 16)).square().sum().backward()
        silent = {name for name, p in net.named_parameters() if p.grad is None or not p.grad.any()}
    assert all("sca_out" in name or "delta" in name for name in silent), silent


def test_global_reasoning_goes_from_block_to_block():
    """Two blocks against their formulas, and the memory that they leave to the last block of the network."""
    torch.manual_seed(0)
    net = NafNet(4, [1], 1, [1], memory=3)
    for parameter in net.parameters():
        parameter.normal_(0, 0.5)
    x = torch.rand(2, 3, 8, 6)
    features = net.intro(x)
    memory = torch.einsum("oi,ni->no", net.global_channel_producer[1].weight[:, :, 0, 0], features.mean((2, 3)))
    memory = memory + net.global_channel_producer[1].bias

    def block(part, x, memory):
        first, second = part.conv2(part.conv1(part.norm1(x))).chunk(2, 1)
        y = first * second
        known = torch.cat([y.mean((2, 3)), memory], 1)[:, :, None, None]
        found = part.grm.conv2(functional.gelu(part.grm.conv1(known)))
        z = x + part.beta * part.conv3(found[:, :-3] * y)
        first, second = part.conv4(part.norm2(z)).chunk(2, 1)
        return z + part.gamma * part.conv5(first * second), memory + (part.delta * found[:, -3:])[:, :, 0, 0]

    y, memory = block(net.encoders[0][0], features, memory)
    skip = y
    y, memory = block(net.middle_blks[0], net.downs[0](y), memory)
    y, memory = block(net.decoders[0][0], net.ups[0](y) + skip, memory)
    torch.testing.assert_close(net(x), net.ending(y) + x, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="no attention to windows"):
        NafNet(4, [1], 1, [1], memory=3, train_size=32)


def test_debayer(golden):
    """The demosaicers of the published code are rawzoo's own, or made of them."""
    data = arrays(golden, "debayer")
    mosaic = data["x"][0, 0]
    assert_near(Debayer5x5()(data["x"]), data["d5_RGGB"])
    assert_near(FromPacked()(data["rggb"]), data["rggb_to_rgb"])
    for cfa in ("RGGB", "GRBG", "GBRG", "BGGR"):
        assert_near(ops.demosaic(mosaic, cfa, "malvar").clamp(0, 1)[None], data[f"d5_{cfa}"])
        assert_near(ops.demosaic(mosaic, cfa, "bilinear")[None], data[f"d3_{cfa}"])
        small = ops.demosaic(mosaic, cfa, "superpixel")[None]
        large = functional.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
        assert_near(large, data[f"d2_{cfa}"])
    split = data["split_RGGB"]
    assert_near(split[:, 1], data["d3_RGGB"][:, 1])
    assert_near(split[:, [0, 2]], data["d2_RGGB"][:, [0, 2]])


def test_windows_are_means():
    """Against average pooling, whose windows lie wholly inside; larger ones are the picture's mean."""
    x = torch.rand(2, 3, 13, 17)
    found = LocalMean(6)(x)
    inside = functional.avg_pool2d(x, 6, stride=1)
    torch.testing.assert_close(found[:, :, 2:-3, 2:-3], inside, rtol=0, atol=1e-6)
    assert torch.equal(found[:, :, :2], found[:, :, 2:3].expand(-1, -1, 2, -1))
    torch.testing.assert_close(LocalMean(15)(x)[:, :, :, 0], x[..., :15].mean((2, 3))[:, :, None].expand(-1, -1, 13))
    assert torch.equal(LocalMean(17)(x), x.mean((2, 3), keepdim=True))


CARD = ModelCard(
    name="test",
    task="restore",
    architecture="tests:none",
    input="srgb",
    output="srgb",
    period=4,
    halo=None,
    border="model",
)


def attentive(**config):
    """A small NAFNet whose attention changes a lot."""
    torch.manual_seed(0)
    net = NafNet(8, [1, 1], 1, [1, 1], **config)
    for name, parameter in net.named_parameters():
        if name.endswith(("beta", "gamma", "delta")):
            parameter.fill_(1.0)
        elif parameter.ndim == 4:
            parameter.normal_(0, 1.0 / parameter[0].numel() ** 0.5)
    return net


def test_tiles_see_as_far_as_they_say():
    """With the means given, nothing beyond ``reach`` matters."""
    net = attentive()
    means = [torch.rand(1, m.conv3.in_channels, 1, 1) for m in net.modules() if hasattr(m, "conv3")]
    size = 4 * net.reach
    x = torch.rand(1, 3, size, size)
    changed = x.clone()
    changed[..., : size // 2] += 1
    with statistics.given(net, means):
        moved = (net(changed) - net(x)).abs().amax((0, 1, 2)).nonzero().max().item()
    assert size // 2 < moved < size // 2 + net.reach


@pytest.mark.parametrize(("config", "allowed"), [({}, 0.03), ({"memory": 6}, 0.1)])
def test_seams_are_gone_when_the_means_are_measured_first(config, allowed):
    """A picture whose left half is dark and right half bright: each tile by itself has other means. What goes from
    block to block depends on all means before it, so it is found less well in as many passes."""
    net = attentive(**config)
    x = torch.rand(3, 96, 160) * torch.linspace(0.02, 2, 160)
    whole = Predictor(CARD, net)(x)
    measured = Predictor(CARD, net, tile=32)(x)
    del net.reach
    with pytest.warns(UserWarning, match="judges a picture as a whole"):
        alone = Predictor(CARD, net, tile=32)(x)

    def error(y):
        """Largest difference, and mean step across the borders of tiles beyond that of the whole picture."""
        wrong = (y - whole) / whole.std()
        return wrong.abs().max(), (wrong[:, :, 32::32] - wrong[:, :, 31:-1:32]).abs().mean()

    largest, seams = error(measured)
    assert largest < allowed
    assert seams < allowed / 10
    assert error(alone)[0] > 1
    assert error(alone)[1] > 0.1


def test_exact_means_make_tiles_exact():
    """Means measured over a picture in one tile are its own; given to tiles, these equal a run in one piece."""
    net = attentive()
    x = torch.rand(3, 96, 128)
    with statistics.measuring(net) as measurement:
        predictor = Predictor(CARD, net)
        tiles = predictor._plan(96, 128, 1)
        measurement.enter(tiles.row(0)[0])
        whole = predictor(x)
        means = measurement.result()
    cut = Predictor(CARD, net, tile=32)
    from rawzoo.inference.canvas import Extended

    canvas = Extended(lambda a, b: x[:, a:b], 96, 128, 1)
    rows = torch.cat([r for _, _, r in cut._stream(canvas, cut._plan(96, 128, 1), {}, None, means=means)], 1)
    torch.testing.assert_close(rows, whole, rtol=1e-4, atol=1e-4)
