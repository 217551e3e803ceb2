"""MATLAB files: version 5 to 7 (a format of its own) and 7.3 (HDF5), as MatConvNet saves its networks.

A tensor's name is the path to it: fields of structs by name, elements of cells and of struct arrays by number from 0 in
MATLAB's (column-major) order: ``net.layers.0.weights.0``. Axes are MATLAB's: height, width, input, output.
``metadata["text"]`` has the character arrays by path, such as the names of layers.

Facts: "MAT-File Format" of The MathWorks.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from rawzoo.zoo.checkpoints import hdf5
from rawzoo.zoo.checkpoints.checkpoint import LONGEST_NAME, Array, Checkpoint, Source, Tensor

NAME = "matlab"

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
_NUMBERS |= {17: "u2", 18: "u4"}
_CELL, _STRUCT, _CHAR = 1, 2, 4
_CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_COMPLEX, _LOGICAL = 0x800, 0x200
_MOST_EXPANDED = 100
_DEEPEST = 50

_V73_CLASSES = {"double", "single", "logical", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64))}


def recognises(source: Source) -> bool:
    head = source.head(_HEADER)
    return len(head) == _HEADER and head.startswith(b"MATLAB ") and head[126:] in (b"IM", b"MI")


def read(source: Source) -> Checkpoint:
    version = source.read(124, 4)
    found = _Found()
    if 2 in version[:2]:
        start = hdf5.find(source)
        if start is None:
            raise ValueError("it has no HDF5 part")
        _Version73(source, hdf5.read(source, start, source.size - start), found).walk_all()
    else:
        _Version5(source, "<" if version[2:] == b"IM" else ">", found).walk_all()
    return Checkpoint(source.path, NAME, found.tensors, metadata={"text": found.text, "left_out": found.left_out})


class _Found:
    """What was found so far, by path."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self.text: dict[str, str] = {}
        self.left_out: list[str] = []


def _join(path: str, name: object) -> str:
    joined = f"{path}.{name}" if path else str(name)
    if len(joined) > LONGEST_NAME or joined.count(".") > _DEEPEST:
        raise ValueError("its structs are nested impossibly deep")
    return joined


class _Version5:
    def __init__(self, source: Source, order: str, found: _Found) -> None:
        self._source = source
        self._order = order
        self._found = found

    def walk_all(self) -> None:
        data = self._source.read(0, self._source.size)
        room = _MOST_EXPANDED * self._source.size
        for kind, element in self._elements(data, _HEADER, len(data)):
            if kind == _COMPRESSED:
                expander = zlib.decompressobj()
                inner = expander.decompress(element, room)
                room -= len(inner)
                if expander.unconsumed_tail or not expander.eof:
                    raise ValueError("a variable is cut off, or far larger than the file")
                for inner_kind, inner_element in self._elements(memoryview(inner), 0, len(inner)):
                    if inner_kind == _MATRIX:
                        self._matrix(inner_element, "")
            elif kind == _MATRIX:
                self._matrix(element, "")

    def _elements(self, data: bytes | memoryview, at: int, end: int) -> Iterator[tuple[int, memoryview]]:
        """Types and contents; a small element has both its type and its size in the first four bytes."""
        view = memoryview(data)
        while at + 8 <= end:
            kind, count = struct.unpack_from(f"{self._order}II", view, at)
            if small := kind >> 16:
                kind, count, start, following = kind & 0xFFFF, small, at + 4, at + 8
            else:
                start = at + 8
                # Compressed elements are the only ones not padded to 8 bytes.
                following = start + count + (0 if kind == _COMPRESSED else -count % 8)
            if start + count > min(end, following):
                raise ValueError("an element goes beyond the end")
            yield kind, view[start : start + count]
            at = following

    def _numbers(self, part: tuple[int, memoryview]) -> Array:
        kind, content = part
        return np.frombuffer(content, f"{self._order}{_NUMBERS[kind]}")

    def _matrix(self, content: memoryview, path: str) -> None:
        parts = self._elements(content, 0, len(content))
        first = next(parts, None)
        if first is None:  # an empty array, written without its parts
            return
        flags = int(self._numbers(first)[0])
        kind = flags & 0xFF
        if kind not in (_CELL, _STRUCT, _CHAR, *_CLASSES):  # sparse, objects, functions
            self._found.left_out.append(path)
            return
        shape = tuple(self._numbers(next(parts)).tolist())
        name = bytes(next(parts)[1]).decode("latin-1")
        path = _join(path, name) if name else path
        if len(shape) < 2 or min(shape) < 0:
            raise ValueError("an array has no shape")
        if kind == _CELL:
            for i, (_, element) in zip(range(math.prod(shape)), parts):  # noqa: B905
                self._matrix(element, _join(path, i))
        elif kind == _STRUCT:
            width = int(self._numbers(next(parts))[0])
            text = bytes(next(parts)[1])
            fields = [text[i : i + width].split(b"\0")[0].decode("latin-1") for i in range(0, len(text), max(width, 1))]
            count = math.prod(shape)
            for i, (_, element) in zip(range(count * len(fields)), parts):  # noqa: B905
                inner = path if count == 1 else _join(path, i // len(fields))
                self._matrix(element, _join(inner, fields[i % len(fields)]))
        elif kind == _CHAR:
            self._found.text[path] = "".join(map(chr, self._numbers(next(parts)).tolist()))
        elif flags & _COMPLEX:
            self._found.left_out.append(path)
        else:
            self._found.tensors[path] = self._tensor(flags, shape, next(parts))

    def _tensor(self, flags: int, shape: tuple[int, ...], part: tuple[int, memoryview]) -> Tensor:
        values = self._numbers(part)  # often of a smaller type than the array's
        if len(values) != math.prod(shape) or len(shape) > 32:
            raise ValueError("an array has too few or too many values")
        dtype = np.dtype(np.bool_ if flags & _LOGICAL else _CLASSES[flags & 0xFF])
        return Tensor(shape, dtype, self._source.path, lambda: values.reshape(shape, order="F"))


class _Version73:
    def __init__(self, source: Source, structure: hdf5.Structure, found: _Found) -> None:
        self._source = source
        self._structure = structure
        self._found = found
        self._fields: dict[str, list[str]] = {}
        for path in (*structure.groups, *structure.datasets):
            parent, _, name = path.rpartition("/")
            if name:
                self._fields.setdefault(parent, []).append(name)
        self._visits = 0

    def walk_all(self) -> None:
        for name in self._fields.get("", []):
            if not name.startswith("#"):
                self._walk(name, name)

    def _walk(self, place: str, path: str) -> None:
        """What lies at a place of the HDF5 file, as part of a variable."""
        self._visits += 1
        if self._visits > 1_000_000:
            raise ValueError("its cells refer to each other without end")
        dataset = self._structure.datasets.get(place)
        if dataset is None:  # a struct
            for name in self._fields.get(place, []):
                self._walk(f"{place}/{name}", _join(path, name))
            return
        kind = dataset.attributes.get("MATLAB_class")
        tensor = dataset.tensor
        if dataset.references:
            # A cell, or a field of a struct array, which has no class of its own; fields come before numbers there.
            for i, target in enumerate(dataset.references):
                self._walk(target, _join(path, i))
        elif "MATLAB_empty" in dataset.attributes:
            return
        elif tensor is not None and kind == "char":
            self._found.text[path] = "".join(map(chr, tensor.numpy().ravel().tolist()))
        elif tensor is not None and kind in _V73_CLASSES:
            self._found.tensors[path] = _transposed(tensor, kind == "logical")
        else:
            self._found.left_out.append(path)


def _transposed(tensor: Tensor, logical: bool) -> Tensor:
    """HDF5 lists MATLAB's axes from the last to the first."""
    dtype: Any = np.dtype(np.bool_) if logical else tensor.dtype
    return Tensor(tensor.shape[::-1], dtype, tensor.path, lambda: tensor.load().reshape(tensor.shape).T)
