"""What a machine asks of its node, and a node of its machines: values that compare and hash."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from agent.core.model import Json
from agent.core.placement.labels import (
    Labels,
    Requirement,
    Requirements,
    exactly,
    expressions,
    requirements,
)

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
FIELD = "field:"
"""Begins the key of a requirement about a field of the node: no label has a ':'."""
NAME = f"{FIELD}metadata.name"
NO_SCHEDULE: Final = "NoSchedule"
PREFER_NO_SCHEDULE: Final = "PreferNoSchedule"
NO_EXECUTE: Final = "NoExecute"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
"""The one label that each namespace has by itself."""


@dataclass(frozen=True, slots=True)
class Taint:
    key: str
    value: str
    effect: str


UNSCHEDULABLE = Taint("node.kubernetes.io/unschedulable", "", NO_SCHEDULE)
"""The mark that a cordoned node has in Kubernetes: whoever bears it is placed there."""


@dataclass(frozen=True, slots=True)
class Toleration:
    key: str = ""
    exists: bool = False
    value: str = ""
    effect: str = ""

    def bears(self, taint: Taint) -> bool:
        if self.effect and self.effect != taint.effect:
            return False
        if self.key != taint.key and (self.key or not self.exists):
            return False
        return self.exists or self.value == taint.value


@dataclass(frozen=True, slots=True)
class Who:
    """Machines by their labels and namespaces. Without requirements nobody is meant."""

    labels: Requirements | None
    namespaces: frozenset[str]
    among: Requirements | None = None
    """Further namespaces, by their labels."""

    def means(self, labels: Labels, namespace: str) -> bool:
        if self.labels is None or not all(each.holds(labels) for each in self.labels):
            return False
        if namespace in self.namespaces:
            return True
        if self.among is None:
            return False
        own = {NAMESPACE_NAME: namespace}
        return all(each.holds(own) for each in self.among)


@dataclass(frozen=True, slots=True)
class Term:
    """Neighbours, and the node label that says what is the same place."""

    who: Who
    topology: str


@dataclass(frozen=True, slots=True)
class Spread:
    who: Who
    topology: str
    skew: int
    must: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """What a machine asks of its node."""

    selector: Requirements = ()
    """Labels that the node must have."""
    required: tuple[Requirements, ...] | None = None
    """Alternatives, of which one must hold; None where nothing is asked for."""
    preferred: tuple[tuple[int, Requirements], ...] = ()
    near: tuple[Term, ...] = ()
    apart: tuple[Term, ...] = ()
    rather_near: tuple[tuple[int, Term], ...] = ()
    """Weights: those of terms of the anti-affinity are negative."""
    spread: tuple[Spread, ...] = ()
    tolerations: tuple[Toleration, ...] = ()

    @property
    def social(self) -> bool:
        """True if its place depends on where others are."""
        return bool(self.near or self.apart or self.rather_near or self.spread)


ANYWHERE = Rules()


def rules(
    spec: Mapping[str, Json],
    labels: Labels,
    namespace: str,
    among: Mapping[str, Json] = {},
    borne: Iterable[Mapping[str, Json]] = (),
) -> Rules:
    """What a machine's spec asks for, together with what its class does: the class's nodeSelector
    (`among`) wins over the same label of the machine's own, and what it bears (`borne`) is added.
    """
    affinity = spec.get("affinity") or {}
    exact = {**(spec.get("nodeSelector") or {}), **(among.get("matchLabels") or {})}
    narrowed = tuple(expressions(among.get("matchExpressions")))
    about_nodes = affinity.get("nodeAffinity") or {}
    near = affinity.get("virtualMachineAndPodAffinity") or {}
    apart = affinity.get("virtualMachineAndPodAntiAffinity") or {}
    made = Rules(
        selector=(*exactly(exact), *narrowed),
        required=_alternatives(about_nodes.get(REQUIRED)),
        preferred=tuple(
            (each["weight"], wanted)
            for each in about_nodes.get(PREFERRED) or ()
            if (wanted := _node_term(each["preference"]))
        ),
        near=tuple(_term(each, labels, namespace) for each in near.get(REQUIRED) or ()),
        apart=tuple(_term(each, labels, namespace) for each in apart.get(REQUIRED) or ()),
        rather_near=(
            *_weighted(near.get(PREFERRED), 1, labels, namespace),
            *_weighted(apart.get(PREFERRED), -1, labels, namespace),
        ),
        spread=tuple(_spread(each, namespace) for each in spec.get(SPREAD) or ()),
        tolerations=tuple(toleration(each) for each in (*(spec.get("tolerations") or ()), *borne)),
    )
    return ANYWHERE if made == ANYWHERE else made


SPREAD = "topologySpreadConstraints"
FIELDS = ("nodeSelector", "affinity", "tolerations", SPREAD)
"""Fields of a machine's spec that say where it may be."""


def taints(listed: Iterable[Mapping[str, Json]]) -> tuple[Taint, ...]:
    return tuple(Taint(each["key"], each.get("value") or "", each["effect"]) for each in listed)


def _alternatives(required: Mapping[str, Json] | None) -> tuple[Requirements, ...] | None:
    """A term that says nothing holds nowhere, as in Kubernetes."""
    if not required:
        return None
    terms = (_node_term(term) for term in required["nodeSelectorTerms"])
    return tuple(term for term in terms if term)


def _node_term(term: Mapping[str, Json]) -> Requirements:
    fields = expressions(term.get("matchFields"))
    named = (Requirement(f"{FIELD}{each.key}", each.operator, each.values) for each in fields)
    return (*expressions(term.get("matchExpressions")), *named)


def _weighted(
    listed: Json, sign: int, labels: Labels, namespace: str
) -> Iterator[tuple[int, Term]]:
    for each in listed or ():
        term = _term(each["virtualMachineAndPodAffinityTerm"], labels, namespace)
        yield sign * each["weight"], term


def _term(term: Mapping[str, Json], labels: Labels, namespace: str) -> Term:
    selector, among = term.get("labelSelector"), term.get("namespaceSelector")
    wanted = None if selector is None else requirements(selector)
    if wanted is not None:
        wanted += tuple(_own(term.get("matchLabelKeys"), "In", labels))
        wanted += tuple(_own(term.get("mismatchLabelKeys"), "NotIn", labels))
    named = frozenset(term.get("namespaces") or ())
    if not named and among is None:
        named = frozenset({namespace})
    who = Who(wanted, named, None if among is None else requirements(among))
    return Term(who, term["topologyKey"])


def _own(keys: Json, operator: str, labels: Labels) -> Iterator[Requirement]:
    """Labels with the values of the machine itself; those that it does not have say nothing."""
    return (Requirement(key, operator, (labels[key],)) for key in keys or () if key in labels)


def _spread(each: Mapping[str, Json], namespace: str) -> Spread:
    selector = each.get("labelSelector")
    who = Who(None if selector is None else requirements(selector), frozenset({namespace}))
    must = each["whenUnsatisfiable"] == "DoNotSchedule"
    return Spread(who, each["topologyKey"], each["maxSkew"], must)


def toleration(each: Mapping[str, Json]) -> Toleration:
    """As it stands in a spec. For how long it holds is asked by whoever knows the time."""
    exists = each.get("operator") == "Exists"
    return Toleration(
        each.get("key") or "", exists, each.get("value") or "", each.get("effect") or ""
    )
