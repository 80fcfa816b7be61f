"""The objects in force: the ledger in memory, what of it is not written yet, and the indexes that
decisions use.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from agent.core.acceptance import (
    Pruning,
    accept,
    prune,
)
from agent.core.annotations import CONFIRM
from agent.core.changes import redacted
from agent.core.facts import Engine
from agent.core.identity import operation_uid
from agent.core.known import JOB, OBJECT, REPLACED, STATUS
from agent.core.ledger import Record, document, same_words
from agent.core.metadata import DomainMetadata
from agent.core.model import BUILT_IN, Desired, Json, Key, Manifest, Object, Problem
from agent.core.schema import Catalogue, Kind
from agent.core.status import stamp, timestamp
from agent.kinds.registry import BUILT_INS, OF_NODE, RECORDS, complete, completed
from agent.reconcile import unchangeable
from agent.reconcile.indexes import Indexes
from agent.reconcile.locks import Locks
from agent.reconcile.message import Event, by, updated
from agent.reconcile.origins import Origins
from agent.reconcile.outbox import Outbox
from agent.reconcile.status_branch import Ledger
from agent.reconcile.trash import Trash
from agent.reconcile.world import World

MANY_VOLUMES = (
    "{} volumes on the host may be this disk's, and the ledger that knew which is lost ({}): leave "
    "one of them and delete the others with virsh vol-delete, or choose another name"
)
_BUILT_IN = {manifest.key: manifest for manifest in BUILT_INS}


class Book:
    """Objects by key. Every change of an object goes through here."""

    def __init__(
        self, engine: Engine, catalogue: Catalogue, world: World, fleet: str, folder: str
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._fleet = fleet
        self._folder = folder
        self.records: dict[Key, Record] = {}
        self.operations: set[Key] = set()
        """Keys of the operations among the records."""
        self.owned: set[Key] = set()
        """Keys of what the agent made by itself for an object."""
        self.locks = Locks(engine, catalogue)
        self.outbox = Outbox()
        self.trash = Trash(self.outbox, lambda key, uids: engine.put(REPLACED, key, uids or None))
        self._world = world
        self._origins = Origins(catalogue, world, self.trash, fleet)
        self.held: tuple[Problem, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self.strays: tuple[Problem, ...] = ()
        """What lies on hosts and belongs to nothing that is known."""
        self._authors: dict[Key, str] = {}
        """Who asked for operations of which nothing was told yet."""
        self._fresh = True
        self._proved = False
        """True once the ledger has been held against what domains remember."""
        self._taken: dict[Key, Manifest] = {}
        """What each record was accepted from."""
        self._indexes = Indexes(engine, catalogue, self._age)

    @property
    def machine(self) -> str:
        """The kind of machines."""
        return self._catalogue.machine.name

    def load(self, ledger: Ledger) -> None:
        """Start from a ledger; whatever was not saved is forgotten, and work under way goes on."""
        jobs = {key: self._engine.get(JOB, key) for key in self.records}
        for key in list(self.records):
            self._forget(key)
        self.records = {}
        self._taken = {}
        self._fresh, self._proved = ledger.fresh, False
        for key, record in ledger.records.items():
            self.records[key] = record
            self._engine.put(STATUS, key, record.status)
            self._put(None, record.obj)
        for key, job in jobs.items():
            if key in self.records or (job and job.busy):
                self._engine.put(JOB, key, job)
        saved = {key: self._identity(record) for key, record in self.records.items()}
        self.outbox.load(saved, ledger.trash)
        self.trash.load(ledger.trash)
        self.locks.load(self.records[key].obj for key in self.locks.keys)

    # -- acceptance --------------------------------------------------------------------------

    def accept(
        self,
        desired: Desired,
        now: float,
        others: Mapping[str, int] = {},
        unread: Sequence[str] = (),
        nodes: Iterable[str] = (),
    ) -> None:
        """Accept what is new, and see what is gone. `others` counts objects, by kind, that stay
        and that this book was not told of. What only a host may remember is not new as long as
        some, `unread`, have not been read. Each of `nodes` has an object, also without a manifest.
        """
        by_itself = _BUILT_IN | {manifest.key: manifest for manifest in map(OF_NODE, nodes)}
        for key in desired.invalid & by_itself.keys() & self.records.keys():
            del by_itself[key]  # its last good version stays in force
        manifests = {**by_itself, **desired.manifests}
        problems: list[Problem] = []
        memories = None if self._proved else self._prove(whole=not unread)
        new = [key for key, manifest in manifests.items() if self._taken.get(key) is not manifest]
        if memories is None:
            memories = self._origins.memories(
                manifests[key] for key in new if key not in self.records
            )
        last_good = self._last_good(desired.invalid)
        in_force = {**manifests, **last_good} if last_good else manifests
        for key in new:
            if key not in self.records and (unread or self._world.mute):
                early = self._origins.too_early(manifests[key], unread, fresh=self._fresh)
                if early:
                    path, line = desired.paths.get(key, ""), manifests[key].line
                    problems.append(Problem(path, line, str(key), "", early))
                    continue
            problem = self._accept_one(manifests[key], in_force, desired, memories, now)
            if problem is not None:
                problems.append(problem)
            elif completed(self.records[key].obj.manifest):
                self._taken[key] = manifests[key]
        config = desired.manifests.get(self._catalogue.settings)
        confirmed = config.annotations.get(CONFIRM, "") if config else ""
        pruning = self._prune(desired, manifests, confirmed, others)
        for key in pruning.delete:
            self._taken.pop(key, None)  # the same manifest may come back
            self._change(replace(self.records[key].obj, deleted=timestamp(now)))
        self.held = pruning.held
        self.problems = (*desired.problems, *problems)
        self._fresh = self._fresh and bool(unread)

    def _last_good(self, invalid: Iterable[Key]) -> dict[Key, Manifest]:
        """What counts of objects whose manifest does not hold."""
        known = {key: self.records[key].obj for key in invalid if key in self.records}
        return {key: obj.manifest for key, obj in known.items() if not obj.deleted}

    def _prove(self, *, whole: bool) -> Mapping[Key, DomainMetadata]:
        """Hold the ledger against what domains remember, until all hosts have been read."""
        kind = self._catalogue.machine.name
        known = {key: record.obj.uid for key, record in self.records.items() if key.kind == kind}
        memories = self._origins.unknown(known)
        self._adopt(memories)
        self._proved = whole and not self._world.mute
        return memories

    def _adopt(self, memories: Mapping[Key, DomainMetadata]) -> None:
        """Take in machines that the ledger does not know, or knows as ones that are long gone: it
        was lost, or is an old one. What a domain remembers is the newest word, also for one whose
        manifest is gone or broken by now.
        """
        kind = self._catalogue.machine
        for key, memory in memories.items():
            known = self.records.get(key)
            if (known is not None and known.obj.uid == memory.uid) or not memory.spec:
                continue
            content = self._catalogue.defaulted(kind, redacted(kind, {"spec": memory.spec}, ()))
            obj = Object(
                manifest=Manifest(key, memory.labels, memory.annotations, content),
                uid=memory.uid,
                generation=memory.generation,
                created=memory.created,
                source=memory.source,
            )
            if known is not None:
                self._forget(key)
            self._change(obj)

    def _accept_one(
        self,
        manifest: Manifest,
        manifests: Mapping[Key, Manifest],
        desired: Desired,
        memories: Mapping[Key, DomainMetadata],
        now: float,
    ) -> Problem | None:
        key = manifest.key
        known = self.records.get(key)
        path = desired.paths.get(key, "")
        source = f"{desired.revision}:{self._folder}{path}" if path else BUILT_IN
        if key in desired.asked:
            source = f"{desired.asked[key]}:{path}"
        manifest = complete(manifest, known.obj.spec if known else {}, manifests)
        kind = self._catalogue.kinds[key.kind]
        if known is not None and self._is_another(known.obj, manifest):
            message = (
                "an operation of that name was asked for before and says something else: "
                "choose another name"
            )
            return Problem(path, manifest.line, str(key), "metadata.name", message)
        changed = self._frozen(kind, known, manifest) if known is not None else ()
        if changed:
            return Problem(path, manifest.line, str(key), *changed[0])
        back = self._restorable(kind, manifest) if known is None else None
        if known is None and back is None and len(volumes := self._origins.volumes(key)) > 1:
            message = MANY_VOLUMES.format(len(volumes), ", ".join(sorted(volumes.values())))
            return Problem(path, manifest.line, str(key), "metadata.name", message)
        obj = accept(
            kind,
            manifest,
            known.obj if known else None,
            source,
            now,
            lambda _: self._origins.identity(manifest, back, memories, fresh=self._fresh),
        )
        if back is not None:
            self.trash.remove(back.obj.uid)
        if known is None and key in desired.authors:
            self._authors[key] = desired.authors[key]
        self._change(obj, back.status if back else {})
        if known is None and kind.request and self._fresh:
            self._expire(obj, memories, now)
        return None

    def _frozen(self, kind: Kind, known: Record, manifest: Manifest) -> list[tuple[str, str]]:
        return unchangeable.changed(kind, known, manifest, self.records)

    def _restorable(self, kind: Kind, manifest: Manifest) -> Record | None:
        """What the manifest brings back from the trash: data that was made as it says. Anything
        else of its name stays there, and a new object stands beside it.
        """
        entries = self.trash.restorable(manifest.key)
        return next((entry for entry in entries if not self._frozen(kind, entry, manifest)), None)

    def _is_another(self, known: Object, manifest: Manifest) -> bool:
        """True if an operation's name was used for something else."""
        key = manifest.key
        request = self._catalogue.kinds[key.kind].request
        return request and operation_uid(self._fleet, key, manifest.spec) != known.uid

    def _expire(self, obj: Object, memories: Mapping[Key, DomainMetadata], now: float) -> None:
        """An operation from before this ledger: whether it was executed cannot be known, so it is
        not executed, unless its VM remembers it.
        """
        target = memories.get(self._origins.machine(obj.manifest))
        if target is not None and target.recorded(obj.uid):
            return
        status = stamp({}, RECORDS[obj.key.kind].lost, 1, now)
        self.records[obj.key] = Record(obj, status)
        self._engine.put(STATUS, obj.key, status)

    def _prune(
        self,
        desired: Desired,
        manifests: Mapping[Key, Manifest],
        confirmed: str,
        others: Mapping[str, int],
    ) -> Pruning:
        if self.records.keys() <= manifests.keys():
            return Pruning()
        asked = self.operations
        apart = asked | self.owned | self.locks.keys
        lasting = {key: record for key, record in self.records.items() if key not in apart}
        pruning = prune(self._catalogue, desired, manifests, lasting, confirmed, others)
        pruning = unchangeable.kept(pruning, self.records)
        if desired.broken:
            return pruning
        # an operation is withdrawn by deleting its file, also when that was the last file
        gone = sorted(
            key
            for key in asked - self.owned - manifests.keys() - desired.invalid
            if not self.records[key].obj.deleted and not desired.meant_in(key)
        )
        return Pruning((*pruning.delete, *gone), pruning.held)

    # -- changes -----------------------------------------------------------------------------

    def _change(self, obj: Object, restored: Mapping[str, Json] = {}) -> None:
        known = self.records.get(obj.key)
        record = Record(obj, known.status if known else restored)
        if restored:
            self._engine.put(STATUS, obj.key, restored)
        self.records[obj.key] = record
        self._put(known.obj if known else None, obj)
        if known is None or not self._same_file(known, record):
            self.outbox.change(obj.key, self._identity(record))
            self.locks.changed(obj)

    def _identity(self, record: Record) -> str:
        """What has to be written down of an object before anybody relies on it: of a lock also who
        holds it.
        """
        obj = record.obj
        return f"{record.identity} {obj.generation}" if obj.key in self.locks else record.identity

    def _same_file(self, known: Record, new: Record) -> bool:
        """True if the status branch has the same to say of both; of secrets it says nothing."""
        return same_words(known.obj, new.obj) or (
            document(self._catalogue, known) == document(self._catalogue, new)
        )

    def _put(self, old: Object | None, obj: Object) -> None:
        self._engine.put(OBJECT, obj.key, obj)
        if self._catalogue.kinds[obj.key.kind].request:
            self.operations.add(obj.key)
        (self.owned.add if obj.owner else self.owned.discard)(obj.key)
        self.locks.put(obj.key)
        self._indexes.put(obj.key, old, obj)

    def _age(self, key: Key) -> tuple[str, str]:
        record = self.records.get(key)
        return (record.obj.created if record else "", key.name)

    def _forget(self, key: Key) -> None:
        record = self.records.pop(key, None)
        if record is None:
            return
        self.operations.discard(key)
        self.owned.discard(key)
        self.locks.forget(key)
        self._indexes.put(key, record.obj, None)
        self._engine.put(OBJECT, key, None)
        self._engine.put(STATUS, key, None)
        self._engine.put(JOB, key, None)
        self._taken.pop(key, None)

    def keep(self, obj: Object, begins: Mapping[str, Json] = {}) -> None:
        """Take in what the agent makes by itself: with the status that it `begins` with, else with
        what the trash has of it.
        """
        kind = self._catalogue.kinds[obj.key.kind]
        new = obj.key not in self.records and not begins
        back = self._restorable(kind, obj.manifest) if new else None
        if back is not None:
            self.trash.remove(back.obj.uid)
            obj = replace(obj, uid=back.obj.uid, created=back.obj.created)
        self._change(obj, back.status if back else begins)

    def state(self) -> None:
        """Have decisions know who refers to whom by now: once for all that has changed."""
        self._indexes.state()

    def remove(self, key: Key, now: float, *, at_once: bool = False, replaced_by: str = "") -> None:
        """An object has gone for good; a kind that keeps data goes to the trash, to be erased
        `at_once` or after a while.
        """
        record = self.records[key]
        if self._catalogue.kinds[key.kind].keeps_data:
            self.trash.put(record, now, at_once=at_once, replaced_by=replaced_by)
        self._forget(key)
        self.outbox.remove(key)
        self.outbox.tell(Event(key, (record.status.get("phase", ""),), gone=True))

    def report(
        self,
        key: Key,
        report: Mapping[str, Any],
        now: float,
        retired: Iterable[Mapping[str, Json]] = (),
    ) -> None:
        """Take a decision's report as the object's status, and to the trash what it has left."""
        record = self.records[key]
        status: dict[str, Json] = (
            stamp(record.status, report, record.obj.generation, now) if report else {}
        )
        if status == record.status:
            return
        for left in retired:
            self.trash.retire(record, left, now)
        before, after = record.status.get("phase", ""), status.get("phase", "")
        said = by(self._authors.pop(key, ""), updated(record.status, status))
        self.outbox.tell(Event(key, (before, after), update=said))
        self.records[key] = Record(record.obj, status)
        self._engine.put(STATUS, key, status)
        self.outbox.change(key, self._identity(self.records[key]))

    def ledger(self) -> Ledger:
        """A copy of what is in force by now."""
        return Ledger(None, dict(self.records), dict(self.trash.entries), fresh=False)

    def is_saved(self, key: Key) -> bool:
        """True if the status branch knows the object by this uid, and on this node."""
        record = self.records.get(key)
        return record is not None and self.outbox.is_saved(key, self._identity(record))

    def written(self) -> None:
        """What was to be written last stands in Git."""
        self.outbox.written()
        self.locks.written(self.is_saved)
        self.trash.written()
