"""What is said of a machine, from all that is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.annotations import DRIFT
from agent.core.changes import SENSITIVE, Change, Disposition
from agent.core.drift import DEFINITION, Drift, Edit
from agent.core.facts import Decision
from agent.core.host import GuestInfo, RawDomain
from agent.core.jobs import Job
from agent.core.links import USER
from agent.core.model import Condition, Object
from agent.kinds.local import NOT_READY
from agent.kinds.virtual_machine import power, space
from agent.kinds.virtual_machine.elements.disks import Disks
from agent.kinds.virtual_machine.elements.interfaces import Interface, Interfaces
from agent.kinds.virtual_machine.intent import Intent
from agent.kinds.virtual_machine.report import (
    LIVE,
    RESTART,
    Report,
    conflict,
    ended,
    unreachable,
)
from agent.kinds.virtual_machine.spec import BlockDeviceRef, machine_spec, networks, numbered
from agent.kinds.virtual_machine.wanted import Device
from tests.golden.case import NODE
from tests.kinds.deciding import condition, place_of, said, types
from tests.kinds.virtual_machine.test_deeds import (
    HELD,
    MEDIUM,
    ROOT,
    SEED,
    SEEDED,
    facts,
    situation,
)
from tests.kinds.virtual_machine.test_intent import READY, SPEC, machine
from tests.kinds.virtual_machine.test_power import NEXT, NOW

PHASES = (
    "Pending",
    "Starting",
    "Running",
    "Pause",
    "Migrating",
    "Stopping",
    "Stopped",
    "Terminating",
)
CORES = Change("replace", "cpu.cores", 1, 2, Disposition.RESTART)
DATA = Change("replace", "provisioning.userData", SENSITIVE, SENSITIVE, Disposition.RESTART)
KNOWN = replace(HELD, spec=SPEC)
OFF = {"state": "shutoff", "reason": "shutdown"}
COMES_UP = {"state": "paused", "reason": "starting-up"}
DELETED = replace(machine(), deleted="2023-11-14T22:13:20Z")


def report(
    phase: str = "Running",
    *,
    made: Intent | None = None,
    guest: GuestInfo | None = None,
    seen: dict[str, Any] | None = None,
    **what: Any,
) -> Report:
    usual = {"vm": machine(), "needs": READY, "memory": KNOWN, "active": KNOWN}
    case = situation(**{**usual, **what})
    case = replace(case, seen=replace(case.seen, **(seen or {})))
    return Report(case, made or Intent(case.seen.memory or HELD), phase, guest, MIGRATABLE, ())


MIGRATABLE = Condition("Migratable", "True", "VirtualMachineMigratable")


def told(found: Report, name: str) -> Condition | None:
    """The condition of a type, if there is one."""
    decision = Decision(status=found.status())
    return condition(decision, name) if name in types(decision) else None


def waits(*changes: Change) -> Intent:
    return Intent(HELD, pending=changes)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("kept", ["", "It waits."])
def test_a_machine_is_waited_for_while_it_gets_somewhere(
    phase: str, waiting: bool, kept: str
) -> None:
    goes_on = phase in ("Starting", "Stopping", "Terminating") or (phase == "Pending" and waiting)
    found = report(phase, needs=replace(READY, waiting=waiting), kept=kept)
    assert found.waiting is (goes_on and not kept)


@pytest.mark.parametrize(
    ("what", "on"), [({}, True), ({"state": "paused"}, True), (OFF, False), (COMES_UP, False)]
)
def test_what_runs_is_told_once_it_has_come_up(what: dict[str, Any], on: bool) -> None:
    status = report(**what).status()
    assert status["nodeName"] == ("node-1" if on else "")
    assert status["virtualMachinePods"] == [{"active": on, "name": "default.vm"}]
    assert (status["networks"] == []) is not on or on
    assert status["versions"] == {"libvirt": "9.0.0", "qemu": "7.2.0"}


def test_what_has_no_domain_has_no_instance() -> None:
    status = report("Starting", seen={"raw": None, "defined": None, "active": None}).status()
    assert (status["nodeName"], status["virtualMachinePods"]) == ("", [])
    assert status["blockDeviceRefs"] == status["networks"] == []


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("changes", [(), (CORES,)])
@pytest.mark.parametrize("runs", [True, False])
def test_changes_wait_while_something_runs_that_they_wait_for(
    phase: str, changes: tuple[Change, ...], runs: bool
) -> None:
    secret = {**SPEC, "provisioning": {"type": "UserData", "userData": "secret"}}
    active = facts(replace(HELD, spec=secret)) if runs else None
    found = report(phase, made=waits(*changes), seen={"active": active}).status()
    live = phase in LIVE
    assert found["restartAwaitingChanges"] == [each.listed() for each in changes if live]
    shown = {**secret, "provisioning": {"type": "UserData", "userData": SENSITIVE}}
    assert found["runningSpec"] == (shown if changes and live and runs else {})


GUEST = GuestInfo({"id": "debian"}, {"mac": ("fe80::1", "10.0.0.5"), "other": ("10.0.0.6",)})
BEFORE = {"guestOSInfo": {"id": "known"}, "ipAddress": "10.0.0.1"}


@pytest.mark.parametrize(
    ("what", "guest", "agent", "system", "address"),
    [
        ({}, GUEST, True, {"id": "debian"}, "10.0.0.5"),
        ({}, GuestInfo({}, {"mac": ("fe80::1",)}), True, {}, ""),
        ({}, None, True, {"id": "known"}, "10.0.0.1"),
        ({}, None, False, {}, "10.0.0.1"),
        ({"previous": {}}, None, True, {}, ""),
        (OFF, GUEST, True, {}, ""),
    ],
)
def test_what_the_guest_says_of_itself_is_told(
    what: dict[str, Any],
    guest: GuestInfo | None,
    agent: bool,
    system: dict[str, str],
    address: str,
) -> None:
    status = report(guest=guest, seen={"agent": agent}, **({"previous": BEFORE} | what)).status()
    assert (status["guestOSInfo"], status["ipAddress"]) == (system, address)


ONE_CORE = {"cpu": {"cores": 1, "coreFraction": "50%"}, "memory": {"size": "2Gi"}}


@pytest.mark.parametrize(
    ("what", "active", "cores"),
    [
        ({}, facts(replace(HELD, spec=ONE_CORE)), 1),
        ({}, facts(replace(HELD, spec={})), 2),
        ({}, replace(facts(), metadata=None), 2),
        ({}, None, 2),
        (OFF, facts(replace(HELD, spec=ONE_CORE)), 2),
    ],
)
def test_resources_are_those_of_what_runs(what: dict[str, Any], active: Any, cores: int) -> None:
    found = report(seen={"active": active}, **what).status()["resources"]
    assert found["cpu"]["cores"] == cores
    assert found["memory"]["size"] == ("2Gi" if cores == 1 else "1Gi")


REF: BlockDeviceRef = {"kind": "VirtualDisk", "name": "root"}
LISTED = replace(READY, listed=((REF, Device("/pool/root", "qcow2", "root"), 1 << 30),))
ITEM = {**REF, "attached": True, "size": "1Gi", "target": "sda"}
BEFORE_IT = [{"kind": "VirtualDisk", "name": "older"}]


@pytest.mark.parametrize(
    ("what", "disks", "devices"),
    [
        ({}, (replace(ROOT, boot=1),), [{**ITEM, "bootOrder": 1}]),
        ({}, (replace(ROOT, boot=0),), [ITEM]),
        ({}, (SEEDED,), [{**REF, "attached": False, "size": "1Gi"}]),
        (OFF, (ROOT,), []),
        ({"saved": True, **OFF}, (ROOT,), BEFORE_IT),
        ({"saved": True, "previous": {}, **OFF}, (ROOT,), []),
    ],
)
def test_devices_are_told_as_the_running_instance_has_them(
    what: dict[str, Any], disks: Any, devices: Any
) -> None:
    previous = {"blockDeviceRefs": BEFORE_IT}
    active = replace(facts(KNOWN), disks=Disks(disks))
    usual: dict[str, Any] = {"needs": LISTED, "previous": previous}
    found = report(seen={"active": active}, **(usual | what))
    assert found.status()["blockDeviceRefs"] == devices


def test_interfaces_are_told_in_the_order_of_the_specification_that_runs() -> None:
    listed = [{"type": "Main"}, {"type": "Network", "name": "b"}, {"type": "Network", "name": "a"}]
    spec = {**SPEC, "networks": [*numbered(machine_spec({"networks": listed})["networks"])]}
    macs = [situation().cabling.mac(network) for network in networks(spec)]
    there = [Interface(mac, USER, "virtio", ()) for mac in (macs[2], "52:by:hand", macs[0])]
    active = replace(facts(replace(KNOWN, spec=spec)), interfaces=Interfaces(tuple(there)))
    main, other = report(seen={"active": active}).status()["networks"]
    assert main == {"id": 1, "type": "Main", "macAddress": macs[0]}
    assert other.pop("virtualMachineMACAddressName").startswith("vm-")
    assert other == {"id": 3, "type": "Network", "name": "a", "macAddress": macs[2]}


@pytest.mark.parametrize("kept", ["", "Its disk lies elsewhere."])
def test_of_what_goes_only_is_told_whether_it_runs_and_why_it_stays(kept: str) -> None:
    found = report("Terminating", vm=DELETED, kept=kept).status()["conditions"]
    waits = Condition("Terminating", "True", "CleanupPending", kept)
    assert found == [Condition("Running", "True", "Running"), *[waits] * bool(kept)]


NEWER = "ProvisioningReadyWithWarnings"
OLDER = replace(SEEDED, path="/pool/default_seed_vm-uid_old.iso")


@pytest.mark.parametrize(
    ("phase", "medium", "disks", "changes", "reason"),
    [
        ("Running", MEDIUM, (ROOT, OLDER), (), NEWER),
        ("Running", MEDIUM, (ROOT, OLDER), (CORES,), NEWER),
        ("Running", MEDIUM, (ROOT, OLDER), (DATA,), "ProvisioningReady"),
        ("Running", MEDIUM, (ROOT, OLDER), (CORES, DATA), "ProvisioningReady"),
        ("Running", MEDIUM, (ROOT, SEEDED), (), "ProvisioningReady"),
        ("Running", MEDIUM, (ROOT,), (), "ProvisioningReady"),
        ("Running", MEDIUM, None, (), "ProvisioningReady"),
        ("Running", replace(MEDIUM, files={}), (ROOT, OLDER), (), "ProvisioningReady"),
        ("Running", None, (ROOT, OLDER), (), "ProvisioningReady"),
        ("Stopped", MEDIUM, (ROOT, OLDER), (), "ProvisioningReady"),
    ],
)
def test_a_medium_that_a_newer_secret_would_change_is_told(
    phase: str, medium: Any, disks: Any, changes: tuple[Change, ...], reason: str
) -> None:
    ready = Condition("ProvisioningReady", "True", "ProvisioningReady")
    other = Condition("BlockDevicesReady", "True", "BlockDevicesReady")
    needs = replace(READY, medium=medium, conditions=(other, ready))
    active = replace(facts(KNOWN), disks=Disks(disks)) if disks else None
    found = report(phase, made=waits(*changes), needs=needs, seen={"active": active})
    shown = told(found, "ProvisioningReady")
    assert shown is not None
    assert shown.reason == reason
    assert told(found, "BlockDevicesReady") == other
    assert SEED in SEEDED.path


BY_END = replace(HELD, power=replace(NEXT, by=power.BY_END))
FAILED = Job(failed="StartDomain", error="No KVM here.")
OFTEN = Job(starts=(NOW - 2,) * power.FREE_STARTS)
HOLDS = {"state": "paused", "reason": "user"}
STARVED = {"state": "paused", "reason": "ioerror"}
CRASHED = {"state": "shutoff", "reason": "crashed"}
SHORT = replace(READY, shortage="Too little memory.")
AGAIN = (
    "It has ended again and again within 10 minutes without anybody asking for it: it is started "
    "again at 1970-01-01T00:16:43Z."
)


@pytest.mark.parametrize(
    ("phase", "what", "memory", "reason", "message"),
    [
        ("Running", {}, HELD, "Running", ""),
        ("Running", {"job": FAILED}, HELD, "Running", ""),
        ("Terminating", {}, HELD, "Running", ""),
        ("Terminating", OFF, HELD, "NotRunning", ""),
        ("Terminating", HOLDS, HELD, "NotRunning", ""),
        ("Stopping", {}, HELD, "NotRunning", ""),
        ("Stopping", HOLDS, HELD, "NotRunning", ""),
        ("Pause", HOLDS, HELD, "GuestNotRunning", "The guest is paused (user): `virsh resume default.vm` goes on."),
        ("Pause", STARVED, HELD, "GuestNotRunning", space.sentence(situation())),
        ("Pending", {"needs": SHORT, "job": FAILED, **OFF}, HELD, "PodNotStarted", "Too little memory."),
        ("Pending", {"job": FAILED, **OFF}, HELD, "PodNotStarted", "No KVM here."),
        ("Stopped", {"needs": SHORT, **OFF}, HELD, "NotRunning", ""),
        ("Stopped", {"needs": SHORT, "job": FAILED, **OFF}, HELD, "PodNotStarted", "No KVM here."),
        ("Starting", {"job": OFTEN, **OFF}, BY_END, "PodNotStarted", AGAIN),
        ("Pending", {"job": OFTEN, **OFF}, BY_END, "NotRunning", ""),
        ("Starting", {"job": Job(starts=(NOW - 5,) * 3), **OFF}, BY_END, "NotRunning", "Powered off by its guest, started again."),
        ("Starting", OFF, BY_END, "NotRunning", "Powered off by its guest, started again."),
        ("Starting", COMES_UP, BY_END, "NotRunning", ""),
        ("Starting", OFF, HELD, "NotRunning", ""),
        ("Stopped", OFF, BY_END, "NotRunning", ""),
        ("Starting", CRASHED, BY_END, "InternalVirtualMachineError", "The last instance ended in a crash."),
        ("Stopped", CRASHED, HELD, "InternalVirtualMachineError", "The last instance ended in a crash."),
        ("Stopping", {"state": "paused", "reason": "crashed"}, HELD, "NotRunning", ""),
    ],
)  # fmt: skip
def test_why_a_machine_does_not_run_is_told(
    phase: str, what: dict[str, Any], memory: Any, reason: str, message: str
) -> None:
    vm = DELETED if phase == "Terminating" else machine()
    found = report(phase, made=Intent(memory), **({"vm": vm} | what))
    status = "True" if reason == "Running" else "False"
    assert told(found, "Running") == Condition("Running", status, reason, message)


def test_what_has_no_domain_does_not_run() -> None:
    found = report("Starting", made=Intent(BY_END), seen={"raw": None, "active": None})
    assert told(found, "Running") == Condition("Running", "False", "NotRunning")


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("changes", [(), (CORES, DATA)])
@pytest.mark.parametrize("ready", [True, False])
def test_what_waits_for_a_restart_is_named(
    phase: str, changes: tuple[Change, ...], ready: bool
) -> None:
    found = report(phase, made=waits(*changes), needs=replace(READY, ready=ready))
    waiting, applied = told(found, RESTART), told(found, "ConfigurationApplied")
    if phase not in LIVE or not changes:
        assert (waiting, applied) == (None, None)
        return
    assert waiting is not None
    assert applied is not None
    assert "Changed: cpu.cores, provisioning.userData." in waiting.message
    assert ("would have to wait" in waiting.message) is not ready
    assert (waiting.status, applied.status) == ("True", "False")
    assert applied.message == waiting.message


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("shortage", ["", "Too little memory."])
def test_what_would_not_fit_next_time_is_told(phase: str, shortage: str) -> None:
    found = told(report(phase, needs=replace(READY, shortage=shortage)), "Schedulable")
    expected = Condition("Schedulable", "False", "Unschedulable", shortage)
    assert found == (expected if shortage and phase != "Pending" else None)


@pytest.mark.parametrize("changed", [False, True])
def test_what_was_changed_by_hand_is_told(changed: bool) -> None:
    edit = Edit(DEFINITION, "cpu.cores", 1, 2, Disposition.IMMEDIATE)
    drift = Drift((edit,), ("It has a saved state.",)) if changed else Drift()
    found = told(report(made=Intent(HELD, drift=drift)), "DriftDetected")
    message = "The definition was changed by hand: cpu.cores 1 → 2; put back. It has a saved state."
    expected = Condition("DriftDetected", "True", "DriftDetected", message)
    assert found == (expected if changed else None)
    assert DRIFT not in message


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("agent", [False, True])
def test_whether_the_guest_agent_is_there_is_told_of_what_runs(phase: str, agent: bool) -> None:
    found = report(phase, seen={"agent": agent})
    ready, moves = told(found, "AgentReady"), told(found, "Migratable")
    if phase not in LIVE:
        assert (ready, moves) == (None, None)
        return
    assert ready is not None
    assert moves is not None
    assert (ready.status, bool(ready.message)) == (str(agent), not agent)
    assert moves == MIGRATABLE


@pytest.mark.parametrize("virt_type", ["kvm", "qemu"])
@pytest.mark.parametrize("tuning", [False, True])
@pytest.mark.parametrize("fraction", ["100%", "50%"])
def test_what_the_host_cannot_do_is_told(virt_type: str, tuning: bool, fraction: str) -> None:
    node = replace(NODE, virt_type=virt_type, cpu_tuning=tuning)
    found = report(vm=with_spec(cpu={"cores": 2, "coreFraction": fraction}), at=place_of(node))
    slow, loose = told(found, "HardwareVirtualization"), told(found, "CoreFractionEnforced")
    assert (slow is None) is (virt_type == "kvm")
    assert (loose is None) is (tuning or fraction == "100%")


@pytest.mark.parametrize("system", ["Generic", "Windows", "Legacy"])
@pytest.mark.parametrize("virtio", [False, True])
@pytest.mark.parametrize("agent", [False, True])
def test_guests_that_need_drivers_are_told_so_until_they_have_them(
    system: str, virtio: bool, agent: bool
) -> None:
    vm = with_spec(osType=system, enableParavirtualization=virtio)
    found = told(report(vm=vm, seen={"agent": agent}), "ParavirtualizationSupported")
    assert (found is not None) is (system == "Legacy" and virtio and not agent)


def with_spec(**spec: Any) -> Object:
    vm = machine()
    content = {"spec": {**vm.spec, **spec}}
    return replace(vm, manifest=replace(vm.manifest, content=content))


@pytest.mark.parametrize(
    ("state", "reason", "stopped_by", "how"),
    [
        ("running", "booted", "", ""),
        ("shutoff", "shutdown", "", "Powered off by its guest"),
        ("shutoff", "shutdown", "guest", "Powered off by its guest"),
        ("shutoff", "shutdown", "host", "QEMU ended by a signal"),
        ("shutoff", "destroyed", "host", "Ended by hand"),
        ("shutoff", "crashed", "", "Crashed"),
        ("crashed", "panicked", "", "Lost with its host"),
        ("shutoff", "failed", "", "Start failed"),
        ("shutoff", "unknown", "", "Lost with its host"),
    ],
)
def test_how_an_instance_ended_is_told(state: str, reason: str, stopped_by: str, how: str) -> None:
    raw = RawDomain("uuid", "default.vm", state, reason, "", stopped_by=stopped_by)
    assert ended(raw) == how


def test_what_has_no_domain_has_not_ended() -> None:
    assert ended(None) == ""


@pytest.mark.parametrize(("deleted", "phase"), [("", "Pending"), ("2023", "Terminating")])
def test_of_a_node_that_cannot_be_seen_what_was_known_stays(deleted: str, phase: str) -> None:
    vm = replace(machine(), deleted=deleted)
    assert unreachable(vm, {"phase": "Running"}) == Decision()
    found = unreachable(vm, {})
    assert (said(found)["phase"], found.waiting, found.ok) == (phase, True, False)
    assert condition(found, "Running").message == NOT_READY


@pytest.mark.parametrize(("deleted", "phase"), [("", "Pending"), ("2023", "Terminating")])
@pytest.mark.parametrize("gone", [False, True])
def test_where_a_foreign_domain_stands_that_is_told(deleted: str, phase: str, gone: bool) -> None:
    found = conflict(replace(machine(), deleted=deleted), "It is foreign.", gone=gone)
    assert (said(found)["phase"], found.gone, found.ok) == (phase, gone, False)
    assert condition(found, "Running").message == "It is foreign."
