"""Data to judge models by: sources with what is known to be true of them, and figures over all of them."""

from __future__ import annotations

import csv
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rawzoo import batch
from rawzoo.errors import UsageError
from rawzoo.files import atomic_path
from rawzoo.picture import PICTURE_SUFFIXES
from rawzoo.zoo import registry

if TYPE_CHECKING:
    from rawzoo.raw.worker import DecodeWorker
    from rawzoo.running import Runner
    from rawzoo.tasks import Task

#: Folders of inputs and of the pictures they should become, relative to the data: rawzoo's own, those of EUSR (the
#: scale stands for the model's), and those of the Zurich RAW to RGB data set.
PAIRS = (("input", "target"), ("LR/x{scale}", "HR"), ("huawei_raw", "canon"))

#: The file of labels or numbers in a folder.
LABELS = "labels.csv"

_HEADER = ("file", "filename", "name", "path", "image")


@dataclass(frozen=True)
class Data:
    """Sources and their truths.

    Attributes:
        truths: source -> the picture it should become (a path), its label (text) or its number.
        lonely: sources without a truth.
    """

    truths: Mapping[Path, Path | str | float]
    lonely: tuple[Path, ...] = ()


def find(folder: Path, runner: Runner, *, mosaics: bool = False) -> Data:
    """What a model can be judged by in a folder, or a CSV file.

    For tasks judged by pictures: two folders of :data:`PAIRS`, whose files are paired by name; the suffix does not
    matter, nor an ``x4`` at the end of a name in ``LR``. For tasks judged by labels or numbers: a CSV file of
    ``file,label`` or ``file,number`` lines, with or without a header, files relative to it; or for labels a folder a
    label with the files in it.

    Args:
        folder: the data.
        mosaics: PNG and TIFF files are mosaics.

    Raises:
        UsageError: it holds none of these.
    """
    task, card = runner.task, runner.card
    suffixes = batch.RAW_SUFFIXES
    if task.source == "picture" or mosaics:
        suffixes = suffixes | PICTURE_SUFFIXES
    if not folder.exists():
        raise UsageError(f"{folder} does not exist; check the name.")
    if task.truth == "picture":
        for inputs, targets in PAIRS:
            first, second = folder / inputs.format(scale=card.scale), folder / targets
            if first.is_dir() and second.is_dir():
                return _pairs(first, second, suffixes, f"x{card.scale}")
        known = ", ".join("{} and {}".format(*pair).format(scale=card.scale) for pair in PAIRS)
        raise UsageError(f"{folder} has no pair of folders for model {card.name}; rawzoo knows {known}.")
    table = folder / LABELS if folder.is_dir() else folder
    if table.is_file():
        return _table(table, numbers=task.truth == "number")
    truths: dict[Path, Path | str | float] = {}
    if task.truth == "label":
        for label in sorted(child for child in folder.iterdir() if child.is_dir()):
            truths |= dict.fromkeys(_files(label, suffixes), label.name)
    if not truths:
        folders = ", or a folder for each label with files in it" if task.truth == "label" else ""
        raise UsageError(f"{folder} has no {LABELS} with lines of file,{task.truth}{folders}.")
    return Data(truths)


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower().lstrip(".") in suffixes)


def _pairs(inputs: Path, targets: Path, suffixes: frozenset[str], scale: str) -> Data:
    by_stem: dict[str, Path] = {}
    for target in _files(targets, PICTURE_SUFFIXES):
        other = by_stem.setdefault(target.stem, target)
        if other != target:
            raise UsageError(f"{other} and {target} have the same name; leave one of them.")
    truths: dict[Path, Path | str | float] = {}
    lonely = []
    for source in _files(inputs, suffixes):
        target_of = by_stem.get(source.stem) or by_stem.get(source.stem.removesuffix(scale))
        if target_of is None:
            lonely.append(source)
        else:
            truths[source] = target_of
    if not truths:
        raise UsageError(f"no file in {inputs} has the name of a picture in {targets}.")
    return Data(truths, tuple(lonely))


def _table(path: Path, *, numbers: bool) -> Data:
    truths: dict[Path, Path | str | float] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [[cell.strip() for cell in row] for row in csv.reader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{path} cannot be read as CSV ({error}).") from error
    for line, row in enumerate(rows, start=1):
        if not any(row) or (line == 1 and row[0].lower() in _HEADER):
            continue
        if len(row) < 2 or not row[0] or not row[1]:
            raise UsageError(f"{path}, line {line}: a file and its {'number' if numbers else 'label'} are due.")
        truth: str | float = row[1]
        if numbers:
            try:
                truth = float(row[1])
            except ValueError:
                raise UsageError(f"{path}, line {line}: {row[1]!r} is no number.") from None
            if not math.isfinite(truth):
                raise UsageError(f"{path}, line {line}: {row[1]!r} is no finite number.")
        truths[path.parent / row[0]] = truth
    if not truths:
        raise UsageError(f"{path} has no lines.")
    return Data(truths)


@dataclass(frozen=True)
class Evaluate:
    """The recipe of ``rawzoo evaluate``: the metrics of one source.

    Args:
        runner: the model.
        data: as :func:`find` gives it.
        options: of the task's measure, such as ``shave`` of ``super-resolution``.

    Raises:
        UsageError: the task has no metric, or no such option.
    """

    runner: Runner
    data: Data
    options: Mapping[str, Any] = field(default_factory=dict)
    timeout_s: float = 60.0
    open_options: dict[str, Any] = field(default_factory=dict)
    _measure: Callable[..., dict[str, float]] = field(init=False)

    def __post_init__(self) -> None:
        task = self.runner.task
        if not task.measure:
            raise UsageError(f"model {self.runner.card.name} is for task {task.name}, which has no metric.")
        measure = registry.resolve(task.measure, f"task {task.name}")
        for name in self.options:
            if name not in [*inspect.signature(measure).parameters][2:]:
                raise UsageError(f"the metrics of task {task.name} take no {name}.")
        object.__setattr__(self, "_measure", measure)

    def __call__(
        self, job: batch.Job, decoder: DecodeWorker, said: list[str], progress: Callable[[float], None]
    ) -> dict[str, float]:
        source = batch.open_source(job.source, decoder, self.timeout_s, **self.open_options)
        said.extend(source.warnings)
        source, _ = self.runner.suited(source)
        truth: Any = self.data.truths[job.source]
        if isinstance(truth, Path):
            truth = decoder.open_picture(truth, self.timeout_s)
            said.extend(truth.warnings)
        result = self.runner(source, progress=progress)
        try:
            return self._measure(result, truth, **self.options)
        except UsageError as error:
            raise UsageError(f"{job.source}: {error}") from None


@dataclass(frozen=True)
class Figures:
    """One metric over all sources; those for which it is NaN do not count. A metric that exists only for all of them
    together has no least and no most."""

    count: int
    mean: float
    least: float = math.nan
    most: float = math.nan

    def to_dict(self) -> dict[str, Any]:
        """JSON values; None for what JSON has no number for: none at all, and the PSNR of equal pictures."""
        return {
            "files": self.count,
            "mean": json_number(self.mean),
            "min": json_number(self.least),
            "max": json_number(self.most),
        }


def json_number(value: float) -> float | None:
    """The number, or None where JSON has none for it."""
    return value if math.isfinite(value) else None


def summary(rows: Sequence[Mapping[str, float]], task: Task) -> dict[str, Figures]:
    """Figures of each of a task's metrics over the rows, one a source."""
    pooled = registry.resolve(task.pool, f"task {task.name}")(rows) if task.pool else {}
    return {
        name: Figures(len(rows), pooled[name]) if name in pooled else _averaged([row[name] for row in rows])
        for name in task.metrics
    }


def _averaged(values: Sequence[float]) -> Figures:
    known = [value for value in values if not math.isnan(value)]
    if not known:
        return Figures(0, math.nan)
    return Figures(len(known), float(np.mean(known)), min(known), max(known))


def write_csv(path: Path, rows: Mapping[Path, Mapping[str, float]]) -> None:
    """One line a source, one column a figure."""
    names = dict.fromkeys(name for row in rows.values() for name in row)
    with atomic_path(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file", *names])
        for source, row in rows.items():
            table.writerow([str(source), *(row[name] for name in names)])
