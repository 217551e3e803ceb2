"""Published checkpoints, read without the framework that wrote them and without executing anything in them.

One module a format; :func:`read` tells the format from the content. Values are read when asked for, and no number in a
file is believed before it has been compared with the size of the file.
"""

from __future__ import annotations

import os
from pathlib import Path

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import graphdef, keras, matlab, pytorch, safetensors, tensorflow, tflite, torchscript
from rawzoo.zoo.checkpoints.checkpoint import Checkpoint, Source, Tensor, reading

__all__ = ["FORMATS", "Checkpoint", "Tensor", "read"]

# TorchScript before PyTorch, which would take its archives too; a frozen graph, which has no mark of its own, last.
_MODULES = (torchscript, pytorch, keras, matlab, tflite, tensorflow, safetensors, graphdef)

#: Format names -> what files have it, for people.
FORMATS = {
    safetensors.NAME: "safetensors file",
    pytorch.NAME: "PyTorch state dict (.pth, .pt, .ckpt)",
    torchscript.NAME: "TorchScript archive (.pt)",
    tensorflow.NAME: "TensorFlow checkpoint (.index and .data, or their common prefix)",
    graphdef.NAME: "frozen TensorFlow graph (.pb)",
    keras.NAME: "Keras model (.keras, .h5)",
    tflite.NAME: "TensorFlow Lite model (.tflite)",
    matlab.NAME: "MATLAB file (.mat)",
}


def read(path: str | os.PathLike[str]) -> Checkpoint:
    """Names, shapes and dtypes of what a checkpoint holds; values follow on demand.

    Args:
        path: a file of one of :data:`FORMATS`. A TensorFlow checkpoint is also known by its prefix, by any of its
            files, by the file ``checkpoint`` beside them (the latest), and a SavedModel by its folder.

    Raises:
        WeightsError: there is no such file; it is of none of the formats, damaged, incomplete, or would have to be
            executed; or a package that reads it is missing.
    """
    path = Path(path)
    with reading(path):
        path = tensorflow.locate(path) or path
        if not path.is_file():
            raise WeightsError(f"checkpoint {path} does not exist; check the path.")
        source = Source(path)
        for module in _MODULES:
            if module.recognises(source):
                checkpoint: Checkpoint = module.read(source)
                return checkpoint
    raise WeightsError(f"{path} is no checkpoint rawzoo can read; it reads: {', '.join(FORMATS.values())}.")
