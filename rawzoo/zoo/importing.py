"""Importing a published checkpoint: recognise it, convert it, check that it fits, keep it as safetensors."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import rawzoo
from rawzoo.errors import PluginError, RawzooError, UsageError, WeightsError
from rawzoo.files import atomic_path
from rawzoo.zoo import checkpoints, registry
from rawzoo.zoo.card import is_name
from rawzoo.zoo.importers import Match
from rawzoo.zoo.manager import get_manager
from rawzoo.zoo.weights import Provenance, imported_folder, imported_weights

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rawzoo.zoo.checkpoints import Checkpoint

_log = logging.getLogger("rawzoo")

_SUFFIXES = r"(\.(pth?|ckpt|safetensors|keras|h5|weights|tflite|pb|mat|index))+$"


@dataclass(frozen=True)
class Recognised:
    """A match and the importer it came from; no importer for tensors taken by their own names."""

    match: Match
    importer: str | None


@dataclass(frozen=True)
class Imported:
    """Weights that were imported.

    Attributes:
        checkpoint: what they were made from.
        provenance: what the file says about its origin.
        name: what :func:`rawzoo.load` calls the weights.
        path: of the safetensors file.
        tensors: how many there are.
        others: what was imported beside them, where the checkpoint holds the weights of several models.
    """

    checkpoint: Checkpoint
    provenance: Provenance
    name: str
    path: Path
    tensors: int
    others: tuple[Imported, ...] = ()


def import_checkpoint(
    path: str | os.PathLike[str], *, model: str | None = None, name: str | None = None, averages: bool = False
) -> Imported:
    """Makes a published checkpoint loadable with :func:`rawzoo.load`, for each model it holds the weights of.

    Args:
        path: of any format :func:`rawzoo.zoo.checkpoints.read` reads.
        model: name of the one card it is to be imported for; needed when the tensors cannot tell, or when no importer
            knows them and they have the names of the model's own.
        name: what the weights are to be called; None to take the file's name.
        averages: take the moving averages that training kept in place of the variables.

    Raises:
        UsageError: the checkpoint fits several models, ``name`` is taken or no name, there are no averages.
        WeightsError: the file cannot be read, nothing recognises it, or its tensors do not fit the model.
        PluginError: an importer does not do what it promised.
    """
    checkpoint = checkpoints.read(path)
    if averages:
        if not checkpoint.averages:
            raise UsageError(f"{checkpoint.path} has no moving averages; import it without --averages.")
        checkpoint = replace(checkpoint, tensors={**checkpoint.tensors, **checkpoint.averages})
    found = recognise(checkpoint, model)
    if name is None:
        name = _name_from(checkpoint.path)
    elif not is_name(name):
        raise UsageError(f"--name {name!r} must consist of lower-case letters, digits, '-' and '.'.")
    sources = {file.name: _sha256(file) for file in checkpoint.files or (checkpoint.path,)}
    ready = []
    for recognised in found:
        match = recognised.match
        provenance = Provenance(
            model=match.model,
            config=None if match.config is None else dict(match.config),
            description=match.description + (", moving averages" if averages else ""),
            sources=sources,
            importer=recognised.importer,
            rawzoo=rawzoo.__version__,
        )
        _check_name(match.model, name, provenance, registry.card(match.model).weights)
        ready.append((provenance, _converted(recognised, checkpoint)))
    done = []
    for provenance, tensors in ready:
        final = imported_folder(provenance.model) / f"{name}.safetensors"
        _write(final, tensors, provenance)
        done.append(Imported(checkpoint, provenance, name, final, len(tensors)))
    return replace(done[0], others=tuple(done[1:]))


def recognise(checkpoint: Checkpoint, model: str | None = None) -> list[Recognised]:
    """Asks every importer what a checkpoint is.

    An importer that fails is reported on the log and passed over.

    Args:
        model: the answer has to be this one.

    Returns:
        One match, or all of one group.

    Raises:
        UsageError, WeightsError, PluginError: see :func:`import_checkpoint`.
    """
    if model is not None:
        registry.card(model)
    manager = get_manager()
    found: list[Recognised] = []
    failed = []
    for name in manager.names("importer"):
        origin = manager.origin("importer", name)
        importer = f"{name} ({origin})"
        try:
            detect = registry.resolve(manager.get("importer", name).detect, f"importer {importer}")
            for match in detect(checkpoint):
                if not isinstance(match, Match):
                    raise PluginError(f"it gave a {type(match).__name__}, not a Match.")
                registry.card(match.model)
                found.append(Recognised(match, importer))
        except Exception as error:
            if os.environ.get("RAWZOO_STRICT_PLUGINS") == "1":
                raise
            failed.append(name)
            reason = (str(error).splitlines() or [""])[0]
            _log.warning("rawzoo: importer %s passed over, it failed: %s: %s", importer, type(error).__name__, reason)

    fitting = [r for r in found if model in (None, r.match.model)]
    groups = {(r.importer, r.match.group) for r in fitting}
    names = {r.match.model for r in fitting}
    if len(fitting) == 1 or (len(groups) == 1 and fitting[0].match.group and len(names) == len(fitting)):
        return fitting
    listed = "; ".join(f"{r.match.model} ({r.match.description})" for r in fitting or found)
    if len(names) == 1:
        who = " and ".join(str(r.importer) for r in fitting)
        raise PluginError(f"{checkpoint.path} was recognised in more than one way by {who}: {listed}.")
    if fitting:
        raise UsageError(f"{checkpoint.path} could be one of several: {listed}; say which with --as MODEL.")
    if model is not None and found:
        raise UsageError(f"{checkpoint.path} is not for {model}, it was recognised as {listed}; leave out --as.")
    if model is not None:
        own = checkpoint.tensors
        as_they_are = Match(
            model, f"{model}, tensors by its own names", lambda: {key: tensor.numpy() for key, tensor in own.items()}
        )
        return [Recognised(as_they_are, None)]
    raise WeightsError(_unknown(checkpoint, failed))


def _unknown(checkpoint: Checkpoint, failed: list[str]) -> str:
    manager = get_manager()
    known = []
    for name in manager.names("importer"):
        summary = manager.get("importer", name).summary
        known.append(f"{name} ({summary})" if summary else name)
    first = ", ".join(f"{key} {list(tensor.shape)}" for key, tensor in list(checkpoint.tensors.items())[:3])
    return (
        f"{checkpoint.path} is a {checkpoints.FORMATS[checkpoint.format]} whose tensors ({len(checkpoint.tensors)}"
        + (f", first {first}" if first else "")
        + f") no importer recognises; importers: {', '.join(known) or 'none installed'}"
        + (f"; failed: {', '.join(failed)}" if failed else "")
        + ". If its tensors have the names of a model's own, say which with --as MODEL."
    )


def _name_from(path: Path) -> str:
    stem = re.sub(_SUFFIXES, "", path.name.lower())
    return re.sub(r"[^a-z0-9.]+", "-", stem).strip("-.") or "imported"


def _check_name(model: str, name: str, provenance: Provenance, own: Mapping[str, Any]) -> None:
    if name in own:
        raise UsageError(f"model {model} has weights of its own named {name!r}; choose another name with --name.")
    before = imported_weights(model).get(name)
    if before is None:
        return
    try:
        same = Provenance.of(before)
    except WeightsError:  # damaged: to be replaced
        return
    if same is None or (same.sources, same.description) != (provenance.sources, provenance.description):
        came = f" from {', '.join(same.sources)}" if same else ""
        raise UsageError(
            f"model {model} already has weights named {name!r}, imported{came}; choose another name with --name, or "
            f"delete {before}."
        )


def _converted(recognised: Recognised, checkpoint: Checkpoint) -> dict[str, NDArray[Any]]:
    match = recognised.match
    card = registry.card(match.model)
    module = registry.build(card if match.config is None else replace(card, config=match.config))
    what = f"checkpoint {checkpoint.path}"
    if recognised.importer is None:  # nobody has looked at the shapes yet; do so before reading what they promise
        registry.check_fit(module, checkpoint.tensors, what, card.name)
    owner = f"importer {recognised.importer}"
    try:
        tensors = match.convert()
    except RawzooError:
        raise
    except Exception as error:
        raise PluginError(f"{owner} could not convert {checkpoint.path}: {type(error).__name__}: {error}") from error
    if not isinstance(tensors, dict) or not all(isinstance(array, np.ndarray) for array in tensors.values()):
        raise PluginError(f"{owner} did not convert {checkpoint.path} to a dict of NumPy arrays.")
    # Transposed views are what conversion is about; the file has the axes in order. (ascontiguousarray adds one to 0.)
    tensors = {key: np.array(array, order="C") for key, array in tensors.items()}
    registry.check_fit(module, tensors, what, card.name)
    return tensors


def _write(final: Path, tensors: dict[str, NDArray[Any]], provenance: Provenance) -> None:
    from safetensors.numpy import save  # save_file makes files that only their owner may read

    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(final) as part:
            part.write_bytes(save(tensors, {"rawzoo": json.dumps(provenance.to_dict())}))
    except OSError as error:
        raise WeightsError(
            f"weights cannot be stored in {final.parent}: {error.strerror or error}; set RAWZOO_CACHE to a folder with "
            "room that can be written."
        ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
