"""Recognises TensorFlow checkpoints and frozen graphs of DirtyPixels and of slim's MobileNet v1, by their names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from rawzoo.zoo.checkpoints import Checkpoint, Tensor
from rawzoo.zoo.importers import Match
from rawzoo_anscombe.plugin import ISP_ITERATIONS, isp_name

# Where slim's scopes are in the modules; the first that fits counts.
_SCOPES: tuple[tuple[str, Callable[[re.Match[str]], str]], ...] = (
    (r"MobilenetV1/gauss_den_chen_unet/g_conv(\d+)_(\d)/", lambda m: f"unet.{_pair(int(m[1]), int(m[2]))}."),
    (r"MobilenetV1/gauss_den_chen_unet/g_conv10/", lambda _: "unet.out."),
    (r"MobilenetV1/gauss_den_chen_unet/Variable(?:_(\d))?$", lambda m: f"unet.up.{m[1] or 0}.weight"),
    (r"MobilenetV1/Logits/Conv2d_1c_1x1/", lambda _: "logits."),
    (r"MobilenetV1/(Conv2d_\d+(?:_depthwise|_pointwise)?)/", lambda m: f"layers.{m[1]}."),
    (r"gauss_den/lambda$", lambda _: "lambda_"),
    (r"gauss_den/iter_(\d+)/beta$", lambda m: f"iterations.{m[1]}.beta"),
    (r"gauss_den/iter_(\d+)/prior_grad/(depth_\d)/(\w+)/", lambda m: f"iterations.{m[1]}.prior.{m[2]}.{m[3]}."),
)
_VARIABLES = {
    "": "",
    "weights": "weight",
    "depthwise_weights": "weight",
    "biases": "bias",
    "BatchNorm/gamma": "norm.weight",
    "BatchNorm/beta": "norm.bias",
    "BatchNorm/moving_mean": "norm.running_mean",
    "BatchNorm/moving_variance": "norm.running_var",
}

_Tensors = dict[str, tuple[Tensor, bool]]


def _pair(block: int, convolution: int) -> str:
    """g_conv1..5 lead down, g_conv6..9 up."""
    return f"{'down' if block < 6 else 'merge'}.{block - 1 if block < 6 else block - 6}.{convolution - 1}"


def detect(checkpoint: Checkpoint) -> list[Match]:
    """See :class:`rawzoo.zoo.importers.Importer`."""
    if checkpoint.format not in ("tensorflow", "tensorflow-graph"):
        return []
    tensors = _renamed(checkpoint.tensors)
    isp = {key: value for key, value in tensors.items() if key.startswith(("lambda_", "iterations."))}
    mobilenet = {key: value for key, value in tensors.items() if key not in isp}
    iterations = len({key.split(".")[1] for key in isp if key.startswith("iterations.")})
    first = isp.get("iterations.0.prior.depth_0.conv_in.weight")
    channels = first[0].shape[2] if first is not None and len(first[0].shape) == 4 else 0
    is_isp = "lambda_" in isp and channels in (3, 4)
    classes = _classes(mobilenet)

    def match(model: str, what: str, parts: Mapping[str, _Tensors], config: Mapping[str, Any]) -> Match:
        step = f", step {checkpoint.metadata['step']}" if "step" in checkpoint.metadata else ""
        return Match(model, f"DirtyPixels, {what}{step}", partial(_convert, parts), config)

    if is_isp:
        noise = f"{'with' if channels == 4 else 'without'} noise channel"
        rounds = f"{iterations} iteration{'s' if iterations != 1 else ''}"
        options: dict[str, Any] = {"noise_channel": channels == 4, "num_iters": iterations}
        if classes:
            # Names and shapes do not say whether the transform was used; with a noise channel it always was.
            ways = [("dirty-pixels", True, "with")]
            if channels == 3:
                ways.append(("dirty-pixels-no-anscombe", False, "without"))
            return [
                match(
                    model,
                    f"joint network, {word} Anscombe transform, {noise}, {rounds}",
                    {"isp.": isp, "classifier.": mobilenet},
                    {**options, "use_anscombe": transform, "classes": classes},
                )
                for model, transform, word in ways
            ]
        if iterations in ISP_ITERATIONS:
            return [match(isp_name(iterations), f"ISP network, {noise}, {rounds}", {"": isp}, options)]
        return []
    if classes and "unet.out.weight" in mobilenet:
        return [match("deeper-mobilenet-v1", "U-Net and MobileNet v1", {"": mobilenet}, {"classes": classes})]
    if classes:
        return [
            match(model, f"MobileNet v1 for {what}", {"": mobilenet}, {"classes": classes})
            for model, what in (("mobilenet-v1", "developed pictures"), ("mobilenet-v1-mosaic", "mosaics"))
        ]
    return []


def _renamed(tensors: Mapping[str, Tensor]) -> _Tensors:
    """What belongs to one of the networks, by the name in its module; with it, whether the kernel is depthwise."""
    found: _Tensors = {}
    for name, tensor in tensors.items():
        for pattern, scope in _SCOPES:
            start = re.match(pattern, name)
            variable = name[start.end() :] if start else None
            if start and variable in _VARIABLES:
                found[scope(start) + _VARIABLES[variable]] = tensor, variable == "depthwise_weights"
                break
    return found


def _classes(mobilenet: _Tensors) -> int:
    """Classes of a MobileNet v1 1.0; 0 where it is none, or another width."""
    first, last = mobilenet.get("layers.Conv2d_0.weight"), mobilenet.get("logits.weight")
    if first is None or last is None or first[0].shape != (3, 3, 3, 32) or last[0].shape[:3] != (1, 1, 1024):
        return 0
    return last[0].shape[3] if len(last[0].shape) == 4 else 0


def _convert(parts: Mapping[str, _Tensors]) -> dict[str, npt.NDArray[np.generic]]:
    converted: dict[str, npt.NDArray[np.generic]] = {}
    for prefix, tensors in parts.items():
        for key, (tensor, depthwise) in tensors.items():
            values = tensor.numpy()
            if values.ndim == 4:
                # Rows, columns, inputs, outputs (of transposed ones, outputs, inputs) to the order of torch.
                values = values.transpose((2, 3, 0, 1) if depthwise else (3, 2, 0, 1))
            converted[prefix + key] = values.astype(np.float32)
            if key.endswith("running_mean"):
                converted[prefix + key.replace("running_mean", "num_batches_tracked")] = np.array(0, np.int64)
    return converted
