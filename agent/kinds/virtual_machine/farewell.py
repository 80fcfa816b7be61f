"""What becomes of a machine that is deleted, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from agent.core.ledger import Record
from agent.core.model import Key
from agent.kinds.virtual_machine.dependencies import disks
from agent.kinds.virtual_machine.phase import ON


def farewell(record: Record, staying: Set[Key]) -> str:
    """What becomes of a machine that is deleted, and of its disks."""
    end = "stops gracefully, then its domain" if record.status.get("phase") in ON else "its domain"
    mine = disks(record.obj, record.obj.spec)
    stay = [disk.name for disk in mine if disk in staying]
    go = [disk.name for disk in mine if disk not in staying]
    what = [
        *_of_them(stay, "stays with its data", "stay with their data"),
        *_of_them(go, "goes to the trash", "go to the trash"),
    ]
    return f"{end} is removed; {' and '.join(what) if what else 'it has no disk'}"


def _of_them(names: Sequence[str], does: str, do: str) -> Iterator[str]:
    """What becomes of some of a machine's disks."""
    match names:
        case []:
            return
        case [name]:
            yield f"disk {name} {does}"
        case _:
            yield f"disks {', '.join(names[:-1])} and {names[-1]} {do}"
