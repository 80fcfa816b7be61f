"""Facts in, decisions out: the incremental heart of a pass.

Every input of a decision is a fact: a value in one of the tables of `core.known`. A decision is a
pure function of the facts that it reads through its `View`; who read what is remembered, so that a
changed fact makes just its readers decide again, and of those who read a part of it just the ones
for whom that part is another. A pass therefore costs in proportion to what changed, and the result
is the same as deciding everything anew.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from agent.core.actions import Action
from agent.core.changes import Change
from agent.core.drift import NO_DRIFT, Drift
from agent.core.jobs import IDLE, Job
from agent.core.known import (
    EXPORT,
    FLEET,
    JOB,
    OBJECT,
    STATUS,
    UNDER_WAY,
    Fact,
    K,
    Table,
    V,
)
from agent.core.mistakes import INTERNAL, mistake
from agent.core.model import Condition, Json, Key, Manifest, Object
from agent.core.placement.quota import Quota
from agent.core.placement.tenants import Offer, Tenant
from agent.core.proposals import Proposal
from agent.core.status import still

E = TypeVar("E")
P = TypeVar("P")

log = logging.getLogger("gitvirt")

AGAIN = 300.0
"""Seconds until a decision that failed by a mistake in this program is tried again by itself."""
UNDECIDED = "Reconciled"
"""Type of the condition that tells of it."""
MAX_ROUNDS = 20
"""How often one object may be decided again within one settling before that is called a bug."""


@dataclass(frozen=True)
class Renewal:
    """One object goes to the trash with its data, as if it had been deleted, and another one of its
    name stands in its place, which its data is yet to be made for.
    """

    key: Key
    before: str
    """Its uid until now: it is renewed once."""
    uid: str
    status: Mapping[str, Json]
    """What the new one begins with: written down before anything is made."""
    told: str
    """What becomes of it, in a sentence, for plans."""
    back: bool = False
    """True if what stands in its place comes back from the trash, with its data."""


@dataclass(frozen=True)
class Passage:
    """A machine that goes from one node to another, or is about to."""

    source: str
    target: str
    begun: bool
    """False while it waits for its turn: then its actions are those that begin it."""
    asked: str = ""
    """When somebody asked for it: the oldest goes first."""


@dataclass(frozen=True)
class Decision:
    """What is to be done about one object, and what to say of it."""

    status: Mapping[str, Any] | None = None
    """The object's status; conditions are `Condition` values without times (core.status stamps
    them). None keeps what the ledger holds.
    """
    actions: tuple[Action, ...] = ()
    """Carried out in this order by one worker, until one fails. A download under way goes on while
    it stands here.
    """
    why: str = ""
    """Why the actions are done and for whom, for logs; empty where the manifest wants them."""
    export: Any = None
    """What later kinds may know of it, compared by value."""
    retired: tuple[Mapping[str, Json], ...] = ()
    """What is remembered of data that the object has left, as a status says it: it goes to the
    trash in the commit that says what the object has instead.
    """
    publish: Mapping[Fact, Any] = field(default_factory=dict)
    """Facts that this decision states about others (a disk's users, an operation's progress)."""
    changes: tuple[Change, ...] = ()
    """Differences between what runs and what is wanted."""
    drift: Drift = NO_DRIFT
    """What somebody changed by hand."""
    wake: float | None = None
    """Seconds since the epoch at which this decision may change by itself."""
    makes: tuple[Manifest, ...] = ()
    """Objects that are to be there for this one, and belong to it."""
    drops: frozenset[Key] = frozenset()
    """Those of them that are not to be there any more."""
    becomes: Manifest | None = None
    """What an object that the agent made says from now on."""
    renews: tuple[Renewal, ...] = ()
    """Objects that begin anew, with other data than they had."""
    proposes: Proposal | None = None
    """Manifests for people to merge; what becomes of them is a fact in time."""
    gone: bool = False
    """True if nothing of a deleted object is left: it leaves the ledger."""
    waiting: bool = False
    """True while something under way will go on by itself; `run --once` waits for it."""
    tenant: Tenant | None = None
    """Of a machine: what it asks of its node, and how it stands there."""
    quota: Quota | None = None
    """What the machines of its namespace may take together, as the object says."""
    offer: Offer | None = None
    """Of a node: what it has for machines."""
    passage: Passage | None = None
    """Of a machine that moves. So many leave a node at once, and so many come to one."""
    expects: bool = False
    """True while somebody may upload its data: no event tells of that, so nodes are looked at."""
    ok: bool = True
    """False while the object is not as its manifest wants it."""


Decide = Callable[[Object, "View"], Decision]
Parts = tuple[tuple[Callable[[Any], Any], tuple[Any, ...]], ...]
"""Functions, with what each may make of a fact."""
WHOLE: Parts = ()
"""Stands for all of a fact."""


class View:
    """What one decision may look at. Every look is remembered."""

    def __init__(self, engine: Engine, now: float) -> None:
        self._facts = engine.facts
        self.now = now
        self.reads: dict[Fact, Parts] = {}
        """What the decision depends on."""

    def read(self, table: Table[K, V], key: K) -> V | None:
        """The fact under that key, or None."""
        fact = (table, key)
        self.reads[fact] = WHOLE
        return self._facts.get(fact)

    def part(self, table: Table[K, V], key: K, of: Callable[[V | None], P]) -> P:
        """What `of`, a pure function that never fails, makes of the fact: a new value of which it
        makes the same is no reason to decide again.
        """
        fact = (table, key)
        seen = of(self._facts.get(fact))
        known = self.reads.get(fact)
        if known is not WHOLE:
            self.reads[fact] = (*(known or ()), (of, (seen,)))
        return seen

    def foresee(self, table: Table[K, V], key: K, of: Callable[[V | None], P], value: P) -> None:
        """The decision itself has a part of a fact become this, and stays the same then."""
        fact = (table, key)
        self.reads[fact] = tuple(
            (each, (*seen, value) if each is of else seen) for each, seen in self.reads[fact]
        )

    def object(self, key: Key) -> Object | None:
        return self.read(OBJECT, key)

    def export(self, what: type[E], key: Key) -> E | None:
        """What the object's own decision exported; None if that is nothing of that class."""
        exported = self.read(EXPORT, key)
        return exported if isinstance(exported, what) else None

    def job(self, key: Key) -> Job:
        """What is being done for an object."""
        return self.read(JOB, key) or IDLE

    def under_way(self, key: Key) -> bool:
        """True if the object gets somewhere by itself."""
        return self.read(UNDER_WAY, key) is not None

    def previous(self, key: Key) -> Mapping[str, Json]:
        """The status that the ledger holds for an object."""
        return self.read(STATUS, key) or {}

    @property
    def fleet(self) -> str:
        return self.read(FLEET, None) or ""


class Engine:
    """Holds the facts, and the decision of every object."""

    def __init__(self, order: Mapping[str, int], decide: Mapping[str, Decide]) -> None:
        self._order = order
        self._decide = decide
        self.facts: dict[Fact, Any] = {}
        self._readers: dict[Fact, dict[Key, Parts]] = {}
        self._reads: dict[Key, dict[Fact, Parts]] = {}
        self._published: dict[Key, frozenset[Fact]] = {}
        self._dirty: set[Key] = set()
        self._wakes: list[tuple[float, Key]] = []
        self.decisions: dict[Key, Decision] = {}
        self._generations: dict[Key, int] = {}
        """Of each object when it was last decided."""

    def get(self, table: Table[K, V], key: K) -> V | None:
        """A fact, without a trace."""
        return self.facts.get((table, key))

    def put(self, table: Table[K, V], key: K, value: V | None) -> None:
        """State a fact; None takes it back. An equal value changes nothing."""
        fact = (table, key)
        old = self.facts.get(fact)
        if old is value or old == value:
            return
        if value is None:
            del self.facts[fact]
        else:
            self.facts[fact] = value
        for reader, parts in self._readers.get(fact, _NOBODY).items():
            if parts is WHOLE or (reader not in self._dirty and _differs(parts, value)):
                self._dirty.add(reader)
        if isinstance(key, Key) and table is OBJECT:
            self._dirty.add(key)

    def touch(self, keys: Iterable[Key]) -> None:
        """Have these objects decided again."""
        self._dirty.update(keys)

    def only(self, keys: Iterable[Key]) -> None:
        """Have these objects decided, and no others until one of their facts changes."""
        self._dirty = {key for key in keys if (OBJECT, key) in self.facts}

    def forget(self) -> None:
        """Let every decision count as a new one when its object is decided next."""
        self.decisions.clear()

    def next_wake(self) -> float | None:
        """When time alone may change a decision; None if never."""
        while self._wakes and self._stale(self._wakes[0]):
            heapq.heappop(self._wakes)
        return self._wakes[0][0] if self._wakes else None

    def settle(self, now: float) -> set[Key]:
        """Decide all that must be decided; the keys whose decision has changed."""
        while (due := self.next_wake()) is not None and due <= now:
            self._dirty.add(heapq.heappop(self._wakes)[1])
        changed: set[Key] = set()
        rounds: dict[Key, int] = {}
        while self._dirty:
            kind = min({key.kind for key in self._dirty}, key=self._order.__getitem__)
            # an earlier kind's news may change what a later kind decides
            for key in sorted(key for key in self._dirty if key.kind == kind):
                self._dirty.discard(key)
                rounds[key] = rounds.get(key, 0) + 1
                if rounds[key] > MAX_ROUNDS:
                    raise RuntimeError(f"decisions about {key} never settle")
                if self._redecide(key, now):
                    changed.add(key)
        return changed

    def _redecide(self, key: Key, now: float) -> bool:
        obj = self.get(OBJECT, key)
        old = self.decisions.get(key)
        view = View(self, now)
        if obj is None:
            self._reads_from_now_on(key, view)
            self._publish(key, {})
            self.put(EXPORT, key, None)
            self.put(UNDER_WAY, key, None)
            self._generations.pop(key, None)
            return self.decisions.pop(key, None) is not None
        new = self._decided(obj, view, old)
        self._reads_from_now_on(key, view)
        self._publish(key, new.publish)
        self.put(EXPORT, key, new.export)
        self.put(UNDER_WAY, key, new.waiting or None)
        if new.wake is not None and (old is None or old.wake != new.wake or new.wake <= now):
            heapq.heappush(self._wakes, (new.wake, key))
        self.decisions[key] = new
        # a status says which generation it is about: with a new one an equal decision counts as new
        same = old == new and self._generations.get(key) == obj.generation
        self._generations[key] = obj.generation
        return not same

    def _reads_from_now_on(self, key: Key, view: View) -> None:
        """Remember what a decision depends on, and keep no list of facts that nobody reads: objects
        come and go.
        """
        before, now = self._reads.get(key, _NOTHING), view.reads
        for fact in before.keys() - now.keys():
            readers = self._readers[fact]
            del readers[key]
            if not readers:
                del self._readers[fact]
        for fact, parts in now.items():
            if before.get(fact) is not parts:
                known = self._readers.get(fact)
                if known is None:
                    known = self._readers[fact] = {}
                known[key] = parts
        if now:
            self._reads[key] = now
        else:
            self._reads.pop(key, None)

    def _decided(self, obj: Object, view: View, old: Decision | None) -> Decision:
        """A new decision. Where a rule fails by a mistake, what was known stays, nothing is done,
        and nobody else is kept waiting.
        """
        try:
            return self._decide[obj.key.kind](obj, view)
        except Exception as error:
            log.exception("%s: a mistake in gitvirt itself", obj.key)
            return replace(
                old or Decision(),
                status=_told(view.previous(obj.key), error),
                actions=(),
                drops=frozenset(),
                becomes=None,
                wake=view.now + AGAIN,
                gone=False,
                waiting=False,
                ok=False,
            )

    def _publish(self, key: Key, facts: Mapping[Fact, Any]) -> None:
        if not facts and key not in self._published:
            return
        for fact in self._published.get(key, frozenset()) - facts.keys():
            self.put(*fact, None)
        for fact, value in facts.items():
            self.put(*fact, value)
        if facts:
            self._published[key] = frozenset(facts)
        else:
            self._published.pop(key, None)

    def _stale(self, wake: tuple[float, Key]) -> bool:
        decision = self.decisions.get(wake[1])
        return decision is None or decision.wake != wake[0]


_NOBODY: Mapping[Key, Parts] = {}
_NOTHING: Mapping[Fact, Parts] = {}


def _differs(parts: Parts, value: Any) -> bool:
    """True if one of them is another by now."""
    return any(of(value) not in seen for of, seen in parts)


def _told(previous: Mapping[str, Json], error: Exception) -> dict[str, Any]:
    """The last status, with the mistake."""
    message = f"Nothing is done about it: {mistake(error)}."
    return still(previous, Condition(UNDECIDED, "False", INTERNAL, message))
