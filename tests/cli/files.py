"""Safetensors and .npy files, written and read with the standard library alone.

An Array is a shape and a flat list of floats or ints. It shares nothing with the program under test.
"""

import ast
import json
import math
import struct


class Array:
    def __init__(self, shape, values):
        self.shape = tuple(shape)
        self.values = list(values)
        assert math.prod(self.shape) == len(self.values), (self.shape, len(self.values))

    def __eq__(self, other):
        return self.shape == other.shape and self.values == other.values

    def __repr__(self):
        return f"Array{list(self.shape)}"

    def nonzeros(self):
        return sum(1 for value in self.values if value != 0.0)

    def rows(self):
        width = self.shape[-1]
        return [self.values[i : i + width] for i in range(0, len(self.values), width)]


def _bf16_bits(value):
    bits = struct.unpack("<I", struct.pack("<f", value))[0]
    return (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16  # to nearest, ties to even


def _bf16_value(bits):
    return struct.unpack("<f", struct.pack("<I", bits << 16))[0]


def encode(values, dtype):
    if dtype == "BF16":
        return b"".join(struct.pack("<H", _bf16_bits(value)) for value in values)
    return struct.pack(f"<{len(values)}{_CODES[dtype]}", *values)


def decode(data, dtype):
    if dtype == "BF16":
        return [_bf16_value(bits) for bits in struct.unpack(f"<{len(data) // 2}H", data)]
    code = _CODES[dtype]
    return list(struct.unpack(f"<{len(data) // struct.calcsize(code)}{code}", data))


_CODES = {"F64": "d", "F32": "f", "F16": "e", "I64": "q", "I32": "i", "I16": "h", "U8": "B"}


def rounded(values, dtype):
    """What is left of the values on the grid of a dtype."""
    return decode(encode(values, dtype), dtype)


def save_safetensors(path, tensors, dtype="F32", metadata=None):
    """tensors: {name: Array} or {name: (Array, dtype)}."""
    header, data = {}, b""
    if metadata is not None:
        header["__metadata__"] = metadata
    for name, entry in tensors.items():
        array, own = entry if isinstance(entry, tuple) else (entry, dtype)
        encoded = encode(array.values, own)
        header[name] = {"dtype": own, "shape": list(array.shape), "data_offsets": [len(data), len(data) + len(encoded)]}
        data += encoded
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text + data)


def load_safetensors(path):
    """({name: (Array, dtype)}, {name: bytes}, metadata)"""
    with open(path, "rb") as file:
        content = file.read()
    (size,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + size])
    metadata = header.pop("__metadata__", None)
    arrays, raw = {}, {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        raw[name] = content[8 + size + begin : 8 + size + end]
        arrays[name] = (Array(entry["shape"], decode(raw[name], entry["dtype"])), entry["dtype"])
    return arrays, raw, metadata


_NPY_CODES = {"<f2": "e", "<f4": "f", "<f8": "d", "<i4": "i", "<i8": "q", ">f4": ">f", "<c8": "ff"}


def save_npy(path, array, descr="<f4", fortran=False):
    header = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {array.shape!r}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    code = _NPY_CODES[descr]
    order = ">" if code.startswith(">") else "<"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode())
        file.write(b"".join(struct.pack(order + code.strip(">"), value) for value in array.values))


def load_npy(path):
    with open(path, "rb") as file:
        content = file.read()
    assert content[:8] == b"\x93NUMPY\x01\x00", content[:8]
    (size,) = struct.unpack("<H", content[8:10])
    header = ast.literal_eval(content[10 : 10 + size].decode())
    assert header["descr"] == "<f4" and not header["fortran_order"], header
    return Array(header["shape"], struct.unpack(f"<{math.prod(header['shape'])}f", content[10 + size :]))
