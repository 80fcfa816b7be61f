"""The phase of a machine, by what is known of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.jobs import IDLE, Job
from agent.core.metadata import DomainMetadata, Power, Recorded
from agent.kinds.virtual_machine.phase import phase
from agent.kinds.virtual_machine.power import BY_DELETION, BY_GUEST, Running
from tests.kinds.virtual_machine.test_power import MEMORY, NOW, running

GENERATION = 3
FAILED = Job(failed="StartDomain", attempts=1, generation=GENERATION, retry_at=NOW + 1)
OFF = running("", "shutoff", "shutdown")
DUE = replace(MEMORY, power=Power(on=True, by="op", at=1, instance="next"))
STAYS_OFF = replace(MEMORY, power=Power(on=False, by=BY_GUEST, at=1, instance="one"))
LEAVES = replace(MEMORY, power=Power(on=False, by=BY_DELETION, at=1, instance="one"))
STOPPED = MEMORY.with_operation(Recorded("op", "Stop", force=False, target="one", at=1))


@pytest.mark.parametrize(
    ("memory", "seen", "job", "ready", "expected"),
    [
        (None, None, IDLE, True, "Starting"),
        (None, None, IDLE, False, "Pending"),
        (None, None, FAILED, True, "Pending"),
        (None, None, replace(FAILED, generation=2), True, "Starting"),
        (MEMORY, running(), IDLE, True, "Running"),
        (MEMORY, running(), FAILED, False, "Running"),
        (MEMORY, running(state="paused", reason="user"), IDLE, True, "Pause"),
        (MEMORY, running(state="pmsuspended"), IDLE, True, "Pause"),
        (LEAVES, running(), IDLE, True, "Stopping"),
        (STOPPED, running(), IDLE, True, "Stopping"),
        (STOPPED, running(state="paused", reason="user"), IDLE, True, "Stopping"),
        (DUE, running("next", "paused", "starting-up"), IDLE, True, "Starting"),
        (STAYS_OFF, running("two", "paused", "starting-up"), IDLE, True, "Starting"),
        (STAYS_OFF, OFF, IDLE, True, "Stopped"),
        (STOPPED, OFF, IDLE, True, "Stopped"),
        (STAYS_OFF, OFF, FAILED, False, "Stopped"),
        (DUE, OFF, IDLE, True, "Starting"),
        (DUE, OFF, IDLE, False, "Pending"),
        (DUE, OFF, FAILED, True, "Pending"),
    ],
)
def test_the_phase_says_where_a_machine_is(
    memory: DomainMetadata | None, seen: Running | None, job: Job, ready: bool, expected: str
) -> None:
    assert phase(memory, seen, job, GENERATION, NOW, ready=ready) == expected
