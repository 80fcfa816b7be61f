"""What a verb is made of: what nobody else may do meanwhile, what it relies on, the deed itself,
what is read again afterwards, and how a plan takes the deed for done.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import ClassVar, Generic, Protocol, TypeVar

from agent.core.actions import Action
from agent.core.host import HostError, RawDomain, Reading
from agent.core.model import Json
from agent.core.network import NetworkReading
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.site import Site
from agent.reconcile.world import Observation

A = TypeVar("A", bound=Action)


class OutdatedError(HostError):
    """What an action relies on does not hold any more: it is left alone, and decided anew.

    `changed` are (node, UUID) of domains that have changed.
    """

    def __init__(self, reason: str, message: str, changed: Iterable[tuple[str, str]] = ()) -> None:
        super().__init__(reason, message)
        self.changed = tuple(changed)


@dataclass(frozen=True)
class Done:
    """What a verb came to."""

    seen: tuple[Observation, ...] = ()
    result: Mapping[str, Json] = field(default_factory=dict)
    """What the object's job remembers of it."""


class Looks(Protocol):
    """What can be asked of a node, be it a host or facts. As in `core.host.Host`."""

    def read_domain(self, uuid: str) -> RawDomain | None: ...

    def read_network(self, name: str) -> NetworkReading | None: ...

    def read(self, pools: frozenset[str]) -> Reading: ...

    def read_bases(self) -> Mapping[str, str]: ...


class Sight(Protocol):
    """Where a verb can look right before it acts."""

    @property
    def node(self) -> Looks:
        """The node that it is about to act on."""

    def at(self, node: str) -> Looks:
        """Any node, by its name. Raises HostError for one that nobody knows."""

    def sharing(self, pool: str) -> tuple[Looks, ...]:
        """Every node whose domains may have the volumes of that node's pool, itself included."""


class Verb(ABC, Generic[A]):
    """One verb, whole. `perform` and `simulate` come to the same, as far as facts can tell; both
    are called only where `stands` says so.
    """

    long: ClassVar[bool] = False
    """True for what may take minutes: it keeps nothing else waiting."""
    moves: ClassVar[bool] = False
    """True for what takes a machine to another node."""
    queues: ClassVar[bool] = False
    """True for what waits for its turn at a pool, and for nothing else."""

    networks: ClassVar[bool] = False
    """True for what waits for its turn at a node's networks, and for nothing else."""

    def alone(self, action: A, site: Site) -> AbstractContextManager[object]:
        """Held from the look at what it relies on to the end of the deed."""
        return nullcontext()

    def stands(self, action: A, sight: Sight) -> bool:
        """False if there is nothing left to do it to. Raises OutdatedError if it has to be decided
        anew, and HostError if somebody must not be deprived of what it would take away.
        """
        return True

    @abstractmethod
    def perform(self, action: A, site: Site) -> Done:
        """Do it, on a host."""

    @abstractmethod
    def simulate(self, action: A, facts: Facts) -> Done:
        """Take it for done, on facts. Raises HostError where a host would."""

    def touches(self, action: A) -> tuple[tuple[str, str], ...]:
        """Domains to be read again once the object's sequence has ended, well or not: node and
        UUID.
        """
        return ()

    def changes(self, action: A) -> str:
        """The network to be read again once the object's sequence has ended, well or not; empty for
        none.
        """
        return ""
