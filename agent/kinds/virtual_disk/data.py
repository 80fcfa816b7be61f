"""Where the data of a disk lies, as the ledger has it, and what becomes of it."""

from __future__ import annotations

from collections.abc import Iterator, Set

from agent.core.ledger import Record
from agent.core.model import Key
from agent.core.quantity import to_bytes
from agent.kinds.virtual_disk.moving import left_by_move
from agent.kinds.virtual_disk.volume import recorded
from agent.kinds.virtual_image import LOST, needed_as

TO_THE_TRASH = "goes to the trash; its data stays"


def needed(fleet: str, record: Record) -> str | None:
    """The volume with the image data that a disk is based on, where it imported that itself."""
    return needed_as(fleet, record, record.status.get("import", {}))


def lies(fleet: str, record: Record) -> Iterator[tuple[str, str]]:
    """The volume that its data is in, and a copy that is not the disk yet: pool and name."""
    volume = recorded(fleet, record.obj.key, record.obj.uid, record.status)
    yield volume.pool, volume.name
    yield from left_by_move(record.status)


def volumes(fleet: str, record: Record) -> Iterator[tuple[str, str, int, int]]:
    """The volume that the ledger says is there: pool, name, capacity and bytes stored."""
    if record.status.get("phase") not in LOST and "capacity" in record.status:
        volume = recorded(fleet, record.obj.key, record.obj.uid, record.status)
        yield volume.pool, volume.name, to_bytes(record.status["capacity"]), 1


def farewell(record: Record, staying: Set[Key]) -> str:
    return TO_THE_TRASH
