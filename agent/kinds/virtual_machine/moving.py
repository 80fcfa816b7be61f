"""Disks that go to another pool while a guest has them open: QEMU copies them and goes on there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from agent.core.actions import Action, BeginDiskCopy, EndDiskCopy
from agent.core.domain_xml import Copy
from agent.core.identity import is_disk_volume
from agent.kinds.virtual_machine.definition import disk_xml
from agent.kinds.virtual_machine.elements.disks import BLOCK, FILE
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.wanted import Device


def moved(case: Situation) -> tuple[Action, ...]:
    """What brings the disks of the running instance to where they belong. A copy that somebody else
    makes is left, and waited for.
    """
    running, seen = case.running, case.seen
    if running is None or running.raw.state != "running":
        return ()
    devices = (*case.needs.devices, *case.attachments.devices)
    by_serial = {device.serial: device for device in devices}
    for serial, copy in seen.copies.items():
        device = by_serial.get(serial)
        if device is not None or _all_found(case):
            return tuple(_ended(case, serial, device, copy))
    begun = (tuple(_begun(case, device)) for device in devices if not seen.block_job)
    return next(filter(None, begun), ())


def _all_found(case: Situation) -> bool:
    """True if a disk that is not among the devices is one that nobody wants there any more."""
    return case.needs.ready and all(each.device is not None for each in case.attachments.asked)


def _ended(case: Situation, serial: str, device: Device | None, copy: Copy) -> Iterator[Action]:
    assert case.running is not None  # noqa: S101  # asked only then
    target = device.moves_to if device is not None else None
    wanted = target is not None and target.path == copy.path
    if wanted and not copy.complete:
        return
    name = copy.path.rpartition("/")[2]
    if case.at.holds(copy.path) and is_disk_volume(case.fleet, name, serial):
        instance = case.running.instance
        yield EndDiskCopy(case.at.name, case.uuid, instance, serial, copy.path, pivot=wanted)


def _begun(case: Situation, device: Device) -> Iterator[Action]:
    assert case.running is not None  # noqa: S101  # asked only then
    target, active = device.moves_to, case.seen.active
    disks = active.disks.disks if active is not None else ()
    disk = next((disk for disk in disks if disk.serial == device.serial), None)
    if target is None or disk is None or disk.path == target.path:
        return
    there = replace(
        disk, path=target.path, format=target.format, type=BLOCK if target.block else FILE
    )
    yield BeginDiskCopy(
        node=case.at.name,
        uuid=case.uuid,
        if_instance=case.running.instance,
        serial=device.serial,
        pool=target.pool,
        volume=target.volume,
        xml=disk_xml(there),
        needed=target.needed,
    )
