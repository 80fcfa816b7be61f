"""Many passes with events: nothing may grow."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from agent.gitrepo.local import LocalRepository
from agent.loop import Loop
from tests.benchmarks.figures import Figure, collected, resident
from tests.benchmarks.fleet import steady
from tests.gitrepo.git import bare
from tests.rig import Rig

MACHINES = 50
PASSES = 1_000


def endurance() -> Iterator[Figure]:
    """Guests reboot, crash and come back."""
    Loop()
    folder = Path(tempfile.mkdtemp(prefix="gitvirt-"))
    with LocalRepository(bare(folder / "repository")) as repository:
        rig = steady(folder / "data", MACHINES, repository=repository)
        passes(rig, PASSES // 4)
        before = state(folder)
        passes(rig, PASSES)
        after = state(folder)
    for (what, unit, target), old, new in zip(WHAT, before, after, strict=True):
        yield Figure(
            f"{what} after {PASSES:,} passes with events, more than before", new - old, unit, target
        )


WHAT = (
    ("resident memory", "MiB", 5.0),
    ("objects in memory", "", 2_000.0),
    ("threads", "", 0.0),
    ("open files", "", 0.0),
    ("packs", "", 0.0),
)


def state(folder: Path) -> tuple[float, ...]:
    packs = len(list((folder / "repository").rglob("*.pack")))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    objects = collected()
    return (resident(), objects, threading.active_count(), descriptors, packs)


def passes(rig: Rig, count: int) -> None:
    uuids = sorted(rig.host._domains)
    for number in range(count):
        uuid = uuids[number % len(uuids)]
        match number % 3:
            case 0:
                rig.host.guest_reboot(uuid)
            case 1:
                rig.host.crash(uuid)
            case _:
                rig.agent.reconciler.look_at_git()
        rig.step()
        rig.now += 10
    rig.settle()
