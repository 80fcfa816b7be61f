"""What the status branch does not say yet, and what it is being told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.model import Key
from agent.reconcile.message import Event


@dataclass(frozen=True)
class Batch:
    """One write."""

    changed: Mapping[Key, str] = field(default_factory=dict)
    """Objects, with what each is."""
    removed: frozenset[Key] = frozenset()
    trash: Mapping[str, Key] = field(default_factory=dict)
    """Entries by uid; one that is not there any more is to be removed."""
    files: Mapping[str, bytes | None] = field(default_factory=dict)
    """Other files by path; None removes."""
    events: tuple[Event, ...] = ()


class Outbox:
    """Collects changes until they are taken for a write. One write is under way at a time."""

    def __init__(self) -> None:
        self._changed: dict[Key, str] = {}
        self._removed: set[Key] = set()
        self._trash: dict[str, Key] = {}
        self._files: dict[str, bytes | None] = {}
        self._events: list[Event] = []
        self._under_way = Batch()
        self._saved: dict[Key, str] = {}
        """What every object is that the status branch holds."""
        self._saved_trash: set[str] = set()
        """Uids of the entries that stand there as they are."""

    def load(self, saved: Mapping[Key, str], trash: Iterable[str]) -> None:
        """Start from a status branch that holds these objects and entries; what was not written is
        forgotten, but for other files.
        """
        self._changed, self._removed, self._trash, self._events = {}, set(), {}, []
        self._saved, self._saved_trash = dict(saved), set(trash)

    # -- what is to be written -----------------------------------------------------------------

    def change(self, key: Key, identity: str) -> None:
        """An object is there that was not, or says something else."""
        self._removed.discard(key)
        self._changed[key] = identity

    def remove(self, key: Key) -> None:
        self._changed.pop(key, None)
        self._removed.add(key)

    def trash(self, uid: str, key: Key) -> None:
        """An entry of the trash has changed, or is gone."""
        self._saved_trash.discard(uid)
        self._trash[uid] = key

    def file(self, path: str, data: bytes | None) -> None:
        self._files[path] = data

    def drop_files(self) -> None:
        """No other file is to be written."""
        self._files.clear()

    def tell(self, event: Event) -> None:
        self._events.append(event)

    # -- what there is --------------------------------------------------------------------------

    def __len__(self) -> int:
        """How many objects and entries are not written."""
        return len(self._changed) + len(self._removed) + len(self._trash)

    @property
    def files(self) -> int:
        """How many other files are not written."""
        return len(self._files)

    @property
    def telling(self) -> bool:
        """True if people wait for some of it."""
        return any(event.telling for event in self._events)

    def keys(self) -> set[Key]:
        """Objects and entries that are not written as they are."""
        return {*self._changed, *self._removed, *self._trash.values()}

    def holds(self, key: Key) -> bool:
        """True if an object that is there is not written as it is."""
        return key in self._changed

    def is_saved(self, key: Key, identity: str) -> bool:
        """True if the status branch knows just this object, in whatever state."""
        return self._saved.get(key) == identity

    def is_trash_saved(self, uid: str) -> bool:
        """True if the status branch shows an entry as it is."""
        return uid in self._saved_trash

    # -- writing ---------------------------------------------------------------------------------

    def take_batch(self) -> Batch:
        """All that there is. It counts as written until `failed`."""
        batch = Batch(
            dict(self._changed),
            frozenset(self._removed),
            dict(self._trash),
            dict(self._files),
            tuple(self._events),
        )
        for key in batch.removed:
            self._saved.pop(key, None)
        self._changed, self._removed, self._trash = {}, set(), {}
        self._files, self._events = {}, []
        self._under_way = batch
        return batch

    def written(self) -> None:
        """The batch stands in Git."""
        self._saved.update(self._under_way.changed)
        self._saved_trash |= self._under_way.trash.keys() - self._trash.keys()

    def failed(self) -> None:
        """The batch is to be written again, but for what has changed since."""
        batch = self._under_way
        lasting = {key: uid for key, uid in batch.changed.items() if key not in self._removed}
        self._changed = {**lasting, **self._changed}
        self._removed |= batch.removed - self._changed.keys()
        self._trash = {**batch.trash, **self._trash}
        self._files = {**batch.files, **self._files}
        self._events = [*batch.events, *self._events]
