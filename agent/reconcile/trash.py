"""What was deleted and can still come back. Nothing here does anything to a host."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace

from agent.core.identity import internal_uid
from agent.core.ledger import Record
from agent.core.model import Condition, Json, Key
from agent.core.status import seconds, stamp, timestamp
from agent.reconcile.outbox import Outbox

DELETED = "Deleted"
ERASING = "Erasing"
"""The entry is on its way out: it does not come back any more."""
CONDITION = "Deleted"
PRUNED = "pruned"
"""Field of the status of an entry that nobody wants back."""
DATA = ("capacity", "volumeSnapshotName", "virtualMachineSnapshotSecretName")
"""What a status says of an object that has data."""
RETIRED = "retired"
"""Field of the status of an entry whose object goes on with data elsewhere."""
LEFT = "The disk has moved. What it held here until then is erased after a while."
KEPT = "A manifest that says the same brings it back with its data."


class Trash:
    """Entries by uid: after an erased object another one of its name may be deleted."""

    def __init__(self, outbox: Outbox) -> None:
        self.entries: dict[str, Record] = {}
        self._outbox = outbox

    def load(self, entries: Mapping[str, Record]) -> None:
        self.entries = dict(entries)

    def put(self, record: Record, now: float, *, at_once: bool = False) -> None:
        """Take a deleted object in, to be erased `at_once` or after a while."""
        lasting = {
            name: value
            for name, value in record.status.items()
            if name not in ("attachedToVirtualMachines", "conditions", "progress")
        }
        said = _status(record, DELETED, "InTrash", "" if at_once else KEPT, now)
        pruned = {PRUNED: True} if at_once else {}
        obj = replace(record.obj, deleted=record.obj.deleted or timestamp(now))
        self._change(replace(record, obj=obj, status={**lasting, **said, **pruned}))

    def retire(self, record: Record, left: Mapping[str, Json], now: float) -> None:
        """Take in what an object has left that goes on elsewhere: it comes back to no manifest."""
        uid = internal_uid(record.obj.uid, RETIRED, json.dumps(left, sort_keys=True))
        old = Record(replace(record.obj, uid=uid, deleted=timestamp(now)), {})
        said = _status(old, DELETED, "Moved", LEFT, now)
        self._change(replace(old, status={**left, RETIRED: True, **said}))

    def of(self, key: Key) -> list[Record]:
        """All entries of that name."""
        return [record for record in self.entries.values() if record.obj.key == key]

    def restorable(self, key: Key) -> list[Record]:
        """The objects that a manifest of that name can bring back, with the status that they had:
        those with data first, and of these the one that was deleted last.
        """
        entries = [
            _as_it_was(record)
            for record in self.entries.values()
            if record.obj.key == key
            and record.status.get("phase") != ERASING
            and not _pruned(record)
            and not record.status.get(RETIRED)
        ]
        return sorted(
            entries, key=lambda record: (_has_data(record), record.obj.deleted), reverse=True
        )

    def due(self, record: Record, retention: float) -> float:
        """When an entry may be erased."""
        if _pruned(record):
            return 0.0
        for condition in record.status.get("conditions", ()):
            if condition["type"] == CONDITION:
                return seconds(condition["lastTransitionTime"]) + retention
        return seconds(record.obj.deleted) + retention

    def erasing(self, uid: str) -> bool:
        """True once the status branch says that the entry is being erased."""
        record = self.entries.get(uid)
        said = record is not None and record.status.get("phase") == ERASING
        return said and self._outbox.is_trash_saved(uid)

    def mark(self, uid: str, now: float) -> None:
        """Begin to erase an entry."""
        self._say(uid, ERASING, "Erasing", "", now)

    def keep(self, uid: str, reason: str, message: str, now: float) -> None:
        """Say why an entry that is due is still there."""
        phase = self.entries[uid].status.get("phase", DELETED)
        self._say(uid, phase, reason, message, now)

    def remove(self, uid: str) -> None:
        record = self.entries.pop(uid, None)
        if record is not None:
            self._outbox.trash(uid, record.obj.key)

    def _say(self, uid: str, phase: str, reason: str, message: str, now: float) -> None:
        record = self.entries[uid]
        status = {**record.status, **_status(record, phase, reason, message, now)}
        if status != record.status:
            self._change(replace(record, status=status))

    def _change(self, record: Record) -> None:
        uid = record.obj.uid
        self.entries[uid] = record
        self._outbox.trash(uid, record.obj.key)


def _pruned(record: Record) -> bool:
    return bool(record.status.get(PRUNED))


def _has_data(record: Record) -> bool:
    return any(map(record.status.get, DATA))


def _as_it_was(record: Record) -> Record:
    # a disk that had a volume is never made anew: an empty one would hide a loss
    phase = "Ready" if _has_data(record) else "Pending"
    kept = {name: value for name, value in record.status.items() if name != "conditions"}
    return replace(record, status={**kept, "phase": phase})


def _status(record: Record, phase: str, reason: str, message: str, now: float) -> dict[str, Json]:
    condition = Condition(CONDITION, "True", reason, message)
    return stamp(
        record.status, {"phase": phase, "conditions": [condition]}, record.obj.generation, now
    )
