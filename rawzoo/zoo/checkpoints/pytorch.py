"""PyTorch checkpoints: state dicts as ``torch.save`` writes them, in the zip and in the older format.

Read without torch and without executing anything: see :mod:`rawzoo.zoo.checkpoints.pickles`. (``torch.load`` with
``weights_only`` is safe too, but it reads every tensor at once and believes the sizes that the file states.)
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints.archive import Archive
from rawzoo.zoo.checkpoints.checkpoint import (
    BFLOAT16,
    LONGEST_NAME,
    Array,
    Checkpoint,
    Source,
    Tensor,
    decode,
    itemsize,
    loaded_dtype,
)
from rawzoo.zoo.checkpoints.pickles import Instance, Name, load

NAME = "pytorch"

_DTYPES = {
    "float64": "f8",
    "double": "f8",
    "float32": "f4",
    "float": "f4",
    "float16": "f2",
    "half": "f2",
    "bfloat16": BFLOAT16,
    "int64": "i8",
    "long": "i8",
    "int32": "i4",
    "int": "i4",
    "int16": "i2",
    "short": "i2",
    "int8": "i1",
    "char": "i1",
    "uint8": "u1",
    "byte": "u1",
    "uint16": "u2",
    "uint32": "u4",
    "uint64": "u8",
    "bool": "?",
    "complexfloat": "c8",
    "complexdouble": "c16",
    "complex64": "c8",
    "complex128": "c16",
}

# Plain data of Python, NumPy and torch that training scripts save beside the weights. Kept as empty instances.
_HARMLESS = re.compile(
    r"builtins\.(set|frozenset|complex|bytearray|bytes|slice|range|list|tuple|dict|int|float|str|bool|object)"
    r"|__builtin__\.(set|frozenset|complex|bytearray|slice|xrange|object)"
    r"|collections\.(Counter|deque)|argparse\.Namespace|types\.SimpleNamespace|_codecs\.encode"
    r"|pathlib(\._local)?\.(Pure)?(Posix|Windows)?Path|datetime\.(date|time|datetime|timedelta|timezone)"
    r"|numpy\.(_?core\.multiarray\.(scalar|_reconstruct)|dtype|ndarray|bool_?|u?int\d+|float\d+)"
    r"|torch\.(device|Size|Generator)|torch\.serialization\._get_layout"
)

#: Keys under which training scripts put the state dict, the better first.
_OUTER = ("state_dict", "model_state_dict", "model_state", "model", "params", "network", "net", "weights", "generator")
_AVERAGES = ("params_ema", "ema_state_dict", "state_dict_ema", "model_ema", "ema")
# What torch's wrappers (data parallel, compile) put before every name.
_WRAPPERS = ("module.", "_orig_mod.")
_COUNTERS = {"step": ("global_step", "step", "iteration", "iter"), "epoch": ("epoch",)}


@dataclass(frozen=True)
class Storage:
    """A run of numbers that tensors are views of."""

    stored: str | None  # None where only the tensor knows, or nobody
    read: Callable[[], bytes]
    count: int  # bytes


def recognises(source: Source) -> bool:
    head = source.head(4)
    return head[:1] == b"\x80" or (head == b"PK\3\4" and pickle_member(Archive(source)) is not None)


def read(source: Source) -> Checkpoint:
    root = _read_zip(source) if source.head(4) == b"PK\3\4" else _read_legacy(source)
    metadata: dict[str, Any] = {"outer": [], "prefix": ""}
    tensors, averages = _state_dict(root, metadata)
    for wrapper in _WRAPPERS:
        if tensors and all(name.startswith(wrapper) for name in tensors):
            metadata["prefix"] += wrapper
            tensors = {name.removeprefix(wrapper): value for name, value in tensors.items()}
            averages = {name.removeprefix(wrapper): value for name, value in averages.items()}
    return Checkpoint(source.path, NAME, tensors, averages, metadata)


def pickle_member(archive: Archive) -> str | None:
    """Name of the pickle with the tensors in a zip archive of torch, or None."""
    found = [name for name in archive.names if re.fullmatch(r"[^/]+/data\.pkl", name)]
    return found[0] if len(found) == 1 else None


def zip_storages(source: Source, archive: Archive, folder: str) -> Callable[[Any], Storage]:
    """What stands for the persistent ids of a pickle in the archive; ``folder`` has the storages as members."""
    root = folder.partition("/")[0]
    order = "<"
    if f"{root}/byteorder" in archive.names:
        order = {b"little": "<", b"big": ">"}[archive.read(f"{root}/byteorder")]

    def persistent(identifier: Any) -> Storage:
        _, kind, key, _, _ = identifier
        span = archive.span(f"{folder}{key}")

        def read_span() -> bytes:
            data = source.read(span.start, span.count)
            span.check(data)
            return data

        return Storage(_storage_dtype(kind, order), read_span, span.count)

    return persistent


def tensor_call(source: Source, otherwise: Callable[[Name, tuple[Any, ...]], Any]) -> Callable[..., Any]:
    """What stands for calls in a pickle of torch: tensors are made, the rest is left to ``otherwise``."""

    def call(what: Name, arguments: tuple[Any, ...]) -> Any:
        match str(what):
            case "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2":
                return view(source, *arguments[:4])
            case "torch._utils._rebuild_tensor_v3":
                dtype = arguments[6]
                return view(source, *arguments[:4], stored=_dtype(dtype.name, "<"))
            case "torch._utils._rebuild_parameter" | "torch._utils._rebuild_parameter_with_state":
                return arguments[0]
            case "torch._tensor._rebuild_from_type_v2":
                # A subclass of Tensor, or a tensor with attributes: (rebuild, type, arguments, state).
                return call(arguments[0], arguments[2])
            case name if name.startswith(("torch._utils._rebuild_", "torch.sparse")):
                raise WeightsError(
                    f"{source.path} holds tensors that are not plain arrays ({what.name.strip('_')}); save them dense "
                    "and not quantised."
                )
            case "torch.Size":
                return tuple(arguments[0])
            case "collections.OrderedDict" | "collections.defaultdict":
                pairs = arguments[0] if arguments and isinstance(arguments[0], list) else []
                return {str(key): value for key, value in pairs}
            case _:
                return otherwise(what, arguments)

    return call


def view(source: Source, storage: Any, offset: int, shape: Any, strides: Any, *, stored: str | None = None) -> Tensor:
    """A tensor over a storage; offset and strides count numbers."""
    if not isinstance(storage, Storage):
        raise ValueError("a tensor has no storage")
    stored = stored or storage.stored
    if stored is None:
        raise ValueError("a tensor has no dtype")
    size = itemsize(stored)
    shape, strides = tuple(shape), tuple(strides)
    source.check_room(shape, size)
    if len(shape) != len(strides) or any(not isinstance(n, int) or n < 0 for n in (offset, *strides)):
        raise ValueError("a tensor has impossible strides")
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides, strict=True)) + 1
    if 0 not in shape and last * size > storage.count:
        raise ValueError("a tensor is larger than its storage")
    plain = stored

    def read_view() -> Array:
        if 0 in shape:
            return np.empty(shape, loaded_dtype(plain))
        numbers = decode(storage.read()[offset * size : last * size], plain)
        steps = tuple(step * numbers.itemsize for step in strides)
        return np.lib.stride_tricks.as_strided(numbers, shape, steps)

    return Tensor(shape, loaded_dtype(stored), source.path, read_view)


def _read_zip(source: Source) -> Any:
    archive = Archive(source)
    member = pickle_member(archive)
    assert member is not None
    persistent = zip_storages(source, archive, member.removesuffix("data.pkl") + "data/")
    return load(io.BytesIO(archive.read(member)), tensor_call(source, _refuser(source)), persistent)


def _read_legacy(source: Source) -> Any:
    """Five pickles (magic number, version, system, object, keys of the storages), then the storages."""
    call = tensor_call(source, _refuser(source))
    places: dict[str, int] = {}
    sizes: dict[str, int] = {}

    def persistent(identifier: Any) -> Storage:
        kind, storage_type, key, _, count, *view_of = identifier
        if kind != "storage":
            raise refusal(source, "whole modules (torch.save of the model)")
        if any(part is not None for part in view_of):
            raise WeightsError(f"{source.path} was saved by a torch older than 1.0; load it there and save it again.")
        stored = _storage_dtype(storage_type, "<")
        if stored is None:
            raise WeightsError(f"{source.path} holds numbers of a type rawzoo does not know ({storage_type.name}).")
        sizes[key] = source.check_room((count,), itemsize(stored))
        return Storage(stored, lambda: source.read(places[key], sizes[key]), sizes[key])

    with source.path.open("rb") as file:
        stream = _Bounded(file, source.size)
        if load(stream, call) != 0x1950A86A20F9469CFC6C:
            raise WeightsError(
                f"{source.path} is a Python pickle that torch.save did not write; rawzoo reads tensors only, so save a "
                "state dict with torch.save or safetensors."
            )
        version, system = load(stream, call), load(stream, call)
        if version != 1001 or system.get("little_endian") is not True:
            raise WeightsError(f"{source.path} is of a version of torch's file format that is not in use any more.")
        root = load(stream, call, persistent)
        keys = load(stream, call)
        position = file.tell()
    for key in keys:
        (count,) = struct.unpack("<q", source.read(position, 8))
        places[key] = position + 8
        if count < 0 or key not in sizes or sizes[key] % max(count, 1):
            raise ValueError("its storages do not fit its tensors")
        position += 8 + sizes[key]
    if position > source.size or set(sizes) - set(places):
        raise ValueError("some of its storages are missing")
    return root


class _Bounded:
    """A file whose ``read`` allocates no more than is left of it, whatever it is asked for."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size

    def read(self, count: int) -> bytes:
        return self._file.read(max(0, min(count, self._size - self._file.tell())))

    def readline(self) -> bytes:
        return self._file.readline()


def _dtype(name: str, order: str) -> str | None:
    stored = _DTYPES.get(name.lower())
    return stored if stored in (None, BFLOAT16) else f"{order}{stored}"


def _storage_dtype(kind: Any, order: str) -> str | None:
    if not isinstance(kind, Name):
        raise ValueError("a storage has no type")
    return _dtype(kind.name.removesuffix("Storage"), order)


def refusal(source: Source, what: object) -> WeightsError:
    """The error for a file that holds more than data."""
    return WeightsError(
        f"{source.path} was refused: opening it as Python does would run code ({what}); rawzoo reads tensors only, so "
        "if you trust the file, load it where it was made and save its state_dict()."
    )


def _refuser(source: Source) -> Callable[[Name, tuple[Any, ...]], Any]:
    def otherwise(what: Name, _arguments: tuple[Any, ...]) -> Any:
        if _HARMLESS.fullmatch(str(what)):
            return Instance(what)
        raise refusal(source, what)

    return otherwise


def _state_dict(root: Any, metadata: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Unwraps what training scripts put around a state dict; gives tensors and moving averages."""
    averages: dict[str, Tensor] = {}
    for _ in range(4):
        if not isinstance(root, dict) or any(isinstance(value, Tensor) for value in root.values()):
            break
        for name, keys in _COUNTERS.items():
            found = [root[key] for key in keys if isinstance(root.get(key), int)]
            if found and abs(found[0]) < 1 << 53:
                metadata.setdefault(name, found[0])
        key = next((key for key in _OUTER if isinstance(root.get(key), dict)), None)
        average = next((key for key in _AVERAGES if isinstance(root.get(key), dict)), None)
        if key is None:
            key, average = average, None
        if key is None:
            break
        if average is not None:
            averages = flatten(root[average])
            metadata["averages"] = average
        metadata["outer"].append(key)
        root = root[key]
    if isinstance(root, dict):
        root = {key: value for key, value in root.items() if not key.lower().startswith(("optim", "lr_sched"))}
    return flatten(root), averages


def flatten(root: Any) -> dict[str, Tensor]:
    """Tensors in nested containers by the path to them, joined with dots; each container counts once."""
    tensors: dict[str, Tensor] = {}
    seen: set[int] = set()

    def walk(value: Any, path: str) -> None:
        if isinstance(value, Tensor):
            tensors[path] = value
        if not isinstance(value, dict | list | tuple | Instance) or id(value) in seen:
            return
        seen.add(id(value))
        if isinstance(value, Instance):
            value = value.state
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in pairs:
            inner = f"{path}.{key}" if path else str(key)
            # A few bytes of a pickle can make any number of long names.
            if len(inner) > LONGEST_NAME:
                raise ValueError("a tensor's name is far too long")
            walk(item, inner)

    walk(root, "")
    return tensors
