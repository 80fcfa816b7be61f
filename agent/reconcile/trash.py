"""What was deleted and can still come back. Nothing here does anything to a host."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
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
REPLACED_BY = "replacedBy"
"""Field of the status of an entry: the operation that has put other data in its place."""
RETIRED = "retired"
"""Field of the status of an entry whose object goes on with data elsewhere."""
LEFT = "The disk has moved. What it held here until then is erased after a while."
KEPT = "A manifest that says the same brings it back with its data."


State = Callable[[Key, tuple[tuple[str, str], ...]], None]


class Trash:
    """Entries by uid: after an erased object another one of its name may be deleted."""

    def __init__(self, outbox: Outbox, state: State = lambda _key, _replaced: None) -> None:
        self.entries: dict[str, Record] = {}
        self._outbox, self._state = outbox, state
        self._untold: set[Key] = set()
        """Names of replaced objects that Git may not show yet."""

    def load(self, entries: Mapping[str, Record]) -> None:
        """Start from a status branch that holds these, which the outbox knows."""
        before = _replaced(self.entries.values())
        self.entries = dict(entries)
        self._untold = before | _replaced(entries.values())
        self.written()

    def written(self) -> None:
        """What was to be written last stands in Git."""
        for key in self._untold:
            self._tell(key)
        self._untold &= _replaced(self._unsaved())

    def _unsaved(self) -> Iterator[Record]:
        saved = self._outbox.is_trash_saved
        return (record for uid, record in self.entries.items() if not saved(uid))

    def put(
        self, record: Record, now: float, *, at_once: bool = False, replaced_by: str = ""
    ) -> None:
        """Take a deleted object in, to be erased `at_once` or after a while; or one that an
        operation has `replaced_by` another one of its name.
        """
        lasting = {
            name: value
            for name, value in record.status.items()
            if name not in ("attachedToVirtualMachines", "conditions", "progress")
        }
        said = _status(record, DELETED, "InTrash", "" if at_once else KEPT, now)
        marks: dict[str, Json] = {PRUNED: at_once, REPLACED_BY: replaced_by}
        pruned = {name: value for name, value in marks.items() if value}
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
            if record.obj.key == key and _comes_back(record)
        ]
        return sorted(
            entries, key=lambda record: (_has_data(record), record.obj.deleted), reverse=True
        )

    def take(self, uid: str) -> Record | None:
        """Have an entry come back, as it was; None where it does not any more."""
        record = self.entries.get(uid)
        if record is None or not _comes_back(record):
            return None
        self.remove(uid)
        return _as_it_was(record)

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
            if REPLACED_BY in record.status:
                self._tell(record.obj.key)

    def _say(self, uid: str, phase: str, reason: str, message: str, now: float) -> None:
        record = self.entries[uid]
        status = {**record.status, **_status(record, phase, reason, message, now)}
        if status != record.status:
            self._change(replace(record, status=status))

    def _change(self, record: Record) -> None:
        uid = record.obj.uid
        self.entries[uid] = record
        self._outbox.trash(uid, record.obj.key)
        if REPLACED_BY in record.status:
            self._untold.add(record.obj.key)

    def _tell(self, key: Key) -> None:
        """State what can come back of an object that was replaced, once it is written down that
        it was.
        """
        replaced = [
            (record.obj.uid, record.status[REPLACED_BY])
            for record in self.of(key)
            if REPLACED_BY in record.status
            and _comes_back(record)
            and self._outbox.is_trash_saved(record.obj.uid)
        ]
        self._state(key, tuple(sorted(replaced)))


def _replaced(records: Iterable[Record]) -> set[Key]:
    return {record.obj.key for record in records if REPLACED_BY in record.status}


def _comes_back(record: Record) -> bool:
    gone = record.status.get("phase") == ERASING or _pruned(record)
    return not gone and not record.status.get(RETIRED)


def _pruned(record: Record) -> bool:
    return bool(record.status.get(PRUNED))


def _has_data(record: Record) -> bool:
    return any(map(record.status.get, DATA))


def _as_it_was(record: Record) -> Record:
    # a disk that had a volume is never made anew: an empty one would hide a loss
    phase = "Ready" if _has_data(record) else "Pending"
    gone = ("conditions", REPLACED_BY)
    kept = {name: value for name, value in record.status.items() if name not in gone}
    return replace(record, status={**kept, "phase": phase})


def _status(record: Record, phase: str, reason: str, message: str, now: float) -> dict[str, Json]:
    condition = Condition(CONDITION, "True", reason, message)
    return stamp(
        record.status, {"phase": phase, "conditions": [condition]}, record.obj.generation, now
    )
