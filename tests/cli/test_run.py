"""`sprnn run` against an independent float64 implementation: cells, states, lengths, layouts, dtypes."""

import os
import pty
import resource
import subprocess
import unittest

import oracle
from files import Array, load_npy, save_npy
from oracle import Model
from support import BINARY, CliTest


def no_room_for_threads():
    """A thread's stack is as large as this limit says: with all addresses of x86-64 no thread can be started."""
    resource.setrlimit(resource.RLIMIT_STACK, (1 << 47, resource.getrlimit(resource.RLIMIT_STACK)[1]))


def transposed(array):
    """[A, B, C] -> [B, A, C]"""
    a, b, c = array.shape
    return Array((b, a, c), [array.values[(i * b + j) * c + k] for j in range(b) for i in range(a) for k in range(c)])


class Run(CliTest):
    def check(self, model, steps, batch, *options, with_states=True, lengths=None, file=None, bound=None):
        x = self.save_random("x.npy", (steps, batch, model.inputs), seed=3)
        states = model.layers * model.directions
        arguments, h0, c0 = [], None, None
        if with_states:
            h0 = self.save_random("h0.npy", (states, batch, model.width), seed=4, scale=0.5)
            arguments += ["--h0", "h0.npy", "--final-h", "hn.npy"]
            if model.cell == "lstm":
                c0 = self.save_random("c0.npy", (states, batch, model.hidden), seed=5, scale=0.5)
                arguments += ["--c0", "c0.npy", "--final-c", "cn.npy"]
        if lengths:
            save_npy(self.path("lengths.npy"), Array((batch,), lengths), "<i8")
            arguments += ["--lengths", "lengths.npy"]
        self.succeed("run", file or self.save_model(model), "--input", "x.npy", "--output", "y.npy", *arguments, *options)
        y, h, c = oracle.run(model, x, h0, c0, lengths)
        bound = bound or oracle.BOUNDS[model.dtype]
        found = load_npy(self.path("y.npy"))
        self.assertLess(oracle.relative_error(found, y), bound)
        if with_states:
            self.assertLess(oracle.relative_error(load_npy(self.path("hn.npy")), h), bound)
            if c0:
                self.assertLess(oracle.relative_error(load_npy(self.path("cn.npy")), c), bound)
        return found

    def test_every_cell(self):
        for cell in oracle.GATES:
            with self.subTest(cell=cell):
                self.check(Model(cell, 5, 19, density=0.4, seed=11), 9, 3, "--cell", cell)

    def test_layers_directions_no_bias_projection_lengths(self):
        cases = [Model("gru", 6, 17, layers=2, bidirectional=True, density=0.5, seed=12),
                 Model("lstm", 7, 20, layers=2, bidirectional=True, projection=9, density=0.5, seed=13),
                 Model("tanh", 4, 8, bias=False, seed=14)]
        for model in cases:
            with self.subTest(cell=model.cell):
                y = self.check(model, 8, 3, lengths=[8, 1, 5])
                width = y.shape[2]
                for t, b in [(1, 1), (7, 1), (5, 2), (7, 2)]:
                    padded = y.values[(t * 3 + b) * width :][:width]
                    self.assertEqual(padded, [0.0] * width)

    def test_lengths_of_int32(self):
        model = Model("gru", 4, 9)
        self.save_model(model)
        self.save_random("x.npy", (4, 2, 4))
        for name, descr in [("wide.npy", "<i8"), ("narrow.npy", "<i4")]:
            save_npy(self.path(name), Array((2,), [4, 2]), descr)
            self.succeed("run", "model.safetensors", "--input", "x.npy", "--output", "y" + name, "--lengths", name)
        self.assertEqual(self.path("ywide.npy").read_bytes(), self.path("ynarrow.npy").read_bytes())

    def test_every_engine(self):
        model = Model("lstm", 10, 24, layers=2, density=0.3, seed=15)
        for engine in ["reference", "interpreter", "cpu", "auto"]:
            with self.subTest(engine=engine):
                self.check(model, 6, 2, "--engine", engine)
                figures = self.json("run", "model.safetensors", "--input", "x.npy", "--output", "z.npy", "--engine", engine)
                if engine != "auto":
                    self.assertEqual(figures["engine"], engine)

    def test_engine_forced_by_the_environment(self):
        self.save_model(Model("gru", 4, 9))
        self.save_random("x.npy", (4, 2, 4))
        for engine in ["reference", "interpreter", "cpu"]:
            figures = self.json("run", "model.safetensors", "--input", "x.npy", "--output", "y.npy",
                                environment={"SPRNN_ENGINE": engine})
            self.assertEqual(figures["engine"], engine)
        run = ["run", "model.safetensors", "--input", "x.npy", "--output", "z.npy"]
        for engine, status, says in [("foo", 2, "SPRNN_ENGINE=foo: expected one of cuda, "),
                                     ("a\x1b", 2, "SPRNN_ENGINE=a\\x1b: expected one of cuda, "),
                                     ("cuda", 3, "SPRNN_ENGINE=cuda: ")]:
            self.refuse(*run, status=status, says=says, environment={"SPRNN_ENGINE": engine})
        self.succeed("pack", "model.safetensors", "m.sprnn", "--target", "cpu")
        self.refuse("verify", "m.sprnn", says="SPRNN_ENGINE=interpreter: ", environment={"SPRNN_ENGINE": "interpreter"})

    def test_every_isa_of_this_processor(self):
        model = Model("gru", 10, 33, density=0.3, seed=16)
        self.save_model(model)
        isas = self.json("devices")["isas"]
        self.assertIn("scalar", isas)
        for isa in isas:
            with self.subTest(isa=isa):
                self.check(model, 6, 2, "--engine", "cpu", "--isa", isa)
                figures = self.json("run", "model.safetensors", "--input", "x.npy", "--output", "z.npy", "--isa", isa)
                self.assertEqual((figures["engine"], figures["isa"]), ("cpu", isa))

    def test_dtypes(self):
        for dtype in ["fp16", "bf16"]:
            for engine in ["cpu", "interpreter", "reference"]:
                with self.subTest(dtype=dtype, engine=engine):
                    self.check(Model("lstm", 8, 32, density=0.3, dtype=dtype, seed=17), 8, 2, "--engine", engine)

    def test_dtype_option_rounds_the_weights(self):
        wide = Model("gru", 8, 16, seed=18)
        self.save_model(wide, "wide.safetensors")
        narrow = Model("gru", 8, 16, seed=18, dtype="bf16")  # the same numbers, rounded
        self.check(narrow, 5, 2, "--dtype", "bf16", file="wide.safetensors")
        figures = self.json("run", "wide.safetensors", "--input", "x.npy", "--output", "z.npy", "--dtype", "bf16")
        self.assertEqual(figures["dtype"], "bf16")

    def test_packed_file_gives_the_same_bits_at_any_batch(self):
        model = Model("lstm", 8, 32, layers=2, density=0.2, seed=19)
        self.save_model(model)
        self.succeed("pack", "model.safetensors", "model.sprnn", "--target", "cpu")
        for batch in [1, 4]:
            self.check(model, 5, batch, file="model.sprnn")

    def test_batch_first(self):
        model = Model("lstm", 5, 12, bidirectional=True, seed=20)
        expected = self.check(model, 6, 3, lengths=[6, 2, 4])
        x = self.save_random("x.npy", (6, 3, 5), seed=3)
        save_npy(self.path("xb.npy"), transposed(x))
        self.succeed("run", "model.safetensors", "--input", "xb.npy", "--output", "yb.npy", "--batch-first", "--lengths",
                     "lengths.npy", "--h0", "h0.npy", "--c0", "c0.npy", "--final-h", "hb.npy")
        self.assertEqual(transposed(load_npy(self.path("yb.npy"))), expected)
        self.assertEqual(self.path("hb.npy").read_bytes(), self.path("hn.npy").read_bytes())

    def test_without_batch_dimension(self):
        model = Model("lstm", 5, 12, layers=2, seed=21)
        expected = self.check(model, 6, 1)
        x = load_npy(self.path("x.npy"))
        save_npy(self.path("x2.npy"), Array((6, 5), x.values))
        save_npy(self.path("h2.npy"), Array((2, 12), load_npy(self.path("h0.npy")).values))
        save_npy(self.path("c2.npy"), Array((2, 12), load_npy(self.path("c0.npy")).values))
        for first in [[], ["--batch-first"]]:
            self.succeed("run", "model.safetensors", "--input", "x2.npy", "--output", "y2.npy", "--h0", "h2.npy", "--c0",
                         "c2.npy", "--final-h", "hn2.npy", *first)
            y = load_npy(self.path("y2.npy"))
            self.assertEqual((y.shape, y.values), ((6, 12), expected.values))
            self.assertEqual(self.path("hn2.npy").read_bytes(), self.path("hn.npy").read_bytes())

    def test_float16_and_float64_input(self):
        self.save_model(Model("gru", 5, 12))
        outputs = set()
        for descr in ["<f2", "<f4", "<f8"]:
            self.save_random("x.npy", (6, 2, 5), descr=descr)
            self.succeed("run", "model.safetensors", "--input", "x.npy", "--output", "y.npy")
            outputs.add(self.path("y.npy").read_bytes())
        self.assertEqual(len(outputs), 1)

    def test_final_states_continue_the_sequence(self):
        model = Model("lstm", 5, 12, layers=2, seed=22)
        whole = self.check(model, 8, 2, "--engine", "cpu", with_states=False)
        x = load_npy(self.path("x.npy"))
        half = len(x.values) // 2
        save_npy(self.path("x1.npy"), Array((4, 2, 5), x.values[:half]))
        save_npy(self.path("x2.npy"), Array((4, 2, 5), x.values[half:]))
        self.succeed("run", "model.safetensors", "--input", "x1.npy", "--output", "y1.npy", "--final-h", "h.npy",
                     "--final-c", "c.npy", "--engine", "cpu")
        # The states may be replaced by their own successors.
        self.succeed("run", "model.safetensors", "--input", "x2.npy", "--output", "y2.npy", "--h0", "h.npy", "--c0",
                     "c.npy", "--final-h", "h.npy", "--final-c", "c.npy", "--engine", "cpu")
        self.assertEqual(load_npy(self.path("y1.npy")).values + load_npy(self.path("y2.npy")).values, whole.values)

    def test_only_the_cell_states_of_16_bits_are_rounded_on_the_way(self):
        """What `run --help` says of sequences that go on from final states."""
        whole = self.save_random("x.npy", (40, 2, 5), seed=31)
        save_npy(self.path("x1.npy"), Array((25, 2, 5), whole.values[:250]))
        save_npy(self.path("x2.npy"), Array((15, 2, 5), whole.values[250:]))
        for cell, dtype in [("lstm", "fp32"), ("gru", "fp16"), ("tanh", "bf16"), ("lstm", "fp16"), ("lstm", "bf16")]:
            for engine in ["cpu", "interpreter"]:
                with self.subTest(cell=cell, dtype=dtype, engine=engine):
                    model = self.save_model(Model(cell, 5, 18, layers=2, seed=32))
                    first = [word for state in ("h", "c")[:1 + (cell == "lstm")] for word in (f"--final-{state}", f"{state}.npy")]
                    then = [word for state in ("h", "c")[:1 + (cell == "lstm")] for word in (f"--{state}0", f"{state}.npy")]
                    for name, options in ("", []), ("1", first), ("2", then):
                        self.succeed("run", model, "--input", f"x{name}.npy", "--output", f"y{name}.npy", "--cell", cell, "--dtype",
                                     dtype, "--engine", engine, *options)
                    together = load_npy(self.path("y1.npy")).values + load_npy(self.path("y2.npy")).values
                    same = cell != "lstm" or dtype == "fp32"
                    self.assertEqual(together == load_npy(self.path("y.npy")).values, same)

    def test_threads_do_not_change_the_bits(self):
        self.save_model(Model("lstm", 16, 64, density=0.2))
        self.save_random("x.npy", (6, 2, 16))
        outputs = set()
        for threads in [1, 2, 3]:
            figures = self.json("run", "model.safetensors", "--input", "x.npy", "--output", "y.npy", "--engine", "cpu",
                                "--threads", threads)
            self.assertEqual(figures["threads"], threads)
            outputs.add(self.path("y.npy").read_bytes())
        self.assertEqual(len(outputs), 1)

    def test_output_may_replace_the_input_and_figures_are_printed(self):
        self.save_model(Model("tanh", 5, 5))
        self.save_random("x.npy", (4, 5))
        before = self.listing()
        result = self.succeed("run", "model.safetensors", "--input", "x.npy", "--output", "x.npy")
        self.assertIn("us a step", result.out)
        self.assertEqual(self.listing(), before)
        self.assertEqual(load_npy(self.path("x.npy")).shape, (4, 5))

    def test_outputs_that_nobody_wants(self):
        self.save_model(Model("lstm", 5, 7))
        self.save_random("x.npy", (4, 3, 5))
        before = self.listing()
        self.succeed("run", "model.safetensors", "--input", "x.npy", "--output", "/dev/null", "--final-h", "/dev/null",
                     "--final-c", "/dev/null")
        self.assertEqual(self.listing(), before)

    def test_reference_without_threads_to_start(self):
        self.save_model(Model("lstm", 128, 160))  # large enough that threads are worth it
        self.save_random("x.npy", (3, 2, 128))
        command = [BINARY, "run", "model.safetensors", "--input", "x.npy", "--engine", "reference", "--threads", "4"]
        master, slave = pty.openpty()  # where there is a progress line, which wants a thread too
        for output, before in [("some.npy", None), ("none.npy", no_room_for_threads)]:
            status = subprocess.run([*command, "--output", output], cwd=self.directory, stdout=subprocess.PIPE,
                                    stderr=slave, preexec_fn=before, timeout=240).returncode
            self.assertEqual(status, 0, output)
        os.close(slave)
        os.close(master)
        self.assertEqual(self.path("some.npy").read_bytes(), self.path("none.npy").read_bytes())

    def test_json(self):
        self.save_model(Model("tanh", 5, 7))
        self.save_random("x.npy", (4, 3, 5))
        figures = self.json("run", "model.safetensors", "--input", "x.npy", "--output", "y.npy")
        self.assertEqual((figures["shape"], figures["steps"], figures["batch"]), ([4, 3, 7], 4, 3))
        self.assertGreater(figures["us_per_step"], 0)


class RunRefusals(CliTest):
    def setUp(self):
        super().setUp()
        self.save_model(Model("gru", 5, 12))
        self.save_model(Model("lstm", 5, 12), "lstm.safetensors")
        self.save_random("x.npy", (6, 2, 5))

    def refuse_run(self, *options, says, model="model.safetensors", x="x.npy", **more):
        self.refuse("run", model, "--input", x, "--output", "y.npy", *options, says=says, **more)

    def test_shapes_name_the_tensor_the_expected_and_the_found(self):
        for shape, says in [((6, 2, 4), ["bad.npy", "[6, 2, 4]", "I = 5"]), ((6,), ["[6]", "[T, B, I] or [T, I]"]),
                            ((1, 6, 2, 5), ["[1, 6, 2, 5]"]), ((0, 2, 5), ["[0, 2, 5]", "timestep"]),
                            ((6, 0, 5), ["[6, 0, 5]", "B from 1"]), ((), ["[]"])]:
            self.save_random("bad.npy", shape)
            self.refuse_run(x="bad.npy", says=says)

    def test_states(self):
        self.save_random("h.npy", (1, 2, 11))
        self.refuse_run("--h0", "h.npy", says=["h0", "h.npy", "[1, 2, 11]", "[1, 2, 12]"])
        self.save_random("h.npy", (1, 12))
        self.refuse_run("--h0", "h.npy", says=["h0", "[1, 12]", "[1, 2, 12]"])
        self.save_random("c.npy", (1, 2, 12))
        self.refuse_run("--c0", "c.npy", says=["--c0", "lstm", "gru"])
        self.refuse_run("--final-c", "cn.npy", says=["--final-c", "lstm", "gru"])
        self.save_random("c.npy", (2, 2, 12))
        self.refuse_run("--c0", "c.npy", model="lstm.safetensors", says=["c0", "[2, 2, 12]", "[1, 2, 12]"])

    def test_lengths(self):
        for values, says in [([6, 0], ["lengths[1]", "0", "1 to 6"]), ([7, 1], ["lengths[0]", "7"]),
                             ([6], ["lengths", "[1]", "[2]"]), ([-1, 3], ["lengths[0]", "-1"])]:
            save_npy(self.path("l.npy"), Array((len(values),), values), "<i8")
            self.refuse_run("--lengths", "l.npy", says=says)
        self.save_random("l.npy", (2,))
        self.refuse_run("--lengths", "l.npy", says=["l.npy", "int"])

    def test_npy_files(self):
        save_npy(self.path("bad.npy"), Array((6, 2, 5), [0] * 60), "<i4")
        self.refuse_run(x="bad.npy", says=["bad.npy", "i4"])
        save_npy(self.path("bad.npy"), Array((6, 2, 5), [0.0] * 60), ">f4")
        self.refuse_run(x="bad.npy", says="bad.npy")
        save_npy(self.path("bad.npy"), Array((6, 2, 5), [0.0] * 60), "<f4", fortran=True)
        self.refuse_run(x="bad.npy", says="bad.npy")
        content = self.path("x.npy").read_bytes()
        for bad in [b"", content[:5], content[:40], content[:-1], content + b"\0", b"not an array"]:
            self.path("bad.npy").write_bytes(bad)
            self.refuse_run(x="bad.npy", says="bad.npy")
        self.refuse_run(x="missing.npy", says="missing.npy")
        self.refuse_run(x=".", says="directory")

    def test_outputs(self):
        self.refuse("run", "model.safetensors", "--input", "x.npy", "--output", "nowhere/y.npy", says="nowhere")
        self.refuse("run", "model.safetensors", "--input", "x.npy", "--output", ".", says="directory")
        self.path("link").symlink_to(".")
        for name in ["y.npy", "./y.npy", self.path("y.npy"), "link/y.npy"]:
            self.refuse_run("--final-h", name, says="same file")
        self.path("dangling").symlink_to("other.npy")
        self.path("circle").symlink_to("circle")
        self.refuse("run", "model.safetensors", "--input", "x.npy", "--output", "other.npy", "--final-h", "dangling",
                    says="same file")
        self.refuse("run", "model.safetensors", "--input", "x.npy", "--output", "circle", says="symbolic links")
        # The first output is not written when the second cannot be: neither before the run nor at its end.
        self.refuse_run("--final-h", "nowhere/h.npy", says="nowhere")
        self.refuse_run("--final-h", "/dev/full", says="No space left on device")

    def test_no_output_is_the_model(self):
        self.path("link").symlink_to(".")
        for name in ["model.safetensors", self.path("model.safetensors"), "link/model.safetensors"]:
            self.refuse("run", "model.safetensors", "--input", "x.npy", "--output", name, says=["output", "is the model"])
            self.refuse_run("--final-h", name, says=["output", "is the model"])

    def test_no_output_is_an_input(self):
        self.save_random("h.npy", (1, 2, 12))
        self.save_random("c.npy", (1, 2, 12))
        save_npy(self.path("l.npy"), Array((2,), [6, 4]), "<i8")
        self.path("link").symlink_to(".")
        inputs = {"--input": "x.npy", "--h0": "h.npy", "--c0": "c.npy", "--lengths": "l.npy"}
        given = [word for pair in inputs.items() for word in pair]
        # test_output_may_replace_the_input_and_figures_are_printed, test_final_states_continue_the_sequence
        allowed = [("--output", "--input"), ("--final-h", "--h0"), ("--final-c", "--c0")]
        for output in ["--output", "--final-h", "--final-c"]:
            others = [] if output == "--output" else ["--output", "y.npy"]
            for option, file in inputs.items():
                if (output, option) in allowed:
                    continue
                for name in [file, "link/" + file]:
                    with self.subTest(output=output, input=option, name=name):
                        self.refuse("run", "lstm.safetensors", *given, *others, output, name,
                                    says=[f"{output} {name} is the file of {option}"])

    def test_engines(self):
        self.refuse_run("--engine", "gpu", says=["gpu", "interpreter"])
        self.refuse_run("--engine", "cuda", status=3, says="NVIDIA")
        self.succeed("pack", "model.safetensors", "gpu.sprnn", "--target", "h100")
        self.refuse("run", "gpu.sprnn", "--input", "x.npy", "--output", "y.npy", "--engine", "cuda", status=3, says="NVIDIA")
        self.refuse_run("--isa", "sse9", says=["sse9", "scalar"])
        self.refuse_run("--isa", "scalar", "--engine", "reference", says=["--isa", "reference"])
        self.refuse_run("--deadline", "0", says=["--deadline", "0"])
        for engine in ["cpu", "interpreter", "reference"]:
            self.refuse_run("--deadline", "0.5", "--engine", engine, says=["--deadline 0.5 is for engine cuda", engine])
        self.refuse_run("--deadline", "0.5", says="but cpu is to run")
        self.refuse("verify", "model.safetensors", "--deadline", "0.5", says="but cpu is to run")
        self.refuse_run("--threads", "-1", says=["--threads", "-1"])
        self.refuse_run("--threads", "010x", says=["--threads", "010x"])

    def test_options_that_contradict_a_packed_file(self):
        self.succeed("pack", "model.safetensors", "model.sprnn", "--target", "cpu")
        self.succeed("run", "model.sprnn", "--input", "x.npy", "--output", "y.npy", "--dtype", "fp32", "--cell", "gru")
        for options, says in [(["--dtype", "fp16"], ["fp16", "fp32"]), (["--cell", "lstm"], ["lstm", "gru"]),
                              (["--prefix", "a."], ["--prefix"]), (["--target", "h100"], ["h100", "cpu"]),
                              (["--engine", "interpreter"], ["interpreter"])]:
            self.refuse_run(*options, model="model.sprnn", says=says)


if __name__ == "__main__":
    unittest.main()
