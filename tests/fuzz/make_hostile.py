#!/usr/bin/env python3
"""Writes the hostile (bad_*) and the ordinary (good_*) small files under corpus/safetensors, npy, device and code_manifest.

Run without arguments; the files are committed. tests/model/hostile_test.cpp says what each of safetensors and npy is refused
with, tests/plan/device_test.cpp and tests/cuda/code_test.cpp have more of the others.
"""
import json
import pathlib
import struct

CORPUS = pathlib.Path(__file__).parent / "corpus"


def write(folder, name, data):
    path = CORPUS / folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- safetensors ---


def st(header, data=b"", length=None):
    """A file with this header (JSON text, or what to make it of) and this data; `length` may lie."""
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="F32", shape=(2,), offsets=(0, 8), **more):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets), **more}


def one(**changes):
    return {"a": tensor(**changes)}


def floats(*values):
    return struct.pack(f"<{len(values)}f", *values)


def module(prefix="", gates=4, hidden=2, inputs=3, names=("_l0",), dtype="F32", fill=lambda i: 0.125 * (i % 7), **extra):
    """Header and data of a recurrent module with the given parameter suffixes."""
    header, data = {}, b""
    for suffix in names:
        for base, shape in (
            ("weight_ih", [gates * hidden, inputs]),
            ("weight_hh", [gates * hidden, hidden]),
            ("bias_ih", [gates * hidden]),
            ("bias_hh", [gates * hidden]),
        ):
            count = 1
            for d in shape:
                count *= d
            code = {"F32": "f", "F16": "e", "F64": "d"}[dtype]
            raw = struct.pack(f"<{count}{code}", *(fill(i) for i in range(count)))
            header[f"{prefix}{base}{suffix}"] = tensor(dtype, shape, (len(data), len(data) + len(raw)))
            data += raw
    return header, data


def safetensors_files():
    def bad(name, data):
        write("safetensors", f"bad_{name}.safetensors", data)

    def good(name, data):
        write("safetensors", f"good_{name}.safetensors", data)

    eight = floats(1, 2)
    bad("empty", b"")
    bad("seven_bytes", b"\x08\0\0\0\0\0\0")
    bad("length_only", struct.pack("<Q", 64))
    bad("header_truncated", st(one(), eight)[:30])
    bad("header_length_lies", st(one(), eight, length=1000))
    bad("header_length_short", st(one(), eight, length=20))
    bad("header_length_huge", st(one(), eight, length=2**63))
    bad("header_length_over_limit", st(one(), eight, length=100_000_001))
    bad("header_length_zero", st(b"", eight))
    bad("not_json", st(b"{not json}", eight))
    bad("json_truncated", st(b'{"a":{"dtype":"F32","shape":[2]', eight))
    bad("json_twice", st(json.dumps(one()).encode() + b"{}", eight))
    bad("header_array", st(b"[]"))
    bad("header_byte_order_mark", st(b"\xef\xbb\xbf" + json.dumps(one()).encode(), eight))
    bad("header_zero_byte", st(json.dumps(one()).encode() + b"\0garbage", eight))
    bad("header_invalid_utf8", st(b'{"a\xff\xfe":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight))
    bad("header_comment", st(b"{/* hello */}"))
    bad("nesting", st(b'{"a":' * 10_000))
    bad("nesting_shape", st(b'{"a":{"shape":' + b"[" * 10_000))
    bad("nesting_metadata", st({"__metadata__": {"k": {"deep": {}}}}))
    bad("duplicate_tensor", st(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
                               b'"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}', eight))
    bad("duplicate_escaped", st(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
                                b'"\\u0061":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}', eight * 2))
    bad("duplicate_dtype", st(b'{"a":{"dtype":"F32","dtype":"I32","shape":[2],"data_offsets":[0,8]}}', eight))
    bad("duplicate_metadata", st(b'{"__metadata__":{},"__metadata__":{}}'))
    bad("duplicate_metadata_key", st(b'{"__metadata__":{"k":"1","k":"2"}}'))
    bad("metadata_number", st({"__metadata__": {"k": 1}}))
    bad("metadata_null", st({"__metadata__": None}))
    bad("metadata_array", st({"__metadata__": ["k"]}))
    bad("tensor_is_string", st({"a": "F32"}))
    bad("dtype_missing", st({"a": {"shape": [2], "data_offsets": [0, 8]}}, eight))
    bad("shape_missing", st({"a": {"dtype": "F32", "data_offsets": [0, 8]}}, eight))
    bad("offsets_missing", st({"a": {"dtype": "F32", "shape": [2]}}, eight))
    bad("field_unknown", st(one(strides=[1]), eight))
    bad("dtype_number", st(one(dtype=32), eight))
    bad("dtype_unknown_odd_size", st(one(dtype="F24", shape=[2], offsets=[0, 6]), b"\0" * 6))
    bad("shape_negative", st(one(shape=[-2]), eight))
    bad("shape_fraction", st(one(shape=[2.0]), eight))
    bad("shape_string", st(one(shape=["2"]), eight))
    bad("shape_scalar", st({"a": {"dtype": "F32", "shape": 2, "data_offsets": [0, 8]}}, eight))
    bad("shape_over_int64", st(one(shape=[2**63]), eight))
    bad("shape_over_uint64", st(one(shape=[2**64 + 2]), eight))
    bad("shape_product_overflow", st(one(shape=[2**32, 2**32, 2]), eight))
    bad("shape_bytes_overflow", st(one(shape=[2**62 + 2]), eight))
    bad("shape_too_large", st(one(shape=[3]), eight))
    bad("shape_too_small", st(one(shape=[1]), eight))
    bad("half_byte", st(one(dtype="F4", shape=[3], offsets=[0, 1]), b"\0"))
    bad("offsets_one", st(one(offsets=[0]), eight))
    bad("offsets_three", st(one(offsets=[0, 8, 8]), eight))
    bad("offsets_reversed", st(one(offsets=[8, 0]), eight))
    bad("offsets_negative", st(one(offsets=[-8, 0]), eight))
    bad("offsets_past_end", st(one(shape=[4], offsets=[0, 16]), eight))
    bad("offsets_huge", st(one(shape=[2**62 - 2], offsets=[0, 2**64 - 8]), eight))
    bad("offsets_overlap", st({"a": tensor(), "b": tensor(offsets=(4, 12))}, floats(1, 2, 3)))
    bad("offsets_same", st({"a": tensor(), "b": tensor()}, eight))
    bad("offsets_inside", st({"a": tensor(shape=[4], offsets=(0, 16)), "b": tensor(shape=[0], offsets=(8, 8))}, eight * 2))
    bad("offsets_hole", st({"a": tensor(), "b": tensor(offsets=(12, 20))}, b"\0" * 20))
    bad("offsets_hole_at_start", st(one(offsets=(4, 12)), b"\0" * 12))
    bad("data_truncated", st(one(), eight[:5]))
    bad("data_trailing", st(one(), eight + b"\0"))
    bad("data_without_tensor", st({}, b"\0"))
    bad("name_steers_terminal", st({"a\x1b[2J": tensor(shape=[3])}, eight))
    bad("pickle", b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.")
    bad("pickle_short", b"\x80\x04K\x01.")
    bad("zip", b"PK\x03\x04\0\0\x08\x08\0\0\0\0\0\0\0\0" + b"\0" * 16 + b"archive/data.pkl")
    bad("zip_without_flags", b"PK\x03\x04" + b"\0" * 28 + b"archive/data.pkl")
    bad("npy", npy("<f4", (2,), eight))

    good("empty", st({}))
    good("two", st({"__metadata__": {"format": "pt"}, "b": tensor(), "a": tensor(offsets=(8, 16))}, eight * 2))
    good("unsorted", st({"b": tensor(offsets=(8, 16)), "a": tensor()}, eight * 2))
    good("scalar_and_empty", st({"s": tensor(shape=[], offsets=(0, 4)), "e": tensor(shape=[0, 5], offsets=(4, 4))}, floats(1)))
    good("future_dtype", st(one(dtype="F16_NEXT", shape=[4]), eight))
    good("padded", st(json.dumps(one()).encode() + b" \n\t ", eight))
    good("name_unicode", st(json.dumps({"\u00e9\u4e2d\U0001f600\n": tensor()}, ensure_ascii=False).encode(), eight))
    for name, gates in (("rnn", 1), ("gru", 3), ("lstm", 4)):
        good(name, st(*module(f"{name}.", gates)))
    good("cell_names", st(*module("cell.", names=("",))))
    good("bidirectional", st(*module("", 3, names=("_l0", "_l0_reverse"))))
    good("layer_missing", st(*module("", 3, names=("_l0", "_l2"))))
    good("half", st(*module("", 3, dtype="F16")))
    good("double", st(*module("", 3, dtype="F64")))
    good("infinite", st(*module("", 1, fill=lambda i: float("inf"))))
    header, data = module("", 1)
    pruned = header.pop("weight_hh_l0")
    begin, end = pruned["data_offsets"]
    header["weight_hh_l0_orig"] = pruned
    header["weight_hh_l0_mask"] = tensor("F32", (2, 2), (len(data), len(data) + 16))
    good("pruned", st(header, data + floats(1, 0, 0, 1)))


# --- npy ---


def npy(descr, shape, data, version=1, fortran=False):
    text = f"{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape!r}, }}".encode()
    return npy_text(text, data, version)


def npy_text(text, data=b"", version=1, length=None):
    size = 2 if version == 1 else 4
    text += b" " * (-(8 + size + len(text) + 1) % 64) + b"\n"
    prefix = struct.pack("<H" if version == 1 else "<I", len(text) if length is None else length)
    return b"\x93NUMPY" + bytes([version, 0]) + prefix + text + data


def npy_files():
    def bad(name, data):
        write("npy", f"bad_{name}.npy", data)

    def good(name, data):
        write("npy", f"good_{name}.npy", data)

    six = floats(0, 1, -2, 3.5, 1e-40, float("inf"))
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), }"
    bad("empty", b"")
    bad("magic_only", b"\x93NUMPY")
    bad("version_only", b"\x93NUMPY\x01\x00")
    bad("other_magic", b"NUMPY" + npy("<f4", (6,), six))
    bad("zip", b"PK\x03\x04" + b"\0" * 26)
    bad("version_0", npy("<f4", (6,), six, version=0))
    bad("version_4", npy("<f4", (6,), six, version=4))
    bad("header_length_lies", npy_text(header.encode(), six, length=60000))
    bad("header_length_huge", npy_text(header.encode(), six, version=2, length=2**32 - 1))
    bad("header_cut", npy_text(header[:-10].encode(), six))
    bad("header_not_a_dict", npy_text(b"['<f4', False, (6,)]", six))
    bad("header_code", npy_text(b"{'descr': __import__('os').system('true'), 'fortran_order': False, 'shape': (6,), }", six))
    bad("header_escape", npy_text(b"{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (6,), }", six))
    bad("header_followed", npy_text(header.encode() + b" or 1", six))
    bad("key_unknown", npy_text(header[:-1].encode() + b"'more': 1}", six))
    bad("key_twice", npy_text(header[:-1].encode() + b"'shape': (6,), }", six))
    bad("key_missing", npy_text(b"{'descr': '<f4', 'shape': (6,), }", six))
    bad("comma_missing", npy_text(b"{'descr': '<f4' 'fortran_order': False, 'shape': (6,), }", six))
    bad("order_number", npy_text(header.replace("False", "0").encode(), six))
    bad("order_fortran", npy("<f4", (2, 3), six, fortran=True))
    bad("big_endian", npy(">f4", (6,), six))
    bad("dtype_native", npy("=f4", (6,), six))
    bad("dtype_complex", npy("<c8", (3,), six))
    bad("dtype_longdouble", npy("<f16", (1,), six[:16]))
    bad("dtype_object", npy("|O", (6,), six))
    bad("dtype_structured", npy_text(b"{'descr': [('x', '<f4')], 'fortran_order': False, 'shape': (6,), }", six))
    bad("dtype_unsigned", npy("<u4", (6,), six))
    bad("shape_number", npy_text(header.replace("(6,)", "6").encode(), six))
    bad("shape_in_parentheses", npy_text(header.replace("(6,)", "(6)").encode(), six))
    bad("shape_negative", npy("<f4", (-6,), six))
    bad("shape_fraction", npy("<f4", (6.0,), six))
    bad("shape_too_large", npy("<f4", (7,), six))
    bad("shape_over_int64", npy("<f4", (2**63,), six))
    bad("shape_overflow", npy("<f4", (2**31, 2**31, 2**31), six))
    bad("shape_bytes_overflow", npy("<f4", (2**62 + 6,), six))
    bad("shape_rank", npy("<f4", (1,) * 65, six[:4]))
    bad("data_truncated", npy("<f4", (6,), six[:-1]))
    bad("data_trailing", npy("<f4", (6,), six + b"\0"))
    bad("double_overflow", npy("<f8", (2,), struct.pack("<2d", 1, -1e39)))

    good("float32", npy("<f4", (2, 3), six))
    good("float16", npy("<f2", (3,), struct.pack("<3e", 1, -0.0, 65504)))
    good("float64", npy("<f8", (1, 2), struct.pack("<2d", 0.1, float("-inf"))))
    good("scalar", npy("<f4", (), floats(7)))
    good("zero_size", npy("<f4", (0, 5), b""))
    good("version_2", npy("<f4", (6,), six, version=2))
    good("version_3", npy("<f4", (6,), six, version=3))
    good("python_2", npy_text(header.replace("(6,)", "(6L,)").encode(), six))
    good("int32", npy("<i4", (3,), struct.pack("<3i", 1, -1, 2**31 - 1)))
    good("int64", npy("<i8", (2,), struct.pack("<2q", -(2**63), 5)))


# --- texts ---


def device_files():
    def text(name, description):
        data = description if isinstance(description, bytes) else json.dumps(description, indent=2).encode()
        write("device", f"{name}.json", data)

    cpu = {"name": "two cores", "kind": "cpu", "threads": 2, "isa": "avx2", "l1_bytes": 32768, "l2_bytes": 1048576, "l3_bytes": 0}
    gpu = {"name": "h\u00e9 \"100\"\n", "kind": "gpu", "compute_capability": 90, "sm_count": 132, "registers_per_sm": 65536,
           "max_registers_per_thread": 255, "shared_bytes_per_block": 232448, "shared_bytes_per_sm": 233472, "l2_bytes": 52428800,
           "memory_bytes": 85000000000, "max_cluster_size": 16, "clock_ghz": 1.98, "l2_gbytes_per_s": 5500.0,
           "memory_gbytes_per_s": 3350.0, "tensor_tflops": 990.0, "fp32_tflops": 67.0}
    text("good_cpu", cpu)
    text("good_gpu", gpu)
    text("good_least", {**gpu, "compute_capability": 80, "l2_bytes": 0, "clock_ghz": 1e-6, "fp32_tflops": 0.1 + 0.2})
    text("good_most", {**gpu, "memory_bytes": 2**50, "clock_ghz": 1e12, "tensor_tflops": 10**12})
    text("bad_empty", b"")
    text("bad_cut", json.dumps(gpu).encode()[:-20])
    text("bad_array", [cpu])
    text("bad_key_twice", json.dumps(cpu).encode()[:-1] + b', "threads": 4}')
    text("bad_key_unknown", {**cpu, "cores": 2})
    text("bad_name_empty", {**cpu, "name": ""})
    text("bad_name_local", {**gpu, "name": "local"})
    text("bad_name_not_utf8", json.dumps(cpu).encode().replace(b"two", b"\xff\xfe"))
    text("bad_name_surrogate", json.dumps(cpu).encode().replace(b"two", b"\\ud800"))
    text("bad_kind", {**cpu, "kind": "tpu"})
    text("bad_threads_huge", {**cpu, "threads": 2**64})
    text("bad_threads_fraction", {**cpu, "threads": 2.5})
    text("bad_rate_overflow", json.dumps(gpu).encode().replace(b"1.98", b"1e999"))
    text("bad_rate_text", {**gpu, "clock_ghz": "fast"})
    text("bad_nesting", b'{"name":' * 10_000)


def code_manifest_files():
    def text(name, manifest):
        data = manifest if isinstance(manifest, bytes) else json.dumps(manifest, indent=2).encode()
        write("code_manifest", f"{name}.json", data)

    def kernel(**changes):
        def code(name):
            return {"file": name, "sha256": "0" * 64}

        return {"kernel": "layer.cu", "compute_capability": 90, "source_sha256": "1" * 64, "cubin": code("layer.cubin"),
                "ptx": code("layer.ptx"), "registers": 64, "stack_bytes": 0, "spill_bytes": 0, **changes}

    def manifest(*kernels, **changes):
        return {"format": 1, "sprnn": "0.1.0", "compiler": "NVRTC 13.0", "kernels": list(kernels), **changes}

    text("good", manifest(kernel(), kernel(kernel="input.cu", compute_capability=80)))
    text("good_none", manifest())
    text("bad_empty", b"")
    text("bad_cut", json.dumps(manifest(kernel())).encode()[:-20])
    text("bad_format", manifest(format=2))
    text("bad_kernels_number", manifest(kernels=7))
    text("bad_kernels_missing", {"format": 1})
    text("bad_kernel_text", manifest("layer.cu"))
    text("bad_capability", manifest(kernel(compute_capability=2**40)))
    text("bad_code_text", manifest(kernel(cubin="layer.cubin")))
    text("bad_code_missing", manifest({"kernel": "layer.cu", "compute_capability": 90, "source_sha256": ""}))
    for name, file in [("empty", ""), ("dot", "."), ("parent", ".."), ("above", "../layer.cubin"), ("root", "/layer.cubin"),
                       ("folder", "a/layer.cubin"), ("not_utf8", "NAME")]:
        data = json.dumps(manifest(kernel(cubin={"file": file, "sha256": ""}))).encode()
        text(f"bad_file_{name}", data.replace(b"NAME", b"\xc3\x28"))
    text("bad_nesting", b'{"kernels":' + b"[" * 10_000)


if __name__ == "__main__":
    safetensors_files()
    npy_files()
    device_files()
    code_manifest_files()
