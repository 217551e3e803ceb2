"""ICC profiles of the output spaces, built from their published primaries (ICC.1:2022, matrix/TRC profiles)."""

from __future__ import annotations

import struct
from functools import lru_cache

import numpy as np

from rawzoo.raw.color import D50_XY, D65_XY, adaptation, rgb_to_xyz, xy_to_xyz

_NAMES = {"srgb": "sRGB", "display-p3": "Display P3", "rec2020-linear": "Rec. 2020 linear"}


@lru_cache(maxsize=8)
def icc_profile(space: str) -> bytes | None:
    """ICC v4 display profile of an output space; None for ``camera``, which has no colorimetric meaning."""
    if space not in _NAMES:
        return None
    adapt = adaptation(D65_XY, D50_XY)
    colorants = adapt @ rgb_to_xyz(space)
    curve = _linear_curve() if space.endswith("-linear") else _srgb_curve()
    tags = {
        b"desc": _text(_NAMES[space]),
        b"cprt": _text("No copyright, use freely"),
        b"wtpt": _xyz(xy_to_xyz(D50_XY)),
        b"chad": b"sf32" + bytes(4) + b"".join(_s15f16(v) for v in adapt.ravel()),
        b"rXYZ": _xyz(colorants[:, 0]),
        b"gXYZ": _xyz(colorants[:, 1]),
        b"bXYZ": _xyz(colorants[:, 2]),
        b"rTRC": curve,
        b"gTRC": curve,
        b"bTRC": curve,
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body, seen = struct.pack(">I", len(tags)), b"", dict[bytes, int]()
    for signature, data in tags.items():
        if data not in seen:  # the three curves share one copy
            seen[data] = offset + len(body)
            body += data + bytes(-len(data) % 4)
        table += struct.pack(">4sII", signature, seen[data], len(data))
    size = 128 + len(table) + len(body)
    header = struct.pack(
        ">I4sI4s4s4s6H4s4sIIIQI12s4s",
        size, b"\0\0\0\0", 0x04400000, b"mntr", b"RGB ", b"XYZ ", 2026, 1, 1, 0, 0, 0, b"acsp", b"\0\0\0\0",
        0, 0, 0, 0, 0, b"".join(_s15f16(v) for v in xy_to_xyz(D50_XY)), b"\0\0\0\0",
    )  # fmt: skip
    return header + bytes(128 - len(header)) + table + body


def _s15f16(value: float) -> bytes:
    return struct.pack(">i", round(float(value) * 65536))


def _xyz(values: np.ndarray) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(_s15f16(v) for v in values)


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II2s2sII", 1, 12, b"en", b"US", len(encoded), 28) + encoded


def _linear_curve() -> bytes:
    return b"curv" + bytes(4) + struct.pack(">I", 0)


def _srgb_curve() -> bytes:
    parameters = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)
    return b"para" + bytes(4) + struct.pack(">HH", 3, 0) + b"".join(_s15f16(v) for v in parameters)
