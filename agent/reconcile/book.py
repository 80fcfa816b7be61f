"""The objects in force: the ledger in memory, what of it is not written yet, and the indexes that
decisions use.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

from agent.core.acceptance import Identity, Pruning, accept, frozen, prune, suspended
from agent.core.changes import redacted
from agent.core.facts import Engine
from agent.core.identity import disk_prefix, domain_uuid, operation_uid
from agent.core.ledger import Record, document, same_words
from agent.core.metadata import DomainMetadata, from_domain
from agent.core.model import Condition, Desired, Json, Key, Manifest, Object, Problem
from agent.core.schema import Catalogue
from agent.core.status import stamp, timestamp
from agent.kinds.registry import KEEPS_DATA
from agent.kinds.virtual_machine import defaults
from agent.kinds.virtual_machine.definition import parse
from agent.kinds.virtual_machine_class.builtin import BUILT_IN, SOURCE
from agent.reconcile.message import Event, news
from agent.reconcile.status_branch import Ledger
from agent.reconcile.trash import Trash, restorable
from agent.reconcile.world import World

OPERATION = "VirtualMachineOperation"
VM = "VirtualMachine"
CONFIG = Key("ModuleConfig", "", "virtualization")
CONFIRM = "gitvirt.io/confirm-deletion"


class Book:
    """Objects by key. Every change of an object goes through here."""

    def __init__(
        self, engine: Engine, catalogue: Catalogue, world: World, fleet: str, folder: str
    ) -> None:
        self._engine = engine
        self._catalogue = catalogue
        self._world = world
        self._fleet = fleet
        self._folder = folder
        self.records: dict[Key, Record] = {}
        self.trash = Trash()
        self.saved: dict[Key, str] = {}
        """Uid of every object that the status branch holds."""
        self.unsaved: set[Key] = set()
        self.removed: set[Key] = set()
        self.events: list[Event] = []
        self.held: tuple[Problem, ...] = ()
        self.problems: tuple[Problem, ...] = ()
        self._fresh = True
        self._proved = False
        """True once the ledger has been held against what domains remember."""
        self._taken: dict[Key, Manifest] = {}
        self._indexes: dict[tuple[str, Key], set[Key]] = {}
        """Objects by (index, target)."""
        self._unstated: set[tuple[str, Key]] = set()
        """Indexes that have changed since the engine was told."""

    def load(self, ledger: Ledger) -> None:
        """Start from a ledger; whatever was not saved is forgotten, and work under way goes on."""
        jobs = {key: self._engine.get("job", key) for key in self.records}
        for key in list(self.records):
            self._forget(key)
        self.records = {}
        self.trash.load(ledger.trash)
        self.unsaved, self.removed, self.events, self._taken = set(), set(), [], {}
        self._fresh, self._proved = ledger.fresh, False
        for key, each in ledger.records.items():
            self.records[key] = each
            self._engine.put("status", key, each.status)
            self._put(None, each.obj)
        for key, job in jobs.items():
            if key in self.records or (job and job.busy):
                self._engine.put("job", key, job)
        self.saved = {key: each.obj.uid for key, each in self.records.items()}
        self._state_indexes()

    # -- acceptance --------------------------------------------------------------------------

    def take(self, desired: Desired, now: float) -> None:
        """Accept what is new, and see what is gone."""
        manifests = {each.key: each for each in BUILT_IN} | dict(desired.manifests)
        problems: list[Problem] = []
        if self._proved:
            new = [manifests[key] for key in manifests.keys() - self.records.keys()]
            uuids = {domain_uuid(self._fleet, _machine(each)) for each in new}
            memories = self._memories(uuids) if uuids else {}
        else:
            memories = self._memories()
            self._adopt(memories)
            self._proved = True
        for key, manifest in manifests.items():
            if self._taken.get(key) is manifest and key in self.records:
                continue
            problem = self._accept(manifest, manifests, desired, memories, now)
            if problem is not None:
                problems.append(problem)
            else:
                self._taken[key] = manifest
        config = desired.manifests.get(CONFIG)
        confirmed = config.annotations.get(CONFIRM, "") if config else ""
        pruning = self._prune(desired, manifests, confirmed)
        for key in pruning.delete:
            self._taken.pop(key, None)  # the same manifest may come back
            self._change(replace(self.records[key].obj, deleted=timestamp(now)))
        self.held = pruning.held
        self.problems = (*desired.problems, *problems)
        self._fresh = False
        self._state_indexes()

    def _adopt(self, memories: Mapping[Key, DomainMetadata]) -> None:
        """Take in machines that the ledger does not know, or knows as ones that are long gone: it
        was lost, or is an old one. What a domain remembers is the newest word, also for one whose
        manifest is gone or broken by now.
        """
        kind = self._catalogue.kinds[VM]
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

    def _accept(
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
        source = f"{desired.revision}:{self._folder}{path}" if path else SOURCE
        if key.kind == VM:
            earlier = known.obj.spec if known else {}
            manifest = defaults.complete(manifest, earlier, manifests)
        kind = self._catalogue.kinds[key.kind]
        if known is not None and self._is_another(known.obj, manifest):
            message = (
                "an operation of that name was asked for before and says something else: "
                "choose another name"
            )
            return Problem(path, manifest.line, str(key), "metadata.name", message)
        if known is not None and not known.obj.deleted:
            ready = known.status.get("phase") == "Ready"
            changed = frozen(kind, known.obj, manifest, ready=ready)
            if changed:
                return Problem(path, manifest.line, str(key), *changed[0])
        obj = accept(
            kind,
            manifest,
            known.obj if known else None,
            source,
            now,
            lambda key: self._identity(key, manifest, memories),
        )
        self._change(obj, self.trash.restore(key) if known is None else {})
        if known is None and key.kind == OPERATION and self._fresh:
            self._expire(obj, memories, now)
        return None

    def _is_another(self, known: Object, manifest: Manifest) -> bool:
        """True if an operation's name was used for something else."""
        key = manifest.key
        return key.kind == OPERATION and operation_uid(self._fleet, key, manifest.spec) != known.uid

    def _identity(
        self, key: Key, manifest: Manifest, memories: Mapping[Key, DomainMetadata]
    ) -> Identity:
        """An object's uid: what is known from the trash, a domain or a volume's name, else a new
        one.
        """
        if key.kind == OPERATION:
            return Identity(operation_uid(self._fleet, key, manifest.spec))
        if (trashed := restorable(self.trash.entries, key)) is not None:
            return Identity(trashed.obj.uid, trashed.obj.created, trashed.obj.generation + 1)
        if (memory := memories.get(key)) is not None:
            return Identity(memory.uid, memory.created, memory.generation)
        if key.kind == "VirtualDisk":
            return Identity(self._disk_uid(key) or str(uuid.uuid4()))
        return Identity(str(uuid.uuid4()))

    def _disk_uid(self, key: Key) -> str:
        """Uid of the one volume that bears this disk's name; empty if there is none, or more than
        one.
        """
        prefix = disk_prefix(self._fleet, key)
        found = {name for _, _, name in self._world.volumes() if name.startswith(prefix)}
        found = {name for name in found if len(name) == len(prefix) + 36 + len(".qcow2")}
        uids = {name[len(prefix) : -len(".qcow2")] for name in found} - self.trash.entries.keys()
        return uids.pop() if len(uids) == 1 else ""

    def _memories(self, uuids: Collection[str] | None = None) -> dict[Key, DomainMetadata]:
        """What our domains remember, by VM; of all domains, or of some. Read where objects are new:
        the ledger may have been lost.
        """
        found: dict[Key, DomainMetadata] = {}
        for _, raw in self._world.domains().values():
            if uuids is not None and raw.uuid not in uuids:
                continue
            xml = raw.inactive_xml or raw.active_xml
            memory = from_domain(parse(xml)) if "gitvirt.io/xmlns" in xml else None
            if memory is None or memory.fleet != self._fleet:
                continue
            key = Key(VM, memory.namespace, memory.name)
            if raw.uuid == domain_uuid(self._fleet, key):  # and no copy of it
                found[key] = memory
        return found

    def _expire(self, obj: Object, memories: Mapping[Key, DomainMetadata], now: float) -> None:
        """An operation from before this ledger: whether it was executed cannot be known, so it is
        not executed, unless its VM remembers it.
        """
        target = memories.get(Key(VM, obj.key.namespace, obj.spec["virtualMachineName"]))
        if target is not None and target.recorded(obj.uid):
            return
        message = "It was asked for before the agent's ledger began: ask again with a new name."
        condition = Condition("Completed", "False", "Expired", message)
        status = stamp({}, {"phase": "Failed", "conditions": [condition]}, 1, now)
        self.records[obj.key] = Record(obj, status)
        self._engine.put("status", obj.key, status)

    def _prune(
        self, desired: Desired, manifests: Mapping[Key, Manifest], confirmed: str
    ) -> Pruning:
        if not self.records.keys() - manifests.keys():
            return Pruning()
        asked = {key for key in self.records if key.kind == OPERATION}
        others = {key: each for key, each in self.records.items() if key not in asked}
        pruning = prune(desired, manifests, others, confirmed)
        if desired.broken:
            return pruning
        # an operation is withdrawn by deleting its file, also when that was the last file
        gone = sorted(
            key
            for key in asked - manifests.keys() - desired.invalid
            if not self.records[key].obj.deleted
        )
        return Pruning((*pruning.delete, *gone), pruning.held)

    # -- changes -----------------------------------------------------------------------------

    def _change(self, obj: Object, restored: Mapping[str, Json] = {}) -> None:
        known = self.records.get(obj.key)
        record = Record(obj, known.status if known else restored)
        if restored:
            self._engine.put("status", obj.key, restored)
        self.records[obj.key] = record
        self.removed.discard(obj.key)
        self._put(known.obj if known else None, obj)
        if known is None or not self._same_file(known, record):
            self.unsaved.add(obj.key)

    def _same_file(self, known: Record, new: Record) -> bool:
        """True if the status branch has the same to say of both; of secrets it says nothing."""
        return same_words(known.obj, new.obj) or (
            document(self._catalogue, known) == document(self._catalogue, new)
        )

    def _put(self, old: Object | None, obj: Object) -> None:
        self._engine.put("object", obj.key, obj)
        before = set(references(old)) if old else set()
        after = set(references(obj))
        for table, target in before - after:
            self._index(table, target, obj.key, add=False)
        for table, target in after - before:
            self._index(table, target, obj.key, add=True)

    def _index(self, table: str, target: Key, key: Key, *, add: bool) -> None:
        keys = self._indexes.setdefault((table, target), set())
        (keys.add if add else keys.discard)(key)
        self._unstated.add((table, target))

    def _state_indexes(self) -> None:
        """Once for all changes: a class may have thousands of users."""
        for index in self._unstated:
            keys = self._indexes[index]
            self._engine.put(*index, tuple(sorted(keys, key=self._age)) or None)
            if not keys:
                del self._indexes[index]
        self._unstated = set()

    def _age(self, key: Key) -> tuple[str, str]:
        each = self.records.get(key)
        return (each.obj.created if each else "", key.name)

    def _forget(self, key: Key) -> None:
        each = self.records.pop(key, None)
        if each is None:
            return
        for table, target in references(each.obj):
            self._index(table, target, key, add=False)
        self._engine.put("object", key, None)
        self._engine.put("status", key, None)
        self._engine.put("job", key, None)
        self._taken.pop(key, None)

    def remove(self, key: Key, now: float) -> None:
        """An object has gone for good; a kind that keeps data goes to the trash."""
        each = self.records[key]
        if key.kind in KEEPS_DATA:
            self.trash.put(each, now)
        self._forget(key)
        self._state_indexes()
        self.unsaved.discard(key)
        self.removed.add(key)
        self.events.append(Event(key, each.status.get("phase", ""), "", gone=True))

    def report(self, key: Key, report: Mapping[str, Any], now: float) -> None:
        """Take a decision's report as the object's status."""
        each = self.records[key]
        status: dict[str, Json] = (
            stamp(each.status, report, each.obj.generation, now) if report else {}
        )
        if status == each.status:
            return
        before, after = each.status.get("phase", ""), status.get("phase", "")
        self.events.append(Event(key, before, after, detail=news(each.status, status)))
        self.records[key] = Record(each.obj, status)
        self._engine.put("status", key, status)
        self.unsaved.add(key)

    def is_saved(self, key: Key) -> bool:
        """True if the status branch knows the object by this uid."""
        each = self.records.get(key)
        return each is not None and self.saved.get(key) == each.obj.uid


def _machine(manifest: Manifest) -> Key:
    """The VM whose domain may remember an object: of an operation the one that it is for."""
    if manifest.key.kind != OPERATION:
        return manifest.key
    return Key(VM, manifest.key.namespace, manifest.spec["virtualMachineName"])


def references(obj: Object) -> Iterator[tuple[str, Key]]:
    """The indexes in which an object stands. Of a suspended operation its VM does not know."""
    if obj.key.kind == OPERATION:
        if suspended(obj.manifest):
            return
        yield "operations", Key(VM, obj.key.namespace, obj.spec["virtualMachineName"])
    if obj.key.kind != VM:
        return
    yield "users", Key("VirtualMachineClass", "", obj.spec["virtualMachineClassName"])
    for ref in obj.spec["blockDeviceRefs"]:
        namespace = "" if ref["kind"] == "ClusterVirtualImage" else obj.key.namespace
        yield "users", Key(ref["kind"], namespace, ref["name"])
