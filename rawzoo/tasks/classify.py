"""Task ``classify``: a raw image to the probabilities of labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError
from rawzoo.tasks.demosaic import require_mosaic
from rawzoo.zoo import registry

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage

_BAR = " ▏▎▍▌▋▊▉█"


@dataclass(frozen=True, eq=False)
class Classification:
    """The result for one raw image.

    Attributes:
        probabilities: float32 ``[K]``, summing to 1.
        labels: their names, K.
        image: what the network saw before it judged, float32 ``[3, H, W]``, sRGB, 0..1; None where it makes none.
        note: what was assumed, a sentence or empty.
    """

    probabilities: npt.NDArray[np.float32]
    labels: tuple[str, ...]
    image: npt.NDArray[np.float32] | None = None
    note: str = ""

    @property
    def picture(self) -> npt.NDArray[np.float32] | None:
        """:attr:`image` as ``[H, W, 3]``, clipped."""
        return None if self.image is None else np.clip(self.image.transpose(1, 2, 0), 0.0, 1.0)

    def top(self, count: int = 5) -> list[int]:
        """Indices of the most probable labels, the best first."""
        order: list[int] = np.argsort(-self.probabilities, kind="stable")[:count].tolist()
        return order

    def __str__(self) -> str:
        lines = []
        for index in self.top():
            share = float(self.probabilities[index])
            lines.append(f"{100 * share:5.1f} %  {_bar(share)}  {self.labels[index]}")
        return "\n".join([*lines, *([self.note] if self.note else [])])

    def to_dict(self) -> dict[str, Any]:
        """JSON values: the five best, and the note."""
        best = [
            {"index": index, "label": self.labels[index], "probability": float(self.probabilities[index])}
            for index in self.top()
        ]
        return {"top": best, "note": self.note}


def _bar(share: float, width: int = 16) -> str:
    eighths = round(8 * width * share)
    return ("█" * (eighths // 8) + _BAR[eighths % 8]).strip().ljust(width)


class Adapter(Protocol):
    """What ``ModelCard.adapter`` of a model of this task names: it prepares the mosaic as the network was trained, for
    every CFA phase that the card takes, runs the network and names the labels.

    ``noise`` is (a, b) of the signal between black (0) and white (1): variance = a x + b. None: from the file's noise
    profile, else estimated; the note says which. Further keywords, with types, are options of the model.
    """

    def __call__(
        self,
        predictor: Predictor,
        raw: RawImage,
        *,
        noise: tuple[float, float] | None = None,
        progress: Progress | None = None,
        **options: Any,
    ) -> Classification: ...


def classify(
    predictor: Predictor,
    raw: RawImage,
    *,
    noise: tuple[float, float] | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Classification:
    """What a model of this task sees in a raw image; ``noise`` and ``options`` as in :class:`Adapter`.

    Raises:
        UsageError: the image holds no mosaic, or one of a kind the model does not take.
    """
    require_mosaic(predictor.card, raw)
    if noise is not None and not all(math.isfinite(n) and n >= 0 for n in noise):
        raise UsageError(f"noise must be two numbers, none negative, not {noise}.")
    adapter: Adapter = registry.adapter(predictor.card)
    return adapter(predictor, raw, noise=noise, progress=progress, **options)


def index_of(label: str, labels: Sequence[str]) -> int:
    """Which of a model's labels is meant by its number, its synset (``n02111889``), the whole of it, or one of its
    names.

    Labels may read ``Samoyed``, ``Samoyed, Samoyede`` or ``n02111889 Samoyed, Samoyede``; capitals do not matter.

    Raises:
        UsageError: it is none of them, or several.
    """
    if label.isdecimal():
        if int(label) < len(labels):
            return int(label)
        raise UsageError(f"label {label} is beyond the model's {len(labels)}.")
    wanted = label.strip().casefold()
    for names in (_whole, _synset, _names):
        found = [index for index, text in enumerate(labels) if wanted in names(text.casefold())]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"label {label!r} may mean {' or '.join(map(str, found))}; give one of these numbers.")
    raise UsageError(f"label {label!r} is none of the model's {len(labels)}, such as {labels[-1]!r}.")


def _whole(text: str) -> list[str]:
    return [text]


def _synset(text: str) -> list[str]:
    return re.findall(r"^n\d{8}\b", text)


def _names(text: str) -> list[str]:
    return [name.strip() for name in re.sub(r"^n\d{8}\s*", "", text).split(",")]


def measure(result: Classification, truth: str) -> dict[str, float]:
    """Whether the label is the most probable, and whether it is among the five, each 0 or 1.

    Raises:
        UsageError: as :func:`index_of`.
    """
    from rawzoo import metrics

    index = index_of(truth, result.labels)
    return {f"top{count}": float(metrics.is_among_best(result.probabilities, index, count)) for count in (1, 5)}
