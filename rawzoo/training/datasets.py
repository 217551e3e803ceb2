"""What networks are trained on. Everything random derives from the seed, the step and the process.

A dataset is a subclass of :class:`TrainingData`; plugins bring their own by dotted path.
"""

from __future__ import annotations

import csv
import fnmatch
import hashlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler, default_collate

from rawzoo import metrics, ops
from rawzoo.errors import RawzooError, UsageError
from rawzoo.raw import cfa as cfa_patterns
from rawzoo.raw import color, noise, synthetic
from rawzoo.raw.image import RawImage
from rawzoo.raw.reader import open as open_raw

#: A batch: tensors, or what is the same for all of it (``cfa``), by name.
Batch = dict[str, Any]

_log = logging.getLogger("rawzoo")

_PICTURES = (".avif", ".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class TrainingData(ABC):
    """Examples to train on, and others, always the same, to validate on.

    An example is a dict with the inputs of the network by name, such as ``mosaic`` or ``noise``, and the ``target``.
    """

    @abstractmethod
    def __len__(self) -> int:
        """How many different things there are to train on, say photographs."""

    @abstractmethod
    def sample(self, index: int, rng: np.random.Generator) -> Batch:
        """One example of thing ``index``, such as a random crop; without a batch axis, on the CPU."""

    def finish(self, batch: Batch, generator: Generator) -> Batch:
        """The rest of the work on a collated batch, on the network's device, which is that of ``generator``."""
        return batch

    @property
    @abstractmethod
    def validation_size(self) -> int:
        """How many validation examples there are."""

    @abstractmethod
    def validation(self, index: int) -> tuple[str, Batch]:
        """A validation example as a finished batch of one on the CPU, and the group its metrics are averaged in."""

    def measure(self, prediction: Tensor, batch: Batch) -> dict[str, float]:
        """Metrics of a validation example, larger is better: PSNR in dB, linear and of square roots, and SSIM of square
        roots, of values clipped to 0..1 and without a border of 8 pixels, which no network can do well at."""
        return picture_metrics(prediction, batch["target"])

    def pictures(self, prediction: Tensor, batch: Batch) -> list[Tensor]:
        """Input, output and target of a validation example to look at, each sRGB-encoded float ``[3, H, W]`` 0..1."""
        seen = [prediction, batch["target"]]
        if "mosaic" in batch:
            seen.insert(0, ops.demosaic(batch["mosaic"][0, 0].float(), batch["cfa"], method="bilinear")[None])
        matrix = batch.get("to_srgb", torch.eye(3)[None])[0].to(prediction.device)
        linear = [torch.einsum("ij,jhw->ihw", matrix, x[0].float().to(matrix)) for x in seen]
        return [torch.from_numpy(color.srgb_encode(x.cpu().numpy()).astype(np.float32)) for x in linear]


def picture_metrics(prediction: Tensor, target: Tensor, border: int = 8) -> dict[str, float]:
    """``psnr``, ``psnr_sqrt`` and ``ssim_sqrt`` of two pictures ``[1, C, H, W]``; see :meth:`TrainingData.measure`."""
    p, t = (x[0].detach().float().movedim(0, -1).cpu().numpy() for x in (prediction, target))
    found = metrics.camera_figures(p, t, border)
    # Equal pictures have no finite PSNR, and a mean needs one.
    return {name: min(value, 100.0) for name, value in found.items() if not np.isnan(value)}


def files_in(folders: Sequence[str], suffixes: Sequence[str]) -> list[Path]:
    """Files with these suffixes in folders and the folders in them, in an order that does not depend on the system.

    Raises:
        UsageError: a folder does not exist, or there are no such files.
    """
    found = []
    for folder in folders:
        if not Path(folder).is_dir():
            raise UsageError(f"data folder {folder} does not exist; give folders with data.folders=[...].")
        found += sorted(p for p in Path(folder).rglob("*") if p.suffix.lower() in suffixes and p.is_file())
    if not found:
        raise UsageError(f"there are no files to train on in {', '.join(map(str, folders)) or 'no folder'}.")
    return found


def split(names: Sequence[str], validation: float | Sequence[str]) -> tuple[list[int], list[int]]:
    """Which things to train and which to validate on.

    Args:
        names: one for each thing.
        validation: patterns such as ``*/city*`` of the names to hold out; or the share to hold out, chosen by the
            digest of the name, so that a thing stays where it is when others are added.

    Raises:
        UsageError: nothing is left on one of the sides.
    """
    if isinstance(validation, (int, float)):
        limit = float(validation)
        held = [int.from_bytes(hashlib.sha256(n.encode()).digest()[:4], "big") / 2**32 < limit for n in names]
    else:
        held = [any(fnmatch.fnmatch(name, pattern) for pattern in validation) for name in names]
    train, check = ([i for i, h in enumerate(held) if h is side] for side in (False, True))
    if not train or not check:
        side = "train" if not train else "validate"
        raise UsageError(f"data.validation {validation!r} leaves nothing to {side} on of {len(names)} files.")
    return train, check


class Cache:
    """Decoded things by number, kept until ``gigabytes`` are full; the others are decoded each time.

    Args:
        decode: makes one.
        size: bytes that it takes.
    """

    def __init__(self, gigabytes: float, decode: Callable[[int], Any], size: Callable[[Any], int]) -> None:
        self._free = gigabytes * 1e9
        self._decode, self._size = decode, size
        self._kept: dict[int, Any] = {}

    def __getitem__(self, index: int) -> Any:
        if index not in self._kept:
            item = self._decode(index)
            if self._size(item) > self._free:
                return item
            self._free -= self._size(item)
            self._kept[index] = item
        return self._kept[index]


class Photographs(TrainingData):
    """Developed photographs, from which raw data are made on the fly (:mod:`rawzoo.raw.synthetic`).

    Batches hold ``mosaic`` ``[N, 1, H, W]``, ``target`` ``[N, 3, H, W]``, ``noise`` ``[N, C, 2]``, ``to_srgb`` and
    ``cfa``, as :class:`rawzoo.raw.synthetic.Recorded` says. Photographs smaller than a patch are left out.

    Args:
        folders: with photographs, at any depth.
        validation: what is held out, see :func:`split`; names are ``folder/file`` with the last folder only.
        patch: edge of the square crops in pixels.
        cfa: the pattern, ``bayer`` for all four phases in turn, or ``xtrans``.
        levels: ``scale`` of the noise that validation is done at, 0 for none; read noise is a full-frame camera's.
        validation_patch: edge of the central crop that is validated on.
        validation_limit: at most so many photographs, evenly from those held out; 0 for all.
        raw: attributes of :class:`rawzoo.raw.synthetic.Settings` to change.
        memory: gigabytes of decoded photographs to keep, in each process.
        even: share of crops that are one colour of the photograph all over, on which a network learns to keep the mean.
    """

    def __init__(
        self,
        folders: Sequence[str],
        validation: float | Sequence[str] = 0.05,
        patch: int = 96,
        cfa: str = "RGGB",
        levels: Sequence[float] = (0.0, 2e-4, 1e-3, 4e-3, 1.6e-2),
        validation_patch: int = 256,
        validation_limit: int = 12,
        raw: dict[str, Any] | None = None,
        memory: float = 4.0,
        even: float = 0.0,
    ) -> None:
        self.even = even
        self.patch, self.validation_patch, self.levels = patch, validation_patch, tuple(levels)
        self.cfas = _patterns(cfa)
        self.settings = _settings(raw or {})
        if patch < 8 or patch % 2:
            raise UsageError(f"data.patch must be an even number of at least 8, not {patch}.")
        files = files_in([folders] if isinstance(folders, str) else folders, _PICTURES)
        large = [file for file in files if min(_size(file)) >= patch]
        if len(large) < len(files):
            _log.warning(
                "rawzoo: %d of %d photographs are smaller than %d.", len(files) - len(large), len(files), patch
            )
        train, check = split([f"{file.parent.name}/{file.name}" for file in large], validation)
        if validation_limit and len(check) > validation_limit:
            check = [check[i * len(check) // validation_limit] for i in range(validation_limit)]
        self.train, self.check = [large[i] for i in train], [large[i] for i in check]
        self._crops: dict[int, NDArray[np.uint8]] = {}
        self._photographs = Cache(memory, lambda i: _photograph(self.train[i]), lambda picture: picture.nbytes)

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Batch:
        """A random crop, turned and mirrored: uint8 ``photograph [3, H, W]``."""
        picture = self._photographs[index]
        top, left = (int(rng.integers(0, size - self.patch + 1)) for size in picture.shape[:2])
        crop = picture[top : top + self.patch, left : left + self.patch]
        crop = np.rot90(crop, int(rng.integers(4)))
        if rng.integers(2):
            crop = crop[:, ::-1]
        if self.even and rng.random() < self.even:
            crop = np.broadcast_to(crop[:1, :1], crop.shape)
        return {"photograph": torch.from_numpy(np.ascontiguousarray(crop.transpose(2, 0, 1)))}

    def finish(self, batch: Batch, generator: Generator) -> Batch:
        """Photographs the crops."""
        photographs = synthetic.linear(batch["photograph"])
        exposures = synthetic.random_exposures(len(photographs), self.settings, generator)
        # The seed is random already; drawing a number from a GPU's generator would make it wait.
        cfa = self.cfas[generator.initial_seed() % len(self.cfas)]
        return synthetic.expose(photographs, exposures, cfa, generator).to_dict()

    @property
    def validation_size(self) -> int:
        return len(self.check) * len(self.levels)

    def validation(self, index: int) -> tuple[str, Batch]:
        """The centre of a photograph, at one of the levels; camera and white balance are drawn once for each file."""
        which, level = divmod(index, len(self.levels))
        if which not in self._crops:
            self._crops[which] = _centre(_photograph(self.check[which]), self.validation_patch)
        crop = self._crops[which]
        generator = Generator().manual_seed(which)
        exposures = synthetic.random_exposures(1, self.settings, generator)
        scale = float(self.levels[level])
        offset = noise.profile_at_iso(scale / noise.FULL_FRAME_SCALE)[1] if scale else 0.0
        photograph = synthetic.linear(torch.from_numpy(crop.transpose(2, 0, 1).copy())[None])
        cfa = self.cfas[which % len(self.cfas)]
        recorded = synthetic.expose(photograph, exposures.at_noise(scale, offset), cfa, generator)
        return f"a_{scale:g}", recorded.to_dict()


class Pairs(TrainingData):
    """Raw files of one scene, noisy and clean.

    The clean file is demosaiced for the target and, where the table says so, resampled (bicubic) to where the noisy
    one has it. Both are balanced with the white balance of the noisy one, and the clean one is scaled by the gain.
    Batches hold ``mosaic``, ``target``, ``noise`` and ``cfa`` as those of :class:`Photographs`; the noise is what the
    noisy file says, or that of a full-frame camera at its ISO.

    Args:
        table: CSV file with the columns ``noisy`` and ``clean``, paths relative to the file, and if need be

            * ``gain``, or ``gain_r``, ``gain_g`` and ``gain_b``: brightness of the noisy one over the clean one;
            * ``m00``, ``m01``, ``m02``, ``m10``, ``m11``, ``m12``: the matrix that takes (x, y, 1) of a pixel of the
              noisy one to (x, y) in the clean one;
            * ``group`` of the validation metrics;
            * ``scene``: what is held out is held out by scene, not by file;
            * ``use``: rows with 0 are left out.
        noisy, clean: in place of a table, two folders with files of equal names but for the suffix.
        validation, patch, validation_patch, memory: as for :class:`Photographs`; names are those of the scenes, or of
            the noisy files.
        cfa: pattern the crops start with: one of those the files have when shifted.
        method: how the clean file is demosaiced.
    """

    def __init__(
        self,
        table: str = "",
        noisy: str = "",
        clean: str = "",
        validation: float | Sequence[str] = 0.1,
        patch: int = 96,
        validation_patch: int = 256,
        cfa: str = "RGGB",
        method: str = "menon",
        memory: float = 4.0,
    ) -> None:
        if bool(table) == bool(noisy and clean):
            raise UsageError("data: give table, or noisy and clean, for pairs.")
        self.cfas, self.method = (cfa,), method
        self.patch, self.validation_patch = patch, validation_patch
        period = cfa_patterns.period(cfa)
        if patch % period or patch < 2 * period:
            raise UsageError(f"data.patch must be a multiple of {period} and at least {2 * period}, not {patch}.")
        pairs = table_of(Path(table)) if table else _by_name(Path(noisy), Path(clean))
        train, check = split([pair.get("scene") or pair["noisy"].name for pair in pairs], validation)
        self.train, self.check = [pairs[i] for i in train], [pairs[i] for i in check]
        self._pairs = Cache(memory, lambda i: Pair.open(self.train[i]), lambda pair: pair.nbytes)

    def __len__(self) -> int:
        return len(self.train)

    def sample(self, index: int, rng: np.random.Generator) -> Batch:
        """A random crop of a pair."""
        pair: Pair = self._pairs[index]
        return pair.crop(self.patch, self.cfas[0], self.method, lambda last: int(rng.integers(0, last + 1)))

    @property
    def validation_size(self) -> int:
        return len(self.check)

    def validation(self, index: int) -> tuple[str, Batch]:
        """The centre of a pair."""
        pair = Pair.open(self.check[index])
        batch = pair.crop(self.validation_patch, self.cfas[0], self.method, lambda last: last // 2)
        return pair.group, {key: value if key == "cfa" else value[None] for key, value in batch.items()}


_MATRIX = ("m00", "m01", "m02", "m10", "m11", "m12")


class Pair:
    """Two raw files of one scene in memory.

    Args:
        noisy, clean: the files.
        row: of the table, see :class:`Pairs`.

    Attributes:
        noisy, clean, shape, cfa, group: as given; both have one shape and pattern.
        matrix: ``[2, 3]``, takes (x, y, 1) of a pixel of the noisy one to (x, y) in the clean one.
        gains: white balance of R, G, B that :meth:`crop` applies.
        noise: (scale, offset) of each channel of the balanced mosaic.
        nbytes: in memory.

    Raises:
        UsageError: they do not fit each other, or are no mosaics.
    """

    def __init__(self, noisy: RawImage, clean: RawImage, row: dict[str, Any]) -> None:
        self.noisy, self.clean = noisy, clean
        for raw in (self.noisy, self.clean):
            if raw.cfa is None:
                raise UsageError(f"{raw.source} is not a mosaic.")
        if self.noisy.mosaic.shape != self.clean.mosaic.shape or self.noisy.cfa != self.clean.cfa:
            raise UsageError(f"{row['noisy']} and {row['clean']} have not the same size and CFA pattern.")
        assert self.noisy.cfa is not None
        self.cfa, self.shape = self.noisy.cfa, self.noisy.mosaic.shape
        self.group = row.get("group") or "pairs"
        self.matrix = _numbers(row, _MATRIX, np.eye(2, 3).ravel()).reshape(2, 3)
        corners = np.array([(x, y, 1.0) for x in (0, self.shape[1]) for y in (0, self.shape[0])])
        # Pixels by which it moves anything, at most.
        self._moved = int(np.ceil(np.abs(corners @ self.matrix.T - corners[:, :2]).max()))
        neutral, _ = color.white_balance_neutral(self.noisy, "as-shot")
        self.gains = tuple((1 / neutral).tolist())
        gain = _numbers(row, ("gain_r", "gain_g", "gain_b"), np.full(3, _numbers(row, ("gain",), np.ones(1))[0]))
        self._clean_gains = tuple((gain / neutral).tolist())
        names = [name[0] for name in cfa_patterns.channels(self.cfa)]
        profile = self.noisy.noise_profile or (noise.profile_at_iso(self.noisy.metadata.iso or 100.0),)
        pairs = profile if len(profile) == len(names) else profile * len(names)
        gains = [self.gains["RGB".index(name)] for name in names]
        self.noise = [(g * a, g * g * b) for g, (a, b) in zip(gains, pairs, strict=True)]
        self.nbytes = self.noisy.data.nbytes + self.clean.data.nbytes

    @classmethod
    def open(cls, row: dict[str, Any]) -> Pair:
        """The files that a row of the table names."""
        return cls(open_raw(row["noisy"]), open_raw(row["clean"]), row)

    def crop(self, size: int, cfa: str, method: str, place: Callable[[int], int]) -> Batch:
        """What :class:`Pairs` has of a square; without a batch axis.

        Args:
            size: edge in pixels; less where the files are smaller.
            cfa: pattern it starts with.
            method: how the clean file is demosaiced.
            place: chooses the row of the first cell, and its column, from 0 to a last one.

        Raises:
            UsageError: the files have another pattern, or are too small.
        """
        period = cfa_patterns.period(cfa)
        shifts = [(y, x) for y in range(period) for x in range(period) if cfa_patterns.shift(self.cfa, y, x) == cfa]
        if not shifts:
            raise UsageError(f"{self.noisy.source} has CFA pattern {self.cfa}, which no shift makes {cfa}.")
        # Away from the edges as far as the clean one may have moved.
        down, right = (shift + -(-self._moved // period) * period for shift in shifts[0])
        lengths = [edge - start - self._moved for edge, start in zip(self.shape, (down, right), strict=True)]
        size = min(size, *(length // period * period for length in lengths))
        if size < 2 * period:
            raise UsageError(f"{self.noisy.source} is too small to train on.")
        top = down + place((lengths[0] - size) // period) * period
        left = right + place((lengths[1] - size) // period) * period
        mosaic = self._balanced("noisy", slice(top, top + size), slice(left, left + size), cfa)
        return {
            "mosaic": torch.from_numpy(mosaic)[None],
            "target": self._target(top, left, size, cfa, shifts[0], method),
            "noise": torch.tensor(self.noise),
            "cfa": cfa,
        }

    def _target(self, top: int, left: int, size: int, cfa: str, phase: tuple[int, int], method: str) -> Tensor:
        """What the clean file has where the noisy one has a crop."""
        edges = np.array([(x, y, 1.0) for x in (left, left + size - 1) for y in (top, top + size - 1)]) @ self.matrix.T
        # It is demosaiced with a margin, which is cut off.
        period = cfa_patterns.period(cfa)
        margin = 2 * period + 2
        first = [int(np.floor(v)) - margin for v in edges.min(0)]
        x0, y0 = (max(v - (v - shift) % period, shift) for v, shift in zip(first, phase[::-1], strict=True))
        x1, y1 = (int(np.ceil(v)) + margin + 1 for v in edges.max(0))
        clean = self._balanced("clean", slice(y0, y1), slice(x0, x1), cfa)
        rgb = torch.from_numpy(np.asarray(ops.demosaic(clean, cfa, method=method)))
        if np.array_equal(self.matrix, np.eye(2, 3)):
            return rgb[:, top - y0 :, left - x0 :][:, :size, :size].clone()
        y, x = (torch.arange(start, start + size, dtype=torch.float64) for start in (top, left))
        m = self.matrix
        grid = torch.stack(
            [
                (m[i, 0] * x + m[i, 1] * y[:, None] + m[i, 2] - start) * (2 / (length - 1)) - 1
                for i, start, length in ((0, x0, rgb.shape[2]), (1, y0, rgb.shape[1]))
            ],
            -1,
        )
        found = torch.nn.functional.grid_sample(
            rgb[None], grid[None].to(rgb), mode="bicubic", padding_mode="border", align_corners=True
        )
        return found[0]

    def _balanced(self, which: str, rows: slice, columns: slice, cfa: str) -> NDArray[np.float32]:
        raw: RawImage = getattr(self, which)
        # Levels are per channel, not per place, so that a shifted crop has the same ones.
        mosaic = np.ascontiguousarray(raw.mosaic[rows, columns])
        gains = self._clean_gains if which == "clean" else self.gains
        return np.asarray(ops.white_balance(mosaic, cfa, raw.black_level, raw.white_level, gains, None))


def table_of(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of pairs that are to be used, see :class:`Pairs`; ``noisy`` and ``clean`` are paths.

    Raises:
        UsageError: it cannot be read or used.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = list(csv.DictReader(file))
    except OSError as error:
        raise UsageError(f"data.table {path} cannot be read: {error.strerror or error}.") from error
    for row in rows:
        for key in ("noisy", "clean"):
            if not row.get(key):
                raise UsageError(f"data.table {path} must have the columns noisy and clean, filled in each row.")
            row[key] = path.parent / row[key]
        _numbers(row, (*_MATRIX, "gain", "gain_r", "gain_g", "gain_b"), np.zeros(10))
    rows = [row for row in rows if row.get("use") != "0"]
    if not rows:
        raise UsageError(f"data.table {path} has no pairs to use.")
    return rows


def _numbers(row: dict[str, Any], keys: Sequence[str], default: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns of a table; those that are not there or empty have their default."""
    try:
        return np.array([float(row.get(key) or d) for key, d in zip(keys, default, strict=True)])
    except ValueError as error:
        raise UsageError(f"data.table: {error} in the row of {row['noisy']}.") from error


def _by_name(noisy: Path, clean: Path) -> list[dict[str, Any]]:
    from rawzoo.batch import RAW_SUFFIXES

    suffixes = [f".{suffix}" for suffix in RAW_SUFFIXES]
    by_stem = {file.stem: file for file in files_in([str(clean)], suffixes)}
    pairs = [{"noisy": f, "clean": by_stem[f.stem]} for f in files_in([str(noisy)], suffixes) if f.stem in by_stem]
    if not pairs:
        raise UsageError(f"no file of {noisy} has a partner of its name in {clean}.")
    return pairs


def _patterns(cfa: str) -> tuple[str, ...]:
    if cfa == "bayer":
        return cfa_patterns.BAYER_PATTERNS
    pattern = cfa_patterns.XTRANS_PATTERN if cfa == "xtrans" else cfa
    cfa_patterns.period(pattern)
    return (pattern,)


def _settings(changes: dict[str, Any]) -> synthetic.Settings:
    from rawzoo.training.recipe import from_mapping

    settings: synthetic.Settings = from_mapping(synthetic.Settings, changes, "data.raw")
    return settings


@lru_cache(maxsize=65536)
def _size(path: Path) -> tuple[int, int]:
    try:
        with Image.open(path) as picture:
            return picture.size
    except (OSError, ValueError) as error:
        raise UsageError(f"photograph {path} cannot be read ({error}); remove it from the data folder.") from error


def _photograph(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except (OSError, ValueError) as error:
        raise RawzooError(f"photograph {path} is damaged ({error}); remove it from the data folder.") from error


def _centre(picture: NDArray[np.uint8], edge: int) -> NDArray[np.uint8]:
    height, width = (min(edge, size) // 2 * 2 for size in picture.shape[:2])
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return picture[top : top + height, left : left + width]


class _Steps(Dataset[Batch]):
    """Batch number -> the examples of it that are one process's share.

    Batches are what they are by their number alone: killed, resumed or prepared by other processes, the run sees the
    same data. Each thing comes once before any comes twice.
    """

    def __init__(self, data: TrainingData, batch: int, seed: int, rank: int, world: int) -> None:
        self._data, self._batch, self._seed = data, batch, seed
        self._slots = range(rank * batch // world, (rank + 1) * batch // world)
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.zeros(0, np.int64))

    def __getitem__(self, number: int) -> Batch:
        examples = []
        for slot in self._slots:
            example = number * self._batch + slot
            epoch, place = divmod(example, len(self._data))
            if self._order[0] != epoch:
                self._order = epoch, _random(self._seed, 1, epoch).permutation(len(self._data))
            examples.append(self._data.sample(int(self._order[1][place]), _random(self._seed, 2, example)))
        batch: Batch = default_collate(examples)
        if "cfa" in batch:
            batch["cfa"] = batch["cfa"][0]
        batch["number"] = number
        return batch


class _Numbers(Sampler[int]):
    def __init__(self, numbers: range) -> None:
        self._numbers = numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)


def loader(
    data: TrainingData, numbers: range, *, batch: int, seed: int, rank: int = 0, world: int = 1, workers: int = 0
) -> DataLoader[Batch]:
    """Batches by number, unfinished (:meth:`TrainingData.finish`).

    Args:
        numbers: which; a step of the optimizer may take several.
        batch: examples in a batch, of all processes together.
        seed: of the order and of what :meth:`TrainingData.sample` draws.
        rank, world: which of how many training processes this is.
        workers: processes that prepare batches.
    """
    steps = _Steps(data, batch, seed, rank, world)
    return DataLoader(steps, batch_size=None, sampler=_Numbers(numbers), num_workers=workers)


def generator_for(seed: int, number: int, rank: int, device: torch.device) -> Generator:
    """The source of what :meth:`TrainingData.finish` draws for a batch."""
    state = np.random.SeedSequence([seed, 3, number, rank]).generate_state(1, np.uint64)
    return Generator(device).manual_seed(int(state[0] >> np.uint64(1)))


def _random(*key: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(key)))
