"""Machines that are to leave their nodes: drained ones, and such that do not fit them any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.status import timestamp
from agent.places import Pools
from tests.product.test_migration import SHARED, Fleet, fleet
from tests.product.test_placement import node
from tests.rig import MAIN, OPERATIONS, condition, disk, machine


@pytest.fixture(params=["shared", "local"])
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    return fleet(tmp_path, SHARED if request.param == "shared" else Pools())


@pytest.fixture
def shared(tmp_path: Path) -> Fleet:
    return fleet(tmp_path, SHARED)


def mark(rig: Fleet, since: str | None = "2023-11-14T22:13:20Z", name: str = "pt-1") -> None:
    """Cordon and drain a node on the branch of operations; without a time it is free again."""
    metadata = {"name": name, "annotations": {"gitvirt.io/evacuate": since}}
    spec = {"unschedulable": True}
    document = {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": spec}
    rig.push({f"nodes/{name}.yaml": document if since else None, "keep.txt": "x"}, OPERATIONS)


def own(rig: Fleet, *, prefix: str = "evacuation-") -> list[dict[str, Any]]:
    """Operations that the agent has made."""
    folder = "namespaces/default/virtualmachineoperations/"
    paths = [path for path in rig.documents() if path.startswith(folder + prefix)]
    return [rig.document(path) for path in sorted(paths)]


def change(rig: Fleet, *nodes: Any, **spec: Any) -> None:
    rig.push({"vm.yaml": [machine(**spec), disk()], "nodes.yaml": list(nodes)}, MAIN)
    rig.go(60)


@pytest.mark.promise("S232", "S237", "S257", "S260", "S261")
def test_a_drained_node_is_left_by_all_and_takes_nobody_until_it_is_free_again(rig: Fleet) -> None:
    mark(rig)
    rig.go(40)
    (home,) = rig.on()
    assert home in ("pt-2", "pt-3")
    (made,) = own(rig)
    assert made["spec"] == {"type": "Evict", "virtualMachineName": "vm"}
    assert made["status"]["phase"] == "Completed"
    assert rig.document("cluster/nodes/pt-1.yaml")["status"]["phase"] == "Ready,SchedulingDisabled"
    assert condition(rig.vm(), "Schedulable") == {}
    rig.push({"more.yaml": [machine("more", disks=("other",)), disk("other")]})
    rig.go(10)
    assert rig.on("more")[0] != "pt-1"
    mark(rig, None)
    rig.go(30)
    assert rig.on() == [home]  # it stays where it is
    rig.push({"last.yaml": [machine("last", disks=("third",)), disk("third")]})
    rig.go(10)
    assert rig.on("last") == ["pt-1"]
    assert len(own(rig)) == 1


def test_a_second_drain_is_another_one(shared: Fleet) -> None:
    mark(shared)
    shared.go(40)
    (home,) = shared.on()
    mark(shared, None)
    mark(shared, "2023-11-15T00:00:00Z", home)
    shared.go(40)
    assert shared.on() not in ([home], [])
    assert [each["status"]["phase"] for each in own(shared)] == ["Completed", "Completed"]


@pytest.mark.parametrize("kills", range(1, 30, 4))
def test_a_drain_goes_on_after_a_kill_and_moves_nobody_twice(tmp_path: Path, kills: int) -> None:
    rig = fleet(tmp_path, SHARED)
    mark(rig)
    rig.agent.reconciler.look_at_git()
    for _ in range(kills):
        rig.step()
        rig.now += 1
    rig.agent = rig.start()
    rig.go(60)
    assert len(rig.on()) == 1
    assert rig.on() != ["pt-1"]
    assert rig.there() == rig.on()
    assert len(own(rig)) == 1


@pytest.mark.promise("S255")
def test_a_machine_stays_where_new_rules_fit_its_node(shared: Fleet) -> None:
    change(shared, node("pt-1", group="green"), nodeSelector={"group": "green"})
    assert shared.on() == ["pt-1"]
    assert own(shared, prefix="") == []
    assert condition(shared.vm(), "Schedulable") == {}


@pytest.mark.promise("S175", "S233", "S238", "S256")
def test_a_machine_moves_at_once_where_new_rules_do_not_fit_its_node(rig: Fleet) -> None:
    nodes = [node("pt-1", group="green"), node("pt-3", group="blue")]
    change(rig, *nodes, nodeSelector={"group": "blue"})
    assert rig.on() == ["pt-3"]
    (made,) = own(rig, prefix="nodeplacement-update-")
    assert made["spec"]["type"] == "Evict"
    assert rig.vm()["status"].get("restartAwaitingChanges", []) == []
    assert condition(rig.vm(), "Schedulable") == {}


@pytest.mark.promise("S141", "S142")
def test_affinity_applies_at_once(shared: Fleet) -> None:
    wanted = {"key": "group", "operator": "In", "values": ["blue"]}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [wanted]}]}
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": terms}
    change(shared, node("pt-2", group="blue"), affinity={"nodeAffinity": rule})
    assert shared.on() == ["pt-2"]
    change(shared, node("pt-3", group="blue"), nodeSelector={"group": "blue"})
    assert shared.on() == ["pt-3"]


def test_of_two_that_may_not_be_together_any_more_one_goes(shared: Fleet) -> None:
    pinned = {"nodeSelector": {"kubernetes.io/hostname": "pt-1"}}
    shared.push({"two.yaml": [machine("two", disks=("d2",), **pinned), disk("d2")]})
    shared.go(20)
    assert shared.on("two") == ["pt-1"]
    term = {
        "labelSelector": {"matchLabels": {"app": "db"}},
        "topologyKey": "kubernetes.io/hostname",
    }
    rule = {"requiredDuringSchedulingIgnoredDuringExecution": [term]}
    apart = {"virtualMachineAndPodAntiAffinity": rule}
    labels = {"labels": {"app": "db"}}
    shared.push(
        {
            "vm.yaml": [machine(affinity=apart, metadata=labels), disk()],
            "two.yaml": [
                machine("two", disks=("d2",), affinity=apart, metadata=labels),
                disk("d2"),
            ],
        }
    )
    shared.go(60)
    assert len(own(shared, prefix="nodeplacement-update-")) == 1
    assert {*shared.on(), *shared.on("two")} > {"pt-1"}


def test_a_machine_that_fits_nowhere_else_stays_and_says_so(shared: Fleet) -> None:
    change(shared, nodeSelector={"group": "blue"})
    assert shared.on() == ["pt-1"]
    told = condition(shared.vm(), "Schedulable")
    assert told["status"] == "False"
    assert "Node pt-1 does not fit it any more: node(s) didn't match" in told["message"]
    assert "0/3 nodes are available" in told["message"]
    assert own(shared, prefix="") == []
    change(shared, node("pt-2", group="blue"), nodeSelector={"group": "blue"})
    assert shared.on() == ["pt-2"]


def test_a_taint_that_nothing_may_run_with_sends_away_who_does_not_bear_it(shared: Fleet) -> None:
    bearing = {"key": "broken", "operator": "Exists"}
    shared.push({"two.yaml": [machine("two", disks=("d2",), tolerations=[bearing]), disk("d2")]})
    taint = {"key": "broken", "effect": "NoExecute"}
    tainted = [node("pt-1", taint), node("pt-2", taint), node("pt-3", taint)]
    shared.go(20)
    before = shared.on("two")
    shared.push({"nodes.yaml": tainted[:1]})
    shared.go(40)
    assert shared.on() != ["pt-1"]
    assert shared.on("two") == before
    assert own(shared)[0]["status"]["phase"] == "Completed"


def test_a_drain_that_is_called_off_leaves_who_has_not_begun(shared: Fleet) -> None:
    shared.push({"nodes.yaml": [node("pt-2", cordoned=True), node("pt-3", cordoned=True)]})
    mark(shared)
    shared.go(20)
    assert shared.on() == ["pt-1"]
    assert "is being drained" in condition(shared.vm(), "Schedulable")["message"]
    mark(shared, None)
    shared.push({"nodes.yaml": None})
    shared.go(20)
    assert shared.on() == ["pt-1"]
    assert own(shared) == []
    assert condition(shared.vm(), "Schedulable") == {}


def test_a_machine_that_is_off_does_not_start_on_a_cordoned_node(shared: Fleet) -> None:
    change(shared, runPolicy="AlwaysOff")
    assert shared.on() == []
    for number in (1, 2, 3):
        mark(shared, name=f"pt-{number}")
    shared.go(10)
    change(shared, runPolicy="AlwaysOn")
    assert shared.on() == []
    told = condition(shared.vm(), "Running")["message"]
    assert "3 node(s) were unschedulable" in told
    mark(shared, None)
    shared.go(20)
    assert shared.on() == ["pt-1"]


def test_a_broken_mark_takes_none_away_and_other_fields_do_not_count_there(shared: Fleet) -> None:
    mark(shared)
    shared.go(40)
    (home,) = shared.on()
    spoiled = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "pt-1"}}
    shared.push({"nodes/pt-1.yaml": {**spoiled, "spec": {"unschedulable": "no"}}}, OPERATIONS)
    shared.go(10)
    assert shared.document("cluster/nodes/pt-1.yaml")["spec"]["unschedulable"] is True
    taint = {"key": "a", "effect": "NoExecute"}
    more = {**spoiled, "spec": {"taints": [taint]}}
    shared.push({"nodes/pt-1.yaml": more}, OPERATIONS)
    shared.go(10)
    found = shared.document("cluster/nodes/pt-1.yaml")
    assert found["spec"] == {"unschedulable": False}
    problems = shared.documents()["problems.yaml"].decode()
    assert "counts on the main branch only; here only unschedulable does" in problems
    assert shared.on() == [home]


@pytest.mark.promise("S56")
def test_a_move_that_the_quota_has_no_room_for_waits_and_says_so(shared: Fleet) -> None:
    bounds = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    shared.push({"quota.yaml": {**bounds, "spec": {"hard": {"memory": "300Mi"}}}})
    shared.go(5)
    shared.ask()
    shared.go(10)
    assert shared.on() == ["pt-1"]
    told = condition(shared.vmop("move"), "Completed")
    assert told["reason"] == "TargetUnschedulable"
    assert "exceeded quota: small, requested: memory=256Mi, used: memory=256Mi" in told["message"]
    shared.push({"quota.yaml": {**bounds, "spec": {"hard": {"memory": "1Gi"}}}})
    shared.go(40)
    assert shared.on() != ["pt-1"]
    assert shared.vmop("move")["status"]["phase"] == "Completed"


# -- taints that a machine bears for a while ------------------------------------------------------

BEARS = {"key": "repair", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 100}


def taint(rig: Fleet, name: str = "pt-1", *, there: bool = True) -> float:
    """The node bears it from now on, or does not any more; the time of the pass that takes it in."""
    listed = [{"key": "repair", "effect": "NoExecute"}] if there else []
    document = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}}
    rig.push({f"{name}.yaml": {**document, "spec": {"taints": listed}}}, MAIN)
    rig.agent.reconciler.look_at_git()
    at = rig.now
    rig.step()
    return at


@pytest.fixture
def bearing(shared: Fleet) -> Fleet:
    change(shared, tolerations=[BEARS])
    return shared


def until_it_goes(rig: Fleet, most: int) -> float:
    """When its operation is there."""
    for _ in range(most):
        rig.step()
        if own(rig):
            return rig.now
        rig.now += 1
    return 0.0


def test_a_taint_is_borne_for_as_long_as_the_machine_says(bearing: Fleet) -> None:
    began = taint(bearing)
    bearing.go(3)
    (told,) = bearing.document("cluster/nodes/pt-1.yaml")["status"]["taints"]
    assert (told["key"], told["effect"], told["timeAdded"]) == (
        "repair",
        "NoExecute",
        timestamp(began),
    )
    gone = until_it_goes(bearing, 150)
    assert 100 <= gone - began <= 101
    bearing.go(30)
    assert bearing.on() not in (["pt-1"], [])
    assert condition(bearing.vm(), "Schedulable") == {}


def test_the_time_goes_on_for_the_heir_of_an_agent_that_has_died(bearing: Fleet) -> None:
    began = taint(bearing)
    bearing.go(50)
    bearing.start()
    gone = until_it_goes(bearing, 150)
    assert 100 <= gone - began <= 102


def test_it_stays_where_the_taint_goes_in_time(bearing: Fleet) -> None:
    taint(bearing)
    bearing.go(60)
    taint(bearing, there=False)
    bearing.go(100)
    assert (bearing.on(), own(bearing)) == (["pt-1"], [])
    again = taint(bearing)  # and its time begins anew
    gone = until_it_goes(bearing, 150)
    assert 100 <= gone - again <= 101


def test_one_that_bears_it_for_ever_stays_and_one_that_does_not_bear_it_goes_at_once(
    shared: Fleet,
) -> None:
    change(shared, tolerations=[{**BEARS, "tolerationSeconds": None}])
    began = taint(shared)
    assert until_it_goes(shared, 200) == 0
    change(shared, tolerations=[])
    assert until_it_goes(shared, 20) - began < 300


def test_of_two_taints_the_one_whose_time_is_over_first_counts(shared: Fleet) -> None:
    soon = {**BEARS, "key": "soon", "tolerationSeconds": 30}
    change(shared, tolerations=[BEARS, soon])
    document = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "pt-1"}}
    listed = [{"key": key, "effect": "NoExecute"} for key in ("repair", "soon")]
    shared.push({"pt-1.yaml": {**document, "spec": {"taints": listed}}}, MAIN)
    shared.agent.reconciler.look_at_git()
    began = shared.now
    gone = until_it_goes(shared, 150)
    assert 30 <= gone - began < 60


def test_where_no_other_node_is_it_stays_and_says_so(bearing: Fleet) -> None:
    for name in ("pt-2", "pt-3"):
        mark(bearing, name=name)
    taint(bearing)
    bearing.go(130)
    assert bearing.on() == ["pt-1"]
    told = condition(bearing.vm(), "Schedulable")["message"]
    assert told.startswith("Node pt-1 has the taint repair=, which it bears no longer than it did.")
