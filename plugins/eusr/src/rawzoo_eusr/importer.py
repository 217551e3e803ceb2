"""Recognises the networks of idearibosome/tf-perceptual-eusr: TensorFlow checkpoints and frozen graphs, Keras models.

TensorFlow numbers the layers of a scope: ``conv2d``, ``conv2d_1``, ... Where a graph has other names than the published
program gives (SRZoo's EUSR was made of an older one), its layers are known by their order and shapes. So are those of
checkpoints of junhyukk/EUSR-Tensorflow, whose first version has one scope for all layers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo.zoo.importers import Match
from rawzoo_eusr.network import MEAN
from rawzoo_eusr.plugin import EUSR, FOUR_PASS, PREDICTORS

_Arrays = dict[str, npt.NDArray[np.generic]]
#: Kernel and bias of layers, by the name of the layer in the module.
_Layers = dict[str, tuple[Tensor, Tensor]]

#: Settings of the published networks. The cards' halos are for no more blocks than these.
_USUAL = {"features": 64, "blocks": 32, "depth": 1, "initial": True}

_FIRST = "first_conv/conv2d/kernel"

#: Mean of R, G, B in the original EUSR repository, which its checkpoints do not hold.
_ORIGINAL_MEAN = [114.444, 111.4605, 103.02]


@dataclass(frozen=True)
class _Found:
    """The generator of one scale, and its settings as :class:`rawzoo_eusr.network.Generator` has them."""

    scale: int
    layers: _Layers
    blocks: int
    depth: int
    initial: bool

    def unusual(self) -> dict[str, Any]:
        """The settings in which it differs from the published one."""
        features = self.layers["first"][0].shape[3]
        settings = {"features": features, "blocks": self.blocks, "depth": self.depth, "initial": self.initial}
        return {name: value for name, value in settings.items() if value != _USUAL[name]}


def generator(checkpoint: Checkpoint) -> list[Match]:
    """See :class:`rawzoo.zoo.importers.Importer`. A checkpoint has no mean in it; that of its program is taken."""
    original = False
    found = _by_name(checkpoint) or _by_order(checkpoint)
    if not found:
        found, original = _original(checkpoint), True
    if not found:
        return []
    four_pass = "discriminator/final/dense/kernel" in checkpoint.tensors or any(
        operator["op"] == "ResizeBicubic" for operator in checkpoint.metadata.get("operators", [])
    )
    families = [("4PP-EUSR, pass x", FOUR_PASS) if four_pass else ("EUSR, x", EUSR)]
    # Nothing tells of a graph with no scale but 4 which of the two it is.
    either = checkpoint.format == "tensorflow-graph" and not four_pass and [one.scale for one in found] == [4]
    if either:
        families.append(("4PP-EUSR, pass x", FOUR_PASS))
    # Layers without names, of one scale: fewer blocks and more doublings make as many.
    ambiguous = either or (original and len({one.blocks for one in found}) > 1)
    mean = _ORIGINAL_MEAN if original else _unusual_mean(checkpoint)
    step = re.search(r"ckpt-(\d+)$", checkpoint.path.name)
    matches = []
    for family, cards in families:
        for one in found:
            changed = one.unusual() | ({"mean": mean} if mean else {})
            said = [f"{family}{one.scale}", checkpoint.format]
            said += [f"{name} {value}" for name, value in changed.items()]
            said += [f"step {step[1]}"] if step else []
            card = cards[one.scale]
            matches.append(
                Match(
                    card.name,
                    ", ".join(said),
                    partial(_convolutions, one.layers),
                    config={**card.config, **changed} if changed else None,
                    group="" if ambiguous else family,
                )
            )
    return matches


def discriminator(checkpoint: Checkpoint) -> _Arrays:
    """State of :class:`rawzoo_eusr.network.Discriminator` from a checkpoint of 4PP-EUSR's training.

    Raises:
        WeightsError: there is none.
    """
    names = {f"convolutions.{i}": f"conv{i + 1}/conv2d" for i in range(10)}
    names |= {"dense": "fc/dense", "last": "final/dense"}
    layers = {ours: _layer(checkpoint, f"discriminator/{theirs}") for ours, theirs in names.items()}
    there = {ours: layer for ours, layer in layers.items() if layer is not None}
    if len(there) < len(layers):
        raise WeightsError(f"{checkpoint.path} holds no discriminator; give a checkpoint of 4PP-EUSR's training.")
    return _convolutions(there)


def predictor(checkpoint: Checkpoint) -> list[Match]:
    """See :class:`rawzoo.zoo.importers.Importer`. Nothing says what scores a network was trained with."""
    tensors = _predictor_by_name(checkpoint) or _predictor_by_order(checkpoint)
    if not tensors:
        return []
    what = f"score predictor of 4PP-EUSR, {checkpoint.format}"
    return [Match(card.name, what, partial(_predictor_state, tensors)) for card in PREDICTORS]


def _numbered(name: str, number: int) -> str:
    return f"{name}_{number}" if number else name


def _layer(checkpoint: Checkpoint, name: str) -> tuple[Tensor, Tensor] | None:
    kernel, bias = (checkpoint.tensors.get(f"{name}/{part}") for part in ("kernel", "bias"))
    return None if kernel is None or bias is None else (kernel, bias)


def _names(scale: int, blocks: int, depth: int, initial: bool) -> Iterator[tuple[str, str]]:
    """Layers of a generator in the order of their use: names in the module and in the reference."""
    yield "first", "first_conv/conv2d"
    branch = f"branches.{scale}"
    for i in range(4 if initial else 0):
        yield f"{branch}.initial.{i // 2}.conv{i % 2 + 1}", f"initial_blocks/x{scale}/{_numbered('conv2d', i)}"
    yield from _module_names("shared", "shared", blocks)
    for stage in range(scale.bit_length() - 1):
        for pixel in range(4):
            ours = f"{branch}.upscaling.stages.{stage}.{pixel}"
            yield from _module_names(ours, f"upscaling/x{scale}/m{stage}/px{pixel}", depth)
    yield f"{branch}.upscaling.last", f"upscaling/x{scale}/conv2d"


def _module_names(ours: str, theirs: str, blocks: int) -> Iterator[tuple[str, str]]:
    for i in range(2 * blocks):
        yield f"{ours}.blocks.{i // 2}.conv{i % 2 + 1}", f"{theirs}/{_numbered('conv2d', i)}"
    yield f"{ours}.tail", f"{theirs}/{_numbered('conv2d', 2 * blocks)}"


def _by_name(checkpoint: Checkpoint) -> list[_Found]:
    prefix = next((name.removesuffix(_FIRST) for name in checkpoint.tensors if name.endswith(_FIRST)), None)
    if prefix is None:
        return []

    def count(scope: str) -> int:
        """Residual blocks of a scope: two convolutions each, and one at the end."""
        number = 0
        while f"{prefix}{scope}/{_numbered('conv2d', number)}/kernel" in checkpoint.tensors:
            number += 1
        return (number - 1) // 2

    found = []
    for scale in (2, 4, 8):
        if f"{prefix}upscaling/x{scale}/conv2d/kernel" not in checkpoint.tensors:
            continue
        blocks, depth = count("shared"), count(f"upscaling/x{scale}/m0/px0")
        initial = f"{prefix}initial_blocks/x{scale}/conv2d/kernel" in checkpoint.tensors
        for what, value in (("blocks", blocks), ("depth", depth)):
            if value > _USUAL[what]:
                raise WeightsError(
                    f"{checkpoint.path} is an EUSR of {what} {value}; the cards, whose halo is for {_USUAL[what]}, "
                    "cannot stand for it."
                )
        layers = {ours: _layer(checkpoint, prefix + theirs) for ours, theirs in _names(scale, blocks, depth, initial)}
        there = {ours: layer for ours, layer in layers.items() if layer is not None}
        if len(there) == len(layers):
            found.append(_Found(scale, there, blocks, depth, initial))
    return found


def _by_order(checkpoint: Checkpoint) -> list[_Found]:
    """Generators of a graph with one scale or all three, in this order."""
    doublings = sum(operator["op"] == "DepthToSpace" for operator in checkpoint.metadata.get("operators", []))
    return _in_order(_Graph(checkpoint).convolutions(), [doublings])


def _original(checkpoint: Checkpoint) -> list[_Found]:
    """Generators of a checkpoint of the original repository: of its first program, which numbers all layers, so that a
    network of one scale may be one of several; or of its last, which can only make networks of one scale."""
    named: Iterable[str] = (_numbered("conv2d", i) for i in itertools.count())
    doublings = [1, 2, 3]
    for n in doublings:
        if f"upsampler_{1 << n}/EUM_0/RM_0/conv2d/kernel" in checkpoint.tensors:
            named, doublings = _scoped(checkpoint, n), [n]
            break
    layers = list(itertools.takewhile(bool, (_layer(checkpoint, name) for name in named)))
    kernels = sum(name.endswith("/kernel") for name in checkpoint.tensors)
    # More of them belong to options that this network does not have, such as attention.
    return _in_order([layer for layer in layers if layer], doublings) if len(layers) == kernels else []


def _scoped(checkpoint: Checkpoint, doublings: int) -> Iterator[str]:
    """Layers of the original repository's last program in the order of their use."""

    def module(scope: str) -> Iterator[str]:
        block = 0
        while f"{scope}RB_{block}/conv2d/kernel" in checkpoint.tensors:
            yield f"{scope}RB_{block}/conv2d"
            yield f"{scope}RB_{block}/conv2d_1"
            block += 1

    yield "conv2d"
    yield from module("")
    yield "conv2d_1"
    for stage, pixel in itertools.product(range(doublings), range(4)):
        scope = f"upsampler_{1 << doublings}/EUM_{stage}/RM_{pixel}/"
        yield from module(scope)
        yield f"{scope}conv2d"
    yield "conv2d_2"


def _in_order(layers: list[tuple[Tensor, Tensor]], doublings: Sequence[int]) -> list[_Found]:
    """Generators of these layers, of one scale, with one of these numbers of doublings, or of all three."""
    if len(layers) < 4 or layers[0][0].shape[:3] != (3, 3, 3):
        return []
    features = layers[0][0].shape[3]
    known: dict[tuple[int, ...], str] = {
        (5, 5, features, features): "5",
        (3, 3, features, features): "3",
        (3, 3, features, 3): "o",
    }
    kinds = "".join(known.get(kernel.shape, "?") for kernel, _ in layers[1:])
    initial = "5" in kinds
    if all_scales := re.fullmatch(r"5{12}(3+)o3{24}o3{36}o", kinds):
        candidates = [([2, 4, 8], len(all_scales[1]) - 12)]
    elif one_scale := re.fullmatch(r"(?:5{4})?(3+)o", kinds):
        candidates = [([1 << n], len(one_scale[1]) - 12 * n) for n in doublings if 1 <= n <= 3]
    else:
        candidates = []
    found = []
    for scales, before in candidates:
        blocks, odd = divmod(before, 2)
        if odd != 1 or not 1 <= blocks <= _USUAL["blocks"]:
            continue
        shared = 1 + kinds.rindex("5") + 1 if initial else 1
        start = shared + before
        for number, scale in enumerate(scales):
            stop = start + 12 * (scale.bit_length() - 1) + 1
            used = [0, *(range(1 + 4 * number, 5 + 4 * number) if initial else ()), *range(shared, shared + before)]
            used += range(start, stop)
            names = [ours for ours, _ in _names(scale, blocks, 1, initial)]
            found.append(_Found(scale, {n: layers[i] for n, i in zip(names, used, strict=True)}, blocks, 1, initial))
            start = stop
    return found


class _Graph:
    """What the operators of a frozen graph compute with."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._tensors = checkpoint.tensors
        self.operators = checkpoint.metadata.get("operators", [])
        # Constants reach their operators by way of these, which change nothing.
        self._passed = {
            operator["outputs"][0]: operator["inputs"][0]
            for operator in self.operators
            if operator["op"] in ("Identity", "Switch", "RefSwitch") and operator["inputs"]
        }

    def constant(self, name: str) -> str | None:
        """Name of the constant that an operator's input stands for."""
        for _ in range(len(self._passed) + 1):
            name = name.removeprefix("^").partition(":")[0]
            if name in self._tensors:
                return name
            if name not in self._passed:
                return None
            name = self._passed[name]
        return None

    def constants(self, operator: dict[str, list[str]]) -> list[str]:
        return [name for text in operator["inputs"] if (name := self.constant(text)) is not None]

    def following(self, *kinds: str) -> dict[str, list[str]]:
        """By the name of an operator: the constants of the one of these kinds that takes its result."""
        found: dict[str, list[str]] = {}
        for operator in self.operators:
            if operator["op"] in kinds:
                for text in operator["inputs"]:
                    found.setdefault(text.partition(":")[0], self.constants(operator))
        return found

    def convolutions(self) -> list[tuple[Tensor, Tensor]]:
        """Kernels and biases of the convolutions, each once, in the order of their first use."""
        biases = self.following("BiasAdd", "Add", "AddV2")
        layers: dict[str, tuple[Tensor, Tensor]] = {}
        for operator in self.operators:
            if operator["op"] != "Conv2D":
                continue
            kernels = self.constants(operator)
            added = biases.get(operator["outputs"][0], [])
            if len(kernels) != 1 or len(added) != 1:
                return []
            layers[kernels[0]] = self._tensors[kernels[0]], self._tensors[added[0]]
        return list(layers.values())


def _unusual_mean(checkpoint: Checkpoint) -> list[float] | None:
    """What a graph subtracts from its input, where that is not :data:`MEAN`."""
    graph = _Graph(checkpoint)
    for operator in graph.operators:
        for name in graph.constants(operator) if operator["op"] == "Sub" else ():
            if checkpoint.tensors[name].shape == (3,):
                # Three values of a setting, not of a layer.
                mean = [float(value) for value in checkpoint.tensors[name].numpy()]
                return None if np.allclose(mean, MEAN, rtol=0, atol=1e-4) else mean
    return None


def _convolutions(layers: _Layers) -> _Arrays:
    arrays: _Arrays = {}
    for name, (kernel, bias) in layers.items():
        values = kernel.numpy()
        # HWIO to OIHW; dense layers IO to OI.
        arrays[f"{name}.weight"] = values.transpose(3, 2, 0, 1) if values.ndim == 4 else values.T
        arrays[f"{name}.bias"] = bias.numpy()
    return arrays


def _predictor_layers() -> Iterator[tuple[str, str, str]]:
    """Convolutions of MobileNetV2 in the order of their use: name in the module, Keras's name of the layer and of its
    normalisation."""
    yield "stem", "Conv1", "bn_Conv1"
    for block in range(17):
        theirs = f"block_{block}" if block else "expanded_conv"
        for part in ("expand", "depthwise", "project")[block == 0 :]:
            yield f"blocks.{block}.{part}", f"{theirs}_{part}", f"{theirs}_{part}_BN"
    yield "head", "Conv_1", "Conv_1_bn"


_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}


def _predictor_by_name(checkpoint: Checkpoint) -> dict[str, Tensor]:
    stem = "bn_Conv1/gamma"
    prefix = next((name.removesuffix(stem) for name in checkpoint.tensors if name.endswith(stem)), None)
    if prefix is None:
        return {}
    names = {"dense.weight": "dense/kernel", "dense.bias": "dense/bias"}
    for ours, layer, norm in _predictor_layers():
        names[f"{ours}.conv.weight"] = f"{layer}/{'depthwise_' if 'depthwise' in layer else ''}kernel"
        names |= {f"{ours}.norm.{own}": f"{norm}/{their}" for own, their in _NORM.items()}
    if any(prefix + theirs not in checkpoint.tensors for theirs in names.values()):
        return {}
    return {ours: checkpoint.tensors[prefix + theirs] for ours, theirs in names.items()}


def _predictor_by_order(checkpoint: Checkpoint) -> dict[str, Tensor]:
    graph = _Graph(checkpoint)
    norms = graph.following("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
    biases = graph.following("BiasAdd", "Add", "AddV2")
    of_kind = {"conv": ("Conv2D", "DepthwiseConv2dNative"), "dense": ("MatMul",)}
    layers, dense = ([o for o in graph.operators if o["op"] in kinds] for kinds in of_kind.values())
    names = list(_predictor_layers())
    if len(layers) != len(names) or len(dense) != 1:
        return {}
    found: dict[str, str] = {}
    for (ours, _, _), operator in zip(names, layers, strict=True):
        constants = [*graph.constants(operator), *norms.get(operator["outputs"][0], [])]
        if len(constants) != 5:
            return {}
        found |= zip(
            [f"{ours}.{part}" for part in ("conv.weight", *(f"norm.{own}" for own in _NORM))], constants, strict=True
        )
    last = [*graph.constants(dense[0]), *biases.get(dense[0]["outputs"][0], [])]
    if len(last) != 2:
        return {}
    found |= {"dense.weight": last[0], "dense.bias": last[1]}
    tensors = {ours: checkpoint.tensors[name] for ours, name in found.items()}
    return tensors if tensors["dense.weight"].shape == (1280, 10) else {}


def _predictor_state(tensors: dict[str, Tensor]) -> _Arrays:
    arrays: _Arrays = {}
    for name, tensor in tensors.items():
        values = tensor.numpy()
        if values.ndim == 4:  # HWIO to OIHW; depthwise HWC1 to C1HW
            values = values.transpose(2, 3, 0, 1) if ".depthwise." in name else values.transpose(3, 2, 0, 1)
        elif values.ndim == 2:
            values = values.T
        arrays[name] = values
        if name.endswith("running_var"):
            arrays[name.replace("running_var", "num_batches_tracked")] = np.zeros((), np.int64)
    return arrays
