"""How much memory a picture takes, and how much there is."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from rawzoo_pynet.network import PERIOD, PyNet

# Values that are alive at the peak, per packed pixel, by level: at level 1 the input and the output of a block, 128
# channels each, and what later blocks need.
_VALUES = {0: 315, 1: 315, 2: 165, 3: 105, 4: 90, 5: 90}
# The interpreter with its libraries, and what stripes take however small the picture.
_FIXED = 640 << 20


def per_pixel(network: PyNet, dtype: torch.dtype) -> int:
    """Bytes for each packed pixel of what is run at once."""
    return _VALUES[network.level] * dtype.itemsize


def needed(network: PyNet, dtype: torch.dtype, pixels: int) -> int:
    """Bytes for running this many packed pixels at once."""
    weights = sum(p.numel() * p.element_size() for p in network.parameters())
    return _FIXED + weights + pixels * per_pixel(network, dtype)


def largest_square(network: PyNet, dtype: torch.dtype, allowed: int) -> int:
    """Edge of the largest square, in packed pixels, that can be run in so many bytes; a multiple of 16, maybe 0."""
    pixels = (allowed - needed(network, dtype, 0)) // per_pixel(network, dtype)
    return math.isqrt(max(pixels, 0)) // PERIOD * PERIOD


def available(device: torch.device) -> int | None:
    """Bytes that can be had on a device; None where the system does not tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    found = [_free_of_machine(), _free_of_container()]
    return min((n for n in found if n is not None), default=None)


def _free_of_machine() -> int | None:
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
        return int(text.split("MemAvailable:")[1].split()[0]) << 10
    except (OSError, IndexError, ValueError):
        return None


def _free_of_container() -> int | None:
    try:
        group = Path("/sys/fs/cgroup")
        limit, used = ((group / name).read_text(encoding="ascii") for name in ("memory.max", "memory.current"))
        return int(limit) - int(used)
    except (OSError, ValueError):  # none, or no limit: "max"
        return None
