"""Help that teaches, the version, unknown verbs and options, exit statuses, standard streams."""

import os
import subprocess
import unittest

from oracle import Model
from support import BINARY, CliTest

VERBS = ["inspect", "prune", "pack", "explain", "run", "verify", "bench", "sweep", "devices"]


class Usage(CliTest):
    def test_help_lists_the_verbs(self):
        text = self.succeed("--help").out
        for verb in VERBS:
            self.assertIn(f"  {verb} ", text)
        self.assertIn("Exit status", text)
        for variable in ["SPRNN_ENGINE", "SPRNN_DEADLINE", "SPRNN_CACHE_DIR"]:
            self.assertIn(f"  {variable} ", text)

    def test_help_of_each_verb_teaches(self):
        for verb in VERBS:
            text = self.succeed(verb, "--help").out
            self.assertIn(f"Usage: sprnn {verb}", text)
            self.assertIn("Example", text)
            self.assertIn(f"  sprnn {verb}", text)
            self.assertIn("Exit status: 0", text)
            self.assertIn("--json", text)
            self.assertGreater(len(text.split()), 80)

    def test_help_gives_shapes_and_defaults(self):
        text = self.succeed("run", "--help").out
        for word in ["[T, B, I]", "[L*D, B, R]", "[B]", "float16", "int32", "--batch-first", "--final-c"]:
            self.assertIn(word, text)
        for verb in ["explain", "run", "verify", "sweep", "bench", "pack"]:
            text = self.succeed(verb, "--help").out
            for option in ["--dtype", "--cell", "--prefix", "--threads"]:
                self.assertIn(option, text)

    def test_switches_say_what_they_switch(self):
        text = " ".join(self.succeed("pack", "--help").out.split())
        self.assertNotIn("on|off on or off", text)
        self.assertIn("--asks-late on|off Whether a warp asks for the state of a step shortly before its product, in "
                      "dense-mma and sparse-mma", text)

    def test_version(self):
        text = self.succeed("--version").out
        self.assertRegex(text, r"^sprnn \d+\.\d+\.\d+\n")
        self.assertIn("scalar", text)
        self.assertIn("CUDA: ", text)

    def test_unknown_verbs_suggest_the_nearest(self):
        for word, meant in [("inspekt", "inspect"), ("prun", "prune"), ("veryfy", "verify"), ("device", "devices"),
                            ("dev", "devices"), ("rnu", "run")]:
            self.refuse(word, says=[f"'{word}'", f"did you mean '{meant}'"])
        self.refuse("zzzzzzzzzz", says=["'zzzzzzzzzz'", *VERBS])
        self.refuse("", says="unknown verb ''")

    def test_unknown_options_suggest_the_nearest(self):
        for words, meant in [(["verify", "a", "--dtpye", "fp16"], "--dtype"), (["verify", "--btach=2", "a"], "--batch"),
                             (["run", "a", "--inptu", "x.npy", "--output", "y.npy"], "--input"),
                             (["inspect", "a", "--jsn"], "--json"), (["--versoin"], "--version")]:
            self.refuse(*words, says=["unknown option", f"did you mean {meant}?", "--help"])
        for words in ["inspect", "a", "--frobnicate"], ["--frobnicate"]:
            self.assertNotIn("did you mean", self.refuse(*words, says="--frobnicate").err)

    def test_bad_usage(self):
        self.refuse(says="verb")
        self.refuse("--frobnicate", says="--frobnicate")
        self.refuse("inspect", says=["MODEL", "sprnn inspect --help"])
        self.refuse("inspect", "a", "b", says="b")
        self.refuse("inspect", "a", "--frobnicate", says="--frobnicate")
        self.refuse("verify", "a", "--batch", "0", says=["--batch", "'0'", "1 to 4096"])
        self.refuse("verify", "a", "--batch", "1.5", says=["--batch", "'1.5'"])
        self.refuse("verify", "a", "--batch", "99999999999999999999", says="--batch")
        self.refuse("verify", "a", "--steps", "0", says=["--steps", "'0'"])
        self.refuse("verify", "a", "--steps", "-5", says=["--steps", "'-5'"])
        self.refuse("verify", "a", "--seed", "x", says=["--seed", "'x'"])
        self.refuse("verify", "a", "--dtype", "fp8", says=["fp8", "fp16"])
        self.refuse("verify", "a", "--cell", "sru", says=["sru", "lstm"])

    def test_missing_files(self):
        for verb in [["inspect", "m"], ["explain", "m"], ["verify", "m"], ["sweep", "m"], ["bench", "m"],
                     ["prune", "m", "o", "--density", "0.5"], ["pack", "m", "o"]]:
            self.refuse(*verb, says="m")

    def test_a_file_named_as_a_verb(self):
        self.save_model(Model("tanh", 3, 4), "run")
        self.succeed("inspect", "run")

    def test_error_is_one_line_whatever_the_name(self):
        self.refuse("inspect", "no\nsuch\x1b[31mfile", says="no\\x0asuch\\x1b")
        self.refuse(b"no\xc2\x9bsuch\xffverb\xc3\xa9", says="unknown verb 'no\\xc2\\x9bsuch\\xffverbé'")

    def test_full_standard_output(self):
        self.save_model(Model("tanh", 3, 4))
        for arguments in [["inspect", "model.safetensors"], ["devices", "--json"], ["--help"], ["--version"]]:
            with open("/dev/full", "wb") as full:
                result = self.sprnn(*arguments, stdout=full)
            self.assertEqual(result.status, 2, result)
            self.assertEqual(result.err, "sprnn: error: cannot write to standard output: No space left on device\n")

    def test_an_output_on_standard_output_is_the_file_alone(self):
        self.save_model(Model("tanh", 3, 4))
        self.save_random("x.npy", (4, 3))
        for command in [["run", "model.safetensors", "--input", "x.npy", "--output"],
                        ["prune", "model.safetensors", "--density", "0.5"],
                        ["pack", "model.safetensors", "--target", "cpu"]]:
            self.succeed(*command, "file")
            for more in [], ["--json"]:
                for redirection in ">redirected", "| cat >redirected":
                    with self.subTest(verb=command[0], more=more, redirection=redirection):
                        script = f'"$0" "$@" {redirection}'
                        completed = subprocess.run(["sh", "-c", script, BINARY, *command, "/dev/stdout", *more],
                                                   cwd=self.directory, stderr=subprocess.PIPE, timeout=60)
                        self.assertEqual(completed.returncode, 0, completed.stderr)
                        self.assertEqual(self.path("redirected").read_bytes(), self.path("file").read_bytes())
                        self.assertEqual(completed.stderr.startswith(b"{"), more == ["--json"])

    def test_a_dash_is_not_standard_output(self):
        self.save_model(Model("tanh", 3, 4))
        self.save_random("x.npy", (4, 3))
        for command in [["run", "model.safetensors", "--input", "x.npy", "--output"],
                        ["prune", "model.safetensors", "--density", "0.5"],
                        ["pack", "model.safetensors", "--target", "cpu"]]:
            self.refuse(*command, "-", says="/dev/stdout")
            self.succeed(*command, "./-")

    def test_closed_pipe(self):
        read, write = os.pipe()
        os.close(read)
        with os.fdopen(write, "wb") as pipe:
            killed = self.sprnn("--help", stdout=pipe)
            self.assertEqual((killed.status, killed.err), (-13, ""))  # by SIGPIPE, quietly, as any filter
            ignored = self.sprnn("--help", stdout=pipe, restore_signals=False)  # Python ignores SIGPIPE
            self.assertEqual(ignored.status, 2, ignored)
            self.assertIn("Broken pipe", ignored.err)

    def test_closed_standard_streams(self):
        self.save_model(Model("tanh", 3, 4))
        command = f'"{BINARY}" prune model.safetensors out.safetensors --density 0.5 <&- >&- 2>&-'
        status = subprocess.run(["sh", "-c", command], cwd=self.directory, timeout=60).returncode
        self.assertEqual(status, 2)  # the report could not be printed
        # The file did not get the report in place of standard output.
        self.succeed("inspect", "out.safetensors")


class Devices(CliTest):
    def test_text(self):
        text = self.succeed("devices").out
        for word in ["h100", "h200", "a100", "cuda", "scalar"]:
            self.assertIn(word, text)

    def test_json(self):
        devices = self.json("devices")
        self.assertIn("scalar", devices["isas"])
        self.assertEqual(devices["cuda"], [])
        self.assertEqual([device["name"] for device in devices["known"]], ["h100", "h200", "a100"])

    def test_threads_follow_the_affinity(self):
        mine = os.sched_getaffinity(0)
        for cores in {min(mine)}, {max(mine)}, mine:
            with self.subTest(cores=cores):
                cpu = self.json("devices", "cpu", preexec_fn=lambda cores=cores: os.sched_setaffinity(0, cores))
                self.assertEqual(cpu["threads"], min(len(cores), self.json("devices", "cpu")["threads"]))

    def test_local_is_the_processor_where_there_is_no_gpu(self):
        self.assertEqual(self.json("devices", "local"), self.json("devices", "cpu"))

    def test_a_description_is_a_target(self):
        self.save_model(Model("tanh", 3, 4))
        self.path("mine.json").write_text(self.succeed("devices", "h100", "--json").out)
        self.assertIn("h100", self.succeed("devices", "mine.json").out)
        plan = self.json("explain", "model.safetensors", "--target", "mine.json")
        self.assertEqual(plan["device"]["name"], "h100")

    def test_unknown(self):
        self.refuse("devices", "", says=['""', "h100"])
        self.refuse("devices", "h9000", says=["h9000", "h100"])
        self.path("bad.json").write_text("{")
        self.refuse("devices", "bad.json", says="bad.json")


if __name__ == "__main__":
    unittest.main()
