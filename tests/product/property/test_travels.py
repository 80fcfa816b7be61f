"""Three hosts between which machines travel, and everything that may happen on the way, in whatever order: no machine runs twice,
the newest data of none is lost, nobody restarts one unasked, and in the end each is where it fits and nothing else is anywhere.
"""

from __future__ import annotations

import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.core.acceptance import FREE_DELETIONS
from agent.core.domain_xml import parse
from agent.core.identity import POOL
from agent.core.metadata import from_domain
from agent.core.migration import marked
from agent.core.status import timestamp
from agent.places import Pools
from tests.memory_host import NODE, Killed
from tests.product.property import surroundings
from tests.product.property.manifests import KEPT
from tests.product.property.travel import Data, TravelHost
from tests.rig import OPERATIONS, STATUS, Rig, disk, machine, operation

EXAMPLES = int(os.environ.get("PROPERTY_EXAMPLES", "8"))
STEPS = int(os.environ.get("PROPERTY_STEPS", "20"))
NODES = ("pt-1", "pt-2", "pt-3")
NAMES = ("a", "b", "c")
STAGES = ("incoming", "copied", "landed", "handed")
BREAKS = (
    *("dies", "dies", "breaks", "source lost", "target lost", "source power", "target power"),
    *("withdrawn", "guest ends", "removed"),
)

names = st.sampled_from(NAMES)
nodes = st.sampled_from(NODES)
zones = st.sampled_from((None, None, *NODES))
soon = st.sampled_from((0, 1, 4, 12))
"""Passes."""


@dataclass(frozen=True)
class Fuse:
    """What happens once a migration is at a stage."""

    stage: str
    what: str


class Travels(RuleBasedStateMachine):
    shared = False
    """Whether all nodes have the same disks."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="gitvirt-")
        data = Data()
        hosts = [
            TravelHost(node=replace(NODE, name=name, host=f"uuid of {name}"), data=data)
            for name in NODES
        ]
        self.hosts = {each.name: each for each in hosts}
        for each in hosts:
            each.others = [other for other in hosts if other is not each]
            each.on_effect = self.effect
            each.at_stage = lambda stage, each=each: self.at_stage(each, stage)  # type: ignore[misc]
            if self.shared:
                each.pools = hosts[0].pools
        self.left = 0
        """Effects until the agent dies; 0 for never."""
        self.fuse: Fuse | None = None
        pools = Pools(shared=frozenset({POOL})) if self.shared else Pools()
        self.rig = Rig(Path(self.folder.name), host=hosts[0], others=tuple(hosts[1:]), pools=pools)
        self.wanted: dict[str, dict[str, Any]] = {}
        """The manifest of each machine that is there, by name."""
        self.reasons: Counter[str] = Counter()
        """How often each machine had a reason to be started."""
        self.operations: set[str] = set()
        self.asked = 0
        self.drained: dict[str, str] = {}
        """What is said of nodes: drained or cordoned."""
        self.fenced: set[str] = set()
        self.sent: list[tuple[str, TravelHost]] = []
        """Machines that somebody has sent from there by hand."""
        self.forgot = False
        """True once the ledger was lost."""
        files = {f"node-{name}.yaml": self.node(name) for name in NODES}
        self.rig.push({"kept.yaml": KEPT, **files})
        self.rig.push({"keep.txt": "x"}, OPERATIONS)

    def node(self, name: str, **annotations: str) -> dict[str, Any]:
        metadata = {"name": name, "labels": {"zone": name}, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "Node", "metadata": metadata}

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.folder.cleanup()

    # -- the agent ----------------------------------------------------------------------------

    def effect(self, verb: str, phase: str) -> None:
        if self.left and phase == "after" and verb != "ensure_pool":
            self.left -= 1
            if not self.left:
                raise Killed

    def at_stage(self, host: TravelHost, stage: str) -> None:
        fuse = self.fuse
        if fuse is None or fuse.stage != stage:
            return
        self.fuse = None
        targets = [each.target for each in host.going.values()]
        match fuse.what:
            case "dies":
                raise Killed
            case "breaks":
                for uuid in list(host.going):
                    host.migration_breaks(uuid)
            case "source lost":
                host.disconnect()
            case "target lost":
                for each in targets:
                    each.disconnect()
            case "source power":
                self.power_fails(host)
            case "target power":
                for each in targets:
                    assert isinstance(each, TravelHost)
                    self.power_fails(each)
            case "withdrawn":
                self.withdrawn()
                self.meanwhile()
            case "removed":
                self.removed(name=next(iter(self.wanted), ""), passes=0)
                self.meanwhile()
            case "guest ends":
                for name in NAMES:
                    if self.rig.uuid(name) in host.going:
                        self.ends(name, "poweroff")

    def meanwhile(self) -> None:
        """The agent passes while a migration is under way."""
        self.rig.agent.reconciler.look_at_git()
        for _ in range(3):
            self.rig.agent.reconciler.run()
            while self.rig._tasks:
                self.rig._tasks.popleft()()

    def work(self, passes: int) -> None:
        """Passes of the agent; should it die, another one takes its place."""
        for _ in range(passes):
            try:
                self.rig.step()
            except Killed:
                self.rig.start()
            self.rig.now += 1

    # -- what is seen -------------------------------------------------------------------------

    def where(self, name: str) -> list[str]:
        """Nodes that have its domain."""
        uuid = self.rig.uuid(name)
        return [node for node, each in self.hosts.items() if uuid in each._domains]

    def on(self, name: str) -> list[TravelHost]:
        """Hosts on which its guest runs."""
        uuid = self.rig.uuid(name)
        return [
            self.hosts[n]
            for n in self.where(name)
            if self.hosts[n]._domains[uuid].state == "running"
        ]

    def note(self, host: TravelHost) -> None:
        """All that is on it goes off."""
        for name in NAMES:
            raw = host._domains.get(self.rig.uuid(name))
            self.reasons[name] += raw is not None and raw.active

    @initialize(others=st.sets(names, min_size=1))
    def begin(self, others: set[str]) -> None:
        for name in sorted(others):
            self.declared(name, None, 0)
        self.heal()

    # -- what people push ---------------------------------------------------------------------

    @rule(passes=st.integers(1, 12))
    def looks(self, passes: int) -> None:
        self.rig.agent.reconciler.look_at_git()
        self.work(passes)

    @rule(name=names, zone=zones, passes=soon)
    def declared(self, name: str, zone: str | None, passes: int) -> None:
        self.push(name, passes, **({"nodeSelector": {"zone": zone}} if zone else {}))

    @rule(name=names, on=st.booleans(), passes=soon)
    def powered(self, name: str, on: bool, passes: int) -> None:
        if name in self.wanted:
            spec = self.wanted[name]["spec"] | {"runPolicy": "AlwaysOn" if on else "AlwaysOff"}
            self.push(name, passes, **spec)

    def push(self, name: str, passes: int, **spec: Any) -> None:
        whole = {"runPolicy": "AlwaysOn", **spec}
        whole.pop("blockDeviceRefs", None)
        if whole["runPolicy"] == "AlwaysOn":
            before = self.wanted.get(name, {}).get("spec", {})
            self.reasons[name] += before.get("runPolicy") != "AlwaysOn"
        self.wanted[name] = vm = machine(name, disks=(f"disk-{name}",), **whole)
        self.rig.push({f"{name}.yaml": [disk(f"disk-{name}"), vm]})
        self.looks(passes)

    @rule(name=names, passes=soon)
    def removed(self, name: str, passes: int) -> None:
        """Its disk stays declared. More at once would have to be confirmed."""
        there = [each for each in NAMES if each not in self.wanted and self.where(each)]
        if len(there) < FREE_DELETIONS and self.wanted.pop(name, None) is not None:
            self.rig.push({f"{name}.yaml": disk(f"disk-{name}")})
            self.looks(passes)

    @rule(
        name=names,
        kind=st.sampled_from(("Evict", "Evict", "Migrate", "Migrate", "Restart")),
        zone=zones,
        passes=soon,
    )
    def asked_for(self, name: str, kind: str, zone: str | None, passes: int) -> None:
        if name not in self.wanted:
            return
        self.asked += 1
        op, more = f"op-{self.asked}", {}
        if kind == "Restart":
            self.reasons[name] += 1
        elif kind == "Migrate" and zone:
            more = {"migrate": {"nodeSelector": {"zone": zone}}}
        self.operations.add(op)
        self.rig.push({f"{op}.yaml": operation(op, name, kind, **more)}, OPERATIONS)
        self.looks(passes)

    @precondition(lambda self: self.operations)
    @rule()
    def withdrawn(self) -> None:
        self.rig.push({f"{op}.yaml": None for op in self.operations}, OPERATIONS)
        self.operations.clear()

    @rule(node=nodes, what=st.sampled_from(("drained", "drained", "cordoned", "free")), passes=soon)
    def mark(self, node: str, what: str, passes: int) -> None:
        marks = {"gitvirt.io/evacuate": timestamp(self.rig.now)} if what == "drained" else {}
        document = {
            "apiVersion": "v1",
            "kind": "Node",
            "spec": {"unschedulable": True},
            "metadata": {"name": node, "annotations": marks},
        }
        self.drained.pop(node, None)
        if what != "free":
            self.drained[node] = what
        self.rig.push({f"nodes/{node}.yaml": document if what != "free" else None}, OPERATIONS)
        self.looks(passes)

    # -- what happens to hosts ------------------------------------------------------------------

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
            case "power":
                self.power_fails(each)
        self.work(passes)

    @rule(node=nodes, passes=soon)
    def is_fenced(self, node: str, passes: int) -> None:
        """It is away for a while, then somebody makes sure that it is off, and says so."""
        each = self.hosts[node]
        if self.went_on_alone(each):
            return
        self.power_fails(each)
        each.disconnect()
        self.work(30)
        self.fenced.add(node)
        fenced = self.node(node, **{"gitvirt.io/fenced": timestamp(self.rig.now)})
        self.rig.push({f"node-{node}.yaml": fenced})
        self.looks(passes)

    def went_on_alone(self, host: TravelHost) -> bool:
        """True if a guest on it has gone on although it has landed elsewhere: nobody else can know."""
        uuids = [uuid for uuid, raw in host._domains.items() if raw.state == "running"]
        return any(uuid in other._domains for other in host.others for uuid in uuids)

    def power_fails(self, host: TravelHost) -> None:
        self.note(host)
        host.power_fails()

    def comes_back(self, host: TravelHost) -> None:
        host.silent = False
        if host.name in self.fenced:
            self.fenced.discard(host.name)
            self.rig.push({f"node-{host.name}.yaml": self.node(host.name)})
        if not host.reachable:
            host.reconnect()

    @rule(name=names, how=st.sampled_from(("crash", "poweroff", "reboot")))
    def ends(self, name: str, how: str) -> None:
        for host in self.on(name):
            uuid = self.rig.uuid(name)
            if how == "reboot":
                host.guest_reboot(uuid)
                continue
            self.reasons[name] += 1
            (host.crash if how == "crash" else host.guest_poweroff)(uuid)

    @rule(stage=st.sampled_from(STAGES), what=st.sampled_from(BREAKS))
    def soon_on_the_way(self, stage: str, what: str) -> None:
        self.fuse = Fuse(stage, what)

    @rule(well=st.booleans())
    def libvirt_goes_on(self, well: bool) -> None:
        for each in self.hosts.values():
            each.come_to_an_end(well)

    @rule(name=names, there=nodes, keeps=st.booleans(), passes=soon)
    def sent_by_hand(self, name: str, there: str, keeps: bool, passes: int) -> None:
        """Where the nodes have the same disks; the agent may not even see it."""
        to, uuid = self.hosts[there], self.rig.uuid(name)
        for host in self.on(name) if self.shared else ():
            raw = host._domains[uuid]
            if uuid not in to._domains and uuid not in host.going and not marked(raw):
                host.sent_by_hand(uuid, to, keeps)
                self.sent.append((name, host))
        self.work(passes)

    # -- the agents -----------------------------------------------------------------------------

    @rule(left=st.integers(1, 8))
    def dies_soon(self, left: int) -> None:
        self.left = left

    @rule(lost=st.booleans(), passes=soon)
    def another_agent_begins(self, lost: bool, passes: int) -> None:
        """With the ledger or without it."""
        if lost and len(self.rig.hosts) == len(NODES):
            self.forgot = True
            self.rig.repo.refs.pop(STATUS, None)  # type: ignore[attr-defined]
        self.rig.start()
        self.looks(passes)

    @rule(node=st.sampled_from(NODES[1:]), there=st.booleans(), passes=soon)
    def settings_change(self, node: str, there: bool, passes: int) -> None:
        """A node is taken out of the settings, or put back."""
        if self.forgot and not there:
            return
        others = {each.name for each in self.rig.others}
        self.name_nodes(others | {node} if there else others - {node})
        self.looks(passes)

    def name_nodes(self, names: set[str]) -> None:
        wanted = tuple(self.hosts[name] for name in NODES[1:] if name in names)
        if self.rig.others != wanted:
            self.rig.others = wanted
            self.rig.start()

    @rule(seconds=st.sampled_from((30, 120, 400)))
    def time_passes(self, seconds: float) -> None:
        self.rig.now += seconds

    # -- what holds -----------------------------------------------------------------------------

    @rule()
    def heal(self) -> None:
        self.left, self.fuse = 0, None
        self.name_nodes({*NODES})
        for each in self.hosts.values():
            self.comes_back(each)
        for each in self.hosts.values():
            each.come_to_an_end(well=True)
        self.cleared_by_hand()
        self.rig.agent.reconciler.look_at_git()
        for _ in range(3):
            self.work(40)
            self.rig.now += 400  # every wait is over
        self.rig.settle()
        self.forgot = False
        for name in NAMES:
            self.is_right(name)
        self.nothing_is_left()
        self.operations_have_ended()

    def cleared_by_hand(self) -> None:
        """Who has sent a machine by hand removes what he left."""
        for name, host in self.sent:
            raw = host._domains.get(self.rig.uuid(name))
            if raw is not None and not raw.active and len(self.where(name)) > 1:
                host._drop(raw.uuid)
                host._tell(raw.uuid, "lifecycle")
        self.sent.clear()

    def is_right(self, name: str) -> None:
        where, uuid = self.where(name), self.rig.uuid(name)
        if name not in self.wanted:
            assert where == []
            return
        status = self.rig.vm(name)["status"]
        spec = self.wanted[name]["spec"]
        fit = [*self.fitting(spec)]
        boots = sum(host.boots[uuid] for host in self.hosts.values())
        assert boots <= self.reasons[name], f"{name}: {boots} starts, {self.reasons[name]} reasons"
        if not where:
            lies = [node for node in fit if not self.disks(name) or self.disks(name, node)]
            assert not lies or spec["runPolicy"] == "AlwaysOff", status
            return
        (at,) = where
        raw = self.hosts[at]._domains[uuid]
        for xml in filter(None, (raw.inactive_xml, raw.active_xml)):
            memory = from_domain(parse(xml))
            assert memory is not None
            assert memory.migration is None, status
        assert status.get("nodeName") == at or not raw.active
        assert not [each for each in status["conditions"] if each["type"] == "DriftDetected"]
        if spec["runPolicy"] == "AlwaysOff":
            assert not raw.active
            return
        stays = {name for name, what in self.drained.items() if what == "cordoned"}
        asks = spec.get("nodeSelector", {}).get("zone", at)
        fits = at in fit or (at in stays and asks == at)
        assert fits or not fit, (at, fit, status)
        assert raw.state == "running" or not fits, status

    def fitting(self, spec: dict[str, Any]) -> Iterator[str]:
        """Nodes that take it."""
        zone = spec.get("nodeSelector", {}).get("zone")
        return (name for name in NODES if name not in self.drained and zone in (None, name))

    def disks(self, name: str, *nodes: str) -> list[str]:
        """Nodes that have the disk of a machine."""
        word = f"_disk_default_disk-{name}_"
        return [
            node
            for node in nodes or NODES
            if any(word in volume for volume in self.hosts[node].pools.get(POOL, {}))
        ]

    def nothing_is_left(self) -> None:
        """Each disk is in one place, where its machine is, and nothing else is anywhere."""
        found: dict[str, list[str]] = {}
        for node, host in list(self.hosts.items())[: 1 if self.shared else None]:
            for volume in host.pools.get(POOL, {}):
                found.setdefault(volume, []).append(node)
        for name in NAMES:
            volumes = [each for each in found if f"_disk_default_disk-{name}_" in each]
            assert len(volumes) <= 1, volumes
            for volume in volumes:
                nodes = found.pop(volume)
                assert len(nodes) == 1, (volume, nodes)
                assert self.shared or self.where(name) in ([], nodes), (volume, nodes)
        assert not found, found
        assert not [uuid for host in self.hosts.values() for uuid in host.going]

    def operations_have_ended(self) -> None:
        folder = "namespaces/default/virtualmachineoperations/"
        for path in self.rig.documents():
            if path.startswith(folder):
                document = self.rig.document(path)
                ended = document["status"]["phase"] in ("Completed", "Failed", "Superseded")
                vm = document["spec"]["virtualMachineName"]
                assert ended or self.cannot_go(vm), document

    def cannot_go(self, name: str) -> bool:
        return name in self.wanted and not [*self.fitting(self.wanted[name]["spec"])]


class SharedTravels(Travels):
    """Any node could start any machine: nothing but the agent keeps them apart."""

    shared = True


@pytest.mark.parametrize("fleet", [Travels, SharedTravels])
def test_machines_that_travel(
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
