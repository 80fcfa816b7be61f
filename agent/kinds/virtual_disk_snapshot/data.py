"""Where the data of a snapshot lies, and what the ledger has of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

from agent.core.facts import View
from agent.core.host import RawVolume
from agent.core.identity import disk_format
from agent.core.known import DISK_VOLUMES, VOLUME, VOLUME_AT
from agent.core.ledger import VOLUME as TOLD
from agent.core.ledger import Record
from agent.core.model import Key, Object
from agent.core.quantity import to_bytes
from agent.kinds.virtual_disk import Stored, recorded

TO_THE_TRASH = "goes to the trash; its data stays"
VOLUME_NAME = "volumeSnapshotName"
"""Field of a status: the volume, once it is whole."""
SIZE = "capacity"


def stored(snapshot: Object, view: View) -> Stored:
    """The volume that a snapshot has, or had; where the ledger does not say which, what is there
    under its name.
    """
    previous = view.previous(snapshot.key)
    there = view.read(DISK_VOLUMES, snapshot.uid) or ()
    if there and not previous.get(TOLD):
        pool, name = there[0]
        return Stored(pool, name, disk_format(name))
    return recorded(view.fleet, snapshot.key, snapshot.uid, previous)


def found(volume: Stored, view: View) -> Mapping[str, RawVolume]:
    """The snapshot's volume where it is whole, by node."""
    nodes = view.read(VOLUME_AT, (volume.pool, volume.name)) or ()
    volumes = ((node, view.read(VOLUME, (node, volume.pool, volume.name))) for node in nodes)
    return {node: there for node, there in volumes if there is not None}


def lies(fleet: str, record: Record) -> Iterator[tuple[str, str]]:
    """The volume that its data is in, whether it is there or not: pool and name."""
    volume = recorded(fleet, record.obj.key, record.obj.uid, record.status)
    yield volume.pool, volume.name


def volumes(fleet: str, record: Record) -> Iterator[tuple[str, str, int, int]]:
    """The volume that the ledger says is there: pool, name, capacity and bytes stored."""
    if VOLUME_NAME in record.status and SIZE in record.status:
        for pool, name in lies(fleet, record):
            yield pool, name, to_bytes(record.status[SIZE]), 1


def farewell(record: Record, staying: Set[Key]) -> str:
    return TO_THE_TRASH if VOLUME_NAME in record.status else ""
