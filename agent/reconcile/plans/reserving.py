"""In a plan, too, what is reserved for objects is made by itself, and Git shows it at once."""

from __future__ import annotations

from dataclasses import replace

from agent.core.facts import Decision
from agent.core.ledger import Record
from agent.core.model import Key, Object
from agent.core.schema import Catalogue
from agent.kinds.registry import RECORDS
from agent.reconcile.belongings import Belongings
from agent.reconcile.book import Book


class Reserving:
    """Takes in what decisions of a plan want to be reserved, and nothing else that they make."""

    def __init__(self, book: Book, now: float) -> None:
        self._book, self._now = book, now
        self._belongings = Belongings(book)

    def decided(self, key: Key, decision: Decision) -> bool:
        """True if something was taken in."""
        if decision.gone or key not in self._book.records:
            return False
        mine = replace(
            decision,
            makes=tuple(each for each in decision.makes if self._is_reserved(each.key)),
            drops=frozenset(filter(self._is_reserved, decision.drops)),
        )
        news = bool(mine.makes or mine.drops or mine.becomes)
        if news:
            self._belongings.decided(key, mine, self._now)
            self._book.locks.written(lambda _: True)
        if self._is_reserved(key) and decision.status is not None:
            before = self._book.records[key]
            self._book.report(key, decision.status, self._now)
            news = news or self._book.records[key] is not before
        return news

    def state(self) -> None:
        """Have decisions know of all that was taken in."""
        self._book.state()

    def gone(self, record: Record) -> None:
        """What was reserved for an object goes with it."""
        self._belongings.orphaned(record, self._now)

    def _is_reserved(self, key: Key) -> bool:
        return key in self._book.locks or RECORDS[key.kind].locks is not None


def by_itself(catalogue: Catalogue, obj: Object) -> bool:
    """True for what the agent makes: no manifest says anything of it."""
    return obj.owner is not None or catalogue.kinds[obj.key.kind].lock
