"""From raw images to the networks' input, and to results."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from anscombe_golden import nchw

import rawzoo
from rawzoo import ops
from rawzoo.errors import RawWarning, UsageError
from rawzoo.picture import upright
from rawzoo.pipeline import Look, tone_table
from rawzoo.raw import noise as raw_noise
from rawzoo.raw.cfa import color_tile
from rawzoo.raw.color import camera_to_linear
from rawzoo.raw.image import ColorMatrix
from rawzoo.running import options_of, parse_options
from rawzoo.tasks.classify import classify
from rawzoo.tasks.isp import render
from rawzoo.testing import write_random_weights
from rawzoo_anscombe import signal
from rawzoo_anscombe.classify import joint, thinned
from rawzoo_anscombe.isp import AnscombeISP, bayer_mask
from rawzoo_anscombe.sensors import SENSORS

MATRIX = ColorMatrix(21, ((0.7, -0.12, -0.09), (-0.38, 1.16, 0.25), (-0.04, 0.15, 0.6)))
NEUTRAL = (0.5, 1.0, 0.65)
BLACK = 64


def raw_image(height=481, width=650, cfa="BGGR", seed=0, **options):
    """A smooth scene with noise; white is 1023 above black, as the protocol divides."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    mosaic = BLACK + 400 + 300 * np.sin(x / 37) * np.cos(y / 53) + rng.normal(0, 30, (height, width))
    values = {"cfa": cfa, "black_level": BLACK, "white_level": BLACK + 1023, "as_shot_neutral": NEUTRAL}
    return rawzoo.RawImage.from_array(mosaic.astype(np.uint16), **(values | options))


def protocol(raw, size, alpha, sigma):
    """The evaluation of captured images, step by step, for a BGGR image that is upright."""
    v = (raw.data.astype(float) - BLACK) / 1023
    v = v[: v.shape[0] // 2 * 2, : v.shape[1] // 2 * 2]
    awb = raw.as_shot_neutral
    planes = {
        "B": v[0::2, 0::2] / awb[2], "R": v[1::2, 1::2] / awb[0],
        "G1": v[1::2, 0::2] / awb[1], "G2": v[0::2, 1::2] / awb[1],
    }  # fmt: skip
    target = size // 2
    for name, plane in planes.items():
        k = min(plane.shape) // target
        ch, cw = ((n - k * target) / 2 for n in plane.shape)
        bottom, right = (-int(np.ceil(c)) or None for c in (ch, cw))
        planes[name] = plane[int(np.floor(ch)) : bottom, int(np.floor(cw)) : right][::k, ::k]
    c = 1 / np.percentile(np.stack(list(planes.values()), 2), 98)
    mosaic = np.zeros((size, size, 3))
    mosaic[0::2, 0::2, 2], mosaic[1::2, 1::2, 0] = planes["B"], planes["R"]
    mosaic[1::2, 0::2, 1], mosaic[0::2, 1::2, 1] = planes["G1"], planes["G2"]
    return np.clip(mosaic * c, 0, 1), alpha * c / np.array(awb), sigma * c / np.array(awb)


@pytest.mark.parametrize(("height", "width"), [(481, 650), (448, 448), (1000, 453), (225, 700)])
@pytest.mark.parametrize("size", [224, 128])
def test_protocol_of_captured_images(height, width, size):
    raw = raw_image(height, width)
    pixel = SENSORS["Pixel"]
    mosaic, alpha, sigma = protocol(raw, size, pixel.poisson, pixel.gaussian)
    small = thinned(raw, size)
    np.testing.assert_allclose(np.moveaxis(small.mosaic, 0, -1), mosaic, atol=1e-6)
    found = signal.noise_of(raw, (pixel.poisson, pixel.gaussian**2)).scaled(small.factors)
    np.testing.assert_allclose(found, [alpha, sigma], rtol=1e-6)
    assert np.all((small.mosaic > 0) <= bayer_mask(torch.zeros(1, 3, size, size))[0].numpy().astype(bool))


@pytest.mark.parametrize(("cfa", "down", "right"), [("BGGR", 0, 0), ("GBRG", 0, 1), ("GRBG", 1, 0), ("RGGB", 1, 1)])
def test_other_phases(cfa, down, right):
    inner = raw_image(460, 500)
    data = np.pad(inner.data, ((down, 0), (right, 0)), mode="edge")
    raw = rawzoo.RawImage.from_array(
        data, cfa=cfa, black_level=BLACK, white_level=BLACK + 1023, as_shot_neutral=NEUTRAL
    )
    np.testing.assert_array_equal(thinned(raw).mosaic, thinned(inner).mosaic)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(230, 301), (231, 300)])
def test_upright(orientation, size):
    """A sensor that was turned sees the same as one that was not."""
    turned = raw_image(*size, orientation=orientation)
    data = upright(turned.data, orientation)
    colours = np.tile(color_tile("BGGR"), (151, 151))[: size[0], : size[1]]
    colours = upright(colours, orientation)
    cfa = "".join("RGB"[c] for c in colours[:2, :2].ravel())
    expected = replace(raw_image(*data.shape, cfa=cfa), data=data)
    np.testing.assert_array_equal(thinned(turned).mosaic, thinned(expected).mosaic)


def test_small_images():
    assert thinned(raw_image(133, 171)).mosaic.shape == (3, 132, 132)
    assert thinned(raw_image(34, 34, cfa="RGGB")).mosaic.shape == (3, 32, 32)
    with pytest.raises(UsageError, match="33 x 31 pixels; to tell what it shows takes 34 x 34"):
        thinned(raw_image(31, 33))


def test_noise_of_the_file_of_the_user_and_measured():
    raw = raw_image()
    given = signal.noise_of(raw, (0.01, 0.0004))
    assert given.note == "noise as given"
    np.testing.assert_allclose(given.scaled([2, 1, 1]), [[0.02, 0.01, 0.01], [0.04, 0.02, 0.02]])
    profile = ((0.01, 1e-4), (0.02, 2e-4), (0.04, 4e-4), (0.05, 5e-4))
    found = signal.noise_of(replace(raw, noise_profile=profile))
    assert found.note == "noise stated in the file"
    np.testing.assert_allclose(found.a, [0.01, 0.03, 0.05])
    np.testing.assert_allclose(found.b, [1e-4, 3e-4, 5e-4])
    assert signal.noise_of(replace(raw, noise_profile=((0.0, 0.0),))).note == "noise measured in the mosaic"
    assert signal.noise_of(raw).note == "noise measured in the mosaic"


@pytest.mark.parametrize("level", [0.02, 0.1])
def test_noise_is_measured(level):
    alpha, sigma = SENSORS["Nexus_6P_rear"].noise(level)
    y, x = np.mgrid[:300, :400]
    clean = 0.5 + 0.2 * np.sin(x / 70) * np.cos(y / 50)
    noisy = raw_noise.add_noise(clean, [(alpha, sigma**2)], np.random.default_rng(0))
    raw = rawzoo.RawImage.from_array(noisy * 4000 + 2000, cfa="GRBG", black_level=2000, white_level=6000)
    found = signal.noise_of(raw)
    np.testing.assert_allclose(0.5 * found.a + found.b, 0.5 * alpha + sigma**2, rtol=0.1)


def test_image_without_noise_is_as_noisy_as_its_rounding():
    raw = rawzoo.RawImage.from_array(np.full((64, 64), 500, np.uint16), cfa="RGGB", white_level=1000)
    found = signal.noise_of(raw)
    np.testing.assert_allclose(found.b, (1 / 1000) ** 2 / 12, rtol=0.3)


@pytest.mark.parametrize("noise", [(0.0, 0.0), (-1.0, 0.1), (float("nan"), 0.1), (0.1, float("inf"))])
def test_noise_that_is_none(noise):
    with pytest.raises(UsageError, match="two numbers"):
        signal.noise_of(raw_image(64, 64), noise)


@pytest.fixture
def load(tmp_path):
    def load(name, **options):
        return rawzoo.load(name, weights=write_random_weights(name, tmp_path / f"{name}.safetensors"), **options)

    return load


def test_classification(load):
    predictor = load("dirty-pixels")
    raw = replace(raw_image(300, 400), as_shot_neutral=None)
    found = classify(predictor, raw, noise=(0.01, 0.0004))
    assert found.probabilities.shape == (1001,)
    assert found.probabilities.sum() == pytest.approx(1, abs=1e-5)
    assert found.labels[1] == "n01440764 tench, Tinca tinca"
    assert found.image.shape == (3, 224, 224)
    assert found.note == "white balance: grey-world (the file has no white balance); noise as given"
    # The same, by hand.
    small = thinned(raw)
    with torch.no_grad():
        parameters = [
            torch.from_numpy(v)[None].float() for v in signal.noise_of(raw, (0.01, 0.0004)).scaled(small.factors)
        ]
        logits = predictor.module(torch.from_numpy(small.mosaic)[None], *parameters)
    np.testing.assert_allclose(found.probabilities, logits.softmax(1)[0].numpy(), atol=1e-6)
    other = classify(predictor, raw, noise=(0.1, 0.04))
    assert np.abs(other.image - found.image).max() > 1e-3


def test_options_of_the_adapter(load, tmp_path):
    predictor = load("dirty-pixels")
    path = tmp_path / "names.txt"
    path.write_text("\n".join(f"{i}:thing {i}" for i in range(1001)))
    found = joint(predictor, raw_image(300, 400), labels=path, size=128)
    assert found.labels[7] == "thing 7"
    assert found.image.shape == (3, 128, 128)
    assert options_of(predictor.card).keys() == {"noise", "labels", "size"}
    typed = parse_options(predictor.card, [f"labels={path}", "size=128"])
    assert np.array_equal(rawzoo.run(predictor, raw_image(300, 400), **typed).image, found.image)
    path.write_text("0:one")
    with pytest.raises(UsageError, match="names 1 classes, and the network has 1001"):
        joint(predictor, raw_image(300, 400), labels=path)
    for size in (130, 28, 260):
        with pytest.raises(UsageError, match="multiple of 4 from 32 to 256"):
            joint(predictor, raw_image(300, 400), size=size)


def test_bare_classifiers_see_the_mosaic_and_the_picture(load):
    raw = raw_image(300, 400, color_matrices=[MATRIX])
    seen = {}

    def watch(name):
        predictor = load(name)
        predictor.module.layers.register_forward_pre_hook(lambda _m, args: seen.update({name: args[0][0]}))
        return classify(predictor, raw)

    found = watch("mobilenet-v1-mosaic")
    assert found.note == ""
    np.testing.assert_array_equal(seen["mobilenet-v1-mosaic"].numpy(), 2 * (thinned(raw).mosaic - 0.5))
    assert (seen["mobilenet-v1-mosaic"] == -1).float().mean() >= 2 / 3
    watch("mobilenet-v1")
    picture = rawzoo.develop(raw)[18:-18, 25:-25] / 255.0
    skimage = pytest.importorskip("skimage.transform")
    expected = skimage.resize(picture, (224, 224), order=1, anti_aliasing=False)
    assert np.abs(seen["mobilenet-v1"].numpy().transpose(1, 2, 0) - (2 * expected - 1)).mean() < 0.05


@pytest.mark.parametrize("cfa", ["BGGR", "GBRG", "GRBG", "RGGB"])
def test_restored_picture_is_that_of_the_network(load, cfa):
    """Everywhere; but where the mosaic is extended to begin with blue, away from its edges."""
    down, right = signal.to_bggr(cfa)
    raw = raw_image(140, 168, cfa=cfa, color_matrices=[MATRIX], noise_profile=[(0.01, 0.0004)])
    # The brightest cell is in both pictures, so both have the same range.
    raw.data[70:72, 80:82] = BLACK + 1023
    predictor = load("dirty-pixels-isp")
    picture = render(predictor, raw).pixels
    assert picture.shape == (140, 168, 3)

    gains = 1 / np.array(NEUTRAL)
    v = np.clip(signal.balanced(raw, tuple(gains)), 0, min(gains))[down:, right:]
    v = v[: v.shape[0] // 4 * 4, : v.shape[1] // 4 * 4]
    y = nchw(np.repeat(v[None, :, :, None], 3, axis=3))
    network = AnscombeISP()
    network.load_state_dict(predictor.module.state_dict())
    noise = [torch.tensor(x * gains)[None].float() for x in (0.01, 0.02)]
    with torch.no_grad():
        rgb = network.eval()((y * bayer_mask(y)).float(), *noise)[0].numpy()
    matrix = camera_to_linear(raw, NEUTRAL, "srgb") / min(gains)
    expected = ops.render(rgb, matrix, tone_table(0.0, Look()), dtype="uint16") / 65535
    inside = np.s_[32:-32, 32:-32] if down or right else np.s_[:]
    found = picture[down:, right:][: expected.shape[0], : expected.shape[1]][inside]
    # The expected picture is rounded to 16 bit.
    assert np.abs(found - expected[inside]).max() < 2e-5
    assert found.std() > 0.01


@pytest.mark.parametrize("name", ["dirty-pixels-isp", "dirty-pixels-isp-4"])
def test_tiles_change_nothing(load, name):
    raw = raw_image(149, 187, cfa="GRBG", color_matrices=[MATRIX])
    done = []
    whole = render(load(name), raw).pixels
    tiled = render(load(name, tile=48), raw, progress=done.append).pixels
    assert np.abs(whole - tiled).max() <= 1e-5
    assert done[-1] == 1
    assert len(done) == 16


def test_files_of_cameras(load, golden):
    """Weights are random, so what is said means nothing; it has to be said of every Bayer file."""
    shared_raw = golden.folder.parents[1] / "data" / "raw"
    predictor, isp = load("dirty-pixels"), load("dirty-pixels-isp")
    for name in ("derived_canon_colorchart_RGGB_ljpeg.dng", "kodak_dc50_DC0008L.KDC"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RawWarning)
            raw = rawzoo.open(shared_raw / name)
        found = classify(predictor, raw)
        assert np.isfinite(found.probabilities).all()
        assert 0 <= found.image.min() < found.image.max() <= 1
        picture = render(isp, replace(raw, active_area=raw.active_area._replace(bottom=raw.active_area.top + 120)))
        assert np.isfinite(picture.pixels).all()
    phases = [
        thinned(rawzoo.open(shared_raw / f"derived_canon_colorchart_{cfa}_768x512.dng")).mosaic
        for cfa in ("BGGR", "GBRG", "GRBG")
    ]
    # Crops of one picture, a row or column apart.
    assert all(np.abs(p.sum(0) - phases[0].sum(0)).mean() < 0.05 for p in phases)
    with pytest.raises(UsageError, match="holds no mosaic"):
        classify(predictor, rawzoo.open(shared_raw / "synthetic_mono_12bit.dng"))
    with pytest.raises(UsageError, match="is xtrans"):
        classify(predictor, rawzoo.open(shared_raw / "synthetic_xtrans.dng"))
