"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_path(final: Path) -> Iterator[Path]:
    """A name in the folder of ``final`` to write to; it becomes ``final`` when the block ends without an exception.

    A process killed inside the block leaves at most a hidden ``.part`` file and the old ``final``, whole.

    Args:
        final: an existing file is replaced.

    Yields:
        A path at which there is no file yet. The block must create it.
    """
    aside = final.with_name(f".{final.name[:64]}.{secrets.token_hex(4)}.part")
    try:
        yield aside
        os.replace(aside, final)
    finally:
        aside.unlink(missing_ok=True)
