"""Tasks: what a kind of model takes and gives, said once for all models of that kind. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Task:
    """A kind of model.

    Attributes:
        name: what :attr:`rawzoo.ModelCard.task` refers to.
        summary: one sentence.
        inputs: domain of the input tensor -> its axes, units and value range. A card picks one of these.
        outputs: domain of the output tensor -> the same.
        conditioning: what a card may ask for besides the picture -> how the module receives it.
        command: the command line that runs a model of this task, with ``{model}`` and ``{weights}`` for their names;
            empty where there is none.
    """

    name: str
    summary: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    conditioning: Mapping[str, str]
    command: str = ""
