from __future__ import annotations

from typing import Any

import pytest

from agent.core import overview
from agent.core.overview import Weight
from agent.core.schema import Catalogue
from tests.fleets import condition, machine

CATALOGUE = Catalogue.load()
KINDS = CATALOGUE.kinds


def test_only_conditions_with_a_message_and_phases_that_are_not_calm_are_a_concern() -> None:
    objects = [
        machine("good"),
        machine("off", "Stopped"),
        machine("starting", "Starting", conditions=()),
        machine("told", conditions=(condition("AgentReady", "False", "No agent."),)),
    ]
    assert [
        (each.resource, each.phase, each.messages) for each in overview.concerns(CATALOGUE, objects)
    ] == [
        ("VirtualMachine default/starting", "Starting", ()),
        ("VirtualMachine default/told", "Running", ("AgentReady: No agent.",)),
    ]


def test_a_node_that_takes_no_new_machines_is_at_rest() -> None:
    assert overview.said(KINDS["Node"], {"phase": "Ready,SchedulingDisabled"}) == ()
    (told,) = overview.said(KINDS["Node"], {"phase": "NotReady,SchedulingDisabled"})
    assert told.weight is Weight.UNDER_WAY


@pytest.mark.parametrize(
    ("phase", "said", "weight"),
    [
        ("Pending", condition("BlockDevicesReady", "False", "No disk."), Weight.ACT),
        ("Running", condition("DriftDetected", "True", "Changed by hand."), Weight.ACT),
        ("Terminating", condition("Terminating", "True", "It is used."), Weight.ACT),
        ("Pause", condition("Running", "False", "Paused."), Weight.ACT),
        ("Provisioning", {**condition("Ready", "False", "404."), "reason": "ImportFailed"}, Weight.ACT),
        ("Provisioning", condition("Ready", "False", "It is downloaded."), Weight.UNDER_WAY),
        ("Pending", {**condition("BlockDevicesReady", "False", "Soon."), "reason": "WaitingFor"}, Weight.UNDER_WAY),
        ("Running", condition("AwaitingRestartToApplyConfiguration", "True", "Later."), Weight.RESTART),
        ("Running", condition("HardwareVirtualization", "False", "Slow."), Weight.NOTE),
        ("Running", condition("ProvisioningReady", "True", "The Secret has changed."), Weight.NOTE),
    ],
)  # fmt: skip
def test_each_sentence_has_its_weight(phase: str, said: dict[str, Any], weight: Weight) -> None:
    found = overview.said(KINDS["VirtualMachine"], {"phase": phase, "conditions": [said]})
    assert [each.weight for each in found] == [weight]


def test_an_object_that_is_stuck_or_on_its_way_says_so_by_its_phase() -> None:
    assert [each.weight for each in overview.said(KINDS["VirtualDisk"], {"phase": "PVCLost"})] == [
        0
    ]
    starting = {"phase": "Starting", "conditions": [condition("AgentReady", "False", "No agent.")]}
    assert [each.weight for each in overview.said(KINDS["VirtualMachine"], starting)] == [
        Weight.UNDER_WAY,
        Weight.NOTE,
    ]


def test_counts_by_phase_and_what_waits_for_a_restart() -> None:
    change = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}
    objects = [
        machine("a", status={"restartAwaitingChanges": [change]}),
        machine("b"),
        machine("c", "Stopped"),
    ]
    assert overview.phases(CATALOGUE, objects) == {"VirtualMachine": {"Running": 2, "Stopped": 1}}
    assert overview.restarts(objects) == {"default/a": ["cpu.cores"]}
