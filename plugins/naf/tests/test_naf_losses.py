"""The losses against values that the published code gave."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.fft
import torch
from naf_golden import arrays
from torch import nn
from torch.nn import functional

from rawzoo.errors import UsageError, WeightsError
from rawzoo.training.recipe import read

losses = pytest.importorskip("rawzoo_naf.losses", reason="rawzoo.training is not installed", exc_type=ImportError)


@pytest.fixture(scope="module")
def pair(golden):
    data = arrays(golden, "losses")
    return tuple(data[name].float() / 255 for name in ("pred_u8", "target_u8"))


@pytest.fixture(scope="module")
def expected(golden):
    return json.loads((golden / "losses.json").read_text())


@pytest.mark.parametrize(("name", "options"), [
    ("default_gamma", {}),
    ("default_nogamma", {"gamma": None}),
    ("l1_only_gamma", {"l1": 1.0, "ssim": 0.0}),
    ("l1_only_nogamma", {"l1": 1.0, "ssim": 0.0, "gamma": None}),
    ("ssim_only_gamma", {"l1": 0.0, "ssim": 1.0}),
    ("tv_only_gamma", {"l1": 0.0, "ssim": 0.0, "tv": 1.0}),
    ("tv_only_nogamma", {"l1": 0.0, "ssim": 0.0, "tv": 1.0, "gamma": None}),
    ("alpha0.5_beta2_l1_gamma", {"alpha": 0.5, "beta": 2.0, "l1": 1.0, "ssim": 0.0}),
])  # fmt: skip
def test_shadow_aware(pair, expected, name, options):
    assert losses.ShadowAware(**options)(*pair).item() == pytest.approx(expected[name], rel=1e-4)


@pytest.mark.parametrize(("name", "term"), [
    ("l1", "l1"), ("mse", "mse"), ("gradient_loss", "gradient"), ("structural_loss", "ssim_fine"),
])  # fmt: skip
def test_combined(pair, expected, name, term):
    assert losses.Combined({term: 1.0})(*pair).item() == pytest.approx(expected[name], rel=1e-4)


def test_structural_similarity(pair, expected):
    # One scale of weight 1 is SSIM itself.
    assert 1 - losses.MSSSIM((1.0,))(*pair).item() == pytest.approx(expected["ssim_raw"], rel=1e-4)
    for name, term in (("ms_ssim_raw", "ssim"), ("ms_ssim_coarse", "ssim_coarse"), ("ms_ssim_fine", "ssim_fine")):
        assert 1 - losses.Combined({term: 1.0})(*pair).item() == pytest.approx(expected[name], rel=1e-4)


def test_other_values(pair, expected):
    prediction, target = pair
    given = losses.conservative_l1(prediction, target, prediction.flip(3)).item()
    assert given == pytest.approx(expected["conservative_l1_inp=flipW(pred)"], rel=1e-4)
    assert losses.srgb_curve(prediction).mean().item() == pytest.approx(
        expected["apply_gamma_srgb_pred_mean"], rel=1e-4
    )
    assert losses.gram(prediction[..., :8, :8]).sum().item() == pytest.approx(expected["gram_sum"], rel=1e-4)
    outputs = [functional.avg_pool2d(prediction, n) for n in (4, 2, 1)]
    found = losses.MultiScale(nn.L1Loss(), (0.25, 0.5, 1.0))(outputs, target).item()
    assert found == pytest.approx(expected["multiscale_l1_[/4,/2,1]_w[.25,.5,1]"], rel=1e-4)


def test_several_scales_of_any_loss(pair, expected, vgg):
    """Of a loss as a recipe names it; each scale against the target brought to its size."""
    prediction, target = pair
    halves = [functional.avg_pool2d(prediction, 2), prediction]
    half = functional.interpolate(target, scale_factor=0.5, mode="bilinear", align_corners=False)
    found = losses.MultiScale("l1", (0.25, 0.5, 1.0))([functional.avg_pool2d(prediction, n) for n in (4, 2, 1)], target)
    assert found.item() == pytest.approx(expected["multiscale_l1_[/4,/2,1]_w[.25,.5,1]"], rel=1e-4)
    found = losses.MultiScale({"name": "ms-ssim"}, (1.0,))([prediction], target)
    assert 1 - found.item() == pytest.approx(expected["ms_ssim_raw"], rel=1e-4)
    found = losses.MultiScale({"name": "rawzoo_naf.losses:ShadowAware", "gamma": None}, (1.0,))([prediction], target)
    assert found.item() == pytest.approx(expected["default_nogamma"], rel=1e-4)
    criterion = losses.Perceptual(vgg)
    by_hand = 0.5 * criterion(halves[0], half) + criterion(prediction, target)
    found = losses.MultiScale({"name": "rawzoo_naf.losses:Perceptual", "vgg": str(vgg)}, (0.5, 1.0))(halves, target)
    assert found.item() == pytest.approx(by_hand.item(), rel=1e-5)
    with pytest.raises(UsageError, match=r"loss\.criterion: loss\.name 'ms_ssim' .*did you mean ms-ssim"):
        losses.MultiScale("ms_ssim", (1.0,))


def test_no_published_value_is_left_out(expected):
    tested = Path(__file__).read_text()
    assert [name for name in expected if f'"{name}"' not in tested] == []


def test_terms_add_up(pair):
    terms = {"l1": 0.5, "luma_mse": 2.0, "chroma": 1.0, "frequency": 0.0}
    alone = sum(weight * losses.Combined({name: 1.0})(*pair) for name, weight in terms.items() if weight)
    assert losses.Combined(terms)(*pair).item() == pytest.approx(alone.item(), rel=1e-6)


def test_cosine_transform_is_scipys():
    x = torch.rand(2, 3, 12, 20, dtype=torch.float64)
    np.testing.assert_allclose(losses.cosine_transform(x).numpy(), scipy.fft.dctn(x.numpy(), axes=(2, 3)), atol=1e-10)


def test_detail_is_what_a_blur_takes_away():
    cv2 = pytest.importorskip("cv2")
    x = torch.rand(1, 3, 20, 24)
    blurred = cv2.GaussianBlur(x[0].permute(1, 2, 0).numpy(), (5, 5), 1.0, borderType=cv2.BORDER_REFLECT_101)
    found = losses.detail(x, 5)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(found, x[0].permute(1, 2, 0).numpy() - blurred, atol=1e-6)


def test_luma_is_that_of_jpeg(tmp_path):
    image = pytest.importorskip("PIL.Image")
    rgb = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    expected = np.asarray(image.fromarray(rgb).convert("YCbCr")) / 255
    found = losses.y_cb_cr(torch.from_numpy(rgb / 255).permute(2, 0, 1)[None])[0].permute(1, 2, 0)
    np.testing.assert_allclose(found, expected, atol=0.006)


def test_shadows_weigh_more():
    loss = losses.ShadowWeightedL1()
    dark, bright = torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)
    assert loss(dark + 0.1, dark).item() == pytest.approx(0.1)
    assert loss(bright - 0.1, bright).item() == pytest.approx(0.1 * (0.2 + 0.16 / 1.2))


def test_every_picture_counts_by_relation():
    """The gradient of a picture is that of its own error, divided by it."""
    target = torch.zeros(2, 3, 4, 4)
    prediction = (target + torch.tensor([0.5, 0.005])[:, None, None, None]).requires_grad_()
    loss = losses.LogMse(least=0.0)(prediction, target)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(0.05))
    torch.testing.assert_close(prediction.grad[:, 0, 0, 0], torch.tensor([1 / 0.5, 1 / 0.005]) / (2 * 48))
    assert losses.LogMse()(target, target).isfinite()


def test_gradients_are_finite(pair):
    """Also where prediction and target agree or leave 0..1."""
    prediction, target = (x.clone() for x in pair)
    prediction[..., :40] = target[..., :40]
    prediction[..., 40:60] -= 2
    prediction.requires_grad_()
    terms = dict.fromkeys(losses.Combined({}).known - {"vgg", "style", "lpips"}, 1.0)
    for loss in (
        losses.ShadowAware(tv=1.0, sharpness=1.0),
        losses.Combined(terms),
        losses.ShadowWeightedL1(),
        losses.ColorMatrix(matrix=None, gamma=2.2),
        losses.LogMse(),
    ):
        prediction.grad = None
        loss(prediction, target).backward()
        assert prediction.grad.isfinite().all()
        assert prediction.grad.any()


@pytest.fixture(scope="module")
def vgg(tmp_path_factory):
    """Random weights with torchvision's names."""
    widths, state, number, channels = [64, 64, 0, 128, 128, 0, *[256] * 3, 0, *[512] * 3, 0, *[512] * 3], {}, 0, 3
    rng = np.random.default_rng(0)
    for width in widths:
        if width:
            kernels = rng.standard_normal((width, channels, 3, 3), np.float32) * np.float32((2 / (9 * channels)) ** 0.5)
            state[f"features.{number}.weight"] = torch.from_numpy(kernels)
            state[f"features.{number}.bias"] = torch.from_numpy(0.1 * rng.standard_normal(width, np.float32))
            channels = width
        number += 2 if width else 1
    path = tmp_path_factory.mktemp("vgg") / "vgg16.pth"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def linear(tmp_path_factory):
    """Random weights with the names of the package lpips."""
    rng = np.random.default_rng(1)
    shapes = {f"lin{i}.model.1.weight": (1, n, 1, 1) for i, n in enumerate((64, 128, 256, 512, 512))}
    path = tmp_path_factory.mktemp("lpips") / "vgg.pth"
    torch.save({name: torch.from_numpy(rng.random(shape, np.float32)) for name, shape in shapes.items()}, path)
    return path


def test_perceptual_terms(vgg, linear):
    prediction, target = torch.rand(1, 3, 48, 48, requires_grad=True), torch.rand(1, 3, 48, 48)
    for loss in (
        losses.ShadowAware(l1=0.0, ssim=0.0, perceptual=1.0, vgg=vgg),
        losses.Combined({"vgg": 1.0, "style": 1.0}, vgg=vgg),
        losses.Combined({"lpips": 1.0}, vgg=vgg, lpips=linear),
    ):
        prediction.grad = None
        assert loss(target, target).item() == 0
        value = loss(prediction, target)
        value.backward()
        assert value.item() > 0
        assert prediction.grad.any()
        assert not any(parameter.requires_grad for parameter in loss.parameters())
    features = losses.Vgg16(vgg)(target, losses.PERCEPTUAL)
    assert [f.shape[1] for f in features] == [64, 128, 256, 512, 512]
    assert [f.shape[2] for f in features] == [48, 24, 12, 6, 3]
    assert all((f < 0).any() for f in features)  # before the ReLU


def test_lpips(vgg, linear):
    """Against values of the Python package lpips 0.1.4 with the same weights."""
    rng = np.random.default_rng(2)
    prediction, target = (torch.from_numpy(rng.random((2, 3, 48, 40), np.float32)) for _ in range(2))
    loss, near = losses.Lpips(vgg, linear), 0.9 * prediction + 0.1 * target
    assert loss(prediction, target).item() == pytest.approx(0.57650977, rel=1e-4)
    assert loss(prediction, near).item() == pytest.approx(0.01079254, rel=1e-4)
    combined = losses.Combined({"lpips": 0.5}, vgg=vgg, lpips=linear)
    assert combined(prediction, near).item() == pytest.approx(0.00966324, rel=1e-4)


def test_the_file_of_weights_adds_the_published_term(vgg):
    pair = torch.rand(1, 3, 40, 40), torch.rand(1, 3, 40, 40)
    without, with_vgg = losses.ShadowAware(ssim=0.0), losses.ShadowAware(ssim=0.0, vgg=vgg)
    pictures = [x.clamp(1e-6, 1) ** (1 / 2.2) for x in pair]
    expected = without(*pair) + 0.025 * losses.Perceptual(vgg)(*pictures)
    assert with_vgg(*pair).item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses.ShadowAware(perceptual=0.0, vgg=vgg).features is None
    for recipe in ("rawzoo_naf:pretrain", "rawzoo_naf:finetune"):
        made = read(recipe, [f"loss.vgg={vgg}"]).part("loss")()
        assert (made.perceptual, isinstance(made.features, losses.Perceptual)) == (0.025, True)


def test_colours_of_another_space(vgg, linear):
    prediction, target = torch.rand(2, 3, 32, 32, requires_grad=True), torch.rand(2, 3, 32, 32)
    matrix = torch.rand(2, 3, 3)
    changed = [(matrix @ x.flatten(2)).unflatten(2, (32, 32)) for x in (prediction, target)]
    found = losses.ColorMatrix()(prediction, target, to_srgb=matrix)
    assert found.item() == pytest.approx(functional.l1_loss(*changed).item(), rel=1e-5)
    weighted = "rawzoo_naf.losses:ShadowWeightedL1"
    found = losses.ColorMatrix(weighted, gamma=2.0)(prediction, target, to_srgb=matrix)
    roots = [x.clamp(0, 1).sqrt() for x in changed]
    assert found.item() == pytest.approx(losses.ShadowWeightedL1()(*roots).item(), rel=1e-3)
    seen = losses.ColorMatrix(matrix=None, lpips=2.0, vgg=vgg, lpips_weights=linear)(prediction, target)
    expected = functional.l1_loss(prediction, target) + 2 * losses.Lpips(vgg, linear)(prediction, target)
    assert seen.item() == pytest.approx(expected.item(), rel=1e-5)


def test_too_little_is_forgiven(pair):
    prediction, target = pair
    given = prediction.flip(3)
    expected = losses.conservative_l1(prediction, target, given)
    assert torch.equal(losses.Conservative()(prediction, target, rgb=given), expected)


def test_what_is_missing_is_said(tmp_path, vgg):
    with pytest.raises(UsageError, match=r"lpisp are none of l1, mse"):
        losses.Combined({"lpisp": 1.0})
    for make in (
        lambda: losses.Combined({"style": 1.0}),
        lambda: losses.ShadowAware(perceptual=0.1),
        lambda: losses.ColorMatrix(lpips=1.0),
    ):
        with pytest.raises(UsageError, match="needs a file of weights: give vgg, the path of torchvision's VGG16"):
            make()
    with pytest.raises(UsageError, match=r"give the path of weights/v0\.1/vgg\.pth of the Python package lpips"):
        losses.Combined({"lpips": 1.0}, vgg=vgg)
    with pytest.raises(WeightsError, match=r"vgg16\.pth is not LPIPS on VGG16: lin0"):
        losses.Lpips(vgg, vgg)
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth is not VGG16"):
        losses.Combined({"vgg": 1.0}, vgg=tmp_path / "other.pth")
    with pytest.raises(UsageError, match="2 predictions were given for 1 weights"):
        losses.MultiScale(nn.L1Loss(), (1.0,))([torch.zeros(1)] * 2, torch.zeros(1))
