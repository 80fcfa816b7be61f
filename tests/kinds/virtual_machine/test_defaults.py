"""What a machine takes from its class, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core.model import Json, Key, Manifest
from agent.kinds.virtual_machine.defaults import CLASS, awaits_class, complete
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_class import IS_DEFAULT

VM = Key("VirtualMachine", "default", "vm")
MAIN: dict[str, Json] = {"type": "Main"}


def named(name: str, number: int = 0, kind: str = "Network") -> dict[str, Json]:
    return {"type": kind, "name": name, **({"id": number} if number else {})}


@pytest.mark.parametrize(
    ("listed", "earlier", "ids"),
    [
        ([MAIN], [], [0]),  # nothing is written where there is nothing to remember
        ([MAIN, named("a"), named("b")], [], [1, 2, 3]),
        ([named("a"), named("a", kind="ClusterNetwork")], [], [2, 3]),
        ([MAIN, named("a", 3), named("b"), named("c")], [], [1, 3, 2, 4]),
        # who had one keeps it, in whatever order, and who comes gets what is free
        ([MAIN, named("b"), named("a")], [MAIN, named("a", 2), named("b", 3)], [1, 3, 2]),
        ([MAIN, named("b")], [MAIN, named("a", 2), named("b", 3)], [1, 3]),
        ([MAIN, named("c"), named("b")], [MAIN, named("a", 2), named("b", 3)], [1, 2, 3]),
        # what is written goes before all
        ([MAIN, named("a", 3), named("b")], [MAIN, named("a", 2), named("b", 3)], [1, 3, 2]),
        ([MAIN, named("a")], [named("a", 1)], [1, 2]),
    ],
)
def test_each_network_has_a_number_that_it_keeps(
    listed: list[dict[str, Json]], earlier: list[dict[str, Json]], ids: list[int]
) -> None:
    spec = {CLASS: "small", "cpu": {"cores": 1}, "networks": listed}
    known = {CLASS: "small", "cpu": {"cores": 1}, "networks": earlier} if earlier else {}
    done: Any = complete(manifest(VM, spec), known, {}).spec["networks"]
    assert [each.get("id", 0) for each in done] == ids
    assert [{**each, "id": 0} for each in done] == [{**each, "id": 0} for each in listed]
    assert complete(manifest(VM, {**spec, "networks": done}), known, {}).spec["networks"] == done


def manifest(key: Key, spec: Mapping[str, Json], **annotations: str) -> Manifest:
    return Manifest(key, {}, annotations, {"spec": spec, "more": 1})


def size_class(name: str, fraction: str = "", *, default: bool = False) -> Manifest:
    policies = (
        [{"cores": {"min": 1, "max": 4}, "defaultCoreFraction": fraction}] if fraction else []
    )
    annotations = {IS_DEFAULT: "true"} if default else {}
    return manifest(
        Key("VirtualMachineClass", "", name), {"sizingPolicies": policies}, **annotations
    )


SMALL = size_class("small", "10%")
HALF = size_class("half", "50%", default=True)
ANOTHER = size_class("zeta", "20%", default=True)
ALL = (SMALL, HALF, ANOTHER)
BEFORE = {CLASS: "small", "cpu": {"cores": 1, "coreFraction": "30%"}}


@pytest.mark.parametrize(
    ("spec", "earlier", "there", "named", "fraction"),
    [
        ({CLASS: "small"}, {}, ALL, "small", "10%"),
        ({}, {}, ALL, "half", "50%"),  # the first one by name that is marked as the default
        ({}, {}, (SMALL,), "", "100%"),
        ({CLASS: "missing"}, {}, ALL, "missing", "100%"),
        ({CLASS: "plain"}, {}, (size_class("plain"),), "plain", "100%"),
        # what was taken once stays
        ({}, BEFORE, ALL, "small", "30%"),
        ({CLASS: "half"}, BEFORE, ALL, "half", "30%"),
        ({}, {**BEFORE, CLASS: ""}, ALL, "half", "50%"),
        ({}, {CLASS: "small", "cpu": {"cores": 1}}, ALL, "small", "10%"),
        # what the manifest says goes before all
        ({CLASS: "small", "cpu": {"cores": 2, "coreFraction": "70%"}}, BEFORE, ALL, "small", "70%"),
        ({CLASS: "small", "cpu": {"cores": 2, "coreFraction": ""}}, {}, ALL, "small", "10%"),
        # sizes that the class has no policy for
        ({CLASS: "small", "cpu": {"cores": 5}}, {}, ALL, "small", "100%"),
    ],
)
def test_a_machine_takes_what_it_does_not_say_from_its_class(
    spec: Mapping[str, Json], earlier: Mapping[str, Json], there: Any, named: str, fraction: str
) -> None:
    asked = manifest(VM, {"cpu": {"cores": 2}, **spec})
    found = complete(asked, earlier, {each.key: each for each in there})
    assert found.spec.get(CLASS, "") == named
    assert (CLASS in found.spec) is bool(named)
    cpu = machine_spec(asked.spec)["cpu"]
    cores = cpu["cores"]
    assert found.spec["cpu"] == {"cores": cores, "coreFraction": fraction}
    assert found.content["more"] == 1
    assert "coreFraction" not in cpu or asked.spec["cpu"] != {"cores": 2}


@pytest.mark.parametrize(
    ("key", "spec", "awaits"),
    [
        (VM, {}, True),
        (VM, {CLASS: ""}, True),
        (VM, {CLASS: "small"}, False),
        (Key("VirtualDisk", "default", "disk"), {}, False),
    ],
)
def test_only_a_machine_without_a_class_waits_for_one(
    key: Key, spec: Mapping[str, Json], awaits: bool
) -> None:
    assert awaits_class(manifest(key, spec)) is awaits
