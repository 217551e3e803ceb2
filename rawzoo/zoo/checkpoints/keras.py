"""Keras models: ``.keras`` archives (a zip with HDF5 inside), ``.weights.h5`` and the older ``.h5``.

Names in ``.keras`` and ``.weights.h5`` are paths such as ``layers/conv2d/vars/0``. Older files give each weight the
name it had in the program, such as ``conv1/kernel``, and an order.
"""

from __future__ import annotations

import json
from typing import Any

from rawzoo.zoo.checkpoints import hdf5
from rawzoo.zoo.checkpoints.archive import Archive
from rawzoo.zoo.checkpoints.checkpoint import Checkpoint, Source, Tensor

NAME = "keras"

_WEIGHTS = "model.weights.h5"


def recognises(source: Source) -> bool:
    if source.head(4) == b"PK\3\4":
        return _WEIGHTS in Archive(source).names
    return source.head(8) == hdf5.SIGNATURE


def read(source: Source) -> Checkpoint:
    metadata: dict[str, Any] = {}
    start, count = 0, source.size
    if source.head(4) == b"PK\3\4":
        archive = Archive(source)
        span = archive.span(_WEIGHTS)
        span.check(source.read(span.start, span.count))
        start, count = span.start, span.count
        for member in ("config", "metadata"):
            if f"{member}.json" in archive.names:
                metadata[member] = json.loads(archive.read(f"{member}.json"))
    structure = hdf5.read(source, start, count)
    root = structure.groups.get("", {})
    if isinstance(root.get("model_config"), str):
        metadata["config"] = json.loads(root["model_config"])
    top = "model_weights/" if "model_weights" in structure.groups else ""
    layers = _list(structure.groups.get(top.rstrip("/"), {}), "layer_names")
    if layers is None:
        tensors, left_out = _paths(structure)
    else:
        tensors, left_out = _named(structure, top, layers)
    return Checkpoint(source.path, NAME, tensors, metadata={**metadata, "left_out": left_out})


def _paths(structure: hdf5.Structure) -> tuple[dict[str, Tensor], list[str]]:
    tensors, left_out = {}, []
    for name, dataset in structure.datasets.items():
        if dataset.tensor is None or name.startswith("optimizer/"):
            left_out.append(name)
        else:
            tensors[name] = dataset.tensor
    return tensors, left_out


def _named(structure: hdf5.Structure, top: str, layers: list[str]) -> tuple[dict[str, Tensor], list[str]]:
    """The older form: attributes list the layers, and the weights of each, in order."""
    tensors: dict[str, Tensor] = {}
    used = set()
    for layer in layers:
        for weight in _list(structure.groups.get(f"{top}{layer}", {}), "weight_names") or []:
            path = f"{top}{layer}/{weight}"
            dataset = structure.datasets.get(path)
            if dataset is None or dataset.tensor is None:
                raise ValueError(f"the weight {weight} is missing")
            name = weight.removesuffix(":0")
            # Names are unique in one program; models put together from several repeat them.
            tensors[name if name not in tensors else f"{layer}/{name}"] = dataset.tensor
            used.add(path)
    return tensors, [name for name in structure.datasets if name not in used]


def _list(attributes: dict[str, Any], name: str) -> list[str] | None:
    """A list of texts; Keras cuts one longer than 64 KiB into pieces called ``name0``, ``name1``, ..."""
    pieces = [attributes[name]] if name in attributes else []
    while f"{name}{len(pieces)}" in attributes and name not in attributes:
        pieces.append(attributes[f"{name}{len(pieces)}"])
    texts = [text for piece in pieces if isinstance(piece, list) for text in piece]
    return texts if pieces else None
