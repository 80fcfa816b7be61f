"""What was deleted and can still come back. Nothing here does anything to a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from agent.core.ledger import Record
from agent.core.model import Condition, Json, Key
from agent.core.status import seconds, stamp
from agent.reconcile.outbox import Outbox

DELETED = "Deleted"
ERASING = "Erasing"
"""The entry is on its way out: it does not come back any more."""
CONDITION = "Deleted"
KEPT = "A manifest that says the same brings it back with its data."


class Trash:
    """Entries by uid: after an erased object another one of its name may be deleted."""

    def __init__(self, outbox: Outbox) -> None:
        self.entries: dict[str, Record] = {}
        self._outbox = outbox

    def load(self, entries: Mapping[str, Record]) -> None:
        self.entries = dict(entries)

    def put(self, each: Record, now: float) -> None:
        """Take a deleted object in."""
        lasting = {
            name: value
            for name, value in each.status.items()
            if name not in ("attachedToVirtualMachines", "conditions", "progress")
        }
        self._change(
            replace(each, status={**lasting, **_status(each, DELETED, "InTrash", KEPT, now)})
        )

    def restorable(self, key: Key) -> list[Record]:
        """The objects that a manifest of that name can bring back, with the status that they had:
        those with data first, and of these the one that was deleted last.
        """
        found = [
            _as_it_was(each)
            for each in self.entries.values()
            if each.obj.key == key and each.status.get("phase") != ERASING
        ]
        return sorted(found, key=lambda each: (_has_data(each), each.obj.deleted), reverse=True)

    def due(self, each: Record, retention: float) -> float:
        """When an entry may be erased."""
        for condition in each.status.get("conditions", ()):
            if condition["type"] == CONDITION:
                return seconds(condition["lastTransitionTime"]) + retention
        return seconds(each.obj.deleted) + retention

    def erasing(self, uid: str) -> bool:
        """True once the status branch says that the entry is being erased."""
        each = self.entries.get(uid)
        said = each is not None and each.status.get("phase") == ERASING
        return said and self._outbox.is_trash_saved(uid)

    def mark(self, uid: str, now: float) -> None:
        """Begin to erase an entry."""
        self._say(uid, ERASING, "Erasing", "", now)

    def keep(self, uid: str, reason: str, message: str, now: float) -> None:
        """Say why an entry that is due is still there."""
        phase = self.entries[uid].status.get("phase", DELETED)
        self._say(uid, phase, reason, message, now)

    def remove(self, uid: str) -> None:
        each = self.entries.pop(uid, None)
        if each is not None:
            self._outbox.trash(uid, each.obj.key)

    def _say(self, uid: str, phase: str, reason: str, message: str, now: float) -> None:
        each = self.entries[uid]
        status = {**each.status, **_status(each, phase, reason, message, now)}
        if status != each.status:
            self._change(replace(each, status=status))

    def _change(self, each: Record) -> None:
        uid = each.obj.uid
        self.entries[uid] = each
        self._outbox.trash(uid, each.obj.key)


def _has_data(each: Record) -> bool:
    return bool(each.status.get("capacity"))


def _as_it_was(each: Record) -> Record:
    # a disk that had a volume is never made anew: an empty one would hide a loss
    phase = "Ready" if _has_data(each) else "Pending"
    kept = {name: value for name, value in each.status.items() if name != "conditions"}
    return replace(each, status={**kept, "phase": phase})


def _status(each: Record, phase: str, reason: str, message: str, now: float) -> dict[str, Json]:
    condition = Condition(CONDITION, "True", reason, message)
    return stamp(each.status, {"phase": phase, "conditions": [condition]}, each.obj.generation, now)
