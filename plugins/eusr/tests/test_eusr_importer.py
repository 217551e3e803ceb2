"""Files in the published layouts, written here with the weights of the golden outputs."""

import h5py
import numpy as np
import pytest
import torch
from checkpoint_writers import write_graph, write_tensorflow
from test_eusr_network import checkpoint, with_state

import rawzoo
from rawzoo.errors import UsageError, WeightsError
from rawzoo.zoo import checkpoints, importing
from rawzoo.zoo.weights import imported_weights
from rawzoo_eusr import importer
from rawzoo_eusr.network import Discriminator, Generator


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RAWZOO_CACHE", str(tmp_path / "cache"))


def imported(done):
    return sorted([done.provenance.model, *(other.provenance.model for other in done.others)])


@torch.inference_mode()
def assert_golden(specs, planar, name, weights=None):
    """The imported network gives what the published one gave."""
    file, key = {"eusr": ("eusr", name[-2:]), "4pp": ("4pp_passes", f"pass_x{name[-1]}")}[name[:4].rstrip("-")]
    if name == "4pp-eusr":
        key = "pass_x4"
    golden = np.load(specs / f"golden_{file}.npz")
    predictor = rawzoo.load(name, weights=weights)
    found = predictor(planar(golden["input"])[0])
    np.testing.assert_allclose(found, planar(golden[key])[0], rtol=0, atol=1e-3)


def test_checkpoint_of_eusr(specs, planar, published, tmp_path):
    """Three scales in one file, with the slots of the optimiser."""
    variables = published("eusr")
    slots = {f"{name}/{slot}": np.zeros_like(v) for name, v in variables.items() for slot in ("Adam", "Adam_1")}
    powers = {"beta1_power": np.float32(0.9), "beta2_power": np.float32(0.999)}
    everything = dict(sorted((variables | slots | powers).items()))
    write_tensorflow(tmp_path / "model.ckpt-1000000", everything, checksums=False)
    done = importing.import_checkpoint(tmp_path / "model.ckpt-1000000")
    assert imported(done) == ["eusr-x2", "eusr-x4", "eusr-x8"]
    assert done.provenance.description == "EUSR, x2, tensorflow, step 1000000"
    assert done.provenance.config is None
    for name in imported(done):
        assert_golden(specs, planar, name)
    one = importing.import_checkpoint(tmp_path / "model.ckpt-1000000", model="eusr-x4", name="again")
    assert imported(one) == ["eusr-x4"]
    assert list(imported_weights("eusr-x8")) == ["model.ckpt-1000000"]


def test_checkpoint_of_4pp_eusr(specs, planar, published, tmp_path):
    """The generator for all passes; the discriminator is there for who goes on training."""
    variables = published("eusr") | published("discriminator")
    write_tensorflow(tmp_path / "model.ckpt-400000", dict(sorted(variables.items())), checksums=False)
    done = importing.import_checkpoint(tmp_path / "model.ckpt-400000", name="mine")
    assert imported(done) == ["4pp-eusr", "4pp-eusr-via2", "4pp-eusr-via8"]
    for name in ("4pp-eusr", "4pp-eusr-via2", "4pp-eusr-via8"):
        assert_golden(specs, planar, name, weights="mine")
    judge = with_state(Discriminator(), importer.discriminator(checkpoints.read(tmp_path / "model.ckpt-400000")))
    golden = np.load(specs / "golden_discriminator.npz")
    with torch.inference_mode():
        logits = judge(planar(golden["input_50x70"])).reshape(-1, 1)
    np.testing.assert_allclose(logits, golden["logits_50x70"], rtol=0, atol=1e-4)
    with pytest.raises(WeightsError, match="no discriminator"):
        importer.discriminator(checkpoint(published("eusr")))


def test_frozen_graph(specs, planar, published, tmp_path):
    """All scales under the program's own names, as its freeze.py writes it."""
    path = write_graph(tmp_path / "model.pb", published("eusr"))
    assert imported(importing.import_checkpoint(path)) == ["eusr-x2", "eusr-x4", "eusr-x8"]
    assert_golden(specs, planar, "eusr-x2")
    resized = [("output", "ResizeBicubic", ["image", "size"])]
    path = write_graph(tmp_path / "4pp.pb", published("eusr"), resized)
    assert "4pp-eusr" in imported(importing.import_checkpoint(path))


def test_a_graph_of_one_scale_could_be_either(specs, planar, published, tmp_path):
    variables = {k: v for k, v in published("eusr").items() if not any(s in k for s in ("/x2/", "/x8/"))}
    path = write_graph(tmp_path / "4pp_eusr_pirm_x4.pb", variables)
    with pytest.raises(UsageError, match=r"eusr-x4 \(EUSR, x4, .*; 4pp-eusr \(4PP-EUSR, pass x4.*say which with --as"):
        importing.import_checkpoint(path)
    assert imported(importing.import_checkpoint(path, model="4pp-eusr")) == ["4pp-eusr"]
    assert_golden(specs, planar, "4pp-eusr")


def foreign_graph(path, variables, scales, mean, *, switched=False):
    """A graph whose names tell nothing: layers in the order in which a program makes them, biases added in two ways."""
    tensors = {"c0": np.array(mean, np.float32)}
    nodes = [("shifted", "Sub", ["image", "c0"])]

    def layer(name, by):
        number = len(tensors)
        for part in ("kernel", "bias"):
            tensors[f"c{number}{part[0]}"] = variables[f"generator/{name}/{part}"]
            nodes.append((f"n{number}{part[0]}", "Identity", [f"c{number}{part[0]}"]))
        if switched:
            nodes.append((f"s{number}", "Switch", [f"n{number}k", "choice"]))
        nodes.append((f"v{number}", "Conv2D", ["x", f"s{number}:1" if switched else f"n{number}k"]))
        nodes.append((f"b{number}", by, [f"v{number}", f"n{number}b"]))

    ordered = [name.removeprefix("generator/").removesuffix("/kernel") for name in variables if name.endswith("kernel")]
    for scope in ("first_conv", *(f"initial_blocks/x{s}" for s in scales), "shared"):
        for name in ordered:
            if name.startswith(f"{scope}/"):
                layer(name, "BiasAdd")
    for scale in scales:
        for name in ordered:
            if name.startswith(f"upscaling/x{scale}/m"):
                layer(name, "AddV2")
        nodes += [(f"d{scale}{i}", "DepthToSpace", ["x"]) for i in range(scale.bit_length() - 1)]
        layer(f"upscaling/x{scale}/conv2d", "BiasAdd")
    nodes.append(("sr_output", "Add", ["x", "c0"]))
    return write_graph(path, tensors, nodes)


def test_graphs_by_order(specs, planar, published, tmp_path):
    variables, mean = published("eusr"), (114.4, 111.5, 103.0)
    path = foreign_graph(tmp_path / "eusr_x2.pb", variables, [2], mean)
    assert imported(importing.import_checkpoint(path)) == ["eusr-x2"]
    assert_golden(specs, planar, "eusr-x2")
    path = foreign_graph(tmp_path / "eusr_x8.pb", variables, [8], mean)
    assert imported(importing.import_checkpoint(path)) == ["eusr-x8"]
    path = foreign_graph(tmp_path / "all.pb", variables, [2, 4, 8], mean, switched=True)
    assert imported(importing.import_checkpoint(path)) == ["eusr-x2", "eusr-x4", "eusr-x8"]
    assert_golden(specs, planar, "eusr-x4")
    assert_golden(specs, planar, "eusr-x8", weights="all")


def small(*scales, features=6, blocks=2, depth=1, initial=True):
    """A generator with random weights, and its variables by their names in TensorFlow, in the order of their use."""
    torch.manual_seed(0)
    net = Generator(scales, features, blocks, depth, initial)
    names = [name for scale in scales for name in importer._names(scale, blocks, depth, initial)]
    parts = ("first_conv", "initial_blocks", "shared", "upscaling")
    variables = {}
    for ours, theirs in sorted(names, key=lambda name: parts.index(name[1].partition("/")[0])):
        layer = net.get_submodule(ours)
        variables[f"generator/{theirs}/kernel"] = layer.weight.detach().numpy().transpose(2, 3, 1, 0)
        variables[f"generator/{theirs}/bias"] = layer.bias.detach().numpy()
    return net, {name: np.ascontiguousarray(value) for name, value in variables.items()}


def test_the_original_repositorys_network(tmp_path, planar):
    """Another mean, fewer blocks, and no blocks of its own for a network of one scale."""
    net, variables = small(4, initial=False)
    mean = np.array([0.4488, 0.4371, 0.4040]) * 255
    path = foreign_graph(tmp_path / "theirs.pb", variables, [4], mean)
    assert_original(importing.import_checkpoint(path, model="eusr-x4"), net)


def assert_original(done, net, blocks=2):
    """What was imported for eusr-x4 computes as ``net`` with the original repository's mean."""
    mean = np.array([0.4488, 0.4371, 0.4040]) * 255
    assert done.provenance.config == {
        "scales": [4],
        "features": 6,
        "blocks": blocks,
        "initial": False,
        "mean": pytest.approx(mean, abs=1e-4),
    }
    assert f"features 6, blocks {blocks}, initial False, mean [114.44" in done.provenance.description
    net.mean.copy_(torch.from_numpy(mean)[:, None, None])
    x = 255 * torch.rand(3, 9, 8)
    with torch.inference_mode():
        expected = net(x[None])[0]
    torch.testing.assert_close(rawzoo.load("eusr-x4")(x), expected, rtol=0, atol=1e-3)


def renamed(variables, names):
    """The same layers, in their order, under other names; with what else a checkpoint holds."""
    layers = [name.removesuffix("/kernel") for name in variables if name.endswith("/kernel")]
    pairs = list(zip(layers, names, strict=True))
    values = {f"{new}/{part}": variables[f"{old}/{part}"] for old, new in pairs for part in ("kernel", "bias")}
    slots = {f"{name}/Adam": np.zeros_like(value) for name, value in values.items()}
    return values | slots | {"beta1_power": np.float32(0.9), "global_step/global_step": np.int32(7)}


def counted(n):
    return ["conv2d", *(f"conv2d_{i}" for i in range(1, n))]


def test_a_checkpoint_of_the_original_repositorys_first_program(tmp_path):
    """Its layers are counted through all scales."""
    _, variables = small(2, 4, 8)
    write_tensorflow(tmp_path / "model.ckpt-9", renamed(variables, counted(93)))
    done = importing.import_checkpoint(tmp_path / "model.ckpt-9")
    assert imported(done) == ["eusr-x2", "eusr-x4", "eusr-x8"]
    assert "blocks 2, mean [114.444, 111.4605, 103.02], step 9" in done.provenance.description


def test_the_first_programs_network_of_one_scale(tmp_path):
    """Networks of other scales may have as many layers."""
    net, variables = small(4, blocks=8, initial=False)
    write_tensorflow(tmp_path / "model.ckpt-7", renamed(variables, counted(43)))
    with pytest.raises(UsageError, match=r"eusr-x2 .*blocks 14,.* eusr-x4 .*blocks 8,.* eusr-x8 .*blocks 2,"):
        importing.import_checkpoint(tmp_path / "model.ckpt-7")
    assert_original(importing.import_checkpoint(tmp_path / "model.ckpt-7", model="eusr-x4"), net, blocks=8)


def test_a_checkpoint_of_the_original_repositorys_last_program(tmp_path):
    net, variables = small(4, initial=False)
    shared = [f"RB_{i}/{name}" for i in range(2) for name in counted(2)]
    stages = [f"upsampler_4/EUM_{i}/RM_{j}/" for i in range(2) for j in range(4)]
    upscaling = [scope + name for scope in stages for name in ("RB_0/conv2d", "RB_0/conv2d_1", "conv2d")]
    layers = renamed(variables, ["conv2d", *shared, "conv2d_1", *upscaling, "conv2d_2"])
    write_tensorflow(tmp_path / "model.ckpt-7", layers)
    assert_original(importing.import_checkpoint(tmp_path / "model.ckpt-7"), net)
    attention = {"RB_0/CA/mlp_1/kernel": np.zeros((6, 1), np.float32)}
    assert importer.generator(checkpoint(layers | attention)) == []


def test_other_settings(tmp_path):
    _, variables = small(2)
    write_tensorflow(tmp_path / "small", variables)
    done = importing.import_checkpoint(tmp_path / "small")
    assert done.provenance.config == {"scales": [2], "features": 6, "blocks": 2}
    rawzoo.load("eusr-x2")
    for settings, said in (({"blocks": 33}, "blocks 33"), ({"depth": 2}, "depth 2")):
        _, variables = small(2, features=2, **settings)
        with pytest.raises(WeightsError, match=f"EUSR of {said}; the cards, whose halo"):
            importer.generator(checkpoint(variables))


def test_other_networks_are_not_taken(published):
    variables = published("eusr")
    fewer = {
        name: value for name, value in variables.items() if "shared/conv2d_64" not in name and "m0/px3" not in name
    }
    assert importer.generator(checkpoint(fewer)) == []
    assert importer.generator(checkpoint({})) == []
    assert importer.generator(checkpoint({"a": np.zeros(3)}, "x.pb", "tensorflow-graph", operators=[])) == []
    loop = [
        {"op": "Identity", "inputs": ["b"], "outputs": ["a"]},
        {"op": "Identity", "inputs": ["a"], "outputs": ["b"]},
    ]
    conv = [{"op": "Conv2D", "inputs": ["a", "b"], "outputs": ["c"]}]
    assert importer.generator(checkpoint({}, "x.pb", "tensorflow-graph", operators=loop + conv)) == []
    assert importer.predictor(checkpoint(variables)) == []
    scores = published("predictor", "ava:")
    assert importer.generator(checkpoint(scores)) == []
    del scores["block_7_project_BN/beta"]
    assert importer.predictor(checkpoint(scores)) == []


def write_keras(path, variables):
    """Weights as Keras 2 saves them: attributes name the layers, and the weights of each."""
    layers = {}
    for name in variables:
        layers.setdefault(name.partition("/")[0], []).append(name)
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.encode() for layer in layers]
        for layer, names in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"{name}:0".encode() for name in names]
            for name in names:
                group[f"{name}:0"] = variables[name]
    return path


def predictor_graph(path, variables, *, named):
    """A frozen graph of a score predictor; without names, its constants are numbered."""
    names = {name: name if named else f"c{i}" for i, name in enumerate(variables)}
    nodes = [(f"read/{name}", "Identity", [name]) for name in names.values()]
    for _, layer, norm in importer._predictor_layers():
        depthwise = "depthwise" in layer
        kernel = names[f"{layer}/{'depthwise_' if depthwise else ''}kernel"]
        nodes.append((f"{layer}!", "DepthwiseConv2dNative" if depthwise else "Conv2D", ["x", f"read/{kernel}"]))
        parts = [f"read/{names[f'{norm}/{part}']}" for part in ("gamma", "beta", "moving_mean", "moving_variance")]
        nodes.append((f"{norm}!", "FusedBatchNormV3", [f"{layer}!", *parts]))
    nodes.append(("logits", "MatMul", ["x", f"read/{names['dense/kernel']}"]))
    nodes.append(("biased", "BiasAdd", ["logits", f"read/{names['dense/bias']}"]))
    return write_graph(path, {names[name]: value for name, value in variables.items()}, nodes)


@pytest.mark.parametrize("form", ["keras", "graph", "nameless graph"])
@pytest.mark.parametrize(("card", "salt"), [("eusr-aesthetic", "ava"), ("eusr-subjective", "tid2013")])
def test_score_predictors(specs, planar, published, tmp_path, card, salt, form):
    variables = published("predictor", f"{salt}:")
    if form == "keras":
        path = write_keras(tmp_path / f"{salt}.h5", variables)
    else:
        path = predictor_graph(tmp_path / f"{salt}.pb", variables, named=form == "graph")
    with pytest.raises(UsageError, match=r"eusr-aesthetic .* eusr-subjective .* --as MODEL"):
        importing.import_checkpoint(path)
    assert imported(importing.import_checkpoint(path, model=card)) == [card]
    golden = np.load(specs / f"golden_predictor_{salt}.npz")
    predictor = rawzoo.load(card)
    for image, expected in zip(planar(golden["input"]), golden["scores"], strict=True):
        np.testing.assert_allclose(predictor.run(image), expected, rtol=0, atol=1e-5)
