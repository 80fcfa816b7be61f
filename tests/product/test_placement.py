"""Machines go to nodes that fit them, and wait with a reason where none does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.core.known import OVERCOMMIT
from tests.plans import planned
from tests.product.test_several_nodes import UID, data_on, go, runs, status, three
from tests.rig import Rig, condition, disk, machine, operation


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return three(tmp_path)


def node(name: str, *taints: dict[str, str], cordoned: bool = False, **labels: str) -> Any:
    spec = {"unschedulable": cordoned, "taints": list(taints)}
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}


def vm(name: str, **spec: Any) -> list[dict[str, Any]]:
    """With a disk of its own."""
    return [disk(f"{name}-disk"), machine(name, disks=(f"{name}-disk",), **spec)]


def waits(rig: Rig, name: str = "vm") -> str:
    """Why a machine is nowhere."""
    assert status(rig, name)["phase"] == "Pending"
    assert runs(rig, name) == []
    found = condition(rig.vm(name), "Running")
    assert found["reason"] == "PodNotStarted"
    message: str = found["message"]
    return message


def test_new_machines_are_spread_over_the_nodes(rig: Rig) -> None:
    rig.push({f"vm-{number}.yaml": vm(f"vm-{number}") for number in range(1, 4)})
    rig.settle()
    assert [runs(rig, f"vm-{number}") for number in range(1, 4)] == [["pt-1"], ["pt-2"], ["pt-3"]]
    home = rig.document("namespaces/default/virtualdisks/vm-2-disk.yaml")["status"]["home"]
    assert home == "pt-2"  # its disk is made where it is


@pytest.mark.promise("S4", "S172", "S176")
def test_a_machine_goes_to_a_node_with_the_labels_that_it_asks_for(rig: Rig) -> None:
    rig.push({"node.yaml": node("pt-3", disktype="ssd")})
    rig.push({"vm.yaml": vm("vm", nodeSelector={"disktype": "ssd"})})
    rig.settle()
    assert runs(rig, "vm") == ["pt-3"]


@pytest.mark.promise("S37")
def test_a_machine_that_fits_nowhere_says_why_and_starts_once_it_does(rig: Rig) -> None:
    rig.push(
        {
            "node.yaml": node("pt-2", cordoned=True, disktype="ssd"),
            "vm.yaml": vm("vm", nodeSelector={"disktype": "ssd"}),
        }
    )
    rig.settle()
    assert waits(rig) == (
        "Could not schedule the virtual machine: 0/3 nodes are available: 1 node(s) were "
        "unschedulable, 2 node(s) didn't match Pod's node affinity/selector. (pt-1, pt-3: node(s) "
        "didn't match Pod's node affinity/selector; pt-2: node(s) were unschedulable)"
    )
    waiting = rig.document("namespaces/default/virtualdisks/vm-disk.yaml")["status"]
    assert waiting["phase"] == "WaitForFirstConsumer"
    rig.push({"node.yaml": node("pt-2", disktype="ssd")})
    rig.settle()
    assert runs(rig, "vm") == ["pt-2"]
    assert condition(rig.vm("vm"), "Running")["status"] == "True"


@pytest.mark.promise("S185")
def test_machines_that_must_be_apart_are(rig: Rig) -> None:
    term = {
        "labelSelector": {"matchLabels": {"server": "database"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    affinity = {"virtualMachineAndPodAntiAffinity": rule}
    names = ["db-1", "db-2", "db-3", "db-4"]
    labels = {"labels": {"server": "database"}}
    rig.push({f"{name}.yaml": vm(name, affinity=affinity, metadata=labels) for name in names})
    rig.settle()
    assert [runs(rig, name) for name in names[:3]] == [["pt-1"], ["pt-2"], ["pt-3"]]
    assert "3 node(s) didn't match pod anti-affinity rules" in waits(rig, "db-4")
    rig.push({"db-2.yaml": None})
    rig.settle()
    assert runs(rig, "db-4") == ["pt-2"]


def test_a_cordoned_node_keeps_what_runs_and_takes_no_more(rig: Rig) -> None:
    rig.push({"vm-1.yaml": vm("vm-1")})
    rig.settle()
    assert runs(rig, "vm-1") == ["pt-1"]
    rig.push({"node.yaml": node("pt-1", cordoned=True), "vm-2.yaml": vm("vm-2")})
    rig.settle()
    assert runs(rig, "vm-2") == ["pt-2"]
    assert runs(rig, "vm-1") == ["pt-1"]
    assert status(rig, "vm-1")["phase"] == "Running"


def test_taints_keep_machines_away_that_do_not_bear_them(rig: Rig) -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoSchedule"}
    bearing = {"key": "gpu", "operator": "Exists"}
    rig.push(
        {
            "nodes.yaml": [node("pt-1", taint), node("pt-2", taint), node("pt-3", cordoned=True)],
            "vm-1.yaml": vm("vm-1"),
            "vm-2.yaml": vm("vm-2", tolerations=[bearing]),
        }
    )
    rig.settle()
    assert "2 node(s) had untolerated taint {gpu: yes}" in waits(rig, "vm-1")
    assert runs(rig, "vm-2") == ["pt-1"]


def test_the_class_of_a_machine_says_where_it_may_be_too(rig: Rig) -> None:
    spec = {
        "cpu": {"type": "Host"},
        "nodeSelector": {"matchExpressions": [{"key": "fast", "operator": "Exists"}]},
        "tolerations": [{"key": "gpu", "operator": "Exists"}],
    }
    taint = {"key": "gpu", "effect": "NoSchedule"}
    kind = {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachineClass",
        "metadata": {"name": "fast"},
        "spec": spec,
    }
    rig.push({"a.yaml": [node("pt-3", taint, fast="yes"), kind]})
    rig.push({"vm.yaml": vm("vm", virtualMachineClassName="fast")})
    rig.settle()
    assert runs(rig, "vm") == ["pt-3"]


def small(rig: Rig, size: int = 4) -> None:
    """Nodes of so many GiB of memory, of which a sixteenth is the hosts' own."""
    for host in rig.hosts.values():
        host.node = replace(host.node, memory=size << 30)
    rig.agent = rig.start()


def test_memory_of_what_runs_is_not_given_away_again(rig: Rig) -> None:
    small(rig)
    sizes = {"vm-1": "3Gi", "vm-2": "3Gi", "vm-3": "3Gi", "vm-4": "1Gi"}
    rig.push({f"{name}.yaml": vm(name, memory={"size": size}) for name, size in sizes.items()})
    rig.settle()
    assert [runs(rig, name) for name in sizes] == [["pt-1"], ["pt-2"], ["pt-3"], []]
    assert "0/3 nodes are available: 3 Insufficient memory." in waits(rig, "vm-4")
    told = rig.document("cluster/nodes/pt-1.yaml")["status"]
    assert (told["capacity"]["memory"], told["committed"]["memory"]) == ("4Gi", "3Gi")
    assert told["allocatable"]["memory"] == "3840Mi"


def test_a_machine_that_is_off_starts_where_it_is_only_if_there_is_room(rig: Rig) -> None:
    small(rig)
    data_on(rig, 1, "one")
    data_on(rig, 1, "two")
    big: dict[str, Any] = {"memory": {"size": "3Gi"}, "runPolicy": "Manual"}
    for name, its in (("one", "vm-1"), ("two", "vm-2")):
        rig.push({f"{its}.yaml": [disk(name), machine(its, disks=(name,), **big)]})
    rig.settle()
    rig.push({"a.yaml": operation("a", "vm-1", "Start")}, "refs/heads/operations")
    rig.settle()
    assert runs(rig, "vm-1") == ["pt-1"]
    rig.push({"b.yaml": operation("b", "vm-2", "Start")}, "refs/heads/operations")
    go(rig)
    assert "1 Insufficient memory" in waits(rig, "vm-2")
    assert rig.vmop("b")["status"]["phase"] == "InProgress"
    rig.push({"c.yaml": operation("c", "vm-1", "Stop")}, "refs/heads/operations")
    rig.settle()
    assert runs(rig, "vm-2") == ["pt-1"]
    assert rig.vmop("b")["status"]["phase"] == "Completed"


def test_foreign_machines_take_memory_too(rig: Rig) -> None:
    small(rig)
    first = rig.hosts["pt-1"]
    size = f"<memory unit='KiB'>{3 << 20}</memory>"
    first.define(f"<domain><name>theirs</name><uuid>{UID.format(9)}</uuid>{size}</domain>")
    first.start(UID.format(9))
    rig.push({"vm-1.yaml": vm("vm-1", memory={"size": "1Gi"})})
    rig.settle()
    assert runs(rig, "vm-1") == ["pt-2"]


def test_who_has_priority_gets_the_room_that_there_is(rig: Rig) -> None:
    small(rig)
    rig.push({"nodes.yaml": [node("pt-2", cordoned=True), node("pt-3", cordoned=True)]})
    big = {"memory": {"size": "3Gi"}}
    rig.push(
        {
            "a.yaml": vm("a", **big),
            "b.yaml": vm("b", priorityClassName="develop", **big),
            "c.yaml": vm("c", priorityClassName="production-high", **big),
        }
    )
    rig.settle()
    assert runs(rig, "c") == ["pt-1"]
    assert waits(rig, "a")
    assert waits(rig, "b")


def test_who_names_no_class_has_that_of_all_others(rig: Rig) -> None:
    small(rig)
    rig.push({"nodes.yaml": [node("pt-2", cordoned=True), node("pt-3", cordoned=True)]})
    big = {"memory": {"size": "3Gi"}}
    rig.push({"a.yaml": vm("a", priorityClassName="mine", **big), "b.yaml": vm("b", **big)})
    rig.settle()
    assert runs(rig, "b") == ["pt-1"]
    assert waits(rig, "a")


def test_a_lost_node_gets_nothing_new(rig: Rig) -> None:
    rig.push({"other.yaml": [disk()]})
    rig.settle()
    rig.hosts["pt-1"].disconnect()
    go(rig)
    rig.push({"vm.yaml": vm("vm")})
    go(rig, 60)
    assert runs(rig, "vm") == ["pt-2"]
    rig.push({"vm-2.yaml": vm("vm-2", nodeSelector={"kubernetes.io/hostname": "pt-1"})})
    go(rig, 60)
    assert "1 node(s) were not ready" in waits(rig, "vm-2")


def test_a_machine_of_which_nothing_is_made_yet_is_placed_anew_where_it_does_not_fit(
    rig: Rig,
) -> None:
    rig.push({"vm.yaml": [machine(disks=("late",))]})
    for _ in range(10):
        rig.step()
    assert status(rig, "vm")["home"] == "pt-1"
    rig.push({"node.yaml": node("pt-1", cordoned=True)})
    rig.settle()
    assert status(rig, "vm")["home"] == "pt-2"
    data_on(rig, 3, "late")
    rig.hosts["pt-3"]._tell("", "connected")
    rig.step()
    rig.push({"disk.yaml": [disk("late")]})
    rig.settle()
    assert runs(rig, "vm") == ["pt-3"]


def test_placement_is_the_same_after_a_kill_at_any_time(tmp_path: Path) -> None:
    rig = three(tmp_path)
    rig.push({f"vm-{number}.yaml": vm(f"vm-{number}") for number in range(1, 4)})
    for _ in range(12):
        rig.agent = rig.start()
        rig.step()
        rig.step()
    rig.settle()
    assert sorted(runs(rig, f"vm-{number}")[0] for number in range(1, 4)) == [
        "pt-1",
        "pt-2",
        "pt-3",
    ]


def test_the_only_node_takes_what_fits_it_and_no_more(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.push({"vm.yaml": vm("vm", nodeSelector={"disktype": "ssd"}), "other.yaml": vm("other")})
    rig.settle()
    assert "0/1 nodes are available: 1 node(s) didn't match" in waits(rig)
    assert runs(rig, "other") == ["node-1"]
    rig.push({"node.yaml": node("node-1", disktype="ssd")})
    rig.settle()
    assert runs(rig, "vm") == ["node-1"]
    assert "home" not in status(rig, "vm")
    rig.push({"node.yaml": node("node-1", cordoned=True), "third.yaml": vm("third")})
    rig.settle()
    assert "1 node(s) were unschedulable" in waits(rig, "third")
    assert runs(rig, "vm") == ["node-1"]


def test_a_plan_names_the_node_and_knows_who_else_is_there(rig: Rig) -> None:
    rig.push({"vm.yaml": vm("vm")})
    rig.settle()
    made = planned(rig, {"new.yaml": vm("new")})
    assert made.names == {"new": "create", "new-disk": "create"}
    assert made["new"].reason == "goes to node pt-2"
    pinned = {"nodeSelector": {"kubernetes.io/hostname": "pt-9"}}
    stuck = planned(rig, {"new.yaml": vm("new", **pinned)})["new"]
    assert stuck.operation == "blocked"
    assert "0/3 nodes are available: 3 node(s) didn't match" in stuck.reason
    moved = planned(rig, {"vm.yaml": vm("vm", **pinned)})["vm"]
    assert "Node pt-1 does not fit it any more" in moved.reason
    assert planned(rig, {}, live=True).names == {}


def test_where_nobody_knows_a_node_a_plan_finds_none_unfit(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    made = planned(rig, {"vm.yaml": vm("vm", nodeSelector={"disktype": "ssd"})})
    assert made.names == {"vm": "create", "vm-disk": "create"}


def test_memory_can_be_given_away_more_than_once(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    small(rig)
    rig.agent.reconciler._engine.put(OVERCOMMIT, None, 1.5)
    sizes = {"vm-1": "3Gi", "vm-2": "2Gi", "vm-3": "2Gi"}
    node_1 = {"node.yaml": node("node-1")}
    files = {f"{name}.yaml": vm(name, memory={"size": size}) for name, size in sizes.items()}
    rig.push({**node_1, **files})
    rig.settle()
    assert [runs(rig, name) for name in sizes] == [["node-1"], ["node-1"], []]
    assert "0/1 nodes are available: 1 Insufficient memory." in waits(rig, "vm-3")


def quota(**hard: Any) -> dict[str, Any]:
    metadata = {"name": "small"}
    return {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": metadata,
        "spec": {"hard": hard},
    }


@pytest.mark.promise("S39")
@pytest.mark.parametrize("several", [False, True])
def test_a_machine_waits_where_its_namespace_has_taken_all_that_it_may(
    tmp_path: Path, several: bool
) -> None:
    rig = three(tmp_path) if several else Rig(tmp_path)
    rig.push({"quota.yaml": quota(memory="600Mi")})
    names = ["vm-1", "vm-2", "vm-3"]
    rig.push({f"{name}.yaml": vm(name) for name in names})
    rig.settle()
    assert [bool(runs(rig, name)) for name in names] == [True, True, False]
    assert waits(rig, "vm-3") == (
        "Could not schedule the virtual machine: exceeded quota: small, requested: memory=256Mi, "
        "used: memory=512Mi, limited: memory=600Mi"
    )
    told = rig.document("namespaces/default/resourcequotas/small.yaml")["status"]
    assert (told["hard"], told["used"]) == ({"memory": "600Mi"}, {"memory": "512Mi"})
    rig.push({"quota.yaml": quota(memory="1Gi")})
    rig.settle()
    assert runs(rig, "vm-3")
    rig.push({"quota.yaml": quota(memory="100Mi")})
    rig.settle()
    assert all(runs(rig, name) for name in names)  # nobody is stopped for it
    rig.push({"quota.yaml": None})
    rig.settle()
    assert all(status(rig, name)["phase"] == "Running" for name in names)
