"""Published checkpoints, and files written here in the published layouts."""

import io
import zipfile

import numpy as np
import pytest
import torch
from test_awb_network import batch, data_set, published_errors
from typer.testing import CliRunner

import rawzoo
from rawzoo.errors import WeightsError
from rawzoo.raw.image import ColorMatrix
from rawzoo.zoo import checkpoints, importing
from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo_awb import importer
from rawzoo_awb.network import AwbNetwork

LAYERS = {
    "pisp": [(3, 3, 3, 16), (3, 3, 16, 32), (3, 3, 32, 64), (1024, 10)],
    "vc4": [(3, 3, 3, 32), (3, 3, 32, 64), (960, 10)],
}
CARDS = {card.name: card for card in importer.CARDS}


@pytest.fixture(params=["pisp", "vc4"])
def target(request):
    return request.param


@pytest.mark.parametrize("suffix", ["keras", "tflite"])
def test_published_files(specs, published, target, suffix):
    done = importing.import_checkpoint(published / "models" / f"model_{target}.{suffix}", name="theirs")
    assert done.provenance.model == f"awb-{target}"
    assert target in done.provenance.description
    network = rawzoo.load(f"awb-{target}", weights="theirs").module
    golden = np.load(specs / f"golden_{target}.npz")
    x, lux = batch(golden["image_u16"] / np.float32(65535)), torch.from_numpy(golden["lux"])
    with torch.inference_mode():
        temperature = network(x, lux).numpy()
    if suffix == "keras":
        np.testing.assert_allclose(temperature, golden["temperature"], atol=0.05)
    else:
        # TensorFlow Lite also rounds activations to 8 bit; the facts give 22.6 K as the worst of all 708 images.
        np.testing.assert_allclose(temperature, golden["temperature_tflite"], atol=22.6)


def test_8_bit_weights_reach_the_figures_of_the_published_file(published, target):
    path = published / "models" / f"model_{target}.tflite"
    (match,) = importer.detect(checkpoints.read(path))
    network = AwbNetwork(**CARDS[match.model].config)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in match.convert().items()})
    images, label, lux = data_set(published, target)
    with torch.inference_mode():
        temperature = network(batch(images / np.float32(65535)), torch.from_numpy(lux)).numpy()
    mired, _ = published_errors(temperature, label)
    assert mired.mean() == pytest.approx({"pisp": 2.38, "vc4": 2.86}[target], abs=0.02)


def random_layers(target, seed=0):
    """Kernel and bias per layer, in Keras's layout."""
    rng = np.random.default_rng(seed)
    return [
        (rng.normal(size=shape).astype(np.float32) / np.prod(shape[:-1]) ** 0.5, rng.normal(size=shape[-1:]) * 0.1)
        for shape in LAYERS[target]
    ]


def names(target):
    return [f"conv2d{f'_{i}' if i else ''}" for i in range(len(LAYERS[target]) - 1)] + ["dense"]


def write_keras(path, target, layers):
    """A ``.keras`` archive as Keras 3 writes it, with optimiser slots and the state of a random layer."""
    h5py = pytest.importorskip("h5py")
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, (kernel, bias) in zip(names(target), layers, strict=True):
            file[f"layers/{name}/vars/0"], file[f"layers/{name}/vars/1"] = kernel, bias.astype(np.float32)
        file["layers/dropout/seed_generator/vars/0"] = np.array([1, 2], np.uint32)
        file["optimizer/vars/0"] = np.int64(7)
        file["optimizer/vars/2"] = layers[0][0]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", '{"keras_version": "3.11.3", "date_saved": "2025-10-17@08:24:16"}')
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", buffer.getvalue())


def forward(layers, image, lux):
    """The network in NumPy, one image ``[h, w, 3]``, in double precision."""
    green = np.clip(image[..., 1], 0.1, 1)
    red, blue = ((np.log(np.clip(image[..., c] / green, 0.01, 1)) + 1) / 2 for c in (0, 2))
    x = np.clip(np.stack([red, np.full_like(red, np.log(lux) / 10), blue], axis=-1), 0, 1)
    for i, (kernel, bias) in enumerate(layers[:-1]):
        if i:
            h, w = x.shape[0] // 2, x.shape[1] // 2
            x = x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).max(axis=(1, 3))
        windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(0, 1))
        x = np.maximum(np.einsum("hwcyx,yxco->hwo", windows, kernel) + bias, 0)
    logits = x.ravel() @ layers[-1][0] + layers[-1][1]
    p = np.exp(logits - logits.max()) ** 2
    return (p * np.linspace(2800, 7600, 10)).sum() / p.sum()


def check(match, target, layers):
    assert match.model == f"awb-{target}"
    card = CARDS[match.model]
    network = AwbNetwork(**card.config)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in match.convert().items()})
    image = np.random.default_rng(1).random((*card.config["grid"], 3)).astype(np.float32)
    with torch.inference_mode():
        found = network(batch(image[None]), torch.tensor([777.0])).item()
    assert found == pytest.approx(forward(layers, image, 777.0), abs=0.05)


def test_keras_file_written_here(tmp_path, target):
    layers = random_layers(target)
    write_keras(tmp_path / "mine.keras", target, layers)
    (match,) = importer.detect(checkpoints.read(tmp_path / "mine.keras"))
    assert match.description == f"raspberrypi/awb_nn, {target}, keras, saved 2025-10-17 08:24:16"
    check(match, target, layers)
    importing.import_checkpoint(tmp_path / "mine.keras")
    assert rawzoo.load(f"awb-{target}", weights="mine").card.name == f"awb-{target}"


def test_what_import_prints_works(tmp_path):
    from rawzoo.cli import app

    def run(*arguments):
        done = CliRunner().invoke(app, list(map(str, arguments)))
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    write_keras(tmp_path / "mine.keras", "pisp", random_layers("pisp"))
    text = run("import", tmp_path / "mine.keras")
    assert "rawzoo develop FILE -o OUT --white-balance awb-pisp@mine " in text
    assert "awb-pisp has no others, so they need not be named" in text
    matrix = ((0.7, -0.12, -0.09), (-0.38, 1.16, 0.25), (-0.04, 0.15, 0.6))
    mosaic = np.random.default_rng(0).integers(500, 3000, (64, 96)).astype(np.uint16)
    levels = {"cfa": "RGGB", "black_level": 256, "white_level": 4095, "as_shot_neutral": (0.5, 1, 0.6)}
    raw = rawzoo.RawImage.from_array(mosaic, color_matrices=[ColorMatrix(21, matrix)], **levels)
    rawzoo.write_dng(tmp_path / "in.dng", raw)
    for choice, name in (("awb-pisp@mine", "a.png"), ("awb-pisp", "b.png"), ("as-shot", "c.png")):
        run("develop", tmp_path / "in.dng", "-o", tmp_path / name, "--white-balance", choice)
    first, second, other = ((tmp_path / f"{name}.png").read_bytes() for name in "abc")
    assert first == second != other


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_tflite_layout(tmp_path, target, dtype):
    """Outputs first, meaningless names, layers known by their operators; float16 is widened by an operator."""
    tensors, operators = {}, []
    layers = random_layers(target)
    for i, (kernel, bias) in enumerate(layers):
        values = {f"const{2 * i}": np.moveaxis(kernel, -1, 0).astype(dtype), f"const{2 * i + 1}": bias.astype(dtype)}
        tensors |= values
        if dtype == np.float16:
            operators += [{"op": 6, "inputs": [name], "outputs": [f"{name}/wide"]} for name in values]
        inputs = [f"{name}/wide" if dtype == np.float16 else name for name in values]
        operators.append({"op": 9 if kernel.ndim == 2 else 3, "inputs": ["x", *inputs], "outputs": ["x"]})
    tensors["shape"] = np.array([1, -1], np.int32)
    held = {
        name: Tensor(value.shape, value.dtype, tmp_path, lambda value=value: value) for name, value in tensors.items()
    }
    (match,) = importer.detect(Checkpoint(tmp_path, "tflite", held, metadata={"operators": operators}))
    rounded = [(kernel.astype(dtype).astype(float), bias.astype(dtype).astype(float)) for kernel, bias in layers]
    check(match, target, rounded)


def test_other_networks_are_not_taken(tmp_path):
    layers = random_layers("pisp")
    wrong = [*layers[:2], (layers[2][0][..., :-1], layers[2][1][:-1]), layers[3]]
    write_keras(tmp_path / "other.keras", "pisp", wrong)
    assert importer.detect(checkpoints.read(tmp_path / "other.keras")) == []
    with pytest.raises(WeightsError, match=r"other\.keras"):
        importing.import_checkpoint(tmp_path / "other.keras")
    assert importer.detect(Checkpoint(tmp_path, "tflite", {})) == []
