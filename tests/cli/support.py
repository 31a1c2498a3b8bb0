"""Runs the real binary in a directory of its own and checks what it leaves behind."""

import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import unittest

from files import Array, save_npy, save_safetensors

BINARY = os.environ["SPRNN_BINARY"]


class Result:
    def __init__(self, completed):
        self.status = completed.returncode
        self.out = completed.stdout.decode()
        self.err = completed.stderr.decode()

    def __repr__(self):
        return f"status {self.status}\nstdout: {self.out}\nstderr: {self.err}"


def reject_constant(name):
    raise ValueError(f"{name} is not JSON")


class CliTest(unittest.TestCase):
    def setUp(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="sprnn-cli-"))
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def path(self, name):
        return self.directory / name

    def listing(self):
        return sorted(os.listdir(self.directory))

    def sprnn(self, *arguments, environment=None, **options):
        completed = subprocess.run([BINARY, *(word if isinstance(word, bytes) else str(word) for word in arguments)], cwd=self.directory, timeout=240,
                                   # What auto and local mean does not depend on the machine: it has no GPU.
                                   env={**os.environ, "CUDA_VISIBLE_DEVICES": "", **(environment or {})},
                                   **{"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE,
                                      "stderr": subprocess.PIPE, **options})
        completed.stdout = completed.stdout or b""
        completed.stderr = completed.stderr or b""
        return Result(completed)

    def succeed(self, *arguments, **options):
        result = self.sprnn(*arguments, **options)
        self.assertEqual(result.status, 0, result)
        self.assertEqual(result.err, "", "nothing on stderr that is not a terminal")
        return result

    def json(self, *arguments, status=0, **options):
        """Exactly one JSON object, without NaN or infinity."""
        result = self.sprnn(*arguments, "--json", **options)
        self.assertEqual(result.status, status, result)
        value = json.loads(result.out, parse_constant=reject_constant)
        self.assertIsInstance(value, dict)
        return value

    def refuse(self, *arguments, status=2, says=(), **options):
        """One line on stderr that holds all of `says`, nothing on stdout, and no file made or changed."""
        before = {name: self.path(name).read_bytes() for name in self.listing() if self.path(name).is_file()}
        listing = self.listing()
        result = self.sprnn(*arguments, **options)
        self.assertEqual(result.status, status, result)
        self.assertTrue(result.err.startswith("sprnn: error: "), result)
        self.assertEqual(result.err.count("\n"), 1, result)
        self.assertEqual(result.out, "")
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, result.err)
        self.assertEqual(self.listing(), listing)
        for name, content in before.items():
            self.assertEqual(self.path(name).read_bytes(), content, name)
        return result

    def save_model(self, model, name="model.safetensors", prefix="", **options):
        dtype = {"fp32": "F32", "fp16": "F16", "bf16": "BF16"}[model.dtype]
        save_safetensors(self.path(name), model.named(prefix), dtype, **options)
        return name

    def save_random(self, name, shape, seed=7, descr="<f4", scale=1.0):
        """Random values that float16 holds exactly, so that every dtype of the file says the same."""
        draw = random.Random(seed)
        values = [scale * draw.randint(-256, 256) / 256.0 for _ in range(math.prod(shape))]
        array = Array(shape, values)
        save_npy(self.path(name), array, descr)
        return array
