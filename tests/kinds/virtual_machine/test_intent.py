"""What a domain is to remember and to be, from all that is known of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.annotations import DRIFT, REPORT
from agent.core.changes import Disposition
from agent.core.drift import DEFINITION
from agent.core.facts import Engine, View
from agent.core.jobs import IDLE, Job
from agent.core.known import OBJECT, OPERATIONS
from agent.core.metadata import DomainMetadata, Power
from agent.core.model import Manifest, Object
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.expected import expected
from agent.kinds.virtual_machine.intent import Intent, can_start, current_phase, intent
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine.wanted import Device
from agent.kinds.virtual_machine_class.cpu import GuestCpu
from tests.golden.case import accepted
from tests.kinds.deciding import view_of
from tests.kinds.virtual_machine.test_deeds import DELETED, HELD, KEY, NEEDS, situation
from tests.kinds.virtual_machine.test_operations import operation
from tests.kinds.virtual_machine.test_power import GONE_OFF, NEXT, NOW

(MANIFEST,) = accepted(
    b"""
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata: {name: vm}
spec:
  virtualMachineClassName: host
  runPolicy: Manual
  cpu: {cores: 2}
  memory: {size: 1Gi}
  blockDeviceRefs: [{kind: VirtualDisk, name: root}]
"""
)
SPEC = dict(MANIFEST.spec)
OLDER = {**SPEC, "cpu": {**machine_spec(SPEC)["cpu"], "cores": 1}}
"""What takes a restart to become what is wanted."""
READY = replace(
    NEEDS, cpu=GuestCpu("host-model"), devices=(Device("/pool/root", "qcow2", "root"),)
)  # fmt: skip
MISSING = replace(READY, ready=False)


def machine(approval: str = "Manual", **annotations: str) -> Object:
    spec = {**SPEC, "disruptions": {"restartApprovalMode": approval}}
    return Object(Manifest(KEY, {}, annotations, {"spec": spec}), "vm-uid", 1, "", "")


def known(spec: Any = SPEC, **what: Any) -> DomainMetadata:
    return replace(HELD, spec=spec, **what)


def case(
    memory: DomainMetadata,
    *,
    runs: DomainMetadata | None = None,
    state: str = "running",
    reason: str = "booted",
    rebooted: float = 0.0,
    block_job: bool = False,
    **what: Any,
) -> Situation:
    """A machine whose domain is defined as what it remembers, and runs as something else maybe."""
    usual: dict[str, Any] = {"vm": machine(), "needs": READY, "sealed": SPEC}
    found = situation(state, reason, memory=memory, active=runs or memory, **(usual | what))
    raw = replace(found.seen.raw, rebooted=rebooted) if found.seen.raw else None
    seen = replace(found.seen, raw=raw, block_job=block_job)
    defined = expected(found, memory)
    active = replace(defined, metadata=runs or memory) if found.seen.active else None
    return replace(found, seen=replace(seen, defined=defined, active=active))


def wanted(found: Situation) -> Intent:
    return intent(found, View(Engine({}, {}), NOW))


@pytest.mark.parametrize(
    ("approval", "runs", "what", "expected_type"),
    [
        ("Automatic", OLDER, {}, "Automatic"),
        ("Automatic", SPEC, {}, None),
        ("Manual", OLDER, {}, None),
        ("Automatic", OLDER, {"needs": MISSING}, None),
        ("Automatic", OLDER, {"state": "paused", "reason": "user"}, None),
        ("Automatic", OLDER, {"state": "pmsuspended"}, None),
        ("Automatic", OLDER, {"block_job": True}, None),
        ("Automatic", OLDER, {"state": "shutoff", "reason": "shutdown"}, None),
        # the guest reboots by itself
        ("Manual", OLDER, {"rebooted": NOW - 1}, "Reboot"),
        ("Manual", SPEC, {"rebooted": NOW - 1}, None),
        ("Manual", OLDER, {"rebooted": NOW - power.REBOOT_WINDOW}, None),
        ("Manual", OLDER, {"rebooted": NOW - 1, "needs": MISSING}, None),
        ("Manual", OLDER, {"rebooted": NOW - 1, "job": Job(done={"DefineDomain": NOW - 2})}, "Reboot"),
        ("Manual", OLDER, {"rebooted": NOW - 1, "job": Job(done={"DefineDomain": NOW - 1})}, "Reboot"),
        # what was pushed since waits for the next time
        ("Manual", OLDER, {"rebooted": NOW - 2, "job": Job(done={"DefineDomain": NOW - 1})}, None),
    ],
)  # fmt: skip
def test_a_machine_is_restarted_by_itself_for_changes_that_wait(
    approval: str, runs: Any, what: dict[str, Any], expected_type: str | None
) -> None:
    found = wanted(case(known(), runs=known(runs), vm=machine(approval), **what))
    assert [each.type for each in found.memory.operations] == [expected_type] * bool(expected_type)
    off = what.get("state") == "shutoff"
    assert [each.path for each in found.pending] == ["cpu.cores"] * (runs is OLDER and not off)


@pytest.mark.parametrize(
    ("approval", "runs", "needs", "goes_on"),
    [
        ("Automatic", OLDER, READY, True),
        ("Manual", OLDER, READY, False),
        ("Automatic", SPEC, READY, False),
        ("Automatic", OLDER, MISSING, False),
    ],
)
def test_a_restart_by_itself_is_called_off_once_nothing_asks_for_it(
    approval: str, runs: Any, needs: Any, goes_on: bool
) -> None:
    begun = wanted(case(known(), runs=known(OLDER), vm=machine("Automatic"))).memory
    found = wanted(case(begun, runs=known(runs), vm=machine(approval), needs=needs))
    assert [each.cancelled for each in found.memory.operations] == [not goes_on]


@pytest.mark.parametrize(
    ("needs", "as_defined", "memory", "can"),
    [
        (READY, False, HELD, True),
        (MISSING, False, replace(HELD, power=replace(NEXT, by=power.BY_END)), False),
        (MISSING, True, replace(HELD, power=replace(NEXT, by=power.BY_END)), True),
        (MISSING, True, replace(HELD, power=NEXT), False),  # asked for anew
    ],
)
def test_what_follows_an_instance_starts_as_it_is_defined(
    needs: Any, as_defined: bool, memory: DomainMetadata, can: bool
) -> None:
    assert can_start(situation(needs=needs, as_defined=as_defined), memory) is can


NOTHING: dict[str, Any] = {"running": None}
WAS_OFF = {**NOTHING, "previous": {"phase": "Stopped"}}


@pytest.mark.parametrize(
    ("memory", "what", "phase"),
    [
        (HELD, {"vm": DELETED}, "Terminating"),
        (None, NOTHING, "Starting"),
        (None, {**NOTHING, "needs": MISSING}, "Pending"),
        (HELD, NOTHING, "Starting"),
        (HELD, {**NOTHING, "needs": MISSING, "as_defined": True}, "Pending"),
        (replace(HELD, power=GONE_OFF), NOTHING, "Pending"),
        (replace(HELD, power=GONE_OFF), WAS_OFF, "Stopped"),
        (HELD, WAS_OFF, "Starting"),
        (None, WAS_OFF, "Starting"),
        (HELD, {}, "Running"),
    ],
)
def test_where_a_machine_is_that_may_have_no_domain_yet(
    memory: DomainMetadata | None, what: dict[str, Any], phase: str
) -> None:
    assert current_phase(situation(**what), memory) == phase


@pytest.mark.parametrize("previous", [{}, {"phase": "Stopped"}, {"phase": "Running"}])
@pytest.mark.parametrize("uid", ["vm-uid", "of an earlier machine"])
def test_what_is_not_the_machines_own_is_not_remembered(uid: str, previous: Any) -> None:
    policy = {"runPolicy": power.UNLESS_STOPPED}
    vm = replace(
        machine(), manifest=replace(machine().manifest, content={"spec": {**SPEC, **policy}})
    )
    memory = known(uid=uid, instance="its own")
    found = wanted(
        case(memory, vm=vm, previous=previous, state="shutoff", reason="shutdown")
    ).memory
    assert found.uid == "vm-uid"
    assert (found.instance == "its own") is (uid == "vm-uid")
    if uid != "vm-uid":
        assert found.power.on is (previous.get("phase") != "Stopped")


@pytest.mark.parametrize(
    ("nvram", "ran", "kept"),
    [
        ("", "BIOS", ""),
        ("EFI", "BIOS", "EFI"),
        ("", "EFI", "EFI"),
        ("EFI", "EFIWithSecureBoot", "EFIWithSecureBoot"),
    ],
)
def test_what_the_firmwares_settings_were_made_for_is_what_ran_last(
    nvram: str, ran: str, kept: str
) -> None:
    memory = known(nvram=nvram)
    assert wanted(case(memory, runs=known({**SPEC, "bootloader": ran}))).memory.nvram == kept


def runs_without_metadata(found: Situation, **seen: Any) -> Situation:
    """Somebody has removed what the running side was to remember."""
    active = found.seen.active
    left = replace(active, metadata=None) if active is not None else None
    return replace(found, seen=replace(found.seen, active=left, **seen))


def test_where_what_runs_is_not_known_what_is_defined_is_the_best_guess() -> None:
    found = wanted(runs_without_metadata(case(known(OLDER))))
    assert [each.path for each in found.pending] == ["cpu.cores"]
    off = case(known(OLDER), state="shutoff", reason="shutdown")
    assert wanted(runs_without_metadata(off)).pending == ()


@pytest.mark.parametrize("gone", ["defined", "active", "both"])
def test_a_reboot_counts_only_where_both_sides_are_known(gone: str) -> None:
    found = case(known(), runs=known(OLDER), rebooted=NOW - 1)
    defined = None if gone != "active" else found.seen.defined
    found = replace(found, seen=replace(found.seen, defined=defined))
    if gone != "defined":
        found = runs_without_metadata(found)
    assert wanted(found).memory.operations == ()


@pytest.mark.parametrize(
    ("failed", "message"),
    [("ShutdownDomain", " What it needs has failed and is tried again: No."), ("", "")],
)
def test_an_operation_under_way_tells_what_has_failed(failed: str, message: str) -> None:
    stop = operation("stop", "Stop")
    view = view_of({(OPERATIONS, KEY): (stop.key,), (OBJECT, stop.key): stop})
    there = case(known(), job=Job(failed=failed, error="No."))
    told = intent(there, view).progress["stop"].message
    assert told == f"Waiting for the operation to complete.{message}"


LATER = {**OLDER, "terminationGracePeriodSeconds": 5}


@pytest.mark.parametrize(("needs", "cores"), [(READY, 2), (MISSING, 1)])
def test_what_cannot_start_yet_is_not_made_the_next_start(needs: Any, cores: int) -> None:
    found = wanted(case(known(LATER), needs=needs))
    assert machine_spec(found.memory.spec)["cpu"]["cores"] == cores
    assert found.memory.spec["terminationGracePeriodSeconds"] == 60


def test_what_a_deletion_leaves_is_defined_as_it_is() -> None:
    memory = known(OLDER)
    there = case(memory, vm=replace(machine(), deleted="2023-11-14T22:13:20Z"), kept="It waits.")
    found = wanted(there)
    assert there.seen.defined is not None
    assert found.facts == replace(there.seen.defined, metadata=found.memory)
    assert found.memory.spec == OLDER
    assert found.pending == ()


@pytest.mark.parametrize(
    ("side", "type_", "kept"),
    [
        ("defined", "file", True),
        ("defined", "network", True),
        ("active", "file", True),
        ("active", "network", False),  # that could not be written down
        ("", "file", False),
    ],
)
def test_of_what_a_deletion_leaves_what_runs_is_the_model_where_no_definition_is(
    side: str, type_: str, kept: bool
) -> None:
    there = case(known(), vm=replace(machine(), deleted="2023-11-14T22:13:20Z"), kept="It waits.")
    model = there.seen.defined
    assert model is not None
    disks = tuple(replace(disk, type=type_) for disk in model.disks.disks)
    model = replace(model, disks=replace(model.disks, disks=disks))
    sides: dict[str, Any] = {"defined": None, "active": None} | ({side: model} if side else {})
    found = wanted(replace(there, seen=replace(there.seen, **sides)))
    assert found.facts == (replace(model, metadata=found.memory) if kept else None)


@pytest.mark.parametrize("report", [False, True])
def test_what_was_changed_by_hand_is_put_back_or_left(report: bool) -> None:
    annotations = {DRIFT: REPORT} if report else {}
    there = case(known(), vm=machine("Manual", **annotations), job=IDLE)
    defined = there.seen.defined
    assert defined is not None
    by_hand = replace(defined, memory=replace(defined.memory, size=1))
    found = wanted(replace(there, seen=replace(there.seen, defined=by_hand)))
    (edit,) = found.drift.edits
    assert (edit.where, edit.path) == (DEFINITION, "memory.size")
    assert edit.disposition is (Disposition.NONE if report else Disposition.IMMEDIATE)
    assert found.facts is not None
    assert found.facts.memory == (by_hand if report else defined).memory


def test_a_machine_that_is_off_is_made_so_before_it_is_defined() -> None:
    off = Power(on=False, by=power.BY_POLICY, at=int(NOW), instance="")
    found = situation(vm=machine(), needs=MISSING, sealed=SPEC, running=None)
    empty = replace(found, seen=replace(found.seen, raw=None, defined=None, active=None))
    left = wanted(empty)
    assert left.facts is None
    assert left.memory.power == off
    assert left.memory.spec == SPEC
