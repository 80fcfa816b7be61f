"""Nodes and machines, as placement sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.model import Key
from agent.core.placement.labels import Labels
from agent.core.placement.rules import ANYWHERE, Rules, Taint


@dataclass(frozen=True)
class Offer:
    """What a node has for machines."""

    name: str
    labels: Labels = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    unschedulable: bool = False
    ready: bool = True
    memory: int = 0
    """Bytes that machines may have together; 0 where nobody counts them."""
    taken: int = 0
    """Bytes that others than machines of this fleet have of it."""


@dataclass(frozen=True)
class Ask:
    """A machine wants a node. The one that it belongs to is its own as long as it fits."""

    barred: Mapping[str, str] = field(default_factory=dict)
    """Nodes that cannot have it, and why, in the words that are counted."""
    handy: frozenset[str] = frozenset()
    """Nodes that have already what it is made from."""
    only: str = ""
    """The one node that it may go to by itself; the others are looked at to tell of them."""
    rests: bool = False
    """True of a machine that is not to be on there: it takes no memory, and nobody minds it."""


@dataclass(frozen=True)
class Tenant:
    """One machine."""

    key: Key
    labels: Labels
    memory: int
    requested: int = 0
    """Thousandths of a core that are guaranteed to it."""
    cores: int = 0
    rules: Rules = ANYWHERE
    priority: int = 0
    created: str = ""
    at: str = ""
    """The node that it is on, or belongs to; empty where none has been chosen."""
    on: bool = False
    """True while it takes its node's memory and its neighbours mind it: it runs, or is to start."""
    ask: Ask | None = None
    gives: Ask | None = None
    """The wish that it would have if it were to make room; None of one that is not to."""

    @property
    def rank(self) -> tuple[int, str, Key]:
        """The order in which machines are placed."""
        return (-self.priority, self.created, self.key)


@dataclass(frozen=True)
class Verdict:
    """What became of an ask."""

    node: str = ""
    """Empty where none fits."""
    message: str = ""
    """Why none does, as Kubernetes says it."""
    left: str = ""
    """Why the node that it belongs to does not take it, where another one does."""
    elsewhere: str = ""
    """Where it might go that may go to one node only, and does not fit there."""
