"""TorchScript archives: the tensors among the attributes of the saved module; its code is not even read."""

from __future__ import annotations

import io
from typing import Any

from rawzoo.zoo.checkpoints.archive import Archive
from rawzoo.zoo.checkpoints.checkpoint import Checkpoint, Source, Tensor
from rawzoo.zoo.checkpoints.pickles import Instance, Name, load
from rawzoo.zoo.checkpoints.pytorch import flatten, pickle_member, refusal, tensor_call, zip_storages

NAME = "torchscript"


def recognises(source: Source) -> bool:
    if source.head(4) != b"PK\3\4":
        return False
    archive = Archive(source)
    pickle = pickle_member(archive)
    return pickle is not None and pickle.replace("data.pkl", "constants.pkl") in archive.names


def read(source: Source) -> Checkpoint:
    archive = Archive(source)
    pickle = pickle_member(archive)
    assert pickle is not None
    root = pickle.removesuffix("data.pkl")
    tensors = _tensors(source, archive, root, "data")
    if not tensors:
        # A frozen module: its weights are constants of the code, and have lost their names.
        constants = _tensors(source, archive, root, "constants")
        tensors = {f"CONSTANTS.c{name}": value for name, value in constants.items()}
    return Checkpoint(source.path, NAME, tensors)


def _tensors(source: Source, archive: Archive, root: str, name: str) -> dict[str, Tensor]:
    def otherwise(what: Name, arguments: tuple[Any, ...]) -> Any:
        if what.module.startswith("__torch__"):
            return Instance(what)
        if what.module == "torch.jit._pickle" and what.name.startswith(("build_", "restore_type_tag")):
            return arguments[0]
        raise refusal(source, what)

    persistent = zip_storages(source, archive, f"{root}{name}/")
    return flatten(load(io.BytesIO(archive.read(f"{root}{name}.pkl")), tensor_call(source, otherwise), persistent))
