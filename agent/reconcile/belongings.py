"""Objects that the agent makes for others, and that go with them: nobody has a manifest of them."""

from __future__ import annotations

from dataclasses import replace

from agent.core.facts import Decision
from agent.core.identity import made_uid
from agent.core.ledger import Record
from agent.core.model import Key, Object, Owner
from agent.core.status import timestamp
from agent.reconcile.book import Book


class Belongings:
    """What belongs to whom is said by the objects themselves, in the ledger."""

    def __init__(self, book: Book) -> None:
        self._book = book

    def decided(self, key: Key, decision: Decision, now: float) -> None:
        """Have what a decision wants for its object, and begin to delete what it does not want any
        more. What somebody else has under such a name is left alone.
        """
        owner = self._book.records.get(key)
        if owner is None:
            return
        named = Owner(key.kind, key.name, owner.obj.uid)
        for manifest in decision.makes:
            uid = made_uid(owner.obj.uid, manifest.key)
            known = self._book.records.get(manifest.key)
            if known is None:
                belongs_to = None if manifest.key in self._book.locks else named
                source, created = owner.obj.source, timestamp(now)
                self._book.keep(Object(manifest, uid, 1, created, source, owner=belongs_to))
            elif known.obj.deleted and (known.obj.owner == named or known.obj.uid == uid):
                # one that somebody had declared, and does not any more, was made for it as well
                self._book.keep(replace(known.obj, deleted="", owner=named))
        if decision.becomes is not None and decision.becomes != owner.obj.manifest:
            generation = owner.obj.generation + 1
            self._book.keep(replace(owner.obj, manifest=decision.becomes, generation=generation))
        for other in sorted(decision.drops):
            self._drop(self._book.records.get(other), named, now)

    def renewed(self, key: Key, decision: Decision | None, now: float) -> None:
        """Have objects begin anew, or come back, for an operation."""
        for renewal in decision.renews if decision is not None else ():
            record = self._book.records.get(renewal.key)
            if record is None or record.obj.uid != renewal.before:
                continue
            back = self._book.trash.take(renewal.uid) if renewal.back else None
            if renewal.back and back is None:
                continue  # it was erased in this moment
            self._book.remove(renewal.key, now, replaced_by=key.name)
            generation = record.obj.generation + 1  # what is decided of it next is news
            created = timestamp(now) if back is None else back.obj.created
            obj = replace(record.obj, uid=renewal.uid, generation=generation, created=created)
            self._book.keep(obj, {**(back.status if back else {}), **renewal.status})

    def orphaned(self, gone: Record, now: float) -> None:
        """Whoever goes takes along what is left of its own."""
        key = gone.obj.key
        named = Owner(key.kind, key.name, gone.obj.uid)
        for other in sorted(self._book.owned):
            if other.namespace == key.namespace:
                self._drop(self._book.records.get(other), named, now)

    def outlived(self, record: Record) -> bool:
        """True if an object goes although the one that it was made for, in the end, stays: it is
        not wanted any more, and nothing of it is to be kept.
        """
        top = record
        while top.obj.owner is not None:
            owner = top.obj.owner
            above = self._book.records.get(Key(owner.kind, top.obj.key.namespace, owner.name))
            if above is None or above.obj.uid != owner.uid:
                return False
            top = above
        return top is not record and not top.obj.deleted

    def _drop(self, record: Record | None, owner: Owner, now: float) -> None:
        if record is not None and record.obj.owner == owner and not record.obj.deleted:
            self._book.keep(replace(record.obj, deleted=timestamp(now)))
