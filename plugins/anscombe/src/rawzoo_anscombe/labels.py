"""Names of the classes."""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from os import PathLike
from pathlib import Path

from rawzoo.errors import RawzooError

BACKGROUND = "background"


@lru_cache(maxsize=1)
def imagenet() -> tuple[str, ...]:
    """The 1001 classes: the background, which is never used, and ImageNet's challenge in the order of its synsets,
    each as synset and names: ``n01440764 tench, Tinca tinca``."""
    text = resources.files("rawzoo_anscombe").joinpath("labels.txt").read_text(encoding="utf-8")
    return (BACKGROUND, *text.splitlines())


def of(classes: int) -> tuple[str, ...]:
    """Labels of a network with so many classes: :func:`imagenet`, without the background where there are 1000, or
    numbers."""
    names = imagenet()
    if classes in (len(names), len(names) - 1):
        return names[-classes:]
    return tuple(f"class {index}" for index in range(classes))


def read(path: str | PathLike[str]) -> tuple[str, ...]:
    """A file of labels, one line ``index:name`` for each class, in any order.

    Raises:
        RawzooError: it cannot be read, or does not name each class from 0 on once.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise RawzooError(f"label file {path} cannot be read: {error}.") from error
    names: dict[int, str] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        found = re.fullmatch(r"\s*(\d{1,9})\s*:\s*(.+?)\s*", line)
        if found is None or int(found[1]) in names:
            what = "names a class again" if found else "is not 'index:name'"
            raise RawzooError(f"label file {path}: line {number} {what}; each class needs one line such as '1:tench'.")
        names[int(found[1])] = found[2]
    if not names or set(names) != set(range(len(names))):
        raise RawzooError(f"label file {path} must name each class from 0 on; it names {len(names)}.")
    return tuple(names[index] for index in range(len(names)))
