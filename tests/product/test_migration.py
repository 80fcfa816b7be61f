"""Machines that go from node to node while they run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.domain_xml import parse
from agent.core.identity import POOL
from agent.core.metadata import DomainMetadata, from_domain
from agent.places import Pools, PoolSettings
from tests.memory_host import NODE, MemoryHost
from tests.rig import OPERATIONS, Rig, condition, disk, machine, operation

SHARED = Pools.of({"gitvirt": PoolSettings(POOL, shared=True)})


def host(number: int) -> MemoryHost:
    name = f"pt-{number}"
    return MemoryHost(node=replace(NODE, name=name, uri=f"memory:///{name}", host=f"uuid-{number}"))


class Fleet(Rig):
    """Three nodes."""

    def on(self, name: str = "vm") -> list[str]:
        """Nodes on which its guest runs."""
        uuid = self.uuid(name)
        found = ((node, each._domains.get(uuid)) for node, each in self.hosts.items())
        return [node for node, raw in found if raw is not None and raw.state == "running"]

    def there(self, name: str = "vm") -> list[str]:
        """Nodes that have its domain."""
        return [node for node, each in self.hosts.items() if self.uuid(name) in each._domains]

    def volumes(self, node: str) -> list[str]:
        return sorted(self.hosts[node].pools.get(POOL, {}))

    def remembered(self, node: str, *, active: bool = False) -> DomainMetadata:
        raw = self.hosts[node]._domains[self.uuid()]
        memory = from_domain(parse(raw.active_xml if active else raw.inactive_xml))
        assert memory is not None
        return memory

    def ask(self, kind: str = "Evict", name: str = "move", vm: str = "vm", **spec: Any) -> None:
        self.push({f"{name}.yaml": operation(name, vm, kind, **spec)}, OPERATIONS)

    def go(self, steps: int = 30, seconds: float = 1.0) -> None:
        self.agent.reconciler.look_at_git()
        for _ in range(steps):
            self.step()
            self.now += seconds


def fleet(folder: Path, pools: Pools, number: int = 3) -> Fleet:
    first, *others = (host(each) for each in range(1, number + 1))
    if pools.shared:
        for each in others:
            each.pools = first.pools
    made = Fleet(folder, host=first, others=tuple(others), pools=pools)
    made.push({"vm.yaml": [machine(), disk()]})
    made.settle()
    assert made.on() == ["pt-1"]
    return made


@pytest.fixture(params=["shared", "local"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    return fleet(tmp_path, SHARED if request.param == "shared" else Pools())


@pytest.fixture
def local(tmp_path: Path) -> Fleet:
    return fleet(tmp_path, Pools())


def whole(rig: Fleet, at: str, epoch: int = 1) -> None:
    """The machine runs there, and nothing of it is anywhere else."""
    assert (rig.on(), rig.there()) == ([at], [at])
    for active in (False, True):
        memory = rig.remembered(at, active=active)
        assert (memory.epoch, memory.migration) == (epoch, None)
    if not rig.pools.shared:
        assert [node for node in rig.hosts if rig.volumes(node)] == [at]
    assert not [name for node in rig.hosts for name in rig.volumes(node) if "unfinished" in name]
    status = rig.vm()["status"]
    assert (status["phase"], status["nodeName"], status["home"]) == ("Running", at, at)
    assert not condition(rig.vm(), "Migrating")
    assert not condition(rig.vm(), "DriftDetected")
    disk_status = rig.document("namespaces/default/virtualdisks/root.yaml")["status"]
    assert disk_status["phase"] == "Ready"
    if not rig.pools.shared:
        assert disk_status["home"] == at


def test_it_goes_and_nothing_stays_behind(rig: Fleet) -> None:
    before = rig.remembered("pt-1", active=True)
    rig.ask()
    rig.settle()
    whole(rig, "pt-2")
    status = rig.vmop("move")["status"]
    assert (status["phase"], status["progress"]) == ("Completed", "100%")
    assert condition(rig.vmop("move"), "Completed")["reason"] == "Completed"
    assert rig.remembered("pt-2", active=True).instance == before.instance
    assert rig.remembered("pt-2").home == "pt-2"
    state = rig.vm()["status"]["migrationState"]
    assert (state["source"], state["target"]) == ({"node": "pt-1"}, {"node": "pt-2"})
    assert state["result"] == "Succeeded"
    assert state["startTimestamp"] <= state["endTimestamp"]
    docs = rig.documents()
    rig.now += 1000
    rig.settle()
    assert rig.documents() == docs
    rig.ask(name="back")
    rig.settle()
    whole(rig, "pt-1", epoch=2)
