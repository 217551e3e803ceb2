"""HDF5 files: what datasets there are and where their bytes lie.

The HDF5 library is C code that damaged files crash and hang, so h5py works out the structure in a child process with
limits on time and memory, and the values are read here, from the places it gives, checked against the file.
"""

from __future__ import annotations

import base64
import contextlib
import importlib.util
import io
import json
import math
import os
import subprocess
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rawzoo.errors import WeightsError
from rawzoo.zoo.checkpoints.checkpoint import LONGEST_NAME, Array, Source, Tensor, decode, itemsize, loaded_dtype

SIGNATURE = b"\x89HDF\r\n\x1a\n"

_TIMEOUT_S = 30
_MEMORY = 2 << 30
_MOST_OUTPUT = 64 << 20
# The child sees the modules that its parent sees; -c would put the current folder first.
_START = "import sys; sys.path[:] = {path!r}; from rawzoo.zoo.checkpoints.hdf5 import child; child({arguments!r})"
# Zeros compress well: up to a hundredfold is believed.
_MOST_EXPANDED = 100
_DEFLATE, _SHUFFLE, _FLETCHER32 = 1, 2, 3


@dataclass(frozen=True)
class Dataset:
    """An array of numbers, or of references to other datasets.

    Attributes:
        tensor: the numbers; None for references and for what is neither.
        references: names of the datasets referred to.
        attributes: those that are text, numbers or lists of text.
    """

    tensor: Tensor | None
    references: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True)
class Structure:
    """The groups and datasets of a file by path without a leading slash, in alphabetic order.

    Attributes:
        groups: attributes of each group; the file's own is ``""``.
    """

    datasets: dict[str, Dataset] = field(default_factory=dict)
    groups: dict[str, dict[str, Any]] = field(default_factory=dict)


def find(source: Source) -> int | None:
    """Where HDF5 begins: at 0 or, behind text of the user's, at 512, 1024 and so on; None when it does not."""
    start = 0
    while start + 8 <= source.size and start <= 1 << 20:
        if source.read(start, 8) == SIGNATURE:
            return start
        start = max(512, 2 * start)
    return None


def read(source: Source, start: int, count: int) -> Structure:
    """The structure of the HDF5 file that lies at ``start`` in ``source``.

    Raises:
        WeightsError: h5py is not installed, or it crashed, hung or could not make sense of the file.
    """
    if importlib.util.find_spec("h5py") is None:
        raise WeightsError(
            f"{source.path} is an HDF5 file, and h5py, which reads these, is not installed; "
            "run pip install 'rawzoo[import]'."
        )
    structure = Structure()
    for entry in _ask_child(source, start, count):
        name, attributes = entry["name"], entry["attributes"]
        if len(name) > LONGEST_NAME:
            raise ValueError("a dataset's name is far too long")
        if "shape" not in entry:
            structure.groups[name] = attributes
            continue
        tensor = _tensor(source, start, entry) if entry["dtype"] else None
        structure.datasets[name] = Dataset(tensor, tuple(entry["references"]), attributes)
    return structure


def _ask_child(source: Source, start: int, count: int) -> list[dict[str, Any]]:
    arguments = (os.fspath(source.path.resolve()), start, count)
    code = _START.format(path=sys.path, arguments=arguments)
    # One thread: those of NumPy's linear algebra, never used here, would each count against the limit on memory.
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-I", "-c", code]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_TIMEOUT_S, check=False, env=environment)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise ValueError(f"its structure could not be read within {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ValueError(lines[-1] if lines else f"the HDF5 library crashed on it, status {done.returncode}")
    answer = json.loads(done.stdout)
    assert isinstance(answer, list)
    return answer


def _tensor(source: Source, start: int, entry: dict[str, Any]) -> Tensor:
    shape, stored = tuple(entry["shape"]), entry["dtype"]
    load = _loader(source, start, entry, shape, stored)
    return Tensor(shape, loaded_dtype(stored), source.path, load)


def _loader(
    source: Source, start: int, entry: dict[str, Any], shape: tuple[int, ...], stored: str
) -> Callable[[], Array]:
    width = itemsize(stored)
    if entry["inline"] is not None:
        inline = base64.b64decode(entry["inline"])
        return lambda: decode(inline, stored)
    if entry["chunk"] is None:
        count = source.check_room(shape, width)
        if entry["offset"] is None:  # never written
            return lambda: np.zeros(shape, loaded_dtype(stored))
        return lambda: decode(source.read(start + entry["offset"], count), stored)

    room = _MOST_EXPANDED * source.size
    chunk, filters = tuple(entry["chunk"]), entry["filters"]
    if math.prod(shape) * width > room:
        raise ValueError(f"a tensor of shape {list(shape)} would be far larger than the file")
    if len(chunk) != len(shape) or min(chunk, default=1) < 1 or math.prod(chunk) * width > room:
        raise ValueError("a dataset has impossible chunks")
    if len(entry["chunks"]) > math.prod(-(-n // c) for n, c in zip(shape, chunk, strict=True)):
        raise ValueError("a dataset has more chunks than fit into it")
    if unknown := set(filters) - {_DEFLATE, _SHUFFLE, _FLETCHER32}:
        raise WeightsError(f"{source.path} is compressed in a way rawzoo does not know (HDF5 filter {min(unknown)}).")

    def load() -> Array:
        whole = np.zeros(shape, loaded_dtype(stored))
        for corner, mask, offset, size in entry["chunks"]:
            used = [f for i, f in enumerate(filters) if not mask >> i & 1]
            data = _unfiltered(source.read(start + offset, size), used, math.prod(chunk) * width, width)
            place = tuple(slice(c, c + n) for c, n in zip(corner, chunk, strict=True))
            target = whole[place]
            target[...] = decode(data, stored).reshape(chunk)[tuple(slice(0, n) for n in target.shape)]
        return whole

    return load


def _unfiltered(data: bytes, filters: list[int], count: int, width: int) -> bytes:
    for name in reversed(filters):
        if name == _FLETCHER32:
            data = data[:-4]
        elif name == _DEFLATE:
            data = zlib.decompressobj().decompress(data, count + 4)
        else:
            # All first bytes, then all second bytes, and so on.
            data = np.frombuffer(data, np.uint8).reshape(width, -1).T.tobytes()
    if len(data) != count:
        raise ValueError("a chunk has too few or too many bytes")
    return data


# What follows runs in the child.


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    def __init__(self, path: str, start: int, count: int) -> None:
        self._file = open(path, "rb")  # noqa: SIM115
        self._start, self._count, self._at = start, count, 0

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._count)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(buffer), self._count - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def child(arguments: tuple[str, int, int]) -> None:
    """Prints the structure of a file as JSON."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not every system can limit memory
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    import h5py

    entries = []
    try:
        with h5py.File(_Window(*arguments), "r") as file:
            entries.append({"name": "", "attributes": _attributes(file)})
            # Hard links only, so that no other file is ever opened.
            file.visititems(lambda name, item: entries.append(_describe(file, name, item)))
        text = json.dumps(entries)
        if len(text) > _MOST_OUTPUT:
            raise ValueError("its structure is impossibly large")
    except Exception as error:  # noqa: BLE001
        sys.exit(" ".join(str(error).split()) or type(error).__name__)
    sys.stdout.write(text)
    sys.stdout.flush()
    # Damaged files also make the library crash while it cleans up.
    os._exit(0)


def _describe(file: Any, name: str, item: Any) -> dict[str, Any]:
    import h5py

    described: dict[str, Any] = {"name": name, "attributes": _attributes(item)}
    if not isinstance(item, h5py.Dataset) or item.shape is None:
        return described
    creation = item.id.get_create_plist()
    layout = creation.get_layout()
    numbers = item.dtype.kind in "fiub" and layout != h5py.h5d.VIRTUAL and not item.external
    described |= {
        "shape": item.shape,
        "dtype": item.dtype.str if numbers else None,
        "references": [],
        "offset": None,
        "inline": None,
        "chunk": None,
        "chunks": [],
        "filters": [],
    }
    if h5py.check_ref_dtype(item.dtype) is h5py.Reference and item.size <= 1_000_000:
        described["references"] = [file[r].name.lstrip("/") if r else "" for r in item[()].ravel()]
    elif numbers and layout == h5py.h5d.COMPACT:
        described["inline"] = base64.b64encode(item[()].tobytes()).decode()
    elif numbers and layout == h5py.h5d.CHUNKED:
        described["chunk"] = item.chunks
        described["filters"] = [creation.get_filter(i)[0] for i in range(creation.get_nfilters())]
        chunks: list[Any] = described["chunks"]
        item.id.chunk_iter(lambda c: chunks.append((c.chunk_offset, c.filter_mask, c.byte_offset, c.size)))
    elif numbers:
        described["offset"] = item.id.get_offset()
    return described


def _attributes(item: Any) -> dict[str, Any]:
    """Text, numbers and lists of text; the rest says nothing about weights."""
    found = {}
    for name in item.attrs:
        value = item.attrs[name]
        if isinstance(value, np.ndarray) and value.dtype.kind in "SO":
            value = [_text(v) for v in value.ravel()]
        elif isinstance(value, np.generic):
            value = value.item()
        value = _text(value)
        if isinstance(value, str | int) or (isinstance(value, list) and all(isinstance(v, str) for v in value)):
            found[name] = value
    return found


def _text(value: Any) -> Any:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
