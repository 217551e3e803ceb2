"""Doing the job of any model: from a file, a raw image or a picture to a result."""

from __future__ import annotations

import difflib
import inspect
import os
import types
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rawzoo import developer, pipeline
from rawzoo.errors import UsageError
from rawzoo.picture import Picture, is_picture, open_picture
from rawzoo.raw import reader
from rawzoo.raw.image import RawImage
from rawzoo.tasks import demosaic
from rawzoo.zoo import registry

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.tasks import Result
    from rawzoo.zoo.card import ModelCard


class Runner:
    """A model with all that its job takes, for any number of sources.

    Args:
        model: name of a model, or a loaded one.
        weights, device, dtype, tile: for a model given by name; see :func:`rawzoo.load`.
        options: of the model; see :func:`options_of`.

    Attributes:
        card, task: what the model is, and its task.

    Raises:
        UsageError: there is no such model, its task has no job or no such option, or the model has no use for it.
        RawzooError: as :func:`rawzoo.load`.
    """

    def __init__(
        self,
        model: str | Predictor,
        *,
        weights: str | Path | None = None,
        device: str = "cpu",
        dtype: str | None = None,
        tile: int | None = None,
        **options: Any,
    ) -> None:
        self.card: ModelCard = registry.card(model) if isinstance(model, str) else model.card
        self.task = registry.task(self.card.task)
        if not self.task.job:
            raise UsageError(f"model {self.card.name} is for task {self.task.name}, which is no job of its own.")
        self._job = registry.resolve(self.task.job, f"task {self.task.name}")
        if options:
            known = options_of(self.card)
            for name in options:
                _require_option(name, known, self.card)
        self._options = options
        self._model: str | Predictor = model
        demosaics = self.task.name == demosaic.TASK
        if demosaics:
            pipeline.Denoise(**options).check(self.card)
        if isinstance(model, str):
            load = developer.prepare if demosaics else registry.load
            self._model = load(model, weights=weights, device=device, dtype=dtype, tile=tile)

    def __call__(self, source: RawImage | Picture, *, progress: Progress | None = None) -> Result:
        """Do the job.

        Args:
            source: what the model's task starts from; see :meth:`suited`.
            progress: called with the finished fraction, 0 to 1.
        """
        return cast("Result", self._job(self._model, source, progress=progress, **self._options))

    def camera_rgb(self, raw: RawImage, *, progress: Progress | None = None) -> npt.NDArray[np.float32]:
        """What a model of task ``demosaic`` makes of a raw image, before colour and tone: white-balanced linear camera
        RGB ``[H, W, 3]``, upright, 1 is the sensor's white of green, not clipped. Options hold here too."""
        return pipeline.develop(raw, self._model, space="camera", dtype="float32", progress=progress, **self._options)

    def suited(self, source: RawImage | Picture) -> tuple[RawImage | Picture, str]:
        """The source as the task starts from it, and what was done to it, a sentence or nothing.

        A raw image is developed for a model that takes pictures.

        Raises:
            UsageError: a picture for a model that takes raw images: what the sensor saw cannot be had back from it.
        """
        name = source.source or "this picture"
        if isinstance(source, Picture):
            if self.task.source == "raw":
                mosaic = ", or if it is a mosaic, its cfa, black and white level"
                raise UsageError(
                    f"model {self.card.name} works on what the sensor saw, and {name} is a developed picture; give the "
                    "raw file it was made from" + mosaic * name.lower().endswith((".png", ".tif", ".tiff")) + "."
                )
            return source, ""
        if self.task.source == "raw":
            return source, ""
        developed = pipeline.render("none", source)
        with_what = f" with {developer.default_developer(source)}" if source.cfa else ""
        return developed, f"{name} is a raw file: it was developed first{with_what}, as shot."


def run(
    model: str | Predictor,
    source: str | os.PathLike[str] | RawImage | Picture,
    *,
    weights: str | Path | None = None,
    device: str = "cpu",
    dtype: str | None = None,
    tile: int | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Result:
    """Do what a model is for.

    >>> rawzoo.run("eusr-x4", "photo.jpg").picture      # a network that enlarges pictures
    >>> print(rawzoo.run("mobilenet-joint", "a.dng"))   # one that names what a raw file shows

    Args:
        model: name of a model of any task, or a loaded one.
        source: a raw image or a picture, or a file that holds one. A raw image is developed for a model that takes
            pictures.
        weights, device, dtype, tile: for a model given by name; see :func:`rawzoo.load`.
        progress: called with the finished fraction, 0 to 1.
        options: of the model, such as ``strength`` and ``grain`` of task ``demosaic``, ``noise`` of ``classify`` and
            ``tuning`` of ``white-balance``; see :func:`options_of`.

    Returns:
        What the task gives, such as :class:`rawzoo.Picture` or :class:`rawzoo.tasks.classify.Classification`: with a
        ``picture`` where there is one, ``str()`` for people and ``to_dict()`` for machines.

    Raises:
        UsageError: no such model or option, or a picture for a model that needs raw data.
        RawFileError, PictureError: the file cannot be read.
        RawzooError: as :func:`rawzoo.load` and the model's task.
    """
    runner = Runner(model, weights=weights, device=device, dtype=dtype, tile=tile, **options)
    if not isinstance(source, RawImage | Picture):
        path = Path(source)
        source = open_picture(path) if is_picture(path) else reader.open(path)
    suited, _ = runner.suited(source)
    return runner(suited, progress=progress)


def options_of(card: ModelCard) -> dict[str, Any]:
    """What a model can be told besides its source: name -> type.

    These are the keywords of its task's job, and where that hands on what it does not know itself (``**options``),
    those of the card's adapter.

    Raises:
        PluginError: the job or the adapter cannot be imported.
    """
    job = registry.resolve(registry.task(card.task).job, f"task {card.task}")
    found = _keywords(job)
    parameters = inspect.signature(job).parameters.values()
    if card.adapter and any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        found |= _keywords(registry.adapter(card))
    return {name: kind for name, kind in found.items() if name != "progress"}


def parse_options(card: ModelCard, texts: Iterable[str]) -> dict[str, Any]:
    """Options of a model as they are typed: ``size=128``, ``noise=0.002,1e-5``.

    Raises:
        UsageError: no ``NAME=VALUE``, no such option (the nearest is named), or no value of its type.
    """
    known = options_of(card)
    found: dict[str, Any] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"an option of a model is NAME=VALUE, such as size=128, not {text!r}.")
        _require_option(name, known, card)
        kind = known[name]
        union = typing.get_origin(kind) in (types.UnionType, typing.Union)
        kinds = [one for one in (typing.get_args(kind) if union else (kind,)) if one is not types.NoneType]
        found[name] = _value(text, value, kinds)
    return found


def _keywords(function: Any) -> dict[str, Any]:
    """Keyword-only parameters and their types."""
    parameters = inspect.signature(function).parameters.values()
    stated = {p.name: p.annotation for p in parameters if p.kind is p.KEYWORD_ONLY and p.name != "progress"}
    # Only of these: others may name what is imported for type checkers alone.
    holder = types.SimpleNamespace(__annotations__=stated)
    return typing.get_type_hints(holder, function.__globals__)


def _require_option(name: str, known: Iterable[str], card: ModelCard) -> None:
    known = list(known)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        raise UsageError(
            f"model {card.name} takes no {name}{f' (did you mean {near[0]}?)' if near else ''}; "
            f"it takes {', '.join(known) or 'no options'}."
        )


def _value(option: str, text: str, kinds: list[Any]) -> Any:
    """The text as the first of the types that it can be."""
    due = []
    for kind in kinds:
        if typing.get_origin(kind) is tuple:
            parts, due_parts = text.split(","), typing.get_args(kind)
            due.append(f"{len(due_parts)} numbers with a comma between them")
            if len(parts) == len(due_parts):
                try:
                    return tuple(part(value) for part, value in zip(due_parts, parts, strict=True))
                except ValueError:
                    continue
        elif kind is bool:
            due.append("true or false")
            if text in ("true", "false"):
                return text == "true"
        elif kind in (int, float):
            due.append("a whole number" if kind is int else "a number")
            try:
                return kind(text)
            except ValueError:
                continue
        else:
            return text
    raise UsageError(f"{option}: give {' or '.join(due)}.")
