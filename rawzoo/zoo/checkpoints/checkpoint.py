"""What a checkpoint file holds, whatever its format: named tensors that are read when they are asked for."""

from __future__ import annotations

import math
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rawzoo.errors import WeightsError

Array = NDArray[Any]

#: What a damaged file provokes in parsers that take it at its word until a value makes no sense.
_DAMAGE = (
    ValueError,  # also UnicodeDecodeError and JSONDecodeError
    TypeError,
    AttributeError,
    LookupError,
    ArithmeticError,
    EOFError,
    RecursionError,
    NotImplementedError,
    struct.error,
    zlib.error,
    zipfile.BadZipFile,
)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Inside, whatever a damaged file provokes becomes a WeightsError that names the file."""
    try:
        yield
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    except _DAMAGE as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")[:200]
        if isinstance(error, KeyError):
            reason = f"it refers to {reason}, which is not there"
        raise WeightsError(
            f"{path} is damaged or cut off ({reason}); copy or download it again from where it came."
        ) from error


class Source:
    """A file that is read at given places and never beyond its end.

    Attributes:
        path: of the file.
        size: bytes.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = path.stat().st_size

    def read(self, start: int, count: int) -> bytes:
        """``count`` bytes from ``start`` on; nothing is allocated when the file has not so many."""
        if start < 0 or count < 0 or start + count > self.size:
            raise ValueError(f"{count} bytes at {start} are beyond its end at {self.size}")
        with self.path.open("rb") as file:
            file.seek(start)
            data = file.read(count)
        if len(data) != count:
            raise ValueError("it became shorter while it was read")
        return data

    def head(self, count: int) -> bytes:
        """The first bytes, fewer when the file is shorter."""
        return self.read(0, min(count, self.size))

    def check_room(self, shape: tuple[int, ...], itemsize: int) -> int:
        """Bytes of an array.

        Raises:
            ValueError: the shape is none, or the array is larger than the whole file, which no honest file says.
        """
        if len(shape) > 32 or any(not isinstance(n, int) or isinstance(n, bool) or n < 0 for n in shape):
            raise ValueError(f"{shape!r:.80} is no shape")
        count = math.prod(shape) * itemsize
        if count > max(self.size, 64):
            raise ValueError(f"a tensor of shape {list(shape)} would be larger than the file")
        return count


@dataclass(frozen=True)
class Tensor:
    """A tensor in a file; shape and dtype are known, the values are read by :meth:`numpy`.

    Attributes:
        shape: as the format writes it; no axes are moved.
        dtype: of what :meth:`numpy` gives, in native byte order. bfloat16 is widened to float32, quantised integers
            that carry their scale are float32.
    """

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    path: Path = field(repr=False)
    load: Callable[[], Array] = field(repr=False, compare=False)

    def numpy(self) -> Array:
        """The values, a new array of :attr:`shape` and :attr:`dtype`.

        Raises:
            WeightsError: they are damaged.
        """
        with reading(self.path):
            return self.load().astype(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """The tensors of one published checkpoint.

    Attributes:
        path: the file, or the prefix of a TensorFlow checkpoint.
        format: one of :data:`rawzoo.zoo.checkpoints.FORMATS`.
        tensors: the network's variables by the name the file gives them, in the file's order, without what an
            optimiser left there.
        averages: moving averages of variables, by the name in :attr:`tensors` that they average.
        metadata: what else the file says, JSON values. Common keys: ``step`` and ``epoch`` (numbers of training),
            ``left_out`` (names of optimiser slots, counters and tensors in a form that cannot be read).
        files: all files that were read; ``path`` alone unless the format has several.
    """

    path: Path
    format: str
    tensors: Mapping[str, Tensor]
    averages: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()


#: Characters; no format needs more, and a file that shares one long name among many tensors would fill the memory.
LONGEST_NAME = 1000

#: Stands beside NumPy's dtypes, which have no bfloat16.
BFLOAT16 = "bfloat16"


def loaded_dtype(stored: str) -> np.dtype[Any]:
    """dtype of a tensor once loaded; ``stored`` is a NumPy type string or :data:`BFLOAT16`."""
    return np.dtype(np.float32) if stored == BFLOAT16 else np.dtype(stored).newbyteorder("=")


def itemsize(stored: str) -> int:
    """Bytes of one stored number."""
    return 2 if stored == BFLOAT16 else np.dtype(stored).itemsize


def decode(data: bytes, stored: str) -> Array:
    """Stored bytes as a flat array of :func:`loaded_dtype`."""
    if stored == BFLOAT16:
        widened: Array = (np.frombuffer(data, "<u2").astype(np.uint32) << 16).view(np.float32)
        return widened
    if np.dtype(stored) == np.bool_:
        return np.frombuffer(data, np.uint8).astype(np.bool_)
    return np.frombuffer(data, stored).astype(loaded_dtype(stored))


def plain(
    source: Source,
    shape: tuple[int, ...],
    stored: str,
    start: int,
    count: int,
    check: Callable[[bytes], None] | None = None,
) -> Tensor:
    """A tensor whose bytes lie in the file as they are, in C order.

    Args:
        count: bytes; must be what shape and dtype need.
        check: raises ValueError for bytes that do not match their checksum.
    """
    if source.check_room(shape, itemsize(stored)) != count or start < 0 or start + count > source.size:
        raise ValueError(f"{count} bytes at {start} are not a tensor of shape {list(shape)}, {stored}")

    def load() -> Array:
        data = source.read(start, count)
        if check is not None:
            check(data)
        return decode(data, stored)

    return Tensor(shape, loaded_dtype(stored), source.path, load)
