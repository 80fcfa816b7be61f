"""What is written down of power, one step at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.host import RawDomain
from agent.core.metadata import DomainMetadata, Power, Recorded
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.power import Running

NOW = 1000.0
MEMORY = DomainMetadata(
    fleet="default",
    namespace="default",
    name="vm",
    uid="vm-uid",
    created="",
    generation=1,
    source="",
    instance="next",
    power=Power(on=True, by=power.BY_POLICY, at=1, instance="one"),
)


def running(instance: str = "one", state: str = "running", reason: str = "booted") -> Running:
    return Running(instance, RawDomain("uuid", "default.vm", state, reason, "<domain/>"))


def asked(memory: DomainMetadata, uid: str, kind: str) -> DomainMetadata:
    return power.accept(memory, running(), uid, kind, NOW, force=False)


@pytest.mark.parametrize("kind", ["Stop", "Restart"])
def test_withdrawing_an_operation_leaves_what_somebody_else_has_decided(kind: str) -> None:
    memory = asked(MEMORY, "op", kind)
    other = Power(on=False, by=power.BY_DELETION, at=2, instance="one")
    left = power.cancel(replace(memory, power=other), running(), "op", NOW)
    assert left.power == other
    assert left.recorded("op") == replace(memory.operations[0], cancelled=True)


@pytest.mark.parametrize("kind", ["Stop", "Restart"])
def test_withdrawing_an_operation_before_it_has_ended_anything_leaves_the_machine_on(
    kind: str,
) -> None:
    left = power.cancel(asked(MEMORY, "op", kind), running(), "op", NOW)
    assert left.power == Power(on=True, by=power.BY_HOST, at=int(NOW), instance="one")


@pytest.mark.parametrize("cancelled_for", ["one", "an earlier one"])
def test_only_an_end_that_the_agent_began_is_not_the_guests_own(cancelled_for: str) -> None:
    stop = Recorded("op", "Stop", force=False, target=cancelled_for, at=1, cancelled=True)
    memory = MEMORY.with_operation(stop)
    off = running("", "shutoff", "shutdown")
    assert power.by_guest(memory, off.raw) is (cancelled_for != "one")


def test_a_new_definition_of_what_is_known_to_be_off_stays_off() -> None:
    for was_stopped in (False, True):
        first = power.first(power.UNLESS_STOPPED, "next", NOW, was_stopped=was_stopped)
        assert first.on is not was_stopped


STARTING = running("next", "paused", "starting-up")


def test_a_start_is_due_until_its_instance_has_come_up() -> None:
    memory = asked(
        replace(MEMORY, power=Power(on=False, by="guest", at=1, instance="")), "op", "Start"
    )
    entry = memory.operations[0]
    began = power.observed(memory, STARTING, power.MANUAL, deleted=False, now=NOW)
    assert began.instance != "next"
    assert not power.finished(entry, began, STARTING)
    failed = power.observed(
        began, running("", "shutoff", "failed"), power.MANUAL, deleted=False, now=NOW
    )
    assert failed == began
    assert power.start_due(failed, running("", "shutoff", "failed"))
    up = power.observed(began, running("next"), power.MANUAL, deleted=False, now=NOW)
    assert power.finished(entry, up, running("next"))
    assert up.power == replace(began.power, instance="next")


@pytest.mark.parametrize("policy", [power.MANUAL, power.UNLESS_STOPPED, power.ALWAYS_ON])
def test_a_restart_of_what_starts_up_ends_it_once_it_is_up(policy: str) -> None:
    began = power.observed(
        replace(MEMORY, power=Power(on=True, by="policy", at=1, instance="next")),
        STARTING,
        policy,
        deleted=False,
        now=NOW,
    )
    memory = power.accept(began, STARTING, "op", "Restart", NOW, force=False)
    up = power.observed(memory, running("next"), policy, deleted=False, now=NOW)
    assert up == memory
    assert power.ending(up, running("next")) == memory.operations[0]
    off = running("", "shutoff", "shutdown")
    assert power.start_due(power.observed(up, off, policy, deleted=False, now=NOW), off)


@pytest.mark.parametrize("deleted", [False, True])
def test_what_comes_before_operations_withdraws_those_that_are_not_finished(deleted: bool) -> None:
    memory = replace(MEMORY, power=Power(on=True, by="due", at=1, instance="next"), operations=(
        Recorded("done", "Restart", force=False, target="an earlier one", at=1),
        Recorded("stop", "Stop", force=False, target="one", at=1),
        Recorded("due", "Restart", force=False, target="one", at=1),
    ))  # fmt: skip
    for case in (running(), running("", "shutoff", "failed")):
        left = power.observed(memory, case, power.ALWAYS_OFF, deleted=deleted, now=NOW)
        assert not left.power.on
        assert [each.uid for each in left.operations if each.cancelled] == ["due"]
