"""Everything that decisions may know: one typed table a sort of fact, with what it holds and who
states it. Whoever wants a new sort of fact adds its table here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from agent.core.host import GuestInfo, RawDomain, RawNode, RawVolume
from agent.core.jobs import Job
from agent.core.model import Json, Key, Object
from agent.core.progress import Progress

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Table(Generic[K, V]):
    """Facts of one sort: values of type V by keys of type K. Equal to itself alone."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return self.name

    def states(self, key: K, value: V) -> dict[Fact, Any]:
        """One fact, as decisions publish it."""
        return {(self, key): value}


Fact = tuple[Table[Any, Any], Hashable]
"""The place of a value: a table and a key in it."""

# -- how things are set up: stated once ----------------------------------------------------------

FLEET: Table[None, str] = Table("fleet")
"""Name of the fleet."""
ANY_NODE: Table[None, bool] = Table("any-node")
"""True where a plan asks no host: a node may be able to do anything."""

# -- objects: stated by the book and, of what a decision says itself, by the engine -----------

OBJECT: Table[Key, Object] = Table("object")
"""Objects in force."""
STATUS: Table[Key, Mapping[str, Json]] = Table("status")
"""The status that the ledger holds for an object."""
USERS: Table[Key, tuple[Key, ...]] = Table("users")
"""Objects that refer to an object, the oldest first."""
OPERATIONS: Table[Key, tuple[Key, ...]] = Table("operations")
"""Operations that are asked of a VM, the oldest first."""
EXPORT: Table[Key, Any] = Table("export")
"""What an object's decision lets later kinds know: a value of its kind's own class."""
UNDER_WAY: Table[Key, bool] = Table("under-way")
"""True of an object that gets somewhere by itself."""
JOB: Table[Key, Job] = Table("job")
"""What is being done for an object, and how its last work ended; stated by whoever acts."""

# -- hosts: stated by the world, as last read ------------------------------------------------------

NODE: Table[str, RawNode] = Table("node")
HERE: Table[None, str] = Table("here")
"""Name of the node that everything runs on."""
POOL_PATH: Table[tuple[str, str], str] = Table("pool-path")
"""Folder of a pool, by (node, pool)."""
FREE: Table[tuple[str, str], int] = Table("free")
"""Bytes that are free in a pool, by (node, pool); known only while a guest waits for space."""
VOLUME: Table[tuple[str, str, str], RawVolume] = Table("volume")
"""By (node, pool, volume)."""
VOLUMES_OF: Table[str, tuple[str, ...]] = Table("volumes-of")
"""Seeds and console logs of a VM, by its uid."""
OVERLAYS: Table[tuple[str, str], tuple[str, ...]] = Table("overlays")
"""Volumes that somebody has based on a disk, by (node, path of the disk)."""
DOMAIN: Table[tuple[str, str], RawDomain] = Table("domain")
"""By (node, UUID)."""
DOMAIN_NAME: Table[tuple[str, str], str] = Table("domain-name")
"""UUID of a domain, by (node, name)."""
WRITERS: Table[tuple[str, str], tuple[str, ...]] = Table("writers")
"""UUIDs of the domains that may write to a disk, by (node, serial of the disk)."""
GUEST: Table[tuple[str, str], GuestInfo] = Table("guest")
"""What the guest agent of a running domain says, by (node, UUID)."""

# -- what decisions about VMs state of others ---------------------------------------------------

PROGRESS: Table[str, Progress] = Table("progress")
"""How far an operation is, by its uid."""
ATTACHED: Table[tuple[Key, Key], bool] = Table("attached")
"""True where an instance has a disk open or the next one will, by (disk, VM)."""
LEAVING: Table[Key, Key] = Table("leaving")
"""The VM that has a disk still open and does not want it any more."""
ELSEWHERE: Table[tuple[Key, Key], str] = Table("elsewhere")
"""The file that a disk lies on where that is not its own volume, by (disk, VM)."""
