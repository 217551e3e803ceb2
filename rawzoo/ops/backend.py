"""Where ops run: the native modules, and how many threads."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import import_module
from typing import Any


@lru_cache(maxsize=1)
def _cpu() -> tuple[Any, str]:
    try:
        module = import_module("rawzoo._native")
    except ImportError as error:
        return None, f"torch reference: {error}"
    return module, f"native ({module.isa()})"


@lru_cache(maxsize=1)
def _cuda() -> tuple[Any, str]:
    import torch

    if not torch.cuda.is_available():
        return None, "unavailable: torch sees no CUDA device"
    try:
        return import_module("rawzoo._native_cuda"), "native"
    except ImportError as error:
        return None, f"torch reference: {error}"


def module_for(device: str) -> Any:
    """The native module that serves tensors on ``cpu`` or ``cuda``, or None: the torch reference does."""
    if device == "cpu":
        return _cpu()[0]
    return _cuda()[0] if device == "cuda" else None


def available() -> dict[str, str]:
    """What serves the ops on each kind of device, ``cpu`` and ``cuda``: ``native ...``, ``torch reference: why`` or
    ``unavailable: why``. Imports torch."""
    return {"cpu": _cpu()[1], "cuda": _cuda()[1]}


def num_threads() -> int:
    """Threads an op on the CPU uses at most: ``torch.get_num_threads()`` where torch is imported already, else
    OMP_NUM_THREADS, else the number of CPUs this process may run on."""
    torch = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "get_num_threads"):
        return int(torch.get_num_threads())
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    if setting.isdecimal() and int(setting) > 0:
        return int(setting)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
