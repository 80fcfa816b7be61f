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


@pytest.mark.parametrize(
    ("policy", "was_stopped", "on"),
    [
        (power.ALWAYS_ON, False, True),
        (power.ALWAYS_ON, True, True),
        (power.UNLESS_STOPPED, False, True),
        (power.UNLESS_STOPPED, True, False),
        (power.MANUAL, False, False),
        (power.MANUAL, True, False),
        (power.ALWAYS_OFF, False, False),
        (power.ALWAYS_OFF, True, False),
    ],
)
def test_what_is_about_to_be_defined_starts_as_its_policy_says(
    policy: str, was_stopped: bool, on: bool
) -> None:
    first = power.first(policy, "next", NOW, was_stopped=was_stopped)
    assert first == Power(on, power.BY_POLICY, int(NOW), "next" if on else "")


ON = Power(on=True, by="op", at=1, instance="one")
GONE_OFF = Power(on=False, by=power.BY_GUEST, at=1, instance="one")
BY_GUEST = ("shutoff", "shutdown")
BY_HAND = ("shutoff", "destroyed")
"""How the instance ended that ran."""


@pytest.mark.parametrize(
    ("policy", "before", "decided", "end", "expected"),
    [
        # what ended by itself comes back where the policy says so
        (power.ALWAYS_ON, power.ALWAYS_ON, ON, BY_GUEST, (True, power.BY_END)),
        (power.ALWAYS_ON, power.ALWAYS_ON, ON, BY_HAND, (True, power.BY_END)),
        (power.UNLESS_STOPPED, power.UNLESS_STOPPED, ON, BY_HAND, (True, power.BY_END)),
        # what its guest has ended stays off, and so does everything of policy Manual
        (power.UNLESS_STOPPED, power.UNLESS_STOPPED, ON, BY_GUEST, (False, power.BY_GUEST)),
        (power.MANUAL, power.MANUAL, ON, BY_GUEST, (False, power.BY_GUEST)),
        (power.MANUAL, power.MANUAL, ON, BY_HAND, (False, power.BY_HOST)),
        # what is off stays so, unless the policy says now that it is to be on
        (power.MANUAL, power.MANUAL, GONE_OFF, BY_GUEST, None),
        (power.UNLESS_STOPPED, power.UNLESS_STOPPED, GONE_OFF, BY_HAND, None),
        (power.UNLESS_STOPPED, power.MANUAL, GONE_OFF, BY_HAND, None),
        (power.UNLESS_STOPPED, power.ALWAYS_OFF, GONE_OFF, BY_HAND, (True, power.BY_POLICY)),
        (power.MANUAL, power.ALWAYS_OFF, GONE_OFF, BY_HAND, None),
        (power.ALWAYS_ON, power.MANUAL, GONE_OFF, BY_GUEST, (True, power.BY_POLICY)),
    ],
)
def test_an_end_is_judged_by_the_policy(
    policy: str,
    before: str,
    decided: Power,
    end: tuple[str, str],
    expected: tuple[bool, str] | None,
) -> None:
    memory = replace(MEMORY, power=decided, spec={"runPolicy": before})
    left = power.observed(memory, running("", *end), policy, deleted=False, now=NOW)
    if expected is None:
        assert left == memory
    else:
        assert left == replace(memory, power=Power(*expected, int(NOW), "next"))


@pytest.mark.parametrize(
    ("end", "stopped_by", "own"),
    [
        (("shutoff", "shutdown"), "", True),
        (("shutoff", "shutdown"), "guest", True),
        (("shutoff", "shutdown"), "host", False),
        (("shutoff", "destroyed"), "", False),
        (("shutoff", "unknown"), "guest", False),
        (("crashed", "panicked"), "", False),
    ],
)
def test_a_guest_ends_itself_only_by_shutting_down(
    end: tuple[str, str], stopped_by: str, own: bool
) -> None:
    raw = replace(running("", *end).raw, stopped_by=stopped_by)
    assert power.by_guest(MEMORY, raw) is own


def test_what_somebody_has_saved_by_hand_is_theirs_to_go_on_with() -> None:
    off = running("", "shutoff", "saved")
    saved = replace(off, raw=replace(off.raw, managed_save=True))
    left = power.observed(MEMORY, saved, power.ALWAYS_ON, deleted=False, now=NOW)
    assert left == MEMORY


@pytest.mark.parametrize(
    ("decided", "expected"),
    [
        (Power(False, power.BY_GUEST, 1, "an earlier one"), Power(True, "host", int(NOW), "one")),
        (Power(False, power.BY_GUEST, 1, "one"), None),  # it is to end: whoever did that
        (Power(True, "op", 1, "an earlier one"), None),
        (Power(True, "op", 1, "one"), None),
        (Power(True, "op", 1, "next"), Power(True, "op", 1, "one")),  # the one that was due
    ],
)
def test_what_somebody_else_has_started_is_wanted(decided: Power, expected: Power | None) -> None:
    memory = replace(MEMORY, power=decided)
    left = power.observed(memory, running(), power.MANUAL, deleted=False, now=NOW)
    assert left == replace(memory, power=expected or decided)


def test_every_start_uses_up_an_instance_id() -> None:
    seen = power.observed(MEMORY, running("next"), power.MANUAL, deleted=False, now=NOW)
    assert seen.instance not in ("next", "one")
    assert power.observed(MEMORY, running(), power.MANUAL, deleted=False, now=NOW) == MEMORY


@pytest.mark.parametrize("deleted", [False, True])
def test_what_is_to_be_off_is_told_once_which_instance_is_to_end(deleted: bool) -> None:
    by = power.BY_DELETION if deleted else power.BY_POLICY
    args = {"deleted": deleted, "now": NOW}

    def observed(memory: DomainMetadata, seen: Running) -> DomainMetadata:
        return power.observed(memory, seen, power.ALWAYS_OFF, **args)  # type: ignore[arg-type]

    left = observed(MEMORY, running())
    assert left.power == Power(on=False, by=by, at=int(NOW), instance="one")
    for again in (running(), running("", "shutoff", "shutdown")):
        assert observed(replace(left, power=replace(left.power, at=1)), again).power.at == 1
    for old in (
        replace(left.power, at=1, on=True),
        replace(left.power, at=1, by="somebody"),
        replace(left.power, at=1, instance="an earlier one"),
    ):
        assert observed(replace(MEMORY, power=old), running()).power == left.power


def recorded(kind: str, target: str = "one", uid: str = "op", cancelled: bool = False) -> Recorded:
    return Recorded(uid, kind, force=False, target=target, at=1, cancelled=cancelled)


@pytest.mark.parametrize(
    ("entries", "decided", "seen", "why"),
    [
        ((), ON, running(), None),
        ((), GONE_OFF, running(), None),  # it goes down by itself
        ((), Power(False, power.BY_DELETION, 1, "one"), running(), power.BY_DELETION),
        ((), Power(False, power.BY_POLICY, 1, "one"), running(), power.BY_POLICY),
        ((), Power(True, power.BY_POLICY, 1, "one"), running(), None),
        ((recorded("Stop"),), ON, running(), "op"),
        ((recorded("Stop"),), ON, running("", *BY_GUEST), None),
        ((recorded("Restart"),), ON, running(), "op"),
        ((recorded("Start"),), ON, running(), None),
        ((recorded("Stop", cancelled=True),), ON, running(), None),
        ((recorded("Stop", target="an earlier one"),), ON, running(), None),
        ((recorded("Stop", uid="older"), recorded("Restart")), ON, running(), "op"),
    ],
)
def test_an_instance_ends_for_a_reason(
    entries: tuple[Recorded, ...], decided: Power, seen: Running, why: str | None
) -> None:
    memory = replace(MEMORY, power=decided, operations=entries)
    found = power.ending(memory, seen)
    told = found.by if isinstance(found, Power) else found and found.uid
    assert told == why


NEXT = Power(on=True, by="op", at=1, instance="next")
OFF = running("", "shutoff", "shutdown")


@pytest.mark.parametrize(
    ("entry", "decided", "seen", "done"),
    [
        (recorded("Stop"), GONE_OFF, running(), False),
        (recorded("Stop"), GONE_OFF, OFF, True),
        (recorded("Stop"), NEXT, OFF, True),
        (recorded("Stop"), GONE_OFF, running("two"), True),
        (recorded("Start", "next"), NEXT, OFF, False),
        (recorded("Start", "next"), replace(NEXT, by="another"), OFF, True),
        (recorded("Start", "next"), ON, running(), True),
        (recorded("Restart"), NEXT, running(), False),
        (recorded("Restart"), NEXT, OFF, False),
        (recorded("Restart"), replace(NEXT, by="another"), OFF, True),
        (recorded("Restart"), replace(NEXT, by="another"), running(), False),
        (recorded("Restart"), replace(NEXT, instance="two"), running("two"), True),
    ],
)
def test_an_operation_has_nothing_left_to_do(
    entry: Recorded, decided: Power, seen: Running, done: bool
) -> None:
    memory = replace(MEMORY, power=decided, operations=(entry,))
    assert power.finished(entry, memory, seen) is done
    assert power.unfinished(memory, seen) == (None if done else entry)
    withdrawn = replace(memory, operations=(replace(entry, cancelled=True),))
    assert power.unfinished(withdrawn, seen) is None


@pytest.mark.parametrize(
    ("by", "kind", "follows"),
    [
        (power.BY_END, "Start", True),
        ("op", "Restart", True),
        ("op", "Automatic", True),
        ("op", "Reboot", True),
        ("op", "Start", False),
        ("op", "Stop", False),
        (power.BY_POLICY, "Restart", False),
    ],
)
def test_what_follows_an_instance_that_ran_goes_on(by: str, kind: str, follows: bool) -> None:
    memory = replace(MEMORY, power=replace(NEXT, by=by), operations=(recorded(kind),))
    assert power.goes_on(memory) is follows


@pytest.mark.parametrize(
    ("kind", "force", "decided", "target"),
    [
        ("Start", False, Power(True, "op", int(NOW), "next"), "next"),
        ("Stop", False, Power(False, "op", int(NOW), "one"), "one"),
        ("Stop", True, Power(False, "op", int(NOW), "one"), "one"),
        ("Restart", False, Power(True, "op", int(NOW), "next"), "one"),
    ],
)
def test_an_operation_is_taken_up_by_writing_it_down(
    kind: str, force: bool, decided: Power, target: str
) -> None:
    memory = power.accept(MEMORY, running(), "op", kind, NOW, force=force)
    assert memory.power == decided
    assert memory.operations == (Recorded("op", kind, force=force, target=target, at=int(NOW)),)


@pytest.mark.parametrize(
    ("entry", "decided", "seen", "expected"),
    [
        # what it would do is not done
        (recorded("Start", "next"), NEXT, OFF, Power(False, "host", int(NOW), "")),
        (recorded("Stop"), replace(GONE_OFF, by="op"), running(), Power(True, "host", int(NOW), "one")),
        (recorded("Restart"), NEXT, running(), Power(True, "host", int(NOW), "one")),
        # what it has done stays, and what a restart has ended is not left off
        (recorded("Stop"), replace(GONE_OFF, by="op"), OFF, None),
        (recorded("Restart"), NEXT, OFF, replace(NEXT, by=power.BY_END)),
        (recorded("Automatic"), NEXT, OFF, replace(NEXT, by=power.BY_END)),
        (recorded("Restart"), NEXT, running("two"), replace(NEXT, by=power.BY_END)),
        (recorded("Start", "next"), replace(NEXT, instance="two"), running("two"), None),
    ],
)  # fmt: skip
def test_withdrawing_undoes_what_is_not_done_yet(
    entry: Recorded, decided: Power, seen: Running, expected: Power | None
) -> None:
    other = recorded("Stop", "an earlier one", uid="other")
    memory = replace(MEMORY, power=decided, operations=(other, entry))
    left = power.cancel(memory, seen, "op", NOW)
    assert left.power == (expected or decided)
    assert left.operations == (other, replace(entry, cancelled=True))
    assert power.cancel(left, seen, "op", NOW + 1) == left
    assert power.cancel(memory, seen, "unknown", NOW) == memory


@pytest.mark.parametrize(
    ("automatic", "reboots", "pending", "seen", "kind"),
    [
        (True, False, True, running(), "Automatic"),
        (False, True, True, running(), "Reboot"),
        (True, True, True, running(), "Reboot"),
        (False, False, True, running(), None),
        (True, True, False, running(), None),
        (True, True, True, OFF, None),
    ],
)
def test_a_restart_by_itself_takes_changes_that_wait(
    automatic: bool, reboots: bool, pending: bool, seen: Running, kind: str | None
) -> None:
    def by_itself(memory: DomainMetadata) -> DomainMetadata:
        return power.restart_by_itself(
            memory, seen, automatic=automatic, reboots=reboots, pending=pending, now=NOW
        )

    left = by_itself(MEMORY)
    assert [each.type for each in left.operations] == ([kind] if kind else [])
    if kind is None:
        return
    assert left.operations[0].force is (kind == "Reboot")
    assert by_itself(left) == left
    uid = left.operations[0].uid
    withdrawn = power.cancel(left, seen, uid, NOW)
    assert by_itself(withdrawn).operations == left.operations
    stopped = replace(MEMORY, operations=(recorded("Stop"),))
    assert by_itself(stopped) == stopped
    done = replace(left, operations=(replace(left.operations[0], target="an earlier one"),))
    if not reboots:
        assert by_itself(done) == done


def test_an_automatic_restart_is_called_off_with_its_reason() -> None:
    begun = power.restart_by_itself(
        MEMORY, running(), automatic=True, reboots=False, pending=True, now=NOW
    )
    assert power.stay(begun, running(), NOW).operations[0].cancelled
    assert power.stay(begun, OFF, NOW) == begun
    asked_for = asked(MEMORY, "op", "Restart")
    assert power.stay(asked_for, running(), NOW) == asked_for


@pytest.mark.parametrize(
    ("decided", "seen", "due"),
    [(NEXT, OFF, True), (NEXT, running(), False), (ON, OFF, False), (GONE_OFF, OFF, False)],
)
def test_what_is_due_starts_once_nothing_runs(decided: Power, seen: Running, due: bool) -> None:
    assert power.start_due(replace(MEMORY, power=decided), seen) is due


ENDED = replace(MEMORY, power=replace(NEXT, by=power.BY_END))
AGO = (NOW - 30, NOW - 20, NOW - 10)


@pytest.mark.parametrize(
    ("memory", "starts", "due"),
    [
        (ENDED, (), NOW),
        (ENDED, AGO[:2], NOW),
        (ENDED, AGO, AGO[-1] + 5),
        (ENDED, (NOW - 40, *AGO), AGO[-1] + 10),
        (ENDED, (*AGO, *AGO), AGO[-1] + 40),
        (ENDED, AGO * 3, AGO[-1] + 300),
        (ENDED, (NOW - 601, *AGO[1:]), NOW),
        (ENDED, (NOW - 600, *AGO[1:]), NOW),
        (ENDED, (NOW - 599, *AGO[1:]), AGO[-1] + 5),
        (replace(ENDED, power=NEXT), AGO * 3, NOW),  # asked for: it waits for nothing
    ],
)
def test_what_keeps_ending_starts_ever_more_seldom(
    memory: DomainMetadata, starts: tuple[float, ...], due: float
) -> None:
    assert power.due_again(memory, starts, NOW) == due


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
