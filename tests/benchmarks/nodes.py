"""What a node that is away, or does not answer, costs the passes over machines of the others."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from agent.core.identity import POOL, disk_volume
from agent.core.model import Key
from agent.loop import Loop
from agent.reconcile.host import RETRY, SOON
from tests.benchmarks.figures import Figure, cpu, median
from tests.benchmarks.fleet import documents, namespace, path, push
from tests.memory_host import NODE, MemoryHost, Volume
from tests.rig import GIB, Rig

COUNT = 999
NODES = 3


def one_away() -> Iterator[Figure]:
    """The same fleet with all nodes, with one that is lost and with one that does not answer: each
    third of the VMs on one node.
    """
    whole, lost, hanging = fleet(), fleet(), fleet()
    lost.others[0].disconnect()
    hanging.slow.add(hanging.others[0].name)
    for partly in (lost, hanging):
        for _ in range(int(SOON) + 1):  # until the machines of the lost one are said to be unknown
            partly.now += 1
            partly.step()
        partly.settle()
    for what, work, most in (
        ("20 unchanged passes", passing, 1.2),
        ("one changed VM", change, 1.5),
    ):
        alone = median(15, lambda work=work: cpu(partial(work, whole)))  # type: ignore[misc]
        yield Figure(f"CPU of {what}, {COUNT} VMs on {NODES} nodes", alone * 1e3, "ms")
        for which, partly in (("lost", lost), ("that does not answer", hanging)):
            less = median(15, lambda work=work, rig=partly: cpu(partial(work, rig)))  # type: ignore[misc]
            yield Figure(f"the same with one node {which}", less / alone, "times", most)


def passing(rig: Rig) -> None:
    """While it is asked again and again whether it is back."""
    for _ in range(20):
        rig.now += RETRY / 4
        rig.step()


def change(rig: Rig) -> None:
    rig.push({path(0): documents(0, labels={"change": str(rig.now)})})
    rig.settle()


def fleet() -> Rig:
    Loop()  # with the agent's way to collect garbage
    first, *others = (
        MemoryHost(node=replace(NODE, name=f"pt-{at}", host=f"uuid-{at}", memory=1 << 50))
        for at in range(NODES)
    )
    folder = Path(tempfile.mkdtemp(prefix="gitvirt-"))
    rig = Rig(folder, host=first, others=tuple(others))
    for number in range(COUNT):
        key = Key("VirtualDisk", namespace(number), f"vm-{number:05d}")
        name = disk_volume("default", key, f"{number:08d}-0000-4000-8000-000000000000")
        volume = Volume(f"/var/lib/libvirt/{POOL}/{name}", 10 * GIB)
        [first, *others][number % NODES].pools.setdefault(POOL, {})[name] = volume
    push(rig.repo, COUNT)
    summary = rig.settle(steps=500)
    assert not (*summary.wrong, *summary.problems)
    spread = [len(each._domains) for each in rig.hosts.values()]
    assert spread == [COUNT // NODES] * NODES
    return rig
