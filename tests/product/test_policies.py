"""What each run policy makes of whatever happens to a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.rig import MAIN, OPERATIONS, Rig, condition, disk, machine, operation

DEFAULT = "AlwaysOnUnlessStoppedManually"
POLICIES = (DEFAULT, "AlwaysOn", "Manual", "AlwaysOff")


def created(rig: Rig, policy: str) -> None:
    rig.push({"vm.yaml": [disk(), machine(runPolicy=policy)]})
    rig.settle()


def running(rig: Rig, policy: str) -> str:
    """A machine that runs under this policy; returns the id of its instance."""
    created(rig, policy)
    if policy == "Manual":
        rig.push({"first.yaml": operation("first", "vm", "Start")}, OPERATIONS)
        rig.settle()
    assert rig.running()
    return rig.memory(active=True).instance


def stopped(rig: Rig, policy: str) -> None:
    """A machine that is off, as its policy allows it to be."""
    running(rig, policy)
    rig.host.guest_poweroff(rig.uuid())
    rig.settle()
    assert not rig.running()


def phase(rig: Rig) -> str:
    found: str = rig.vm()["status"]["phase"]
    return found


@pytest.mark.promise("S111", "S113", "S119", "S120")
@pytest.mark.parametrize(
    ("policy", "on"), [(DEFAULT, True), ("AlwaysOn", True), ("Manual", False), ("AlwaysOff", False)]
)
def test_a_new_machine(rig: Rig, policy: str, on: bool) -> None:
    created(rig, policy)
    assert rig.running() is on
    assert phase(rig) == ("Running" if on else "Stopped")


@pytest.mark.promise("S112", "S113")
def test_the_default_policy_runs_a_new_machine(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    assert rig.vm()["spec"]["runPolicy"] == DEFAULT
    assert rig.running()


def poweroff(rig: Rig) -> None:
    rig.host.guest_poweroff(rig.uuid())


def crash(rig: Rig) -> None:
    rig.host.crash(rig.uuid())


def signal(rig: Rig) -> None:
    rig.host.host_signal(rig.uuid())


def lost(rig: Rig) -> None:
    rig.host.lose_host()


def by_hand(rig: Rig) -> None:
    rig.host.destroy(rig.uuid())


@pytest.mark.promise("S114", "S115", "S116", "S117", "S119")
@pytest.mark.parametrize("away", [False, True], ids=["watched", "agent-away"])
@pytest.mark.parametrize(
    ("policy", "end", "again"),
    [
        (DEFAULT, poweroff, False),
        (DEFAULT, crash, True),
        (DEFAULT, signal, True),
        (DEFAULT, lost, True),
        ("AlwaysOn", poweroff, True),
        ("AlwaysOn", crash, True),
        ("AlwaysOn", signal, True),
        ("AlwaysOn", lost, True),
        ("AlwaysOn", by_hand, True),
        ("Manual", poweroff, False),
        ("Manual", crash, False),
        ("Manual", signal, False),
        ("Manual", lost, False),
        ("Manual", by_hand, False),
    ],
)
def test_an_instance_that_ends(
    rig: Rig, policy: str, end: Callable[[Rig], None], again: bool, away: bool
) -> None:
    instance = running(rig, policy)
    if away:
        rig.host.close()  # nobody hears of it
    end(rig)
    if away:
        rig.start()
    rig.settle()
    assert rig.running() is again
    assert phase(rig) == ("Running" if again else "Stopped")
    if again:
        assert rig.memory(active=True).instance != instance
    rig.verbs()
    rig.now += 4000
    rig.settle()
    assert rig.verbs() == []


@pytest.mark.parametrize("policy", [DEFAULT, "AlwaysOn", "Manual"])
def test_a_guest_reboot_without_pending_changes_costs_nothing(rig: Rig, policy: str) -> None:
    instance = running(rig, policy)
    rig.verbs()
    rig.host.guest_reboot(rig.uuid())
    rig.settle()
    assert rig.verbs() == []
    assert rig.memory(active=True).instance == instance


@pytest.mark.promise("S115", "S118")
@pytest.mark.parametrize(
    ("policy", "kind", "done"),
    [
        (DEFAULT, "Stop", True),
        (DEFAULT, "Restart", True),
        ("AlwaysOn", "Stop", False),
        ("AlwaysOn", "Restart", True),
        ("Manual", "Stop", True),
        ("Manual", "Restart", True),
    ],
)
def test_operations_on_a_running_machine(rig: Rig, policy: str, kind: str, done: bool) -> None:
    instance = running(rig, policy)
    rig.push({"op.yaml": operation("op", "vm", kind)}, OPERATIONS)
    rig.settle()
    status = rig.vmop("op")["status"]
    completed = condition(rig.vmop("op"), "Completed")
    if done:
        assert (status["phase"], completed["reason"]) == ("Completed", "OperationCompleted")
        assert rig.running() is (kind == "Restart")
    else:
        assert status["phase"] == "Failed"
        assert completed["reason"] == "NotApplicableForVirtualMachineRunPolicy"
        assert rig.memory(active=True).instance == instance
    if kind == "Restart":
        assert rig.memory(active=True).instance != instance


@pytest.mark.promise("S119")
@pytest.mark.parametrize("policy", [DEFAULT, "Manual"])
def test_a_stopped_machine_is_started_by_an_operation(rig: Rig, policy: str) -> None:
    stopped(rig, policy)
    rig.push({"op.yaml": operation("op", "vm", "Start")}, OPERATIONS)
    rig.settle()
    assert rig.running()
    assert rig.vmop("op")["status"]["phase"] == "Completed"


@pytest.mark.promise("S121")
@pytest.mark.parametrize("before", ["new", "running", "stopped"])
@pytest.mark.parametrize("ref", [MAIN, OPERATIONS])
@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        ("Start", {}),
        ("Stop", {}),
        ("Restart", {}),
        ("Restart", {"force": True}),
        ("Evict", {}),
    ],
)
def test_always_off_takes_no_operation(
    rig: Rig, kind: str, spec: dict[str, Any], ref: str, before: str
) -> None:
    if before == "new":
        created(rig, "AlwaysOff")
    else:
        {"running": running, "stopped": stopped}[before](rig, DEFAULT)
        change(rig, "AlwaysOff")
    assert not rig.running()
    rig.verbs()
    rig.push({"op.yaml": operation("op", "vm", kind, **spec)}, ref)
    rig.settle()
    assert rig.vmop("op")["status"]["phase"] == "Failed"
    if kind != "Evict":
        reason = condition(rig.vmop("op"), "Completed")["reason"]
        assert reason == "NotApplicableForVirtualMachineRunPolicy"
    assert rig.verbs() == []
    assert phase(rig) == "Stopped"


@pytest.mark.promise("S121")
def test_always_off_ends_what_somebody_starts_by_hand(rig: Rig) -> None:
    created(rig, "AlwaysOff")
    rig.host.start(rig.uuid())
    rig.settle()
    assert not rig.running()


@pytest.mark.parametrize("policy", [DEFAULT, "Manual"])
def test_what_somebody_starts_by_hand_keeps_running(rig: Rig, policy: str) -> None:
    stopped(rig, policy)
    rig.verbs()
    rig.host.start(rig.uuid())
    rig.settle()
    assert rig.running()
    assert {"shutdown", "destroy"}.isdisjoint(rig.verbs())
    assert phase(rig) == "Running"


@pytest.mark.promise("S116")
def test_always_on_stays_on_after_a_stop_by_hand(rig: Rig) -> None:
    running(rig, "AlwaysOn")
    for _ in range(2):
        rig.host.guest_poweroff(rig.uuid())
        rig.settle()
        assert rig.running()


# -- changes of the policy ----------------------------------------------------------------------


def change(rig: Rig, policy: str, **spec: Any) -> None:
    rig.push({"vm.yaml": [disk(), machine(runPolicy=policy, **spec)]})
    rig.settle()


@pytest.mark.promise("S139")
@pytest.mark.parametrize("new", POLICIES)
@pytest.mark.parametrize("old", [DEFAULT, "AlwaysOn", "Manual"])
def test_a_new_policy_on_a_running_machine(rig: Rig, old: str, new: str) -> None:
    instance = running(rig, old)
    rig.verbs()
    change(rig, new)
    assert "restartAwaitingChanges" not in rig.vm()["status"]
    if new == "AlwaysOff":
        assert not rig.running()
        assert phase(rig) == "Stopped"
    else:
        assert rig.memory(active=True).instance == instance
        assert {"shutdown", "destroy", "start"}.isdisjoint(rig.verbs())
        assert rig.memory(active=True).spec["runPolicy"] == new


@pytest.mark.promise("S139")
@pytest.mark.parametrize(
    ("old", "new", "on"),
    [
        (DEFAULT, "AlwaysOn", True),
        (DEFAULT, "Manual", False),
        (DEFAULT, "AlwaysOff", False),
        ("Manual", DEFAULT, False),
        ("Manual", "AlwaysOn", True),
        ("Manual", "AlwaysOff", False),
        ("AlwaysOff", DEFAULT, True),
        ("AlwaysOff", "AlwaysOn", True),
        ("AlwaysOff", "Manual", False),
    ],
)
@pytest.mark.parametrize("also", [{}, {"cpu": {"cores": 3}}], ids=["alone", "with-cores"])
def test_a_new_policy_on_a_stopped_machine(
    rig: Rig, old: str, new: str, on: bool, also: dict[str, Any]
) -> None:
    if old == "AlwaysOff":
        created(rig, old)
    else:
        stopped(rig, old)
    change(rig, new, **also)
    assert rig.running() is on
    assert phase(rig) == ("Running" if on else "Stopped")


@pytest.mark.promise("S139")
def test_a_machine_turned_off_by_policy_comes_back_by_policy(rig: Rig) -> None:
    running(rig, DEFAULT)
    change(rig, "AlwaysOff")
    assert not rig.running()
    change(rig, DEFAULT)
    assert rig.running()


def test_always_off_to_the_default_while_a_disk_is_missing(rig: Rig) -> None:
    created(rig, "AlwaysOff")
    rig.push({"vm.yaml": [disk(), machine(disks=("root", "data"), runPolicy="AlwaysOff")]})
    rig.settle()
    rig.push({"vm.yaml": [disk(), machine(disks=("root", "data"), runPolicy=DEFAULT)]})
    rig.settle()
    assert phase(rig) == "Pending"
    assert not rig.running()
    rig.push({"data.yaml": disk("data")})
    rig.settle()
    assert rig.running()


def test_a_stop_by_policy_is_graceful_and_ends_a_guest_that_does_not_obey(rig: Rig) -> None:
    running(rig, DEFAULT)
    rig.verbs()
    rig.host.guest_obeys = False
    before = rig.now
    change(rig, "AlwaysOff", terminationGracePeriodSeconds=20)
    assert not rig.running()
    verbs = rig.verbs()
    assert "shutdown" in verbs
    assert verbs.count("destroy") == 1
    assert rig.now - before >= 20


def test_a_guest_that_keeps_crashing_is_started_ever_more_slowly(rig: Rig) -> None:
    running(rig, DEFAULT)
    times = []
    for _ in range(7):
        began = rig.now
        rig.host.crash(rig.uuid())
        rig.settle()
        assert rig.running()
        times.append(rig.now - began)
    assert times[:2] == [0.0, 0.0]
    assert times[-1] > times[-2] > times[-3] > 0


def test_what_was_asked_for_waits_for_nothing(rig: Rig) -> None:
    created(rig, DEFAULT)
    begin = rig.now
    for number in range(8):
        for kind in ("Stop", "Start"):
            name = f"{kind.lower()}-{number}"
            force = {"force": True} if kind == "Stop" else {}
            rig.push({f"{name}.yaml": operation(name, "vm", kind, **force)}, OPERATIONS)
            rig.settle()
        assert rig.running()
    assert rig.now < begin + 60  # the status branch is written now and then


def test_a_machine_that_keeps_ending_starts_ever_more_seldom_and_says_when(rig: Rig) -> None:
    created(rig, "AlwaysOn")
    for _ in range(3):
        rig.host.crash(rig.uuid())
        begin = rig.now
        rig.settle()
        assert rig.running()
        assert rig.now < begin + 5
    rig.host.crash(rig.uuid())
    for _ in range(5):
        rig.step()
    assert not rig.running()
    rig.now += 2
    for _ in range(3):
        rig.step()
    said = condition(rig.vm(), "Running")["message"]
    assert "it is started again at 20" in said
    assert phase(rig) == "Starting"
    rig.settle()
    assert rig.running()
    assert condition(rig.vm(), "Running")["message"] == ""
