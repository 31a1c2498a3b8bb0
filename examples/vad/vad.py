#!/usr/bin/env python3
"""Silero VAD streaming over sound, chunk by chunk: agreement with the wheel's own model and speed against density.

    scripts/fetch_models.sh
    python examples/vad/vad.py [--wav speech.wav] [--plot vad.png]

Without --wav, espeak-ng speaks. Needs sprnn, onnx, onnxruntime and matplotlib.
"""

import argparse
import pathlib
import statistics
import sys
import time

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import network  # noqa: E402
import report  # noqa: E402
import sound  # noqa: E402

MODELS = pathlib.Path(__file__).parents[2] / "build/models"
WEIGHTS, OWN = "silero_vad_16k_op15.onnx", "silero_vad.onnx"
THRESHOLD = 0.5  # as in the wheel


class Stream:
    """The whole detector for a live stream: one call for each chunk, the state kept by the session."""

    def __init__(self, front, model, threads):
        self.front, self.session = front, model.session(batch=1, threads=threads)

    def __call__(self, chunk):
        return self.front.probability(self.session(self.front.features(chunk[None])))[0]


def timed(function, items):
    """The results for all items, and the median microseconds of one."""
    results, seconds = [], []
    for item in items:
        begin = time.perf_counter()
        results.append(function(item))
        seconds.append(time.perf_counter() - begin)
    return np.array(results), 1e6 * statistics.median(seconds)


def spans_of(speech):
    """(first, last) chunk of each run of speech."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], speech, [False]]).astype(int)))
    return list(zip(edges[::2], edges[1::2] - 1))


def main():
    parser = argparse.ArgumentParser(description="Quality and speed of Silero VAD with a pruned LSTM.")
    parser.add_argument("--wav", help="sound to listen to (16 bit; 16 kHz, others are resampled); absent: espeak-ng speaks")
    parser.add_argument("--models", type=pathlib.Path, default=MODELS, help=f"folder of {WEIGHTS} and {OWN} (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="of sprnn; the wheel's own model has one")
    parser.add_argument("--densities", type=float, nargs="+", default=[1, 0.7, 0.5, 0.4, 0.3, 0.2, 0.1])
    parser.add_argument("--plot", help="file for the plot, such as vad.png")
    arguments = parser.parse_args()
    for name in (WEIGHTS, OWN):
        if not (arguments.models / name).exists():
            sys.exit(f"{arguments.models / name} is not there: run scripts/fetch_models.sh, or name the folder with --models")

    samples, spoken = (sound.read_wav(arguments.wav), None) if arguments.wav else sound.speak()
    if len(samples) == 0:
        sys.exit(f"{arguments.wav}: it is empty")
    chunks = network.chunks_of(samples)
    own_probability, own_us = timed(network.OwnModel(arguments.models / OWN), chunks)
    own_speech = own_probability >= THRESHOLD
    front, dense = network.FrontEnd(arguments.models / WEIGHTS), network.lstm(arguments.models / WEIGHTS)
    features = front.features(chunks)
    rows = []
    for density in arguments.densities:
        model = dense.prune(density=density, input_density=density)
        probability, chunk_us = timed(Stream(front, model, arguments.threads), chunks)
        _, lstm_us = timed(model.session(batch=1, threads=arguments.threads), features[:, None])
        rows.append(
            {
                "density": density,
                "same decision %": 100 * np.mean((probability >= THRESHOLD) == own_speech),
                "largest difference": np.abs(probability - own_probability).max(),
                "LSTM us": lstm_us,
                "chunk us": chunk_us,
            }
        )
    print(f"{len(samples) / sound.RATE:.1f} s of sound in {len(chunks)} chunks of 32 ms; threads {arguments.threads}; the wheel's own "
          f"model in onnxruntime takes {own_us:.4g} us a chunk")  # fmt: skip
    runs = ", ".join(f"{0.032 * first:.1f}-{0.032 * (last + 1):.1f}" for first, last in spans_of(own_speech))
    print(f"speech by the wheel's own model, seconds: {runs or 'none'}")
    if spoken:
        print("spoken, seconds: " + ", ".join(f"{begin / sound.RATE:.1f}-{end / sound.RATE:.1f}" for begin, end in spoken))
    print()
    report.print_table(rows)
    if arguments.plot:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        report.save_plot(
            arguments.plot,
            "Silero VAD, LSTM of 128, chunk by chunk",
            ("same decision as the wheel's own model, %", columns["density"], columns["same decision %"]),
            ("us a chunk of 32 ms", columns["density"], columns["chunk us"]),
            ("the wheel's own model, onnxruntime", own_us),
        )


if __name__ == "__main__":
    main()
