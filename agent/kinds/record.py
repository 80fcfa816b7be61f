"""What a kind gives to the agent beside its schema. Whatever serves every kind asks here, and names
none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from agent.core.changes import Change, diff
from agent.core.facts import Decide, Decision, View
from agent.core.host import RawDomain
from agent.core.ledger import Record
from agent.core.manifests import Check
from agent.core.model import Desired, Json, Key, Manifest, Object, Problem
from agent.core.placement.tenants import Tenant
from agent.core.schema import Kind


@dataclass(frozen=True)
class Machines:
    """What only the kind has whose objects are domains."""

    on: tuple[str, ...]
    """Phases of what runs, or is about to."""
    by_itself: Callable[[Object], bool]
    """True if it restarts by itself for changes that wait."""
    running: Callable[[Mapping[Key, Record], Mapping[Key, Manifest], Kind], dict[Key, Record]]
    """A ledger's objects as what runs was made from them."""
    has_domain: Callable[[Record], bool]
    is_saved: Callable[[Record], bool]
    """True if the state of an instance lies on a host, and a start goes on from it."""
    domain: Callable[[Record, Kind, str, float], RawDomain]
    """The domain that the ledger says is there, of a fleet and at a time."""
    tenant: Callable[[Record], Tenant]
    """Such a machine as placement sees it, by what the ledger says of it alone."""


@dataclass(frozen=True)
class KindRecord:
    """A kind that has only a schema decides nothing, and needs none of this."""

    decide: Callable[[Kind], Decide] = lambda _: _passive
    """How it decides, made from the rules of its fields."""
    checks: tuple[Check, ...] = ()
    """Rules about one manifest that its schema cannot say."""
    complete: Callable[[Manifest, Mapping[str, Json], Mapping[Key, Manifest]], Manifest] = (
        lambda manifest, _earlier, _manifests: manifest
    )
    """Fills in what comes from other manifests; the second is the spec as it was last accepted."""
    completed: Callable[[Manifest], bool] = lambda _: True
    """False while another manifest may complete it later, without a change of its own."""
    built_in: tuple[Manifest, ...] = ()
    """Objects that are there without a manifest; one of that name replaces them."""
    of_node: Callable[[str], Manifest] | None = None
    """The object that each node has without a manifest, by its name, where there are several."""
    rivals: Callable[[Desired], Iterable[tuple[Key, Problem]]] = lambda _: ()
    """Manifests that hold by themselves and not beside each other."""
    differences: Callable[[Kind, Mapping[str, Json], Mapping[str, Json]], tuple[Change, ...]] = diff
    """What is different in the second spec, with what it takes to apply it."""
    holds: Callable[[Record, Manifest | None, Mapping[Key, Record]], Iterable[tuple[str, str]]] = (
        lambda _each, _manifest, _records: ()
    )
    """Path and sentence of what a manifest changes although what is in force does not let it, and
    why an object without a manifest has to stay.
    """
    locks: Callable[[Manifest], Iterable[Key]] | None = None
    """Of a kind whose objects take locks: those that a manifest names."""
    promise: Callable[[Mapping[str, Any]], str] = lambda _: ""
    """What a plan says of an object that would be made, by its status."""
    farewell: Callable[[Record, Set[Key]], str] = lambda _each, _staying: ""
    """What becomes of an object that is deleted, and of its data; told what stays."""
    lies: Callable[[str, Record], Iterable[tuple[str, str]]] = lambda _fleet, _each: ()
    """Volumes that the object's own data is in, whether they are there or not: pool and name."""
    volumes: Callable[[str, Record], Iterable[tuple[str, str, int, int]]] = lambda _fleet, _each: ()
    """Volumes that the ledger says are there: pool, name, capacity and bytes stored."""
    pools: Callable[[Manifest], Iterable[str]] = lambda _: ()
    """Storage pools that a manifest names, as the settings call them."""
    needed: Callable[[str, Record], str | None] | None = None
    """The volume with image data that an object needs: empty if none, None while nobody knows."""
    lacking: Callable[[Record], str] = lambda _: ""
    """The CPU model that an object asks for and no node has; empty if none."""
    hindrances: frozenset[str] = frozenset()
    """Conditions, by type or reason, that while False say what keeps an object from being as it is
    asked for. Plans tell them.
    """
    lost: Mapping[str, Any] = field(default_factory=dict)
    """The report of a request from before the ledger, of which nobody knows what became of it."""
    outlived: Callable[[Iterable[Record], float], tuple[frozenset[Key], frozenset[Key]]] | None = (
        None
    )
    """Requests that ended so long ago that they go, and the others that ended."""
    machines: Machines | None = None


def _passive(obj: Object, _: View) -> Decision:
    """It is read by others and does nothing itself."""
    return Decision(status={}, gone=bool(obj.deleted))
