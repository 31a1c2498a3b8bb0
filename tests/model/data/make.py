#!/usr/bin/env python3
"""Writes the files of this folder with the libraries that own the formats: numpy 2.4.6, safetensors 0.8.0.

The tests check the readers against the formulas below, and that what we save is what the library saved.
"""
import pathlib

import numpy as np
import safetensors
import safetensors.numpy

HERE = pathlib.Path(__file__).parent


def ramp(*shape, dtype=np.float32):
    """(i mod 64 - 32) / 16 at flat index i: exact in every float type."""
    count = int(np.prod(shape))
    return (((np.arange(count) % 64) - 32) / 16).astype(dtype).reshape(shape)


def lstm(prefix, hidden, inputs, suffixes):
    tensors = {}
    for suffix in suffixes:
        tensors[f"{prefix}weight_ih{suffix}"] = ramp(4 * hidden, inputs)
        tensors[f"{prefix}weight_hh{suffix}"] = ramp(4 * hidden, hidden)
        tensors[f"{prefix}bias_ih{suffix}"] = ramp(4 * hidden)
        tensors[f"{prefix}bias_hh{suffix}"] = ramp(4 * hidden)
    return tensors


def bfloat16(array):
    """A bfloat16 tensor's bits: the upper halves of float32."""
    return (array.view(np.uint32) >> 16).astype(np.uint16)


def main():
    tensors = lstm("encoder.rnn.", 4, 3, ("_l0", "_l0_reverse"))
    tensors |= {
        "embedding.weight": ramp(5, 3, dtype=np.float16),
        "steps": np.array(7, dtype=np.int64),
        "flags": np.array([True, False, True]),
        "nothing": np.zeros((0, 3), dtype=np.float64),
        "bytes": np.arange(5, dtype=np.uint8),
        "\u00e9\u4e2d \"quoted\" \\ /": np.arange(3, dtype=np.int32),
    }
    safetensors.numpy.save_file(tensors, HERE / "library.safetensors", metadata={"format": "pt"})

    shapes = {"weight_ih_l0": (6, 2), "weight_hh_l0": (6, 2), "bias_ih_l0": (6,), "bias_hh_l0": (6,)}
    gru = {name: bfloat16(ramp(*shape)) for name, shape in shapes.items()}
    specs = {
        name: safetensors.TensorSpec(
            dtype="bfloat16", shape=bits.shape, data_ptr=bits.ctypes.data, data_len=bits.nbytes
        )
        for name, bits in gru.items()
    }
    (HERE / "bfloat16.safetensors").write_bytes(safetensors.serialize(specs))

    np.save(HERE / "float16.npy", ramp(3, 2, dtype=np.float16))
    np.save(HERE / "float32.npy", ramp(2, 3, 4))
    np.save(HERE / "float64.npy", ramp(5, dtype=np.float64))
    np.save(HERE / "int32.npy", np.arange(-2, 4, dtype=np.int32))
    np.save(HERE / "int64.npy", np.arange(-2, 4, dtype=np.int64).reshape(2, 3))
    np.save(HERE / "scalar.npy", np.float32(0.5))
    np.save(HERE / "empty.npy", np.zeros((0, 5), dtype=np.float32))
    np.save(HERE / "fortran.npy", np.asfortranarray(ramp(2, 3)))
    np.save(HERE / "big_endian.npy", ramp(4).astype(">f4"))
    for version in (2, 3):
        with open(HERE / f"version_{version}.npy", "wb") as file:
            np.lib.format.write_array(file, ramp(6), version=(version, 0))


if __name__ == "__main__":
    main()
