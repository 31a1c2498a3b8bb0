"""The GPU tests where no GPU is: they say so, fail, and have distinct names. Driven through run.sh."""
import functools
import os
import pathlib
import subprocess
import tempfile
import unittest

HERE = pathlib.Path(__file__).parent
PROGRAM = pathlib.Path(os.environ["SPRNN_GPU_CASES"])


def run(*arguments):
    # An empty list of devices hides the GPUs of a machine that has some.
    return subprocess.run(arguments, capture_output=True, text=True, env={**os.environ, "CUDA_VISIBLE_DEVICES": ""})


def script(*arguments):
    return run(HERE / "run.sh", "--build", PROGRAM.parent, *arguments)


class WithoutGpu(unittest.TestCase):
    def test_exits_3_says_so_and_writes_nothing(self):
        with tempfile.TemporaryDirectory() as out:
            for more in [], ["--part", "2/3"], ["--jobs", "3"]:
                ended = script("--out", out, "--commit", "0123abc", *more)
                self.assertEqual(ended.returncode, 3, ended.stderr)
                self.assertEqual(ended.stdout, "no GPU: nothing was run\n")
            self.assertEqual(os.listdir(out), [])

    def test_bad_usage_exits_2(self):
        for wrong in ["--part", "0/2"], ["--part", "3/2"], ["--part", "1"], ["--only"], ["--what", "x"], ["--build", "/"], \
                ["--jobs", "0"], ["--jobs", "2x"], ["--jobs"]:
            self.assertEqual(script("--commit", "0123abc", *wrong).returncode, 2, wrong)


class Arguments(unittest.TestCase):
    def given(self, *arguments):
        """What the script gives to a program that prints it."""
        with tempfile.TemporaryDirectory() as build:
            program = pathlib.Path(build, "gpu_cases")
            program.write_text('#!/bin/sh\necho "$@"\n')
            program.chmod(0o755)
            ended = run(HERE / "run.sh", "--build", build, "--commit", "0123abc", *arguments)
            self.assertEqual(ended.returncode, 0, ended.stderr)
            return ended.stdout.strip()

    def test_go_on_to_the_program(self):
        self.assertEqual(self.given("--jobs", "12", "--part", "1/2", "--out", "/x"),
                         "--part 1/2 --jobs 12 --record /x --commit 0123abc")
        self.assertEqual(self.given("--jobs", "1", "--only", "a b"), "--jobs 1 --only a b")

    def test_jobs_are_one_to_eight_unless_said(self):
        self.assertRegex(self.given("--only", "x"), "^--jobs [1-8] ")


@functools.cache
def names(*options):
    ended = run(PROGRAM, "--list", *options)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


class Names(unittest.TestCase):
    def test_all_names_are_distinct(self):
        everything = names()
        self.assertGreater(len(everything), 400)
        self.assertEqual(sorted(set(everything)), sorted(everything))

    def test_parts_are_all_cases_once(self):
        parts = [name for k in (1, 2, 3) for name in names("--part", f"{k}/3")]
        self.assertEqual(sorted(parts), sorted(names()))


if __name__ == "__main__":
    unittest.main()
