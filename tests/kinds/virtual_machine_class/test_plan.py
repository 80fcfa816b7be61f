"""The processor that guests of a class see on this node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core import known
from agent.core.facts import Decision
from agent.core.known import Fact
from agent.core.model import Condition, Json, Key, Object
from agent.kinds.local import NOT_READY
from agent.kinds.virtual_machine_class.builtin import CLASSES
from agent.kinds.virtual_machine_class.cpu import GuestCpu
from agent.kinds.virtual_machine_class.decide import ClassData, decide
from agent.kinds.virtual_machine_class.sizing import default_core_fraction, violations
from agent.kinds.virtual_machine_class.spec import SizingPolicy, class_spec
from agent.kinds.virtual_machine_class.validation import CHECKS
from tests.golden.case import NODE
from tests.kinds.deciding import READY, UNREAD, condition, decided, made, on, said, types

KEY = Key("VirtualMachineClass", "", "class")
VM = Key("VirtualMachine", "lab", "vm")


def of(cpu: Mapping[str, Json], **spec: Json) -> Object:
    return made(KEY, {"cpu": dict(cpu), **spec})


@pytest.mark.parametrize(
    ("cpu", "modes", "expected"),
    [
        ({"type": "Host"}, {"host-model", "maximum"}, GuestCpu("host-model")),
        ({"type": "Host"}, {"host-passthrough", "maximum"}, GuestCpu("maximum")),
        ({"type": "HostPassthrough"}, {"host-passthrough"}, GuestCpu("host-passthrough")),
        ({"type": "HostPassthrough"}, {"host-model", "maximum"}, GuestCpu("maximum")),
        ({"type": "Host"}, {"custom"}, "supports no CPU of type Host."),
        ({"type": "HostPassthrough"}, {"host-model"}, "supports no CPU of type HostPassthrough."),
        ({"type": "Model", "model": "Nehalem"}, set(), GuestCpu("custom", "Nehalem")),
        ({"type": "Model", "model": "EPYC"}, {"maximum"}, "cannot run guests with CPU model EPYC."),
        (
            {"type": "Features", "features": ["vmx", "aes", "vmx"]},
            set(),
            GuestCpu("custom", "qemu64", ("aes", "vmx")),
        ),
    ],
)
def test_a_class_gives_the_cpu_that_its_node_can(
    cpu: Mapping[str, Json], modes: set[str], expected: GuestCpu | str
) -> None:
    policies: list[SizingPolicy] = [{"cores": {"min": 1, "max": 4}}]
    node = replace(NODE, cpu_modes=frozenset(modes))
    found = decided(decide, of(cpu, sizingPolicies=policies), on(node))
    if isinstance(expected, GuestCpu):
        assert found.export == ClassData({NODE.name: expected}, tuple(policies))
        assert found.ok
        assert said(found)["phase"] == "Ready"
        assert said(found)["availableNodes"] == [NODE.name]
        assert condition(found, "Ready") == Condition("Ready", "True", "SuitableNodesFound")
    else:
        assert found.export is None
        assert not found.ok
        assert said(found)["phase"] == "Pending"
        assert "availableNodes" not in said(found)
        assert condition(found, "Ready") == Condition(
            "Ready", "False", "NoSuitableNodesFound", f"Node {NODE.name} {expected}"
        )


def test_what_the_node_can_beside_the_features_of_a_class_is_told() -> None:
    found = decided(decide, of({"type": "Features", "features": ["vmx", "aes"]}), READY)
    assert said(found)["cpuFeatures"] == {
        "enabled": ["aes", "vmx"],
        "notEnabledCommon": ["avx", "sse4.2"],
    }
    every = of({"type": "Features", "features": list(NODE.cpu_features)})
    assert "notEnabledCommon" not in said(decided(decide, every, READY))["cpuFeatures"]
    assert "cpuFeatures" not in said(decided(decide, of({"type": "Host"}), READY))


ALL = ("aes", "avx", "sse4.2")
SELECTS = {"nodeSelector": {"matchLabels": {"kubernetes.io/os": "linux"}}}
OTHER = {"nodeSelector": {"matchLabels": {"disk": "fast"}}}
NONE = replace(NODE, cpu_features=frozenset())


@pytest.mark.parametrize(
    ("discovery", "facts", "remembered", "features", "reason", "discovered"),
    [
        ({}, READY, (), ALL, "SuitableNodesFound", True),
        (SELECTS, READY, (), ALL, "SuitableNodesFound", True),
        (SELECTS, READY, ("aes",), ("aes",), "SuitableNodesFound", True),
        (OTHER, READY, (), (), "NoSuitableNodesFound", False),
        (OTHER, READY, ("aes",), ("aes",), "NoSuitableNodesFound", True),
        (OTHER, {**READY, (known.ANY_NODE, None): True}, (), ALL, "SuitableNodesFound", True),
        ({}, on(NONE), (), (), "NoCpuFeaturesEnabled", False),
        ({}, on(NONE), ("aes",), ("aes",), "SuitableNodesFound", True),
        (OTHER, on(NONE), (), (), "NoSuitableNodesFound", False),
    ],
)
def test_features_are_discovered_once(
    discovery: Mapping[str, Json],
    facts: Mapping[Fact, Any],
    remembered: tuple[str, ...],
    features: tuple[str, ...],
    reason: str,
    discovered: bool,
) -> None:
    before: Mapping[Fact, Any] = {
        (known.STATUS, KEY): {"cpuFeatures": {"enabled": list(remembered)}}
    }
    each = of({"type": "Discovery", "discovery": discovery})
    found = decided(decide, each, {**facts, **before})
    assert said(found).get("cpuFeatures", {}).get("enabled", []) == list(features)
    assert condition(found, "Ready").reason == reason
    assert condition(found, "Discovered").status == ("True" if discovered else "False")
    assert bool(condition(found, "Discovered").message) is not discovered
    fits = reason == "SuitableNodesFound"
    assert found.export == (
        ClassData({NODE.name: GuestCpu("custom", "qemu64", features)}, ()) if fits else None
    )
    assert found.ok is fits


@pytest.mark.parametrize("deleted", [False, True])
def test_a_node_has_the_labels_of_its_manifest_while_that_is_there(deleted: bool) -> None:
    key = Key("Node", "", NODE.name)
    node = made(key, {}, deleted="1970-01-01T00:00:00Z" if deleted else "")
    labelled = replace(node, manifest=replace(node.manifest, labels={"disk": "fast"}))
    each = of({"type": "Discovery", "discovery": OTHER})
    assert decided(decide, each, {**READY, (known.OBJECT, key): labelled}).ok is not deleted


@pytest.mark.parametrize("used", [False, True])
def test_it_says_whether_it_is_used(used: bool) -> None:
    facts = {**READY, (known.USERS, KEY): (VM,) if used else None}
    assert ("InUse" in types(decided(decide, of({"type": "Host"}), facts))) is used


def test_while_no_host_can_be_reached_what_was_known_stays() -> None:
    each = of({"type": "Host"})
    assert decided(decide, each, {**UNREAD, (known.STATUS, KEY): {"phase": "Ready"}}) == Decision()
    found = decided(decide, each, UNREAD)
    assert (said(found)["phase"], found.ok) == ("Pending", False)
    assert condition(found, "Ready") == Condition(
        "Ready", "False", "NoSuitableNodesFound", NOT_READY
    )


def test_a_deleted_one_goes_once_no_machine_has_it() -> None:
    leaving = replace(of({"type": "Discovery"}), deleted="1970-01-01T00:00:00Z")
    assert decided(decide, leaving, READY) == Decision(status={"phase": "Terminating"}, gone=True)
    message = "The class is kept while VirtualMachine lab/vm refers to it."
    shown = Condition("InUse", "True", "VirtualMachineClassInUse", message)
    used: Mapping[Fact, Any] = {**READY, (known.USERS, KEY): (VM,)}
    expected = {"phase": "Terminating", "conditions": [shown]}
    assert decided(decide, leaving, used) == Decision(status=expected)
    features = {"cpuFeatures": {"enabled": ["aes"]}}
    remembered = {**used, (known.STATUS, KEY): features}
    assert decided(decide, leaving, remembered) == Decision(status={**expected, **features})


# -- the classes that exist without a manifest -------------------------------------------------

(GENERIC,) = (
    class_spec(each.spec).get("sizingPolicies", ())
    for each in CLASSES
    if each.key.name == "generic"
)


@pytest.mark.parametrize(
    ("least", "most", "shares"),
    [
        (1, 4, {"5%", "10%", "20%", "50%", "100%"}),
        (5, 8, {"20%", "50%", "100%"}),
        (9, 16, {"50%", "100%"}),
        (17, 1024, {"100%"}),
    ],
)
def test_the_more_cores_the_larger_their_share(least: int, most: int, shares: set[str]) -> None:
    for cores in (least, most):
        allowed = {f"{share}%" for share in range(101)}
        allowed = {share for share in allowed if not violations(GENERIC, cores, share, 1)}
        assert allowed == shares
        assert default_core_fraction(GENERIC, cores) == "100%"


def test_they_hold_by_the_rules_for_manifests() -> None:
    for each in CLASSES:
        assert not [problem for check in CHECKS for problem in check(each.content)]


def test_a_generic_machine_has_from_one_core_to_1024() -> None:
    assert violations(GENERIC, 0, "100%", 1)
    assert violations(GENERIC, 1025, "100%", 1)
