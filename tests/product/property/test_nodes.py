"""Three hosts, lost and back, slow and mute, in whatever order: no machine is ever on two of them, and each ends where it belongs."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from agent.core.acceptance import FREE_DELETIONS
from agent.core.host import HostError, RawDomain, Reading
from agent.core.identity import POOL, disk_volume
from agent.core.model import Key
from agent.places import Pools
from tests.memory_host import NODE, Killed, MemoryHost, Volume
from tests.product.property import surroundings
from tests.product.property.manifests import KEPT
from tests.rig import GIB, OPERATIONS, STATUS, Rig, condition, disk, machine, operation

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "30"))
STEPS = int(os.environ.get("PROPERTY_STEPS", "30"))
NODES = ("pt-1", "pt-2", "pt-3")
NAMES = ("a", "b", "c", "d")

names = st.sampled_from(NAMES)
nodes = st.sampled_from(NODES)
soon = st.sampled_from((0, 3, 25))
"""Passes; after as many as the last a node that is away is told to be so."""


@dataclass
class Node(MemoryHost):
    """One of several. Silent: whatever is asked of it fails after its time."""

    silent: bool = False
    others: list[Node] = field(default_factory=list)

    def read(self, pools: frozenset[str]) -> Reading:
        self._hear()
        return super().read(pools)

    def read_domain(self, uuid: str) -> RawDomain | None:
        self._hear()
        return super().read_domain(uuid)

    def _hear(self) -> None:
        if self.silent:
            raise HostError("Timeout", "no answer within 60 seconds")

    def _put(self, domain: RawDomain) -> None:
        """No domain of the agent's is ever made on a node while another one has it."""
        if domain.uuid not in self._domains:
            there = [each.name for each in self.others if domain.uuid in each._domains]
            assert not there, f"{domain.name} is made on {self.name} while {there} has it"
        super()._put(domain)


class Fleet(RuleBasedStateMachine):
    shared = False
    """Whether all nodes have the same disks."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gitvirt-")
        hosts = [Node(node=replace(NODE, name=name, host=f"uuid of {name}")) for name in NODES]
        for each in hosts:
            each.others = [other for other in hosts if other is not each]
            each.on_effect = self.effect
        self.hosts = {each.name: each for each in hosts}
        self.left = 0
        """Effects until the agent dies; 0 for never."""
        pools = Pools(shared=frozenset({POOL})) if self.shared else Pools()
        others = tuple(hosts[1:])
        self.rig = Rig(Path(self.folder.name), host=hosts[0], others=others, pools=pools)
        self.wanted: dict[str, int] = {}
        """Cores of each machine that is to run, by name."""
        self.home: dict[str, str] = {}
        """The node of each machine once it was seen on one."""
        self.asked = 0
        for number, (name, each) in enumerate(zip(NAMES, hosts, strict=False)):
            uid = f"00000000-0000-4000-8000-00000000000{number}"
            volume = disk_volume("default", Key("VirtualDisk", "default", f"disk-{name}"), uid)
            there = each.pools.setdefault(POOL, {})
            there[volume] = Volume(f"/var/lib/libvirt/{POOL}/{volume}", GIB)
            if self.shared:
                each.pools = hosts[0].pools
                each.pools[POOL].update(there)
        self.rig.push({"kept.yaml": KEPT})

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.folder.cleanup()

    def effect(self, verb: str, phase: str) -> None:
        if self.left and phase == "after" and verb != "ensure_pool":
            self.left -= 1
            if not self.left:
                raise Killed

    def work(self, passes: int) -> None:
        """Passes of the agent; should it die, another one takes its place."""
        for _ in range(passes):
            try:
                self.rig.step()
            except Killed:
                self.rig.start()
            self.rig.now += 1

    def where(self, name: str) -> list[str]:
        uuid = self.rig.uuid(name)
        return [node for node, each in self.hosts.items() if uuid in each._domains]

    @initialize(others=st.sets(names))
    def begin(self, others: set[str]) -> None:
        """A machine on each node, and some more."""
        for name in {*NAMES[:3], *others}:
            self.declared(name, 1, 0)
        self.heal()

    # -- what happens ------------------------------------------------------------------------

    @rule(passes=st.integers(1, 20))
    def looks(self, passes: int) -> None:
        self.rig.agent.reconciler.look_at_git()
        self.work(passes)

    @rule(name=names, cores=st.integers(1, 3), passes=soon)
    def declared(self, name: str, cores: int, passes: int) -> None:
        self.wanted[name] = cores
        spec: dict[str, Any] = {
            "cpu": {"cores": cores},
            "disruptions": {"restartApprovalMode": "Automatic"},
        }
        vm = machine(name, disks=(f"disk-{name}",), runPolicy="AlwaysOn", **spec)
        self.rig.push({f"{name}.yaml": [disk(f"disk-{name}"), vm]})
        self.looks(passes)

    @rule(name=names, passes=soon)
    def removed(self, name: str, passes: int) -> None:
        """Its disk stays declared, and so where it is. More at once would have to be confirmed."""
        there = [each for each in NAMES if each not in self.wanted and self.where(each)]
        if len(there) < FREE_DELETIONS and self.wanted.pop(name, None) is not None:
            self.rig.push({f"{name}.yaml": disk(f"disk-{name}")})
            self.looks(passes)

    @rule(node=nodes, how=st.sampled_from(("lost", "lost", "mute", "back", "power")), passes=soon)
    def happens_to_a_node(self, node: str, how: str, passes: int) -> None:
        each = self.hosts[node]
        match how:
            case "lost":
                each.disconnect()
            case "mute":
                each.silent = True
            case "back":
                self.comes_back(each)
            case "power":  # all on it is off, whether anybody can see it or not
                reachable = each.reachable
                each.lose_host()
                each.reachable = reachable
        self.work(passes)

    @rule(name=names, how=st.sampled_from(("crash", "poweroff")))
    def ends(self, name: str, how: str) -> None:
        for node in self.where(name):
            each, uuid = self.hosts[node], self.rig.uuid(name)
            if each._domains[uuid].active:
                (each.crash if how == "crash" else each.guest_poweroff)(uuid)

    @rule(name=names, kind=st.sampled_from(("Restart", "Stop")))
    def asked_for(self, name: str, kind: str) -> None:
        if name in self.wanted:
            self.asked += 1
            op = f"op-{self.asked}"
            self.rig.push({f"{op}.yaml": operation(op, name, kind, force=True)}, OPERATIONS)

    @rule(left=st.integers(1, 4))
    def dies_soon(self, left: int) -> None:
        self.left = left

    @rule(lost=st.booleans(), passes=soon)
    def another_agent_begins(self, lost: bool, passes: int) -> None:
        """With the ledger or without it."""
        if lost:
            self.rig.repo.refs.pop(STATUS, None)  # type: ignore[attr-defined]
        self.rig.start()
        self.looks(passes)

    # -- what holds ----------------------------------------------------------------------------

    @invariant()
    def no_machine_is_on_two_nodes(self) -> None:
        for name in NAMES:
            assert len(self.where(name)) <= 1, (name, self.where(name))

    @invariant()
    def a_machine_stays_where_it_is(self) -> None:
        for name in NAMES:
            for node in self.where(name):
                assert self.home.setdefault(name, node) == node
            if name not in self.wanted and not self.where(name):
                self.home.pop(name, None)  # where there is no machine, a new one may be anywhere

    @rule()
    def heal(self) -> None:
        self.left = 0
        for each in self.hosts.values():
            self.comes_back(each)
        self.rig.agent.reconciler.look_at_git()
        self.work(60)
        self.rig.now += 600  # every wait is over
        self.work(60)
        self.rig.settle()
        for name in NAMES:
            self.is_right(name)
        told = self.rig.document("agent.yaml")["nodes"]
        assert all(each["ready"] for each in told), told

    def is_right(self, name: str) -> None:
        where = self.where(name)
        if name not in self.wanted:
            assert where == []
            return
        document = self.rig.vm(name)
        assert len(where) == 1, document["status"]
        raw = self.hosts[where[0]]._domains[self.rig.uuid(name)]
        assert raw.active, document["status"]
        assert document["status"]["nodeName"] == document["status"]["home"] == where[0]
        assert condition(document, "Running")["status"] == "True"
        assert document["spec"]["cpu"]["cores"] == self.wanted[name]
        volumes = [
            (node, volume)
            for node, each in self.hosts.items()
            for volume in each.pools.get(POOL, {})
            if f"_disk_default_disk-{name}_" in volume
        ]
        assert [node for node, _ in volumes] == (list(NODES) if self.shared else where)

    def comes_back(self, each: Node) -> None:
        each.silent = False
        each.reconnect()


class SharedFleet(Fleet):
    """Any node could start any machine: nothing but the agent keeps them apart."""

    shared = True


@pytest.mark.parametrize("fleet", [Fleet, SharedFleet])
def test_machines_of_several_nodes(
    fleet: type[RuleBasedStateMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    surroundings.prepare(monkeypatch.setattr)
    steps: Any = settings(
        max_examples=EXAMPLES,
        stateful_step_count=STEPS,
        deadline=None,
        derandomize="PROPERTY_EXAMPLES" not in os.environ,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    run_state_machine_as_test(fleet, settings=steps)
