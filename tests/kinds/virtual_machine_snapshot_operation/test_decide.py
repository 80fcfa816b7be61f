"""How an operation on a snapshot ends before it has begun, or waits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core import known
from agent.core.annotations import NOT_AFTER
from agent.core.known import Fact
from agent.core.model import Json, Key
from agent.kinds.virtual_machine_snapshot_operation.decide import decide
from tests.kinds.deciding import NOW, READY, condition, decided, made, said

KEY = Key("VirtualMachineSnapshotOperation", "default", "make")
SNAPSHOT = Key("VirtualMachineSnapshot", "default", "snap")
SPEC: dict[str, Json] = {"type": "CreateVirtualMachine", "virtualMachineSnapshotName": "snap"}


def snapshot(phase: str = "", deleted: str = "") -> Mapping[Fact, Any]:
    obj = made(SNAPSHOT, {"virtualMachineName": "vm"}, deleted=deleted)
    return {**READY, (known.OBJECT, SNAPSHOT): obj, (known.STATUS, SNAPSHOT): {"phase": phase}}


@pytest.mark.parametrize(
    ("facts", "phase", "reason"),
    [
        (READY, "Failed", "VirtualMachineSnapshotNotFound"),
        (snapshot("Ready", "1970-01-01T00:10:00Z"), "Failed", "VirtualMachineSnapshotNotFound"),
        (snapshot("Failed"), "Failed", "NotReadyToBeExecuted"),
        (snapshot("InProgress"), "Pending", "NotReadyToBeExecuted"),
    ],
)
def test_without_a_snapshot_that_is_ready_nothing_begins(
    facts: Mapping[Fact, Any], phase: str, reason: str
) -> None:
    decision = decided(decide, made(KEY, SPEC), facts)
    assert said(decision)["phase"] == phase
    assert condition(decision, "Completed").reason == reason
    assert not decision.makes


def test_one_that_is_to_begin_by_a_time_expires_then_and_is_looked_at_again_by_it() -> None:
    late = made(KEY, SPEC, **{NOT_AFTER: "1970-01-01T00:20:00Z"})
    waits = decided(decide, late, snapshot("InProgress"))
    assert (said(waits)["phase"], waits.wake) == ("Pending", 1200.0)
    assert waits.wake is not None
    assert waits.wake > NOW
    ended = decided(decide, late, snapshot("InProgress"), now=1200.0)
    assert (said(ended)["phase"], condition(ended, "Completed").reason) == ("Failed", "Expired")


@pytest.mark.parametrize("phase", ["Completed", "Failed"])
def test_one_that_has_ended_is_left_as_it_is(phase: str) -> None:
    facts = {**snapshot("Ready"), (known.STATUS, KEY): {"phase": phase}}
    decision = decided(decide, made(KEY, SPEC), facts)
    assert (decision.status, decision.makes, decision.gone) == (None, (), False)
