"""The block devices of a VM: found, or why not."""

from __future__ import annotations

from typing import NamedTuple

from agent.core.facts import View
from agent.core.identity import serial
from agent.core.known import ATTACHED, ELSEWHERE, READ_BY, SHARED
from agent.core.model import Key, Object
from agent.kinds.local import Place
from agent.kinds.virtual_disk import DiskData, users
from agent.kinds.virtual_image import ImageData
from agent.kinds.virtual_machine.spec import MachineSpec
from agent.kinds.virtual_machine.wanted import Device, Tuning, can_be_read_only


class Missing(NamedTuple):
    """A device that cannot be had."""

    problem: str
    under_way: bool = False


def device(
    vm: Object, spec: MachineSpec, key: Key, boot: int, view: View, at: Place
) -> tuple[Device, int] | Missing:
    """The device and its size, or what is wrong."""
    obj = view.object(key)
    data = view.export(ImageData, key) or view.export(DiskData, key)
    if obj is None:
        return Missing(f"{key} is not there: the VirtualMachine goes on as soon as it is.")
    if obj.deleted and data is None:
        return Missing(f"{key} is being deleted: its manifest is gone. Put it back.")
    if data is None:
        return Missing(f"{key} is not ready yet: see its conditions.", view.under_way(key))
    path = data.paths.get(at.name, "")
    if not path:
        return Missing(_not_here(key, data, at), view.under_way(key))
    if isinstance(data, ImageData):
        if not data.cdrom and not can_be_read_only(spec):
            return Missing(
                f"{key} is no CD-ROM image, and without paravirtualization nothing else can be "
                "attached read-only: make a VirtualDisk from it, or allow paravirtualization."
            )
        drive = Device(
            path, data.driver, serial(obj.uid), readonly=True, cdrom=data.cdrom, boot=boot
        )
        return drive, data.size
    if missing := _taken(vm, key, view):
        return missing
    disk = Device(
        path,
        data.format,
        serial(obj.uid),
        boot=boot,
        block=data.block,
        instead_of=data.instead_of,
        moves_to=data.moves_to,
        tuning=_tuning(data, view),
    )
    return disk, data.capacity


def _tuning(data: DiskData, view: View) -> Tuning:
    """By what its pool can do. What several hosts have is never in the memory of one, so that a
    machine can go from one to the other; and a block device needs no detour through it. In a file,
    zeros that a guest writes become holes.
    """
    if data.block:
        return Tuning(cache="none", io="native")
    shared = data.pool in (view.read(SHARED, None) or ())
    return Tuning(cache="none" if shared else "", detect_zeroes="unmap")


def _taken(vm: Object, key: Key, view: View) -> Missing | None:
    """Why a disk cannot be had although it is there: somebody else has it."""
    for other in users(key, view):
        if other != vm.key and view.read(ATTACHED, (key, other)):
            return Missing(f"{key} is in use by {other}: stop that one, or use another disk.")
        moved = view.read(ELSEWHERE, (key, other))
        if other != vm.key and moved:
            return Missing(
                f"{key} lies on {moved} in {other}, as after a snapshot taken by hand: a guest "
                "that wrote to the disk itself would damage it. Merge it first."
            )
    if image := view.read(READ_BY, key):
        return Missing(
            f"{key} is being copied into {image}: the VirtualMachine goes on once that is done.",
            under_way=True,
        )
    return None


def _not_here(key: Key, data: ImageData | DiskData, at: Place) -> str:
    if isinstance(data, ImageData):
        return f"{key} is not on node {at.name} yet: see its conditions."
    return (
        f"{key} lies on node {', '.join(data.paths)}, and the machine is on node {at.name}, where "
        "it cannot be opened: use disks of one node."
    )
