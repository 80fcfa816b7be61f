"""Addresses that domains remember, as facts: whoever has one has it, whatever a ledger says."""

from __future__ import annotations

from collections import Counter
from typing import Any

from agent.core.facts import Engine
from agent.core.host import RawDomain
from agent.core.known import RESERVED, USED_BY, WIRED, Fact
from agent.core.metadata import Remembered, addresses, macs
from agent.core.model import Key


class Addresses:
    """Counts who remembers what: a domain may be on two nodes at once while it moves."""

    def __init__(self, engine: Engine, fleet: str) -> None:
        self._engine, self._fleet = engine, fleet
        self._known: dict[Fact, Counter[Any]] = {}

    def read(self, old: RawDomain | None, new: RawDomain | None) -> None:
        """A domain has been read anew."""
        uuid = (new or old or _NOBODY).uuid
        wired, wires = _macs(old), _macs(new)
        for mac in wired ^ wires:
            self._amend((WIRED, mac), uuid, 1 if mac in wires else -1)
        before, after = _of(old), _of(new)
        for each in before - after:
            self._count(each, -1)
        for each in after - before:
            self._count(each, 1)

    def _count(self, each: Remembered, step: int) -> None:
        key = Key(each.reserved.kind, each.namespace, each.reserved.name)
        ours = each.fleet == self._fleet
        named = str(key) if ours else f"{key} of fleet {each.fleet}"
        self._amend((USED_BY, (key.kind, each.reserved.address)), named, step)
        if ours:
            self._amend((RESERVED, key), (each.reserved.address, each.machine), step)

    def _amend(self, fact: Fact, value: Any, step: int) -> None:
        known = self._known.setdefault(fact, Counter())
        known[value] += step
        if not known[value]:
            del known[value]
        if not known:
            del self._known[fact]
        self._engine.put(*fact, tuple(sorted(known)) or None)


_NOBODY = RawDomain("", "", "", "", "")


def _macs(raw: RawDomain | None) -> frozenset[str]:
    return macs(raw.inactive_xml) | macs(raw.active_xml) if raw else frozenset()


def _of(raw: RawDomain | None) -> frozenset[Remembered]:
    return addresses(raw.inactive_xml) | addresses(raw.active_xml) if raw else frozenset()
