"""Passes over a fleet of an in-memory host and repository: what the agent's own work costs."""

from __future__ import annotations

import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path

from agent.loop import Loop
from tests.benchmarks.figures import Figure, cpu, median
from tests.benchmarks.fleet import documents, path, steady
from tests.rig import MAIN, Rig

BUDGET = {1_000: 10.0, 10_000: 50.0}
"""Milliseconds of CPU time that a pass over an unchanged commit may take, by number of VMs."""


def unchanged() -> Iterator[Figure]:
    """A pass over an unchanged commit, without a read of the host."""
    for count, target in BUDGET.items():
        rig = fleet(count)
        verbs, objects = len(rig.host.verbs), len(objects_of(rig))
        time = median(20, lambda rig=rig: cpu(lambda: look(rig)))  # type: ignore[misc]
        yield Figure(f"CPU of an unchanged pass, {count:,} VMs", time * 1e3, "ms", target)
        yield Figure("libvirt verbs in it", len(rig.host.verbs) - verbs, "", 0)
        yield Figure("Git objects in it", len(objects_of(rig)) - objects, "", 0)
        time = median(5, lambda rig=rig: cpu(lambda: elsewhere(rig)))  # type: ignore[misc]
        yield Figure(f"CPU of a commit that changes no manifest, {count:,} VMs", time * 1e3, "ms")


def one_change() -> Iterator[Figure]:
    """One VM's manifest changes: until its status is committed."""
    spent = {}
    for count in (100, 10_000):
        rig = fleet(count)
        sizes: list[int] = []
        spent[count] = median(7, lambda rig=rig, sizes=sizes: change(rig, sizes))  # type: ignore[misc]
        yield Figure(f"CPU of one changed VM among {count:,}", spent[count] * 1e3, "ms")
        kib = sorted(sizes)[len(sizes) // 2] / 1024
        yield Figure(f"Git objects of its status, {count:,} VMs", kib, "KiB", 16)
    more = spent[10_000] - spent[100]
    yield Figure("CPU of one changed VM, more among 10,000 than among 100", more * 1e3, "ms", 50)


def fleet(count: int) -> Rig:
    Loop()  # with the agent's way to collect garbage
    return steady(Path(tempfile.mkdtemp(prefix="gitvirt-")), count)


def objects_of(rig: Rig) -> dict[str, tuple[int, bytes]]:
    objects: dict[str, tuple[int, bytes]] = rig.repo.objects  # type: ignore[attr-defined]
    return objects


def look(rig: Rig) -> None:
    rig.agent.reconciler.look_at_git()
    rig.step()
    rig.agent.reconciler.run()


def elsewhere(rig: Rig) -> None:
    rig.push({"notes.txt": f"{rig.now} {len(objects_of(rig))}\n"})
    rig.settle()


def change(rig: Rig, sizes: list[int]) -> float:
    """Seconds until the status is committed; `sizes` gets the bytes of its objects as Git stores them."""
    before = set(objects_of(rig))
    rig.push({path(7): documents(7, labels={"change": str(len(before))})})
    pushed = set(objects_of(rig))
    spent = cpu(rig.settle)
    made = objects_of(rig).keys() - pushed
    sizes.append(sum(len(zlib.compress(objects_of(rig)[each][1])) for each in made))
    assert MAIN in rig.repo.fetch()
    return spent
