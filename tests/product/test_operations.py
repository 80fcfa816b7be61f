"""Operations: what they do, when they are refused, how each ends."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.host import HostError
from agent.core.status import timestamp
from tests.rig import (
    MAIN,
    OPERATIONS,
    STATUS,
    Rig,
    condition,
    disk,
    encoded,
    machine,
    operation,
    vm_key,
)

FORCE: dict[bool, dict[str, Any]] = {True: {"force": True}, False: {}}


def ask(rig: Rig, name: str, kind: str, vm: str = "vm", ref: str = OPERATIONS, **more: Any) -> None:
    metadata = more.pop("metadata", {})
    document = operation(name, vm, kind, **more)
    document["metadata"] |= metadata
    rig.push({f"{name}.yaml": document}, ref)


def outcome(rig: Rig, name: str) -> tuple[str, str]:
    found = rig.vmop(name)
    return found["status"]["phase"], condition(found, "Completed")["reason"]


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    assert rig.running()
    rig.verbs()
    return rig


@pytest.fixture
def off(on: Rig) -> Rig:
    ask(on, "off", "Stop")
    on.settle()
    assert not on.running()
    on.verbs()
    return on


def instance(rig: Rig) -> str:
    return rig.memory(active=True).instance


def drag(rig: Rig, passes: int = 3) -> None:
    """Let the agent work without letting time pass."""
    rig.agent.reconciler.look_at_git()
    for _ in range(passes):
        rig.step()


# -- what they do -------------------------------------------------------------------------------


@pytest.mark.promise("S122", "S124", "S125", "S154")
@pytest.mark.parametrize("ref", [MAIN, OPERATIONS])
def test_restart(on: Rig, ref: str) -> None:
    before = instance(on)
    ask(on, "restart-1", "Restart", ref=ref)
    on.settle()
    assert outcome(on, "restart-1") == ("Completed", "OperationCompleted")
    assert condition(on.vmop("restart-1"), "Completed")["message"] == ""
    assert condition(on.vmop("restart-1"), "SignalSent")["reason"] == "SignalSentSuccess"
    assert instance(on) != before
    verbs = on.verbs()
    assert (verbs.count("start"), verbs.count("destroy")) == (1, 0)


@pytest.mark.promise("S122")
def test_stop(on: Rig) -> None:
    ask(on, "stop-1", "Stop")
    on.settle()
    assert outcome(on, "stop-1") == ("Completed", "OperationCompleted")
    assert on.vm()["status"]["phase"] == "Stopped"
    assert "start" not in on.verbs()


@pytest.mark.promise("S122")
def test_start(off: Rig) -> None:
    ask(off, "start-1", "Start")
    off.settle()
    assert outcome(off, "start-1") == ("Completed", "OperationCompleted")
    assert off.vm()["status"]["phase"] == "Running"


@pytest.mark.promise("S154", "S155")
def test_a_restart_applies_what_waits(on: Rig) -> None:
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    on.settle()
    assert on.vm()["status"]["restartAwaitingChanges"]
    ask(on, "restart-1", "Restart")
    on.settle()
    status = on.vm()["status"]
    assert "restartAwaitingChanges" not in status
    assert status["resources"]["cpu"]["cores"] == 2


def test_the_guest_gets_its_grace_and_no_more(on: Rig) -> None:
    on.push({"vm.yaml": [disk(), machine(terminationGracePeriodSeconds=30)]})
    on.settle()
    on.host.guest_obeys = False
    before = on.now
    ask(on, "stop-1", "Stop")
    drag(on)
    assert on.vm()["status"]["phase"] == "Stopping"
    assert outcome(on, "stop-1") == ("InProgress", "StopInProgress")
    on.settle()
    assert not on.running()
    assert 30 <= on.now - before <= 32
    assert on.verbs().count("destroy") == 1


@pytest.mark.parametrize("kind", ["Stop", "Restart"])
def test_force_waits_for_no_guest(on: Rig, kind: str) -> None:
    before, began = instance(on), on.now
    on.host.guest_obeys = False
    ask(on, "now", kind, force=True)
    on.settle()
    assert on.now == began
    verbs = on.verbs()
    assert "shutdown" not in verbs
    assert verbs.count("destroy") == 1
    assert on.running() is (kind == "Restart")
    if kind == "Restart":
        assert instance(on) != before


def test_start_with_force_is_refused_by_its_schema(off: Rig) -> None:
    ask(off, "start-1", "Start", force=True)
    summary = off.settle()
    assert [problem.resource for problem in summary.problems] == [
        "VirtualMachineOperation default/start-1"
    ]
    assert not off.running()


# -- when they are refused ----------------------------------------------------------------------


def test_of_a_machine_that_is_not_there(on: Rig) -> None:
    ask(on, "op", "Stop", vm="other")
    on.settle()
    assert outcome(on, "op") == ("Failed", "VirtualMachineNotFound")


def test_in_a_phase_that_has_no_use_for_it(on: Rig) -> None:
    ask(on, "op", "Start")
    on.settle()
    assert outcome(on, "op") == ("Failed", "NotApplicableForVirtualMachinePhase")


@pytest.mark.parametrize("kind", ["Stop", "Restart"])
def test_stopped_machines_are_neither_stopped_nor_restarted(off: Rig, kind: str) -> None:
    ask(off, "op", kind)
    off.settle()
    assert outcome(off, "op") == ("Failed", "NotApplicableForVirtualMachinePhase")
    assert off.verbs() == []


@pytest.mark.parametrize("kind", ["Evict", "Migrate"])
def test_where_there_is_one_node_nothing_is_migrated(on: Rig, kind: str) -> None:
    ask(on, "op", kind)
    on.settle()
    assert outcome(on, "op") == ("Failed", "OperationFailed")
    assert "There is no other node" in condition(on.vmop("op"), "Completed")["message"]
    assert on.verbs() == []


def test_stop_while_a_start_waits_for_its_disk(rig: Rig) -> None:
    rig.push({"vm.yaml": machine()})
    rig.settle()
    ask(rig, "op", "Stop")
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Pending"
    assert rig.vmop("op")["status"]["phase"] in ("Pending", "InProgress", "Completed")
    rig.push({"disk.yaml": disk()})
    rig.settle()
    assert outcome(rig, "op") == ("Completed", "OperationCompleted")
    assert not rig.running()
    assert "start" not in rig.verbs()


def test_start_of_a_manual_machine_whose_disk_comes_later(rig: Rig) -> None:
    rig.push({"vm.yaml": machine(runPolicy="Manual")})
    rig.settle()
    rig.push({"disk.yaml": disk()})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Stopped"
    ask(rig, "op", "Start")
    rig.settle()
    assert outcome(rig, "op")[0] == "Completed"
    assert rig.running()


# -- one at a time ------------------------------------------------------------------------------


def test_of_two_at_once_the_first_by_name_acts(on: Rig) -> None:
    on.host.guest_obeys = False
    on.push(
        {"a.yaml": operation("a", "vm", "Restart"), "b.yaml": operation("b", "vm", "Stop")},
        OPERATIONS,
    )
    on.settle()
    assert outcome(on, "a") == ("Completed", "OperationCompleted")
    assert outcome(on, "b") == ("Failed", "NotReadyToBeExecuted")
    assert "Operation a of this" in condition(on.vmop("b"), "Completed")["message"]
    assert on.running()
    assert on.verbs().count("destroy") == 1


@pytest.mark.parametrize(
    ("first", "second", "replaces"),
    [
        (("Stop", False), ("Stop", True), True),
        (("Stop", False), ("Restart", True), True),
        (("Restart", False), ("Stop", True), True),
        (("Restart", False), ("Restart", True), True),
        (("Stop", False), ("Restart", False), False),
        (("Restart", False), ("Stop", False), False),
    ],
)
def test_supersede(
    on: Rig, first: tuple[str, bool], second: tuple[str, bool], replaces: bool
) -> None:
    before = instance(on)
    on.host.guest_obeys = False
    ask(on, "a", first[0], **FORCE[first[1]])
    drag(on)
    assert on.vmop("a")["status"]["phase"] == "InProgress"
    on.now += 2
    ask(on, "b", second[0], **FORCE[second[1]])
    on.settle()
    if replaces:
        assert outcome(on, "a") == ("Superseded", "Superseded")
        assert "Superseded by b with type" in condition(on.vmop("a"), "Completed")[
            "message"
        ].replace(" of ", " with ")
        assert outcome(on, "b")[0] == "Completed"
        final = second[0]
    else:
        assert outcome(on, "a")[0] == "Completed"
        assert outcome(on, "b")[0] == "Failed"
        final = first[0]
    assert on.running() is (final == "Restart")
    assert on.verbs().count("destroy") == 1
    if on.running():
        assert instance(on) != before


def test_a_start_that_waits_is_superseded_by_a_stop(off: Rig) -> None:
    off.push({"vm.yaml": [disk(), machine(disks=("root", "data"))]})
    off.settle()
    ask(off, "a", "Start")
    off.settle()
    assert off.vm()["status"]["phase"] == "Pending"
    assert off.vmop("a")["status"]["phase"] == "InProgress"
    ask(off, "b", "Stop")
    off.settle()
    assert outcome(off, "a") == ("Superseded", "Superseded")
    assert outcome(off, "b") == ("Completed", "OperationCompleted")
    off.push({"data.yaml": disk("data")})
    off.settle()
    assert not off.running()


def test_a_stop_before_a_start_that_is_due(on: Rig) -> None:
    on.push({"vm.yaml": [disk(), machine(disks=("root", "data"))]})
    on.settle()
    on.push({"disk.yaml": disk("unused"), "vm.yaml": machine(disks=("root", "data"))})
    on.settle()
    on.host.crash(on.uuid())
    on.settle()
    assert on.vm()["status"]["phase"] == "Pending"
    ask(on, "op", "Stop")
    on.settle()
    assert outcome(on, "op") == ("Completed", "OperationCompleted")
    on.push({"data.yaml": [disk(), disk("data")]})
    on.settle()
    assert condition(on.vm(), "BlockDevicesReady")["status"] == "True"
    assert not on.running()


# -- once, and never again ----------------------------------------------------------------------


def test_each_acts_once_whatever_happens_later(on: Rig) -> None:
    ask(on, "restart-1", "Restart")
    on.settle()
    on.verbs()
    on.start()
    on.settle()
    on.now += 4000
    on.settle()
    on.host.crash(on.uuid())
    on.settle()
    on.host.guest_reboot(on.uuid())
    on.settle()
    verbs = on.verbs()
    assert {"shutdown", "destroy"}.isdisjoint(verbs)
    assert verbs.count("start") == 1  # after the crash


@pytest.mark.parametrize("kind", ["Restart", "Stop"])
def test_a_lost_ledger_executes_nothing_twice(on: Rig, kind: str) -> None:
    ask(on, "op", kind)
    on.settle()
    before, was = on.verbs(), on.running()
    assert "shutdown" in before
    on.repo.refs.pop(STATUS)  # type: ignore[attr-defined]
    on.start()
    on.settle()
    assert on.verbs() == []
    assert on.running() is was
    assert outcome(on, "op")[0] in ("Completed", "Failed")


def test_a_ledger_rolled_back_executes_nothing_twice(on: Rig) -> None:
    before = on.repo.fetch()[STATUS]
    ask(on, "op", "Restart")
    on.settle()
    assert "start" in on.verbs()
    on.repo.refs[STATUS] = before  # type: ignore[attr-defined]
    on.settle()
    assert on.verbs() == []
    assert outcome(on, "op") == ("Completed", "OperationCompleted")


def test_operations_older_than_the_ledger_are_not_executed(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine(runPolicy="Manual")]})
    ask(rig, "old", "Start")
    rig.settle()
    assert outcome(rig, "old") == ("Failed", "Expired")
    assert not rig.running()
    ask(rig, "new", "Start")
    rig.settle()
    assert rig.running()


def test_not_after(on: Rig) -> None:
    late = {"annotations": {"gitvirt.io/not-after": timestamp(on.now - 1)}}
    early = {"annotations": {"gitvirt.io/not-after": timestamp(on.now + 60)}}
    ask(on, "late", "Stop", metadata=late)
    on.settle()
    assert outcome(on, "late") == ("Failed", "Expired")
    assert on.running()
    ask(on, "early", "Stop", metadata=early)
    on.settle()
    assert outcome(on, "early")[0] == "Completed"


def test_not_after_of_a_stop_of_what_is_not_defined_yet(rig: Rig) -> None:
    rig.push({"vm.yaml": machine()})
    rig.settle()
    until = {"annotations": {"gitvirt.io/not-after": timestamp(rig.now + 60)}}
    ask(rig, "op", "Stop", metadata=until)
    drag(rig)
    assert rig.vmop("op")["status"]["phase"] == "Pending"
    rig.now += 61
    rig.settle()
    assert outcome(rig, "op") == ("Failed", "Expired")
    rig.push({"disk.yaml": disk()})
    rig.settle()
    assert rig.running()


def test_not_after_of_an_operation_that_waits(on: Rig) -> None:
    on.push({"vm.yaml": [disk(), machine(disks=("root", "data"))]})
    on.settle()
    ask(
        on,
        "op",
        "Restart",
        metadata={"annotations": {"gitvirt.io/not-after": timestamp(on.now + 600)}},
    )
    drag(on)
    assert on.vmop("op")["status"]["phase"] == "Pending"
    on.now += 601
    on.settle()
    assert outcome(on, "op") == ("Failed", "Expired")
    on.push({"data.yaml": disk("data")})
    on.settle()
    assert {"shutdown", "destroy"}.isdisjoint(on.verbs())


def test_not_after_does_not_end_what_has_begun(on: Rig) -> None:
    on.host.guest_obeys = False
    ask(on, "op", "Stop", metadata={"annotations": {"gitvirt.io/not-after": timestamp(on.now + 5)}})
    on.settle()
    assert outcome(on, "op")[0] == "Completed"
    assert not on.running()


def test_the_agent_was_away_when_it_was_asked(on: Rig) -> None:
    ask(
        on, "op", "Stop", metadata={"annotations": {"gitvirt.io/not-after": timestamp(on.now + 60)}}
    )
    on.now += 3600
    on.start()
    on.settle()
    assert outcome(on, "op") == ("Failed", "Expired")
    assert on.running()


# -- names, and taking back ---------------------------------------------------------------------


def test_other_content_under_a_used_name_is_a_problem(on: Rig) -> None:
    ask(on, "op", "Restart")
    on.settle()
    before = instance(on)
    ask(on, "op", "Stop")
    summary = on.settle()
    assert "choose another name" in summary.problems[0].message
    assert instance(on) == before
    assert on.vmop("op")["spec"]["type"] == "Restart"


def test_the_same_file_again_is_the_same_operation(on: Rig) -> None:
    ask(on, "op", "Restart")
    on.settle()
    before = instance(on)
    on.push({"op.yaml": None}, OPERATIONS)
    on.settle()
    assert "namespaces/default/virtualmachineoperations/op.yaml" not in on.documents()
    ask(on, "op", "Restart")
    on.settle()
    assert instance(on) == before
    assert outcome(on, "op")[0] == "Completed"


def test_a_new_operation_under_the_name_of_one_that_was_removed(on: Rig) -> None:
    ask(on, "op", "Restart")
    on.settle()
    on.push({"op.yaml": None}, OPERATIONS)
    on.settle()
    ask(on, "op", "Stop")
    on.settle()
    assert outcome(on, "op")[0] == "Completed"
    assert not on.running()


def test_deleting_an_unfinished_operation_withdraws_it(on: Rig) -> None:
    before = instance(on)
    on.host.guest_obeys = False
    ask(on, "op", "Restart")
    drag(on)
    assert on.vm()["status"]["phase"] == "Stopping"
    on.push({"op.yaml": None}, OPERATIONS)
    on.settle()
    on.now += 600
    on.settle()
    assert instance(on) == before
    assert "destroy" not in on.verbs()
    assert on.vm()["status"]["phase"] == "Running"


def test_a_guest_that_goes_down_after_its_stop_was_withdrawn_comes_back(on: Rig) -> None:
    on.host.guest_obeys = False
    ask(on, "op", "Stop")
    drag(on)
    on.push({"op.yaml": None}, OPERATIONS)
    on.settle()
    on.host.guest_poweroff(on.uuid())  # it was only slow
    on.settle()
    assert on.running()


def test_a_guest_whose_earlier_stop_was_withdrawn_may_power_itself_off(on: Rig) -> None:
    on.host.guest_obeys = False
    ask(on, "op", "Stop")
    drag(on)
    on.push({"op.yaml": None}, OPERATIONS)
    on.settle()
    on.host.crash(on.uuid())
    on.settle()
    assert on.running()
    on.host.guest_poweroff(on.uuid())
    on.settle()
    assert not on.running()
    assert on.vm()["status"]["phase"] == "Stopped"


def test_deleting_the_operations_branch_withdraws_too(on: Rig) -> None:
    before = instance(on)
    on.host.guest_obeys = False
    ask(on, "op", "Stop")
    drag(on)
    on.repo.refs.pop(OPERATIONS)  # type: ignore[attr-defined]
    on.settle()
    on.now += 600
    on.settle()
    assert instance(on) == before


def test_only_operations_are_taken_from_their_branch(on: Rig) -> None:
    on.push({"vm.yaml": machine("other")}, OPERATIONS)
    summary = on.settle()
    assert "only VirtualMachineOperations" in summary.problems[0].message
    assert on.host.read_domain(on.uuid("other")) is None


def test_main_and_the_branch_under_one_name(on: Rig) -> None:
    ask(on, "op", "Restart", ref=MAIN)
    ask(on, "op", "Restart", ref=OPERATIONS)
    on.settle()
    assert outcome(on, "op")[0] == "Completed"
    assert on.verbs().count("start") == 1


def test_deletion_of_the_machine_comes_before_operations(on: Rig) -> None:
    on.host.guest_obeys = False
    ask(on, "op", "Restart")
    drag(on)
    on.push({"vm.yaml": disk()})
    on.settle()
    assert on.host.read_domain(on.uuid()) is None
    assert outcome(on, "op")[0] == "Failed"
    assert vm_key() not in on.agent.reconciler.records()


def test_always_off_comes_before_operations(on: Rig) -> None:
    on.host.guest_obeys = False
    ask(on, "op", "Restart")
    drag(on)
    on.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOff")]})
    on.settle()
    assert not on.running()
    assert on.vmop("op")["status"]["phase"] in ("Completed", "Failed", "Superseded")
    on.push({"vm.yaml": [disk(), machine()]})
    on.settle()
    assert on.running()
    assert on.verbs().count("start") == 1


def test_more_operations_than_a_domain_remembers(on: Rig) -> None:
    for number in range(20):
        ask(on, f"op-{number:02}", "Restart", ref=MAIN, force=True)
        on.settle()
        on.now += 700
    assert on.verbs().count("destroy") == 20
    on.repo.refs.pop(STATUS)  # type: ignore[attr-defined]
    on.start()
    on.settle()
    assert on.verbs() == []
    assert {outcome(on, f"op-{number:02}")[0] for number in range(20)} <= {"Completed", "Failed"}


def test_a_forced_stop_waits_for_no_failed_power_button(on: Rig) -> None:
    def broken(verb: str, phase: str) -> None:
        if (verb, phase) == ("shutdown", "before"):
            raise HostError("HypervisorError", "the power button is broken")

    on.host.on_effect = broken
    on.push({"gentle.yaml": operation("gentle", "vm", "Stop")}, OPERATIONS)
    on.agent.reconciler.look_at_git()
    for _ in range(12):
        on.step()
        on.now += 3
    assert on.running()
    on.push({"hard.yaml": operation("hard", "vm", "Stop", force=True)}, OPERATIONS)
    on.agent.reconciler.look_at_git()
    for _ in range(6):
        on.step()
    assert not on.running()


def test_the_power_button_of_a_paused_guest_is_not_pressed(on: Rig) -> None:
    on.host.pause(on.uuid())
    on.settle()
    on.verbs()
    on.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    begin = on.now
    on.settle()
    assert not on.running()
    assert "shutdown" not in on.verbs()
    assert on.now >= begin + on.vm()["spec"]["terminationGracePeriodSeconds"]


@pytest.mark.parametrize("restarted", [False, True])
def test_the_log_says_who_asked(on: Rig, restarted: bool) -> None:
    def ask(name: str, author: str) -> None:
        tip = on.repo.fetch().get(OPERATIONS)
        files = {f"{name}.yaml": encoded(operation(name, "vm", "Restart", force=True))}
        on.repo.commit(OPERATIONS, tip, files, "please", author=author)

    ask("one", "Ada Lovelace <ada@example.org>")
    if restarted:
        on.start()
    on.settle()
    ask("two", "Eve\x1b[31m " + "x" * 200 + " <e@example.org>")
    ask("three", "Bob <bob@example.org>")
    on.settle()
    log = "\n".join(f"{each.subject}\n{each.body}" for each in on.repo.log(on.repo.fetch()[STATUS]))

    assert "vmop/one: InProgress, asked for by Ada Lovelace\n" in log
    assert "vmop/three: " in log
    assert ", asked for by Bob" in log
    assert "\x1b" not in log
    assert log.count("Lovelace") == 1
