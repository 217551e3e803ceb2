"""One raw file developed by several models: a sheet of the same crops of each, side by side."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from rawzoo import developer, output, pipeline
from rawzoo.errors import UsageError
from rawzoo.raw import noise_level
from rawzoo.raw.image import Box, RawImage
from rawzoo.sheet import Column, comparison_sheet

if TYPE_CHECKING:
    from PIL import Image

    from rawzoo.batch import Job
    from rawzoo.inference.predictor import Predictor
    from rawzoo.raw.worker import DecodeWorker

# Of the sheet, pixels: all columns together; the narrowest and widest of them; the whole picture.
_ACROSS, _NARROWEST, _WIDEST, _WHOLE_HEIGHT = 1500, 240, 520, 560
# Details of small pictures are shown larger.
_MOST_MAGNIFIED = 4


@dataclass(frozen=True)
class Entry:
    """A model on a sheet: its title, and what :func:`rawzoo.develop` takes."""

    title: str
    model: str | Predictor


def load(
    names: Sequence[str], *, device: str = "cpu", dtype: str | None = None, tile: int | None = None
) -> list[Entry]:
    """Models to compare.

    Args:
        names: ``MODEL[@WEIGHTS]`` of task ``demosaic``, or ``none`` for the classical one.
        device, dtype, tile: of networks; see :func:`rawzoo.load`.

    Raises:
        UsageError: no name, or a name twice.
        RawzooError: as :func:`rawzoo.load`.
    """
    if not names or len(set(names)) < len(names):
        raise UsageError(f"models to compare must be named, each once, not {', '.join(names)!r}.")
    entries = []
    for name in names:
        model, _, weights = name.partition("@")
        prepared = developer.prepare(model, weights=weights or None, device=device, dtype=dtype, tile=tile)
        # Of a path the name of the file is enough.
        entries.append(Entry(f"{model}@{Path(weights).stem}" if weights else model, prepared))
    return entries


@dataclass(frozen=True)
class Compare:
    """The recipe of ``rawzoo compare``: writes the sheet, and gives the seconds of each model by its title."""

    entries: Sequence[Entry]
    crops: int = 4
    timeout_s: float = 60.0
    open_options: dict[str, Any] = field(default_factory=dict)

    def __call__(
        self, job: Job, decoder: DecodeWorker, said: list[str], progress: Callable[[float], None]
    ) -> dict[str, float]:
        raw = decoder.open(job.source, timeout_s=self.timeout_s, **self.open_options)
        said.extend(raw.warnings)
        columns, seconds = develop_all(raw, self.entries, progress)
        assert job.target is not None
        sheet = lay_out(raw, columns, self.crops)
        output.write_picture(job.target, np.asarray(sheet))
        return seconds


def develop_all(
    raw: RawImage, entries: Sequence[Entry], progress: Callable[[float], None] = lambda _: None
) -> tuple[list[Column], dict[str, float]]:
    """The pictures of all models, and the seconds each took, without loading it and waking the machinery."""
    if raw.cfa is not None and raw.noise_profile is None:
        raw = replace(raw, noise_profile=noise_level.of(raw).profile)
    columns, seconds = [], {}
    for number, entry in enumerate(entries):

        def advance(done: float, number: int = number) -> None:
            progress((number + done) / len(entries))

        picture, seconds[entry.title] = timed(raw, entry.model, advance)
        advance(1.0)
        title = entry.title
        if title == "none" and raw.cfa is not None:
            title = f"none: {developer.default_developer(raw)}"
        columns.append(Column(title, picture, duration(seconds[entry.title])))
    return columns, seconds


def timed(
    raw: RawImage, model: str | Predictor, progress: Callable[[float], None] | None = None
) -> tuple[npt.NDArray[Any], float]:
    """A picture and the seconds it took, without waking the machinery."""
    size = 64 - 64 % 6
    corner = Box(0, 0, min(size, raw.height), min(size, raw.width))
    if raw.active_area.top == raw.active_area.left == 0:
        pipeline.develop(replace(raw, active_area=corner, default_crop=corner), model)
    began = time.perf_counter()
    picture = pipeline.develop(raw, model, progress=progress)
    return picture, time.perf_counter() - began


def duration(seconds: float) -> str:
    """In words."""
    return f"{seconds:.1f} s" if seconds >= 1 else f"{1000 * seconds:.0f} ms"


def lay_out(raw: RawImage, columns: Sequence[Column], crops: int) -> Image.Image:
    """The sheet; the last column is shown whole."""
    height, width = columns[0].picture.shape[:2]
    edge = min(max(_ACROSS // len(columns), _NARROWEST), _WIDEST)
    # Of a small picture not more than a third each way, so that there is room for several.
    crop_height, crop_width = min(edge * 2 // 3, -(-height // 3)), min(edge, -(-width // 3))
    boxes = choose_crops([column.picture for column in columns], crop_height, crop_width, crops)
    taken = raw.metadata
    make, model = taken.make or "", taken.model or ""
    camera = model if model.startswith(make) else f"{make} {model}".strip()
    facts = [f"{width} x {height} pixels"] + [camera] * bool(camera)
    if taken.iso is not None:
        facts.append(f"ISO {taken.iso:g}")
    if raw.cfa is not None:
        level = noise_level.of(raw)
        facts.append(f"signal to noise {level.mid_grey_snr:.0f} at mid grey, {level.source}")
    return comparison_sheet(
        columns,
        boxes,
        heading=raw.source.replace("\\", "/").rpartition("/")[2] or "raw image",
        caption=", ".join(facts),
        magnify=max(1, min(edge // crop_width, edge * 2 // 3 // crop_height, _MOST_MAGNIFIED)),
        whole_height=_WHOLE_HEIGHT,
    )


def choose_crops(pictures: Sequence[npt.NDArray[np.uint8]], height: int, width: int, count: int) -> list[Box]:
    """Where models are worth comparing, in turns: the finest detail; where the pictures differ most; detail in the
    dark; an even surface of middle brightness.

    Args:
        pictures: uint8 ``[H, W, 3]`` of one size.
        height, width: of a crop; not larger than the pictures.
        count: crops that are wanted; there are fewer where they would overlap.

    Returns:
        Crops that do not overlap, most interesting first.
    """
    # Light and how it changes within a few pixels, on a grid of 8: what is finer than that is seen as a sum.
    lumas = [picture[..., 1].astype(np.float32) for picture in pictures]
    mean = np.asarray(sum(lumas[1:], lumas[0]) / len(lumas))
    spread = np.asarray(sum(abs(luma - mean) for luma in lumas))
    # Every model's own noise is no detail, so only what all of them agree on counts.
    detail = np.minimum.reduce([_change(luma) for luma in lumas])
    step = max(min(height, width) // 4, 1)
    tops = np.unique(np.append(np.arange(0, mean.shape[0] - height + 1, step), mean.shape[0] - height))
    lefts = np.unique(np.append(np.arange(0, mean.shape[1] - width + 1, step), mean.shape[1] - width))
    light, fine, apart = (_means(plane, tops, lefts, height, width) for plane in (mean, detail, spread))
    dark = np.where(light < max(np.quantile(light, 0.4), 24.0), fine, -1.0)
    even = np.where((light > 40) & (light < 170), 1.0 / (1.0 + fine), 0.0)
    free = np.ones_like(light, bool)
    found: list[Box] = []
    for turn in range(count):
        score = np.where(free, (fine, apart, dark, even)[turn % 4], -np.inf)
        i, j = np.unravel_index(score.argmax(), score.shape)
        if not free[i, j]:
            break
        top, left = int(tops[i]), int(lefts[j])
        found.append(Box(top, left, top + height, left + width))
        free &= (abs(tops - top) >= height)[:, None] | (abs(lefts - left) >= width)
    return found


def _change(luma: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Differences of neighbours two pixels apart along both axes, of the size of ``luma``."""
    padded = np.pad(luma, 1, mode="edge")
    return np.asarray(abs(padded[2:, 1:-1] - padded[:-2, 1:-1]) + abs(padded[1:-1, 2:] - padded[1:-1, :-2]))


def _means(
    plane: npt.NDArray[Any], tops: npt.NDArray[np.int64], lefts: npt.NDArray[np.int64], height: int, width: int
) -> npt.NDArray[np.float64]:
    """Of all windows with these corners, by sums from the origin."""
    sums = np.pad(plane.cumsum(0, dtype=np.float64).cumsum(1), ((1, 0), (1, 0)))
    rows = sums[tops + height] - sums[tops]
    return np.asarray((rows[:, lefts + width] - rows[:, lefts]) / (height * width))
