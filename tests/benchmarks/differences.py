"""What it costs to say what differs: in two specs, and between a domain and what it should be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from deepdiff import DeepDiff

from agent.core.changes import Disposition, diff
from agent.core.domain_text import DomainText
from agent.core.drift import DEFINITION, Edit
from agent.core.schema import Catalogue
from agent.kinds.virtual_machine import edits
from agent.kinds.virtual_machine.definition import NAMES, DomainFacts, plain, read
from agent.kinds.virtual_machine.elements.disks import Disks
from tests.benchmarks.figures import Figure, median
from tests.rig import machine

ROUNDS = 100
DISKS = 16
DOMAIN = Path(__file__).parents[1] / "golden/cases/three-disks/domain.xml"


def differences() -> Iterator[Figure]:
    """Beside deepdiff over all that is compared."""
    kind = Catalogue.load().kinds["VirtualMachine"]
    names = tuple(f"disk-{number}" for number in range(DISKS))
    before = kind.defaulted({"spec": machine(disks=names)["spec"]})["spec"]
    after = {**before, "cpu": {**before["cpu"], "cores": 4}}
    ours, whole = each(lambda: diff(kind, before, after)), each(lambda: DeepDiff(before, after))
    yield Figure("CPU of comparing two specs", ours * 1e3, "ms", 0.64)
    yield Figure("deepdiff over all of them", whole * 1e3, "ms")
    wanted = domain()
    found = replace(wanted, cpu=replace(wanted.cpu, cores=4))
    same = each(lambda: told(wanted, replace(wanted)))
    yield Figure("CPU of comparing a domain that is as it should be", same * 1e3, "ms", 0.05)
    again = each(lambda: told(wanted, found))
    yield Figure("CPU of telling its drift again", again * 1e3, "ms", 0.1)
    first = each(lambda: told_anew(wanted, found))
    yield Figure("CPU of telling its drift", first * 1e3, "ms", 0.64)
    one, other = (
        {name: plain(name, getattr(at, name)) for name in NAMES} for at in (wanted, found)
    )
    whole = each(lambda: DeepDiff(one, other))
    yield Figure("deepdiff over all of its facts", whole * 1e3, "ms")


def domain() -> DomainFacts:
    """One with many disks."""
    facts = read(DomainText(DOMAIN.read_text()))
    first = facts.disks.disks[0]
    disks = (replace(first, serial=f"{number:032x}", unit=number) for number in range(DISKS))
    return replace(facts, disks=Disks(tuple(disks)))


def told(expected: DomainFacts, found: DomainFacts) -> list[Edit]:
    return [*edits.edits(DEFINITION, expected, found, NAMES, {}, Disposition.IMMEDIATE)]


def told_anew(expected: DomainFacts, found: DomainFacts) -> list[Edit]:
    edits._differences.cache_clear()
    return told(expected, found)


def each(work: Callable[[], object]) -> float:
    """Seconds of CPU time of one call."""

    def rounds() -> float:
        start = time.process_time()
        for _ in range(ROUNDS):
            work()
        return (time.process_time() - start) / ROUNDS

    return median(7, rounds)
