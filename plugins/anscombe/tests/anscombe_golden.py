"""Weights by the rule of the golden files: each variable's values follow from its name."""

import json
import zlib

import numpy as np


class Golden:
    """The golden files in a folder, and the variables they were computed with."""

    def __init__(self, folder):
        self.folder = folder
        self.params = json.loads((folder / "params.json").read_text())["models"]

    def file(self, name):
        return np.load(self.folder / f"golden_{name}.npz")

    def entries(self, model):
        """The described variables of isp, mobilenet_v1_1.0_128, deeper_mobilenet_v1."""
        return [(e["name"], tuple(e["shape"]), e["cls"], e) for e in self.params[model]]

    def isp(self, iterations=1, noise_channel=True):
        entries = self.entries("isp")
        found = {}
        for name, shape, cls, _ in entries:
            if name.endswith("depth_0/conv_in/weights") and not noise_channel:
                shape = (3, 3, 3, 8)
            for step in range(iterations):
                renamed = name.replace("iter_0", f"iter_{step}")
                found[renamed] = variable(renamed, shape, cls)
        return found

    def of(self, model):
        return {name: variable(name, shape, cls) for name, shape, cls, _ in self.entries(model)}

    def mobilenet(self):
        return self.of("mobilenet_v1_1.0_128")

    def joint(self, **options):
        return self.isp(**options) | self.mobilenet()


def variable(name, shape, cls):
    w = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape, np.float32)
    match cls:
        case "kernel" | "kernel_out":
            gain = 2 if cls == "kernel" else 0.1
            values = w * np.sqrt(gain / np.prod(shape[:3]))
        case "depthwise_kernel":
            values = w * np.sqrt(2 / np.prod(shape[:2]))
        case "transpose_kernel":
            values = w * np.sqrt(1 / shape[3])
        case "bias" | "bn_beta" | "bn_mean":
            values = 0.1 * w
        case "bn_gamma" | "lambda":
            values = 1 + 0.1 * w
        case "bn_var":
            values = 1 + 0.1 * np.abs(w)
        case "prox_beta":
            step = int(name.split("iter_")[1].split("/")[0])
            values = 2 ** (step + 1) * (1 + 0.1 * w)
        case _:
            raise AssertionError(cls)
    return np.asarray(values, np.float32)


def nchw(array):
    import torch

    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(array, -1, 1)))


def nhwc(tensor):
    return np.moveaxis(tensor.numpy(), 1, -1)
