"""TensorFlow checkpoints of version 2: an ``.index`` (a table of variables) and ``.data`` files (their bytes).

Facts: ``tensor_bundle.proto``, ``tensor_slice.proto`` and ``ordered_code.cc`` of TensorFlow.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints import sstable
from rawzoo.zoo.checkpoints.checkpoint import LONGEST_NAME, Array, Checkpoint, Source, Tensor, itemsize, plain
from rawzoo.zoo.checkpoints.crc32c import crc32c
from rawzoo.zoo.checkpoints.protobuf import data_of, fields, inside, number, varint
from rawzoo.zoo.checkpoints.tensor_proto import DTYPES, shape

NAME = "tensorflow"

# Keys of object-graph checkpoints end so; what is in front is the path from the saved object to the variable.
_OBJECT_VARIABLE = "/.ATTRIBUTES/VARIABLE_VALUE"
_AVERAGE = "/ExponentialMovingAverage"
# A slot has the name of the variable it serves in front. The number counts further slots of the same kind.
_SLOT = re.compile(
    r"(.+)/(Adam|AdamW|LAMB|Momentum|RMSProp|Adagrad|Adadelta|AdagradDA|Ftrl|NAdam|Adamax|LARSOptimizer)(_\d+)?"
)
_COUNTER = re.compile(r"(.*/)?(beta[12]_power(_\d+)?|save_counter)")
# In an object graph the optimiser is an object beside the network, and may hold the way to the network's variables.
_OPTIMISER = re.compile(r".*/\.OPTIMIZER_SLOT/.*|(.*/)?optimizer/(?!_trainable_variables/).*")
_GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"
_STEP = re.compile(r"(.*/)?(global_step|step|iterations?)")


@dataclass(frozen=True)
class _Entry:
    """A BundleEntryProto."""

    dtype: int = 0
    shape: tuple[int, ...] = ()
    shard: int = 0
    offset: int = 0
    size: int = 0
    masked_crc: int | None = None
    slices: tuple[tuple[tuple[int, int], ...], ...] = ()


def locate(path: Path) -> Path | None:
    """The ``.index`` that a user means by a prefix, one of the files, the file ``checkpoint`` or a folder; or None.

    Raises:
        WeightsError: it is one of these, but the index is missing.
    """
    if path.is_dir():
        index = path / "variables" / "variables.index"
        return index if index.is_file() else locate(path / "checkpoint")
    if not path.exists():
        index = path.with_name(f"{path.name}.index")
        return index if index.is_file() else None
    if data := re.fullmatch(r"(.+)\.(data-\d{5}-of-\d{5}|meta)", path.name):
        return _existing(path, path.with_name(f"{data[1]}.index"))
    if path.name == "saved_model.pb":
        index = path.parent / "variables" / "variables.index"
        return index if index.is_file() else None
    if path.name.startswith("checkpoint"):
        with path.open("rb") as file:
            latest = re.match(rb'model_checkpoint_path: "([^"\n]+)"', file.read(4096))
        if latest:
            # The text may name any file of the machine; what belongs to it lies beside it.
            return _existing(path, path.with_name(re.split(r"[/\\]", latest[1].decode())[-1] + ".index"))
    return None


def _existing(path: Path, index: Path) -> Path:
    if not index.is_file():
        raise WeightsError(
            f"{path} needs {index.name} beside it, which is not there; copy all files of the checkpoint."
        )
    return index


def recognises(source: Source) -> bool:
    return source.size >= 48 and source.read(source.size - 8, 8) == sstable.MAGIC


def read(source: Source) -> Checkpoint:
    table = sstable.entries(source.read(0, source.size))
    prefix = source.path.with_name(source.path.name.removesuffix(".index"))
    shards, big_endian = 0, False
    for field, value in fields(table.get(b"", b"")):
        if field == 1:
            shards = number(value)
        elif field == 2:
            big_endian = value == 1
    files = [Path(f"{prefix}.data-{shard:05d}-of-{shards:05d}") for shard in range(min(shards, 100_000))]
    sources = _Shards(files)
    raw = {key: _entry(value) for key, value in table.items() if key}

    tensors: dict[str, Tensor] = {}
    left_out: list[str] = []
    for key, entry in raw.items():
        # Slices have keys of their own that begin with a zero byte; the whole variable's entry lists them.
        if key.startswith(b"\0"):
            continue
        name = key.decode()
        if len(name) > LONGEST_NAME:
            raise ValueError("a variable's name is far too long")
        stored = DTYPES.get(entry.dtype)
        if stored is None:  # texts
            left_out += [name] * (key != _GRAPH)
            continue
        if big_endian and itemsize(stored) > 1:
            raise WeightsError(f"{source.path} was written on a big-endian machine, which rawzoo cannot read.")
        make = _joined if entry.slices else _whole
        tensors[name] = make(sources, raw, key, stored)
    names = _names(sources, raw)
    return _sorted_out(prefix, tensors, names, left_out, (source.path, *sources.used()))


class _Shards:
    """The ``.data`` files; each is looked at when the first variable in it comes."""

    def __init__(self, files: list[Path]) -> None:
        self._files = files
        self._open: dict[int, Source] = {}

    def __getitem__(self, shard: int) -> Source:
        if shard not in self._open:
            path = self._files[shard] if 0 <= shard < len(self._files) else None
            if path is None:
                raise ValueError("it points to a data file it does not have")
            if not path.is_file():
                raise WeightsError(f"{path} is missing; copy all files of the checkpoint into one folder.")
            self._open[shard] = Source(path)
        return self._open[shard]

    def used(self) -> list[Path]:
        return [source.path for source in self._open.values()]


def _entry(data: bytes) -> _Entry:
    values: dict[str, int] = {}
    shape_of: tuple[int, ...] = ()
    slices = []
    for name, value in fields(data):
        match name:
            case 1 | 3 | 4 | 5 | 6:
                values[{1: "dtype", 3: "shard", 4: "offset", 5: "size", 6: "masked_crc"}[name]] = number(value)
            case 2:
                shape_of = shape(data, inside(value))
            case 7:
                slices.append(tuple(_extent(data, inside(e)) for n, e in fields(data, inside(value)) if n == 1))
    return _Entry(shape=shape_of, slices=tuple(slices), **values)


def _extent(data: bytes, span: tuple[int, int]) -> tuple[int, int]:
    """Start and length along one axis; length -1 is all of it."""
    values = {1: 0, 2: -1}
    for name, value in fields(data, span):
        values[name] = number(value)
    return values[1], values[2]


def _whole(sources: _Shards, table: dict[bytes, _Entry], key: bytes, stored: str) -> Tensor:
    entry = table[key]
    check = None if entry.masked_crc is None else _checker(sstable.unmask(entry.masked_crc))
    return plain(sources[entry.shard], entry.shape, stored, entry.offset, entry.size, check)


def _checker(expected: int) -> Callable[[bytes], None]:
    def check(data: bytes) -> None:
        if crc32c(data) != expected:
            raise ValueError("the checksum of a variable does not match")

    return check


def _joined(sources: _Shards, table: dict[bytes, _Entry], key: bytes, stored: str) -> Tensor:
    """A partitioned variable."""
    entry = table[key]
    parts = []
    for extents in entry.slices:
        if len(extents) != len(entry.shape):
            raise ValueError("a slice has not the axes of its variable")
        place = []
        for (start, length), size in zip(extents, entry.shape, strict=True):
            stop = size if length == -1 else start + length
            if not 0 <= start <= stop <= size:
                raise ValueError("a slice lies outside its variable")
            place.append(slice(start, stop))
        part = _whole(sources, table, _slice_key(key, extents), stored)
        if part.shape != tuple(s.stop - s.start for s in place):
            raise ValueError("a slice has the wrong shape")
        parts.append((tuple(place), part))
    if sum(math.prod(part.shape) for _, part in parts) != math.prod(entry.shape):
        raise ValueError("its slices do not make up the variable")
    dtype, path = parts[0][1].dtype, parts[0][1].path

    def load() -> Array:
        whole = np.zeros(entry.shape, dtype)
        for place, part in parts:
            whole[place] = part.numpy()
        return whole

    return Tensor(entry.shape, dtype, path, load)


def _slice_key(name: bytes, extents: tuple[tuple[int, int], ...]) -> bytes:
    """The key of a slice: 0, name, number of axes, and each start and length, in ordered code."""
    escaped = re.sub(rb"[\0\xff]", lambda found: b"\0\xff" if found[0] == b"\0" else b"\xff\0", name) + b"\0\1"
    numbers = b"".join(_signed(start) + _signed(length) for start, length in extents)
    return _unsigned(0) + escaped + _unsigned(len(extents)) + numbers


def _unsigned(value: int) -> bytes:
    length = (value.bit_length() + 7) // 8
    return bytes([length]) + value.to_bytes(length, "big")


def _signed(value: int) -> bytes:
    """Order-preserving: as many ones (zeros below 0) in front as there are bytes, the sign, then the number."""
    magnitude = ~value if value < 0 else value
    length = 1
    while magnitude >= 1 << (7 * length - 1):
        length += 1
    header = ((1 << length) - 1) << (7 * length)
    positive = (header | magnitude).to_bytes(length, "big")
    return bytes(byte ^ 0xFF for byte in positive) if value < 0 else positive


def _names(sources: _Shards, table: dict[bytes, _Entry]) -> dict[str, str]:
    """Names that variables had in the program, by key, of a checkpoint with an object graph.

    Keys are paths through objects, of which any is as good as another; names are what the network's author gave. A
    name is used when one variable has it, or several that hold the same.
    """
    if _GRAPH not in table:
        return {}
    entry = table[_GRAPH]
    text = sources[entry.shard].read(entry.offset, entry.size)
    length, at = varint(text, 0)
    graph = at + 4, at + 4 + length  # a checksum lies between
    if graph[1] != len(text):
        raise ValueError("its object graph is damaged")
    keys: dict[str, list[str]] = {}
    for what, node in fields(text, graph):
        for part, attribute in fields(text, inside(node)) if what == 1 else ():
            if part == 2:
                values = dict(fields(text, inside(attribute)))
                if {1, 2, 3} <= set(values) and data_of(text, values[1]) == b"VARIABLE_VALUE":
                    keys.setdefault(data_of(text, values[2]).decode(), []).append(data_of(text, values[3]).decode())
    names = {}
    for name, of in keys.items():
        found = [table[key.encode()] for key in of]
        if 0 < len(name) <= LONGEST_NAME and len({(e.shape, e.masked_crc) for e in found}) == 1:
            names.update(dict.fromkeys(of, name))
    return names


def _sorted_out(
    prefix: Path, tensors: dict[str, Tensor], names: dict[str, str], left_out: list[str], files: tuple[Path, ...]
) -> Checkpoint:
    """Tells the network's variables from moving averages, optimiser slots and counters."""
    metadata: dict[str, object] = {}
    weights: dict[str, Tensor] = {}
    averages: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        path = key.removesuffix(_OBJECT_VARIABLE)
        slot = _SLOT.fullmatch(path)
        if path.endswith(_AVERAGE):
            averages[path.removesuffix(_AVERAGE)] = tensor
        elif _STEP.fullmatch(path) and tensor.shape == () and tensor.dtype.kind in "iu":
            metadata.setdefault("step", int(tensor.numpy()))
            left_out.append(path)
        elif _OPTIMISER.fullmatch(path) or _COUNTER.fullmatch(path) or _serves(slot, tensor, tensors):
            left_out.append(path)
        else:
            weights.setdefault(names.get(key, path), tensor)
    return Checkpoint(prefix, NAME, weights, averages, {**metadata, "left_out": left_out}, files)


def _serves(slot: re.Match[str] | None, tensor: Tensor, tensors: dict[str, Tensor]) -> bool:
    """Whether a variable is a slot: there is one by the name in front, of the same shape."""
    return slot is not None and slot[1] in tensors and tensors[slot[1]].shape == tensor.shape
