"""safetensors: a JSON header and the bytes it points to."""

from __future__ import annotations

import json
import struct
from typing import Any

from rawzoo.zoo.checkpoints.checkpoint import BFLOAT16, Checkpoint, Source, plain

NAME = "safetensors"

_STORED = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": BFLOAT16,
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "|i1",
    "U64": "<u8",
    "U32": "<u4",
    "U16": "<u2",
    "U8": "|u1",
    "BOOL": "|b1",
}


def recognises(source: Source) -> bool:
    head = source.head(9)
    return len(head) == 9 and head[8:] == b"{" and struct.unpack("<Q", head[:8])[0] <= source.size - 8


def read(source: Source) -> Checkpoint:
    header, start = _header(source)
    metadata = header.pop("__metadata__", {})
    tensors = {}
    left_out = []
    for name, entry in header.items():
        if entry["dtype"] not in _STORED:
            left_out.append(name)
            continue
        begin, end = entry["data_offsets"]
        if begin < 0:
            raise ValueError(f"the tensor {name!r} begins in the header")
        tensors[name] = plain(source, tuple(entry["shape"]), _STORED[entry["dtype"]], start + begin, end - begin)
    return Checkpoint(source.path, NAME, tensors, metadata={"header": metadata, "left_out": left_out})


def _header(source: Source) -> tuple[dict[str, Any], int]:
    (length,) = struct.unpack("<Q", source.read(0, 8))
    header = json.loads(source.read(8, length))
    if not isinstance(header, dict):
        raise ValueError("its header is no JSON object")
    return header, 8 + length
