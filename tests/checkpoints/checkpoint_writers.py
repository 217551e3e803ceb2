"""Writes small files in the published formats, by their documents alone: no code is shared with the readers."""

import struct

import numpy as np

DTYPES = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "int64": 9, "bool": 10, "float16": 19}


def varint(value):
    out = bytearray()
    value &= (1 << 64) - 1
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def field(number, value):
    """A field of a protocol buffer: a number, or a text or message."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def shape_proto(shape):
    return b"".join(field(2, field(1, n) if n else b"") for n in shape)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(crc):
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def bundle_entry(dtype, shape, offset, size, crc, shard=0, extra=b""):
    """``crc``: None for no checksum."""
    entry = field(1, dtype) + field(2, shape_proto(shape))
    entry += (field(3, shard) if shard else b"") + (field(4, offset) if offset else b"") + field(5, size)
    return entry + (b"" if crc is None else struct.pack("<BI", 6 << 3 | 5, crc)) + extra


def table(entries, *, kind=0, per_block=16):
    """A LevelDB table."""

    def block(pairs):
        out, last = b"", b""
        for i, (key, value) in enumerate(pairs):
            shared = 0
            while i and shared < min(len(key), len(last)) and key[shared] == last[shared]:
                shared += 1
            out += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
            last = key
        return out + struct.pack("<II", 0, 1)

    out = b""

    def store(content):
        nonlocal out
        handle = varint(len(out)) + varint(len(content))
        trailer = bytes([kind])
        out += content + trailer + struct.pack("<I", masked(crc32c(content + trailer)))
        return handle

    pairs = sorted(entries.items())
    blocks = [pairs[i : i + per_block] for i in range(0, len(pairs), per_block)]
    index = [(group[-1][0], store(block(group))) for group in blocks]
    meta = store(block([]))
    footer = meta + store(block(index))
    return out + footer.ljust(40, b"\0") + bytes.fromhex("57fb808b247547db")


def write_tensorflow(prefix, tensors, *, header=None, checksums=True, **options):
    """A TensorFlow checkpoint of version 2; gives the path of its index. Checksums of large ones take minutes here."""
    entries = {b"": header if header is not None else field(1, 1) + field(3, field(1, 1))}
    data = bytearray()
    for name, array in tensors.items():
        raw = array.tobytes()
        crc = masked(crc32c(raw)) if checksums else None
        entries[name.encode()] = bundle_entry(DTYPES[array.dtype.name], array.shape, len(data), len(raw), crc)
        data += raw
    index = prefix.with_name(f"{prefix.name}.index")
    index.write_bytes(table(entries, **options))
    prefix.with_name(f"{prefix.name}.data-00000-of-00001").write_bytes(data)
    return index


def graph_node(name, op, tensor=None, inputs=()):
    node = field(1, name.encode()) + field(2, op.encode()) + b"".join(field(3, i.encode()) for i in inputs)
    if tensor is not None:
        node += field(5, field(1, b"dtype") + field(2, field(6, 1)))
        node += field(5, field(1, b"value") + field(2, field(8, tensor)))
    return field(1, node)


def tensor_proto(array):
    return field(1, DTYPES[array.dtype.name]) + field(2, shape_proto(array.shape)) + field(4, array.tobytes())


def write_graph(path, tensors, operators=()):
    """A frozen graph with one constant a tensor.

    operators: (name, operation, names of inputs).
    """
    nodes = [graph_node("image", "Placeholder")]
    nodes += [graph_node(name, "Const", tensor_proto(array)) for name, array in tensors.items()]
    nodes += [graph_node(name, op, inputs=inputs) for name, op, inputs in operators]
    path.write_bytes(b"".join(nodes))
    return path


class _Flat:
    """A FlatBuffer, each table before what it refers to."""

    def __init__(self):
        self.data = bytearray(b"\0\0\0\0TFL3")

    def _align(self):
        self.data += bytes(-len(self.data) % 8)

    def table(self, fields):
        """``fields``: place in the schema -> (struct format, number) or a function that writes what is referred to."""
        self._align()
        entries = max(fields, default=-1) + 1
        vtable = len(self.data)
        size = 8 + 8 * len(fields)
        self.data += struct.pack("<HH", 4 + 2 * entries, size)
        self.data += b"".join(
            struct.pack("<H", 8 + 8 * sorted(fields).index(i) if i in fields else 0) for i in range(entries)
        )
        self._align()
        at = len(self.data)
        self.data += bytes(size)
        struct.pack_into("<i", self.data, at, at - vtable)
        for i, (_, value) in enumerate(sorted(fields.items())):
            place = at + 8 + 8 * i
            if callable(value):
                struct.pack_into("<I", self.data, place, value() - place)
            else:
                struct.pack_into(f"<{value[0]}", self.data, place, value[1])
        return at

    def vector(self, raw, count):
        # Eight bytes further than a multiple of eight, so that numbers of any size behind the length are aligned.
        self._align()
        self.data += bytes(4)
        at = len(self.data)
        self.data += struct.pack("<I", count) + raw + b"\0"
        return at

    def tables(self, tables):
        at = self.vector(bytes(4 * len(tables)), len(tables))
        for i, fields in enumerate(tables):
            place = at + 4 + 4 * i
            struct.pack_into("<I", self.data, place, self.table(fields) - place)
        return at


def write_tflite(path, tensors, operators=()):
    """A TensorFlow Lite model.

    tensors: name -> array, or (array of integers, scales, zero points, axis).
    operators: (number of the operator, names of inputs, names of outputs).
    """
    flat = _Flat()
    kinds = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "bool": 6, "int16": 7, "int8": 9}
    buffers, described = [{}], []
    for name, value in tensors.items():
        array, *quantised = value if isinstance(value, tuple) else (value,)
        fields = {
            0: lambda a=array: flat.vector(np.array(a.shape, "<i4").tobytes(), a.ndim),
            1: ("b", kinds[array.dtype.name]),
            2: ("I", len(buffers)),
            3: lambda n=name: flat.vector(n.encode(), len(n.encode())),
        }
        if quantised:
            scales, zeros, axis = np.array(quantised[0], "<f4"), np.array(quantised[1], "<i8"), quantised[2]
            parts = {
                2: lambda s=scales: flat.vector(s.tobytes(), len(s)),
                3: lambda z=zeros: flat.vector(z.tobytes(), len(z)),
                6: ("i", axis),
            }
            fields[4] = lambda p=parts: flat.table(p)
        described.append(fields)
        buffers.append({0: lambda a=array: flat.vector(a.tobytes(), a.nbytes)})
    names = list(tensors)
    codes = sorted({op for op, _, _ in operators})

    def places(of):
        raw = np.array([names.index(n) if n in names else -1 for n in of], "<i4").tobytes()
        return lambda: flat.vector(raw, len(of))

    steps = [{0: ("I", codes.index(op)), 1: places(ins), 2: places(outs)} for op, ins, outs in operators]
    graph = {0: lambda: flat.tables(described), 3: lambda: flat.tables(steps)}
    root = flat.table(
        {
            0: ("I", 3),
            1: lambda: flat.tables([{0: ("b", min(c, 127)), 3: ("i", c)} for c in codes]),
            2: lambda: flat.tables([graph]),
            4: lambda: flat.tables(buffers),
        }
    )
    struct.pack_into("<I", flat.data, 0, root)
    path.write_bytes(flat.data)
    return path
