"""Addresses for a whole fleet: what choosing them costs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agent.loop import Loop
from tests.benchmarks.figures import Figure
from tests.rig import Rig, encoded, manifest, settings

COUNT = 10_000


def addresses() -> Iterator[Figure]:
    """Automatic addresses in a pool that has room for twice as many, all at once and then one more."""
    Loop()  # with the agent's way to collect garbage
    rig = Rig(Path(tempfile.mkdtemp(prefix="gitvirt-")))
    rig.push({"config.yaml": settings("10.66.0.0/17")})
    rig.settle()
    spent = _decided(rig)
    rig.push({f"{number // 100}.yaml": _hundred(number) for number in range(0, COUNT, 100)})
    rig.settle()
    got = {
        each.status["address"]
        for each in rig.agent.reconciler.records().values()
        if each.obj.key.kind == "VirtualMachineIPAddress"
    }
    yield Figure("different addresses", len(got), "", least=COUNT)
    yield Figure(f"CPU of giving out {COUNT:,}", sum(spent), "s", 2)
    spent.clear()
    rig.push({"more.yaml": _address(COUNT)})
    rig.settle()
    yield Figure(f"CPU of giving out one more among {COUNT:,}", sum(spent) * 1e3, "ms", 20)


def _address(number: int) -> dict[str, object]:
    name, team = f"ip-{number:05d}", f"team-{number % 100:03d}"
    return manifest("VirtualMachineIPAddress", name, {"type": "Auto"}, namespace=team)


def _hundred(first: int) -> bytes:
    data = encoded([_address(number) for number in range(first, first + 100)])
    assert data is not None
    return data


def _decided(rig: Rig) -> list[float]:
    """Seconds of CPU time of each time that something is decided, from now on."""
    spent: list[float] = []
    reconciler = rig.agent.reconciler
    decide = reconciler._decide

    def timed(now: float) -> int:
        start = time.process_time()
        count = decide(now)
        spent.append(time.process_time() - start)
        return count

    reconciler._decide = timed  # type: ignore[method-assign]
    return spent
