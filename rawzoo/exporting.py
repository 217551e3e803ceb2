"""Models as files for other programs: traced, and compared with the model itself before the file appears."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rawzoo.errors import RawzooError, UsageError
from rawzoo.files import atomic_path
from rawzoo.inference.predictor import Predictor
from rawzoo.tasks import CHANNELS
from rawzoo.zoo import registry
from rawzoo.zoo.card import ModelCard

#: Largest difference between the exported model and the model, relative to the largest output.
TOLERANCE = 1e-4

# Edges of the inputs that are traced, and compared; rounded up to the model's period.
_TRACED, _COMPARED = (128, 128), (96, 160)


@dataclass(frozen=True)
class Format:
    """A kind of file.

    Attributes:
        suffix: of its files.
        write: writes a module, seen at work on example inputs, to a path, with facts about it as JSON.
        read: makes of such a file a function of the same inputs.
    """

    suffix: str
    write: Callable[[nn.Module, tuple[Tensor, ...], Path, str], None]
    read: Callable[[Path], Callable[..., Any]]


@dataclass(frozen=True)
class Exported:
    """What came of an export.

    Attributes:
        path: the file.
        inputs: shapes of the inputs it was traced with, float32, in the order in which they are given.
        compared: shapes of those it was compared with.
        difference: largest from the model's output, relative to the largest output.
    """

    path: Path
    inputs: list[list[int]]
    compared: list[list[int]]
    difference: float

    @property
    def one_size(self) -> bool:
        """Whether the file is for inputs of this size only."""
        return self.inputs == self.compared


def export(
    model: str | Predictor, output: Path | None = None, *, to: str = "torchscript", weights: str | Path | None = None
) -> Exported:
    """Write a model as a file for other programs, in float32, for the CPU.

    The file's function takes what the model's module takes (see its card's task), in batches of one, with sides that
    are multiples of all its strides. A module whose inputs do not follow from its card has a method
    ``example_inputs(height, width)`` that gives some, the first with about these sides; where they have one size
    whatever it is asked for, the file is for this size only.

    Args:
        model: name of a model, or a loaded one in float32 on the CPU.
        output: the file; the model's name with the format's suffix in the current folder unless given.
        to: one of :data:`FORMATS`.
        weights: of a model given by name; see :func:`rawzoo.load`.

    Raises:
        UsageError: no such format or model, or a model that needs what no file of this kind can take.
        RawzooError: what was exported does not give the model's results, or as :func:`rawzoo.load`.
    """
    if to not in FORMATS:
        raise UsageError(f"format {to!r} is none of those that models can be exported to: {', '.join(FORMATS)}.")
    predictor = registry.load(model, weights=weights, dtype="float32") if isinstance(model, str) else model
    card, module = predictor.card, predictor.module
    if predictor.dtype != torch.float32 or predictor.device.type != "cpu":
        raise UsageError(f"model {card.name} is loaded in {predictor.dtype} on {predictor.device}; export takes it in "
                         "float32 on the CPU.")  # fmt: skip
    form = FORMATS[to]
    path = output or Path(f"{card.name}.{form.suffix}")
    traced, compared = (_inputs(card, module, *size) for size in (_TRACED, _COMPARED))
    facts = {"model": card.name, "config": dict(card.config), "inputs": _shapes(traced), "summary": card.summary}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as aside, warnings.catch_warnings():
        # What tracing cannot see shows in the comparison.
        warnings.simplefilter("ignore")
        form.write(module, traced, aside, json.dumps(facts))
        difference = _difference(form.read(aside), module, compared, f"model {card.name}")
    return Exported(path, _shapes(traced), _shapes(compared), difference)


def _inputs(card: ModelCard, module: nn.Module, height: int, width: int) -> tuple[Tensor, ...]:
    """Random inputs of about this size, different for different sizes."""
    height, width = (-(-edge // card.period) * card.period for edge in (height, width))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1000 * height + width)
        example: Callable[[int, int], tuple[Tensor, ...]] | None = getattr(module, "example_inputs", None)
        if example is not None:
            return example(height, width)
        conditions = [_condition(card, name) for name in card.conditioning]
        if card.input == "awb-grid":
            return torch.rand(1, 3, *card.config["grid"]), *conditions
        if card.input not in CHANNELS:
            raise UsageError(
                f"model {card.name} cannot be exported: its network takes inputs of its own, and has no example_inputs "
                "that say which."
            )
        white = 255.0 if card.input == "srgb-255" else 1.0
        return white * torch.rand(1, CHANNELS[card.input], height, width), *conditions


def _condition(card: ModelCard, name: str) -> Tensor:
    if name == "noise" and card.input == "packed":
        return torch.tensor([1e-3, 1e-5]).expand(1, 4, 2) * torch.rand(1)
    if name == "lux":
        return 1000.0 * torch.rand(1)
    raise UsageError(f"model {card.name} cannot be exported: it is told {name}, which no exported graph takes.")


def _shapes(inputs: Sequence[Tensor]) -> list[list[int]]:
    return [list(x.shape) for x in inputs]


def _difference(exported: Callable[..., Any], module: nn.Module, inputs: tuple[Tensor, ...], what: str) -> float:
    with torch.inference_mode():
        expected: Tensor = module(*inputs)
        try:
            found = exported(*inputs)
        except RuntimeError as error:
            raise RawzooError(
                f"{what} cannot be exported: what was traced with one size fails with another, {_shapes(inputs)} "
                f"({str(error).strip().splitlines()[-1]})."
            ) from error
    scale = max(float(expected.abs().max()), 1e-12)
    difference = float((found - expected).abs().max()) / scale if found.shape == expected.shape else math.inf
    if not difference <= TOLERANCE:
        raise RawzooError(
            f"{what} cannot be exported: of other inputs, {_shapes(inputs)}, what was traced makes another result "
            f"(difference {difference:.2g} of the largest value; {TOLERANCE:g} is allowed)."
        )
    return difference


# --- TorchScript -----------------------------------------------------------------------------------------------------

#: Name, inside the archive, of the facts.
FACTS = "rawzoo.json"


def _write_torchscript(module: nn.Module, inputs: tuple[Tensor, ...], path: Path, facts: str) -> None:
    needed = [parameter for parameter in module.parameters() if parameter.requires_grad]
    try:
        for parameter in needed:
            parameter.requires_grad_(False)
        # With gradients enabled, layers that have two forms take the plain one.
        with torch.enable_grad():
            traced = torch.jit.trace(module, inputs, check_trace=False)  # type: ignore[no-untyped-call]
    finally:
        for parameter in needed:
            parameter.requires_grad_(True)
    foreign = {kind for kind in _kinds(traced.inlined_graph) if not kind.startswith(("aten::", "prim::"))}
    if foreign:
        raise RawzooError(f"the model cannot be exported: its graph calls {', '.join(sorted(foreign))}.")
    torch.jit.save(traced, path, _extra_files={FACTS: facts})  # type: ignore[no-untyped-call]


def _kinds(block: Any) -> Iterator[str]:
    for node in block.nodes():
        yield node.kind()
        for inner in node.blocks():
            yield from _kinds(inner)


def _read_torchscript(path: Path) -> Callable[..., Any]:
    loaded: Callable[..., Any] = torch.jit.load(path)  # type: ignore[no-untyped-call]
    return loaded


FORMATS = {"torchscript": Format("pt", _write_torchscript, _read_torchscript)}
