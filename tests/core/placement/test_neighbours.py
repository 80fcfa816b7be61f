"""Where machines go for the sake of others."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from agent.core.placement.fleet import Fleet, place
from agent.core.placement.rules import rules
from agent.core.placement.tenants import Ask, Offer, Tenant
from tests.core.placement.cases import HOST, apart, expression, near, node, rather, term, vm
from tests.core.placement.test_nodes import one, placed

DB = {"server": "database"}
ZONES = [node(name, labels={"zone": zone}) for name, zone in (("a", "1"), ("b", "1"), ("c", "2"))]


@pytest.mark.promise("S180")
def test_machines_that_must_be_near_others_go_to_their_place() -> None:
    there = vm("db", labels=DB, at="b")
    assert one(ZONES, there, vm("x", near(term(DB)))).node == "b"
    assert one(ZONES, there, vm("x", near(term(DB, "zone")))).node == "a"
    assert one(ZONES, vm("x", near(term(DB)))).message == (
        "0/3 nodes are available: 3 node(s) didn't match pod affinity rules."
    )


def test_the_first_of_those_that_must_be_together_goes_anywhere() -> None:
    group = [vm(f"x{number}", near(term(DB)), labels=DB) for number in range(3)]
    assert [each.node for each in placed(ZONES, *group)] == ["a", "a", "a"]
    assert one(ZONES, vm("x", near(term(DB, "rack")), labels=DB)).node == ""  # no node has a rack


def test_only_who_is_meant_by_all_terms_counts_for_them() -> None:
    web = {"tier": "web"}
    there = [vm("db", labels=DB, at="a"), vm("both", labels={**DB, **web}, at="c")]
    assert one(ZONES, *there, vm("x", near(term(DB), term(web, "zone")))).node == "c"


@pytest.mark.promise("S183")
def test_machines_that_must_be_apart_never_share_a_place() -> None:
    group = [vm(f"x{number}", apart(term(DB)), labels=DB) for number in range(4)]
    found = placed(ZONES, *group)
    assert [each.node for each in found] == ["a", "b", "c", ""]
    assert found[-1].message == (
        "0/3 nodes are available: 3 node(s) didn't match pod anti-affinity rules."
    )
    by_zone = [vm(f"x{number}", apart(term(DB, "zone")), labels=DB) for number in range(3)]
    assert [each.node for each in placed(ZONES, *by_zone)] == ["a", "c", ""]


def test_who_is_there_already_keeps_others_away() -> None:
    there = vm("db", apart(term({"noisy": "yes"}, "zone")), at="a")
    assert one(ZONES, there, vm("x", labels={"noisy": "yes"})).node == "c"
    assert one(ZONES[:2], there, vm("x", labels={"noisy": "yes"})).message == (
        "0/2 nodes are available: 2 node(s) didn't satisfy existing pods anti-affinity rules."
    )


def test_a_machine_that_is_off_is_nobodys_neighbour() -> None:
    off = Tenant(vm("db", labels=DB).key, DB, 0, at="a")
    assert one(ZONES[:1], off, vm("x", apart(term(DB)))).node == "a"


@pytest.mark.promise("S181")
def test_the_example_of_a_preference_for_a_databases_node() -> None:
    example = {"labelSelector": {"matchLabels": DB}, "topologyKey": "kubernetes.io/hostname"}
    spec = rather("virtualMachineAndPodAffinity", 1, example)
    there = vm("db", labels=DB, memory=8, at="b")
    assert one(ZONES, there, vm("x", spec)).node == "b"
    assert one(ZONES, there, vm("x")).node == "a"
    assert one(ZONES, vm("x", spec)).node == "a"  # it need not be


@pytest.mark.promise("S180", "S183")
def test_preferences_about_neighbours_weigh_against_each_other() -> None:
    db, web = vm("db", labels=DB, at="b"), vm("web", labels={"tier": "web"}, at="c")
    likes = rather("virtualMachineAndPodAffinity", 10, term(DB))
    assert one(ZONES, db, web, vm("x", likes)).node == "b"
    dislikes = rather("virtualMachineAndPodAntiAffinity", 10, term({"tier": "web"}))
    assert one(ZONES[1:], web, vm("x", dislikes)).node == "b"
    both = {"affinity": {**likes["affinity"], **dislikes["affinity"]}}
    assert one(ZONES, db, web, vm("x", both)).node == "b"


def test_preferences_of_those_who_are_there_count_too() -> None:
    shy = vm("shy", rather("virtualMachineAndPodAntiAffinity", 100, term(DB)), at="a")
    fond = vm("fond", rather("virtualMachineAndPodAffinity", 100, term(DB)), at="c")
    assert one(ZONES, shy, fond, vm("x", labels=DB)).node == "c"
    tied = vm("tied", near(term(DB)), at="c")
    assert one(ZONES[1:], tied, vm("x", labels=DB)).node == "c"


def test_neighbours_are_of_the_own_namespace_unless_others_are_named() -> None:
    there = vm("db", labels=DB, namespace="prod", at="b")

    def where(**more: Any) -> str:
        return one(ZONES, there, vm("x", near(term(DB, **more)), namespace="test")).node

    assert where() == ""
    assert where(namespaces=["prod"]) == "b"
    assert where(namespaces=["other"]) == ""
    assert where(namespaceSelector={}) == "b"
    named = {"matchLabels": {"kubernetes.io/metadata.name": "prod"}}
    assert where(namespaceSelector=named) == "b"
    assert where(namespaceSelector={"matchLabels": {"team": "x"}}) == ""
    assert where(namespaceSelector={"matchLabels": {"team": "x"}}, namespaces=["prod"]) == "b"


def test_a_term_without_a_selector_means_nobody_and_an_empty_one_everybody() -> None:
    there = vm("db", labels=DB, at="a")
    nobody = {"topologyKey": HOST}
    assert one(ZONES[:1], there, vm("x", apart(nobody))).node == "a"
    assert one(ZONES[:1], there, vm("x", apart({**nobody, "labelSelector": {}}))).node == ""


def test_keys_of_labels_stand_for_the_machines_own_values() -> None:
    labels = {**DB, "release": "1"}
    same = term(DB, matchLabelKeys=["release", "absent"])
    other = term(DB, mismatchLabelKeys=["release"])
    there = vm("db", labels={**DB, "release": "2"}, at="a")
    assert one(ZONES[:1], there, vm("x", apart(same), labels=labels)).node == "a"
    assert one(ZONES[:1], there, vm("x", apart(other), labels=labels)).node == ""


def test_expressions_select_neighbours() -> None:
    there = vm("db", labels=DB, at="b")
    selector = {"matchExpressions": [expression("server", "NotIn", "web")]}
    wanted = near({"labelSelector": selector, "topologyKey": HOST})
    assert one(ZONES, there, vm("x", wanted)).node == "b"


def spreading(topology: str, unless: str = "DoNotSchedule", skew: int = 1) -> dict[str, Any]:
    rule = {
        "maxSkew": skew,
        "topologyKey": topology,
        "whenUnsatisfiable": unless,
        "labelSelector": {"matchLabels": DB},
    }
    return {"topologySpreadConstraints": [rule]}


def test_machines_are_spread_evenly_over_places() -> None:
    group = [vm(f"x{number}", spreading("zone"), labels=DB) for number in range(5)]
    assert [each.node for each in placed(ZONES, *group)] == ["a", "c", "b", "c", "a"]
    full = [node("c", labels={"zone": "2"}, memory=1), *ZONES[:2]]
    found = placed(full, *group)
    assert [each.node for each in found] == ["a", "c", "b", "", ""]
    assert found[-1].message == (
        "0/3 nodes are available: 1 Insufficient memory, 2 node(s) didn't match pod topology "
        "spread constraints. (a, b: node(s) didn't match pod topology spread constraints; "
        "c: Insufficient memory)"
    )
    wider = [vm(f"x{number}", spreading("zone", skew=2), labels=DB) for number in range(4)]
    assert [each.node for each in placed(full, *wider)] == ["a", "b", "c", "a"]


def test_nodes_that_a_machine_cannot_use_by_their_labels_are_no_places_for_it() -> None:
    spec = {**spreading("zone"), "nodeSelector": {"zone": "1"}}
    group = [vm(f"x{number}", spec, labels=DB) for number in range(3)]
    assert all(each.node in ("a", "b") for each in placed(ZONES, *group))


def test_a_node_without_the_label_is_no_place_to_spread_to() -> None:
    assert one([node("a")], vm("x", spreading("zone"), labels=DB)).message == (
        "0/1 nodes are available: 1 node(s) didn't match pod topology spread constraints "
        "(missing required label)."
    )


def test_spreading_that_need_not_be_is_only_better() -> None:
    there = [
        vm("one", labels=DB, at="c"),
        vm("big", memory=9, at="a"),
        vm("large", memory=9, at="b"),
    ]
    spec = spreading("zone", "ScheduleAnyway")
    assert one(ZONES, *there, vm("x", labels=DB)).node == "c"
    assert one(ZONES, *there, vm("x", spec, labels=DB)).node == "a"
    assert one(ZONES[2:], *there, vm("x", spec, labels=DB)).node == "c"


def test_a_machine_that_must_be_apart_by_now_does_not_fit_any_more() -> None:
    fleet = Fleet()
    fleet.have(ZONES)
    loner = vm("x", apart(term(DB)), labels=DB, at="a")
    fleet.put(loner)
    assert fleet.misfit(loner) == ""  # it is not its own neighbour
    fleet.put(vm("db", labels=DB, at="a"))
    assert fleet.misfit(loner) == "node(s) didn't match pod anti-affinity rules"
    assert fleet.place(loner, Ask(barred={"a": "left"})).node == "b"
    fleet.put(vm("db", labels=DB, at="b"))
    assert fleet.misfit(loner) == ""


def test_what_is_counted_step_by_step_is_what_is_counted_at_once() -> None:
    """Machines come, go, move and change at random; nodes get other labels."""
    dice = random.Random(11)  # nobody is to be surprised
    names = "abcdef"

    def some_node(name: str) -> Offer:
        return node(name, labels={"zone": dice.choice("12")}, memory=64)

    def some(number: int) -> Tenant:
        labels = {"app": dice.choice("pq"), "tier": dice.choice("xy")}
        mine = {"app": labels["app"]}
        spec = dice.choice(
            [
                {},
                apart(term(mine)),
                near(term(mine, "zone")),
                rather("virtualMachineAndPodAffinity", 7, term({"tier": "x"}, "zone")),
                rather("virtualMachineAndPodAntiAffinity", 9, term(mine)),
                {
                    "topologySpreadConstraints": [
                        {
                            "maxSkew": 1,
                            "topologyKey": "zone",
                            "whenUnsatisfiable": dice.choice(["DoNotSchedule", "ScheduleAnyway"]),
                            "labelSelector": {"matchLabels": mine},
                        }
                    ]
                },
            ]
        )
        tenant = vm(f"x{number}", spec, labels=labels, at=dice.choice(names))
        return replace(tenant, rules=rules(spec, labels, "default"))

    nodes = {name: some_node(name) for name in names}
    lasting, there = Fleet(), dict[int, Tenant]()
    lasting.have(nodes.values())
    for _ in range(400):
        number = dice.randrange(12)
        if dice.random() < 0.05:
            name = dice.choice(names)
            nodes[name] = some_node(name)
            lasting.have(nodes.values())
        elif dice.random() < 0.3 and number in there:
            lasting.remove(there.pop(number).key)
        else:
            there[number] = some(number)
            lasting.put(there[number])
        asked = replace(some(99), at="", on=False, ask=Ask())
        assert (
            lasting.place(asked, Ask())
            == place(nodes.values(), [*there.values(), asked])[asked.key]
        )
