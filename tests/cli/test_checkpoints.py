"""inspect, prune, pack and explain: what they show, what they write, what they leave alone."""

import json
import os
import struct
import subprocess
import unittest

from files import Array, load_safetensors, save_safetensors
from oracle import Model
from support import BINARY, CliTest


class Inspect(CliTest):
    def test_a_large_file_is_in_memory_once(self):
        size = 256 << 20
        header = json.dumps({"embedding": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
        with open(self.path("large.safetensors"), "wb") as file:
            file.write(struct.pack("<Q", len(header)) + header)
            file.truncate(8 + len(header) + size)
        child = subprocess.Popen([BINARY, "inspect", self.path("large.safetensors")], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.assertLess(usage.ru_maxrss * 1024, 1.75 * size)

    def test_module(self):
        model = Model("lstm", 6, 16, layers=2, bidirectional=True, projection=5, density=0.4)
        self.save_model(model, prefix="encoder.rnn.", metadata={"format": "pt"})
        shown = self.json("inspect", "model.safetensors")
        self.assertEqual((shown["kind"], shown["metadata"], shown["tensors"]), ("checkpoint", {"format": "pt"}, 20))
        (module,) = shown["modules"]
        expected = {"prefix": "encoder.rnn.", "cell": "lstm", "num_layers": 2, "bidirectional": True, "input_size": 6,
                    "hidden_size": 16, "projection_size": 5, "bias": True, "dtype": "fp32", "problem": None}
        self.assertEqual({key: module[key] for key in expected}, expected)
        self.assertEqual(len(module["matrices"]), 12)
        for matrix in module["matrices"]:
            array = model.tensors[matrix["name"]]
            self.assertEqual((matrix["shape"], matrix["nonzeros"]), (list(array.shape), array.nonzeros()))
            self.assertAlmostEqual(matrix["density"], array.nonzeros() / len(array.values))
            counts = [sum(1 for value in row if value != 0.0) for row in array.rows()]
            shown_rows = matrix["row_nonzeros"]
            self.assertEqual((shown_rows["min"], shown_rows["max"]), (min(counts), max(counts)))
            for bin in shown_rows["histogram"]:
                self.assertEqual(bin["rows"], sum(bin["from"] <= count <= bin["to"] for count in counts))
            self.assertEqual(sum(bin["rows"] for bin in shown_rows["histogram"]), len(counts))

    def test_negative_zeros_are_pointed_out(self):
        tensors = {"weight_ih_l0": Array((8, 8), [-0.0] * 3 + [1.0] * 61), "weight_hh_l0": Array((8, 8), [1.0] * 64)}
        save_safetensors(self.path("m"), tensors)
        self.assertIn("3 of the non-zeros are -0.0", self.succeed("inspect", "m").out)
        self.succeed("prune", "m", "m", "--density", "1", "--input-density", "0.9")
        self.assertNotIn("-0.0", self.succeed("inspect", "m").out)

    def test_names_of_a_packed_file_do_not_steer_the_terminal(self):
        self.save_model(Model("gru", 6, 16))
        device = self.json("devices", "h100")
        device["name"] = "evil\x1b[31m\r\n"
        self.path("d.json").write_text(json.dumps(device))
        text = self.succeed("explain", "model.safetensors", "--target", "d.json").out
        self.assertIn("evil\\x1b[31m\\x0d\\x0a", text)

    def test_the_name_of_the_file_does_not_either(self):
        self.save_model(Model("gru", 6, 16), "evil\x1b[31m")
        self.assertTrue(self.succeed("inspect", "evil\x1b[31m").out.startswith("evil\\x1b[31m: checkpoint"))
        self.succeed("pack", "evil\x1b[31m", "evil\x1b[32m", "--target", "cpu")
        self.assertTrue(self.succeed("inspect", "evil\x1b[32m").out.startswith("evil\\x1b[32m: packed"))

    def test_time_is_linear_in_the_number_of_modules(self):
        def seconds(modules):
            one = Array((1, 1), [1.0])
            save_safetensors(self.path("m"), {f"m{i}.weight_{kind}_l0": one for i in range(modules)
                                              for kind in ("ih", "hh")})
            child = subprocess.Popen([BINARY, "inspect", "m"], cwd=self.directory, stdout=subprocess.DEVNULL)
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(child.returncode, 0)
            return usage.ru_utime

        self.assertLess(seconds(4000), 10 * seconds(1000))  # 16 and more where it is quadratic

    def test_text(self):
        self.save_model(Model("gru", 6, 16, density=0.4), prefix="a.")
        text = self.succeed("inspect", "model.safetensors").out
        for word in ['module "a."', "gru", "input 6", "hidden 16", "weight_hh_l0 [48, 16]", "density", "|###"]:
            self.assertIn(word, text)

    def test_all_modules_also_the_unreadable(self):
        tensors = {**Model("gru", 6, 8).named("enc."), **Model("lstm", 6, 8).named("dec.")}
        tensors["bad.weight_ih_l0"] = Array((5, 6), [0.0] * 30)
        tensors["bad.weight_hh_l0"] = Array((7, 6), [0.0] * 42)
        save_safetensors(self.path("model.safetensors"), tensors)
        modules = {module["prefix"]: module for module in self.json("inspect", "model.safetensors")["modules"]}
        self.assertEqual({prefix: bool(module["problem"]) for prefix, module in modules.items()},
                         {"enc.": False, "dec.": False, "bad.": True})
        self.assertIn("cannot be read", self.succeed("inspect", "model.safetensors").out)
        only = self.json("inspect", "model.safetensors", "--prefix", "dec")["modules"]
        self.assertEqual([module["prefix"] for module in only], ["dec."])
        self.refuse("inspect", "model.safetensors", "--prefix", "x.", says=["'x.'", "enc.", "dec.", "bad."])
        shown = self.sprnn("inspect", "model.safetensors", "--prefix", "bad.")
        self.assertEqual(shown.status, 2, shown)

    def test_no_module(self):
        save_safetensors(self.path("m"), {"fc.weight": Array((2, 2), [1.0] * 4)})
        self.refuse("inspect", "m", says=["no recurrent module", "weight_hh_l0"])

    def test_dtypes_cells_and_names_of_cells(self):
        for dtype in ["fp32", "fp16", "bf16"]:
            self.save_model(Model("tanh", 4, 6, dtype=dtype))
            (module,) = self.json("inspect", "model.safetensors")["modules"]
            self.assertEqual((module["cell"], module["dtype"]), ("tanh", dtype))
        (module,) = self.json("inspect", "model.safetensors", "--cell", "relu", "--dtype", "fp32")["modules"]
        self.assertEqual((module["cell"], module["dtype"]), ("relu", "fp32"))
        cell = {name.replace("_l0", ""): array for name, array in Model("gru", 4, 6).tensors.items()}
        save_safetensors(self.path("m"), cell)
        (module,) = self.json("inspect", "m")["modules"]
        self.assertEqual((module["cell"], module["num_layers"]), ("gru", 1))

    def test_packed(self):
        model = Model("gru", 6, 16, layers=2, density=0.3)
        self.save_model(model)
        self.succeed("pack", "model.safetensors", "m.sprnn", "--target", "h100", "--batch", "4")
        shown = self.json("inspect", "m.sprnn")
        self.assertEqual((shown["kind"], shown["device"], shown["batch"]), ("packed", "h100", 4))
        checkpoint = self.json("inspect", "model.safetensors")
        for key in ["cell", "num_layers", "hidden_size", "dtype", "matrices"]:
            self.assertEqual(shown["modules"][0][key], checkpoint["modules"][0][key])
        self.assertIn("packed for h100", self.succeed("inspect", "m.sprnn").out)


class Prune(CliTest):
    def prune(self, *options, model, out="out.safetensors"):
        self.save_model(model)
        report = self.json("prune", "model.safetensors", out, *options)
        arrays, _, _ = load_safetensors(self.path(out))
        return report, {name: array for name, (array, _) in arrays.items()}

    def check_largest_are_kept(self, before, after, keep):
        self.assertEqual(after.nonzeros(), keep)
        kept = [abs(value) for value in after.values if value != 0.0]
        lost = [abs(old) for old, new in zip(before.values, after.values) if new == 0.0]
        self.assertGreaterEqual(min(kept), max(lost))
        for old, new in zip(before.values, after.values):
            self.assertIn(new, (old, 0.0))

    def test_density_and_report(self):
        model = Model("lstm", 6, 16, layers=2)
        report, pruned = self.prune("--density", "0.25", model=model)
        for matrix in report["matrices"]:
            before, after = model.tensors[matrix["name"]], pruned[matrix["name"]]
            if "_ih" in matrix["name"]:
                self.assertEqual(before, after)
                continue
            self.check_largest_are_kept(before, after, 256)
            counts = [sum(1 for value in row if value != 0.0) for row in after.rows()]
            self.assertEqual((matrix["wanted"], matrix["reached"]), (0.25, 0.25))
            self.assertEqual((matrix["min_row"], matrix["max_row"]), (min(counts), max(counts)))
            lost = sum((old - new) ** 2 for old, new in zip(before.values, after.values))
            self.assertAlmostEqual(matrix["norm_lost"], (lost / sum(old**2 for old in before.values)) ** 0.5, 6)
        self.assertTrue({"weight_hh_l0", "weight_hh_l1"} <= {matrix["name"] for matrix in report["matrices"]})
        text = self.succeed("prune", "model.safetensors", "out.safetensors", "--density", "0.25").out
        for word in ["weight_hh_l1", "wanted", "reached", "norm lost", "0.2500"]:
            self.assertIn(word, text)

    def test_minus_zero_is_zero(self):
        self.save_model(Model("tanh", 4, 6))
        self.assertNotIn("-0", self.succeed("prune", "model.safetensors", "o", "--density", "-0").out)

    def test_separate_densities(self):
        model = Model("gru", 8, 8, layers=2)
        _, pruned = self.prune("--density", "0.5", "--input-density", "0.25", model=model)
        self.assertEqual([pruned[f"weight_{m}_l{layer}"].nonzeros() for layer in (0, 1) for m in ("hh", "ih")],
                         [96, 48, 96, 48])
        _, pruned = self.prune("--layer-density", "0.5,0.25", "--layer-input-density", "1,0", model=model)
        self.assertEqual([pruned[f"weight_{m}_l{layer}"].nonzeros() for layer in (0, 1) for m in ("hh", "ih")],
                         [96, 192, 48, 0])
        _, pruned = self.prune("--input-density", "0.5", model=model)
        self.assertEqual([pruned[f"weight_{m}_l0"].nonzeros() for m in ("hh", "ih")], [192, 96])

    def test_patterns(self):
        model = Model("lstm", 8, 16)
        for pattern, density in [("row", "0.25"), ("block:4x2", "0.25"), ("unit:4x1", "0.25"), ("2:4", None),
                                 ("global", "0.25"), ("unstructured", "0.25")]:
            with self.subTest(pattern=pattern):
                options = ["--density", density] if density else []
                report, pruned = self.prune("--pattern", pattern, *options, model=model)
                self.assertEqual(report["pattern"], pattern)
                expected = 0.25 if density else 0.5
                self.assertAlmostEqual(pruned["weight_hh_l0"].nonzeros() / 1024, expected)

    def test_other_tensors_and_metadata_pass_through(self):
        model = Model("gru", 6, 8, dtype="fp16")
        tensors = {"step": (Array((), [-7]), "I64"), **{name: (array, "F16") for name, array in model.named("r.").items()},
                   "fc.weight": (Array((3, 5), [float("nan")] * 15), "F32"), "tail": (Array((0, 4), []), "U8")}
        save_safetensors(self.path("in.safetensors"), tensors, metadata={"format": "pt", "note": "a\nb"})
        self.succeed("prune", "in.safetensors", "out.safetensors", "--density", "0.5")
        before, raw_before, metadata_before = load_safetensors(self.path("in.safetensors"))
        after, raw_after, metadata_after = load_safetensors(self.path("out.safetensors"))
        self.assertEqual(metadata_after, metadata_before)
        self.assertEqual(set(after), set(before))
        for name in before:
            self.assertEqual(after[name][1], before[name][1])
            if name != "r.weight_hh_l0":
                self.assertEqual(raw_after[name], raw_before[name], name)
        self.assertEqual(after["r.weight_hh_l0"][0].nonzeros(), 96)

    def test_in_place(self):
        model = Model("gru", 6, 8)
        self.save_model(model)
        os.chmod(self.path("model.safetensors"), 0o640)
        before = self.listing()
        self.succeed("prune", "model.safetensors", "model.safetensors", "--density", "0.5")
        self.assertEqual(self.listing(), before)
        arrays, _, _ = load_safetensors(self.path("model.safetensors"))
        self.assertEqual(arrays["weight_hh_l0"][0].nonzeros(), 96)
        self.assertEqual(os.stat(self.path("model.safetensors")).st_mode & 0o777, 0o640)

    def test_several_modules(self):
        save_safetensors(self.path("m"), {**Model("gru", 6, 8).named("enc."), **Model("gru", 6, 8).named("dec.")})
        self.refuse("prune", "m", "out", "--density", "0.5", says=["--prefix", "enc.", "dec."])
        self.succeed("prune", "m", "m", "--density", "0.5", "--prefix", "dec.")
        arrays, _, _ = load_safetensors(self.path("m"))
        self.assertEqual([arrays[p + "weight_hh_l0"][0].nonzeros() for p in ("enc.", "dec.")], [192, 96])

    def test_refusals(self):
        self.save_model(Model("gru", 6, 8, layers=2))
        file = "model.safetensors"
        for density in ["1.5", "-0.1", "nan", "inf", "x", "", "0.5x"]:
            self.refuse("prune", file, "out", "--density", density, says=["--density", f"'{density}'", "0"])
        self.refuse("prune", file, "out", says="--density")
        self.refuse("prune", file, "out", "--layer-density", "0.5", says=["1", "2"])
        self.refuse("prune", file, "out", "--layer-density", "0.5,,0.5", says="--layer-density")
        for pattern in ["diagonal", "block:0x1", "block:4", "5:4", "unit:1x", "4:0"]:
            self.refuse("prune", file, "out", "--density", "0.5", "--pattern", pattern, says=pattern)
        self.refuse("prune", file, "nowhere/out", "--density", "0.5", says="nowhere")
        self.refuse("prune", file, ".", "--density", "0.5", says="directory")
        self.refuse("prune", file, "/dev/full", "--density", "0.5", says="No space left on device")
        self.succeed("pack", file, "m.sprnn", "--target", "cpu")
        self.refuse("prune", "m.sprnn", "out", "--density", "0.5", says="packed")


class Pack(CliTest):
    def test_targets(self):
        self.save_model(Model("lstm", 8, 32, layers=2, density=0.2))
        for target in ["cpu", "h100", "h200", "a100", "local"]:
            report = self.json("pack", "model.safetensors", "m.sprnn", "--target", target, "--batch", "4")
            self.assertEqual(report["device"], "cpu" if target == "local" else target)
            self.assertEqual(report["batch"], 4)
            self.assertEqual([d["layer"] for d in report["directions"]], [0, 1])
            self.assertTrue(report["directions"][0]["figures"])
            self.assertGreater(report["packed_bytes"], 0)
        text = self.succeed("pack", "model.safetensors", "m.sprnn", "--target", "h100").out
        self.assertIn("packed for h100", text)
        self.assertIn("layer 1", text)
        self.assertEqual(self.listing(), ["m.sprnn", "model.safetensors"])

    def test_switches_of_the_gpu_plan(self):
        self.save_model(Model("lstm", 8, 64, density=0.2))
        target = ["--target", "h100", "--batch", "4", "--dtype", "fp16"]
        switches = ["--groups", "2", "--ctas", "8", "--warps", "8", "--lanes", "4", "--poll-wait", "37", "--no-stamps",
                    "--no-wide-loads", "--no-bank-order", "--fence", "--opaque-pairs", "on"]
        plan = self.json("explain", "model.safetensors", *target, *switches)["directions"][0]["choice"]
        self.assertEqual((plan["groups"], plan["ctas"], plan["warps"], plan["w_hh"]["lanes"]), (2, 8, 8, 4))
        self.assertEqual((plan["poll_wait_cycles"], plan["word_bytes"]), (37, 2))
        self.assertEqual((plan["stamps"], plan["bank_order"], plan["fence"], plan["opaque_pairs"]),
                         (False, False, True, True))
        # pack and the interpreter take them too; a packed file has its plan already, but explain plans anew.
        self.succeed("pack", "model.safetensors", "m.sprnn", *target, *switches)
        self.assertEqual(self.json("explain", "m.sprnn")["directions"][0]["choice"], plan)
        anew = self.json("explain", "m.sprnn", "--batch", "4", "--groups", "1")
        self.assertEqual((anew["device"]["name"], anew["directions"][0]["choice"]["groups"]), ("h100", 1))
        self.assertTrue(self.json("verify", "model.safetensors", "--engine", "interpreter", "--batch", "4", "--steps",
                                  "4", "--dtype", "fp16", *switches)["passed"])
        self.refuse("verify", "m.sprnn", "--engine", "interpreter", "--no-stamps", says=["m.sprnn", "plan"])
        self.refuse("explain", "model.safetensors", "--target", "cpu", "--groups", "2", says=["GPU", "cpu"])
        self.refuse("explain", "model.safetensors", *target, "--groups", "300", says=["groups", "300"])
        self.refuse("explain", "model.safetensors", *target, "--warps", "5", says=["warps", "multiple of 4"])
        self.refuse("explain", "model.safetensors", *target, "--opaque-pairs", "maybe", says=["maybe", "on or off"])

    def test_compile(self):
        self.save_model(Model("gru", 8, 32, density=0.2))
        self.succeed("pack", "model.safetensors", "h100.sprnn", "--target", "h100", "--dtype", "fp16")
        self.succeed("pack", "model.safetensors", "cpu.sprnn", "--target", "cpu")
        self.refuse("compile", "model.safetensors", "--out", "code", says=["model.safetensors", "pack"])
        self.refuse("compile", "cpu.sprnn", "--out", "code", says="cpu")
        self.refuse("compile", "h100.sprnn", "--out", "code", "--target", "cpu", says="cpu")
        self.refuse("compile", "h100.sprnn", says="--out")
        self.refuse("compile", "h100.sprnn", "--out", "", says="--out is ''")
        self.refuse("compile", "h100.sprnn", "--out", "cpu.sprnn", says="--out cpu.sprnn is a file: expected a directory")
        self.refuse("compile", "h100.sprnn", "--out", "cpu.sprnn/code", says="Not a directory")
        self.refuse("verify", "cpu.sprnn", "--code-dir", "code", says=["--code-dir", "cpu"])
        probe = self.sprnn("compile", "h100.sprnn", "--out", "code", "--target", "h200", "--json")
        if probe.status == 3 and "NVRTC" in probe.err:
            self.skipTest(probe.err)
        report = json.loads(probe.out)
        self.assertEqual((report["device"], report["compute_capability"]), ("h200", 90))
        names = {kernel[kind] for kernel in report["kernels"] for kind in ["cubin", "ptx"]}
        self.assertEqual(set(os.listdir(self.path("code"))), names | {"manifest.json"})
        self.assertIn("sm_80", self.succeed("compile", "h100.sprnn", "--out", "code", "--target", "a100").out)
        self.succeed("compile", "h100.sprnn", "--out", "new/folder/code")
        self.assertIn("manifest.json", os.listdir(self.path("new/folder/code")))

    def test_explain_says_which_engine_runs_it(self):
        self.save_model(Model("gru", 8, 32, density=0.2))
        self.assertIn("cpu          runs it", self.succeed("explain", "model.safetensors").out)
        engines = self.json("explain", "model.safetensors", "--target", "h100")["engines"]
        self.assertEqual([engine["name"] for engine in engines], ["cuda", "cpu", "interpreter", "reference"])
        self.assertIn("NVIDIA", engines[0]["refusal"])
        self.assertEqual(engines[2]["refusal"], "")

    def test_packing_a_packed_file_anew_in_place(self):
        self.save_model(Model("gru", 8, 32, density=0.2))
        self.succeed("pack", "model.safetensors", "a.sprnn", "--target", "h100")
        self.succeed("pack", "model.safetensors", "b.sprnn", "--target", "cpu")
        self.succeed("pack", "a.sprnn", "a.sprnn", "--target", "cpu")
        self.assertEqual(self.path("a.sprnn").read_bytes(), self.path("b.sprnn").read_bytes())

    def test_the_output_is_neither_the_checkpoint_nor_the_description(self):
        self.save_model(Model("gru", 8, 32, density=0.2))
        self.path("link").symlink_to(".")
        self.path("alias").symlink_to("model.safetensors")
        for name in ["model.safetensors", self.path("model.safetensors"), "link/model.safetensors", "alias"]:
            self.refuse("pack", "model.safetensors", name, "--target", "cpu", says=["output", "is the checkpoint itself"])
        self.path("mine.json").write_text(self.succeed("devices", "h100", "--json").out)
        for name in ["mine.json", "link/mine.json"]:
            self.refuse("pack", "model.safetensors", name, "--target", "mine.json", says=[name, "is the file of --target"])
        for _ in range(2):  # a device's name is no file's
            self.succeed("pack", "model.safetensors", "cpu", "--target", "cpu")

    def test_dtype(self):
        self.save_model(Model("gru", 8, 32, density=0.2))
        self.succeed("pack", "model.safetensors", "m.sprnn", "--target", "cpu", "--dtype", "bf16")
        self.assertEqual(self.json("inspect", "m.sprnn")["modules"][0]["dtype"], "bf16")
        self.refuse("pack", "m.sprnn", "n.sprnn", "--dtype", "fp16", says=["bf16", "fp16"])

    def test_refusals(self):
        self.save_model(Model("gru", 8, 32))
        self.refuse("pack", "model.safetensors", "m.sprnn", "--target", "h9000", says=["h9000", "h100"])
        self.refuse("pack", "model.safetensors", "m.sprnn", "--batch", "0", says="--batch")
        self.refuse("pack", "model.safetensors", "nowhere/m.sprnn", says="nowhere")
        self.refuse("pack", "model.safetensors", "/dev/full", says="No space left on device")
        self.refuse("pack", "model.safetensors", "m.sprnn", "--cell", "lstm", says="lstm")


class Explain(CliTest):
    def test_json(self):
        self.save_model(Model("lstm", 8, 32, layers=2, density=0.2))
        for target in ["cpu", "h100"]:
            plan = self.json("explain", "model.safetensors", "--target", target, "--batch", "4")
            self.assertEqual((plan["device"]["name"], plan["problem"]["batch"]), (target, 4))
            self.assertEqual(len(plan["directions"]), 2)
            self.assertGreater(plan["us_per_step"], 0)
            self.assertGreater(plan["packed_bytes"], 0)
            self.assertEqual(plan["state_bytes"], 2 * 2 * 4 * 32 * 4)
            self.assertIn("workspace_bytes", plan)
            for direction in plan["directions"]:
                self.assertAlmostEqual(sum(part["us"] for part in direction["cost"]), direction["us_per_step"])
                for rejected in direction["rejected"]:
                    self.assertTrue(rejected["reason"])

    def test_threads_are_planned_for(self):
        self.save_model(Model("lstm", 8, 32, density=0.2))
        plan = self.json("explain", "model.safetensors", "--target", "cpu", "--threads", "7")
        self.assertEqual(plan["device"]["threads"], 7)
        # 32 units are too few for seven; the text says the same. A GPU has no threads to count.
        self.assertEqual(plan["directions"][0]["threads_at_work"], 1)
        text = self.succeed("explain", "model.safetensors", "--target", "cpu", "--threads", "7").out
        self.assertIn("1 of 7 threads work", text)
        plan = self.json("explain", "model.safetensors", "--target", "h100")
        self.assertNotIn("threads_at_work", plan["directions"][0])

    def test_text(self):
        self.save_model(Model("lstm", 8, 32, density=0.2))
        text = self.succeed("explain", "model.safetensors", "--target", "h100").out
        for word in ["h100", "predicted", "packed", "workspace", "state", "rejected"]:
            self.assertIn(word, text)

    def test_packed_file_shows_the_plan_in_it(self):
        self.save_model(Model("gru", 8, 32, density=0.2))
        self.succeed("pack", "model.safetensors", "m.sprnn", "--target", "h100", "--batch", "4")
        wanted = self.json("explain", "model.safetensors", "--target", "h100", "--batch", "4")
        self.assertEqual(self.json("explain", "m.sprnn"), wanted)
        # Planned anew for another device.
        self.assertEqual(self.json("explain", "m.sprnn", "--target", "cpu")["device"]["name"], "cpu")
        self.refuse("explain", "m.sprnn", "--dtype", "bf16", says=["bf16", "fp32"])


if __name__ == "__main__":
    unittest.main()
