"""The networks against the published code's outputs, and the cards' halos against the networks."""

from pathlib import Path

import numpy as np
import pytest
import torch

from rawzoo.inference.predictor import Predictor
from rawzoo.picture import Picture
from rawzoo.tasks.super_resolution import enlarge
from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo_eusr import importer, losses, network
from rawzoo_eusr.network import Discriminator, FourPass, Generator
from rawzoo_eusr.plugin import EUSR, FOUR_PASS, PREDICTORS
from rawzoo_eusr.predictor import ScorePredictor

GENERATORS = {card.name: card for card in (*EUSR.values(), *FOUR_PASS.values())}


def checkpoint(variables, name="model.ckpt-1000000", file_format="tensorflow", **metadata):
    held = {key: Tensor(v.shape, v.dtype, Path(name), lambda v=v: v) for key, v in variables.items()}
    return Checkpoint(Path(name), file_format, held, metadata=metadata)


def with_state(module, arrays):
    module.load_state_dict({key: torch.from_numpy(np.array(value)) for key, value in arrays.items()})
    return module.eval().to(memory_format=torch.channels_last)


@pytest.fixture(scope="module")
def generators(published):
    """Networks of all generator cards, by name."""
    eusr = importer.generator(checkpoint(published("eusr")))
    four_pass = importer.generator(checkpoint(published("eusr") | published("discriminator")))
    made = {}
    for match in eusr + four_pass:
        architecture = getattr(network, GENERATORS[match.model].architecture.partition(":")[2])
        made[match.model] = with_state(architecture(**GENERATORS[match.model].config), match.convert())
    assert set(made) == set(GENERATORS)
    return made


@pytest.fixture(scope="module")
def predictors(published):
    """Score predictors by the golden files' names."""
    made = {}
    for salt in ("ava", "tid2013"):
        match = importer.predictor(checkpoint(published("predictor", f"{salt}:"), "scores.h5", "keras"))[0]
        made[salt] = with_state(ScorePredictor(range(10)), match.convert())
    return made


@torch.inference_mode()
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_golden_eusr(specs, planar, generators, scale):
    golden = np.load(specs / "golden_eusr.npz")
    found = generators[f"eusr-x{scale}"](planar(golden["input"]))
    np.testing.assert_allclose(found, planar(golden[f"x{scale}"]), rtol=0, atol=1e-3)
    if scale == 2:
        found = generators["eusr-x2"](planar(golden["input_odd"]))
        np.testing.assert_allclose(found, planar(golden["x2_odd"]), rtol=0, atol=1e-3)


@torch.inference_mode()
@pytest.mark.parametrize("via", [2, 4, 8])
def test_golden_passes(specs, planar, generators, via):
    golden = np.load(specs / "golden_4pp_passes.npz")
    found = generators[FOUR_PASS[via].name](planar(golden["input"]))
    np.testing.assert_allclose(found, planar(golden[f"pass_x{via}"]), rtol=0, atol=1e-3)


def test_golden_training_step(specs, planar, generators, predictors, published):
    """The three passes, all losses, and gradients of the generator's and the discriminator's."""
    golden = np.load(specs / "golden_loss.npz")
    x, truth = planar(golden["input"]), planar(golden["truth"])
    networks = [generators[FOUR_PASS[via].name] for via in (2, 4, 8)]
    judge = with_state(Discriminator(), importer.discriminator(checkpoint(published("discriminator"))))
    outputs = [network(x) for network in networks]
    for output, name in zip(outputs, ("out_2x", "out_4x", "out_8x"), strict=True):
        np.testing.assert_allclose(output.detach()[:, :, ::8, ::8], planar(golden[name]), rtol=0, atol=1e-3)
    for name, salt in (("aesthetic", "ava"), ("subjective", "tid2013")):
        found = predictors[salt](torch.cat([*outputs, truth])).detach()
        np.testing.assert_allclose(found, golden[f"{name}_distribution"], rtol=0, atol=1e-5)

    loss = losses.FourPassLoss(judge, predictors["ava"], predictors["tid2013"])
    theirs = {"reconstruction": "recon", "adversarial": "adv"}
    for name, term in loss.terms(outputs, truth).items():
        expected = golden[theirs.get(name, name.replace("features", "rep"))]
        assert term.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-6), name
    final = loss(outputs, truth)
    assert final.item() == pytest.approx(golden["final"].item(), rel=1e-4)
    # The passes share their first layer.
    gradients = torch.autograd.grad(final, [network.first.bias for network in networks])
    np.testing.assert_allclose(sum(gradients), golden["grad_final_wrt_first_conv_bias"], rtol=2e-3, atol=2e-5)
    against = loss.of_discriminator(outputs, truth)
    assert against.item() == pytest.approx(golden["discriminator"].item(), rel=1e-4)
    (gradient,) = torch.autograd.grad(against, judge.last.weight)
    np.testing.assert_allclose(gradient.T, golden["grad_disc_wrt_final_kernel"], rtol=2e-3, atol=2e-5)


def test_golden_targets_and_distance_of_scores(specs):
    golden = np.load(specs / "golden_misc.npz")
    mean, std = torch.from_numpy(golden["tid_mean_std"]).T
    target = losses.normal_scores(mean, std)
    np.testing.assert_allclose(target, golden["tid_target"], rtol=0, atol=1e-6)
    found = losses.EarthMover()(torch.from_numpy(golden["emd_pred"]), target)
    assert found.item() == pytest.approx(golden["emd"].item(), abs=1e-6)


@torch.inference_mode()
def test_golden_discriminator(specs, planar, published):
    judge = with_state(Discriminator(), importer.discriminator(checkpoint(published("discriminator"))))
    assert sum(p.numel() for p in judge.parameters()) == 5_238_561
    golden = np.load(specs / "golden_discriminator.npz")
    for size, cells in (("192", (2, 6, 6)), ("50x70", (1, 2, 3))):
        logits = judge(planar(golden[f"input_{size}"]))
        assert logits.shape == cells
        np.testing.assert_allclose(logits.reshape(-1, 1), golden[f"logits_{size}"], rtol=0, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("salt", ["ava", "tid2013"])
def test_golden_predictors(specs, planar, predictors, salt):
    golden = np.load(specs / f"golden_predictor_{salt}.npz")
    x = planar(golden["input"])
    np.testing.assert_allclose(predictors[salt](x), golden["scores"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(predictors[salt].features(x), golden["features"], rtol=0, atol=1e-4)


def test_parameters():
    count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
    assert count(Generator((2, 4, 8))) == 6_295_689
    for scale, expected in ((2, 3_256_835), (4, 3_699_971), (8, 4_143_107)):
        assert count(Generator((scale,))) == count(FourPass(scale)) == expected
    for card in PREDICTORS:
        module = ScorePredictor(**card.config)
        assert count(module) == 2_236_682
        assert count(module) + sum(b.numel() for b in module.buffers() if b.ndim) == 2_270_794


@pytest.mark.parametrize("name", GENERATORS)
def test_halo_is_the_radius_of_the_receptive_field(name):
    """With positive weights every input pixel that matters has a positive gradient."""
    card = GENERATORS[name]
    net = getattr(network, card.architecture.partition(":")[2])(**card.config, features=1).double()
    for parameter in net.parameters():
        torch.nn.init.constant_(parameter, 0.2)
    scale, middle = int(card.scale), card.halo + 3
    radii = []
    for axis in (2, 3):
        size = [1, 3, 1, 1]
        size[axis] = 2 * middle + 1
        x = torch.full(size, 200.0, dtype=torch.float64, requires_grad=True)
        y = net(x).narrow(axis, scale * middle, scale)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        seen = gradient.abs().sum((0, 1, 5 - axis)).nonzero().flatten()
        radii += [middle - int(seen.min()), int(seen.max()) - middle]
    assert max(radii) == card.halo


@pytest.mark.parametrize("name", [*(card.name for card in EUSR.values()), "4pp-eusr-via2"])
def test_tiles_give_the_published_whole(generators, name):
    """The bare network on a whole picture, borders and all, against tiles of it, in strips both ways."""
    card, net = GENERATORS[name], generators[name]
    tile = card.halo // 2
    strip = torch.rand(3, 5, card.halo + 2 * tile + 7, generator=torch.Generator().manual_seed(0)) * 255
    for x in (strip, strip.transpose(1, 2)) if name == "eusr-x2" else (strip,):
        with torch.inference_mode():
            whole = net(x[None])[0]
        tiled = Predictor(card, net, tile=tile)(x)
        assert tiled.shape == (3, *(int(card.scale) * n for n in x.shape[1:]))
        assert (tiled - whole).abs().max() <= 1e-5 * 255


@torch.inference_mode()
@pytest.mark.parametrize("scale", [2, 4, 8])
def test_upscaling_in_blocks_changes_nothing(monkeypatch, scale):
    torch.manual_seed(0)
    net = Generator((scale,), features=4, blocks=1)
    x = 255 * torch.rand(2, 3, 31, 50)
    whole = net(x)
    monkeypatch.setattr(network, "_BLOCK", 8 * scale)
    blocks = net(x)
    assert not torch.equal(blocks, whole - whole)
    torch.testing.assert_close(blocks, whole, rtol=0, atol=1e-5 * 255)
    # One pixel less around each block would show.
    upscaling = net.branches[str(scale)].upscaling
    monkeypatch.setattr(upscaling, "_reach", [reach - 1 for reach in upscaling._reach])
    assert (net(x) - whole).abs().max() > 1e-5 * 255


def test_in_blocks_or_not_the_gradient_is_there(monkeypatch):
    monkeypatch.setattr(network, "_BLOCK", 16)
    net = Generator((2,), features=4, blocks=1)
    net(torch.rand(1, 3, 20, 20)).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_a_picture_is_enlarged():
    """Weights under which each pixel is repeated, through the task's job and its tiles."""
    card = EUSR[4]
    net = Generator((4,), features=3, blocks=1)
    for name, parameter in net.named_parameters():
        torch.nn.init.zeros_(parameter)
        if parameter.shape[:2] == (3, 3) and (name.startswith("first") or "last" in name):
            torch.nn.init.dirac_(parameter)
    pixels = np.random.default_rng(0).random((40, 150, 3), dtype=np.float32)
    found = enlarge(Predictor(card, net, tile=30), Picture.from_array(pixels)).pixels
    np.testing.assert_allclose(found, pixels.repeat(4, 0).repeat(4, 1), rtol=0, atol=1e-6)


def test_settings():
    net = Generator((2, 4), features=4, blocks=2, depth=2, initial=False, mean=(1.0, 2.0, 3.0))
    assert net(torch.rand(1, 3, 6, 5), 4).shape == (1, 3, 24, 20)
    assert not list(net.branches["2"].initial.parameters())
    assert "mean" not in net.state_dict()
