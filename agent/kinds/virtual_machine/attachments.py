"""Devices that are attached beside those of the spec: what is asked for, what the domain has, and
what is done to bring both together.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from agent.core.acceptance import suspended
from agent.core.annotations import FORCE_DETACH
from agent.core.facts import View
from agent.core.host import MOUNTED
from agent.core.jobs import Job
from agent.core.known import ATTACHMENTS
from agent.core.metadata import Attachment, DomainMetadata
from agent.core.model import Key, Object
from agent.core.progress import Plugged
from agent.kinds.local import Place
from agent.kinds.virtual_disk import overlays
from agent.kinds.virtual_image import device_key
from agent.kinds.virtual_machine.dependencies import disks
from agent.kinds.virtual_machine.devices import Missing, device
from agent.kinds.virtual_machine.files import BASE, elsewhere, lies, lying
from agent.kinds.virtual_machine.seen import Seen
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine.wanted import Device, can_be_plugged
from agent.kinds.virtual_machine_block_device_attachment import Wish

BY_FORCE = (
    f", or name the attachment in the annotation {FORCE_DETACH} of the VirtualMachine to take it "
    "away all the same."
)
DISK = "VirtualDisk"
STILL = "{} is suspended, so that nothing is attached to it or detached."
NEVER = "It goes at the next restart: the VirtualMachine has no place for it from then on."
LATER = "It is attached at the next start: the running instance has no place for it."


@dataclass(frozen=True)
class Asked:
    """One that is asked for. `device` is None where there is a `problem`."""

    by: Key
    """The attachment."""
    key: Key
    """The disk or image."""
    device: Device | None = None
    size: int = 0
    problem: str = ""

    @property
    def name(self) -> str:
        return self.by.name

    @property
    def entry(self) -> Attachment:
        assert self.device is not None  # noqa: S101  # asked only then
        return Attachment(self.name, self.key.kind, self.key.name, self.device.serial)


@dataclass(frozen=True)
class Attachments:
    asked: tuple[Asked, ...] = ()
    kept: Mapping[str, str] = field(default_factory=dict)
    """Why nobody may take a disk away that is not asked for any more, by serial number."""

    @property
    def ready(self) -> tuple[Asked, ...]:
        return tuple(each for each in self.asked if each.device is not None)

    def asks_for(self, entry: Attachment) -> bool:
        """True if the device of an entry is asked for, ready or not."""
        return any(
            (each.key.kind, each.key.name) == (entry.kind, entry.device) for each in self.asked
        )

    @property
    def devices(self) -> tuple[Device, ...]:
        return tuple(each.device for each in self.asked if each.device is not None)

    @property
    def serials(self) -> frozenset[str]:
        """Of all that a definition is to have of them."""
        return frozenset((*(drive.serial for drive in self.devices), *self.kept))

    def recorded(self, present: tuple[Attachment, ...]) -> tuple[Attachment, ...]:
        """What a definition says that has all that is ready, and keeps what has to be kept."""
        entries = [each.entry for each in self.ready]
        serials = {entry.serial for entry in entries}
        entries += [e for e in present if e.serial in self.kept and e.serial not in serials]
        return tuple(sorted(entries, key=lambda entry: entry.name))


NONE = Attachments()


def attachments(vm: Object, view: View, at: Place, shown: Seen) -> Attachments:
    asked = tuple(
        _asked(vm, name, wish.device, view, at, shown)
        for name in view.read(ATTACHMENTS, vm.key) or ()
        if (wish := view.export(Wish, name)) is not None
    )
    wanted = {each.device.serial for each in asked if each.device is not None}
    recorded = {entry.serial for entry in _recorded(shown)} - wanted
    kept = {
        disk.serial: f"{lies(disk)}: it is not detached before it lies on its own volume again."
        for disk in (elsewhere(shown, view.fleet, at) if recorded else ())
        if disk.serial in recorded
    }
    return Attachments(asked, kept)


def _asked(vm: Object, name: Key, key: Key, view: View, at: Place, shown: Seen) -> Asked:
    if not can_be_plugged(machine_spec(vm.spec)):
        return Asked(name, key, problem=NEVER)
    found = device(vm, machine_spec(vm.spec), key, 0, view, at)
    if isinstance(found, Missing):
        return Asked(name, key, problem=found.problem)
    drive, size = found
    there = drive.readonly or drive.serial in lying(shown)
    bases = () if there else overlays(view, at, drive.path)
    if bases:
        return Asked(name, key, problem=BASE.format(str(key), bases[0]))
    return Asked(name, key, drive, size)


def all_disks(vm: Object, memory: DomainMetadata) -> tuple[Key, ...]:
    """The disks that a domain has, by what it remembers."""
    beside = (entry for entry in memory.attachments if entry.kind == DISK)
    keys = (device_key(vm.key.namespace, DISK, entry.device) for entry in beside)
    return (*disks(vm, memory.spec), *keys)


def running(
    wanted: tuple[Attachment, ...], active: DomainMetadata, shown: Seen
) -> tuple[Attachment, ...]:
    """What the running instance has of attachments, and is about to get: written down before it is
    attached, and until it is gone.
    """
    wanted = wanted if can_be_plugged(machine_spec(active.spec)) else ()
    serials = {entry.serial for entry in wanted}
    still = [e for e in active.attachments if e.serial not in serials and has(shown, e)]
    return tuple(sorted((*wanted, *still), key=lambda entry: entry.name))


def _recorded(shown: Seen) -> tuple[Attachment, ...]:
    """What the domain remembers, of the next start and of the running instance."""
    memories = (memory for memory in (shown.memory, shown.running) if memory is not None)
    return tuple(entry for memory in memories for entry in memory.attachments)


def has(shown: Seen, entry: Attachment) -> bool:
    """True if the running instance has the disk."""
    return shown.active is not None and any(
        disk.serial == entry.serial for disk in shown.active.disks.disks
    )


def plugged(
    vm: Object, found: Attachments, shown: Seen, job: Job, view: View, listed: Container[str]
) -> dict[Key, Plugged]:
    """What is to be said of each attachment that names the VM. `listed` are the serial numbers of
    the devices of its spec: what is not asked for any more and is one of these is the VM's own.
    """
    on = shown.active is not None and shown.raw is not None and not shown.raw.starting
    entries = {entry.name: entry for entry in _recorded(shown)}
    asked = {each.name: each for each in found.asked}
    told = {}
    for key in view.read(ATTACHMENTS, vm.key) or ():
        each, entry = asked.get(key.name), entries.get(key.name)
        if each is not None and each.device is not None:
            entry = each.entry
        elif entry is not None and (_other(each, entry) or (not each and entry.serial in listed)):
            entry = None
        present = on and entry is not None and has(shown, entry)
        why = _hindrance(each, entry, found, shown, job)
        if not why and present != (each is not None) and suspended(vm.manifest):
            why = STILL.format(vm.key)
        told[key] = Plugged(present, on, why)
    return told


def _other(each: Asked | None, entry: Attachment) -> bool:
    """True for what was recorded of another attachment that had that name."""
    return each is not None and (each.key.kind, each.key.name) != (entry.kind, entry.device)


def _hindrance(
    each: Asked | None, entry: Attachment | None, found: Attachments, shown: Seen, job: Job
) -> str:
    if each is not None and each.problem:
        return each.problem
    if entry is None:
        return ""
    if entry.serial in found.kept:
        return found.kept[entry.serial]
    failure = job.about.get(entry.serial)
    if failure is not None:
        return f"{failure.message}{BY_FORCE if failure.reason == MOUNTED else '.'}"
    active = shown.running
    if each is not None and active is not None and active.spec and not has(shown, entry):
        return "" if can_be_plugged(machine_spec(active.spec)) else LATER
    return ""
