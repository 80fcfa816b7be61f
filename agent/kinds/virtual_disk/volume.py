"""The volume that a disk lies in. The ledger says which one; where it does not, whatever volume of
the disk is there, and for a disk that is new its class says where it is to be made.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.facts import View
from agent.core.identity import POOL, QCOW2, disk_format, disk_number, disk_volume, serial
from agent.core.known import DISK_VOLUMES, DOMAIN, NODES, WRITERS
from agent.core.ledger import VOLUME
from agent.core.model import Json, Key, Object
from agent.core.volumes import lies_on
from agent.kinds.storage_class import default_class
from agent.kinds.virtual_disk.spec import disk_spec

PROVISIONED = ("Ready", "Resizing", "Migrating", "PVCLost")
CLASS = "storageClassName"
"""Field of a disk's status: the class that its volume was made in."""
RESTORED = "restoredFrom"
"""Field of a disk's status: the VirtualDiskSnapshot that it is made from, whatever its manifest
says it was made from at first.
"""
BROUGHT_BACK = "broughtBackBy"
"""Field of a disk's status: uid of the operation that has brought it back from the trash."""
MAKING = frozenset(("CreateVolume", "CopyVolume"))
"""Verbs that make a disk's first volume."""


def begun(status: Mapping[str, Json]) -> dict[str, Json]:
    """The part of a status that says that the disk was restored, from what or by what."""
    return {name: status[name] for name in (RESTORED, BROUGHT_BACK) if name in status}


@dataclass(frozen=True)
class Stored:
    """A disk's volume, whether it is there or not."""

    pool: str
    """libvirt's name for it."""
    name: str
    format: str = QCOW2
    """qcow2 or raw."""

    def told(self, fleet: str, disk: Key, uid: str) -> dict[str, Json]:
        """The part of a status that says where the disk lies."""
        return {} if self == first(fleet, disk, uid) else self.part

    @property
    def part(self) -> dict[str, Json]:
        return {VOLUME: {"pool": self.pool, "name": self.name, "format": self.format}}


def first(fleet: str, disk: Key, uid: str, pool: str = POOL, volume_format: str = QCOW2) -> Stored:
    """The volume that a disk is made with."""
    return Stored(pool, disk_volume(fleet, disk, uid, volume_format), volume_format)


def recorded(fleet: str, disk: Key, uid: str, status: Mapping[str, Json]) -> Stored:
    """The volume that a status tells of."""
    told = status.get(VOLUME)
    if not told:
        return first(fleet, disk, uid)
    return Stored(str(told["pool"]), str(told["name"]), str(told["format"]))


def present(disk: Object, view: View) -> Stored | None:
    """The volume that a disk has, or had; None for one that is new."""
    previous = view.previous(disk.key)
    known = recorded(view.fleet, disk.key, disk.uid, previous)
    if previous.get("phase") in PROVISIONED or MAKING & {*view.job(disk.key).busy}:
        return known
    there = view.read(DISK_VOLUMES, disk.uid) or ()
    if not there:
        return None
    if VOLUME in previous and (known.pool, known.name) in there:
        return known
    # a lost ledger may leave those that a disk had before it was moved
    pool, name = max(there, key=lambda each: (_lies_in(disk, each[1], view), disk_number(each[1])))
    return Stored(pool, name, disk_format(name))


def _lies_in(disk: Object, name: str, view: View) -> bool:
    """True if a domain has the disk on a volume of that name."""
    for node in view.read(NODES, None) or ():
        for uuid in view.read(WRITERS, (node, serial(disk.uid))) or ():
            raw = view.read(DOMAIN, (node, uuid))
            if raw is not None and lies_on(raw, name):
                return True
    return False


def named_class(disk: Object) -> str:
    """The class that a disk's manifest names; empty if it names none."""
    return disk_spec(disk.spec).get("persistentVolumeClaim", {}).get("storageClassName", "")


def its_class(disk: Object, volume: Stored | None, view: View) -> str:
    """The class that a disk is in, or is to be made in; empty for none. One that has a volume stays
    in the class that this was made in, whatever becomes of the class; where nobody has written that
    down yet, it is the one that it names.
    """
    named = named_class(disk)
    if volume is None:
        return named or default_class(view)
    previous = view.previous(disk.key)
    if CLASS in previous:
        return str(previous[CLASS])
    changed = previous.get("observedGeneration", disk.generation) != disk.generation
    return "" if changed else named
