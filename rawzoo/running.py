"""Doing the job of any model: from a file, a raw image or a picture to a result."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rawzoo import developer, pipeline
from rawzoo.errors import UsageError
from rawzoo.picture import Picture, is_picture, open_picture
from rawzoo.raw import reader
from rawzoo.raw.image import RawImage
from rawzoo.zoo import registry

if TYPE_CHECKING:
    from rawzoo.inference.predictor import Predictor, Progress
    from rawzoo.tasks import Result
    from rawzoo.zoo.card import ModelCard


class Runner:
    """A model with all that its job takes, for any number of sources.

    Args:
        model: name of a model, or a loaded one.
        weights, device, dtype, tile: for a model given by name; see :func:`rawzoo.load`.
        options: of the model's task, such as ``noise`` of ``classify`` and ``tuning`` of ``white-balance``.

    Attributes:
        card, task: what the model is, and its task.

    Raises:
        UsageError: there is no such model, or its task has no job or no such option.
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
        known = [*inspect.signature(self._job).parameters][2:]
        for name in options:
            if name not in known or name == "progress":
                raise UsageError(f"model {self.card.name} is for task {self.task.name}, which takes no {name}.")
        self._options = options
        self._model: str | Predictor = model
        if isinstance(model, str):
            load = developer.prepare if self.task.name == "demosaic" else registry.load
            self._model = load(model, weights=weights, device=device, dtype=dtype, tile=tile)

    def __call__(self, source: RawImage | Picture, *, progress: Progress | None = None) -> Result:
        """Do the job.

        Args:
            source: what the model's task starts from; see :meth:`suited`.
            progress: called with the finished fraction, 0 to 1.
        """
        return cast("Result", self._job(self._model, source, progress=progress, **self._options))

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
        options: of the model's task: ``noise`` of ``classify``, ``tuning`` of ``white-balance``.

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
