"""Who is where, counted by the terms that ask for it: each count is made once and kept up."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from agent.core.model import Key
from agent.core.placement.labels import Labels
from agent.core.placement.rules import Term, Who
from agent.core.placement.tenants import Tenant

Together = tuple[Who, ...]
"""Machines that all of these mean."""


V = TypeVar("V")


class _Index(Generic[V]):
    """Finds what means a machine without looking at what does not: by one label that it must
    have.
    """

    def __init__(self) -> None:
        self._by_label: dict[tuple[str, str], list[tuple[Together, V]]] = {}
        self._others: list[tuple[Together, V]] = []

    def add(self, who: Together, value: V) -> None:
        label = _label(who)
        listed = self._others if label is None else self._by_label.setdefault(label, [])
        listed.append((who, value))

    def meaning(self, labels: Labels, namespace: str) -> Iterator[V]:
        for item in labels.items():
            yield from _meaning(self._by_label.get(item, ()), labels, namespace)
        yield from _meaning(self._others, labels, namespace)


def _meaning(listed: Iterable[tuple[Together, V]], labels: Labels, namespace: str) -> Iterator[V]:
    return (value for who, value in listed if means(who, labels, namespace))


def _label(who: Together) -> tuple[str, str] | None:
    """A label that all of them have; None if there is none that could be told beforehand."""
    for each in (each for one in who for each in one.labels or ()):
        if each.operator == "In" and len(each.values) == 1:
            return each.key, each.values[0]
    return None


def means(who: Together, labels: Labels, namespace: str) -> bool:
    return all(each.means(labels, namespace) for each in who)


Counts = dict[str, int]
"""By a value of a topology's label; 0 where it is not there."""


class Neighbours:
    """Machines that are on, by node, and what they think of others."""

    def __init__(self, labels: Mapping[str, Labels] = {}) -> None:
        """`labels` are those of the nodes, by name."""
        self._labels = labels
        self._there: dict[Key, tuple[Tenant, str]] = {}
        self._labelled: dict[tuple[str, str], dict[Key, tuple[Tenant, str]]] = defaultdict(dict)
        """The same, by each of their labels."""
        self._counted: dict[tuple[Together, str], Counts] = {}
        self._asked: _Index[tuple[Together, str]] = _Index()
        self._minded: dict[tuple[Term, int], Counts] = {}
        """Machines that mind others, by what they mind and how much, 0 for not at all."""
        self._minders: _Index[tuple[Term, int]] = _Index()

    def add(self, tenant: Tenant, node: str) -> None:
        self._there[tenant.key] = tenant, node
        for label in tenant.labels.items():
            self._labelled[label][tenant.key] = tenant, node
        self._count(tenant, node, 1)

    def remove(self, tenant: Tenant, node: str) -> None:
        del self._there[tenant.key]
        for label in tenant.labels.items():
            del self._labelled[label][tenant.key]
        self._count(tenant, node, -1)

    def counts(self, who: Together, topology: str) -> Mapping[str, int]:
        """How many of them are at each value of a node label; values without any are not there."""
        key = (who, topology)
        counts = self._counted.get(key)
        if counts is None:
            counts = self._counted[key] = {}
            self._asked.add(who, key)
            label = _label(who)
            there = self._there if label is None else self._labelled[label]
            for tenant, node in there.values():
                at = self._labels.get(node, {}).get(topology)
                if at is not None and means(who, tenant.labels, tenant.key.namespace):
                    _bump(counts, at, 1)
        return counts

    def minding(self, tenant: Tenant) -> Iterator[tuple[str, int, Mapping[str, int]]]:
        """What others who are there think of a machine: node label, weight (0: it must not come),
        and how many think so at each value.
        """
        for term, weight in self._minders.meaning(tenant.labels, tenant.key.namespace):
            if counts := self._minded[term, weight]:
                yield term.topology, weight, counts

    def _count(self, tenant: Tenant, node: str, by: int) -> None:
        labels = self._labels.get(node, {})
        for who, topology in self._asked.meaning(tenant.labels, tenant.key.namespace):
            if (at := labels.get(topology)) is not None:
                _bump(self._counted[who, topology], at, by)
        for term, weight in _minds(tenant):
            if (term, weight) not in self._minded:
                self._minded[term, weight] = {}
                self._minders.add((term.who,), (term, weight))
            if (at := labels.get(term.topology)) is not None:
                _bump(self._minded[term, weight], at, by)


def _minds(tenant: Tenant) -> Iterator[tuple[Term, int]]:
    """A machine that must be near another likes it to stay near, a little."""
    rules = tenant.rules
    yield from ((term, 0) for term in rules.apart)
    yield from ((term, 1) for term in rules.near)
    yield from ((term, weight) for weight, term in rules.rather_near)


def _bump(counts: Counts, at: str, by: int) -> None:
    new = counts.get(at, 0) + by
    if new:
        counts[at] = new
    else:
        counts.pop(at, None)
