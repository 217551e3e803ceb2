"""Checkpoints as TensorFlow writes them, imported: the networks then give the golden outputs."""

import numpy as np
import pytest
import torch
from anscombe_golden import nchw
from checkpoint_writers import write_graph, write_tensorflow

import rawzoo
from rawzoo.errors import UsageError, WeightsError
from rawzoo.zoo import importing
from rawzoo_anscombe.isp import AnscombeISP, bayer_mask


def trained(variables, entries):
    """A checkpoint in the middle of training: slots of RMSProp, moving averages, the step."""
    facts = {e["name"]: e for *_, e in entries}
    found = {"global_step": np.array(216759, np.int64)}
    for name, value in variables.items():
        found[name] = value
        fact = facts[name.replace("iter_1", "iter_0").replace("iter_2", "iter_0").replace("iter_3", "iter_0")]
        if fact["trainable"]:
            found[f"{name}/RMSProp"] = np.ones_like(value)
            found[f"{name}/RMSProp_1"] = np.zeros_like(value)
        if fact["model_variable"]:
            found[f"{name}/ExponentialMovingAverage"] = value + np.float32(0.5)
    return found


@pytest.fixture
def written(golden, tmp_path):
    """A function that writes a checkpoint of some networks' variables."""

    def write(variables, *, training=True):
        models = ("isp", "mobilenet_v1_1.0_128", "deeper_mobilenet_v1")
        entries = [entry for model in models for entry in golden.entries(model)]
        return write_tensorflow(
            tmp_path / "model.ckpt-216759", trained(variables, entries) if training else variables, checksums=False
        )

    return write


def assert_close(found, expected, tolerance=1e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(1.0, np.abs(expected).max()))


def mosaic_of(rgb_u8):
    rgb = nchw(rgb_u8 / np.float32(255))
    return rgb * bayer_mask(rgb)


def test_joint(golden, written):
    done = importing.import_checkpoint(written(golden.joint()), name="theirs")
    assert done.provenance.model == "dirty-pixels"
    assert done.provenance.description == (
        "DirtyPixels, joint network, with Anscombe transform, with noise channel, 1 iteration, step 216759"
    )
    assert len(done.checkpoint.averages) == 185
    file = golden.file("joint")
    network = rawzoo.load("dirty-pixels", weights="theirs").module
    with torch.inference_mode():
        for size, prefix, noise in ((128, "", ""), (64, "real/", "3")):
            parameters = [torch.from_numpy(file[name + noise]) for name in ("alpha", "sigma")]
            logits = network(mosaic_of(file[f"rgb_u8_{size}"]), *parameters)
            assert_close(logits.numpy(), file[f"{prefix}logits_{size}"])


def test_moving_averages_take_the_place_of_what_they_average(golden, written):
    variables = golden.joint()
    importing.import_checkpoint(written(variables), name="theirs", averages=True)
    state = rawzoo.load("dirty-pixels", weights="theirs").module.state_dict()
    norm = "MobilenetV1/Conv2d_0/BatchNorm"
    layer = "classifier.layers.Conv2d_0.norm"
    for key, name in (("bias", "beta"), ("weight", "gamma"), ("running_var", "moving_variance")):
        assert_close(state[f"{layer}.{key}"].numpy(), variables[f"{norm}/{name}"] + 0.5)
    # The weights of the iterations have none.
    assert state["isp.iterations.0.beta"] == variables["gauss_den/iter_0/beta"]
    assert state["isp.lambda_"] == variables["gauss_den/lambda"]


def test_joint_without_noise_channel_needs_an_answer(golden, written):
    index = written(golden.joint(noise_channel=False), training=False)
    with pytest.raises(UsageError, match=r"dirty-pixels \(.*without noise channel.*dirty-pixels-no-anscombe \("):
        importing.import_checkpoint(index)
    importing.import_checkpoint(index, model="dirty-pixels-no-anscombe", name="theirs")
    network = rawzoo.load("dirty-pixels-no-anscombe", weights="theirs").module
    file = golden.file("isp")
    with torch.inference_mode():
        found = network.isp(mosaic_of(file["rgb_u8"]))
    assert_close(found.numpy(), np.moveaxis(file["plain/outputs"], -1, 1))
    importing.import_checkpoint(index, model="dirty-pixels", name="theirs")
    network = rawzoo.load("dirty-pixels", weights="theirs").module
    with torch.inference_mode():
        noise = [torch.from_numpy(file[name]) for name in ("alpha", "sigma")]
        found = network.isp(mosaic_of(file["rgb_u8"]), *noise)
    assert_close(found.numpy(), np.moveaxis(file["no_noise_ch/outputs"], -1, 1))


@pytest.mark.parametrize(
    ("case", "name", "options"),
    [
        ("base", "dirty-pixels-isp", {}),
        ("no_noise_ch", "dirty-pixels-isp", {"noise_channel": False}),
        ("iters4", "dirty-pixels-isp-4", {"iterations": 4}),
    ],
)
def test_isp(golden, written, case, name, options):
    done = importing.import_checkpoint(written(golden.isp(**options)), name="theirs")
    assert done.provenance.model == name
    predictor = rawzoo.load(name, weights="theirs")
    network = AnscombeISP(**predictor.card.config)
    network.load_state_dict(predictor.module.state_dict())
    file = golden.file("isp")
    noise = [torch.from_numpy(file[name]) for name in ("alpha", "sigma")]
    with torch.inference_mode():
        found = network.eval()(mosaic_of(file["rgb_u8"]), *noise)
    assert_close(found.numpy(), np.moveaxis(file[f"{case}/outputs"], -1, 1))


@pytest.mark.parametrize("iterations", [2, 3])
def test_isp_of_other_numbers_of_iterations(golden, written, iterations):
    """No golden output has them: their priors are those of the network of four."""
    variables = golden.isp(iterations=4)
    later = tuple(f"gauss_den/iter_{step}/" for step in range(iterations, 4))
    done = importing.import_checkpoint(written({k: v for k, v in variables.items() if not k.startswith(later)}))
    assert done.provenance.model == f"dirty-pixels-isp-{iterations}"
    assert f"{iterations} iterations, step 216759" in done.provenance.description
    few = rawzoo.load(done.provenance.model)
    importing.import_checkpoint(written(variables), name="four")
    four = rawzoo.load("dirty-pixels-isp-4", weights="four").module
    x = torch.rand(1, 4, 16, 16)
    with torch.inference_mode():
        expected = four.eval()
        expected.iterations = expected.iterations[:iterations]
        assert_close(few.module(x).numpy(), expected(x).numpy())
    assert few.card.halo == 32 * iterations


def test_mobilenet_is_for_mosaics_or_for_pictures(golden, written):
    index = written(golden.mobilenet(), training=False)
    with pytest.raises(UsageError, match=r"mobilenet-v1 \(.*mobilenet-v1-mosaic \(.*--as MODEL"):
        importing.import_checkpoint(index)
    file = golden.file("mobilenet_v1")
    for name in ("mobilenet-v1", "mobilenet-v1-mosaic"):
        importing.import_checkpoint(index, model=name, name="theirs")
        with torch.inference_mode():
            network = rawzoo.load(name, weights="theirs").module
            assert_close(network(nchw(2 * (file["rgb_u8_32"] / np.float32(255)) - 1)).numpy(), file["logits_32"])


def test_frozen_graph(golden, tmp_path):
    path = write_graph(tmp_path / "mobilenet_v1_1.0_128_frozen.pb", golden.mobilenet())
    importing.import_checkpoint(path, model="mobilenet-v1")
    network = rawzoo.load("mobilenet-v1", weights="mobilenet-v1-1.0-128-frozen").module
    file = golden.file("mobilenet_v1")
    with torch.inference_mode():
        found = network(nchw(2 * (file["rgb_u8_128"] / np.float32(255)) - 1))
    assert_close(found.numpy(), file["logits_128"])


def test_deeper_mobilenet(golden, written, loaded):
    variables = golden.of("deeper_mobilenet_v1")
    done = importing.import_checkpoint(written(variables, training=False), name="theirs")
    assert done.provenance.model == "deeper-mobilenet-v1"
    state = rawzoo.load("deeper-mobilenet-v1", weights="theirs").module.state_dict()
    # Its outputs are compared where the networks are tested; here, that every variable has its place.
    values = [v for k, v in state.items() if not k.endswith("num_batches_tracked")]
    assert len(values) == len(variables) == 236
    assert sum(v.numel() for v in values) == 4742821
    assert sorted(float(v.sum()) for v in values) == pytest.approx(
        sorted(float(v.sum()) for v in variables.values()), abs=1e-2
    )


def test_other_numbers_of_classes(golden, written):
    variables = golden.mobilenet()
    head = "MobilenetV1/Logits/Conv2d_1c_1x1"
    variables[f"{head}/weights"], variables[f"{head}/biases"] = (
        variables[f"{head}/weights"][..., :7],
        variables[f"{head}/biases"][:7],
    )
    importing.import_checkpoint(written(variables, training=False), model="mobilenet-v1-mosaic", name="mine")
    assert rawzoo.load("mobilenet-v1-mosaic", weights="mine").module.logits.out_channels == 7


def test_what_is_not_taken(golden, written):
    """Networks of other widths and iteration counts, and parts."""
    half = {k: v[..., : max(1, v.shape[-1] // 2)] if v.ndim == 4 else v for k, v in golden.mobilenet().items()}
    five = golden.isp(iterations=5)
    lacking = golden.mobilenet()
    for variables in (half, five, {k: v for k, v in golden.isp().items() if "conv_in" not in k}):
        with pytest.raises(WeightsError, match="no importer recognises"):
            importing.import_checkpoint(written(variables, training=False))
    del lacking["MobilenetV1/Conv2d_5_pointwise/BatchNorm/moving_variance"]
    with pytest.raises(WeightsError, match=r"Conv2d_5_pointwise\.norm\.running_var is missing"):
        importing.import_checkpoint(written(lacking, training=False), model="mobilenet-v1")
