"""Recipes: what is trained, on what, and how. Importing this imports no torch.

A recipe is a YAML file with the sections of :class:`Recipe`. ``data``, ``loss``, ``optimizer`` and ``schedule`` name
something by a short name or a dotted path ``package.module:attribute``; the other keys of the section are its keyword
arguments::

    model: {name: naf-small}
    data: {name: photographs, folders: [photos], patch: 96}
    loss: {name: l1, domain: sqrt}
    optimizer: {name: adamw, lr: 3e-3}
    schedule: {name: cosine, warmup: 50}
    trainer: {steps: 8000, batch: 16}
"""

from __future__ import annotations

import difflib
import inspect
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

from rawzoo.errors import UsageError
from rawzoo.zoo import registry
from rawzoo.zoo.card import is_dotted_path

#: What the short names in a recipe stand for.
NAMES: Mapping[str, Mapping[str, str]] = {
    "data": {
        "photographs": "rawzoo.training.datasets:Photographs",
        "pairs": "rawzoo.training.datasets:Pairs",
    },
    "loss": {
        "l1": "rawzoo.training.losses:L1",
        "l2": "rawzoo.training.losses:L2",
        "charbonnier": "rawzoo.training.losses:Charbonnier",
        "ms-ssim": "rawzoo.training.losses:MSSSIM",
    },
    "optimizer": {
        "adam": "torch.optim:Adam",
        "adamw": "torch.optim:AdamW",
        "sgd": "torch.optim:SGD",
    },
    "schedule": {
        "constant": "rawzoo.training.schedules:constant",
        "cosine": "rawzoo.training.schedules:cosine",
        "linear": "rawzoo.training.schedules:linear",
    },
}

_DEFAULTS = {"loss": "l1", "optimizer": "adamw", "schedule": "cosine"}


@dataclass(frozen=True)
class Part:
    """Something by name, and its keyword arguments."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """What is trained: a card of the zoo, or any module by the dotted path of its factory.

    Attributes:
        name: of a card.
        architecture: dotted path of the factory, for a model without a card.
        config: keyword arguments of the factory, over those of the card.
        inputs: keys of the batch that the module is called with: the first as it is, the others by keyword. Of a card
            they are its input and conditioning.
        weights: where to start: a name or file :func:`rawzoo.load` takes, which brings its own config; without a card
            a safetensors file; empty for random weights.
    """

    name: str = ""
    architecture: str = ""
    config: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ()
    weights: str = ""


@dataclass(frozen=True)
class Trainer:
    """How it is trained.

    Attributes:
        steps: of the optimizer.
        epochs: passes over the data in place of ``steps``; 0 for those.
        batch: examples in a step, over all processes and accumulated batches.
        seed: of the weights, the order of the data and everything random in it.
        precision: ``32-true``, ``bf16-mixed``, ``16-mixed``: Lightning's names.
        clip: largest norm of the gradient; 0 for any.
        average: decay of the moving average of the weights, which is validated and exported; 0 for none.
        accumulate: batches whose gradients make one step.
        validate_every, checkpoint_every: steps; the first a multiple of the second. Nothing is lost when a run is
            killed but the steps since its last checkpoint.
        log_every: steps.
        samples: how many validation pictures are drawn at each validation.
        monitor: the metric that says which checkpoint is best; larger is better, but for a loss.
        accelerator, devices, nodes, strategy: Lightning's; on several devices each is one process.
        threads: of torch, in each process; 0 for torch's own choice.
        workers: processes that prepare data, for each training process; 0 to do it there.
        compile: run the network through torch.compile.
        loggers: some of ``tensorboard``, ``mlflow``.
        experiment, mlflow_uri: of MLflow; the address is a database beside the run unless given.
    """

    steps: int = 10000
    epochs: float = 0.0
    batch: int = 16
    seed: int = 0
    precision: str = "32-true"
    clip: float = 0.0
    average: float = 0.999
    accumulate: int = 1
    validate_every: int = 1000
    checkpoint_every: int = 500
    log_every: int = 10
    samples: int = 4
    monitor: str = "val_psnr_sqrt"
    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    strategy: str = "auto"
    threads: int = 0
    workers: int = 0
    compile: bool = False
    loggers: tuple[str, ...] = ("tensorboard",)
    experiment: str = "rawzoo"
    mlflow_uri: str = ""


@dataclass(frozen=True)
class Recipe:
    """A resolved recipe: every choice is in it.

    Attributes:
        output: folder of the run; ``runs/NAME`` of the recipe's file unless given.
    """

    model: Model
    data: Part
    loss: Part = field(default_factory=lambda: Part(_DEFAULTS["loss"]))
    optimizer: Part = field(default_factory=lambda: Part(_DEFAULTS["optimizer"]))
    schedule: Part = field(default_factory=lambda: Part(_DEFAULTS["schedule"]))
    trainer: Trainer = field(default_factory=Trainer)
    output: str = ""

    def to_dict(self) -> dict[str, Any]:
        """As it is written in YAML."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def to_yaml(self) -> str:
        """The resolved recipe as text that :func:`read` takes."""
        import yaml

        return str(yaml.safe_dump(self.to_dict(), sort_keys=False, default_flow_style=None, width=100))

    def part(self, section: str) -> Callable[..., Any]:
        """What a section names, with the section's keyword arguments filled in."""
        part: Part = getattr(self, section)
        factory = _factory(section, part.name)

        def make(*args: Any, **kwargs: Any) -> Any:
            return factory(*args, **{**part.options, **kwargs})

        return make


def read(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        path: of the YAML file, or ``package:name`` of one in the folder ``recipes`` of an installed package.
        overrides: ``section.key=value`` each, value in YAML.

    Raises:
        UsageError: the file cannot be read, is no YAML, or asks for something that does not exist; the nearest thing
            that does is named.
        PluginError: a dotted path leads nowhere.
    """
    packaged = _packaged(str(path))
    path = Path(path)
    try:
        values = _yaml(path.read_text(encoding="utf-8") if packaged is None else packaged, str(path))
    except OSError as error:
        raise UsageError(f"recipe {path} cannot be read: {error.strerror or error}.") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"recipe {path} is not a text file.") from error
    if not isinstance(values, dict):
        raise UsageError(f"recipe {path} must consist of sections such as model, data and trainer.")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w]*(\.[\w-]+)*", key):
            raise UsageError(f"{override!r} is no override; write section.key=value, such as trainer.steps=1000.")
        _set(values, key, _yaml(text, override), str(path))
    values.setdefault("output", str(Path("runs") / path.stem.rpartition(":")[2]))
    return from_dict(values, f"recipe {path}")


def _packaged(name: str) -> str | None:
    """Text of a recipe that comes with a package; None where ``name`` is a path."""
    package, colon, recipe = name.partition(":")
    # One letter and a colon begin a path of Windows.
    if not colon or len(package) == 1 or not is_dotted_path(f"{package}:recipes"):
        return None
    try:
        folder = files(package).joinpath("recipes")
    except ModuleNotFoundError as error:
        raise UsageError(f"recipe {name}: package {package} is not installed.") from error
    known = {f.name.removesuffix(".yaml"): f for f in (folder.iterdir() if folder.is_dir() else ())}
    if recipe not in known:
        raise UsageError(f"recipe {name} does not exist{_nearest(recipe, known)}; {package} has {', '.join(known)}.")
    return known[recipe].read_text(encoding="utf-8")


def from_dict(values: Mapping[str, Any], where: str = "recipe") -> Recipe:
    """A recipe of what YAML holds; raises as :func:`read`, naming ``where``."""
    # A section that only has options is for what it names by default.
    named = {
        key: {"name": _DEFAULTS[key], **value} if key in _DEFAULTS and isinstance(value, Mapping) else value
        for key, value in values.items()
    }
    recipe: Recipe = _build(Recipe, named, where, "")
    _check(recipe, where)
    return recipe


def from_mapping(kind: type, values: Mapping[str, Any], where: str) -> Any:
    """A dataclass of keys and values, the others at their defaults; raises UsageError naming ``where`` and the key."""
    return _build(kind, values, where, "")


def make(section: str, values: str | Mapping[str, Any], where: str) -> Any:
    """What a section such as ``loss`` would be: a name, or a mapping with the name and its options; raises as
    :func:`read`, naming ``where``."""
    part: Part = _build(Part, values, where, section)
    _check_part(where, section, part)
    return _factory(section, part.name)(**part.options)


def _check(recipe: Recipe, where: str) -> None:
    model, trainer = recipe.model, recipe.trainer
    if bool(model.name) == bool(model.architecture):
        raise UsageError(f"{where}: give model.name (a card of the zoo) or model.architecture (a dotted path).")
    if model.name:
        registry.card(model.name)
        if model.weights and model.config:
            raise UsageError(f"{where}: model.weights bring their own configuration; leave out model.config.")
    elif not is_dotted_path(model.architecture):
        raise UsageError(f"{where}: model.architecture must be package.module:factory, not {model.architecture!r}.")
    elif not model.inputs:
        raise UsageError(f"{where}: model.inputs must say what the module is called with, such as [mosaic, noise].")
    for section in NAMES:
        _check_part(where, section, getattr(recipe, section))
    for name in ("steps", "batch", "accumulate", "validate_every", "checkpoint_every", "log_every", "devices", "nodes"):
        if getattr(trainer, name) < 1:
            raise UsageError(f"{where}: trainer.{name} must be at least 1, not {getattr(trainer, name)}.")
    if trainer.validate_every % trainer.checkpoint_every:
        raise UsageError(
            f"{where}: trainer.validate_every {trainer.validate_every} must be a multiple of "
            f"trainer.checkpoint_every {trainer.checkpoint_every}."
        )
    if trainer.epochs < 0:
        raise UsageError(f"{where}: trainer.epochs must not be negative, as {trainer.epochs:g} is.")
    if not 0 <= trainer.average < 1:
        raise UsageError(f"{where}: trainer.average must be at least 0 and below 1, not {trainer.average:g}.")
    for logger in trainer.loggers:
        if logger not in ("tensorboard", "mlflow"):
            raise UsageError(f"{where}: trainer.loggers knows tensorboard and mlflow, not {logger!r}.")


def _check_part(where: str, section: str, part: Part) -> None:
    if part.name not in NAMES[section] and not is_dotted_path(part.name):
        raise UsageError(
            f"{where}: {section}.name {part.name!r} does not exist{_nearest(part.name, NAMES[section])}; give "
            f"{', '.join(NAMES[section])}, or package.module:attribute."
        )
    parameters = inspect.signature(_factory(section, part.name)).parameters
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    # What the engine itself passes: the weights to an optimizer, step and steps to a schedule.
    own = {"optimizer": ("params",), "schedule": ("step", "steps")}.get(section, ())
    known = {name: p for name, p in parameters.items() if name not in own}
    for key in part.options:
        if key not in known:
            raise UsageError(_unknown(where, f"{section}.{key}", key, known, f"{section} {part.name}"))
    for key, parameter in known.items():
        if parameter.default is parameter.empty and key not in part.options:
            raise UsageError(f"{where}: {section}.{key} is missing; {section} {part.name} needs it.")


def _factory(section: str, name: str) -> Callable[..., Any]:
    found: Callable[..., Any] = registry.resolve(NAMES[section].get(name, name), f"{section}.name of the recipe")
    return found


def _build(kind: Any, values: Any, where: str, path: str) -> Any:
    """A dataclass of a mapping, every value checked against its annotation."""
    if kind is Part:
        if isinstance(values, str):
            return Part(values)
        if not isinstance(values, Mapping) or not isinstance(values.get("name"), str):
            raise UsageError(f"{where}: {path} must have a name, and beside it the options of what it names.")
        return Part(values["name"], {key: value for key, value in values.items() if key != "name"})
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}: {path} must consist of keys and values, not {values!r}.")
    hints = get_type_hints(kind)
    prefix = f"{path}." if path else ""
    for key in values:
        if key not in hints:
            raise UsageError(_unknown(where, f"{prefix}{key}", str(key), hints, path or "a recipe"))
    for f in fields(kind):
        if f.default is MISSING and f.default_factory is MISSING and f.name not in values:
            raise UsageError(f"{where}: {prefix}{f.name} is missing.")
    return kind(**{key: _value(hints[key], value, where, f"{prefix}{key}") for key, value in values.items()})


def _value(kind: Any, value: Any, where: str, path: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, where, path)

    def wrong(kind: str) -> UsageError:
        return UsageError(f"{where}: {path} must be {kind}, not {value!r}.")

    if kind is bool:
        if not isinstance(value, bool):
            raise wrong("true or false")
    elif kind in (int, float):
        if isinstance(value, bool) or not isinstance(value, int if kind is int else (int, float)):
            raise wrong("a whole number" if kind is int else "a number")
        return kind(value)
    elif kind is str:
        if not isinstance(value, str):
            raise wrong("text")
    elif kind == tuple[str, ...]:
        if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
            raise wrong("a list of texts")
        return tuple(value)
    elif kind in (tuple[float, float], tuple[int, int]):
        number = (int, float) if kind == tuple[float, float] else int
        if not isinstance(value, Sequence) or len(value) != 2 or not all(isinstance(v, number) for v in value):
            raise wrong("two numbers")
        return tuple(value)
    elif not isinstance(value, Mapping):
        raise wrong("keys and values")
    return value


def _unknown(where: str, path: str, key: str, known: Iterable[str], owner: str) -> str:
    names = list(known)
    return f"{where}: {path} does not exist{_nearest(key, names)}; {owner} has {', '.join(names) or 'no options'}."


def _nearest(key: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""


def _set(values: dict[str, Any], key: str, value: Any, where: str) -> None:
    *sections, last = key.split(".")
    for section in sections:
        inner = values.setdefault(section, {})
        if isinstance(inner, str):  # a part given by its name alone
            inner = values[section] = {"name": inner}
        if not isinstance(inner, dict):
            raise UsageError(f"{key}={value}: {section} of {where} has no keys of its own.")
        values = inner
    values[last] = value


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.load(text, Loader=_loader())  # noqa: S506 - derived from SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise UsageError(f"{where} is not valid YAML{line}: {getattr(error, 'problem', None) or error}.") from error


def _loader() -> Any:
    """YAML's safe loader that also takes 3e-3 for a number, as YAML 1.2 does."""
    import yaml

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_implicit_resolver(
        "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9]*)?[eE][-+]?[0-9]+$"), list("-+0123456789")
    )
    return Loader


def _plain(value: Any) -> Any:
    if isinstance(value, Part):
        return {"name": value.name, **_plain(value.options)}
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (tuple, list)) else value
