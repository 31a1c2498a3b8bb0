#!/usr/bin/env python3
"""Races the cases of a shapes file and writes results/<date>-<cpu>.json and .md (see METHOD.md).

Cases already in the .json are replaced, the others kept, so a long race can be run in parts (--cases 1-3)."""

import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys

here = pathlib.Path(__file__).resolve().parent


def read_cases(path):
    lines = (line.strip() for line in path.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def chosen(text, count):
    """'1,3-5' -> [0, 2, 3, 4]; absent: all."""
    if text is None:
        return list(range(count))
    numbers = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        numbers += range(int(first), int(last or first) + 1)
    wrong = [n for n in numbers if not 1 <= n <= count]
    if wrong:
        sys.exit(f"race_cpu.py: no case {wrong[0]}: the file has 1 to {count}")
    return [n - 1 for n in numbers]


def processor():
    fields = dict(re.findall(r"^([^\t:]+)\s*: (.*)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M))
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def machine(sprnn):
    def output(*command):
        return subprocess.run(command, capture_output=True, text=True, cwd=here).stdout.strip()

    return {
        "date": datetime.date.today().isoformat(),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "sprnn": output(sprnn, "--version"),
        "commit": output("git", "describe", "--always", "--dirty"),
        "command": shlex.join(sys.argv),
    }


def race(sprnn, case, python):
    with_python = ["--python", python] if python else []
    run = subprocess.run([sprnn, "bench", *shlex.split(case), *with_python, "--json"], stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit(f"race_cpu.py: sprnn bench {case} ended with status {run.returncode}")
    result = json.loads(run.stdout)
    for warning in result["warnings"]:
        print(f"race_cpu.py: {case}: {warning}", file=sys.stderr)
    return result


def peer_cells(result, name):
    """The peer's time, its time alone, and how much faster we are."""
    peer = next((p for p in result["peers"] if p["name"] == name), {"refused": "not run"})
    if "refused" in peer:
        return ["refused", "", ""]
    ratio = peer["us_per_step"] / result["us_per_step"]
    return [f"{peer['us_per_step']:.1f}", f"{peer['us_per_step_alone']:.1f}", f"{ratio:.2f}"]


def table(report):
    about = report["machine"]
    peers = [peer["name"] for peer in report["cases"][0]["result"]["peers"]]
    heads = ["case", "sprnn", "least", "slope", "isa", "threads"]
    for peer in peers:
        heads += [peer, "alone", "times faster"]
    lines = [
        "# " + f"{about['date']}, {about['processor']}",
        "",
        "Microseconds a timestep of the whole layer, medians; method in [METHOD.md](../METHOD.md).",
        "",
        f"- command: `{about['command']}`",
        f"- cores {about['cores']}, kernel {about['kernel']}, commit {about['commit']}",
        f"- {'; '.join(about['sprnn'].splitlines())}",
        "- " + "; ".join(sorted({f"{p['name']}: {p['version']} {p['implementation']}"
                                 for c in report["cases"] for p in c["result"]["peers"] if "version" in p})),
        "",
        "| " + " | ".join(heads) + " |",
        "|" + "---|" * len(heads),
    ]
    for case in report["cases"]:
        result = case["result"]
        slope = result.get("slope_us_per_step")
        row = [f"`{case['options']}`", f"{result['us_per_step']:.1f}", f"{result['us_per_step_min']:.1f}",
               "" if slope is None else f"{slope:.1f}", result["isa"], str(result["threads"])]
        for peer in peers:
            row += peer_cells(result, peer)
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", type=pathlib.Path, default=here / "shapes/cpu.txt")
    parser.add_argument("--cases", help="numbers of the file's cases, e.g. 1,3-5 (default: all)")
    parser.add_argument("--sprnn", default=str(here.parent / "build/bin/sprnn"))
    parser.add_argument("--python", help="an interpreter that has torch, onnxruntime and sprnn: they race too")
    parser.add_argument("--output", type=pathlib.Path, help="without suffix (default: results/<date>-<cpu>)")
    arguments = parser.parse_args()

    cases = read_cases(arguments.shapes)
    about = machine(arguments.sprnn)
    slug = re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(r\)|\(tm\)", "", about["processor"].lower())).strip("-")
    output = arguments.output or here / "results" / f"{about['date']}-{slug}"
    json_path = output.with_name(output.name + ".json")
    output.parent.mkdir(parents=True, exist_ok=True)
    results = {}
    if json_path.exists():
        results = {case["options"]: case["result"] for case in json.loads(json_path.read_text())["cases"]}

    for number in chosen(arguments.cases, len(cases)):
        print(f"{number + 1}: {cases[number]}", file=sys.stderr)
        results[cases[number]] = race(arguments.sprnn, cases[number], arguments.python)
        ordered = [case for case in cases if case in results] + [case for case in results if case not in cases]
        report = {"machine": about, "cases": [{"options": case, "result": results[case]} for case in ordered]}
        json_path.write_text(json.dumps(report, indent=1) + "\n")
        output.with_name(output.name + ".md").write_text(table(report))
    print(table(report))


if __name__ == "__main__":
    main()
