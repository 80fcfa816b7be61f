"""The block devices of a VM as its status lists them."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.model import Json
from agent.core.quantity import format_bytes
from agent.kinds.virtual_machine.attachments import Asked
from agent.kinds.virtual_machine.definition import DomainFacts
from agent.kinds.virtual_machine.elements.disks import Disk
from agent.kinds.virtual_machine.situation import Situation

DEVICES = "blockDeviceRefs"


def block_devices(case: Situation, active: DomainFacts | None) -> list[dict[str, Json]]:
    """Those of the spec, then those that are attached beside. `active` is what runs."""
    if case.saved:  # what it was saved with: its definition may have changed since
        known: list[dict[str, Json]] = case.previous.get(DEVICES, [])
        return known
    if active is None:
        return []
    there = {disk.serial: disk for disk in active.disks.disks}
    return [*_listed(case, there), *_beside(case, there)]


def _listed(case: Situation, there: dict[str, Disk]) -> Iterator[dict[str, Json]]:
    for ref, device, size in case.needs.listed:
        disk = there.get(device.serial)
        item: dict[str, Json] = {
            "attached": disk is not None,
            "kind": ref["kind"],
            "name": ref["name"],
            "size": format_bytes(size),
        }
        if disk is not None:
            item["target"] = disk.target
            if disk.boot:
                item["bootOrder"] = disk.boot
        yield item


def _beside(case: Situation, there: dict[str, Disk]) -> Iterator[dict[str, Json]]:
    """What is being detached stands here until it is gone, and what the spec lists by now above."""
    memory, own = case.seen.running, {device.serial for device in case.needs.devices}
    entries = [e for e in (memory.attachments if memory else ()) if e.serial not in own]
    asked = {(each.name, each.key.kind, each.key.name): each for each in case.attachments.asked}
    recorded = {(entry.name, entry.kind, entry.device): entry for entry in entries}
    for name, kind, device in sorted(asked.keys() | recorded.keys()):
        entry = recorded.get((name, kind, device))
        disk = there.get(entry.serial) if entry else None
        item: dict[str, Json] = {
            "attached": disk is not None,
            "hotplugged": True,
            "virtualMachineBlockDeviceAttachmentName": name,
            "kind": kind,
            "name": device,
            "size": _size(name, asked.get((name, kind, device)), case),
        }
        if disk is not None:
            item["target"] = disk.target
        yield item


def _size(name: str, asked: Asked | None, case: Situation) -> str:
    """As last known, where it is not wanted any more."""
    if asked is not None and asked.size:
        return format_bytes(asked.size)
    known = {
        item.get("virtualMachineBlockDeviceAttachmentName"): item["size"]
        for item in case.previous.get(DEVICES, ())
    }
    return str(known.get(name, ""))
