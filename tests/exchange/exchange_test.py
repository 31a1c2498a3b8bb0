"""exchange_test.py: model-checks exchange.pml and counted.pml with spin. Every configuration must hold; every mutant, one
thing of the protocol left out or done wrongly, must be caught, and in the way that is expected. Exits with 77 where spin or
a C compiler is missing."""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

FOLDER = pathlib.Path(__file__).resolve().parent
SKIPPED = 77

# Name: macros of the model. Sizes are what a few million states allow.
CONFIGURATIONS = {
    "2 CTAs": "STEPS=8",
    "2 CTAs, 2 words": "WORDS=2 STEPS=6",
    "3 CTAs": "CTAS=3 STEPS=6",
    "4 CTAs": "CTAS=4 STEPS=2",
    "2 groups": "GROUPS=2 STEPS=4",
    "2 threads": "THREADS=2 WORDS=2 STEPS=4",
    "projection": "PROJECTION=1 STEPS=8",
    "projection, 3 CTAs": "PROJECTION=1 CTAS=3 STEPS=4",
    "projection, 2 threads": "PROJECTION=1 THREADS=2 WORDS=2 STEPS=3",
    "give-up": "EXPIRIES=1 STEPS=6",
    "give-up, 3 CTAs": "CTAS=3 EXPIRIES=1 STEPS=3",
    "give-up, 2 groups": "GROUPS=2 EXPIRIES=1 STEPS=2",
    "give-up, 2 threads": "THREADS=2 EXPIRIES=1 STEPS=4",
    "give-up, projection": "PROJECTION=1 EXPIRIES=1 STEPS=5",
    "give-up, projection, 2 threads": "PROJECTION=1 THREADS=2 EXPIRIES=1 STEPS=2",
    "two give up": "CTAS=3 EXPIRIES=2 STEPS=2",
    "a CTA dies": "CTAS=3 EXPIRIES=1 DEAD=1 STEPS=3",
    "a CTA dies, projection": "PROJECTION=1 EXPIRIES=2 DEAD=1 STEPS=4",
    "an earlier launch was given up": "GIVEN_UP=1 CTAS=3 STEPS=3",
    "held": "HELD=1 STEPS=8",
    "held, 2 words": "HELD=1 WORDS=2 STEPS=6",
    "held, 3 CTAs": "HELD=1 CTAS=3 STEPS=5",
    "held, 2 threads": "HELD=1 THREADS=2 WORDS=2 STEPS=4",
    "held, give-up, 2 threads": "HELD=1 THREADS=2 EXPIRIES=1 STEPS=3",
    "held, a CTA dies": "HELD=1 CTAS=3 EXPIRIES=1 DEAD=1 STEPS=3",
    "held, streamed, 2 threads": "HELD=1 STREAMED THREADS=2 WORDS=2 STEPS=4",
    "held, streamed, give-up, 2 threads": "HELD=1 STREAMED THREADS=2 EXPIRIES=1 STEPS=2",
    "held, staged, 2 threads": "HELD=1 STAGED THREADS=2 WORDS=2 STEPS=4",
    "held, staged, give-up, 2 threads": "HELD=1 STAGED THREADS=2 EXPIRIES=1 STEPS=2",
    "held, grid barrier, 2 threads": "HELD=1 BARRIER=1 THREADS=2 WORDS=2 STEPS=4",
    "cluster, give-up": "CLUSTER=1 EXPIRIES=1 STEPS=6",
    "cluster, give-up, 3 CTAs": "CLUSTER=1 CTAS=3 EXPIRIES=1 STEPS=3",
    "cluster, give-up, 2 threads": "CLUSTER=1 THREADS=2 EXPIRIES=1 STEPS=3",
    "cluster, held, give-up, 2 threads": "CLUSTER=1 HELD=1 THREADS=2 EXPIRIES=1 STEPS=3",
    "cluster, held, staged, give-up, 2 threads": "CLUSTER=1 HELD=1 STAGED THREADS=2 EXPIRIES=1 STEPS=2",
    "cluster, held, streamed, give-up, 2 threads": "CLUSTER=1 HELD=1 STREAMED THREADS=2 EXPIRIES=1 STEPS=2",
    "grid barrier": "BARRIER=1 CTAS=3 STEPS=5",
    "grid barrier, 2 groups": "BARRIER=1 GROUPS=2 STEPS=4",
    "grid barrier, 2 threads": "BARRIER=1 THREADS=2 WORDS=2 STEPS=4",
    "grid barrier, give-up": "BARRIER=1 THREADS=2 EXPIRIES=1 STEPS=4",
    "grid barrier, projection": "BARRIER=1 PROJECTION=1 EXPIRIES=1 STEPS=4",
    # No part of the protocol, but a fact worth knowing: either exchange of a projection guards the other's slot.
    "projection, one slot": "PROJECTION=1 ONE_SLOT STEPS=6",
}

STALE, DEADLOCK = "assertion violated", "invalid end state"

# Name: the configuration that it spoils, the macro that does it, how it shows.
MUTANTS = {
    "one slot": ("2 CTAs", "ONE_SLOT", DEADLOCK),
    "stamps toggle a step late": ("2 CTAs", "LATE_TOGGLE", STALE),
    "tags too short": ("projection", "SHORT_TAG", STALE),
    "unused producers are skipped": ("2 CTAs", "SKIP_UNUSED", DEADLOCK),
    "unused producers are skipped, 3 CTAs": ("3 CTAs", "SKIP_UNUSED", DEADLOCK),
    "a CTA without units publishes nothing": ("2 CTAs", "EMPTY_CTA", DEADLOCK),
    "only a slice's first word is stamped": ("2 CTAs, 2 words", "STAMP_OF_FIRST_WORD", STALE),
    "the ring is not cleared": ("2 CTAs", "NO_RESET", STALE),
    "no barrier after staging": ("2 threads", "NO_FIRST_BARRIER", STALE),
    "no barrier after the product": ("2 threads", "NO_SECOND_BARRIER", STALE),
    "held, one set of sums": ("held, 2 threads", "ONE_SET_OF_SUMS", STALE),
    "held, no barrier after the product": ("held, 2 threads", "NO_SECOND_BARRIER", STALE),
    "held, streamed, no barrier before the sums are left": ("held, streamed, 2 threads", "NO_FIRST_BARRIER", STALE),
    "held, staged, no barrier before the rest": ("held, staged, 2 threads", "NO_FIRST_BARRIER", STALE),
    "held, staged, no barrier after the rest": ("held, staged, 2 threads", "NO_SECOND_BARRIER", STALE),
    "the grid barrier is relaxed": ("grid barrier", "RELAXED_BARRIER", STALE),
    "no rendezvous": ("give-up", "NO_RENDEZVOUS", STALE),
    "no deadline": ("a CTA dies", "NO_DEADLINE", DEADLOCK),
    "nobody looks at the abort word": ("give-up", "NO_ABORT_CHECK", DEADLOCK),
    "nobody looks at the abort word, 2 groups": ("give-up, 2 groups", "NO_ABORT_CHECK", DEADLOCK),
    "a thread leaves alone": ("give-up, 2 threads", "LEAVE_ALONE", STALE),
    "cluster, a thread leaves for a state that it has yet to wait for": (
        "cluster, give-up, 2 threads",
        "FLAG_OF_ANY_STATE",
        DEADLOCK,
    ),
    "cluster, held, a thread leaves for a state that it has yet to wait for": (
        "cluster, held, give-up, 2 threads",
        "FLAG_OF_ANY_STATE",
        DEADLOCK,
    ),
    "nobody looks at the flag": ("give-up, 2 threads", "NO_FLAG", STALE),
    "the verdict is stored, not swapped in": ("two give up", "NO_COMPARE", STALE),
    "no look at the abort word after the rendezvous": ("an earlier launch was given up", "NO_LAST_LOOK", STALE),
    "outputs are not filled": ("give-up", "NO_NAN", STALE),
}


# The same of counted.pml.
COUNTED = {
    "counted": "STEPS=8",
    "counted, 3 CTAs": "CTAS=3 WARPS=1 STEPS=8",
    "counted, 2 words": "WARPS=1 WORDS=2 STEPS=8",
    "counted, 2 lanes": "LANES=2 STEPS=6",
    "counted, one CTA": "CTAS=1 WARPS=4 STEPS=6",
    "counted, give-up": "EXPIRIES=1 STEPS=5",
    "counted, give-up, 3 CTAs": "CTAS=3 WARPS=1 EXPIRIES=1 STEPS=3",
    "counted, give-up, 2 lanes": "WARPS=1 LANES=2 EXPIRIES=1 STEPS=6",
    "counted, two give up, and one elsewhere": "WARPS=1 LANES=2 EXPIRIES=2 ELSEWHERE=1 STEPS=6",
    "counted, an earlier launch was given up": "GIVEN_UP=1",
    # Not what the kernel does, which arms before it publishes: words may come to an mbarrier that is not armed for them.
    "counted, armed after publishing": "LATE_ARM STEPS=7",
}

COUNTED_MUTANTS = {
    "counted, one slot": ("counted", "ONE_SLOT", STALE),
    "counted, the parity of the step": ("counted", "PARITY_OF_STEP", STALE),
    "counted, the parity changes a state early": ("counted", "EARLY_PARITY", STALE),
    "counted, a warp is not counted": ("counted", "SHORT_COUNT", STALE),
    "counted, a warp that needs no other's words does not wait": ("counted", "SKIP_UNUSED", STALE),
    "counted, a warp without units publishes nothing": ("counted", "EMPTY_WARP", STALE),
    "counted, never armed again": ("counted", "NO_REARM", DEADLOCK),
    "counted, armed again too early": ("counted", "EARLY_ARM", STALE),
    "counted, the last state is published": ("counted", "LAST_PUBLISHED", STALE),
    "counted, no meeting at the start": ("counted", "NO_FIRST_MEETING", STALE),
    "counted, no meeting at the end": ("counted, give-up", "NO_LAST_MEETING", STALE),
    "counted, who gives up does not let words land": ("counted, give-up", "NO_LANDING", STALE),
    "counted, who gives up publishes": ("counted, give-up", "NO_FLAG", STALE),
    "counted, nobody looks at the abort word": ("counted, give-up", "NO_ABORT_CHECK", DEADLOCK),
}


def check(folder, model, macros, optimisation):
    """The number of states, and what was violated: a line of pan's, or None."""
    flags = [f"-D{macro}" for macro in macros.split()]
    for command in (
        ["spin", "-a", *flags, str(FOLDER / model)],
        [os.environ.get("CC", "cc"), "-w", optimisation, "-DSAFETY", "-DMEMLIM=3000", "-o", "pan", "pan.c"],
    ):
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if built.returncode != 0 or not (folder / "pan.c").exists():
            raise RuntimeError(f"{' '.join(command)}:\n{built.stdout}{built.stderr}")
    run = subprocess.run(["./pan", "-m1000000", "-w25"], cwd=folder, capture_output=True, text=True)
    errors = re.search(r"errors: (\d+)", run.stdout)
    violation = re.search(r"^pan:1: (.*)", run.stdout, re.MULTILINE)
    if not errors or (errors[1] == "0") != (violation is None):
        raise RuntimeError(f"pan says:\n{run.stdout}{run.stderr}")
    # A search that was cut short proves nothing.
    if violation is None and re.search("Search not completed|reached -DMEMLIM|max search depth too small", run.stdout):
        raise RuntimeError(f"the search was not completed:\n{run.stdout}{run.stderr}")
    return int(float(re.search(r"([\d.e+]+) states, stored", run.stdout)[1])), violation and violation[1]


def rows():
    for model, configurations, mutants in (
        ("exchange.pml", CONFIGURATIONS, MUTANTS),
        ("counted.pml", COUNTED, COUNTED_MUTANTS),
    ):
        for name, macros in configurations.items():
            yield name, model, macros, None
        for name, (spoiled, macro, expected) in mutants.items():
            yield f"mutant: {name}", model, f"{configurations[spoiled]} {macro}", expected


def main():
    for tool in ("spin", os.environ.get("CC", "cc")):
        if not shutil.which(tool):
            print(f"no {tool} here (Debian: apt-get install spin gcc)")
            return SKIPPED
    passed = failed = 0
    for name, model, macros, expected in rows():
        optimisation = "-O1" if expected is None else "-O0"  # a mutant is caught long before pan would be optimised
        with tempfile.TemporaryDirectory(prefix="sprnn-exchange-") as folder:
            try:
                states, violation = check(pathlib.Path(folder), model, macros, optimisation)
            except RuntimeError as error:
                states, violation = 0, str(error)
        good = violation is None if expected is None else violation is not None and expected in violation
        passed += good
        failed += not good
        outcome = "holds" if violation is None else violation
        print(f"{'ok    ' if good else 'FAILED'} {name} [{macros}]: {states} states, {outcome}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
