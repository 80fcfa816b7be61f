"""What becomes of operations: taken up, refused, called off, or done."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.annotations import NOT_AFTER
from agent.core.facts import Engine, View
from agent.core.known import OBJECT, OPERATIONS, STATUS
from agent.core.metadata import DomainMetadata, Power, Recorded
from agent.core.model import Key, Manifest, Object
from agent.core.progress import Progress
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.operations import (
    Outcome,
    advance,
    completed_operations,
    none_taken_up,
    open_operations,
    without_domain,
)
from agent.kinds.virtual_machine.power import Running
from tests.kinds.virtual_machine.test_power import GONE_OFF, MEMORY, NOW, OFF, recorded, running

PASSED, SOON, LATER = (f"1970-01-01T00:{16 + n}:40Z" for n in range(3))
"""NOW, a minute after it, and two."""


def operation(name: str, kind: str, until: str = "", *, force: bool = False) -> Object:
    """Its uid is its name."""
    key = Key("VirtualMachineOperation", "default", name)
    annotations = {NOT_AFTER: until} if until else {}
    spec = {"type": kind, "force": force}
    return Object(Manifest(key, {}, annotations, {"spec": spec}), name, 1, "", "")


def short(outcome: Outcome) -> dict[str, str]:
    """By operation where it is: its phase, or its reason where it will not act, and a `!` if it was
    sent to the machine.
    """
    return {
        uid: (each.reason if each.phase == "Failed" else each.phase) + "!" * each.sent
        for uid, each in outcome.progress.items()
    }


EXPIRED = "Expired"
WRONG_PHASE = "NotApplicableForVirtualMachinePhase"
WRONG_POLICY = "NotApplicableForVirtualMachineRunPolicy"


@pytest.mark.parametrize(
    ("asked", "policy", "expected", "off", "wake"),
    [
        ([operation("a", "Stop")], power.MANUAL, {"a": "Pending"}, "a", None),
        ([operation("a", "Start")], power.MANUAL, {"a": WRONG_PHASE}, "", None),
        ([operation("a", "Stop")], power.ALWAYS_ON, {"a": WRONG_POLICY}, "", None),
        ([operation("a", "Restart")], power.ALWAYS_ON, {"a": "Pending"}, "", None),
        ([operation("a", "Stop", PASSED)], power.MANUAL, {"a": EXPIRED}, "", None),
        ([operation("a", "Stop", SOON)], power.MANUAL, {"a": "Pending"}, "a", NOW + 60),
        (
            [operation("a", "Stop", PASSED), operation("b", "Restart", LATER)],
            power.MANUAL,
            {"a": EXPIRED, "b": "Pending"},
            "",
            NOW + 120,
        ),
        (
            [operation("a", "Restart", LATER), operation("b", "Restart", SOON)],
            power.MANUAL,
            {"a": "Pending", "b": "Pending"},
            "",
            NOW + 60,
        ),
        ([operation("a", "Stop", "soon")], power.MANUAL, {"a": "Pending"}, "a", None),
    ],
)
def test_what_is_not_defined_yet_can_only_be_made_off(
    asked: list[Object], policy: str, expected: dict[str, str], off: str, wake: float | None
) -> None:
    outcome = without_domain(asked, MEMORY, policy, "Starting", {}, NOW)
    assert short(outcome) == expected
    assert outcome.wake == wake
    stopped = replace(
        MEMORY,
        power=Power(on=False, by=off, at=int(NOW), instance=""),
        operations=(Recorded(off, "Stop", force=False, target="", at=int(NOW)),),
    )
    assert outcome.memory == (stopped if off else MEMORY)


def taken(
    asked: list[Object], memory: DomainMetadata = MEMORY, seen: Running | None = None, **what: Any
) -> Outcome:
    """Operations on a machine that runs, is ready, and whose domain holds what is remembered."""
    usual: dict[str, Any] = {
        "written": memory,
        "policy": power.MANUAL,
        "phase": "Running",
        "ready": True,
        "deleted": False,
        "completed": frozenset(),
        "restoring": {},
        "trouble": "",
        "now": NOW,
    }
    return advance(asked, memory, seen or running(), **(usual | what))


@pytest.mark.parametrize(
    ("asked", "ready", "expected", "wake"),
    [
        ([operation("a", "Stop")], True, {"a": "InProgress!"}, None),
        ([operation("a", "Stop", SOON)], True, {"a": "InProgress!"}, None),
        ([operation("a", "Stop", PASSED)], True, {"a": EXPIRED}, None),
        ([operation("a", "Start", SOON)], True, {"a": WRONG_PHASE}, None),
        ([operation("a", "Restart")], False, {"a": "Pending"}, None),
        ([operation("a", "Restart", SOON)], False, {"a": "Pending"}, NOW + 60),
        ([operation("a", "Stop")], False, {"a": "InProgress!"}, None),
        (
            [operation("a", "Restart", LATER), operation("b", "Restart", SOON)],
            False,
            {"a": "Pending", "b": "Pending"},
            NOW + 60,
        ),
        (  # one that will not act keeps no other one from acting
            [operation("a", "Stop", PASSED), operation("b", "Start"), operation("c", "Stop")],
            True,
            {"a": EXPIRED, "b": WRONG_PHASE, "c": "InProgress!"},
            None,
        ),
        (
            [operation("a", "Stop"), operation("b", "Restart")],
            True,
            {"a": "InProgress!", "b": "NotReadyToBeExecuted"},
            None,
        ),
        (
            [operation("a", "Stop"), operation("b", "Stop", force=True)],
            True,
            {"a": "Superseded!", "b": "InProgress!"},
            None,
        ),
    ],
)
def test_an_operation_is_taken_up_or_told_why_not(
    asked: list[Object], ready: bool, expected: dict[str, str], wake: float | None
) -> None:
    outcome = taken(asked, ready=ready)
    assert short(outcome) == expected
    assert outcome.wake == wake
    acting = {uid for uid, where in expected.items() if where == "InProgress!"}
    assert {each.uid for each in outcome.memory.operations if not each.cancelled} == acting


STOPPED = replace(MEMORY, power=replace(GONE_OFF, by="op"), operations=(recorded("Stop"),))
RESTARTED = replace(
    MEMORY, power=Power(True, "op", 1, "next"), operations=(recorded("Restart"),)
)  # fmt: skip
WITHDRAWN = replace(RESTARTED, operations=(recorded("Restart", cancelled=True),))
STOP, RESTART = operation("op", "Stop"), operation("op", "Restart")


@pytest.mark.parametrize(
    ("asked", "memory", "seen", "what", "expected", "cancelled"),
    [
        (STOP, STOPPED, running(), {}, "InProgress!", False),
        (STOP, STOPPED, OFF, {}, "Completed!", False),
        # not before the domain holds that it is finished
        (STOP, STOPPED, OFF, {"written": MEMORY}, "InProgress!", False),
        (STOP, STOPPED, OFF, {"written": None}, "InProgress!", False),
        # another policy, or the end of the machine, calls it off, unless it has ended
        (STOP, STOPPED, running(), {"policy": power.ALWAYS_ON}, WRONG_POLICY + "!", True),
        (STOP, STOPPED, OFF, {"policy": power.ALWAYS_ON}, "Completed!", False),
        (STOP, STOPPED, running(), {"deleted": True}, "InProgress!", False),
        (
            STOP,
            STOPPED,
            running(),
            {"deleted": True, "policy": power.ALWAYS_ON},
            "InProgress!",
            False,
        ),
        (RESTART, RESTARTED, running(), {"deleted": True}, "VirtualMachineNotFound!", True),
        (RESTART, WITHDRAWN, running(), {}, "Superseded!", True),
        (RESTART, WITHDRAWN, running(), {"policy": power.ALWAYS_OFF}, WRONG_POLICY + "!", True),
    ],
)
def test_an_operation_that_was_taken_up_is_followed_to_its_end(
    asked: Object,
    memory: DomainMetadata,
    seen: Running,
    what: dict[str, Any],
    expected: str,
    cancelled: bool,
) -> None:
    outcome = taken([asked], memory, seen, **what)
    assert short(outcome) == {"op": expected}
    assert [each.cancelled for each in outcome.memory.operations] == [cancelled]


@pytest.mark.parametrize(
    ("entry", "seen", "completed", "left"),
    [
        (recorded("Stop"), running(), (), False),
        (recorded("Stop"), running(), ("op",), True),
        (recorded("Stop"), OFF, (), True),  # it has ended: there is nothing to call off
        (recorded("Automatic"), running(), (), True),  # nobody asked for it in Git
    ],
)
def test_an_operation_whose_file_is_gone_is_called_off(
    entry: Recorded, seen: Running, completed: tuple[str, ...], left: bool
) -> None:
    another = recorded("Stop", uid="another")
    for entries in ((another, entry), (entry, another)):
        memory = replace(STOPPED, operations=entries)
        outcome = taken(
            [operation("another", "Stop")], memory, seen, completed=frozenset(completed)
        )
        found = {each.uid: each.cancelled for each in outcome.memory.operations}
        assert found == {"op": not left, "another": False}


@pytest.mark.parametrize(
    ("state", "reason", "trouble", "said"),
    [
        ("running", "booted", "", "Waiting for the operation to complete."),
        (
            "paused",
            "user",
            "",
            "The guest is paused, and does not hear the power button. Its power",
        ),
        (
            "paused",
            "ioerror",
            "",
            "paused for lack of space on its node, and does not hear the power",
        ),
        ("paused", "starting-up", "", "Waiting for the operation to complete."),
        ("running", "booted", "no space", "What it needs has failed and is tried again: no space"),
    ],
)
def test_an_operation_says_what_it_waits_for(
    state: str, reason: str, trouble: str, said: str
) -> None:
    found: Progress = taken(
        [STOP], STOPPED, running("one", state, reason), trouble=trouble
    ).progress["op"]
    assert found.reason == "StopInProgress"
    assert said in found.message
    assert ("paused" in found.message) is ("paused" in said)


def test_an_operation_that_was_withdrawn_and_put_back_is_not_said_to_be_replaced_by_another() -> (
    None
):
    begun = taken([RESTART], seen=running()).memory
    gone = taken([], begun).memory
    (found,) = taken([RESTART], gone).progress.values()
    assert found.phase == "Superseded"
    assert found.message.startswith("It was called off before it had ended: ")
    assert "its file was gone for a while" in found.message


def test_an_operation_is_open_until_it_has_ended_or_its_file_is_gone() -> None:
    engine = Engine({}, {})
    vm = Key("VirtualMachine", "default", "vm")
    phases = {"new": "", "begun": "InProgress", "gone": "InProgress", "done": "Completed"}
    phases |= {"failed": "Failed", "lost": "Completed"}
    asked = {name: operation(name, "Stop") for name in phases}
    asked["gone"] = replace(asked["gone"], deleted="2023-11-14T22:13:20Z")
    for name, each in asked.items():
        engine.put(OBJECT, each.key, each if name != "lost" else None)
        engine.put(STATUS, each.key, {"phase": phases[name]} if phases[name] else None)
    engine.put(OPERATIONS, vm, tuple(each.key for each in asked.values()))
    view = View(engine, NOW)
    assert [each.uid for each in open_operations(vm, view)] == ["new", "begun"]
    assert completed_operations(vm, view) == {"done"}


def test_no_operation_is_taken_up_on_a_suspended_machine_and_one_that_ended_has_ended() -> None:
    ended, under_way = Progress("Failed", "Reason", "x"), Progress("InProgress", "Reason", "y")
    found = none_taken_up({"a": ended, "b": under_way})
    assert found["a"] == ended
    assert found["b"].phase == "Pending"
    assert "suspended" in found["b"].message
