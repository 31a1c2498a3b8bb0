#!/usr/bin/env python3
"""Makes the seeds of the fuzz targets `packed` and `plan`: make_packed.py path/to/sprnn

packed: small .sprnn files, one for each cell, target and dtype. plan: bytes that draw one problem each
(fuzz_plan.cpp reads them in order). Run it again when the format changes.
"""
import json
import random
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
GATES = {"tanh": 1, "relu": 1, "gru": 3, "lstm": 4}
FORMATS = {"F32": ("fp32", lambda v: struct.pack("<f", v)), "F16": ("fp16", lambda v: struct.pack("<e", v))}


def write_checkpoint(path, cell, dtype, inputs, hidden, bidirectional, density, seed, of_four=4):
    rng = random.Random(seed)
    header, data = {}, b""
    for suffix in ["_l0", "_l0_reverse"][: 1 + bidirectional]:
        rows = GATES[cell] * hidden
        for name, shape in [("weight_ih", [rows, inputs]), ("weight_hh", [rows, hidden]),
                            ("bias_ih", [rows]), ("bias_hh", [rows])]:
            count = shape[0] * (shape[1] if len(shape) == 2 else 1)
            values = [rng.uniform(-1, 1) if rng.random() < density else 0.0 for _ in range(count)]
            for first in range(0, count if name == "weight_hh" else 0, shape[-1]):
                for i in range(first, first + shape[-1]):
                    four = first + (i - first) // 4 * 4
                    if sum(v != 0.0 for v in values[four:i]) >= of_four:
                        values[i] = 0.0
            raw = b"".join(FORMATS[dtype][1](v) for v in values)
            header[name + suffix] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
            data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def make_packed(sprnn):
    folder = CORPUS / "packed"
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        checkpoint = Path(temporary) / "model.safetensors"
        for seed, (cell, dtype) in enumerate((c, d) for c in GATES for d in FORMATS):
            write_checkpoint(checkpoint, cell, dtype, 3, 6, cell == "gru", 0.4, seed)
            strategies = ["gather"] if dtype == "F32" else ["gather", "dense-mma", "vector-mma"]
            for target in ["cpu"] + strategies:
                choice = ["--target", "cpu"] if target == "cpu" else ["--target", "h100", "--strategy", target]
                choice += ["--row-parts", "1"] if target == "dense-mma" else []
                out = folder / f"{cell}-{FORMATS[dtype][0]}-{target}.sprnn"
                subprocess.run([sprnn, "pack", checkpoint, out, "--cell", cell] + choice,
                               check=True, stdout=subprocess.DEVNULL)
        for seed, cell in enumerate(GATES):
            sparse = Path(temporary) / "sparse.safetensors"
            write_checkpoint(sparse, cell, "F16", 3, 6, cell == "gru", 0.7, seed, 2)
            subprocess.run([sprnn, "pack", sparse, folder / f"{cell}-fp16-sparse-mma.sprnn", "--cell", cell, "--target",
                            "h100", "--strategy", "sparse-mma"], check=True, stdout=subprocess.DEVNULL)
        rest = Path(temporary) / "rest.safetensors"
        write_checkpoint(rest, "lstm", "F16", 3, 6, False, 0.7, 1)
        subprocess.run([sprnn, "pack", rest, folder / "lstm-fp16-sparse-mma-rest.sprnn", "--target", "h100", "--strategy",
                        "sparse-mma"], check=True, stdout=subprocess.DEVNULL)
        late = ["--batch", "17", "--groups", "1", "--asks-late", "on", "--row-parts", "2"]
        whole = ["--warps", "4", "--row-parts", "4", "--in-cluster", "on"]
        for name, choice in [("late", late), ("whole-rows", whole)]:
            subprocess.run([sprnn, "pack", checkpoint, folder / f"{cell}-fp16-dense-mma-{name}.sprnn", "--cell", cell,
                            "--target", "h100", "--dtype", "fp16", "--strategy", "dense-mma"] + choice,
                           check=True, stdout=subprocess.DEVNULL)


def make_plan():
    folder = CORPUS / "plan"
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(1)
    for i in range(40):
        (folder / f"{i:02}").write_bytes(bytes(rng.randrange(256) for _ in range(16)))


make_packed(sys.argv[1])
make_plan()
