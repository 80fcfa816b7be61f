"""What a decision about a VM states of other objects: how far operations and attachments are, and
which disks nobody else may open.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from agent.core.acceptance import suspended
from agent.core.actions import StartDomain
from agent.core.facts import View
from agent.core.identity import serial
from agent.core.known import (
    ATTACHED,
    CARRIED,
    ELSEWHERE,
    GROWTH,
    IMAGE_AT,
    LEAVING,
    MAINTENANCE,
    PLUGGED,
    PROGRESS,
    Fact,
)
from agent.core.model import Key, Object
from agent.kinds.local import Place, several
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.attachments import DISK, all_disks, plugged
from agent.kinds.virtual_machine.dependencies import disks, images
from agent.kinds.virtual_machine.files import elsewhere
from agent.kinds.virtual_machine.growth import Growth
from agent.kinds.virtual_machine.intent import Intent, can_start
from agent.kinds.virtual_machine.operations import none_taken_up
from agent.kinds.virtual_machine.seen import Seen
from agent.kinds.virtual_machine.situation import Situation

_STARTING = StartDomain.__name__


def published(case: Situation, made: Intent, grows: Growth, view: View) -> dict[Fact, Any]:
    """How far operations are, and which disks nobody else may open."""
    still = suspended(case.vm.manifest) and not case.deleted
    told = none_taken_up(made.progress) if still else made.progress
    facts: dict[Fact, Any] = {(PROGRESS, uid): progress for uid, progress in told.items()}
    facts |= moved(case.vm, case.seen, case.at, view)
    asked = {each.key for each in case.attachments.asked}
    if several(view):
        for image in images(case.vm, case.vm.spec):
            facts |= IMAGE_AT.states((image, case.vm.key), case.at.name)
        for each in case.attachments.asked:
            if each.key.kind != DISK:
                facts |= IMAGE_AT.states((each.key, each.by), case.at.name)
    for disk, hindrance in grows.told.items():
        facts |= GROWTH.states((disk, case.vm.key), hindrance)
    if off_for := _off_for(case, made):
        facts |= MAINTENANCE.states(off_for, True)
    listed = {device.serial for device in case.needs.devices}
    plugs = plugged(case.vm, case.attachments, case.seen, case.job, view, listed)
    facts |= {(PLUGGED, key): state for key, state in plugs.items()}
    for disk in _carried(case):
        facts |= CARRIED.states((disk, case.vm.key), case.at.name)
    for disk in _held(case, made):
        facts |= ATTACHED.states((disk, case.vm.key), True)
        if disk not in case.needs.claims and disk not in asked:
            facts |= LEAVING.states(disk, case.vm.key)
    return facts


def _off_for(case: Situation, made: Intent) -> str:
    """Uid of the operation for which the machine is off and stays off; empty if it is not. Only
    what the domain remembers by now keeps it off.
    """
    if case.running is None:
        return made.off_for
    entry = power.maintained(case.seen.memory) if case.seen.memory is not None else None
    off = not case.running.on and not case.saved and not case.job.busy
    return entry.uid if entry is not None and off else ""


def kept_open(vm: Object, view: View) -> dict[Fact, Any]:
    """Disks that an instance may have open that nobody can read."""
    there = {*disks(vm, vm.spec), *disks(vm, view.previous(vm.key))}
    return {(ATTACHED, (disk, vm.key)): True for disk in there}


def moved(vm: Object, shown: Seen, at: Place, view: View) -> dict[Fact, Any]:
    """The file that each disk lies on where that is not its own volume, by disk and VM. A VM has
    such a disk until it lies on its own volume again, whatever its manifest says.
    """
    memories = [
        memory for memory in (shown.memory, shown.running) if memory and memory.uid == vm.uid
    ]
    moved_disks = elsewhere(shown, view.fleet, at) if memories else ()
    if not moved_disks:
        return {}
    paths = {disk.serial: disk.path for disk in moved_disks}
    known = {disk for memory in memories for disk in all_disks(vm, memory)}
    objects = ((disk, view.object(disk)) for disk in known)
    numbers = {disk: serial(obj.uid) for disk, obj in objects if obj is not None}
    there = {disk: paths[number] for disk, number in numbers.items() if number in paths}
    wanted = disks(vm, vm.spec)
    facts: dict[Fact, Any] = {(LEAVING, disk): vm.key for disk in there if disk not in wanted}
    return facts | {(ELSEWHERE, (disk, vm.key)): path for disk, path in there.items()}


def opened(vm: Object, shown: Seen) -> dict[Fact, Any]:
    """Disks that the running instance of a domain that is left alone has open."""
    running = shown.running
    if running is None or running.uid != vm.uid:
        return {}
    there = all_disks(vm, running)
    leaving = set(there) - set(disks(vm, vm.spec))
    facts: dict[Fact, Any] = {(ATTACHED, (disk, vm.key)): True for disk in there}
    return facts | {(LEAVING, disk): vm.key for disk in leaving}


def _carried(case: Situation) -> tuple[Key, ...]:
    """Disks that have gone with it to the node where it is."""
    memory = case.seen.memory
    return all_disks(case.vm, memory) if memory is not None and memory.epoch else ()


def _held(case: Situation, made: Intent) -> Iterator[Key]:
    """Disks that the running instance has open, or a saved one, and those that the next one will
    have.
    """
    for memory in (case.seen.running, case.seen.memory if case.saved else None):
        if memory is not None:
            yield from all_disks(case.vm, memory)
    if case.saved:
        yield from disks(case.vm, case.previous)
    if _holds(case, made):
        yield from (each.key for each in case.attachments.ready if each.key.kind == DISK)
        yield from case.needs.claims if case.needs.ready else disks(case.vm, made.memory.spec)


def _holds(case: Situation, made: Intent) -> bool:
    """True while an instance runs or is about to: also one whose start is under way while something
    that it needs has gone.
    """
    if (case.running is not None and case.running.on) or _STARTING in case.job.busy:
        return True
    if case.way is not None:
        return True
    if case.deleted or not can_start(case, made.memory):
        return False
    if case.running is None:
        return made.memory.power.on
    return power.start_due(made.memory, case.running)
