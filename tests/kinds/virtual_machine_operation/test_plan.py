"""What is said of an operation, which the VM carries out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core import known
from agent.core.known import Fact
from agent.core.model import Condition, Key
from agent.core.progress import Progress
from agent.kinds.virtual_machine_operation.decide import decide
from tests.kinds.deciding import decided, made

VM = Key("VirtualMachine", "lab", "vm")
STOP = made(
    Key("VirtualMachineOperation", "lab", "stop"), {"type": "Stop", "virtualMachineName": "vm"}
)
THERE: Mapping[Fact, Any] = {(known.OBJECT, VM): made(VM, {})}


@pytest.mark.parametrize(
    ("phase", "status"),
    [
        ("Pending", "Unknown"),
        ("InProgress", "False"),
        ("Failed", "False"),
        ("Superseded", "True"),
        ("Completed", "True"),
    ],
)
@pytest.mark.parametrize("sent", [False, True])
def test_it_says_how_far_the_machine_is(phase: str, status: str, sent: bool) -> None:
    progress = Progress(phase, "Reason", "A sentence.", sent=sent)
    found = decided(decide, STOP, {**THERE, (known.PROGRESS, STOP.uid): progress})
    conditions = [Condition("Completed", status, "Reason", "A sentence.")]
    if sent:
        conditions.append(Condition("SignalSent", "True", "SignalSentSuccess"))
    assert found.status == {"phase": phase, "conditions": conditions}
    assert not found.waiting  # that is the VM's
    assert not found.gone


def test_one_that_the_machine_has_not_looked_at_waits_for_it() -> None:
    found = decided(decide, STOP, THERE)
    assert found.status == {
        "phase": "Pending",
        "conditions": [Condition("Completed", "Unknown", "Unknown")],
    }
    assert found.waiting


def test_one_without_its_machine_fails() -> None:
    message = "VirtualMachine lab/vm is not there."
    found = decided(decide, STOP, {(known.PROGRESS, STOP.uid): Progress("Completed", "Done")})
    assert found.status == {
        "phase": "Failed",
        "conditions": [Condition("Completed", "False", "VirtualMachineNotFound", message)],
    }
    assert not found.waiting


@pytest.mark.parametrize("phase", ["Completed", "Failed", "Superseded"])
def test_what_ended_stays_as_it_ended(phase: str) -> None:
    facts: Mapping[Fact, Any] = {
        (known.STATUS, STOP.key): {"phase": phase},
        (known.PROGRESS, STOP.uid): Progress("Pending", ""),
    }
    assert decided(decide, STOP, {**THERE, **facts}).status is None
    assert not decided(decide, STOP, facts).gone


@pytest.mark.parametrize("phase", ["", "InProgress", "Completed"])
def test_a_withdrawn_one_is_gone_at_once(phase: str) -> None:
    withdrawn = made(STOP.key, STOP.spec, deleted="1970-01-01T00:00:00Z")
    found = decided(decide, withdrawn, {**THERE, (known.STATUS, STOP.key): {"phase": phase}})
    assert found.gone
    assert found.status is None
