"""What is done about a snapshot of a disk, by who has the disk open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core import known
from agent.core.actions import DropSnapshot, SnapshotSource, TakeSnapshot
from agent.core.facts import Decision
from agent.core.host import RawDomain, RawVolume
from agent.core.identity import POOL, domain_uuid, serial, snapshot_volume, unfinished
from agent.core.jobs import Job
from agent.core.known import Fact
from agent.core.metadata import DomainMetadata, Power, to_xml
from agent.core.model import Key
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_disk_snapshot import SnapshotData
from agent.kinds.virtual_disk_snapshot.decide import decide
from tests.golden.case import NODE
from tests.kinds.deciding import FLEET, NOW, PATH, READY, condition, decided, made, said

GIB = 1 << 30
KEY, DISK = Key("VirtualDiskSnapshot", "lab", "snap"), Key("VirtualDisk", "lab", "root")
VM = Key("VirtualMachine", "lab", "vm")
UUID = domain_uuid(FLEET, VM)
SPEC = {"virtualDiskName": "root", "requiredConsistency": True}
NAME = snapshot_volume(FLEET, KEY, "uid-snap")
SERIAL = serial("uid-root")
SOURCE = SnapshotSource(SERIAL, POOL, "root.qcow2", GIB, NAME, "qcow2")
VOLUME = RawVolume(POOL, NAME, f"{PATH}/{NAME}", GIB, 4096)
OFF: Mapping[Fact, Any] = {
    **READY,
    (known.OBJECT, DISK): made(DISK, {}),
    (known.EXPORT, DISK): DiskData({NODE.name: f"{PATH}/root.qcow2"}, GIB, POOL, "root.qcow2"),
    (known.USERS, DISK): (VM,),
}
WHOLE: Mapping[Fact, Any] = {**OFF, (known.VOLUME, (NODE.name, POOL, NAME)): VOLUME}


def domain(
    *, uuid: str = UUID, state: str = "running", agent: bool = True, **more: Any
) -> RawDomain:
    power = Power(on=True, by="policy", at=0, instance="one")
    memory = to_xml(DomainMetadata(FLEET, "lab", "vm", "uid-vm", "", 1, "", "one", power))
    channel = "<target name='org.qemu.guest_agent.0' state='connected'/>" if agent else ""
    xml = (
        f"<domain><metadata>{memory}</metadata><devices>{channel}<disk type='file'>"
        f"<serial>{SERIAL}</serial></disk></devices></domain>"
    )
    active = xml if state != "shutoff" else ""
    return replace(RawDomain(uuid, "lab.vm", state, "booted", xml, active), **more)


def on(raw: RawDomain, **more: Any) -> Mapping[Fact, Any]:
    return {
        **OFF,
        (known.WRITERS, (NODE.name, SERIAL)): (raw.uuid,),
        (known.DOMAIN, (NODE.name, raw.uuid)): raw,
    }


def snapshot(deleted: str = "", **spec: Any) -> Any:
    return made(KEY, {**SPEC, **spec}, deleted)


def taken(found: Decision) -> TakeSnapshot:
    (action,) = found.actions
    assert isinstance(action, TakeSnapshot)
    return action


def ready(found: Decision) -> Any:
    return condition(found, "VirtualDiskSnapshotReady")


def test_a_disk_that_nobody_has_open_is_copied() -> None:
    for facts in (OFF, on(domain(state="shutoff"))):
        found = decided(decide, snapshot(), facts)
        assert taken(found) == TakeSnapshot(NODE.name, "uid-snap", (SOURCE,), required=True)
        assert said(found)["phase"] == "InProgress"
        assert ready(found).reason == "Snapshotting"
        assert found.waiting
        assert not found.ok


@pytest.mark.parametrize("required", [True, False])
def test_an_open_disk_is_copied_from_just_that_instance(required: bool) -> None:
    found = decided(decide, snapshot(requiredConsistency=required), on(domain()))
    assert taken(found) == TakeSnapshot(NODE.name, "uid-snap", (SOURCE,), required, UUID, "one")
    assert ready(found).reason == "Snapshotting"


def test_a_guest_without_an_agent_is_potentially_inconsistent() -> None:
    found = decided(decide, snapshot(requiredConsistency=False), on(domain(agent=False)))
    assert ready(found).reason == "PotentiallyInconsistent"


@pytest.mark.parametrize(
    ("raw", "word", "waiting"),
    [
        (domain(state="paused", reason="starting-up"), "starts", True),
        (domain(unread=True), "does not answer", True),
        (domain(state="shutoff", managed_save=True), "saved", False),
        (domain(state="paused", reason="ioerror"), "no space", False),
        (domain(uuid="somebody"), "not gitvirt's", False),
    ],
)
def test_what_a_disk_holds_cannot_be_told_of_every_domain(
    raw: RawDomain, word: str, waiting: bool
) -> None:
    found = decided(decide, snapshot(), on(raw))
    assert found.actions == ()
    assert said(found)["phase"] == "Pending"
    assert ready(found).reason == "WaitingForTheVirtualDisk"
    assert condition(found, "VirtualDiskReady").reason == "VirtualDiskNotReadyForSnapshotting"
    assert word in ready(found).message
    assert found.waiting is waiting


def test_a_disk_that_lies_elsewhere_is_waited_for() -> None:
    found = decided(decide, snapshot(), {**OFF, (known.ELSEWHERE, (DISK, VM)): "/tmp/x"})
    assert found.actions == ()
    assert "/tmp/x" in ready(found).message


@pytest.mark.parametrize("missing", [known.OBJECT, known.EXPORT])
def test_a_disk_that_is_not_ready_is_waited_for(missing: Any) -> None:
    found = decided(decide, snapshot(), {**OFF, (missing, DISK): None})
    assert (found.actions, said(found)["phase"]) == ((), "Pending")


def test_what_is_whole_can_be_used() -> None:
    found = decided(decide, snapshot(), WHOLE)
    assert found.actions == ()
    assert found.ok
    assert found.export == SnapshotData({NODE.name: VOLUME.path}, POOL, NAME, GIB, "qcow2")
    assert (said(found)["phase"], said(found)["consistent"]) == ("Ready", True)
    assert said(found)["volumeSnapshotName"] == NAME


@pytest.mark.parametrize(
    ("job", "previous", "consistent"),
    [
        (Job(result={"consistent": True}), {}, True),
        (Job(result={"consistent": False}), {}, None),
        (Job(), {"consistent": True}, True),
        (Job(), {}, None),
    ],
)
def test_only_what_was_seen_is_called_consistent(
    job: Job, previous: Any, consistent: bool | None
) -> None:
    facts = {**WHOLE, (known.JOB, KEY): job, (known.STATUS, KEY): previous}
    found = decided(decide, snapshot(requiredConsistency=False), facts)
    assert said(found)["consistent"] is consistent


def test_nothing_is_called_whole_while_it_is_made() -> None:
    busy: Mapping[Fact, Any] = {(known.JOB, KEY): Job(busy=("TakeSnapshot",))}
    found = decided(decide, snapshot(), {**WHOLE, **busy})
    assert said(found)["phase"] == "InProgress"


@pytest.mark.parametrize("reason", ["ConsistencyNotPossible", "NoSpace", "SnapshotFailed"])
def test_the_moment_that_was_asked_for_does_not_come_back(reason: str) -> None:
    job = Job(failed="TakeSnapshot", reason=reason, error="it is over", retry_at=NOW - 1)
    found = decided(decide, snapshot(), {**OFF, (known.JOB, KEY): job})
    assert (found.actions, said(found)["phase"]) == ((), "Failed")
    assert ready(found).reason == "VirtualDiskSnapshotFailed"
    assert ready(found).message == "It is over."
    again = decided(decide, snapshot(), {**OFF, (known.STATUS, KEY): {"phase": "Failed"}})
    assert (again.status, again.actions) == (None, ())


def test_what_passes_is_tried_again() -> None:
    job = Job(
        failed="TakeSnapshot", reason="DomainBusy", error="busy", generation=2, retry_at=NOW + 9
    )
    found = decided(decide, snapshot(), {**OFF, (known.JOB, KEY): job})
    assert (found.actions, found.wake, found.waiting) == ((), NOW + 9, True)
    assert ready(found).message == "Busy."


def test_what_was_ready_and_is_gone_is_lost() -> None:
    status = {"phase": "Ready", "volumeSnapshotName": NAME}
    found = decided(decide, snapshot(), {**OFF, (known.STATUS, KEY): status})
    assert (found.actions, said(found)["phase"]) == ((), "Failed")
    assert ready(found).reason == "Lost"


def test_a_deleted_one_goes_with_what_is_known_of_its_data() -> None:
    found = decided(decide, snapshot("now"), WHOLE)
    assert found.gone
    assert said(found)["volumeSnapshotName"] == NAME


def test_of_a_deleted_one_that_is_not_whole_nothing_is_left() -> None:
    mark = RawVolume(POOL, unfinished(NAME), f"{PATH}/x", 0, 0)
    facts = {**OFF, (known.VOLUME, (NODE.name, POOL, unfinished(NAME))): mark}
    found = decided(decide, snapshot("now"), facts)
    assert found.actions == (DropSnapshot(NODE.name, "uid-snap", ((POOL, NAME),)),)
    assert not found.gone
    assert decided(decide, snapshot("now"), OFF).gone


@pytest.mark.parametrize(("phase", "kept"), [("", True), ("Pending", True), ("Ready", False)])
def test_a_snapshot_stays_while_something_is_made_from_it(phase: str, kept: bool) -> None:
    new = Key("VirtualDisk", "lab", "new")
    facts = {**WHOLE, (known.MADE_FROM, KEY): (new,), (known.STATUS, new): {"phase": phase}}
    found = decided(decide, snapshot("now"), facts)
    assert found.gone is not kept
    assert said(found)["phase"] == "Terminating"


def test_no_machine_starts_with_a_disk_that_is_being_copied() -> None:
    busy: Mapping[Fact, Any] = {(known.JOB, KEY): Job(busy=("TakeSnapshot",))}
    found = decided(decide, snapshot(), {**OFF, **busy})
    assert found.publish == {(known.READ_BY, DISK): KEY}
    assert decided(decide, snapshot(), {**on(domain()), **busy}).publish == {}
    assert decided(decide, snapshot(), OFF).publish == {}
