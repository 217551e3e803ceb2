"""Task ``white-balance``: from a raw image to the colour temperature of its light, and to gains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from rawzoo.errors import UsageError

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.raw.image import RawImage

TASK = "white-balance"


@dataclass(frozen=True)
class WhiteBalance:
    """The result for one raw image.

    Attributes:
        temperature: kelvin, as the model gives it.
        gains: of R, G, B, green = 1: what makes grey grey. They may lie beside the camera's curve of temperatures.
        lux: of the scene, as the model was told.
        tuning: where the camera's colours were taken from, in words.
    """

    temperature: float
    gains: tuple[float, float, float]
    lux: float
    tuning: str

    @property
    def neutral(self) -> npt.NDArray[np.float64]:
        """Camera RGB of the light, green = 1."""
        return np.asarray(1.0 / np.array(self.gains))

    @property
    def picture(self) -> None:
        """None: the result is numbers."""

    def __str__(self) -> str:
        red, green, blue = self.gains
        return f"{self.temperature:.0f} K, gains {red:.3f},{green:.0f},{blue:.3f} ({self.lux:.0f} lux, {self.tuning})"

    def to_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {"temperature": self.temperature, "gains": list(self.gains), "lux": self.lux, "tuning": self.tuning}


class Adapter(Protocol):
    """What ``ModelCard.adapter`` of a model of this task names.

    It turns the raw image into the grid and lux the model takes, runs it with :meth:`Predictor.run`, and turns the
    temperature into gains with the camera's colours, its *tuning*: a file or a name it knows, or, where that is None,
    what it finds for the image.

    Raises:
        UsageError: the image has no colour, or nothing is known about its camera.
        RawzooError: the tuning cannot be used.
    """

    def __call__(self, predictor: Predictor, raw: RawImage, tuning: str | None) -> WhiteBalance: ...


def run(
    predictor: Predictor,
    raw: RawImage,
    *,
    tuning: str | None = None,
    progress: Progress | None = None,  # noqa: ARG001
) -> WhiteBalance:
    """The task's job: :func:`estimate` with a loaded model."""
    return estimate(raw, predictor, tuning=tuning)


def estimate(
    raw: RawImage,
    model: str | Predictor,
    *,
    weights: str | None = None,
    tuning: str | None = None,
    device: str = "cpu",
) -> WhiteBalance:
    """Estimate the white balance of a raw image.

    Args:
        raw: with colour; the white balance the file states is not looked at.
        model: name of a model of this task, or a loaded one.
        weights: as for :func:`rawzoo.load`, for a model given by name.
        tuning: the camera's colours: a file, or a name that the model's plugin knows; None to go by the image.
        device: for a model given by name.

    Raises:
        UsageError: a model of another task, and as :class:`Adapter`.
        RawzooError: as :class:`Adapter` and :func:`rawzoo.load`.
    """
    from rawzoo.zoo import registry

    card = registry.card(model) if isinstance(model, str) else model.card
    if card.task != TASK:
        raise UsageError(f"model {card.name} is for task {card.task}; white balance needs one of task {TASK}.")
    adapter: Adapter = registry.adapter(card)
    predictor = registry.load(model, weights=weights, device=device) if isinstance(model, str) else model
    return adapter(predictor, raw, tuning)


def mired_error(temperature: npt.ArrayLike, reference: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """The metric: |1e6 / T - 1e6 / T_ref|, about equally visible all along the curve, unlike kelvin."""
    return np.asarray(np.abs(1e6 / np.asarray(temperature, float) - 1e6 / np.asarray(reference, float)))


def measure(result: WhiteBalance, truth: float) -> dict[str, float]:
    """How far the temperature is from the true one.

    Raises:
        UsageError: that is no temperature.
    """
    if truth <= 0:
        raise UsageError(f"{truth:g} K is no colour temperature.")
    return {"mired": float(mired_error(result.temperature, truth)), "kelvin": abs(result.temperature - truth)}
