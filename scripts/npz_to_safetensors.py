#!/usr/bin/env python3
"""Turns g2p-en's checkpoint20.npz into a safetensors file with PyTorch's names.

    scripts/npz_to_safetensors.py checkpoint20.npz g2p_en.safetensors

Needs nothing but Python. The arrays are only renamed: g2p-en's own grucell (g2p_en/g2p.py, 2.1.0) is PyTorch's
GRU, with gates r, z, n in [3*H, I] and [3*H, H], the reset applied after the product, and
h = (1 - z) * n + z * h. Arrays that are no GRU weights keep their names.
"""
import ast
import json
import os
import re
import struct
import sys
import zipfile

DTYPES = {"<f2": "F16", "<f4": "F32", "<f8": "F64", "<i4": "I32", "<i8": "I64"}
MODULES = {"enc": "encoder", "dec": "decoder"}
KINDS = {"w": "weight", "b": "bias"}


def pytorch_name(name):
    match = re.fullmatch(r"(enc|dec)_([wb])_(ih|hh)", name)
    if not match:
        return name
    module, kind, matrix = match.groups()
    return f"{MODULES[module]}.{KINDS[kind]}_{matrix}_l0"


def parse_npy(name, data):
    """Returns (safetensors dtype, shape, bytes) of a .npy file."""
    if data[:6] != b"\x93NUMPY":
        sys.exit(f"{name}: not a .npy array")
    begin, length = (10, "<H") if data[6] == 1 else (12, "<I")
    end = begin + struct.unpack_from(length, data, 8)[0]
    header = ast.literal_eval(data[begin:end].decode("latin1"))
    if header["descr"] not in DTYPES or header["fortran_order"]:
        sys.exit(f"{name}: expected a little-endian array of numbers in C order, found {header}")
    return DTYPES[header["descr"]], list(header["shape"]), data[end:]


def safetensors_bytes(tensors):
    header, offset = {}, 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + len(data)]}
        offset += len(data)
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + b"".join(data for _, _, data in tensors.values())


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: npz_to_safetensors.py IN.npz OUT.safetensors")
    source, target = sys.argv[1:]
    with zipfile.ZipFile(source) as archive:
        arrays = {name.removesuffix(".npy"): parse_npy(name, archive.read(name)) for name in archive.namelist()}
    tensors = {pytorch_name(name): array for name, array in sorted(arrays.items())}
    temporary = target + ".tmp"
    try:
        with open(temporary, "wb") as file:
            file.write(safetensors_bytes(tensors))
        os.replace(temporary, target)
    finally:
        if os.path.exists(temporary):
            os.remove(temporary)


if __name__ == "__main__":
    main()
