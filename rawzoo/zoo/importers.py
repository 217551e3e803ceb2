"""What a plugin that imports checkpoints gives. Plain data; importing this imports neither torch nor NumPy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Importer:
    """Recognises the checkpoints of one system and turns them into weights of the zoo's models.

    Attributes:
        name: unique among importers; lower-case letters, digits, ``-`` and ``.``.
        detect: dotted path ``"package.module:function"`` of ``function(checkpoint) -> list[Match]``, which looks at
            the names and shapes in a :class:`rawzoo.zoo.checkpoints.Checkpoint` and reads no values. An empty list
            says that the file is something else; several matches, that names and shapes cannot tell.
        summary: what it recognises, a few words for people.
    """

    name: str
    detect: str
    summary: str = ""


@dataclass(frozen=True)
class Match:
    """What an importer recognised in a checkpoint.

    Attributes:
        model: name of the card whose architecture the tensors fit.
        description: system, variant, configuration and step, a few words for people.
        convert: reads and rearranges the tensors; gives all entries of the module's ``state_dict()``, by name.
        config: keyword arguments of the architecture in place of the card's; None for the card's. It may only change
            what the rest of the card does not depend on.
        group: matches of one importer with the same group are no alternatives: the file holds the weights of each of
            their models, say one for each scale, and all are imported. Empty: the file is for this model or another.
    """

    model: str
    description: str
    convert: Callable[[], dict[str, NDArray[np.generic]]]
    config: Mapping[str, Any] | None = None
    group: str = ""
