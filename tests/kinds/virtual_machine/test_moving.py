"""When a disk that is open is copied, and when a copy of it is ended."""

from __future__ import annotations

from dataclasses import replace

import pytest

from agent.core.actions import BeginDiskCopy, EndDiskCopy
from agent.core.domain_xml import Copy
from agent.core.identity import disk_volume, serial
from agent.core.model import Key
from agent.kinds.exports import Target
from agent.kinds.virtual_machine.elements.disks import Disk
from agent.kinds.virtual_machine.moving import moved
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.wanted import Device
from tests.kinds.virtual_machine.test_deeds import HELD, HOME, NEEDS, ROOT, facts, situation

UID = "00000000-0000-4000-8000-000000000001"
NUMBER = serial(UID)
VOLUME = disk_volume("default", Key("VirtualDisk", "default", "root"), UID)
THERE = Target(f"/vms/{VOLUME}", "vms", VOLUME, "qcow2", block=False, needed=1)
DISK = replace(ROOT, path=f"/pool/{VOLUME}", serial=NUMBER)
DEVICE = Device(DISK.path, "qcow2", NUMBER, moves_to=THERE)
AT = replace(HOME, folders={"vms": "/vms"})


def case(
    state: str = "running",
    *,
    device: Device = DEVICE,
    disk: Disk = DISK,
    copy: Copy | None = None,
) -> Situation:
    needs = replace(NEEDS, devices=(device,))
    usual = situation(state, "user", disks=(DISK,), at=AT, needs=needs)
    copies = {NUMBER: copy} if copy is not None else {}
    active = facts(HELD, disk) if usual.seen.active is not None else None
    seen = replace(usual.seen, active=active, copies=copies, block_job=bool(copies))
    return replace(usual, seen=seen)


def test_a_disk_that_is_open_is_copied_to_where_it_belongs() -> None:
    (begin,) = moved(case())
    assert isinstance(begin, BeginDiskCopy)
    assert (begin.serial, begin.pool, begin.volume) == (NUMBER, "vms", VOLUME)
    assert (begin.if_instance, begin.needed) == ("one", 1)


@pytest.mark.parametrize(
    "still",
    [
        case("paused"),
        case("shutoff"),
        case(device=replace(DEVICE, moves_to=None)),
        case(disk=replace(DISK, serial="another")),  # it is not open yet
        case(disk=replace(DISK, path=THERE.path)),
    ],
)
def test_nothing_is_copied_where_nothing_is_open_or_all_is_where_it_belongs(
    still: Situation,
) -> None:
    assert moved(still) == ()


@pytest.mark.parametrize(
    ("path", "complete", "pivot"),
    [
        (THERE.path, True, True),
        (THERE.path, False, None),  # it goes on
        (f"/pool/{VOLUME}", False, False),  # where it does not go any more
        (f"/elsewhere/{VOLUME}", True, None),  # in no pool of ours: somebody else's
        ("/vms/backup.qcow2", True, None),
    ],
)
def test_a_copy_is_ended_if_it_is_ours_and_whole_or_unwanted(
    path: str, complete: bool, pivot: bool | None
) -> None:
    ended = moved(case(copy=Copy(path, complete)))
    if pivot is None:
        assert ended == ()
    else:
        (end,) = ended
        assert isinstance(end, EndDiskCopy)
        assert (end.serial, end.path, end.pivot) == (NUMBER, path, pivot)


def test_a_machine_without_a_running_instance_is_asked_nothing() -> None:
    assert moved(replace(case(), running=None)) == ()
