"""Crops of aligned pairs that read fast: JPEG files to pretrain on, or raw files to fine-tune on."""

from __future__ import annotations

import csv
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from rawzoo.errors import UsageError
from rawzoo.files import atomic_path
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw.dng import write_dng
from rawzoo.raw.image import Box, RawImage
from rawzoo.training.datasets import Pair
from rawzoo_naf.datasets import GAMMA, rec2020

if TYPE_CHECKING:
    from rawzoo.batch import Job
    from rawzoo.raw.worker import DecodeWorker

_COLUMNS = ("noisy", "clean", "scene", "group", "iso")


@dataclass(frozen=True)
class MakeSmall:
    """What :func:`rawzoo.batch.run` does with the noisy file of each pair; files that are there are kept.

    Attributes:
        rows: of the table of pairs, by the path of the noisy file.
        folder: where they go.
        size: edge of the centred crop; smaller pictures are taken whole.
        quality: of the JPEG files.
        raw: crop the raw files instead.
        lock: of files that pairs share.
    """

    rows: dict[Path, dict[str, Any]]
    folder: Path
    size: int
    quality: int
    raw: bool
    lock: threading.Lock
    timeout_s: float = 60.0

    def __call__(
        self,
        job: Job,
        decoder: DecodeWorker,
        said: list[str],
        progress: Callable[[float], None],  # noqa: ARG002 - as every recipe
    ) -> dict[str, Any]:
        """The pair's row in the new table."""
        row = self.rows[job.source]
        if self.raw:
            return self._cropped(row, decoder)
        mosaic, clean = (self.folder / f"{row['noisy'].stem}{end}.jpg" for end in ("_bayer", "_gt"))
        if not (mosaic.exists() and clean.exists()):
            noisy = decoder.open(row["noisy"], self.timeout_s)
            pair = Pair(noisy, decoder.open(row["clean"], self.timeout_s), row)
            if not noisy.color_matrices:
                said.append(f"{row['noisy'].name}: the camera's colours are unknown, so they are taken as Rec. 2020.")
            crop = rec2020(pair, pair.crop(self.size, "RGGB", "menon", lambda last: last // 2), row)
            for path, tensor in ((mosaic, crop["mosaic"][0]), (clean, crop["target"].permute(1, 2, 0))):
                # Rounded; the published set is cut off, which darkens it by half a step.
                encoded = np.rint(255 * tensor.numpy() ** (1 / GAMMA)).astype(np.uint8)
                with atomic_path(path) as aside:
                    Image.fromarray(encoded).save(aside, "jpeg", quality=self.quality, subsampling=0)
        return {**{key: row.get(key, "") for key in _COLUMNS}, "noisy": mosaic.name, "clean": clean.name}

    def _cropped(self, row: dict[str, Any], decoder: DecodeWorker) -> dict[str, Any]:
        """The same part of both files; the matrix counts from its corner."""
        paths = {key: self.folder / f"{row[key].name}.dng" for key in ("noisy", "clean")}
        origin = np.zeros(2)
        raws = {key: decoder.open(row[key], self.timeout_s) for key in paths}
        for key, raw in raws.items():
            box = centre(raw, self.size)
            origin[:] = box.left, box.top
            with self.lock:
                if not paths[key].exists():
                    write_dng(paths[key], cropped(raw, box))
        matrix = Pair(raws["noisy"], raws["clean"], row).matrix
        shift = matrix @ [*origin, 1] - origin
        moved = {f"m{i}{j}": f"{m:.8f}" for i, line in enumerate(np.column_stack([matrix[:, :2], shift]))
                 for j, m in enumerate(line)}  # fmt: skip
        return {**row, **moved, **{key: path.name for key, path in paths.items()}}


def centre(raw: RawImage, size: int) -> Box:
    """A square in the middle of the active area, on whole CFA cells.

    Raises:
        UsageError: it is no mosaic.
    """
    if raw.cfa is None:
        raise UsageError(f"{raw.source} is not a mosaic.")
    period = cfa_patterns.period(raw.cfa)
    height, width = (min(size, edge) // period * period for edge in (raw.height, raw.width))
    top, left = ((edge - inner) // 2 // period * period for edge, inner in ((raw.height, height), (raw.width, width)))
    return Box(top, left, top + height, left + width)


def cropped(raw: RawImage, box: Box) -> RawImage:
    """A part of the active area, with the levels, colours and metadata of the whole."""
    whole = Box(0, 0, box.height, box.width)
    return replace(raw, data=np.ascontiguousarray(raw.mosaic[box.slices]), active_area=whole, default_crop=whole)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """A table that :class:`rawzoo_naf.datasets.SmallSet` or ``RawNind`` reads."""
    with atomic_path(path) as aside, aside.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
