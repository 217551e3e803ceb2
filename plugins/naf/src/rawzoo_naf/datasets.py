"""What the published networks are trained on: RawNIND, in linear Rec. 2020 that is not white-balanced, from raw files
or from the small set of JPEG files that ``rawzoo naf make-small`` makes of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor
from torch.nn import functional

from rawzoo.errors import RawzooError, UsageError
from rawzoo.raw import color
from rawzoo.training.datasets import Batch, Cache, Pair, Pairs, TrainingData, split, table_of
from rawzoo_naf.debayer import Debayer5x5
from rawzoo_naf.restorer import ISO_SCALE, camera_to_rec2020, packed_matrix

#: Exponent of the encoding of the small set's files.
GAMMA = 2.2

_TO_SRGB = torch.from_numpy(np.linalg.inv(color.rgb_to_xyz("srgb")) @ color.rgb_to_xyz("rec2020-linear")).float()


class Restorer(TrainingData):
    """What both datasets share: which pairs, and what the networks are given of a crop.

    Batches hold

    * ``mosaic`` ``[N, 1, H, W]``, RGGB, and ``rgb`` ``[N, 3, H, W]``, the same after Malvar's demosaicing;
    * ``target`` ``[N, 3, H, W]``, aligned and as bright;
    * ``cond`` ``[N, 1]``, ISO / 6400.

    All are linear Rec. 2020 in 0..1.

    Args:
        reduce: 0, or N to train a demosaicer: the target is the noisy ``rgb`` made N times smaller by means, and the
            mosaic is made of it; ``patch`` is that of the smaller picture.
    """

    cfas = ("RGGB",)

    def __init__(self, reduce: int) -> None:
        if reduce < 0:
            raise UsageError(f"data.reduce must be 0 or more, not {reduce}.")
        self.reduce = reduce
        self._demosaic = Debayer5x5(stored=False)

    @property
    def factor(self) -> int:
        """By how much a crop of the files is larger than a patch."""
        return self.reduce or 1

    def finish(self, batch: Batch, generator: Generator) -> Batch:  # noqa: ARG002 - nothing is drawn
        """Adds what is computed."""
        found = dict(batch)
        mosaic: Tensor = found["mosaic"]
        rgb = self._demosaic.to(mosaic.device)(mosaic)
        if self.reduce:
            target = functional.avg_pool2d(rgb, self.reduce)
            # One colour of each site of a cell, in the order of packed planes.
            planes = [target[:, c, y::2, x::2] for c, y, x in ((0, 0, 0), (1, 0, 1), (1, 1, 0), (2, 1, 1))]
            mosaic = functional.pixel_shuffle(torch.stack(planes, 1), 2)
            rgb = self._demosaic(mosaic)
            found.update(mosaic=mosaic, target=target)
        to_srgb = _TO_SRGB.to(mosaic.device).expand(len(mosaic), 3, 3)
        return {**found, "rgb": rgb, "to_srgb": to_srgb, "cfa": "RGGB"}

    def _finished(self, sample: Batch) -> Batch:
        batch = {key: value[None] if isinstance(value, Tensor) else value for key, value in sample.items()}
        return self.finish(batch, Generator())


def _condition(row: dict[str, Any]) -> Tensor:
    return torch.tensor([float(row["iso"]) / ISO_SCALE])


def _suited(rows: list[dict[str, Any]], table: str) -> list[dict[str, Any]]:
    """Rows of Bayer files, all of which say their ISO."""
    rows = [row for row in rows if not (row.get("scene") or "").startswith("X-Trans")]
    for row in rows:
        if not (row.get("iso") or "").isdigit():
            raise UsageError(f"data.table {table} must have the column iso, a number in each row.")
    return rows


def _per_iso(rows: list[dict[str, Any]], isos: Sequence[int], limit: int) -> list[dict[str, Any]]:
    """At most ``limit`` rows of each ISO, from all over them; of the given ISO only, if any are given."""
    groups: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        groups[int(row["iso"])].append(row)
    kept = []
    for iso, group in sorted(groups.items()):
        if not isos or iso in isos:
            step = max(len(group) / limit, 1.0) if limit else 1.0
            kept += [group[int(i * step)] for i in range(int(len(group) / step))]
    if not kept:
        raise UsageError(f"data.isos {list(isos)} leaves nothing to validate on; there are {sorted(groups)}.")
    return kept


class RawNind(Restorer, Pairs):
    """Raw files of RawNIND, aligned by ``rawzoo naf align``.

    Batches as of :class:`Restorer`. rawzoo's own denoisers take the same table as ``data: {name: pairs}``.

    Args:
        table: what ``rawzoo naf align`` wrote; X-Trans files are left out.
        validation: share of the scenes that is held out, or patterns such as ``*_TEST_*``.
        patch, validation_patch: edges of the crops: random, and the centre.
        isos, per_iso: which ISO to validate on, all unless given, and how many pairs of each.
        reduce: see :class:`Restorer`.
        method: how the clean file is demosaiced.
        memory: gigabytes of decoded files to keep.
    """

    def __init__(
        self,
        table: str,
        validation: float | Sequence[str] = 0.2,
        patch: int = 256,
        validation_patch: int = 512,
        isos: Sequence[int] = (),
        per_iso: int = 3,
        reduce: int = 0,
        method: str = "menon",
        memory: float = 4.0,
    ) -> None:
        Restorer.__init__(self, reduce)
        edges = (patch * self.factor, validation_patch * self.factor)
        Pairs.__init__(
            self, table, validation=validation, patch=edges[0], validation_patch=edges[1], method=method, memory=memory
        )
        self.train = _suited(self.train, table)
        self.check = _per_iso(_suited(self.check, table), isos, per_iso)

    def sample(self, index: int, rng: np.random.Generator) -> Batch:
        """A random crop."""
        pair: Pair = self._pairs[index]
        crop = pair.crop(self.patch, "RGGB", self.method, lambda last: int(rng.integers(0, last + 1)))
        return rec2020(pair, crop, self.train[index])

    def validation(self, index: int) -> tuple[str, Batch]:
        """The centre of a pair; groups are ISO."""
        row = self.check[index]
        pair = Pair.open(row)
        crop = pair.crop(self.validation_patch, "RGGB", self.method, lambda last: last // 2)
        return f"ISO_{row['iso']}", self._finished(rec2020(pair, crop, row))


def rec2020(pair: Pair, crop: Batch, row: dict[str, Any]) -> Batch:
    """A crop of a pair, RGGB, in linear Rec. 2020; ``mosaic``, ``target`` and ``cond``, without a batch axis."""
    matrix = camera_to_rec2020(pair.noisy) / np.array(pair.gains)
    planes = functional.pixel_unshuffle(crop["mosaic"], 2)
    planes = torch.einsum("ij,jhw->ihw", torch.from_numpy(packed_matrix(matrix)).float(), planes)
    target = torch.einsum("ij,jhw->ihw", torch.from_numpy(matrix).float(), crop["target"])
    return {
        "mosaic": functional.pixel_shuffle(planes, 2).clamp(0, 1),
        "target": target.clamp(0, 1),
        "cond": _condition(row),
    }


class SmallSet(Restorer):
    """The JPEG files that ``rawzoo naf make-small`` writes: mosaics, and the aligned truth of each.

    Batches as of :class:`Restorer`.

    Args:
        table: ``pairs.csv`` among them.
        validation, patch, validation_patch, isos, per_iso, reduce: as for :class:`RawNind`.
        memory: gigabytes of decoded files to keep.
    """

    def __init__(
        self,
        table: str,
        validation: float | Sequence[str] = 0.2,
        patch: int = 256,
        validation_patch: int = 512,
        isos: Sequence[int] = (),
        per_iso: int = 3,
        reduce: int = 0,
        memory: float = 4.0,
    ) -> None:
        super().__init__(reduce)
        if patch % 2 or patch < 4:
            raise UsageError(f"data.patch must be an even number of at least 4, not {patch}.")
        self.patch, self.validation_patch = patch * self.factor, validation_patch * self.factor
        rows = _suited(table_of(Path(table)), table)
        train, check = split([row.get("scene") or row["noisy"].name for row in rows], validation)
        self.train, self.check = [rows[i] for i in train], _per_iso([rows[i] for i in check], isos, per_iso)
        self._pairs = Cache(memory, lambda i: _decoded(self.train[i]), lambda pair: sum(p.nbytes for p in pair))

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Batch:
        """A random crop, uint8, of a pair."""
        mosaic, clean = self._pairs[index]
        size = min(self.patch, *(edge // 2 * 2 for edge in mosaic.shape))
        top, left = (2 * int(rng.integers(0, (edge - size) // 2 + 1)) for edge in mosaic.shape)
        return self._crop(mosaic, clean, top, left, size, self.train[index])

    def finish(self, batch: Batch, generator: Generator) -> Batch:
        """Linear, and what is computed."""
        linear = {key: (batch[key].float() / 255) ** GAMMA for key in ("mosaic", "target")}
        return super().finish({**batch, **linear}, generator)

    @property
    def validation_size(self) -> int:
        return len(self.check)

    def validation(self, index: int) -> tuple[str, Batch]:
        """The centre of a pair; groups are ISO."""
        row = self.check[index]
        mosaic, clean = _decoded(row)
        size = min(self.validation_patch, *(edge // 2 * 2 for edge in mosaic.shape))
        top, left = ((edge - size) // 4 * 2 for edge in mosaic.shape)
        return f"ISO_{row['iso']}", self._finished(self._crop(mosaic, clean, top, left, size, row))

    @staticmethod
    def _crop(
        mosaic: NDArray[np.uint8], clean: NDArray[np.uint8], top: int, left: int, size: int, row: dict[str, Any]
    ) -> Batch:
        area = slice(top, top + size), slice(left, left + size)
        return {
            "mosaic": torch.from_numpy(mosaic[area].copy())[None],
            "target": torch.from_numpy(np.ascontiguousarray(clean[area].transpose(2, 0, 1))),
            "cond": _condition(row),
        }


def _decoded(row: dict[str, Any]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    found = []
    for key, mode in (("noisy", "L"), ("clean", "RGB")):
        try:
            with Image.open(row[key]) as picture:
                found.append(np.asarray(picture.convert(mode)))
        except (OSError, ValueError) as error:
            raise RawzooError(f"{row[key]} of the small set is damaged ({error}); make it anew.") from error
    mosaic, clean = found
    if mosaic.shape != clean.shape[:2]:
        raise RawzooError(f"{row['noisy']} and {row['clean']} of the small set have not one size; make them anew.")
    return mosaic, clean
