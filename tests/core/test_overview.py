from __future__ import annotations

import pytest

from agent.core import overview
from tests.fleets import condition, machine


@pytest.mark.promise("S60")
def test_only_conditions_with_a_message_and_phases_that_are_not_calm_are_a_concern() -> None:
    objects = [
        machine("good"),
        machine("off", "Stopped"),
        machine("starting", "Starting", conditions=()),
        machine("told", conditions=(condition("AgentReady", "False", "No agent."),)),
    ]
    assert [(each.resource, each.phase, each.messages) for each in overview.concerns(objects)] == [
        ("VirtualMachine default/starting", "Starting", ()),
        ("VirtualMachine default/told", "Running", ("AgentReady: No agent.",)),
    ]


def test_counts_by_phase_and_what_waits_for_a_restart() -> None:
    change = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}
    objects = [
        machine("a", status={"restartAwaitingChanges": [change]}),
        machine("b"),
        machine("c", "Stopped"),
    ]
    assert overview.phases(objects) == {"VirtualMachine": {"Running": 2, "Stopped": 1}}
    assert overview.restarts(objects) == {"default/a": ["cpu.cores"]}
