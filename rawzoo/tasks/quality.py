"""Task ``quality``: a developed picture to a distribution of the scores that people would give it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from rawzoo.zoo import registry

if TYPE_CHECKING:
    from torch import Tensor

    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.picture import Picture

_LEVELS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True, eq=False)
class Quality:
    """The result for one picture.

    Attributes:
        distribution: float32 ``[K]``, summing to 1: how likely each score is.
        scores: float32 ``[K]``, rising: the score each of them stands for.
    """

    distribution: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]

    @property
    def mean(self) -> float:
        return float(np.dot(self.distribution.astype(np.float64), self.scores))

    @property
    def std(self) -> float:
        spread = np.square(self.scores.astype(np.float64) - self.mean)
        return float(np.sqrt(np.dot(self.distribution.astype(np.float64), spread)))

    @property
    def picture(self) -> None:
        """None: the result is a score."""

    def __str__(self) -> str:
        heights = np.rint(self.distribution / self.distribution.max() * (len(_LEVELS) - 1)).astype(int)
        bars = "".join(_LEVELS[height] for height in heights)
        low, high = self.scores[0], self.scores[-1]
        return f"{self.mean:.2f} ± {self.std:.2f}  {low:g} {bars} {high:g}"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "mean": self.mean,
            "std": self.std,
            "scores": self.scores.tolist(),
            "distribution": self.distribution.tolist(),
        }


class Adapter(Protocol):
    """What ``ModelCard.adapter`` of a model of this task names: it brings the picture, float32 ``[3, H, W]``, sRGB,
    0..1, of any size, to the network's size and range, runs it, and says which score each output stands for. Keywords,
    with types, are options of the model."""

    def __call__(self, predictor: Predictor, picture: Tensor, **options: Any) -> Quality: ...


def judge(
    predictor: Predictor,
    picture: Picture,
    *,
    progress: Progress | None = None,  # noqa: ARG001
    **options: Any,
) -> Quality:
    """How good a model of this task finds a picture; ``options`` go to its :class:`Adapter`."""
    import torch

    adapter: Adapter = registry.adapter(predictor.card)
    return adapter(predictor, torch.from_numpy(picture.picture).permute(2, 0, 1), **options)


def measure(result: Quality, truth: float) -> dict[str, float]:
    """How far the mean score is from the one that people gave, and both."""
    return {"error": abs(result.mean - truth), "score": result.mean, "people": truth}


def pool(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Correlation of the scores with those of people, linear (Pearson) and of their ranks (Spearman).

    NaN for fewer than two pictures, and where one side is the same for all.
    """
    pairs = np.array([(row["score"], row["people"]) for row in rows], np.float64).reshape(-1, 2)
    return {"plcc": _correlation(*pairs.T), "srcc": _correlation(*(_ranks(side) for side in pairs.T))}


def _correlation(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> float:
    if len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Equal values share the mean of their ranks."""
    _, index, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2.0)[index])
