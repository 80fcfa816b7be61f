"""Nodes that a machine cannot move to: each lacks something, which is said, and the machine stays whole where it is."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.cli import migrating
from agent.cli.operation import Request
from agent.cli.operation import manifest as operation_manifest
from agent.core.entries import Entry
from agent.core.host import RawNode
from agent.core.identity import POOL
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.places import Pools, PoolSettings
from tests.product.test_migration import Fleet, fleet, whole, why
from tests.product.test_placement import node
from tests.product.test_storage_classes import storage_class
from tests.rig import MAIN, OPERATIONS, condition, disk, machine, manifest

Lack = Callable[[Fleet], None]


def lacking(rig: Fleet, change: Callable[[RawNode], RawNode]) -> None:
    """The other two nodes are not as the first."""
    for name in ("pt-2", "pt-3"):
        each = rig.hosts[name]
        each.node = change(each.node)
        for network in {*each.networks} - each.node.networks:
            del each.networks[network]
        each.reconnect()
    rig.go(20)


def of_class(rig: Fleet, **cpu: Any) -> None:
    """The machine is of a class with that CPU, and started with it."""
    made = manifest("VirtualMachineClass", "own", {"cpu": cpu})
    rig.push(
        {"class.yaml": made, "vm.yaml": [machine(virtualMachineClassName="own"), disk()]}, MAIN
    )
    rig.settle()
    rig.ask("Restart", "restart")
    rig.settle()
    assert rig.on() == ["pt-1"]


def another_cpu(rig: Fleet) -> None:
    of_class(rig, type="Model", model="Westmere")
    lacking(rig, lambda known: replace(known, cpu_models=frozenset({"qemu64"})))


def older_qemu(rig: Fleet) -> None:
    lacking(rig, lambda known: replace(known, machine="pc-q35-6.2", qemu_version="6.2.0"))


def no_network(rig: Fleet) -> None:
    lacking(rig, lambda known: replace(known, networks=frozenset()))


def no_memory(rig: Fleet) -> None:
    lacking(rig, lambda known: replace(known, memory=128 << 20))


def other_virtualization(rig: Fleet) -> None:
    lacking(rig, lambda known: replace(known, virt_type="kvm"))


LACKS: list[tuple[Lack, str]] = [
    (another_cpu, "node(s) cannot give the CPU of the machine's class"),
    (older_qemu, "node(s) have an older QEMU, which does not know the machine's type"),
    (no_network, "node(s) lack network default"),
    (no_memory, "Insufficient memory"),
    (other_virtualization, "node(s) have another kind of virtualization"),
]


@pytest.mark.promise("S132")
@pytest.mark.parametrize(
    ("words", "kind", "at"),
    [
        (("evict", "vm"), "Evict", "pt-2"),
        (("migrate", "vm"), "Migrate", "pt-2"),
        (("migrate", "vm", "--target-node", "pt-3"), "Migrate", "pt-3"),
    ],
    ids=str,
)
def test_what_the_commands_ask_for_moves_a_machine_to_another_node(
    tmp_path: Path, words: tuple[str, ...], kind: str, at: str
) -> None:
    rig = fleet(tmp_path, Pools())
    parser = argparse.ArgumentParser()
    parser.add_argument("command")
    parser.add_argument("vm")
    migrating.add(parser)
    entry = Entry(Catalogue.load().machine, "", "", rig.vm())
    asked = migrating.spec(parser.parse_args(words), entry)
    assert asked["type"] == kind
    key = Key("VirtualMachineOperation", "default", "move")
    request = Request(words[0], Key("VirtualMachine", "default", "vm"), key)
    rig.push({"move.yaml": operation_manifest(request, asked, until=rig.now + 300)}, OPERATIONS)
    rig.settle()
    whole(rig, at)
    assert why(rig)[0] == "Completed"


@pytest.mark.parametrize(("lack", "said"), LACKS, ids=lambda each: getattr(each, "__name__", ""))
def test_what_the_other_nodes_lack_is_said_and_nothing_is_lost(
    tmp_path: Path, lack: Lack, said: str
) -> None:
    rig = fleet(tmp_path, Pools())
    lack(rig)
    rig.ask()
    rig.go(20)
    assert why(rig) == ("InProgress", "TargetUnschedulable")
    message = condition(rig.vmop("move"), "Completed")["message"]
    assert "0/3 nodes are available" in message
    assert f"2 {said}" in message
    rig.go(20, seconds=20)
    assert why(rig)[0] == "Failed"
    assert said in condition(rig.vmop("move"), "Completed")["message"]
    assert rig.on() == rig.there() == ["pt-1"]
    assert rig.hosts["pt-1"].orders == []


@pytest.mark.promise("S53")
def test_a_processor_that_guests_cannot_take_along_is_told(tmp_path: Path) -> None:
    """Exactly the host's, or one that the other nodes' hosts do not have."""
    rig = fleet(tmp_path, Pools())
    for each in rig.hosts.values():
        each.node = replace(each.node, cpu_modes=each.node.cpu_modes | {"host-passthrough"})
        each.reconnect()
    rig.go(20)
    of_class(rig, type="HostPassthrough")
    rig.go(20)
    told = condition(rig.vm(), "Migratable")
    assert told["status"] == "False"
    assert "Its processor is its host's own, which guests cannot take along" in told["message"]
    rig.ask()
    rig.settle()
    assert why(rig) == ("Failed", "OperationFailed")
    assert told["message"] in condition(rig.vmop("move"), "Completed")["message"]
    assert rig.on() == ["pt-1"]
    other = fleet(tmp_path / "other", Pools())
    another_cpu(other)
    told = condition(other.vm(), "Migratable")
    assert told["status"] == "False"
    assert "cannot give the CPU of the machine's class" in told["message"]


def test_a_pool_that_the_other_nodes_lack_is_said(tmp_path: Path) -> None:
    common = Pools.of({"fast": PoolSettings("fast"), "gitvirt": PoolSettings(POOL)})
    rig = fleet(tmp_path, common)
    rig.hosts["pt-1"].pools["fast"] = {}
    rig.hosts["pt-1"].reconnect()
    rig.go(20)
    fast = {"persistentVolumeClaim": {"size": "1Gi", "storageClassName": "fast"}}
    on_it = manifest("VirtualDisk", "other-disk", fast)
    _, vm = own("other", "pt-1")
    rig.push({"other.yaml": [storage_class("fast", "fast"), on_it, vm]})
    rig.settle()
    assert rig.on("other") == ["pt-1"]
    rig.ask(vm="other")
    rig.go(20)
    message = condition(rig.vmop("move"), "Completed")["message"]
    assert "Storage pool fast of node pt-2 is not there, or not active" in message
    assert "virsh pool-start fast" in message
    rig.go(20, seconds=20)
    assert why(rig)[0] == "Failed"
    assert rig.on("other") == rig.there("other") == ["pt-1"]
    assert rig.hosts["pt-1"].orders == []


def test_a_target_that_vanishes_before_the_machine_leaves_costs_nothing(tmp_path: Path) -> None:
    rig = fleet(tmp_path, Pools())
    rig.hosts["pt-3"].disconnect()
    rig.go(20)
    rig.ask("Migrate", migrate={"nodeSelector": {"kubernetes.io/hostname": "pt-3"}})
    rig.go(40)
    message = condition(rig.vmop("move"), "Completed")["message"]
    assert why(rig) == ("InProgress", "TargetUnschedulable")
    assert "1 node(s) were not ready" in message
    assert rig.on() == ["pt-1"]
    rig.hosts["pt-3"].reconnect()
    rig.settle()
    whole(rig, "pt-3")


def test_half_of_a_fleet_that_is_away_stops_nothing_on_the_other_half(tmp_path: Path) -> None:
    rig = fleet(tmp_path, Pools(), 6)
    rig.push(
        {f"{name}.yaml": own(name, f"pt-{name[-1]}") for name in (f"vm-{n}" for n in range(1, 7))}
    )
    rig.settle()
    for number in (4, 5, 6):
        rig.hosts[f"pt-{number}"].disconnect()
    rig.go(30)
    rig.push(
        {"new.yaml": own("new", "pt-2"), "vm-3.yaml": own("vm-3", "pt-3", runPolicy="AlwaysOff")}
    )
    rig.go(40)
    assert rig.on("new") == ["pt-2"]
    assert rig.on("vm-3") == []
    rig.ask(vm="vm-1")
    rig.go(40)
    assert rig.on("vm-1")[0] in ("pt-2", "pt-3")
    for number in (4, 5, 6):
        assert condition(rig.vm(f"vm-{number}"), "Running")["status"] == "Unknown"
        shown = rig.document(f"cluster/nodes/pt-{number}.yaml")
        assert condition(shown, "Ready")["status"] == "False"
        rig.hosts[f"pt-{number}"].reconnect()
    rig.settle()
    for number in (4, 5, 6):
        assert condition(rig.vm(f"vm-{number}"), "Running")["status"] == "True"
        assert rig.on(f"vm-{number}") == [f"pt-{number}"]


def own(name: str, at: str, **spec: Any) -> list[dict[str, Any]]:
    """A machine with a disk of its own that would rather be there."""
    wanted = {"key": "kubernetes.io/hostname", "operator": "In", "values": [at]}
    term = {"weight": 100, "preference": {"matchExpressions": [wanted]}}
    rather = {"preferredDuringSchedulingIgnoredDuringExecution": [term]}
    affinity = {"nodeAffinity": rather}
    return [
        disk(f"{name}-disk"),
        machine(name, disks=(f"{name}-disk",), affinity=affinity, **spec),
    ]


# -- what the guide says of places ----------------------------------------------------------------


def test_a_machine_would_rather_be_where_it_is_near_and_goes_elsewhere_if_it_must(
    tmp_path: Path,
) -> None:
    rig = fleet(tmp_path, Pools())
    rig.push({"a.yaml": own("a", "pt-3")})
    rig.settle()
    assert rig.on("a") == ["pt-3"]
    rig.push({"node.yaml": node("pt-3", cordoned=True), "b.yaml": own("b", "pt-3")})
    rig.settle()
    assert rig.on("b")[0] in ("pt-1", "pt-2")


DATABASE = {"server": "database"}
BESIDE = {"labelSelector": {"matchLabels": DATABASE}, "topologyKey": "kubernetes.io/hostname"}


def guided(name: str, kind: str, *, must: bool) -> list[dict[str, Any]]:
    """As the guide's examples have it."""
    term = [BESIDE] if must else [{"weight": 1, "virtualMachineAndPodAffinityTerm": BESIDE}]
    word = "required" if must else "preferred"
    affinity = {kind: {f"{word}DuringSchedulingIgnoredDuringExecution": term}}
    return [disk(f"{name}-disk"), machine(name, disks=(f"{name}-disk",), affinity=affinity)]


@pytest.fixture
def data(tmp_path: Path) -> Fleet:
    """A database on one of three nodes, which it cannot leave."""
    rig = fleet(tmp_path, Pools())
    there = {"nodeSelector": {"kubernetes.io/hostname": "pt-2"}}
    base = machine("db", disks=("db-disk",), metadata={"labels": DATABASE}, **there)
    rig.push({"db.yaml": [disk("db-disk"), base]})
    rig.settle()
    assert rig.on("db") == ["pt-2"]
    return rig


@pytest.mark.promise("S173", "S177", "S182")
@pytest.mark.parametrize("must", [True, False])
def test_affinity_binds_to_nodes_and_to_other_machines_by_force_or_by_preference(
    data: Fleet, must: bool
) -> None:
    """As in Kubernetes, and as the guide's picture has it: it comes to be beside the database."""
    data.push({"web.yaml": guided("web", "virtualMachineAndPodAffinity", must=must)})
    data.settle()
    assert data.on("web") == ["pt-2"]
    data.push({"near.yaml": own("near", "pt-3")})
    data.settle()
    assert data.on("near") == ["pt-3"]
    data.push({"node.yaml": node("pt-2", cordoned=True)})
    data.push({"more.yaml": guided("more", "virtualMachineAndPodAffinity", must=must)})
    data.go(20)
    assert bool(data.on("more")) is not must  # what is only preferred binds nobody


@pytest.mark.promise("S174")
@pytest.mark.parametrize("must", [True, False])
def test_anti_affinity_keeps_machines_apart(data: Fleet, must: bool) -> None:
    data.push({"web.yaml": guided("web", "virtualMachineAndPodAntiAffinity", must=must)})
    data.settle()
    assert data.on("web")[0] in ("pt-1", "pt-3")
    data.push({"nodes.yaml": [node("pt-1", cordoned=True), node("pt-3", cordoned=True)]})
    data.push({"more.yaml": guided("more", "virtualMachineAndPodAntiAffinity", must=must)})
    data.go(20)
    assert data.on("more") == ([] if must else ["pt-2"])


SEVEN = {"Pending", "Starting", "Running", "Stopping", "Stopped", "Terminating", "Migrating"}


@pytest.mark.promise("S19", "S26")
def test_the_phases_of_a_machines_life(tmp_path: Path) -> None:
    """Each of the guide's, and none besides, where nobody holds its guest by hand."""
    rig = fleet(tmp_path, Pools())
    seen = []

    def look(*_what: str) -> None:
        rig.agent.reconciler.run()
        path = "namespaces/default/virtualmachines/{}.yaml"
        for name in ("vm", "late"):
            if path.format(name) in rig.documents():
                shown = rig.vm(name)["status"]
                seen.append((shown["phase"], shown.get("nodeName", "")))

    def live(steps: int = 25) -> None:
        rig.agent.reconciler.look_at_git()
        for _ in range(steps):
            rig.step()
            look()
            rig.now += 1

    for each in rig.hosts.values():
        each.at_stage = look
        each.on_effect = lambda verb, phase: look() if verb == "start" else None
    rig.push({"late.yaml": machine("late", disks=("late-disk",))})
    live()
    rig.push({"disk.yaml": disk("late-disk")})
    live()
    rig.ask()
    live()
    assert ("Migrating", "pt-1") in seen
    (there,) = rig.on()
    assert there != "pt-1"
    assert ("Running", there) in seen
    for each in rig.hosts.values():
        each.guest_obeys = False
    rig.ask("Stop", "stop")
    live(80)
    rig.push({"vm.yaml": disk(), "late.yaml": None})
    live(100)
    assert {phase for phase, _ in seen} == SEVEN
