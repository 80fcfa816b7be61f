"""The whole decision about a machine, from the facts that there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.annotations import DISABLED, SUSPEND
from agent.core.domain_xml import with_metadata
from agent.core.facts import Decision
from agent.core.host import RawDomain
from agent.core.identity import disk_volume, domain_uuid
from agent.core.jobs import Job
from agent.core.known import (
    ATTACHED,
    DOMAIN,
    DOMAIN_AT,
    DOMAIN_NAME,
    ELSEWHERE,
    EXPORT,
    JOB,
    LEAVING,
    OBJECT,
    OPERATIONS,
    PROGRESS,
    STATUS,
    UNREACHABLE,
    VOLUMES_OF,
    Fact,
)
from agent.core.metadata import DomainMetadata, Recorded
from agent.core.model import Key, Object
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.decide import Planner
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_class import ClassData, GuestCpu
from tests.golden.case import CATALOGUE, definition
from tests.kinds.deciding import FLEET, PATH, READY, condition, decided, made, said, types
from tests.kinds.virtual_machine.test_deeds import GRACE, HELD, KEY, SEED
from tests.kinds.virtual_machine.test_intent import SPEC, machine
from tests.kinds.virtual_machine.test_operations import operation
from tests.kinds.virtual_machine.test_power import GONE_OFF, NEXT, NOW

PLANNER = Planner(CATALOGUE.kinds["VirtualMachine"])
NODE = "node-1"
UUID = domain_uuid(FLEET, KEY)
VM = machine()
SUSPENDED = machine(**{SUSPEND: DISABLED})
CLASS = Key("VirtualMachineClass", "", "host")
ROOT, DATA = (Key("VirtualDisk", "default", name) for name in ("root", "data"))
UIDS = {key: f"00000000-0000-4000-8000-00000000000{n}" for n, key in enumerate((ROOT, DATA))}
PATHS = {key: f"{PATH}/{disk_volume(FLEET, key, uid)}" for key, uid in UIDS.items()}
THERE: Mapping[Fact, Any] = {
    **READY,
    (EXPORT, CLASS): ClassData({NODE: GuestCpu("host-model")}, ()),
    **{(OBJECT, key): replace(made(key, {}), uid=uid) for key, uid in UIDS.items()},
    **{(EXPORT, key): DiskData({NODE: path}, 1 << 30) for key, path in PATHS.items()},
}
"""All that the machine needs, and no domain."""


def decide(vm: Object = VM, facts: Mapping[Fact, Any] | None = None) -> Decision:
    return decided(PLANNER.decide, vm, {**THERE, **(facts or {})})


PLAIN = definition(decide())
MEMORY = replace(HELD, spec=VM.spec)


def with_disks(*disks: Key) -> dict[str, Any]:
    return {**SPEC, "blockDeviceRefs": [{"kind": each.kind, "name": each.name} for each in disks]}


def domain(
    state: str = "running",
    reason: str = "booted",
    memory: DomainMetadata = MEMORY,
    active: DomainMetadata | None = None,
    moved: str = "",
    **what: Any,
) -> dict[Fact, Any]:
    """A domain that is defined as it is to be, and runs so if it runs."""
    on = state not in ("shutoff", "crashed")
    plain = PLAIN.replace(PATHS[ROOT], moved) if moved else PLAIN
    runs = with_metadata(plain, active or replace(memory, instance="one")) if on else ""
    raw = RawDomain(UUID, "default.vm", state, reason, with_metadata(plain, memory), runs, **what)
    return {
        (DOMAIN, (NODE, UUID)): raw,
        (DOMAIN_AT, UUID): (NODE,),
        (DOMAIN_NAME, (NODE, raw.name)): UUID,
    }


OFF = ("shutoff", "shutdown")
DELETED = replace(VM, deleted="2023-11-14T22:13:20Z")


def verbs(found: Decision) -> list[str]:
    return [each.verb for each in found.actions]


def test_a_machine_that_is_as_it_is_to_be_is_left() -> None:
    found = decide(facts=domain())
    assert (found.actions, found.wake, found.waiting, found.ok) == ((), None, False, True)
    assert (said(found)["phase"], found.changes, found.why) == ("Running", (), "")
    assert not found.drift


@pytest.mark.parametrize("facts", [{}, domain(*OFF)])
@pytest.mark.parametrize(
    ("busy", "holds"),
    [((), False), (("DefineDomain", "StartDomain"), True), (("StartDomain",), True)],
)
def test_a_start_that_is_under_way_has_its_disks_though_what_it_needs_has_gone(
    facts: Mapping[Fact, Any], busy: tuple[str, ...], holds: bool
) -> None:
    gone: dict[Fact, Any] = {(EXPORT, CLASS): None, (JOB, KEY): Job(busy=busy)}
    found = decide(facts={**facts, **gone})
    assert found.publish.get((ATTACHED, (ROOT, KEY)), False) is holds


def test_what_the_guest_says_and_what_differs_is_passed_on() -> None:
    older = replace(
        MEMORY, spec={**VM.spec, "cpu": {**machine_spec(SPEC)["cpu"], "cores": 1}}, instance="one"
    )
    found = decide(facts=domain(active=older))
    assert [each.path for each in found.changes] == ["cpu.cores"]


@pytest.mark.parametrize("previous", [{}, {"phase": "Running"}])
def test_nothing_is_done_while_the_node_cannot_be_seen(previous: Mapping[str, Any]) -> None:
    found = decide(facts={(UNREACHABLE, NODE): "gone", (STATUS, KEY): previous, **domain()})
    assert found.actions == ()
    assert found.waiting is not bool(previous)


@pytest.mark.parametrize("vm", [VM, DELETED])
def test_a_foreign_domain_is_left_and_holds_up_no_deletion(vm: Object) -> None:
    found = decide(vm, {(DOMAIN_NAME, (NODE, "default.vm")): "another"})
    assert (found.actions, found.gone, found.ok) == ((), bool(vm.deleted), False)
    assert condition(found, "Running").reason == "DomainNotOwned"
    assert found.publish == {}


LABELS = replace(VM, manifest=replace(VM.manifest, labels={"app": "web"}))
TOLD = ["DefineDomain", "SetLiveMetadata"]
FAILED = Job(failed="DefineDomain", attempts=1, generation=1, retry_at=NOW + 5)


@pytest.mark.parametrize(
    ("vm", "job", "actions", "wake", "waiting"),
    [
        (LABELS, Job(), TOLD, None, True),
        (LABELS, Job(busy=("DefineDomain",)), [], None, True),
        (VM, Job(busy=("GuestInfo",)), [], None, True),
        # what has failed is tried again when its time has come; other deeds do not wait for it
        (LABELS, FAILED, [], NOW + 5, True),
        (LABELS, replace(FAILED, retry=False), [], None, True),
        (LABELS, replace(FAILED, generation=2), TOLD, None, True),
        (LABELS, replace(FAILED, retry_at=NOW), TOLD, None, True),
        (LABELS, replace(FAILED, failed="StartDomain"), TOLD, None, True),
        (VM, FAILED, [], None, False),
    ],
)
def test_what_is_to_be_done_is_done_unless_somebody_is_at_it_or_it_just_failed(
    vm: Object, job: Job, actions: list[str], wake: float | None, waiting: bool
) -> None:
    found = decide(vm, {**domain(), (JOB, KEY): job})
    assert (verbs(found), found.wake, found.waiting) == (actions, wake, waiting)


STOP = operation("stop", "Stop", "1970-01-01T00:17:00Z")
UNDER_WAY: Mapping[Fact, Any] = {(OPERATIONS, KEY): (STOP.key,), (OBJECT, STOP.key): STOP}


def test_a_machine_wakes_for_whatever_comes_first() -> None:
    found = decide(facts={**domain(), **UNDER_WAY})
    assert (verbs(found), found.wake) == (["DefineDomain", "ShutdownDomain"], NOW + GRACE)
    assert found.publish[PROGRESS, "stop"].phase == "InProgress"
    restart = operation("restart", "Restart", "1970-01-01T00:17:00Z")
    asked: Mapping[Fact, Any] = {(OPERATIONS, KEY): (restart.key,), (OBJECT, restart.key): restart}
    found = decide(facts={**domain(), **asked, **GONE})
    assert found.wake == NOW + 20  # the operation expires


@pytest.mark.parametrize(
    ("facts", "phase", "waiting"),
    [
        # it comes up by itself
        (domain("paused", "starting-up"), "Starting", True),
        # it is started again later, whatever has failed before
        (
            {
                **domain(*OFF, memory=replace(MEMORY, power=replace(NEXT, by=power.BY_END))),
                (JOB, KEY): Job(starts=(NOW - 1,) * 3, failed="DefineDomain", generation=1),
            },
            "Pending",
            True,
        ),
        (domain(*OFF, memory=replace(MEMORY, power=GONE_OFF)), "Stopped", False),
    ],
)
def test_a_machine_is_waited_for_while_something_goes_on(
    facts: dict[Fact, Any], phase: str, waiting: bool
) -> None:
    found = decide(facts=facts)
    assert (said(found)["phase"], found.waiting) == (phase, waiting)
    assert found.actions == ()


@pytest.mark.parametrize(
    ("state", "ready", "ok"),
    [("running", True, True), ("running", False, False), ("paused", True, False)],
)
def test_all_is_well_where_a_machine_is_as_wanted_and_could_start_so(
    state: str, ready: bool, ok: bool
) -> None:
    facts = domain(state, "booted")
    if not ready:
        facts |= GONE
    assert decide(facts=facts).ok is ok


def suspended(policy: str, **what: Any) -> Object:
    content = {"spec": {**SUSPENDED.spec, "runPolicy": policy}}
    return replace(SUSPENDED, manifest=replace(SUSPENDED.manifest, content=content), **what)


def test_a_suspended_machine_is_where_it_was_left() -> None:
    assert said(decide(suspended(power.ALWAYS_OFF), domain()))["phase"] == "Running"
    free = replace(
        suspended(power.ALWAYS_OFF),
        manifest=replace(VM.manifest, content={"spec": {**VM.spec, "runPolicy": power.ALWAYS_OFF}}),
    )
    assert said(decide(free, domain()))["phase"] == "Stopping"
    assert said(decide(suspended(power.ALWAYS_ON)))["phase"] == "Starting"


@pytest.mark.parametrize(("vm", "phase"), [(VM, "InProgress"), (SUSPENDED, "Pending")])
def test_a_suspended_machine_takes_up_no_operation(vm: Object, phase: str) -> None:
    assert decide(vm, {**domain(), **UNDER_WAY}).publish[PROGRESS, "stop"].phase == phase


NAMES = (SEED, "default_console_vm-uid.log")
LEAVES = ["DeleteSeed", "DeleteConsoleLog"]


@pytest.mark.parametrize(
    ("names", "job", "actions", "wake", "gone"),
    [
        (None, Job(), [], None, True),
        (NAMES, Job(), LEAVES, None, False),
        (NAMES, Job(busy=("DeleteSeed",)), [], None, False),
        (NAMES, replace(FAILED, failed="DeleteSeed"), [], NOW + 5, False),
        (NAMES, replace(FAILED, retry=False), [], None, False),
        (NAMES, replace(FAILED, retry_at=NOW), LEAVES, None, False),
    ],
)
def test_what_only_a_machine_used_goes_with_its_domain(
    names: Any, job: Job, actions: list[str], wake: float | None, gone: bool
) -> None:
    found = decide(DELETED, {(VOLUMES_OF, (NODE, "vm-uid")): names, (JOB, KEY): job})
    assert (verbs(found), found.wake, found.waiting, found.gone) == (actions, wake, not gone, gone)
    assert said(found) == {"phase": "Terminating"}


@pytest.mark.parametrize(
    ("state", "expected"),
    [("running", ["ShutdownDomain"]), ("shutoff", ["UndefineDomain", "DeleteConsoleLog"])],
)
def test_a_domain_goes_before_what_only_it_used(state: str, expected: list[str]) -> None:
    found = decide(DELETED, {**domain(state, "shutdown"), (VOLUMES_OF, (NODE, "vm-uid")): NAMES})
    assert verbs(found)[-len(expected) :] == expected
    assert not found.gone


def attached(*disks: Key) -> dict[Fact, Any]:
    return {(ATTACHED, (disk, KEY)): True for disk in disks}


def leaving(*disks: Key) -> dict[Fact, Any]:
    return {(LEAVING, disk): KEY for disk in disks}


ON_DATA = replace(MEMORY, spec=with_disks(DATA), instance="one")
DUE = replace(MEMORY, power=NEXT)
GONE: dict[Fact, Any] = {(OBJECT, ROOT): None, (EXPORT, ROOT): None}


@pytest.mark.parametrize(
    ("vm", "facts", "expected"),
    [
        (VM, domain(), attached(ROOT)),
        # what runs has another disk open than what is wanted
        (VM, domain(active=ON_DATA), attached(ROOT, DATA) | leaving(DATA)),
        (VM, domain(active=ON_DATA) | GONE, attached(ROOT, DATA) | leaving(DATA)),
        (DELETED, domain(), attached(ROOT)),
        # what is off has none, unless it is about to start
        (VM, domain(*OFF, memory=replace(MEMORY, power=GONE_OFF)), {}),
        (VM, domain(*OFF, memory=DUE), attached(ROOT)),
        (DELETED, domain(*OFF, memory=DUE), {}),
        (VM, domain(*OFF, memory=DUE) | GONE, {}),
        (VM, domain(*OFF, memory=replace(ON_DATA, power=replace(NEXT, by=power.BY_END, instance="one"))) | GONE, attached(DATA) | leaving(DATA)),
        # what was saved goes on with the disks that it had
        (VM, domain(*OFF, memory=replace(ON_DATA, power=GONE_OFF), managed_save=True), attached(DATA) | leaving(DATA)),
        (
            VM,
            domain(*OFF, memory=replace(MEMORY, power=GONE_OFF), managed_save=True)
            | {(STATUS, KEY): with_disks(DATA)},
            attached(ROOT, DATA) | leaving(DATA),
        ),
        (VM, {}, {}),
        (suspended(power.ALWAYS_ON), {}, attached(ROOT)),
        (suspended(power.ALWAYS_ON), GONE, {}),
    ],
)  # fmt: skip
def test_nobody_else_may_open_the_disks_of_what_runs_or_is_about_to(
    vm: Object, facts: dict[Fact, Any], expected: dict[Fact, Any]
) -> None:
    assert decide(vm, facts).publish == expected


MOVED = "/pool/by-hand.qcow2"


def elsewhere(*disks: Key) -> dict[Fact, Any]:
    return {(ELSEWHERE, (disk, KEY)): MOVED for disk in disks}


WAS = replace(MEMORY, power=GONE_OFF)


@pytest.mark.parametrize(
    ("vm", "facts", "expected"),
    [
        (VM, domain(*OFF, memory=WAS, moved=MOVED), elsewhere(ROOT)),
        (VM, domain(moved=MOVED), elsewhere(ROOT) | attached(ROOT)),
        # also where the manifest does not want the disk any more, or its object is gone
        (replace(VM, manifest=replace(VM.manifest, content={"spec": {**VM.spec, "blockDeviceRefs": []}})), domain(*OFF, memory=WAS, moved=MOVED), elsewhere(ROOT) | leaving(ROOT)),
        (VM, domain(*OFF, memory=WAS, moved=MOVED) | GONE, {}),
        # what was somebody else's is not told of
        (replace(VM, uid="new"), domain(*OFF, memory=WAS, moved=MOVED), {}),
        (VM, domain(*OFF, memory=replace(WAS, spec=with_disks(ROOT, DATA)), moved=MOVED), elsewhere(ROOT)),
    ],
)  # fmt: skip
def test_a_disk_that_lies_elsewhere_is_told_of(
    vm: Object, facts: dict[Fact, Any], expected: dict[Fact, Any]
) -> None:
    assert decide(vm, facts).publish == expected


@pytest.mark.parametrize(
    ("uid", "moved", "expected"),
    [
        ("vm-uid", "", attached(ROOT, DATA) | leaving(DATA)),
        ("vm-uid", MOVED, attached(ROOT, DATA) | leaving(DATA) | elsewhere(ROOT)),
        ("of another", "", {}),
    ],
)
def test_the_disks_of_a_domain_that_is_left_alone_stay_its_own(
    uid: str, moved: str, expected: dict[Fact, Any]
) -> None:
    runs = replace(MEMORY, spec=with_disks(ROOT, DATA), instance="one", uid=uid)
    renamed = domain(memory=replace(MEMORY, uid=uid), active=runs, moved=moved)
    raw = replace(renamed[DOMAIN, (NODE, UUID)], name="by-hand")
    found = decide(facts={(DOMAIN, (NODE, UUID)): raw})
    assert condition(found, "Running").reason == "DomainNotOwned"
    assert found.publish == expected
    off = replace(raw, state="shutoff", active_xml="")
    left = decide(facts={(DOMAIN, (NODE, UUID)): off}).publish
    assert left == {fact: value for fact, value in expected.items() if fact[0] is ELSEWHERE}


def test_what_a_deletion_says_of_operations_is_what_is_done() -> None:
    """Also of a machine that was suspended: it goes all the same."""
    stopping = Recorded("stop", "Stop", force=False, target="one", at=int(NOW))
    memory = replace(MEMORY, operations=(stopping,), power=replace(GONE_OFF, by="stop"))
    facts = {**domain(memory=memory, moved=MOVED), **UNDER_WAY}
    found = decide(replace(SUSPENDED, deleted="2023-11-14T22:13:20Z"), facts)
    assert "Terminating" in types(found)  # it waits: its disk lies elsewhere
    assert found.publish[PROGRESS, "stop"].phase == "InProgress"
