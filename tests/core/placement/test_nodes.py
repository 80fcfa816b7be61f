"""What nodes have to be for a machine, whoever else is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core.placement.fleet import Fleet, place
from agent.core.placement.rules import PREFERRED, Taint
from agent.core.placement.tenants import Ask, Offer, Tenant, Verdict
from tests.core.placement.cases import GIB, expression, matching, node, on_nodes, vm


def placed(nodes: list[Offer], *tenants: Tenant) -> list[Verdict]:
    verdicts = place(nodes, tenants)
    return [verdicts[each.key] for each in tenants if each.ask is not None]


def one(nodes: list[Offer], *tenants: Tenant) -> Verdict:
    return placed(nodes, *tenants)[-1]


NODES = [
    node("a", labels={"disk": "ssd", "cores": "8"}),
    node("b", labels={"disk": "hdd", "cores": "16"}),
    node("c"),
]


@pytest.mark.promise("S178", "S179", "S184")
@pytest.mark.parametrize(
    ("wanted", "where"),
    [
        ([expression("disk", "In", "hdd", "tape")], "b"),
        ([expression("disk", "NotIn", "ssd", "hdd")], "c"),
        ([expression("disk", "NotIn", "ssd")], "b"),  # the first of b and c
        ([expression("disk", "Exists"), expression("cores", "Gt", "8")], "b"),
        ([expression("cores", "Lt", "9")], "a"),
        ([expression("disk", "DoesNotExist")], "c"),
        ([expression("cores", "Gt", "16")], ""),
        ([expression("disk", "Gt", "1")], ""),  # no number
    ],
)
def test_every_operator_of_node_affinity(wanted: list[dict[str, Any]], where: str) -> None:
    assert one(NODES, vm("x", on_nodes(matching(*wanted)))).node == where


def test_one_of_the_terms_of_node_affinity_is_enough_and_an_empty_one_is_none() -> None:
    tape, hdd = (matching(expression("disk", "In", each)) for each in ("tape", "hdd"))
    assert one(NODES, vm("x", on_nodes(tape, hdd))).node == "b"
    assert one(NODES, vm("x", on_nodes({}))).node == ""


def test_node_affinity_may_name_the_node() -> None:
    named = {"matchFields": [expression("metadata.name", "In", "c")]}
    assert one(NODES, vm("x", on_nodes(named))).node == "c"


def test_a_node_selector_is_exact_and_joins_the_affinity() -> None:
    spec = {"nodeSelector": {"disk": "ssd"}}
    assert one(NODES, vm("x", spec)).node == "a"
    both = {**spec, **on_nodes(matching(expression("cores", "Gt", "8")))}
    verdict = one(NODES, vm("x", both))
    assert verdict == Verdict(
        message="0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector."
    )


@pytest.mark.promise("S178")
def test_preferred_terms_of_node_affinity_weigh() -> None:
    def spec(*weights: tuple[int, str]) -> dict[str, Any]:
        preferred = [
            {"weight": weight, "preference": matching(expression("disk", "In", value))}
            for weight, value in weights
        ]
        return {"affinity": {"nodeAffinity": {PREFERRED: preferred}}}

    assert one(NODES, vm("x", spec((1, "hdd")))).node == "b"
    assert one(NODES, vm("x", spec((1, "hdd"), (2, "ssd")))).node == "a"
    assert one(NODES, vm("x", spec((3, "hdd"), (2, "ssd")))).node == "b"


@pytest.mark.parametrize(
    ("toleration", "bears"),
    [
        ({"key": "gpu", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"key": "gpu", "value": "yes"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}, True),
        ({"key": "gpu", "operator": "Equal", "value": "no"}, False),
        ({"key": "gpu"}, False),
        ({"key": "fpga", "operator": "Exists"}, False),
        ({"key": "gpu", "operator": "Exists", "effect": "NoExecute"}, False),
    ],
)
def test_taints_and_tolerations(toleration: Mapping[str, Any], bears: bool) -> None:
    nodes = [node("a", Taint("gpu", "yes", "NoSchedule"))]
    verdict = one(nodes, vm("x", {"tolerations": [toleration]}))
    assert verdict.node == ("a" if bears else "")
    if not bears:
        assert verdict.message == (
            "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: yes}."
        )


def test_a_node_that_prefers_not_to_takes_machines_that_no_other_takes() -> None:
    nodes = [node("a", Taint("old", "", "PreferNoSchedule")), node("b", memory=2)]
    assert one(nodes, vm("x")).node == "b"
    assert one(nodes, vm("x", {"tolerations": [{"operator": "Exists"}]})).node == "a"
    assert one(nodes, vm("x", memory=3)).node == "a"


def test_a_cordoned_node_takes_only_what_bears_that() -> None:
    nodes = [node("a", unschedulable=True)]
    assert one(nodes, vm("x")).message == ("0/1 nodes are available: 1 node(s) were unschedulable.")
    bearing = {"key": "node.kubernetes.io/unschedulable", "operator": "Exists"}
    assert one(nodes, vm("x", {"tolerations": [bearing]})).node == "a"


def test_memory_is_admitted_by_what_is_on() -> None:
    nodes = [node("a", memory=4, taken=1 * GIB), node("b", memory=1)]
    there = vm("there", memory=1, at="a")
    off = vm("off", memory=4, at="b")
    off = Tenant(off.key, off.labels, off.memory, at="b")  # what is off takes nothing
    assert [each.node for each in placed(nodes, there, off, vm("x", memory=2))] == ["a"]
    verdict = one(nodes, there, off, vm("x", memory=3))
    assert verdict.message == "0/2 nodes are available: 2 Insufficient memory."
    assert one([node("a", memory=0)], vm("x", memory=999)).node == "a"  # nobody counts


def test_all_reasons_are_counted_and_few_nodes_named() -> None:
    nodes = [
        node("a", unschedulable=True),
        node("b", Taint("gpu", "", "NoExecute")),
        node("c", ready=False),
        node("d", memory=1),
    ]
    asked = vm("x", memory=2)
    assert one(nodes, asked).message == (
        "0/4 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {gpu: }, "
        "1 node(s) were not ready, 1 node(s) were unschedulable. (a: node(s) were unschedulable; "
        "b: node(s) had untolerated taint {gpu: }; c: node(s) were not ready; "
        "d: Insufficient memory)"
    )
    many = [*nodes, node("e", ready=False), node("f", ready=False)]
    assert one(many, asked).message == (
        "0/6 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {gpu: }, "
        "1 node(s) were unschedulable, 3 node(s) were not ready."
    )


def test_what_keeps_just_this_machine_from_a_node_is_counted_too() -> None:
    barred = Ask({"a": "node(s) had volume node affinity conflict"})
    assert one([node("a"), node("b")], vm("x", ask=barred)).node == "b"
    assert one([node("a")], vm("x", ask=barred)).message == (
        "0/1 nodes are available: 1 node(s) had volume node affinity conflict."
    )


def test_a_node_that_has_its_data_is_better_than_an_emptier_one() -> None:
    nodes = [node("a"), node("b"), vm_free := node("c")]
    assert one(nodes, vm("x", ask=Ask(handy=frozenset({"b"})))).node == "b"
    assert vm_free.memory == 16 * GIB


def test_machines_are_spread_by_memory_and_then_by_name() -> None:
    nodes = [node("b"), node("a"), node("c")]
    found = placed(nodes, *(vm(f"x{number}", memory=2) for number in range(4)))
    assert [each.node for each in found] == ["a", "b", "c", "a"]


def test_who_has_priority_is_placed_first_then_who_is_older_then_the_name() -> None:
    nodes = [node("a", memory=2)]
    high = vm("z", memory=2, priority=5, created="2")
    old, young = vm("y", memory=2, created="1"), vm("x", memory=2, created="2")
    assert [each.node for each in placed(nodes, young, old, high)] == ["", "", "a"]
    assert [each.node for each in placed(nodes, young, old)] == ["", "a"]
    equal = vm("w", memory=2, created="1")
    assert [each.node for each in placed(nodes, old, equal)] == ["", "a"]


def test_a_machine_that_may_go_to_one_node_only_is_told_where_else_it_would_fit() -> None:
    nodes = [node("a", memory=2), node("b")]
    verdict = one(nodes, vm("x", memory=3, ask=Ask(only="a")))
    assert verdict == Verdict(
        message="0/2 nodes are available: 1 Insufficient memory.", elsewhere="b"
    )
    assert one(nodes, vm("x", memory=1, ask=Ask(only="a"))) == Verdict("a")


def test_a_machine_stays_on_a_node_that_takes_no_more() -> None:
    fleet = Fleet()
    there = vm("x", {"nodeSelector": {"disk": "ssd"}}, memory=99, at="a")
    fleet.have([node("a", Taint("gpu", "", "NoSchedule"), labels={"disk": "ssd"}, ready=False)])
    fleet.put(there)
    assert fleet.misfit(there) == ""
    fleet.have([node("a", Taint("gpu", "", "NoExecute"), labels={"disk": "ssd"})])
    assert fleet.misfit(there) == "node(s) had untolerated taint {gpu: }"
    fleet.have([node("a", labels={"disk": "hdd"})])
    assert fleet.misfit(there) == "node(s) didn't match Pod's node affinity/selector"
    fleet.have([])
    assert fleet.misfit(there) == ""  # nobody knows its node
