"""Starts that are seen in their middle, that fail there, and that nobody waits for: what was asked for happens, and is not said
before it has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.core.host import HostError
from agent.kinds.virtual_machine.spec import machine_spec
from tests.memory_host import Killed
from tests.rig import OPERATIONS, STATUS, Rig, condition, disk, machine, operation

DEFAULT = "AlwaysOnUnlessStoppedManually"
POLICIES = (DEFAULT, "AlwaysOn", "Manual")
SOON = 30
"""Seconds: long before the next full read of the host."""


@pytest.fixture
def on(rig: Rig, request: pytest.FixtureRequest) -> Rig:
    return running(rig, getattr(request, "param", DEFAULT))


def running(rig: Rig, policy: str, **spec: Any) -> Rig:
    rig.push({"vm.yaml": [disk(), machine(runPolicy=policy, **spec)]})
    rig.settle()
    if policy == "Manual":
        ask(rig, "first", "Start")
        rig.settle()
    assert rig.running()
    rig.verbs()
    return rig


def ask(rig: Rig, name: str, kind: str, **more: Any) -> None:
    rig.push({f"{name}.yaml": operation(name, "vm", kind, **more)}, OPERATIONS)


def drag(rig: Rig, passes: int = 6) -> None:
    """Let the agent work without letting time pass."""
    rig.agent.reconciler.look_at_git()
    for _ in range(passes):
        rig.step()


def said(rig: Rig, name: str) -> tuple[str, str]:
    """Phase and reason of an operation."""
    found = rig.vmop(name)
    return found["status"]["phase"], condition(found, "Completed")["reason"]


def instance(rig: Rig) -> str:
    return rig.memory(active=True).instance


def state(rig: Rig) -> tuple[str, str]:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    return raw.state, raw.reason


def in_the_middle(rig: Rig, happens: Callable[[], object]) -> None:
    """Have something happen in the middle of every start."""

    def effect(verb: str, when: str) -> None:
        if (verb, when) == ("start", "middle"):
            happens()

    rig.host.on_effect = effect


def look(rig: Rig) -> None:
    """The agent reads the domain now, whatever else it is doing, and has time to write down what it makes of it."""
    rig.now += 2
    rig.host._tell(rig.uuid(), "lifecycle")
    drag(rig)


def fail() -> None:
    raise HostError("HypervisorError", "QEMU ended at once")


def die() -> None:
    raise Killed


def killed_in_the_middle(rig: Rig) -> None:
    """The agent dies while QEMU starts up, and the next one sees a domain that does."""
    in_the_middle(rig, die)
    with pytest.raises(Killed):
        rig.settle()
    rig.host.on_effect = lambda _verb, _when: None
    rig.start()
    drag(rig)
    assert state(rig) == ("paused", "starting-up")


# -- what is said while a machine starts up ------------------------------------------------------


@pytest.mark.parametrize("kind", ["Start", "Restart"])
def test_an_operation_is_not_completed_while_the_machine_starts_up(on: Rig, kind: str) -> None:
    if kind == "Start":
        ask(on, "off", "Stop")
        on.settle()
    found: list[tuple[object, ...]] = []

    def notes() -> None:
        look(on)
        status = on.vm()["status"]
        found.append((said(on, "op")[0], status["phase"], status.get("nodeName", "")))
        found.append(tuple(each["attached"] for each in status.get("blockDeviceRefs", ())))

    in_the_middle(on, notes)
    ask(on, "op", kind)
    on.settle()
    assert found == [("InProgress", "Starting", ""), ()]
    assert said(on, "op") == ("Completed", "OperationCompleted")
    assert on.vm()["status"]["nodeName"] == on.host.name


def test_an_operation_is_not_completed_before_its_start_has_returned(on: Rig) -> None:
    """libvirt may still give up what has begun to run."""
    before, found = instance(on), []

    def gives_up() -> None:
        on.host.comes_up(on.uuid())
        look(on)
        found.append(said(on, "op")[0])
        on.host.on_effect = lambda _verb, _when: None
        fail()

    in_the_middle(on, gives_up)
    ask(on, "op", "Restart")
    on.settle()
    assert found == ["InProgress"]
    assert on.running()
    assert instance(on) != before
    assert said(on, "op")[0] == "Completed"


# -- starts that fail ----------------------------------------------------------------------------


@pytest.mark.parametrize("looks", [False, True], ids=["unseen", "seen"])
@pytest.mark.parametrize("on", POLICIES, indirect=True)
def test_a_restart_whose_start_fails_goes_on_until_it_succeeds(on: Rig, looks: bool) -> None:
    before = instance(on)

    def fails() -> None:
        if looks:
            look(on)
        fail()

    in_the_middle(on, fails)
    ask(on, "op", "Restart")
    for _ in range(5):
        drag(on)
        assert said(on, "op") == ("InProgress", "RestartInProgress")
        on.now += 30
    assert "QEMU ended at once" in condition(on.vmop("op"), "Completed")["message"]
    assert on.vm()["status"]["phase"] == "Pending"
    assert "QEMU ended at once" in condition(on.vm(), "Running")["message"]
    assert "virtualMachinePods" in on.vm()["status"]
    assert on.verbs().count("start") > 2
    on.host.on_effect = lambda _verb, _when: None
    on.settle()
    assert on.running()
    assert instance(on) != before
    assert said(on, "op") == ("Completed", "OperationCompleted")
    assert condition(on.vmop("op"), "Completed")["message"] == ""


def test_a_start_of_a_manual_machine_that_fails_is_tried_again(on: Rig) -> None:
    on.push({"vm.yaml": [disk(), machine(runPolicy="Manual")]})
    ask(on, "off", "Stop")
    on.settle()
    on.host.starting_fails.add(on.uuid())
    ask(on, "op", "Start")
    drag(on)
    on.now += 100
    drag(on)
    assert said(on, "op") == ("InProgress", "StartInProgress")
    assert "QEMU ended at once" in condition(on.vmop("op"), "Completed")["message"]
    on.host.starting_fails.clear()
    on.settle()
    assert on.running()
    assert said(on, "op")[0] == "Completed"


@pytest.mark.parametrize("why", ["Automatic", "Reboot", "crash"])
@pytest.mark.parametrize("looks", [False, True], ids=["unseen", "seen"])
def test_what_nobody_asked_to_stop_comes_back_after_starts_that_fail(
    rig: Rig, why: str, looks: bool
) -> None:
    approval = {"restartApprovalMode": "Automatic" if why == "Automatic" else "Manual"}
    policy = DEFAULT if why == "crash" else "Manual"
    running(rig, policy, disruptions=approval)
    left = [3]

    def fails() -> None:
        if looks:
            look(rig)
        left[0] -= 1
        if left[0] >= 0:
            fail()

    in_the_middle(rig, fails)
    if why != "crash":
        changed = machine(runPolicy=policy, disruptions=approval, cpu={"cores": 2})
        rig.push({"vm.yaml": [disk(), changed]})
    if why == "Reboot":
        rig.settle()
        rig.now += 1
        rig.host.guest_reboot(rig.uuid())
    elif why == "crash":
        rig.host.crash(rig.uuid())
    rig.settle()
    assert left == [-1]
    assert rig.running()
    assert machine_spec(rig.memory(active=True).spec)["cpu"]["cores"] == (
        1 if why == "crash" else 2
    )


# -- the agent dies in the middle ----------------------------------------------------------------


@pytest.mark.parametrize("ends", ["comes_up", "start_fails", "host lost"])
@pytest.mark.parametrize("on", POLICIES, indirect=True)
def test_a_restart_whose_agent_died_in_the_middle_of_its_start(on: Rig, ends: str) -> None:
    before = instance(on)
    ask(on, "op", "Restart")
    killed_in_the_middle(on)
    begun = on.now
    assert said(on, "op")[0] == "InProgress"
    (on.host.lose_host if ends == "host lost" else lambda: getattr(on.host, ends)(on.uuid()))()
    on.settle()
    assert on.running()
    assert on.now < begun + SOON
    assert instance(on) != before
    assert said(on, "op") == ("Completed", "OperationCompleted")
    assert on.verbs().count("start") == (1 if ends == "comes_up" else 2)


@pytest.mark.parametrize("ends", ["comes_up", "start_fails"])
@pytest.mark.parametrize("policy", [DEFAULT, "AlwaysOn"])
def test_a_first_start_whose_agent_died_in_its_middle(rig: Rig, policy: str, ends: str) -> None:
    rig.push({"vm.yaml": [disk(), machine(runPolicy=policy)]})
    killed_in_the_middle(rig)
    assert rig.vm()["status"]["phase"] == "Starting"
    used_up = instance(rig)
    getattr(rig.host, ends)(rig.uuid())
    rig.settle()
    assert rig.running()
    assert (instance(rig) == used_up) is (ends == "comes_up")


@pytest.mark.parametrize("kind", ["Stop", "Restart"])
@pytest.mark.parametrize("ends", ["comes_up", "start_fails"])
def test_operations_on_a_machine_that_starts_up(rig: Rig, kind: str, ends: str) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    killed_in_the_middle(rig)
    first = instance(rig)
    rig.verbs()
    ask(rig, "op", kind)
    rig.push({"vm.yaml": [disk(), machine(metadata={"labels": {"tier": "db"}})]})
    look(rig)
    assert said(rig, "op")[0] == "InProgress"
    assert {"shutdown", "destroy", "set_live_metadata"}.isdisjoint(rig.verbs())
    getattr(rig.host, ends)(rig.uuid())
    rig.settle()
    assert said(rig, "op") == ("Completed", "OperationCompleted")
    assert rig.running() is (kind == "Restart")
    if kind == "Restart":
        assert instance(rig) != first
    rig.verbs()
    rig.now += 1000
    rig.settle()
    assert rig.verbs() == []


# -- starts by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize("ends", ["comes_up", "start_fails"])
def test_a_start_by_hand_counts_once_it_has_come_up(on: Rig, ends: str) -> None:
    ask(on, "off", "Stop")
    on.settle()
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    on.host._spawn(raw)
    look(on)
    assert on.vm()["status"]["phase"] == "Starting"
    getattr(on.host, ends)(on.uuid())
    on.settle()
    on.verbs()
    on.host.crash(on.uuid())
    on.settle()
    assert on.running() is (ends == "comes_up")


def test_a_start_by_hand_that_fails_starts_nothing_that_was_to_stay_off(rig: Rig) -> None:
    running(rig, "Manual")
    rig.host.crash(rig.uuid())
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    rig.host._spawn(raw)  # at once: nobody has seen the crash
    look(rig)
    rig.host.start_fails(rig.uuid())
    rig.settle()
    assert not rig.running()


# -- taking back, and what comes before ----------------------------------------------------------


@pytest.mark.parametrize("looks", [False, True], ids=["off", "starting up"])
@pytest.mark.parametrize("on", POLICIES, indirect=True)
def test_a_restart_that_is_withdrawn_while_its_start_fails_leaves_the_machine_on(
    on: Rig, looks: bool
) -> None:
    ask(on, "op", "Restart")
    if looks:
        killed_in_the_middle(on)
    else:
        on.host.starting_fails.add(on.uuid())
        drag(on)
    on.push({"op.yaml": None}, OPERATIONS)
    drag(on)
    if looks:
        on.host.start_fails(on.uuid())
    on.host.starting_fails.clear()
    on.settle()
    assert on.running()


def test_a_start_that_is_withdrawn_while_it_fails_is_not_tried_again(on: Rig) -> None:
    ask(on, "off", "Stop")
    on.settle()
    on.host.starting_fails.add(on.uuid())
    ask(on, "op", "Start")
    drag(on)
    on.push({"op.yaml": None}, OPERATIONS)
    on.settle()
    on.host.starting_fails.clear()
    on.now += 1000
    on.settle()
    assert not on.running()
    assert on.vm()["status"]["phase"] == "Stopped"


@pytest.mark.parametrize("on", POLICIES, indirect=True)
def test_a_ledger_that_is_lost_while_a_restarts_start_fails_leaves_the_machine_on(on: Rig) -> None:
    on.host.starting_fails.add(on.uuid())
    ask(on, "op", "Restart")
    drag(on)
    on.repo.refs.pop(STATUS)  # type: ignore[attr-defined]
    on.start()
    drag(on)
    on.host.starting_fails.clear()
    on.settle()
    assert on.running()


@pytest.mark.parametrize("kind", ["Start", "Restart"])
def test_what_was_called_completed_is_never_withdrawn(on: Rig, kind: str) -> None:
    """Also where the domain says that the start is still due, as one restored from a backup does."""
    if kind == "Start":
        ask(on, "off", "Stop")
        on.settle()
    due: list[str] = []

    def notes() -> None:
        raw = on.host.read_domain(on.uuid())
        assert raw is not None
        due.append(raw.inactive_xml)

    in_the_middle(on, notes)
    ask(on, "op", kind)
    on.settle()
    assert said(on, "op")[0] == "Completed"
    on.host.destroy(on.uuid())
    on.host.define(due[0])
    on.settle()
    assert on.running()


@pytest.mark.parametrize("how", ["AlwaysOff", "deleted"])
@pytest.mark.parametrize("kind", ["Start", "Restart"])
def test_what_is_overruled_before_its_start_succeeds_has_failed(
    on: Rig, kind: str, how: str
) -> None:
    if kind == "Start":
        ask(on, "off", "Stop")
        on.settle()
    on.host.starting_fails.add(on.uuid())
    ask(on, "op", kind)
    drag(on)
    assert said(on, "op")[0] == "InProgress"
    on.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOff")] if how == "AlwaysOff" else disk()})
    on.settle()
    assert not on.running()
    assert said(on, "op")[0] == "Failed"


def test_a_stop_that_a_deletion_overtakes_is_completed_all_the_same(on: Rig) -> None:
    on.host.guest_obeys = False
    ask(on, "op", "Stop")
    drag(on)
    on.push({"vm.yaml": disk()})
    on.settle()
    assert on.host.read_domain(on.uuid()) is None
    assert said(on, "op")[0] == "Completed"
