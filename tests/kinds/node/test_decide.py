"""What a node has for machines, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.facts import Decision
from agent.core.identity import POOL
from agent.core.known import (
    COMMITTED,
    FOREIGN,
    NODE,
    NODES,
    OBJECT,
    OVERCOMMIT,
    POOL_PATH,
    STATUS,
    UNREACHABLE,
    Fact,
)
from agent.core.model import Key, Manifest, Object
from agent.core.placement.rules import Taint
from agent.core.status import seconds
from agent.kinds.node.decide import NodeData, decide, of_node
from tests.golden.case import NODE as RAW
from tests.kinds.deciding import PATH, READY, condition, decided, said, types

NAME, GIB = RAW.name, 1 << 30
KEY = Key("Node", "", NAME)
SEVERAL: Mapping[Fact, Any] = {
    **READY,
    (NODES, None): (NAME, "node-2"),
    (POOL_PATH, (NAME, POOL)): PATH,
}
LOST: Mapping[Fact, Any] = {(UNREACHABLE, NAME): "It is off."}


def node(deleted: str = "", annotations: Mapping[str, str] = {}, **spec: Any) -> Object:
    manifest = Manifest(
        KEY, {"zone": "1", "node-role.kubernetes.io/gpu": ""}, annotations, {"spec": spec}
    )
    return Object(manifest, "uid", 1, "1970-01-01T00:00:00Z", "commit:n.yaml", deleted)


def of(obj: Object, facts: Mapping[Fact, Any] = {}) -> Decision:
    return decided(decide, obj, {**SEVERAL, (OBJECT, KEY): obj, **facts})


def test_a_node_that_can_be_read_is_ready_and_offers_its_memory_but_for_a_part() -> None:
    made = of(node())
    assert (said(made)["phase"], made.ok, made.export) == (
        "Ready",
        True,
        NodeData(True, "", fenced=False),
    )
    assert condition(made, "Ready").status == "True"
    assert condition(made, "HardwareVirtualization").status == "False"
    assert said(made)["roles"] == "gpu"
    assert said(made)["capacity"] == {"cpu": "16", "memory": "64Gi"}
    assert said(made)["allocatable"]["memory"] == "62Gi"
    assert said(made)["nodeInfo"]["libvirtVersion"] == "9.0.0"
    assert made.offer is not None
    assert (made.offer.memory, made.offer.taken) == (62 * GIB, 0)
    labels = made.offer.labels
    assert (labels["kubernetes.io/hostname"], labels["zone"]) == (NAME, "1")
    assert labels["kubernetes.io/arch"] == "amd64"
    small = of(node(), {(NODE, NAME): replace(RAW, memory=16 * GIB)})
    assert said(small)["allocatable"]["memory"] == "15Gi"


def test_memory_can_be_given_away_more_than_once_and_others_have_some() -> None:
    made = of(node(), {(OVERCOMMIT, None): 1.5, (FOREIGN, NAME): GIB})
    assert made.offer is not None
    assert (made.offer.memory, made.offer.taken) == (93 * GIB, GIB)


def test_the_only_node_gives_what_is_asked_for_unless_a_setting_says_otherwise() -> None:
    alone: dict[Fact, Any] = {(NODES, None): (NAME,)}
    offers = of(node(), alone).offer, of(node(), {**alone, (OVERCOMMIT, None): 1.0}).offer
    assert [offer.memory for offer in offers if offer is not None] == [0, 62 * GIB]


def test_a_node_with_more_on_it_than_it_has_is_under_pressure() -> None:
    assert "MemoryPressure" not in types(of(node(), {(COMMITTED, NAME): 62 * GIB}))
    made = of(node(), {(COMMITTED, NAME): 63 * GIB})
    assert "may take 63Gi of memory, and it has 62Gi" in condition(made, "MemoryPressure").message
    assert said(made)["committed"]["memory"] == "63Gi"
    assert "MemoryPressure" not in types(
        of(node(), {(COMMITTED, NAME): 63 * GIB, (OVERCOMMIT, None): 1.5})
    )


def test_a_node_that_is_lost_is_not_ready_and_what_was_known_of_it_stays() -> None:
    made = of(node(), LOST)
    assert (said(made)["phase"], made.ok) == ("NotReady", False)
    assert condition(made, "Ready").message == f"Node {NAME} cannot be read: It is off."
    assert made.offer is not None
    assert not made.offer.ready
    before = {"capacity": {"memory": "64Gi"}, "phase": "Ready"}
    unread = of(node(), {(NODE, NAME): None, (STATUS, KEY): before})
    assert said(unread)["capacity"] == {"memory": "64Gi"}
    assert said(unread)["phase"] == "NotReady"


def test_a_node_that_no_setting_names_is_not_ready() -> None:
    made = of(node(), {(NODES, None): ("node-2", "node-3")})
    assert "not among the nodes of the settings" in condition(made, "Ready").message


def test_what_a_manifest_says_keeps_machines_away() -> None:
    taint = {"key": "gpu", "value": "yes", "effect": "NoExecute"}
    made = of(node(unschedulable=True, taints=[taint]))
    assert said(made)["phase"] == "Ready,SchedulingDisabled"
    assert made.offer is not None
    assert made.offer.unschedulable
    assert made.offer.taints == (Taint("gpu", "yes", "NoExecute"),)
    assert said(of(node(unschedulable=True), LOST))["phase"] == "NotReady,SchedulingDisabled"


@pytest.mark.parametrize(
    ("said_at", "status", "fenced"),
    [
        ("1970-01-01T00:10:00Z", "False", True),
        ("1970-01-01T00:05:00Z", "False", True),
        ("1970-01-01T00:04:59Z", "False", False),  # that was of an outage before
        ("1970-01-01T00:10:00Z", "True", False),  # it is not told yet
    ],
)
def test_a_node_is_fenced_by_what_is_said_after_its_outage_began(
    said_at: str, status: str, fenced: bool
) -> None:
    ready = {"type": "Ready", "status": status, "lastTransitionTime": "1970-01-01T00:05:00Z"}
    facts = {**LOST, (STATUS, KEY): {"conditions": [ready]}}
    made = of(node(annotations={"gitvirt.io/fenced": said_at}), facts)
    assert made.export == NodeData(False, "", fenced=fenced)
    assert ("Fenced" in types(made)) is fenced
    back = of(
        node(annotations={"gitvirt.io/fenced": said_at}), {(STATUS, KEY): {"conditions": [ready]}}
    )
    assert back.export == NodeData(True, "", fenced=False)


def test_no_fence_counts_of_a_node_that_was_not_waited_for_yet() -> None:
    """An agent that has just begun may know of an earlier outage alone."""
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:05:00Z"}
    facts: dict[Fact, Any] = {(NODE, NAME): None, (STATUS, KEY): {"conditions": [ready]}}
    made = of(node(annotations={"gitvirt.io/fenced": "1970-01-01T00:10:00Z"}), facts)
    assert made.export == NodeData(False, "", fenced=False)


def test_a_fence_of_a_time_to_come_counts_from_then_on() -> None:
    """Else it would count for each outage until then, also where the node only cannot be reached."""
    ready = {"type": "Ready", "status": "False", "lastTransitionTime": "1970-01-01T00:05:00Z"}
    facts = {**LOST, (STATUS, KEY): {"conditions": [ready]}}
    made = of(node(annotations={"gitvirt.io/fenced": "2100-01-01T00:00:00Z"}), facts)
    assert made.export == NodeData(False, "", fenced=False)
    assert condition(made, "Fenced").reason == "TimeToCome"
    assert made.wake == seconds("2100-01-01T00:00:00Z")


def test_a_node_without_a_manifest_has_its_own_labels_and_one_without_a_wish_goes() -> None:
    manifest = of_node("pt-1")
    assert manifest is of_node("pt-1")  # nothing is accepted anew
    assert manifest.labels["kubernetes.io/hostname"] == "pt-1"
    assert manifest.spec == {"unschedulable": False}
    assert of(node(deleted="1970-01-01T00:00:00Z")).gone
