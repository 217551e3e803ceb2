"""Recognises the checkpoints of aiff22/PyNET-PyTorch (``.pth``) and aiff22/PyNET (TensorFlow, version 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial

import numpy as np
import numpy.typing as npt

from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo.zoo.importers import Match
from rawzoo_pynet.topology import LEVELS, Part, parts, tensors

# Written by a model that was wrapped for several GPUs.
_WRAPPED = "module."
# TensorFlow names variables by the order in which they are created, the first one without a number.
_VARIABLE = "generator/Variable"


def detect(checkpoint: Checkpoint) -> list[Match]:
    """See :class:`rawzoo.zoo.importers.Importer`.

    Every published file holds the tensors of all levels, so that only its name tells which level was trained: without
    ``level_N`` in it there is a match for each.
    """
    named = _by_own_names(checkpoint)
    if named is None:
        return []
    variant, found = named
    file = checkpoint.path.name
    told = re.search(r"level_([0-5])(?!\d)", file)
    saved = re.search(r"(epoch|iteration)_(\d+)", file)
    framework = {"torch": "PyTorch", "tf": "TensorFlow"}[variant]
    return [
        Match(
            f"pynet-{variant}-{level}",
            f"PyNET, {framework}, level {level}" + (f", {saved[1]} {saved[2]}" if saved else ""),
            partial(_convert, variant, level, found),
        )
        for level in ([int(told[1])] if told else LEVELS)
    ]


def _by_own_names(checkpoint: Checkpoint) -> tuple[str, Mapping[str, Tensor]] | None:
    """Variant, and the file's tensors by the names they have in the network of all levels; None: it is not PyNET."""
    held = {name.removeprefix(_WRAPPED): tensor for name, tensor in checkpoint.tensors.items()}
    stored = [tensor for part in parts("torch") for tensor in tensors(part, "torch")]
    if {name: tensor.shape for name, tensor in held.items()} == {tensor.name: tensor.shape for tensor in stored}:
        return "torch", held
    stored = [tensor for part in parts("tf") for tensor in tensors(part, "tf")]
    created = [_VARIABLE + (f"_{i}" if i else "") for i in range(len(stored))]
    shapes = {name: tensor.tensorflow_shape for name, tensor in zip(created, stored, strict=True)}
    if {name: tensor.shape for name, tensor in checkpoint.tensors.items()} == shapes:
        return "tf", {own.name: checkpoint.tensors[name] for name, own in zip(created, stored, strict=True)}
    return None


def _convert(variant: str, level: int, found: Mapping[str, Tensor]) -> dict[str, npt.NDArray[np.generic]]:
    """The tensors that the level needs; heads and upsampling of other levels stay behind."""

    def values(name: str) -> npt.NDArray[np.generic]:
        array = found[name].numpy().astype(np.float32)
        # Rows, columns, inputs, outputs to torch's order; of transposed kernels rows, columns, outputs, inputs.
        return array.transpose(3, 2, 0, 1) if variant == "tf" and array.ndim == 4 else array

    needed: list[Part] = [part for part in parts(variant) if part.serves(level)]
    return {tensor.name: values(tensor.name) for part in needed for tensor in tensors(part, variant)}
