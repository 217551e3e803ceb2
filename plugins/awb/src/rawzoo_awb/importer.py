"""Recognises the models of raspberrypi/awb_nn: ``.keras``, ``.weights.h5`` and ``.tflite``."""

from __future__ import annotations

import re
from functools import partial

import numpy as np
import numpy.typing as npt

from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo.zoo.importers import Match
from rawzoo_awb.plugin import CARDS

#: Kernel and bias of each layer from first to last; the kernel's axes as the format has them.
_Layers = list[tuple[Tensor, Tensor]]

# BuiltinOperator of TensorFlow Lite.
_CONVOLUTION, _DEQUANTIZE, _DENSE = 3, 6, 9


def detect(checkpoint: Checkpoint) -> list[Match]:
    """See :class:`rawzoo.zoo.importers.Importer`."""
    layers = _tflite_layers(checkpoint) if checkpoint.format == "tflite" else _keras_layers(checkpoint)
    # Keras has the output channels last, TensorFlow Lite first.
    outputs_last = checkpoint.format != "tflite"
    found = []
    for card in CARDS:
        kernels, features = _shapes(**card.config)
        if outputs_last:
            kernels = [(*shape[1:], shape[0]) for shape in kernels]
        if [(kernel.shape, bias.shape) for kernel, bias in layers] == [
            (shape, (shape[-1 if outputs_last else 0],)) for shape in kernels
        ]:
            description = f"raspberrypi/awb_nn, {card.name.removeprefix('awb-')}, {checkpoint.format}"
            if saved := _saved(checkpoint):
                description += f", saved {saved}"
            found.append(Match(card.name, description, partial(_convert, layers, outputs_last, features)))
    return found


def _shapes(grid: list[int], size: int, layers: int) -> tuple[list[tuple[int, ...]], tuple[int, int, int]]:
    """Kernels with the outputs first, and rows, columns, channels of what the dense layer sees."""
    height, width, channels = *grid, 3
    kernels: list[tuple[int, ...]] = []
    for layer in range(layers):
        if layer:
            height, width = height // 2, width // 2
        kernels.append((size << layer, 3, 3, channels))
        height, width, channels = height - 2, width - 2, size << layer
    return [*kernels, (10, height * width * channels)], (height, width, channels)


def _keras_layers(checkpoint: Checkpoint) -> _Layers:
    names = [re.fullmatch(r"layers/((?:conv2d|dense)(?:_(\d+))?)/vars/0", name) for name in checkpoint.tensors]
    # Convolutions before the dense layer, each kind in the order of its numbers.
    ordered = sorted((m for m in names if m), key=lambda m: ("dense" in m[1], int(m[2] or 0)))
    pairs = [[checkpoint.tensors.get(f"layers/{m[1]}/vars/{i}") for i in (0, 1)] for m in ordered]
    return [(kernel, bias) for kernel, bias in pairs if kernel is not None and bias is not None]


def _tflite_layers(checkpoint: Checkpoint) -> _Layers:
    operators = checkpoint.metadata.get("operators", [])
    # float16 models widen each constant before its use.
    stored = {o["outputs"][0]: o["inputs"][0] for o in operators if o["op"] == _DEQUANTIZE}
    layers = []
    for operator in operators:
        if operator["op"] in (_CONVOLUTION, _DENSE):
            constants = [checkpoint.tensors.get(stored.get(name, name)) for name in operator["inputs"][1:3]]
            if len(constants) == 2 and constants[0] is not None and constants[1] is not None:
                layers.append((constants[0], constants[1]))
    return layers


def _saved(checkpoint: Checkpoint) -> str:
    metadata = checkpoint.metadata.get("metadata")
    saved = metadata.get("date_saved") if isinstance(metadata, dict) else None
    return saved.replace("@", " ")[:40] if isinstance(saved, str) else ""


def _convert(layers: _Layers, outputs_last: bool, features: tuple[int, int, int]) -> dict[str, npt.NDArray[np.generic]]:
    tensors: dict[str, npt.NDArray[np.generic]] = {}
    for i, (kernel, bias) in enumerate(layers):
        values = kernel.numpy().astype(np.float32)
        if outputs_last:
            values = np.moveaxis(values, -1, 0)
        if i < len(layers) - 1:
            values, name = values.transpose(0, 3, 1, 2), f"convolutions.{i}"
        else:
            # TensorFlow flattens rows, columns, channels; torch channels, rows, columns.
            values = values.reshape(-1, *features).transpose(0, 3, 1, 2).reshape(len(values), -1)
            name = "dense"
        tensors[f"{name}.weight"] = np.ascontiguousarray(values)
        tensors[f"{name}.bias"] = bias.numpy().astype(np.float32)
    return tensors
