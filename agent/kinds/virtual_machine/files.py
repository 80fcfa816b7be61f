"""Which file each disk of a VM lies on.

A snapshot or a copy taken by hand puts a disk on another file than the volume that was made for
it, and nobody but the domain knows which one. So the domain is asked: a disk stays on the file that
it lies on, and nothing is done that would forget that file while it is not the disk's own.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import replace

from agent.core.facts import View
from agent.core.identity import domain_name, is_disk_volume
from agent.core.model import Object
from agent.kinds.local import Place
from agent.kinds.virtual_disk import overlays
from agent.kinds.virtual_machine.definition import DomainFacts
from agent.kinds.virtual_machine.dependencies import Dependencies, blocked
from agent.kinds.virtual_machine.elements.disks import SOURCES, Disk, Disks
from agent.kinds.virtual_machine.provisioning import MEDIA
from agent.kinds.virtual_machine.seen import Seen


def lying(shown: Seen) -> Mapping[str, Disk]:
    """Every disk that the domain has, defined or running, by serial number, on the file that holds
    its newest data: where the running disk lies on top of the defined one, or is defined no more,
    the next start would lose what was written since.
    """
    running = _by_serial(shown.active)
    disks = {**running, **_by_serial(shown.defined)}
    for number, disk in running.items():
        if disk.path and disks[number].path in shown.bases.get(number, ()):
            disks[number] = on(disks[number], disk)
    return disks


def _by_serial(facts: DomainFacts | None) -> dict[str, Disk]:
    return {disk.serial: disk for disk in facts.disks.disks} if facts else {}


def present(shown: Seen) -> DomainFacts | None:
    """The definition, or what runs where that was removed by hand, with each disk on the file that
    it lies on.
    """
    facts = shown.defined or shown.active
    return replace(facts, disks=keep(facts.disks, lying(shown))) if facts else None


def on(disk: Disk, there: Disk) -> Disk:
    """A disk on the file of another one."""
    return replace(disk, path=there.path, format=there.format, type=there.type)


def keep(wanted: Disks, there: Mapping[str, Disk], left: Mapping[str, str] = {}) -> Disks:
    """The wanted disks, each on the file that it lies on now. `left` are those that were moved from
    it, by serial number.
    """
    return Disks(
        tuple(
            _kept(disk, there.get(disk.serial), left.get(disk.serial, "")) for disk in wanted.disks
        )
    )


def _kept(disk: Disk, there: Disk | None, left: str) -> Disk:
    if there is None or disk.readonly or disk.serial in MEDIA or not there.path:
        return disk
    if there.path == left:
        return disk
    return replace(on(disk, there), tuning=disk.tuning.beside(there.tuning))


def writable(facts: DomainFacts | None) -> bool:
    """True unless a disk has a source that we cannot write down."""
    return facts is None or all(disk.type in SOURCES for disk in facts.disks.disks)


_OURS = re.compile("[0-9a-f]{32}")
"""Serial numbers that `core.identity.serial` gives."""


def elsewhere(shown: Seen, fleet: str, at: Place) -> tuple[Disk, ...]:
    """Disks of ours that the domain has on another file than the volume that was made for them."""
    return tuple(
        disk
        for disk in lying(shown).values()
        if not disk.readonly and _OURS.fullmatch(disk.serial) and not _at_home(disk, fleet, at)
    )


def _at_home(disk: Disk, fleet: str, at: Place) -> bool:
    name = disk.path.rpartition("/")[2]
    return at.holds(disk.path) and is_disk_volume(fleet, name, disk.serial)


def hindrance(
    needs: Dependencies, shown: Seen, at: Place, view: View, attached: Container[str]
) -> Dependencies:
    """The needs, not ready where a definition as wanted would lose data: it would let go of a file
    that only this domain knows, or go on from a disk whose newest data is on another file.
    """
    there = lying(shown)
    wanted = {device.serial for device in needs.devices}
    moved = elsewhere(shown, view.fleet, at)
    for disk in moved:
        if disk.type not in SOURCES:
            return blocked(needs, f"{lies(disk)}: its definition is left as it is until {_BACK}.")
        if needs.ready and disk.serial not in wanted and disk.serial not in attached:
            return blocked(needs, f"{lies(disk)}: it is not taken out until {_BACK}.")
    for ref, device, _ in needs.listed:
        bases = () if device.readonly or device.serial in there else overlays(view, at, device.path)
        if bases:
            name = f"{ref['kind']} {ref['name']}"
            return blocked(needs, BASE.format(name, bases[0]))
    return needs


_BACK = "the disk lies on its own volume again"
BASE = (
    "{0} has a volume {1} based on it, as after a snapshot taken by hand: a guest that wrote to "
    "the disk would damage it, and would miss what it holds. Merge it (`qemu-img commit`) or give "
    "it up, and delete it (`virsh vol-delete`)."
)


def keeps_back(vm: Object, shown: Seen, fleet: str, at: Place) -> str:
    """Why a VM that is to be deleted has to wait; empty if it does not: only its domain knows where
    the newest data of its disks is.
    """
    moved = elsewhere(shown, fleet, at)
    if not moved:
        return ""
    name, disk = domain_name(vm.key), moved[0]
    undefine = f"`virsh undefine {name} --nvram`"
    if shown.active is not None:  # a domain that runs is defined again
        undefine = f"`virsh destroy {name}`, then {undefine}"
    return (
        f"{lies(disk)}, as after a snapshot or a copy taken by hand: nothing is stopped or "
        f"deleted until {_BACK}. {_merge(shown, name, disk, fleet, at)}, or remove the domain by "
        f"hand ({undefine}) to give up what was written since."
    )


def _merge(shown: Seen, name: str, disk: Disk, fleet: str, at: Place) -> str:
    """How what was written since gets into the disk's own volume."""
    if shown.active is None:
        return f"Merge it (`qemu-img commit {disk.path}` and `virsh edit {name}`)"
    base = _home_below(shown, disk, fleet, at)
    if not base:
        return "It is not below that file: save what you need from there"
    # Without its base, a commit goes on into the image that other disks are made from.
    return f"Merge it (`virsh blockcommit {name} {disk.target} --base {base} --active --pivot`)"


def _home_below(shown: Seen, disk: Disk, fleet: str, at: Place) -> str:
    """The volume made for a running disk, if that lies on top of it."""
    below = shown.bases.get(disk.serial, ())
    return next((path for path in below if _at_home(replace(disk, path=path), fleet, at)), "")


def told(shown: Seen, fleet: str, at: Place) -> tuple[str, ...]:
    """Sentences about disks that lie on another file than the volume that was made for them."""
    sentences = {}
    for facts, where in (
        (replace(shown, active=None), "will lie on {} from the next start on"),
        (replace(shown, defined=None), "lies on {} now"),
    ):
        for disk in elsewhere(facts, fleet, at):
            what = where.format(disk.path or f"a source of type {disk.type}")
            sentences[disk.serial, disk.path] = (
                f"Disk {disk.target} {what}, as after a snapshot; it is left there."
            )
    return tuple(sentences.values())


def lies(disk: Disk) -> str:
    where = disk.path or f"a source of type {disk.type}"
    return f"Disk {disk.target} lies on {where}"
