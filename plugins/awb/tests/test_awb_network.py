"""The networks against the reference's own outputs and figures."""

import zipfile

import imagecodecs
import numpy as np
import pytest
import torch

import rawzoo
from rawzoo.tasks.white_balance import mired_error
from rawzoo_awb.network import preprocess

TARGETS = ("pisp", "vc4")


def batch(images):
    """``[N, h, w, 3]`` in 0..1 as the network takes it."""
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(images.astype(np.float32), -1, 1)))


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


@pytest.fixture
def golden(specs, target):
    return np.load(specs / f"golden_{target}.npz")


@pytest.fixture
def network(target, trained):
    return rawzoo.load(f"awb-{target}").module


@torch.inference_mode()
def test_golden_images(golden, network):
    x, lux = batch(golden["image_u16"] / np.float32(65535)), torch.from_numpy(golden["lux"])
    last_first = np.moveaxis(preprocess(x, lux).numpy(), 1, -1)
    np.testing.assert_allclose(last_first, golden["preprocessed"], atol=1e-6)
    np.testing.assert_allclose(network.probabilities(x, lux), golden["softmax"], atol=1e-5)
    np.testing.assert_allclose(network(x, lux), golden["temperature"], atol=0.05)


@torch.inference_mode()
def test_golden_layers(golden, network):
    x, lux = batch(golden["image_u16"][:3] / np.float32(65535)), torch.from_numpy(golden["lux"][:3])
    first = network.convolutions[0](preprocess(x, lux)).relu().numpy()
    np.testing.assert_allclose(np.moveaxis(first, 1, -1), golden["conv1_relu_first3"], atol=1e-5)
    last = network.features(x, lux).numpy()
    channels = network.convolutions[-1].out_channels
    rows_first = np.moveaxis(last.reshape(3, channels, -1), 1, -1).reshape(3, -1)
    np.testing.assert_allclose(rows_first, golden["flatten_first3"], atol=1e-4)


@torch.inference_mode()
def test_golden_edge_cases(golden, network):
    x, lux = batch(golden["edge_image"]), torch.from_numpy(golden["edge_lux"])
    np.testing.assert_allclose(np.moveaxis(preprocess(x, lux).numpy(), 1, -1), golden["edge_preprocessed"], atol=1e-6)
    np.testing.assert_allclose(network(x, lux), golden["edge_temperature"], atol=0.05)


#: Number of images, then mean, median, 95th percentile and largest error, in mired and in kelvin.
FIGURES = {
    "pisp": (566, (2.34, 2, 7, 11), (66.3, 45, 201, 370)),
    "vc4": (545, (2.84, 2, 9, 14), (80.3, 56, 244, 534)),
}


def data_set(published, target):
    """Images ``[N, h, w, 3]`` uint16, labels in kelvin, lux."""
    with zipfile.ZipFile(published / f"dataset-{target}-dev.zip") as archive:
        names = [name for name in archive.namelist() if name.endswith(".png")]
        images = np.stack([imagecodecs.png_decode(archive.read(name)) for name in names])
    fields = [name.rsplit("/", 1)[1].removesuffix(".png").split(",") for name in names]
    return images, np.array([float(f[3]) for f in fields]), np.array([float(f[4]) for f in fields], np.float32)


def published_errors(temperature, label):
    """Mired and kelvin as the reference's check takes them: label clamped, everything truncated."""
    real, found = np.clip(label, 2800, 7600), np.trunc(temperature)
    return np.trunc(mired_error(found, real)), np.trunc(np.abs(found - real))


@torch.inference_mode()
def test_reference_figures(published, target, network):
    images, label, lux = data_set(published, target)
    temperature = network(batch(images / np.float32(65535)), torch.from_numpy(lux)).numpy()
    count, *expected = FIGURES[target]
    assert len(images) == count
    for errors, (mean, median, high, worst) in zip(published_errors(temperature, label), expected, strict=True):
        assert errors.mean() == pytest.approx(mean, abs=0.055)
        assert np.median(errors) == median
        assert np.percentile(errors, 95) == pytest.approx(high, abs=0.5)
        assert errors.max() == worst
    mired = published_errors(temperature, label)[0].mean()
    assert f"{mired:.2f} mired on {count} of the images" in rawzoo.zoo.registry.card(f"awb-{target}").verified


def test_batch_changes_nothing(golden, network):
    x, lux = batch(golden["image_u16"] / np.float32(65535)), torch.from_numpy(golden["lux"])
    with torch.inference_mode():
        alone = torch.cat([network(x[i : i + 1], lux[i : i + 1]) for i in range(len(x))])
        np.testing.assert_allclose(network(x, lux), alone, atol=0.01)
