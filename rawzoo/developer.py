"""Which model develops a raw image: the one that was named, or the one its noise calls for. Imports no torch."""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from rawzoo import ops
from rawzoo.errors import UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import noise_level
from rawzoo.raw.image import RawImage
from rawzoo.raw.noise_level import NoiseLevel
from rawzoo.tasks import demosaic
from rawzoo.zoo import registry
from rawzoo.zoo.card import ModelCard

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor

#: The demosaicers used when no model is named.
DEFAULT_DEVELOPER = {2: "gbtf", 6: "markesteijn"}

#: The name that stands for the model a file's noise calls for.
AUTO = "auto"


@dataclass(frozen=True)
class Choice:
    """What develops one raw image.

    Attributes:
        model: a loaded model, or the name of a classical one.
        why: in words; empty where there was nothing to choose.
        noise: how noisy the image is, where somebody looked.
    """

    model: str | Predictor
    why: str = ""
    noise: NoiseLevel | None = None

    @property
    def name(self) -> str:
        """Of the model."""
        return name_of(self.model)

    @property
    def denoises(self) -> bool:
        """Whether it is no classical demosaicer."""
        return not isinstance(self.model, str)

    def told(self, raw: RawImage) -> RawImage:
        """The image with the noise that was found, so that nobody has to look again."""
        return raw if self.noise is None else replace(raw, noise_profile=self.noise.profile)


class Developer:
    """A model for many raw images, loaded once; or, of name ``auto``, for each image the one its noise calls for.

    ``auto`` takes a model whose card says below which signal to noise ratio it gains (``auto_below_snr``), that takes
    the mosaic and whose weights are on this machine; of several the one for the most noise. Other images are developed
    by the classical demosaicer.

    Args:
        model: name of a model of task ``demosaic``, ``none`` for the classical one, or ``auto``.
        weights, device, dtype, tile: see :func:`rawzoo.load`.

    Raises:
        UsageError: no such model, or weights for one that has none.
        RawzooError: as :func:`rawzoo.load`.
    """

    def __init__(
        self,
        model: str = AUTO,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        dtype: str | None = None,
        tile: int | None = None,
    ) -> None:
        if model == AUTO and weights is not None:
            raise UsageError(f"--weights {weights} are for one model; name it with --model.")
        self._options = {"device": device, "dtype": dtype, "tile": tile}
        self._auto = model == AUTO
        self._loaded: dict[str, str | Predictor] = {}
        self._loading = threading.Lock()
        self._named = None if self._auto else prepare(model, weights=weights, device=device, dtype=dtype, tile=tile)

    def choose(self, raw: RawImage) -> Choice:
        """What develops this image. Raises like :func:`rawzoo.load` where it has to load."""
        if self._named is not None:
            model = self._named
            if isinstance(model, str) or "noise" not in model.card.conditioning or raw.cfa is None:
                return Choice(model)
            return Choice(model, noise=noise_level.of(raw))
        candidates = _candidates(raw)
        if not candidates:
            return Choice("none")
        level = noise_level.of(raw)
        snr = f"signal to noise {level.mid_grey_snr:.0f} at mid grey"
        for limit, name in candidates:
            if level.mid_grey_snr < limit:
                why = f"{name}, for {snr} is below {limit:.0f} (noise {level.source})"
                return Choice(self._load(name), why, level)
        limit, name = candidates[-1]
        classical = default_developer(raw)
        why = f"{classical}, for {snr} (noise {level.source}) is not below {limit:.0f}, where {name} begins"
        return Choice(classical, why, level)

    def _load(self, name: str) -> str | Predictor:
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = registry.load(name, **self._options)  # type: ignore[arg-type]
            return self._loaded[name]


def _candidates(raw: RawImage) -> list[tuple[float, str]]:
    """Below which signal to noise ratio which models are taken by ``auto``; those for the most noise first."""
    if raw.cfa is None:
        return []
    found = []
    for limit, card in automatic():
        if demosaic.accepts(card, raw.cfa):
            found.append((limit, card.name))
        elif demosaic.resamples(card, raw.cfa):
            found.append((limit * demosaic.RESAMPLED_SNR, card.name))
    return sorted(found)


def automatic() -> list[tuple[float, ModelCard]]:
    """The models that ``auto`` may take, with weights on this machine, and below which signal to noise ratio."""
    cards = registry.models(demosaic.TASK)
    return [(c.auto_below_snr, c) for c in cards if c.auto_below_snr is not None and registry.has_weights(c)]


def default_developer(raw: RawImage) -> str:
    """Name of the classical demosaicer used when no model is named."""
    assert raw.cfa is not None
    name = DEFAULT_DEVELOPER[cfa_patterns.period(raw.cfa)]
    return name if name in ops.demosaic_methods(raw.cfa) else "bilinear"


def name_of(model: str | Predictor | None) -> str:
    return model.card.name if model is not None and not isinstance(model, str) else str(model)


def card_for(raw: RawImage, model: str | Predictor | None) -> ModelCard:
    """The card of the model that develops a mosaic; None and ``none`` stand for the classical one.

    Raises:
        UsageError: it is not for developing, or does not take this mosaic.
    """
    if model is None or isinstance(model, str):
        card = registry.card(default_developer(raw) if model in (None, "none") else str(model))
    else:
        card = model.card
    _require_developer(card)
    if raw.cfa is None or not demosaic.resamples(card, raw.cfa):
        demosaic.require_mosaic(card, raw)
    return card


def is_classical(card: ModelCard) -> bool:
    """Whether it is one of rawzoo's own demosaicers, which work without torch."""
    from rawzoo.zoo.classical import ARCHITECTURE

    return card.architecture == ARCHITECTURE


def prepare(
    model: str,
    *,
    weights: str | Path | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    tile: int | None = None,
) -> str | Predictor:
    """Load a model once for many files; the classical ones need no loading and stay a name."""
    if model != "none":
        _require_developer(registry.card(model))
    if model == "none" or is_classical(registry.card(model)):
        if weights is not None:
            raise UsageError(f"--weights {weights} makes no sense with --model {model}, which has none.")
        return model
    return registry.load(model, weights=weights, device=device, dtype=dtype, tile=tile)


def _require_developer(card: ModelCard) -> None:
    if card.task != demosaic.TASK:
        raise UsageError(
            f"model {card.name} is for task {card.task}, and developing needs one of task {demosaic.TASK}; "
            f"`rawzoo run {card.name}` does what it is for."
        )
