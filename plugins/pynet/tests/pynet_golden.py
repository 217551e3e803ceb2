"""The weights behind the golden vectors: each tensor is noise seeded by its name (SPEC 12)."""

import zlib

import numpy as np
import torch

from rawzoo_pynet.network import PyNet
from rawzoo_pynet.topology import parts, tensors


def golden_weights(variant):
    """Names and arrays as the checkpoint of the framework has them."""
    found = {}
    for part in parts(variant):
        for tensor in tensors(part, variant):
            if variant == "torch":
                name, shape = tensor.name, tensor.shape
            else:
                name = "generator/Variable" + (f"_{len(found)}" if found else "")
                shape = tensor.tensorflow_shape
            values = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, np.float32)
            if len(shape) == 4:
                scale = np.float32((1 / (part_inputs(part, tensor) * np.prod(tensor.shape[2:]))) ** 0.5)
                found[name] = values * scale
            else:
                found[name] = np.float32(tensor.name.endswith("instance.weight")) + np.float32(0.1) * values
    return found


def part_inputs(part, tensor):
    """Channels that a kernel reads."""
    return part.outputs if tensor.name.endswith("b.conv2d.weight") and part.kind == "block" else part.inputs


def transposed(array):
    """TensorFlow's kernel as torch's; for transposed convolutions too."""
    return array.transpose(3, 2, 0, 1) if array.ndim == 4 else array


class Weights:
    """The golden weights by the networks' own names."""

    def __init__(self, published):
        names = [tensor.name for part in parts("tf") for tensor in tensors(part, "tf")]
        arrays = map(transposed, published["tf"].values())
        self._own = {"torch": published["torch"], "tf": dict(zip(names, arrays, strict=True))}

    def network(self, variant, level):
        """The network with these weights."""
        with torch.device("meta"):
            network = PyNet(variant, level)
        own = self._own[variant]
        # Kept contiguous, where the predictor would lay them out channels-last: the result must not depend on it.
        state = {name: torch.from_numpy(np.ascontiguousarray(own[name])) for name in network.state_dict()}
        network.load_state_dict(state, assign=True)
        return network.eval()
