"""Machines are placed one after the other, each with those before it in their places. Decisions say
what nodes have and what machines ask; what becomes of it are facts that decisions read again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TypeVar

from agent.core.facts import Engine
from agent.core.known import (
    BOUNDED,
    COMMITTED,
    MANNER,
    MISFIT,
    NODES,
    PLACED,
    SHIFTED,
    TAKEN,
    Table,
)
from agent.core.migrating import Manner
from agent.core.model import Key
from agent.core.nodes import own_labels
from agent.core.placement import quota
from agent.core.placement.fleet import Fleet
from agent.core.placement.quota import Quota
from agent.core.placement.rules import ANYWHERE
from agent.core.placement.shifting import Load, Mover, shifts
from agent.core.placement.tenants import Ask, Offer, Tenant, Verdict

V = TypeVar("V")

MAKES_ROOM = "node(s) were not the one with room"

ROUNDS = 20
"""How often what was placed may change what is asked within one settling."""


class Placing:
    """Holds who is where, so that one more machine costs little."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._fleet = engine, Fleet()
        self._tenants: dict[Key, Tenant] = {}
        self._offers: dict[Key, Offer] = {}
        """By the object that each node has."""
        self._quotas: dict[Key, Quota] = {}
        self._asking: set[Key] = set()
        self._granted: dict[Key, Verdict] = {}
        self._misfits: dict[Key, str] = {}
        self._shifted: dict[Key, str] = {}
        self._nodes: tuple[str, ...] | None = None
        self._looked = False
        """False if nodes may not be what they were."""
        self._forgotten = False

    def settle(self, now: float) -> set[Key]:
        """Decide all that must be decided, and place who asks for a node; the keys whose decision
        has changed.
        """
        changed: set[Key] = set()
        for _ in range(ROUNDS):
            news = self._engine.settle(now)
            changed |= news
            if self._forgotten:
                news = news | self._tenants.keys() | self._offers.keys()
                self._forgotten = False
            if not self._place({key for key in news if self._decided(key)}):
                break
        return changed

    def beside(self, others: Iterable[Tenant]) -> None:
        """Machines that nothing is decided about, where they are."""
        for tenant in others:
            self._fleet.put(tenant)

    def forget(self) -> None:
        """Objects may have gone without a word."""
        self._forgotten = True

    def _decided(self, key: Key) -> bool:
        """Take in what a decision says of placement; true if that of a machine is news."""
        decision = self._engine.decisions.get(key)
        offer, tenant = (decision.offer, decision.tenant) if decision else (None, None)
        self._bound(key, decision.quota if decision else None)
        if self._offers.get(key) != offer:
            _keep(self._offers, key, offer)
            self._looked = False
        if self._tenants.get(key) == tenant:
            return False
        _keep(self._tenants, key, tenant)
        return True

    def _bound(self, key: Key, bounds: Quota | None) -> None:
        if self._quotas.get(key) != bounds:
            _keep(self._quotas, key, bounds)
            self._looked = False
            there = any(each.namespace == key.namespace for each in self._quotas)
            self._engine.put(BOUNDED, key.namespace, there or None)

    def _place(self, touched: set[Key]) -> bool:
        """True if what is stated may have changed."""
        new = self._look()
        if not touched and not new:
            return False
        for key in touched:
            self._moved(key)
        for key in self._suspects(touched, every=new):
            self._judge(key)
        for key in sorted(self._asking, key=self._turn):
            self._grant(key)
        self._relieve()
        for namespace in {key.namespace for key in self._quotas}:
            used = quota.taken(self._fleet.of(namespace))
            self._engine.put(TAKEN, namespace, tuple(sorted(used.items())))
        if len(self._nodes or ()) > 1:
            for node, taken in self._fleet.committed().items():
                self._engine.put(COMMITTED, node, taken)
        return True

    def _look(self) -> bool:
        """Take the nodes in; true if they have changed."""
        nodes = self._engine.get(NODES, None) or ()
        if self._looked and nodes == self._nodes:
            return False
        self._nodes, self._looked = nodes, True
        offers = {offer.name: offer for offer in self._offers.values()}
        self._fleet.have(offers.get(name) or Offer(name, own_labels(name)) for name in nodes)
        return True

    def _moved(self, key: Key) -> None:
        """A machine has changed, come or gone."""
        tenant = self._tenants.get(key)
        self._fleet.remove(key)
        self._fleet.remove(_arriving(key))
        self._asking.discard(key)
        if tenant is None or tenant.ask is None:
            self._engine.put(PLACED, key, None)
            self._granted.pop(key, None)
        if tenant is None:
            self._engine.put(MISFIT, key, None)
            self._misfits.pop(key, None)
            return
        self._fleet.put(tenant)
        if tenant.ask is not None:
            self._asking.add(key)

    def _suspects(self, touched: set[Key], *, every: bool) -> Iterable[Key]:
        """Machines that may not fit their nodes, or may fit by now. What others do makes nobody a
        misfit that was none.
        """
        keys = self._tenants.keys() if every else touched | self._misfits.keys()
        there = (self._tenants[key] for key in keys if key in self._tenants)
        return [each.key for each in sorted(there, key=_rank)]

    def _judge(self, key: Key) -> None:
        """A misfit is minded by nobody: of two that may not be together one has to go."""
        tenant = self._tenants[key]
        why = self._fleet.misfit(tenant) if tenant.on else ""
        if why:
            self._fleet.put(replace(tenant, labels={}, rules=ANYWHERE))
        elif key in self._misfits:
            self._fleet.put(tenant)
        self._state(MISFIT, self._misfits, key, why or None)

    def _turn(self, key: Key) -> tuple[bool, tuple[int, str, Key]]:
        """Who has been granted a node keeps it, also where somebody of a higher rank comes."""
        granted = self._granted.get(key)
        return granted is None or not granted.node, _rank(self._tenants[key])

    def _grant(self, key: Key) -> None:
        tenant = self._tenants[key]
        assert tenant.ask is not None  # noqa: S101  # it is asking
        self._fleet.remove(_arriving(key))
        why = "" if tenant.ask.rests else self._exceeds(tenant)
        verdict = Verdict(message=why) if why else self._fleet.place(tenant, tenant.ask)
        if tenant.on and verdict.node:
            self._fleet.put(replace(tenant, key=_arriving(key), at=verdict.node, ask=None))
        elif not tenant.on:
            at = verdict.node or tenant.at
            self._fleet.put(replace(tenant, at=at, on=bool(verdict.node) and not tenant.ask.rests))
        self._state(PLACED, self._granted, key, verdict)

    def _relieve(self) -> None:
        """Say who is to make room on nodes that are short of memory, where that is wanted."""
        wanted = (self._engine.get(MANNER, None) or Manner()).load_shifting
        taken = dict(self._fleet.committed()) if wanted else {}
        found: Mapping[Key, str] = {}
        if any(load.short for load in self._loads(taken)):  # counts who leaves twice: at most that
            movers = list(self._movers(taken))
            found = shifts(self._loads(taken), movers, self._fits)
        for key in self._shifted.keys() - found.keys():
            self._state(SHIFTED, self._shifted, key, None)
        for key, target in found.items():
            self._state(SHIFTED, self._shifted, key, target)

    def _loads(self, taken: Mapping[str, int]) -> list[Load]:
        offers = (self._fleet.offers[name] for name in taken)
        return [
            Load(
                each.name,
                each.memory,
                each.taken + taken[each.name],
                takes=each.ready and not each.unschedulable,
            )
            for each in offers
            if each.memory
        ]

    def _movers(self, taken: dict[str, int]) -> Iterator[Mover]:
        """Who may be asked to make room. In `taken` they are then where they are alone, and others
        that are on their way where they go to alone.
        """
        for key, tenant in self._tenants.items():
            verdict = self._granted.get(key)
            goes = verdict.node if verdict is not None and tenant.on else ""
            if tenant.gives is not None:
                yield Mover(key, tenant.at, tenant.memory)
            if goes:
                taken[goes if tenant.gives is not None else tenant.at] -= tenant.memory

    def _fits(self, key: Key, node: str) -> bool:
        tenant = self._tenants[key]
        assert tenant.gives is not None  # noqa: S101  # only such are asked about
        others = dict.fromkeys(self._fleet.offers.keys() - {node}, MAKES_ROOM)
        ask = Ask({**tenant.gives.barred, **others}, tenant.gives.handy)
        self._fleet.remove(_arriving(key))  # it may have been granted just that
        fits = self._fleet.place(tenant, ask).node == node
        self._arrives(key)
        return fits

    def _arrives(self, key: Key) -> None:
        """Who is on is counted where it is about to go beside where it is."""
        tenant, verdict = self._tenants[key], self._granted.get(key)
        if tenant.on and verdict is not None and verdict.node:
            self._fleet.put(replace(tenant, key=_arriving(key), at=verdict.node, ask=None))

    def _exceeds(self, tenant: Tenant) -> str:
        """Which quota a machine would exceed; one that moves is there twice for a while."""
        namespace = tenant.key.namespace
        bounds = [each for key, each in self._quotas.items() if key.namespace == namespace]
        if not bounds:
            return ""
        there = self._fleet.of(namespace)
        beside = [each for each in there if tenant.on or each.key != tenant.key]
        return next(filter(None, (quota.exceeded(each, tenant, beside) for each in bounds)), "")

    def _state(self, table: Table[Key, V], stated: dict[Key, V], key: Key, value: V | None) -> None:
        _keep(stated, key, value)
        self._engine.put(table, key, value)


def _keep(known: dict[Key, V], key: Key, value: V | None) -> None:
    if value is None:
        known.pop(key, None)
    else:
        known[key] = value


def _rank(tenant: Tenant) -> tuple[int, str, Key]:
    return tenant.rank


def _arriving(key: Key) -> Key:
    """Stands for a machine where it is about to go."""
    return Key("", key.namespace, key.name)
