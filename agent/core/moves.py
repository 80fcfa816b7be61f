"""Verbs on a machine between two nodes. Each is carried out only while both nodes show what it was
decided on: they are read again, and asked of the same table (`core.migration`), right before.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from agent.core.actions import DomainAction
from agent.core.migrating import Order


@dataclass(frozen=True)
class Freight:
    """A volume that has to be on the target, under its name."""

    pool: str
    name: str
    capacity: int
    """Bytes that a guest sees."""
    physical: int
    """Bytes of the file itself."""
    format: str
    mirrored: bool = False
    """True of what the guest writes to: where it runs, its host copies it along. All else is only
    read, and copied before.
    """
    backing_path: str = ""
    backing_format: str = ""


@dataclass(frozen=True)
class BetweenNodes(DomainAction):
    """`node` is the one that it is done on. `source` is empty where that one is fenced: then it is
    not asked.
    """

    source: str
    target: str


@dataclass(frozen=True)
class MigrateDomain(BetweenNodes):
    """Send just this instance to the target and let it go on there, or follow where it is under way
    already: a job that may take long.
    """

    if_instance: str
    operation: str
    """Uid of what asked for it: its mark is there."""
    order: Order = field(repr=False)
    freight: tuple[Freight, ...] = field(default=(), repr=False)
    within: float = 800.0
    """Seconds after which it has taken too long."""


@dataclass(frozen=True)
class CarryDomain(BetweenNodes):
    """Take a machine that is off to the target, with what its disks hold, and define it there: a
    job that may take long. Its copy on the target counts from then on.
    """

    over: str
    """Version of its domain (`core.host.version`)."""
    freight: tuple[Freight, ...] = field(default=(), repr=False)
    nvram: bool = False
    """True if its firmware remembers something, which goes along."""
    shared: tuple[tuple[str, str], ...] = ()
    """Pool and name of those that it writes to, and that have to be the same on both nodes, where
    it was not seen that their pool is.
    """


@dataclass(frozen=True)
class AbortMigration(BetweenNodes):
    """End a migration that is under way: the machine stays where it is."""


@dataclass(frozen=True)
class LandDomain(BetweenNodes):
    """End what is left of it on the source, and let it go on on the target, whose copy counts from
    then on.
    """

    volumes: tuple[tuple[str, str], ...] = ()
    """Pool and name of those that it writes to, and that were made there for it."""


@dataclass(frozen=True)
class LeaveSource(BetweenNodes):
    """Remove the definition and the volumes that the source still has. The target has both."""

    volumes: tuple[tuple[str, str], ...] = ()
    """Pool and name of those that belong to this machine alone, and are on the target by now."""
    rests: tuple[tuple[str, str], ...] = ()
    """Those that the target has no need of."""


@dataclass(frozen=True)
class DiscardLanding(BetweenNodes):
    """Remove what came of it on the target: its guest never went on there."""

    volumes: tuple[tuple[str, str], ...] = ()
    """Pool and name of those that were made for it, where they are not whole."""
    nvram: bool = False
    """True if what its firmware remembers may have been brought there, before any definition."""
    rests: tuple[tuple[str, str], ...] = ()
    """Those that nobody has any need of without it."""


@dataclass(frozen=True)
class ResumeSource(BetweenNodes):
    """Let the guest go on on the source, where the end of a migration has stopped it."""
