"""markers_test.py ROOT: the steps that the models, exchange.pml and counted.pml, name (`kernel: NAME`) are the ones that the
sources of the kernel and of its launch name (a comment `exchange: NAME`), each in exactly one place."""

import collections
import pathlib
import re
import sys
import unittest

ROOT = pathlib.Path(sys.argv.pop(1))
SOURCES = [*sorted((ROOT / "src/engines/cuda/kernels").iterdir()), ROOT / "src/engines/cuda/direction.cpp"]
MODELS = [ROOT / "tests/exchange" / name for name in ("exchange.pml", "counted.pml")]


class Markers(unittest.TestCase):
    def test_models_and_kernel_name_the_same_steps(self):
        model = {name for file in MODELS for name in re.findall(r"/\* kernel: ([\w-]+) \*/", file.read_text())}
        places = collections.defaultdict(list)
        for source in SOURCES:
            for number, line in enumerate(source.read_text().splitlines(), 1):
                for name in re.findall(r"// exchange: ([\w-]+)", line):
                    places[name].append(f"{source.name}:{number}")
        self.assertGreater(len(model), 5)
        self.assertEqual(model, set(places), "steps of the models, steps of the kernel")
        for name, where in places.items():
            self.assertEqual(len(where), 1, f"{name}: {where}")


if __name__ == "__main__":
    unittest.main()
