#!/usr/bin/env python3
"""Sums up JUnit files as ctest and pytest write them: test_summary.py FILE...

Lists what failed and what was skipped and why, then prints 'N passed, N failed' over all files. A file
that is missing counts as one failure: its preset did not build. Exit status 1 when anything failed or
nothing ran.
"""

import collections
import pathlib
import sys
import xml.etree.ElementTree as ElementTree


def skip_reason(case):
    """pytest's message; what GTEST_SKIP() << "reason" printed, on the line after '...: Skipped'; else the last line."""
    if case.get("status") is None:
        return case.find("skipped").get("message") or "no reason given"
    lines = [line.strip() for line in (case.findtext("system-out") or "").splitlines() if line.strip()]
    for line, following in zip(lines, lines[1:]):
        if line.endswith(": Skipped"):
            return following
    return lines[-1] if lines else "no reason given"


def main():
    passed, failed, skipped = 0, 0, collections.Counter()
    for path in map(pathlib.Path, sys.argv[1:]):
        if not path.exists():
            print(f"FAILED  {path.stem}: did not build or could not run its tests")
            failed += 1
            continue
        for case in ElementTree.parse(path).getroot().iter("testcase"):
            status = case.get("status")  # ctest's; pytest writes none
            if case.find("skipped") is not None and status in ("notrun", None):
                skipped[skip_reason(case)] += 1
            elif status == "run" or status is None and case.find("failure") is None and case.find("error") is None:
                passed += 1
            elif status != "disabled":
                failed += 1
                print(f"FAILED  {path.stem}: {case.get('name')}")
    for reason, count in sorted(skipped.items()):
        print(f"SKIPPED {count}: {reason}")
    total_skipped = f", {sum(skipped.values())} skipped" if skipped else ""
    print(f"{passed} passed, {failed} failed{total_skipped}")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
