"""verify, bench and sweep."""

import math
import os
import unittest

from files import Array, save_npy, save_safetensors
from oracle import Model
from support import CliTest


def growing(factor):
    """A relu of 8 units whose state grows by the factor at each step."""
    diagonal = [factor * (i % 9 == 0) for i in range(64)]
    return {"weight_ih_l0": Array((8, 8), diagonal), "weight_hh_l0": Array((8, 8), diagonal)}


class Verify(CliTest):
    def test_every_engine_passes(self):
        self.save_model(Model("lstm", 16, 48, layers=2, density=0.3))
        for engine in ["cpu", "interpreter", "reference", "auto"]:
            result = self.json("verify", "model.safetensors", "--batch", "2", "--steps", "20", "--engine", engine)
            self.assertTrue(result["passed"], result)
            self.assertLessEqual(result["rel_error"], result["bound"])
            self.assertEqual((result["batch"], result["steps"], result["seed"]), (2, 20, 0))
            if engine != "auto":
                self.assertEqual(result["engine"], engine)

    def test_dtypes_seed_and_text(self):
        self.save_model(Model("gru", 16, 48, density=0.3))
        for dtype in ["fp16", "bf16"]:
            result = self.json("verify", "model.safetensors", "--steps", "20", "--seed", "7", "--dtype", dtype)
            self.assertEqual((result["dtype"], result["seed"], result["passed"]), (dtype, 7, True))
        text = self.succeed("verify", "model.safetensors", "--steps", "5").out
        self.assertIn("passed", text)
        self.assertIn("bound", text)

    def test_packed_file(self):
        self.save_model(Model("gru", 16, 48, density=0.3))
        self.succeed("pack", "model.safetensors", "m.sprnn", "--target", "h100")
        self.assertEqual(self.json("verify", "m.sprnn", "--steps", "5", "--engine", "interpreter")["engine"], "interpreter")
        self.refuse("verify", "m.sprnn", "--steps", "5", "--engine", "cpu", says="cpu")
        self.refuse("verify", "m.sprnn", "--isa", "scalar", "--engine", "interpreter", says="--isa")

    def test_a_failed_check_is_status_1(self):
        # A relu that grows without bound: float32 overflows where float64 does not, so no check can pass.
        save_safetensors(self.path("m"), growing(3e4))
        result = self.json("verify", "m", "--cell", "relu", "--steps", "64", status=1)
        self.assertFalse(result["passed"])
        self.assertLess(result["overflow_step"], 63)
        text = self.sprnn("verify", "m", "--cell", "relu", "--steps", "64")
        self.assertEqual(text.status, 1, text)
        self.assertIn("FAILED: with this input the model's own values leave the range of fp32", text.out)
        self.assertIn("relative error nan", text.out)

    def test_a_state_that_fades_away_does_not_widen_the_bound(self):
        # Without weights or biases an lstm's cell state halves at each step, until float32 has no more of it.
        zeros = {"weight_ih_l0": Array((32, 4), [0.0] * 128), "weight_hh_l0": Array((32, 8), [0.0] * 256)}
        save_safetensors(self.path("m"), zeros)
        result = self.json("verify", "m", "--steps", "256")
        self.assertTrue(result["passed"])
        self.assertGreater(result["bound"], 1)  # of the final state; y has its own
        self.assertLess(result["rel_error"], result["bound"])


class Bench(CliTest):
    def check(self, result):
        self.assertGreater(result["us_per_step"], 0)
        self.assertLessEqual(result["us_per_step_min"], result["us_per_step"])
        self.assertGreaterEqual(result["threads"], 1)
        for key in ["isa", "dtype", "peers"]:
            self.assertIn(key, result)
        for peer in result["peers"]:
            self.assertTrue(peer["name"])
            self.assertTrue(peer.get("refused") or peer["us_per_step"] > 0, peer)

    def test_random_layer(self):
        result = self.json("bench", "--cell", "lstm", "--hidden", "32", "--density", "0.25", "--steps", "20", "--engine",
                           "cpu", "--threads", "1")
        self.check(result)
        self.assertEqual((result["dtype"], result["threads"]), ("fp32", 1))
        self.assertTrue(result["peers"])

    def test_pattern_input_and_dtype(self):
        result = self.json("bench", "--cell", "gru", "--hidden", "32", "--input", "16", "--density", "0.5",
                           "--input-density", "0.25", "--pattern", "block:8x4", "--steps", "20", "--dtype", "bf16",
                           "--no-peers", "--isa", "scalar")
        self.check(result)
        self.assertEqual((result["dtype"], result["isa"], result["peers"]), ("bf16", "scalar", []))

    def test_model(self):
        self.save_model(Model("gru", 16, 24, density=0.3))
        self.succeed("pack", "model.safetensors", "m.sprnn", "--target", "cpu")
        for file in ["model.safetensors", "m.sprnn"]:
            self.check(self.json("bench", file, "--steps", "20", "--batch", "2", "--no-peers"))
        self.assertIn("us", self.succeed("bench", "m.sprnn", "--steps", "20", "--no-peers").out)

    def test_python(self):
        layer = ["bench", "--cell", "lstm", "--hidden", "8", "--steps", "1"]
        self.path("plain").write_text("#!/bin/sh\nexit 3\n")
        for program in ["no-such-python", "./no-such-python", "./plain", ".", ""]:
            self.refuse(*layer, "--python", program, says=f"--python is '{program}'")
        self.path("plain").chmod(0o755)
        self.refuse(*layer, "--python", "plain", says="--python is 'plain'")  # not in PATH
        self.refuse(*layer, "--python", "./plain", "--no-peers", says=["--python", "--no-peers"])
        found = {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        text = self.succeed(*layer, "--threads", "1", "--python", "plain", environment=found).out
        self.assertIn(", 1 thread, fp32, batch 1, 1 step\n", text)
        self.assertIn("  onnxruntime fp32  refused: ", text)  # the longest name keeps its distance
        self.assertIn("  us a step             median", text)

    def test_chaotic_weights(self):
        # A reverse direction is compared over a fifth of the steps, where such weights have amplified any rounding.
        model = Model("tanh", 5, 32, bidirectional=True)
        for name, array in model.tensors.items():
            if name.startswith("weight"):
                array.values = [6.0 * value for value in array.values]
        self.save_model(model)
        self.assertTrue(self.json("verify", "model.safetensors", "--steps", "256")["passed"])
        self.assertGreater(self.json("bench", "model.safetensors", "--no-peers", "--steps", "256")["rel_error"], 1e-4)
        self.succeed("sweep", "model.safetensors", "--densities", "0.5", "--steps", "256")

    def test_values_that_leave_the_range_of_the_type(self):
        save_safetensors(self.path("m"), growing(60.0), "F16")
        for verb in [["bench", "m", "--no-peers"], ["sweep", "m", "--densities", "0.5"]]:
            self.refuse(*verb, "--cell", "relu", "--steps", "64", says=["range of fp16 at timestep", "bf16 or fp32"])

    def test_refusals(self):
        for verb in [["bench", "--cell", "lstm", "--hidden", "8"], ["sweep", "missing"]]:
            self.refuse(*verb, "--steps", "1000001", says=["--steps is '1000001'", "from 1 to 1000000"])
        self.refuse("bench", says=["MODEL", "--cell"])
        self.refuse("bench", "--cell", "lstm", says="--hidden")
        self.refuse("bench", "--hidden", "64", says=["--hidden 64", "--cell lstm"])
        self.refuse("bench", "--cell", "lstm", "--hidden", "0", says="--hidden")
        self.refuse("bench", "--cell", "lstm", "--hidden", "8", "--density", "2", says="--density")
        self.refuse("bench", "--cell", "lstm", "--hidden", "8", "--prefix", "a.", says="--prefix")
        self.refuse("bench", "m", "--hidden", "8", says="--hidden")
        self.refuse("bench", "--cell", "lstm", "--hidden", "8", "--engine", "cuda", status=3, says="NVIDIA")

    def test_what_has_no_room_is_refused_before_it_is_tried(self):
        self.refuse("bench", "--cell", "lstm", "--hidden", "1048576", says=["hidden 1048576", "GB of memory"])
        self.save_model(Model("lstm", 300, 600))
        for verb in ["bench", "verify"]:
            self.refuse(verb, "model.safetensors", "--steps", "1000000", "--batch", "4096",
                        says=["1000000 steps of batch 4096", "GB of memory"])


class Sweep(CliTest):
    def test_table(self):
        model = Model("gru", 12, 24)
        self.save_model(model)
        x = self.save_random("x.npy", (12, 2, 12))
        result = self.json("sweep", "model.safetensors", "--input", "x.npy", "--densities", "1,0.25", "--engine", "cpu")
        self.assertEqual([row["density"] for row in result["rows"]], [1, 0.25])
        self.assertLess(result["rows"][0]["rel_error"], 1e-5)
        self.assertGreater(result["rows"][1]["rel_error"], 1e-3)
        text = self.succeed("sweep", "model.safetensors", "--steps", "12", "--densities", "1,0.5", "--keep-input").out
        self.assertIn("50.0%", text)
        self.assertEqual(self.listing(), ["model.safetensors", "x.npy"])
        self.assertEqual(len(x.values), 12 * 2 * 12)

    def test_refusals(self):
        self.save_model(Model("gru", 12, 24))
        self.save_random("x.npy", (12, 2, 11))
        self.refuse("sweep", "model.safetensors", "--input", "x.npy", says=["x (x.npy) has shape [12, 2, 11]", "[T, B, 12]"])
        self.refuse("sweep", "model.safetensors", "--input", "x.npy", "--batch", "2", says="--batch")
        self.refuse("sweep", "model.safetensors", "--densities", "0.5,2", says="--densities")

    def test_what_cannot_run_is_refused_before_anything_is_timed(self):
        self.save_model(Model("lstm", 1, 256))
        long = ["sweep", "model.safetensors", "--batch", "4", "--steps", "200000"]  # the reference takes minutes
        self.refuse(*long, "--pattern", "2:4", "--densities", "0.3", says=["2:4", "0.3"])
        self.refuse(*long, "--strategy", "gather", says="GPU")
        self.refuse(*long, "--engine", "cuda", status=3, says="NVIDIA")

    def test_input_without_an_error_to_measure(self):
        self.save_model(Model("gru", 2, 8, dtype="fp16"))
        for value, says in [(math.nan, "x[1, 0, 1] (x.npy) is nan, expected finite"), (math.inf, "x[1, 0, 1] (x.npy) is inf"),
                            (1e6, "x[1, 0, 1] (x.npy) is 1000000, too large for fp16")]:
            save_npy(self.path("x.npy"), Array((2, 3, 2), [0.5] * 7 + [value] + [0.5] * 4))
            self.refuse("sweep", "model.safetensors", "--input", "x.npy", "--densities", "0.5", says=says)
        self.succeed("sweep", "model.safetensors", "--input", "x.npy", "--densities", "0.5", "--dtype", "bf16")

    def test_a_pattern_of_its_own_density(self):
        self.save_model(Model("gru", 12, 24))
        result = self.json("sweep", "model.safetensors", "--steps", "12", "--pattern", "2:4", "--engine", "cpu")
        self.assertEqual([row["density"] for row in result["rows"]], [1, 0.5])


if __name__ == "__main__":
    unittest.main()
