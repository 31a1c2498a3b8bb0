"""The PTX memory model for litmus tests of a few loads and stores: enumerates every candidate execution of a file in
Dartagnan's PTX dialect and keeps those that the axioms of PTX ISA 8.10 allow. `ptx_model.py FILE` prints the outcomes.

It takes ld, st, fence.acq_rel, bar.cta.sync and loops that wait for a value; of a loop only the round that ends it is an
event, since rounds before it are reads that only add constraints. What the ISA says in words follows Dartagnan's
cat/ptx-v7.5.cat: dependencies are address, data and control dependencies within a thread.
"""

import collections
import dataclasses
import itertools
import operator
import pathlib
import re
import sys

COMPARE = {
    "beq": operator.eq,
    "bne": operator.ne,
    "blt": operator.lt,
    "ble": operator.le,
    "bgt": operator.gt,
    "bge": operator.ge,
}


@dataclasses.dataclass(frozen=True)
class Event:
    number: int
    thread: str
    kind: str  # R, W, F (fence), B (bar.sync)
    order: str = "weak"
    scope: str = ""
    location: str = ""  # of a barrier: its name, and how often the thread had met there
    register: str = ""  # that a read writes, or a write reads
    value: int = 0  # of a write without a register


@dataclasses.dataclass(frozen=True)
class Wait:
    """Control comes here only where `register` does not compare with `value`."""

    register: str
    compare: str
    value: int
    read: Event
    before: int  # events of this number and up, in its thread, depend on it


class Litmus:
    def __init__(self, text):
        header, rest = text.split("{", 1)
        declarations, rest = rest.split("}", 1)
        self.name = header.split()[1]
        self.initial = collections.defaultdict(int)
        for location, value in re.findall(r"(?<![:\w])(\w+)\s*=\s*(\d+)", declarations):
            self.initial[location] = int(value)
        rows = rest.split(";")
        heads = re.findall(r"(\w+)@cta (\d+),\s*gpu (\d+)", rows[0])
        self.place = {thread: (int(cta), int(gpu)) for thread, cta, gpu in heads}
        code = {thread: [] for thread in self.place}
        for row in rows[1:-1]:
            for thread, cell in zip(self.place, row.split("|")):
                code[thread] += [cell.strip()] if cell.strip() else []
        self.events, self.waits = [], []
        for thread, lines in code.items():
            self._read_thread(thread, lines)
        condition = re.fullmatch(r"\s*(~?exists|forall)\s*\((.*)\)\s*", rows[-1], re.DOTALL)
        if not condition:
            raise ValueError(f"condition: {rows[-1]}")
        self.quantifier = condition[1]
        self.condition = []
        for term in condition[2].split("/\\"):
            thread, register, compare, value = re.fullmatch(r"\s*(\w+):(\w+)\s*(==|!=)\s*(\d+)\s*", term).groups()
            self.condition.append((thread, register, compare == "==", int(value)))

    def _add(self, *args, **kwargs):
        self.events.append(Event(len(self.events), *args, **kwargs))
        return self.events[-1]

    def _read_thread(self, thread, lines):
        labels, last_read, met = {}, {}, collections.Counter()
        for at, line in enumerate(lines):
            if match := re.fullmatch(r"(LC\d+):", line):
                labels[match[1]] = at
            elif match := re.fullmatch(r"ld\.(weak|relaxed|acquire)(?:\.(cta|gpu|sys))? (r\d+), ([a-z]\w*)", line):
                order, scope, register, location = match.groups()
                last_read[register] = self._add(thread, "R", order, scope or "", location, register)
            elif match := re.fullmatch(r"st\.(weak|relaxed|release)(?:\.(cta|gpu|sys))? (\w+), (?:(\d+)|(r\d+))", line):
                order, scope, location, value, register = match.groups()
                if register and register not in last_read:
                    raise ValueError(f"a register that was not loaded: {line}")
                self._add(thread, "W", order, scope or "", location, register or "", int(value or 0))
            elif match := re.fullmatch(r"fence\.acq_rel\.(cta|gpu|sys)", line):
                self._add(thread, "F", "acq_rel", match[1])
            elif match := re.fullmatch(r"bar\.cta\.sync (\d+)", line):
                self._add(thread, "B", location=f"{match[1]}#{met[match[1]]}")
                met[match[1]] += 1
            elif match := re.fullmatch(r"(b\w\w) (r\d+), (\d+), (LC\d+)", line):
                compare, register, value, label = match.groups()
                loop = lines[labels[label] + 1 : at] if label in labels else []
                if len(loop) != 1 or not loop[0].startswith("ld."):
                    raise ValueError(f"only loops around one load: {line}")
                self.waits.append(Wait(register, compare, int(value), last_read[register], len(self.events)))
            else:
                raise ValueError(f"unknown: {line}")


def compose(a, b):
    after = collections.defaultdict(set)
    for x, y in b:
        after[x].add(y)
    return {(x, z) for x, y in a for z in after[y]}


def closure(relation):
    result = set(relation)
    while more := compose(result, relation) - result:
        result |= more
    return result


def acyclic(relation):
    return all(x != y for x, y in closure(relation))


def executions(litmus, dependencies_cross_barriers=False):
    """The registers, {(thread, register): value}, of each allowed execution."""
    locations = sorted({e.location for e in litmus.events if e.kind in "RW"})
    initial = {x: Event(-1 - i, "", "W", location=x, value=litmus.initial[x]) for i, x in enumerate(locations)}
    events = litmus.events
    by_number = {e.number: e for e in [*events, *initial.values()]}
    reads = [e for e in events if e.kind == "R"]
    writes = collections.defaultdict(list)
    for e in [*initial.values(), *events]:
        if e.kind == "W":
            writes[e.location].append(e)

    def pairs(test):
        return {(a.number, b.number) for a in events for b in events if a is not b and test(a, b)}

    def includes(e, other):
        (cta, gpu), (other_cta, other_gpu) = litmus.place[e.thread], litmus.place[other.thread]
        return e.scope == "sys" or gpu == other_gpu and (e.scope == "gpu" or e.scope == "cta" and cta == other_cta)

    def strong(e):
        return e.kind == "F" or e.kind in "RW" and e.order != "weak"

    def is_morally_strong(a, b):
        together = a.thread == b.thread or strong(a) and strong(b) and includes(a, b) and includes(b, a)
        return together and (a.kind not in "RW" or b.kind not in "RW" or a.location == b.location)

    order = pairs(lambda a, b: a.thread == b.thread and a.number < b.number)
    same = pairs(lambda a, b: a.location == b.location and a.kind in "RW" and b.kind in "RW")
    morally_strong = pairs(is_morally_strong)
    barrier = pairs(
        lambda a, b: a.kind == b.kind == "B"
        and a.location == b.location
        and litmus.place[a.thread] == litmus.place[b.thread]
    )
    strong_writes = {e.number for e in events if e.kind == "W" and strong(e)}
    strong_reads = {e.number for e in events if e.kind == "R" and strong(e)}
    releases = {(w, w) for w in strong_writes if by_number[w].order == "release"}
    releases |= {(a, b) for a, b in order & same if (a, a) in releases and b in strong_writes}
    releases |= {(a, b) for a, b in order if by_number[a].kind == "F" and b in strong_writes}
    acquires = {(r, r) for r in strong_reads if by_number[r].order == "acquire"}
    acquires |= {(a, b) for a, b in order & same if (b, b) in acquires and a in strong_reads}
    acquires |= {(a, b) for a, b in order if by_number[b].kind == "F" and a in strong_reads}

    # Data: from the last load of the register. Control: from a loop's load to all that follows it.
    depends = {
        (max(r.number for r in reads if r.thread == w.thread and r.register == w.register and r.number < w.number), w.number)
        for w in events
        if w.kind == "W" and w.register
    }
    source = {b: a for a, b in depends}
    for wait in litmus.waits:
        depends |= {(wait.read.number, e.number) for e in events if e.thread == wait.read.thread and e.number >= wait.before}
    if dependencies_cross_barriers:  # nobody passes before all have come, and who waits has not come
        depends |= compose(compose({(a, b) for a, b in depends if by_number[b].kind == "B"}, barrier), order)

    # What would only send its loop round again is left out at once.
    def may_read(read, write):
        waits = [w for w in litmus.waits if w.read is read and not write.register]
        return not any(COMPARE[w.compare](write.value, w.value) for w in waits)

    for choice in itertools.product(*([w for w in writes[r.location] if may_read(r, w)] for r in reads)):
        read_from = {(w.number, r.number) for w, r in zip(choice, reads)}
        if not acyclic(read_from | depends):  # No Thin Air
            continue
        chosen = {r.number: w for w, r in zip(choice, reads)}

        def value_of_read(number):
            write = chosen[number]
            return value_of_read(source[write.number]) if write.number in source else write.value

        if any(COMPARE[w.compare](value_of_read(w.read.number), w.value) for w in litmus.waits):
            continue

        observed = {(a, b) for a, b in read_from & morally_strong}
        synchronizes = morally_strong & compose(compose(releases, observed), acquires)
        base = closure(order | synchronizes | barrier)
        cause = base & same
        cause |= compose(observed, cause)
        if any((r, w) in cause for w, r in read_from):  # Causality: no read from what follows
            continue

        for orders in itertools.product(*(itertools.permutations(writes[x][1:]) for x in locations)):
            permuted = {(a.number, b.number) for one in orders for a, b in itertools.combinations(one, 2)}
            if any((b, a) in cause for a, b in permuted):  # Coherence
                continue
            coherent = {(a, b) for a, b in permuted if (a, b) in morally_strong or (a, b) in cause}
            coherent |= {(initial[x].number, w.number) for x in locations for w in writes[x][1:]}
            coherent = closure(coherent)
            from_read = compose({(r, w) for w, r in read_from}, coherent)
            if any((w, r) in cause for r, w in from_read):  # Causality: no read from what is overwritten
                continue
            communication = (read_from | coherent | from_read) & morally_strong
            if not acyclic(communication | order & same):  # SC per Location
                continue
            last = {(r.thread, r.register): value_of_read(r.number) for r in reads}
            yield last


def outcomes(litmus, **options):
    """All final registers that are allowed."""
    return {tuple(sorted(registers.items())) for registers in executions(litmus, **options)}


def holds(litmus, **options):
    """Whether the file's condition, `exists`, `~exists` or `forall`, is true of what is allowed."""

    def met(outcome):
        return all((outcome[thread, register] == value) == equal for thread, register, equal, value in litmus.condition)

    results = [met(dict(outcome)) for outcome in outcomes(litmus, **options)]
    return {"exists": any(results), "~exists": not any(results), "forall": all(results)}[litmus.quantifier]


if __name__ == "__main__":
    for path in sys.argv[1:]:
        test = Litmus(pathlib.Path(path).read_text())
        print(f"{test.name}: {test.quantifier} is {holds(test)}")
        for outcome in sorted(outcomes(test)):
            print("   ", ", ".join(f"{thread}:{register} == {value}" for (thread, register), value in outcome))
