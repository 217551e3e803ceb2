"""Data to judge models by: sources with what is known to be true of them, and figures over all of them."""

from __future__ import annotations

import csv
import inspect
import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rawzoo import batch
from rawzoo.errors import UsageError
from rawzoo.files import atomic_path
from rawzoo.picture import PICTURE_SUFFIXES, Picture
from rawzoo.raw import noise
from rawzoo.raw.image import RawImage
from rawzoo.tasks import demosaic
from rawzoo.zoo import registry

if TYPE_CHECKING:
    from rawzoo.raw.worker import DecodeWorker
    from rawzoo.running import Runner
    from rawzoo.tasks import Task

#: Folders of inputs and of the pictures they should become, relative to the data: rawzoo's own, those of EUSR (the
#: scale stands for the model's), those of the Zurich RAW to RGB data set, and noisy and clean shots.
PAIRS = (("input", "target"), ("LR/x{scale}", "HR"), ("huawei_raw", "canon"), ("noisy", "clean"))

#: The file of labels or numbers in a folder.
LABELS = "labels.csv"

_HEADER = ("file", "filename", "name", "path", "image")


Truth = Path | str | float | None


@dataclass(frozen=True)
class Data:
    """Sources and their truths.

    Attributes:
        truths: source -> the picture it should become or its clean shot (a path), its label (text) or its number; or
            None, for a photograph that is its own truth.
        lonely: sources without a truth.
        photographs: the sources are photographs, which are made raw.
    """

    truths: Mapping[Path, Truth]
    lonely: tuple[Path, ...] = ()
    photographs: bool = False

    @property
    def in_camera_rgb(self) -> bool:
        """Whether the truths are clean shots or photographs, which are compared before colour and tone."""
        return any(truth is None or (isinstance(truth, Path) and is_raw_name(truth)) for truth in self.truths.values())


def is_raw_name(path: Path) -> bool:
    """Whether a file's name says that it is a raw file."""
    return path.suffix.lower().lstrip(".") in batch.RAW_SUFFIXES


def find(folder: Path, runner: Runner, *, mosaics: bool = False, photographs: bool = False) -> Data:
    """What a model can be judged by in a folder, or a CSV file.

    For tasks judged by pictures: two folders of :data:`PAIRS`, whose files are paired by name; the suffix does not
    matter, nor an ``x4`` at the end of a name in ``LR``. For task ``demosaic`` the second may hold raw files, clean
    shots of the same; or there are no pairs but photographs, which are made raw. For tasks judged by labels or
    numbers: a CSV file of ``file,label`` or ``file,number`` lines, with or without a header, files relative to it; or
    for labels a folder a label with the files in it.

    Args:
        folder: the data.
        mosaics: PNG and TIFF files are mosaics.
        photographs: made raw, for task ``demosaic``, in the folder itself; for task ``classify`` they have labels.

    Raises:
        UsageError: it holds none of these, or clean shots and pictures alike.
    """
    task, card = runner.task, runner.card
    suffixes = batch.RAW_SUFFIXES
    if task.source == "picture" or mosaics:
        suffixes = suffixes | PICTURE_SUFFIXES
    if not folder.exists():
        raise UsageError(f"{folder} does not exist; check the name.")
    demosaics = task.name == "demosaic"
    if photographs and not (demosaics or (task.source == "raw" and task.truth == "label")):
        raise UsageError(
            f"photographs are made raw for tasks demosaic and classify, and model {card.name} is for {task.name}."
        )
    if photographs and demosaics:
        found = _files(folder, PICTURE_SUFFIXES) if folder.is_dir() else []
        if not found:
            raise UsageError(f"{folder} is no folder with photographs to be made raw.")
        return Data(dict.fromkeys(found), photographs=True)
    if task.truth == "picture":
        for inputs, targets in PAIRS:
            first, second = folder / inputs.format(scale=card.scale), folder / targets
            if first.is_dir() and second.is_dir():
                truths_of = PICTURE_SUFFIXES | (batch.RAW_SUFFIXES if demosaics else frozenset())
                return _pairs(first, second, suffixes, truths_of, f"x{card.scale}")
        known = ", ".join("{} and {}".format(*pair).format(scale=card.scale) for pair in PAIRS)
        otherwise = "; photographs are made raw with --noise" if demosaics else ""
        raise UsageError(f"{folder} has no pair of folders for model {card.name}; rawzoo knows {known}{otherwise}.")
    table = folder / LABELS if folder.is_dir() else folder
    if photographs:
        suffixes = PICTURE_SUFFIXES
    if table.is_file():
        return replace(_table(table, numbers=task.truth == "number"), photographs=photographs)
    truths: dict[Path, Truth] = {}
    if task.truth == "label":
        for label in sorted(child for child in folder.iterdir() if child.is_dir()):
            truths |= dict.fromkeys(_files(label, suffixes), label.name)
    if not truths:
        folders = ", or a folder for each label with files in it" if task.truth == "label" else ""
        raise UsageError(f"{folder} has no {LABELS} with lines of file,{task.truth}{folders}.")
    return Data(truths, photographs=photographs)


def parse_noise(text: str) -> tuple[float, float]:
    """(a, b) of ``A,B``, or of ``A`` alone with what reading adds on a full-frame sensor that is so noisy.

    Raises:
        UsageError: it is neither.
    """
    try:
        a, *rest = (float(part) for part in text.split(","))
        if len(rest) > 1 or not all(math.isfinite(n) and n >= 0 for n in (a, *rest)):
            raise ValueError
    except ValueError:
        raise UsageError(f"--noise takes one or two numbers such as 0.004 or 0.004,1e-5, not {text!r}.") from None
    if rest:
        return a, rest[0]
    return noise.profile_at_iso(a / noise.FULL_FRAME_SCALE) if a else (0.0, 0.0)


def _files(folder: Path, suffixes: frozenset[str]) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix.lower().lstrip(".") in suffixes)


def _pairs(inputs: Path, targets: Path, suffixes: frozenset[str], truth_suffixes: frozenset[str], scale: str) -> Data:
    by_stem: dict[str, Path] = {}
    for target in _files(targets, truth_suffixes):
        other = by_stem.setdefault(target.stem, target)
        if other != target:
            raise UsageError(f"{other} and {target} have the same name; leave one of them.")
    truths: dict[Path, Truth] = {}
    lonely = []
    for source in _files(inputs, suffixes):
        target_of = by_stem.get(source.stem) or by_stem.get(source.stem.removesuffix(scale))
        if target_of is None:
            lonely.append(source)
        else:
            truths[source] = target_of
    if not truths:
        kinds = "raw file or picture" if truth_suffixes & batch.RAW_SUFFIXES else "picture"
        raise UsageError(f"no file in {inputs} that the model takes has the name of a {kinds} in {targets}.")
    raws = [path for path in truths.values() if isinstance(path, Path) and is_raw_name(path)]
    if raws and len(raws) < len(truths):
        raise UsageError(f"{targets} holds raw files, such as {raws[0].name}, and pictures; evaluate them apart.")
    return Data(truths, tuple(lonely))


def _table(path: Path, *, numbers: bool) -> Data:
    truths: dict[Path, Truth] = {}
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
        noise: (a, b) of photographs that are made raw: variance = a x + b of the signal between black and white.

    Attributes:
        task: with the metrics of this comparison.

    Raises:
        UsageError: the task has no metric, or no such option.
    """

    runner: Runner
    data: Data
    options: Mapping[str, Any] = field(default_factory=dict)
    noise: tuple[float, float] = (0.0, 0.0)
    timeout_s: float = 60.0
    open_options: dict[str, Any] = field(default_factory=dict)
    task: Task = field(init=False)
    _measure: Callable[..., dict[str, float]] = field(init=False)

    def __post_init__(self) -> None:
        task = self.runner.task
        if self.data.in_camera_rgb:
            task = replace(task, measure="rawzoo.tasks.demosaic:measure_camera_rgb", metrics=demosaic.OF_CAMERA_RGB)
        object.__setattr__(self, "task", task)
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
        truth: Any = self.data.truths[job.source]
        source: RawImage | Picture
        if self.data.photographs:
            source, clean = self._photographed(job.source, decoder)
            truth = clean if truth is None else truth
        else:
            source = batch.open_source(job.source, decoder, self.timeout_s, **self.open_options)
            said.extend(source.warnings)
            source, _ = self.runner.suited(source)
        if isinstance(truth, Path):
            open_truth = decoder.open if self.data.in_camera_rgb else decoder.open_picture
            truth = open_truth(truth, self.timeout_s)
            said.extend(truth.warnings)
        result: Any
        try:
            if self.data.in_camera_rgb:
                assert isinstance(source, RawImage)
                if isinstance(truth, RawImage):
                    truth = demosaic.clean_camera_rgb(source, truth)
                result = self.runner.camera_rgb(source, progress=progress)
            else:
                result = self.runner(source, progress=progress)
            return self._measure(result, truth, **self.options)
        except UsageError as error:
            raise UsageError(f"{job.source}: {error}") from None

    def _photographed(self, path: Path, decoder: DecodeWorker) -> tuple[RawImage, npt.NDArray[np.float32]]:
        """A photograph made raw. Colours of the camera, light and noise depend on its name only."""
        from rawzoo.raw import synthetic
        from rawzoo.raw.cfa import XTRANS_PATTERN

        card = self.runner.card
        cfa = {"any": "RGGB", "bayer": "RGGB", "xtrans": XTRANS_PATTERN}.get(card.cfa, card.cfa)
        cfa = self.open_options.get("cfa") or cfa
        picture = decoder.open_picture(path, self.timeout_s)
        return synthetic.photographed(picture.pixels, self.noise, cfa, zlib.crc32(path.name.encode()))


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
