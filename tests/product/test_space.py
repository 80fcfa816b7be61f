"""A guest that QEMU paused because a write found no space goes on when there is some."""

from __future__ import annotations

import logging

import pytest

from agent.kinds.virtual_machine.space import AGAIN, ENOUGH
from agent.reconcile.host import SPACE_EVERY
from tests.rig import OPERATIONS, Rig, condition, disk, machine, operation


@pytest.fixture
def full(rig: Rig) -> Rig:
    """A running machine whose node has no space left, and that was paused for it."""
    rig.push({"vm.yaml": [disk(), machine(terminationGracePeriodSeconds=3600)]})
    rig.settle()
    rig.host.free = ENOUGH - 1
    rig.host.pause(rig.uuid(), "ioerror")
    wait(rig, 2 * SPACE_EVERY)
    rig.verbs()
    return rig


def wait(rig: Rig, seconds: float) -> None:
    """Let time go by, with passes when they are due."""
    end = rig.now + seconds
    while True:
        for _ in range(5):  # each takes in what the one before has started
            due = rig.step()
        if rig.now >= end:
            return
        rig.now = min(end, rig.now + max(due, 0.1))


def test_it_waits_for_space_and_says_so(full: Rig) -> None:
    wait(full, 1000)
    assert full.verbs() == []
    assert full.vm()["status"]["phase"] == "Pause"
    message = condition(full.vm(), "Running")["message"]
    assert "had no space left" in message
    assert "it goes on by itself once 64Mi are free" in message


def test_it_goes_on_once_there_is_space_and_the_log_tells(
    full: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    full.host.free = ENOUGH
    with caplog.at_level(logging.INFO, "gitvirt"):
        wait(full, 2 * SPACE_EVERY)
    assert full.verbs() == ["resume"]
    assert full.vm()["status"]["phase"] == "Running"
    assert condition(full.vm(), "Running")["message"] == ""
    assert "VirtualMachine default/vm: ResumeDomain" in caplog.text
    wait(full, 1000)
    assert full.verbs() == []


def test_it_is_resumed_once_a_while_where_it_is_paused_again(full: Rig) -> None:
    full.host.free, full.host.needed = ENOUGH, 2 * ENOUGH
    wait(full, AGAIN - 2 * SPACE_EVERY)
    assert full.verbs() == ["resume"]
    assert full.vm()["status"]["phase"] == "Pause"
    wait(full, AGAIN)
    assert full.verbs() == ["resume"]


@pytest.mark.parametrize("reason", ["user", "unknown", "snapshot", "watchdog"])
def test_what_was_paused_for_any_other_reason_is_left(rig: Rig, reason: str) -> None:
    two(rig)
    rig.host.pause(rig.uuid(), reason)
    rig.host.pause(rig.uuid("other"), "ioerror")
    wait(rig, 1000)
    assert [each for each in rig.host.verbs if each[0] == "resume"] == [
        ("resume", rig.uuid("other"))
    ]
    assert "virsh resume" in condition(rig.vm(), "Running")["message"]


def two(rig: Rig) -> None:
    names = ("vm", "other")
    rig.push({f"{name}.yaml": [disk(name), machine(name, disks=(name,))] for name in names})
    rig.settle()
    rig.verbs()


def test_what_was_free_before_it_was_paused_says_nothing(rig: Rig) -> None:
    two(rig)
    rig.host.pause(rig.uuid("other"), "ioerror")
    wait(rig, SPACE_EVERY)
    assert rig.verbs() == ["resume"]
    rig.host.free = 0
    rig.host.pause(rig.uuid(), "ioerror")
    wait(rig, 1000)
    assert rig.verbs() == []


def test_a_pause_by_hand_between_decision_and_deed_is_left(full: Rig) -> None:
    """Somebody lets it go on and pauses it again just before the verb comes."""

    def by_hand(verb: str, phase: str) -> None:
        if (verb, phase) == ("resume", "before"):
            full.host.pause(full.uuid(), "user")

    full.host.on_effect = by_hand
    full.host.free = ENOUGH
    wait(full, 2 * SPACE_EVERY)
    raw = full.host.read_domain(full.uuid())
    assert raw is not None
    assert (raw.state, raw.reason) == ("paused", "user")


def test_another_instance_than_the_one_that_was_paused_is_left(full: Rig) -> None:
    def again(verb: str, phase: str) -> None:
        if (verb, phase) == ("resume", "before"):
            pytest.fail("it was another instance's")

    full.host.on_effect = again
    full.host.free = ENOUGH
    full.now += SPACE_EVERY
    reconciler = full.agent.reconciler
    while not full.agent.reconciler._acting.busy:
        reconciler.run()
        if full.agent.reconciler._acting.busy:
            break
        full._tasks.popleft()()
    full.host._stop(full.uuid(), "destroyed", "host")
    full.host.edit(full.uuid(), _renamed)
    full.host.start(full.uuid())
    full.host.pause(full.uuid(), "ioerror")
    while full._tasks:
        full._tasks.popleft()()


def _renamed(root: object) -> None:
    """A definition with another instance id, as somebody's start has it."""
    for element in root.iter():  # type: ignore[attr-defined]
        if element.get("instance"):
            element.set("instance", "another")


def test_a_restart_of_it_says_why_it_waits_and_ends_gently_once_there_is_space(full: Rig) -> None:
    full.push({"op.yaml": operation("again", "vm", "Restart")}, OPERATIONS)
    full.agent.reconciler.look_at_git()
    wait(full, 60)
    assert full.vmop("again")["status"]["phase"] == "InProgress"
    message = condition(full.vmop("again"), "Completed")["message"]
    assert "The guest is paused for lack of space on its node" in message
    assert "does not hear the power button" in message
    assert "shutdown" not in full.verbs()
    full.host.free = ENOUGH
    wait(full, 60)
    assert full.vmop("again")["status"]["phase"] == "Completed"
    verbs = full.verbs()
    assert "destroy" not in verbs
    assert [verb for verb in verbs if verb in ("resume", "shutdown", "start")] == [
        "resume", "shutdown", "start",
    ]  # fmt: skip
    assert full.running()


def test_a_suspended_machine_is_left(full: Rig) -> None:
    off = {"annotations": {"gitvirt.io/reconcile": "disabled"}}
    full.push({"vm.yaml": [disk(), machine(metadata=off, terminationGracePeriodSeconds=3600)]})
    full.agent.reconciler.look_at_git()
    wait(full, 60)
    full.verbs()
    full.host.free = ENOUGH
    wait(full, 60)
    assert "resume" not in full.verbs()
