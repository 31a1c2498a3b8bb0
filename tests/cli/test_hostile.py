"""Files that lie, weights that cannot be, and interruptions: status 2 or the signal's, and nothing left behind."""

import json
import os
import pathlib
import pty
import signal
import struct
import subprocess
import time
import unittest

from files import Array, save_npy, save_safetensors
from oracle import Model
from support import BINARY, CliTest


def container(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


class HostileFiles(CliTest):
    def test_safetensors(self):
        self.save_model(Model("gru", 5, 8))
        good = self.path("model.safetensors").read_bytes()
        entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
        cases = {"empty": b"", "short": good[:7], "cut header": good[:50], "cut data": good[:-1], "tail": good + b"\0",
                 "huge header": struct.pack("<Q", 2**63) + good[8:], "long header": struct.pack("<Q", 2**40) + good[8:],
                 "not JSON": container(b"{..}"), "array": container([1]), "deep": container(b"[" * 100000),
                 "overlap": container({"a": entry, "b": {**entry, "data_offsets": [4, 12]}}, b"\0" * 12),
                 "gap": container({"a": entry, "b": {**entry, "data_offsets": [12, 20]}}, b"\0" * 20),
                 "beyond": container({"a": {**entry, "data_offsets": [0, 800]}}, b"\0" * 8),
                 "lying shape": container({"a": {**entry, "shape": [3]}}, b"\0" * 8),
                 "overflowing shape": container({"a": {**entry, "shape": [2**62, 2**62]}}, b"\0" * 8),
                 "negative shape": container({"a": {**entry, "shape": [-2]}}, b"\0" * 8),
                 "unknown dtype": container({"a": {**entry, "dtype": "F99"}}, b"\0" * 8),
                 "backwards": container({"a": {**entry, "data_offsets": [8, 0]}}, b"\0" * 8),
                 "twice": container(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},'
                                    b'"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}', b"\0" * 8),
                 "text": b"hello, world, this is no model at all\n"}
        for name, content in cases.items():
            with self.subTest(case=name):
                self.path("bad").write_bytes(content)
                self.refuse("inspect", "bad", says="bad")
                self.refuse("prune", "bad", "out", "--density", "0.5", says="bad")
                self.refuse("pack", "bad", "out", says="bad")

    def test_pickle_says_how_to_convert(self):
        for content in [b"PK\x03\x04\0\0\x08\x08" + b"\0" * 60, b"\x80\x02}q\x00." + b"\0" * 60]:
            self.path("m.pt").write_bytes(content)
            self.refuse("inspect", "m.pt", says=["pickle", "save_file"])

    def test_weights(self):
        for value, text in [(float("nan"), "nan"), (float("inf"), "inf")]:
            model = Model("gru", 5, 8)
            model.tensors["weight_hh_l0"].values[13] = value
            self.save_model(model)
            self.save_random("x.npy", (3, 1, 5))
            for verb in [["run", "model.safetensors", "--input", "x.npy", "--output", "y.npy"],
                         ["pack", "model.safetensors", "m.sprnn"], ["verify", "model.safetensors"],
                         ["prune", "model.safetensors", "out", "--density", "0.5"]]:
                self.refuse(*verb, says=["weight_hh_l0", text, "5"])  # row 1, column 5
            shown = self.sprnn("inspect", "model.safetensors")
            self.assertEqual(shown.status, 2, shown)
            self.assertIn("weight_hh_l0", shown.err)

    def test_overflow_of_the_dtype(self):
        model = Model("gru", 5, 8)
        model.tensors["weight_ih_l0"].values[3] = 1e6
        self.save_model(model)
        self.refuse("pack", "model.safetensors", "m.sprnn", "--dtype", "fp16", says=["weight_ih_l0", "fp16"])
        self.succeed("pack", "model.safetensors", "m.sprnn", "--dtype", "bf16")

    def test_shapes_and_cells(self):
        good = Model("lstm", 5, 8, layers=2).tensors
        cases = {"missing": {k: v for k, v in good.items() if k != "weight_hh_l1"},
                 "rank": {**good, "weight_hh_l0": Array((32, 8, 1), [0.5] * 256)},
                 "type": {**good, "weight_hh_l0": (Array((32, 8), [1] * 256), "I64")},
                 "bias": {**good, "bias_hh_l0": Array((31,), [0.5] * 31)},
                 "empty": {"weight_ih_l0": Array((0, 5), []), "weight_hh_l0": Array((0, 0), [])},
                 "two gates": {"weight_ih_l0": Array((16, 5), [0.5] * 80), "weight_hh_l0": Array((16, 8), [0.5] * 128)}}
        for name, tensors in cases.items():
            with self.subTest(case=name):
                save_safetensors(self.path("m"), tensors)
                self.refuse("pack", "m", "out.sprnn", says=["m: "])
                self.refuse("prune", "m", "out", "--density", "0.5", says=["m: "])
        self.save_model(Model("lstm", 5, 8))
        self.refuse("pack", "model.safetensors", "out.sprnn", "--cell", "gru", says=["gru", "lstm"])

    def test_names_cannot_steer_the_terminal(self):
        save_safetensors(self.path("m"), Model("gru", 5, 8).named("\x1b]0;evil\x07."))
        self.assertNotIn("\x1b", self.succeed("inspect", "m").out)

    def test_packed_files(self):
        self.save_model(Model("gru", 5, 8, density=0.5))
        self.save_random("x.npy", (3, 1, 5))
        for target in ["cpu", "h100"]:
            self.succeed("pack", "model.safetensors", "good.sprnn", "--target", target)
            good = self.path("good.sprnn").read_bytes()
            for name, content in {"cut": good[:-1], "half": good[: len(good) // 2], "magic": good[:9],
                                  "tail": good + b"\0", "version": good[:8] + b"\xff\xff\xff\xff" + good[12:]}.items():
                with self.subTest(case=name, target=target):
                    self.path("bad").write_bytes(content)
                    for verb in [["inspect", "bad"], ["explain", "bad"], ["verify", "bad"],
                                 ["run", "bad", "--input", "x.npy", "--output", "y.npy"]]:
                        self.refuse(*verb, says="bad")

    def test_wrong_kinds_of_file(self):
        self.refuse("inspect", ".", says="directory")
        self.refuse("inspect", "/dev/null", says="/dev/null")
        os.mkfifo(self.path("pipe"))
        self.refuse("inspect", "pipe", says="pipe")
        self.save_model(Model("gru", 5, 8))
        self.save_random("x.npy", (3, 1, 5))
        self.refuse("run", "x.npy", "--input", "x.npy", "--output", "y.npy", says="x.npy")
        self.refuse("run", "model.safetensors", "--input", "model.safetensors", "--output", "y.npy", says=".npy")

    def test_full_disk(self):
        self.save_model(Model("gru", 5, 8))
        self.save_random("x.npy", (3, 1, 5))
        for verb in [["run", "model.safetensors", "--input", "x.npy", "--output", "/dev/full"],
                     ["pack", "model.safetensors", "/dev/full"]]:
            self.refuse(*verb, says=["/dev/full", "No space left on device"])
        self.assertTrue(pathlib.Path("/dev/full").is_char_device())

    def test_file_size_limit(self):
        # What a quota does: the write fails half-way. The signal that comes first must clean up too.
        self.save_model(Model("gru", 5, 64))
        before = self.listing()
        command = f'ulimit -f 8; exec "{BINARY}" pack model.safetensors m.sprnn --target cpu'
        for prefix, statuses in [("", (-signal.SIGXFSZ,)), ("trap '' XFSZ; ", (2,))]:
            completed = subprocess.run(["sh", "-c", prefix + command], cwd=self.directory, stderr=subprocess.PIPE,
                                       stdout=subprocess.PIPE, timeout=60)
            self.assertIn(completed.returncode, statuses, completed)
            self.assertEqual(self.listing(), before)


class Interruptions(CliTest):
    def slow_run(self, steps):
        """A long run in the reference engine."""
        self.save_model(Model("lstm", 8, 64))
        save_npy(self.path("x.npy"), Array((steps, 8), [0.5] * (steps * 8)))
        return [BINARY, "run", "model.safetensors", "--input", "x.npy", "--output", "y.npy", "--engine", "reference",
                "--threads", "1"]

    def test_signals_end_the_process_as_themselves(self):
        command = self.slow_run(200000)
        before = self.listing()
        for number in [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]:
            process = subprocess.Popen(command, cwd=self.directory, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
            time.sleep(0.5)
            process.send_signal(number)
            _, err = process.communicate(timeout=60)
            self.assertEqual((process.returncode, err), (-number, b""))
            self.assertEqual(self.listing(), before)

    def test_signal_while_a_file_is_written(self):
        # Sent as soon as a temporary file appears in the directory.
        self.save_model(Model("lstm", 256, 256))
        before = self.listing()
        caught = 0
        for _ in range(20):
            process = subprocess.Popen([BINARY, "prune", "model.safetensors", "out.safetensors", "--density", "0.5"],
                                       cwd=self.directory, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
            while process.poll() is None and not caught:
                if self.listing() != before:
                    process.send_signal(signal.SIGINT)
                    break
            status = process.wait(timeout=60)
            if status == -signal.SIGINT:
                self.assertIn(self.listing(), (before, before + ["out.safetensors"]))
                caught += self.listing() == before
            else:
                self.assertEqual(status, 0)
            self.path("out.safetensors").unlink(missing_ok=True)
            self.assertEqual(self.listing(), before)
            if caught:
                return
        self.fail("no signal came while the temporary file was there, in 20 runs")

    def watched(self, command):
        """What the command shows on a terminal, when for the first time, and how long it runs, in seconds."""
        master, slave = pty.openpty()
        started = time.monotonic()
        process = subprocess.Popen(command, cwd=self.directory, stdout=subprocess.DEVNULL, stderr=slave)
        os.close(slave)
        shown, first = b"", None
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:  # the program has closed the other end
                break
            first = first or time.monotonic() - started
            shown += data
        seconds = time.monotonic() - started
        self.assertEqual(process.wait(timeout=60), 0)
        os.close(master)
        return shown, first, seconds

    def watched_for_long(self, work, command_of):
        """A command with as much work as takes this machine long enough, what it shows, and when first.

        The watched run itself is timed: beside other tests two runs of one command can differ by a factor.
        """
        while True:
            command = command_of(work)
            shown, first, seconds = self.watched(command)
            if shown or seconds > 10:
                return command, shown, first
            work = int(work * min(20.0, max(1.5, 4.0 / seconds)))

    def test_progress_of_inspect(self):
        one = Array((1, 1), [1.0])

        def inspect(modules):
            save_safetensors(self.path("m"), {f"m{i}.weight_{kind}_l0": one for i in range(modules)
                                              for kind in ("ih", "hh")})
            return [BINARY, "inspect", "m"]

        _, shown, _ = self.watched_for_long(4000, inspect)
        self.assertRegex(shown, rb"reading m|counting non-zeros \[#")

    def test_progress_on_a_terminal_only(self):
        command, shown, first = self.watched_for_long(10000, self.slow_run)
        self.assertIn(b"running [#", shown)
        self.assertGreater(first, 1.9)
        self.assertTrue(shown.endswith(b"\r\x1b[K"))  # wiped at the end
        watched = self.path("y.npy").read_bytes()

        completed = subprocess.run(command, cwd=self.directory, stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                                   timeout=240)
        self.assertEqual((completed.returncode, completed.stderr), (0, b""))
        self.assertEqual(self.path("y.npy").read_bytes(), watched)  # in chunks or in one call: the same bits


if __name__ == "__main__":
    unittest.main()
