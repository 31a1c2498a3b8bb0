#!/usr/bin/env python3
"""What a call with a single timestep costs from Python beside the same call from C++: python_call.py

One unidirectional LSTM layer after the other, batch 1, cpu engine, both sides in turns on the same packed model; the
medians of both, in microseconds. "more" is the median of what it took more in the same turn, in brackets the
quartiles. Needs the package (PYTHONPATH=build/python) and the program build/bin/one_step.
"""

import argparse
import pathlib
import statistics
import subprocess
import tempfile
import time

import numpy as np

import sprnn

# hidden = input size, density, threads, calls timed together
CASES = [(16, 1.0, 1, 10000), (128, 0.5, 1, 2000), (256, 0.1, 1, 1000), (1024, 0.1, 2, 200)]
ROUNDS = 41
BATCHES = 15


def packed(hidden, density, threads):
    rng = np.random.default_rng(0)
    arrays = {
        name: (rng.uniform(-1, 1, (4 * hidden, hidden)) / np.sqrt(hidden)).astype(np.float32)
        for name in ("weight_ih_l0", "weight_hh_l0")
    }
    return sprnn.Model(arrays).prune(density, density).pack("cpu", threads=threads)


def from_cpp(program, path, threads, calls):
    command = [program, path, str(threads), str(calls)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def from_python(model, threads, calls, write_to):
    """Median microseconds of session(x), or of session(x, out=y)."""
    session = model.session("cpu", threads=threads)
    x = np.full((1, 1, model.input_size), 0.5, np.float32)
    out = np.empty((1, 1, model.output_size), np.float32) if write_to else None
    microseconds = []
    for _ in range(BATCHES):
        begin = time.perf_counter()
        if write_to:
            for _ in range(calls):
                session(x, out=out)
        else:
            for _ in range(calls):
                session(x)
        microseconds.append((time.perf_counter() - begin) / calls * 1e6)
    return statistics.median(microseconds)


def more(calls, cpp):
    """Median and quartiles of the differences of the turns: what slows one turn slows both of its sides."""
    lower, median, upper = statistics.quantiles([a - b for a, b in zip(calls, cpp)], n=4)
    return f"{median:.2f} ({lower:.2f} to {upper:.2f})"


def main():
    root = pathlib.Path(__file__).resolve().parent.parent
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--one-step", default=str(root / "build/bin/one_step"))
    one_step = parser.parse_args().one_step

    print("| LSTM | density | threads | C++ | session(x) | more | session(x, out=y) | more |")
    print("|---|---|---|---|---|---|---|---|")
    for hidden, density, threads, calls in CASES:
        model = packed(hidden, density, threads)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "model.sprnn"
            model.save(path)
            rounds = [
                (
                    from_cpp(one_step, path, threads, calls),
                    from_python(model, threads, calls, False),
                    from_python(model, threads, calls, True),
                )
                for _ in range(ROUNDS)
            ]
        cpp, call, call_out = zip(*rounds)
        print(
            f"| {hidden} | {density:.0%} | {threads} | {statistics.median(cpp):.2f} | {statistics.median(call):.2f} "
            f"| {more(call, cpp)} | {statistics.median(call_out):.2f} | {more(call_out, cpp)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
