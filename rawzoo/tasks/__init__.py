"""Tasks: what a kind of model takes and gives, said once for all models of that kind. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

#: Channels of the tensors of those domains that leave it to no card.
CHANNELS = {
    "mosaic": 1, "packed": 4, "raw-planes": 4, "raw-sparse": 4, "camera-rgb": 3, "srgb": 3, "srgb-255": 3,
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """A kind of model.

    Attributes:
        name: what :attr:`rawzoo.ModelCard.task` refers to.
        summary: one sentence.
        inputs: domain of the input tensor -> its axes, units and value range. A card picks one of these.
        outputs: domain of the output tensor -> the same.
        conditioning: what a card may ask for besides the picture -> how the module receives it.
        source: what the task starts from: ``"raw"``, a :class:`rawzoo.RawImage`, or ``"picture"``, a developed
            :class:`rawzoo.Picture`.
        job: dotted path of what does the whole of it, ``function(predictor, source, *, progress=None, ...) ->
            Result``: it turns the source into the network's input, runs it, and makes a result of the output. Further
            keywords are options of the task. Empty for a task that ``rawzoo run`` cannot do.
        result: how the result is shown, a sentence.
        picture: whether a picture is the result (``"main"``), may come with it (``"extra"``), or not (``"none"``).
        truth: what results are judged by: a ``"picture"``, a ``"label"``, or a ``"number"``.
        measure: dotted path of ``function(result, truth, **options) -> {metric: value}`` for one source, with the
            truth as :class:`rawzoo.Picture`, text or float. Empty for a task that ``rawzoo evaluate`` cannot do.
        pool: dotted path of ``function(rows) -> {metric: value}`` for metrics of all sources together, such as a
            correlation; ``rows`` is what ``measure`` gave for each. The others are averaged. Empty for none.
        metrics: the metrics they give -> what they are, with unit.
        command: the command line that runs a model of this task, with ``{model}`` and ``{weights}`` for their names.
    """

    name: str
    summary: str
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    conditioning: Mapping[str, str] = field(default_factory=dict)
    source: Literal["raw", "picture"] = "raw"
    job: str = ""
    result: str = ""
    picture: Literal["main", "extra", "none"] = "none"
    truth: Literal["picture", "label", "number"] = "picture"
    measure: str = ""
    pool: str = ""
    metrics: Mapping[str, str] = field(default_factory=dict)
    command: str = "rawzoo run {model} FILE --weights {weights}"


class Result(Protocol):
    """What a task's job gives for one source. ``str`` of it is for people."""

    @property
    def picture(self) -> npt.NDArray[np.float32] | None:
        """float32 ``[H, W, 3]``, sRGB, 0..1, upright; None where the result is no picture and comes with none."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """JSON values; the picture is not among them."""
        ...
