"""The zoo: what models, tasks and runtimes there are, and loading a model.

Only :func:`load` imports torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from rawzoo.errors import PluginError, UsageError, WeightsError
from rawzoo.zoo.card import ModelCard, Weights
from rawzoo.zoo.manager import get_manager
from rawzoo.zoo.weights import Provenance, imported_weights, is_here, weights_file

if TYPE_CHECKING:
    import torch
    from torch import nn

    from rawzoo.inference.predictor import Predictor
    from rawzoo.tasks import Task


def models(task: str | None = None) -> list[ModelCard]:
    """Cards of all models, or of those for one task, by name.

    Raises:
        UsageError: there is no such task.
    """
    manager = get_manager()
    if task is not None:
        manager.get("task", task)
    cards = [card(name) for name in manager.names("model")]
    return [c for c in cards if task is None or c.task == task]


def card(name: str) -> ModelCard:
    """The card of one model.

    Raises:
        UsageError: no model has that name; the nearest names are given.
        PluginError: two plugins claim the name.
    """
    return cast(ModelCard, get_manager().get("model", name))


def tasks() -> list[Task]:
    """All tasks, by name."""
    return [task(name) for name in get_manager().names("task")]


def task(name: str) -> Task:
    """One task. Raises like :func:`card`."""
    return cast("Task", get_manager().get("task", name))


def runtimes() -> list[str]:
    """Names of the runtimes."""
    return get_manager().names("runtime")


def load(
    name: str,
    *,
    weights: str | Path | None = None,
    device: str | torch.device = "cpu",
    dtype: str | torch.dtype | None = None,
    tile: int | None = None,
    runtime: str = "torch",
) -> Predictor:
    """A model ready to run.

    Args:
        name: of a model in the zoo.
        weights: name of one of the card's or of imported weights, or a safetensors file; None for the card's first, or
            for the imported ones of a card that has none.
        device: a torch device, e.g. ``"cpu"``, ``"cuda"``, ``"cuda:1"``.
        dtype: one of the card's; None for the first of them.
        tile: edge of the tiles in input-tensor pixels; None to let the predictor choose.
        runtime: what executes the model.

    Raises:
        UsageError: no such model, weights, device, dtype or runtime.
        PluginError: the model's or runtime's code cannot be imported or does not do as its card says.
        WeightsError: weights are missing, damaged, or made for another model; or there are none for a module with
            parameters, which is never run with random ones.
    """
    manager = get_manager()
    model = card(name)
    _check_task(model)
    make_predictor = resolve(
        manager.get("runtime", runtime), f"runtime {runtime!r} of {manager.origin('runtime', runtime)}"
    )
    chosen = _choose_weights(model, weights)
    if chosen is None:
        module = build(model)
        if any(True for _ in module.parameters()):
            raise WeightsError(_no_weights(model))
    else:
        with weights_file(chosen) as path:
            model = _configured(model, path)
            module = build(model)
            load_weights(module, path, name)
    return cast("Predictor", make_predictor(model, module, device=device, dtype=dtype, tile=tile))


def has_weights(model: ModelCard) -> bool:
    """Whether :func:`load` finds weights for a model without being told which, and without fetching them."""
    if model.weights:
        return is_here(next(iter(model.weights.values())))
    return len(imported_weights(model.name)) == 1


def build(model: ModelCard) -> nn.Module:
    """The network of a card, without its weights.

    Raises:
        PluginError: its code cannot be imported, fails, or gives no torch module.
    """
    import torch

    owner = f"model {model.name!r} of {get_manager().origin('model', model.name)}"
    factory = resolve(model.architecture, owner)
    try:
        module = factory(**model.config)
    except Exception as error:
        raise PluginError(f"{owner} cannot be built: {type(error).__name__}: {error}") from error
    if not isinstance(module, torch.nn.Module):
        raise PluginError(f"{owner}: {model.architecture} returned a {type(module).__name__}, not a torch.nn.Module.")
    return module


def adapter(card: ModelCard) -> Any:
    """The function that a card's ``adapter`` names.

    Raises:
        PluginError: the card names none, or it cannot be imported.
    """
    owner = f"model {card.name!r} of {get_manager().origin('model', card.name)}"
    if not card.adapter:
        raise PluginError(f"{owner}: task {card.task} needs an adapter, and the card names none.")
    return resolve(card.adapter, owner)


def load_weights(module: nn.Module, path: Path, model: str) -> None:
    """Copies the tensors of a safetensors file into a module; every name and shape must match.

    Raises:
        WeightsError: the file cannot be read or is for another module; the first differences are named.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"weights file {path} is not a readable safetensors file: {error}") from error
    check_fit(module, tensors, f"weights file {path}", model)
    module.load_state_dict(tensors)


class _Shaped(Protocol):
    @property
    def shape(self) -> Sequence[int]: ...


def check_fit(module: nn.Module, tensors: Mapping[str, _Shaped], what: str, model: str) -> None:
    """Makes sure that tensors are the ones a module has, by name and shape.

    Args:
        tensors: of torch, NumPy or a checkpoint.
        what: where they are from, for the error.
        model: whose module it is.

    Raises:
        WeightsError: they are not; the first differences are named.
    """
    expected = module.state_dict()
    differences = [f"{key} is missing" for key in expected if key not in tensors]
    differences += [f"{key} is not in the model" for key in tensors if key not in expected]
    differences += [
        f"{key} is {list(tensors[key].shape)} and should be {list(value.shape)}"
        for key, value in expected.items()
        if key in tensors and tuple(tensors[key].shape) != tuple(value.shape)
    ]
    if differences:
        more = f" and {len(differences) - 3} more" if len(differences) > 3 else ""
        raise WeightsError(f"{what} does not fit model {model}: {', '.join(differences[:3])}{more}.")


def _check_task(model: ModelCard) -> None:
    known = task(model.task)
    for name, value, choices in (("input", model.input, known.inputs), ("output", model.output, known.outputs)):
        if value not in choices:
            raise PluginError(
                f"model {model.name}: {name} {value!r} is none of task {known.name}'s: {', '.join(choices)}."
            )
    for extra in model.conditioning:
        if extra not in known.conditioning:
            raise PluginError(f"model {model.name}: task {known.name} has no conditioning {extra!r} to give.")


def resolve(dotted: str, owner: str) -> Any:
    """What a dotted path ``"package.module:attribute"`` leads to; ``owner`` is who gave it, for the error.

    Raises:
        PluginError: it leads nowhere.
    """
    module, _, attribute = dotted.partition(":")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:
        raise PluginError(f"{owner}: {dotted} cannot be imported: {type(error).__name__}: {error}") from error


def _choose_weights(model: ModelCard, weights: str | Path | None) -> Weights | None:
    if isinstance(weights, str) and weights in model.weights:
        return model.weights[weights]
    if isinstance(weights, Path):
        return Weights(where=str(weights))
    if weights is None and model.weights:
        return next(iter(model.weights.values()))
    imported = imported_weights(model.name)
    if weights is None:
        if len(imported) > 1:
            raise UsageError(f"model {model.name} has several imported weights, say which: {', '.join(imported)}.")
        return next((Weights(where=str(path)) for path in imported.values()), None)
    if weights in imported:
        return Weights(where=str(imported[weights]))
    if weights.endswith(".safetensors"):
        return Weights(where=weights)
    if Path(weights).is_file():
        raise UsageError(f"{weights} is no .safetensors file; 'rawzoo import {weights}' makes one of a checkpoint.")
    names = [*model.weights, *imported]
    raise UsageError(
        f"model {model.name} has no weights named {weights!r}; give "
        + (f"one of {', '.join(names)}, or " if names else "")
        + "the path of a .safetensors file."
    )


def _no_weights(model: ModelCard) -> str:
    published = f"; published: {model.published}" if model.published else "."
    return (
        f"model {model.name} has no weights here: import some with `rawzoo import FILE`, or give a .safetensors file "
        f"as its weights{published}"
    )


def _configured(model: ModelCard, path: Path) -> ModelCard:
    """The card with the configuration that imported weights were made for."""
    provenance = Provenance.of(path)
    if provenance is None:
        return model
    if provenance.model != model.name:
        raise WeightsError(f"weights file {path} was imported for model {provenance.model}, not for {model.name}.")
    return model if provenance.config is None else replace(model, config=provenance.config)
