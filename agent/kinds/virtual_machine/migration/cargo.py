"""What has to be on another node before a VM can run there."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.facts import View
from agent.core.host import RawVolume
from agent.core.identity import POOL, QCOW2, RAW
from agent.core.known import POOL_PATH, SHARED, VOLUME
from agent.core.moves import Freight
from agent.kinds.local import CLOSED, Place
from agent.kinds.virtual_machine.elements.disks import Disk
from agent.kinds.virtual_machine.provisioning import MEDIA
from agent.kinds.virtual_machine.seen import Seen


@dataclass(frozen=True)
class Cargo:
    freight: tuple[Freight, ...] = ()
    """What others are based on comes first."""
    disks: tuple[str, ...] = ()
    """Names of the targets of disks that are copied along."""
    problem: str = ""
    """Why it cannot be brought there, in a sentence."""


class _Stuck(Exception):  # says what it is
    pass


def cargo(shown: Seen, at: Place, to: Place, view: View) -> Cargo:
    """What the running instance has, or the next one, and the other node may lack."""
    facts = shown.active or shown.defined
    disks = facts.disks.disks if facts is not None else ()
    try:
        lots = [(disk, tuple(_lot(disk, at, to, view))) for disk in disks]
    except _Stuck as stuck:
        return Cargo(problem=str(stuck))
    freight = dict.fromkeys(each for _, lot in lots for each in reversed(lot))
    moved = [disk.target for disk, lot in lots if any(each.mirrored for each in lot)]
    return Cargo(tuple(freight), tuple(moved))


def own(shown: Seen, at: Place, view: View) -> tuple[tuple[str, str], ...]:
    """Pool and name of the volumes that it writes to, and that are on its node alone."""
    return tuple(each for each in _all_written(shown, at) if not _shared(each[0], view))


def common(shown: Seen, at: Place, view: View) -> tuple[tuple[str, str], ...]:
    """The same of those that are said to be the same on all nodes."""
    return tuple(each for each in _all_written(shown, at) if _shared(each[0], view))


def _all_written(shown: Seen, at: Place) -> Iterator[tuple[str, str]]:
    facts = shown.active or shown.defined
    for disk in facts.disks.disks if facts is not None else ():
        pool = pool_of(disk.path, at)
        if pool and _written(disk):
            yield pool, disk.path.rpartition("/")[2]


def pool_of(path: str, at: Place) -> str:
    """The storage pool that a file lies in; empty if it is none of those that are known."""
    folder = path.rpartition("/")[0]
    if folder == at.pool_path:
        return POOL
    return next((pool for pool, each in at.folders.items() if each == folder), "")


def _lot(disk: Disk, at: Place, to: Place, view: View) -> Iterator[Freight]:
    if not disk.path:
        raise _Stuck(f"Disk {disk.target} has a source of type {disk.type}, which stays there.")
    path, mirrored = disk.path, _written(disk)
    while path:
        pool = pool_of(path, at)
        if not pool:
            raise _Stuck(f"{path} lies in no storage pool that gitvirt knows.")
        _same_folder(pool, at, to, view)
        if _shared(pool, view):
            return
        name = path.rpartition("/")[2]
        raw: RawVolume | None = view.read(VOLUME, (at.name, pool, name))
        if raw is None:
            raise _Stuck(f"Volume {name} is not among those of storage pool {pool}.")
        base = raw.backing_path
        if mirrored:
            backing = (base, _format(base)) if base else ("", "")
            yield Freight(pool, name, raw.capacity, raw.physical, disk.format, True, *backing)
        else:
            yield Freight(pool, name, raw.capacity, raw.physical, _format(path))
        path, mirrored = base, False


def _written(disk: Disk) -> bool:
    return not disk.readonly and disk.serial not in MEDIA


def _shared(pool: str, view: View) -> bool:
    return pool in (view.read(SHARED, None) or ())


def _same_folder(pool: str, at: Place, to: Place, view: View) -> None:
    here = view.read(POOL_PATH, (at.name, pool))
    there = view.read(POOL_PATH, (to.name, pool))
    if there is None:
        raise _Stuck(CLOSED.format(pool, to.name))
    if here != there:
        raise _Stuck(
            f"Storage pool {pool} is {here} on node {at.name} and {there} on node {to.name}: a "
            "machine that runs keeps the paths of its disks."
        )


def _format(path: str) -> str:
    return QCOW2 if path.endswith(f".{QCOW2}") else RAW
