"""Computes the kernels of bilinear demosaicing and writes the weights file.

python scripts/make_weights.py src/rawzoo_plugin_template/weights/packed-bilinear.safetensors
"""

import hashlib
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

# The planes in rawzoo's order R, Gr, Gb, B: colour, and row and column in the RGGB tile.
PLANES = (("R", 0, 0), ("G", 0, 1), ("G", 1, 0), ("B", 1, 1))


def weight(color: str, down: int, right: int) -> float:
    """Share of the nearby sample ``down`` rows and ``right`` columns away, before normalisation."""
    if color == "G":
        # Quincunx: the sample itself, or the mean of the four neighbours.
        return {0: 4.0, 1: 1.0}.get(abs(down) + abs(right), 0.0)
    return max(0.0, 2.0 - abs(down)) * max(0.0, 2.0 - abs(right))


def kernels() -> torch.Tensor:
    """``[12, 4, 3, 3]``: output channel ``4 * color + 2 * row + column``, as pixel_shuffle wants them."""
    result = torch.zeros(12, 4, 3, 3)
    for out in range(12):
        color, row, column = "RGB"[out // 4], out // 2 % 2, out % 2
        own = any(plane == (color, row, column) for plane in PLANES)
        for plane, (sampled, y, x) in enumerate(PLANES):
            for i in range(3):
                for j in range(3):
                    down, right = 2 * (i - 1) + y - row, 2 * (j - 1) + x - column
                    if sampled == color and (not own or (down, right) == (0, 0)):
                        result[out, plane, i, j] = weight(color, down, right)
    return result / result.sum((1, 2, 3), keepdim=True)


if __name__ == "__main__":
    path = Path(sys.argv[1])
    save_file({"interpolate.weight": kernels()}, path)
    sys.stdout.write(f"{path}: sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}\n")
