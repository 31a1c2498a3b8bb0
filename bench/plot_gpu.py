#!/usr/bin/env python3
"""Draws the plots of a race on a GPU from race_gpu's JSON, into PATH-<plot>.png beside it. Needs matplotlib."""

import argparse
import collections
import json
import pathlib

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot, ticker


def best_peer(case):
    """The rival of the least time a timestep, or None where all refused or none raced."""
    return min((r for r in case["rivals"] if "us_per_step" in r), key=lambda r: r["us_per_step"], default=None)


def times_faster(case):
    return best_peer(case)["us_per_step"] / case["us_per_step"]


def is_ablated(case):
    return not (case["stamps"] and case["wide_loads"] and case["bank_order"])


def label(case, *without):
    words = {
        "cell": case["cell"] if case["cell"] in ("tanh", "relu") else case["cell"].upper(),
        "hidden_size": str(case["hidden_size"]),
        "batch": f"B={case['batch']}",
        "asked_density": f"{100 * case['asked_density']:g} %",
        "pattern": "" if case["pattern"] == "unstructured" else case["pattern"],
        "whole_layer": "layer" if case["whole_layer"] else "",
    }
    return " ".join(text for key, text in words.items() if text and key not in without)


def curves(cases, key):
    """Cases that differ in one quantity alone, at three or more values of it."""
    found = collections.defaultdict(list)
    for case in cases:
        if best_peer(case) and not is_ablated(case):
            found[label(case, key)].append(case)
    return {
        name: sorted(group, key=lambda case: case[key])
        for name, group in found.items()
        if len({case[key] for case in group}) >= 3
    }


def legend_above(axes):
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False)


def finish(figure, stem, name):
    figure.tight_layout()
    figure.savefig(f"{stem}-{name}.png", dpi=110)
    pyplot.close(figure)


def plot_curves(cases, stem, key, name, axis):
    groups = curves(cases, key)
    if not groups:
        return
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for text, group in groups.items():
        axes.plot([case[key] for case in group], [times_faster(case) for case in group], marker="o", label=text)
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set(xscale="log", xlabel=axis, ylabel="times faster than the best peer", ylim=(0, None))
    ticks = sorted({case[key] for group in groups.values() for case in group})
    axes.set_xticks(ticks, [f"{100 * tick:g}" if key == "asked_density" else f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    legend_above(axes)
    finish(figure, stem, name)


LENGTHS = (1280, 256, 64)  # of "run_us"


def plot_timesteps(cases, stem):
    """Whole calls: what is paid once a call weighs on short ones."""
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    for case in [case for case in cases if best_peer(case) and not is_ablated(case)][:9]:
        peer = best_peer(case)
        axes.plot(LENGTHS, [theirs / ours for theirs, ours in zip(peer["run_us"], case["run_us"])], marker="o", label=label(case))
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set(xscale="log", xlabel="timesteps of a call", ylabel="times faster than the best peer", ylim=(0, None))
    axes.set_xticks(LENGTHS, [str(length) for length in LENGTHS])
    axes.minorticks_off()
    legend_above(axes)
    finish(figure, stem, "timesteps")


def plot_table(cases, stem):
    shown = [case for case in cases if best_peer(case)]
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(shown) + 1.2))
    peers = list(dict.fromkeys(rival["name"] for case in shown for rival in case["rivals"]))
    axes.plot([case["us_per_step"] for case in shown], range(len(shown)), "o", color="black", label="sprnn")
    for peer, mark in zip(peers, "sD^vP"):
        points = [
            (rival["us_per_step"], i)
            for i, case in enumerate(shown)
            for rival in case["rivals"]
            if rival["name"] == peer and "us_per_step" in rival
        ]
        axes.plot([x for x, _ in points], [y for _, y in points], mark, label=peer, alpha=0.8)
    axes.set_yticks(range(len(shown)), [label(case) for case in shown], fontsize=8)
    axes.invert_yaxis()
    axes.grid(axis="both", alpha=0.3)
    axes.set(xscale="log", xlabel="microseconds a timestep, best configuration of each")
    axes.xaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(ticker.FormatStrFormatter("%g"))
    axes.xaxis.set_minor_formatter(ticker.NullFormatter())
    legend_above(axes)
    finish(figure, stem, "table")


def plot_parts(cases, stem):
    """The plan's prediction by part, and the measured recurrent part."""
    shown = [case for case in cases if any(part["name"] == "recurrent" for part in case["parts"]) and not is_ablated(case)]
    if not shown:
        return
    totals = ("recurrent", "whole layer", "input projection")
    names = list(dict.fromkeys(p["name"] for case in shown for p in case["parts"] if p["name"] not in totals))
    figure, axes = pyplot.subplots(figsize=(8, 0.42 * len(shown) + 1.2))
    left = [0.0] * len(shown)
    for name in names:
        width = [sum(p["predicted_us"] for p in case["parts"] if p["name"] == name) for case in shown]
        axes.barh(range(len(shown)), width, left=left, label=f"{name}, predicted")
        left = [a + b for a, b in zip(left, width)]
    axes.plot([case["recurrent_us_per_step"] for case in shown], range(len(shown)), "kD", label="measured, all")
    axes.set_yticks(range(len(shown)), [label(case) for case in shown], fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="microseconds a timestep of the recurrent part")
    legend_above(axes)
    finish(figure, stem, "parts")


def plot_ablation(cases, stem):
    names = ("stamps", "wide_loads", "bank_order")
    groups = collections.defaultdict(dict)
    for case in cases:
        groups[label(case)][tuple(case[name] for name in names)] = case["us_per_step"]
    groups = {text: times for text, times in groups.items() if len(times) > 1}
    if not groups:
        return
    bars = {
        (True, True, True): "all three",
        (False, True, True): "grid barriers for stamps",
        (True, False, True): "no wide loads",
        (True, True, False): "no bank order",
        (False, False, False): "none of them",
    }
    figure, axes = pyplot.subplots(figsize=(7, 4.2))
    width = 0.8 / len(bars)
    for i, (switches, text) in enumerate(bars.items()):
        heights = [times.get(switches, 0.0) for times in groups.values()]
        drawn = axes.bar([k + i * width for k in range(len(groups))], heights, width, label=text)
        axes.bar_label(drawn, [f"{height:.2f}" if height else "" for height in heights], fontsize=7)
    axes.set_xticks([k + 0.4 - width / 2 for k in range(len(groups))], groups)
    axes.set(ylabel="microseconds a timestep")
    legend_above(axes)
    finish(figure, stem, "ablation")


# What the paper says of its own GPU, and the case here that stands for it.
PAPER = {
    "RNN 2304, B=4, 30 %\n(paper: over 6)": (6, "tanh 2304 B=4 30 %"),
    "RNN of 4.8x the weights\n(paper: 2)": (2, "tanh 5632 B=4 30 %"),
    "translation: LSTM 1024,\nlayer, 10 % (paper: up to 3)": (3, "LSTM 1024 B=4 10 % layer"),
    "speech: GRU 2560,\nlayer, 10 % (paper: up to 3)": (3, "GRU 2560 B=4 10 % layer"),
}


def plot_paper(cases, stem):
    here = {label(case): times_faster(case) for case in cases if best_peer(case) and not is_ablated(case)}
    shown = {text: (claim, here[name]) for text, (claim, name) in PAPER.items() if name in here}
    if not shown:
        return
    figure, axes = pyplot.subplots(figsize=(7.5, 4.2))
    for i, (claim, ours) in enumerate(shown.values()):
        axes.bar_label(axes.bar(i - 0.2, claim, 0.4, color="lightgrey", label="" if i else "the paper, P100"), fmt="%.1f")
        axes.bar_label(axes.bar(i + 0.2, ours, 0.4, color="C0", label="" if i else "here, all peers of the race"), fmt="%.1f")
    axes.axhline(1, color="grey", linewidth=0.8)
    axes.set_xticks(range(len(shown)), shown, fontsize=8)
    axes.set(ylabel="times faster than the best peer")
    legend_above(axes)
    finish(figure, stem, "paper")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("json", type=pathlib.Path, help="what race_gpu wrote")
    path = parser.parse_args().json
    cases = [case for case in json.loads(path.read_text())["cases"] if "failed" not in case]
    stem = path.with_suffix("")
    plot_curves(cases, stem, "asked_density", "density", "density of the recurrent weights, %")
    plot_curves(cases, stem, "hidden_size", "hidden", "hidden size")
    plot_curves(cases, stem, "batch", "batch", "batch")
    plot_timesteps(cases, stem)
    plot_table(cases, stem)
    plot_parts(cases, stem)
    plot_ablation(cases, stem)
    plot_paper(cases, stem)


if __name__ == "__main__":
    main()
