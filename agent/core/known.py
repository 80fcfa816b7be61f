"""Everything that decisions may know: one typed table a sort of fact, with what it holds and who
states it. Whoever wants a new sort of fact adds its table here.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

from agent.core.host import GuestInfo, RawDomain, RawNode, RawVolume
from agent.core.jobs import Job
from agent.core.links import Link
from agent.core.migrating import Manner, Peer
from agent.core.model import Json, Key, Object
from agent.core.network import Held, RawNetwork
from agent.core.placement.tenants import Verdict
from agent.core.progress import Plugged, Progress
from agent.core.proposals import Proposed

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
COMMITTED: Table[str, int] = Table("committed")
"""Bytes of a node's memory that its machines have or are to have, where there are several nodes."""
FOREIGN: Table[str, int] = Table("foreign")
"""Bytes of a node's memory that running domains have which are none of this fleet's."""
NODES: Table[None, tuple[str, ...]] = Table("nodes")
"""Names of all nodes that are configured, in their order."""
SHARED: Table[None, frozenset[str]] = Table("shared")
"""Storage pools that hold the same data on each node that has them."""
POOLS: Table[None, Mapping[str, str]] = Table("pools")
"""What libvirt calls each storage pool that classes may name. Where it is not stated, as in a plan
of somebody who has no settings, every name is libvirt's own.
"""
NETWORKS: Table[None, Mapping[str, Link]] = Table("networks")
"""What each network that machines may name is on a host, and `main` where the settings say it.
Where it is not stated, as in a plan of somebody who has no settings, every network is there.
"""
ANY_NODE: Table[None, bool] = Table("any-node")
"""True where a plan asks no host: a node may be able to do anything."""

OVERCOMMIT: Table[None, float] = Table("overcommit")
"""How much of its memory a node gives away, as a factor. Where it is not stated, the only node
gives as much as is asked for.
"""
PEERS: Table[None, Mapping[str, Peer]] = Table("peers")
"""How other hosts reach a node, by its name. Machines go to no other."""
MANNER: Table[None, Manner] = Table("manner")
"""How machines are moved. Where it is not stated: without limits, and one at a time."""

# -- objects: stated by the book and, of what a decision says itself, by the engine -----------

OBJECT: Table[Key, Object] = Table("object")
"""Objects in force."""
STATUS: Table[Key, Mapping[str, Json]] = Table("status")
"""The status that the ledger holds for an object."""
USERS: Table[Key, tuple[Key, ...]] = Table("users")
"""Objects that refer to an object, the oldest first."""
MADE_FROM: Table[Key, tuple[Key, ...]] = Table("made-from")
"""Objects whose data comes from an object, the oldest first."""
DEFAULTS: Table[Key, tuple[Key, ...]] = Table("defaults")
"""Objects that are marked as the one for all that name none, the oldest first, by their kind alone:
namespace and name of the key are empty.
"""
OPERATIONS: Table[Key, tuple[Key, ...]] = Table("operations")
"""Operations that are asked of a VM, the oldest first."""
ATTACHMENTS: Table[Key, tuple[Key, ...]] = Table("attachments")
"""Attachments that name a VM, the oldest first."""
OWNED: Table[Key, tuple[Key, ...]] = Table("owned")
"""Objects that the agent made for an object, the oldest first."""
LOCKS: Table[Key, tuple[Key, ...]] = Table("locks")
"""Locks whose names differ behind their last dash alone, by kind and what stands before it."""
WRITTEN: Table[Key, int] = Table("written")
"""Generation of a lock that the status branch shows."""
CLAIM: Table[Key, Key] = Table("claim")
"""Whoever wants a lock, by the lock: nobody else may take it meanwhile."""
RELEASED: Table[Key, Key] = Table("released")
"""A lock that was released, by the VM that had what it stands for; stated by locks."""
REPLACED: Table[Key, tuple[tuple[str, str], ...]] = Table("replaced")
"""What lies in the trash since an operation has put other data in its place, and can come back, by
the object's key: its uid, and the operation's name. Stated once the status branch shows that.
"""
EXPORT: Table[Key, Any] = Table("export")
"""What an object's decision lets later kinds know: a value of its kind's own class."""
UNDER_WAY: Table[Key, bool] = Table("under-way")
"""True of an object that gets somewhere by itself."""
JOB: Table[Key, Job] = Table("job")
"""What is being done for an object, and how its last work ended; stated by whoever acts."""

# -- the repository: stated once a commit is accepted ----------------------------------------------

CLONE_BRANCHES: Table[None, frozenset[str]] = Table("clone-branches")
"""Full names of the branches with clones that are there."""
PROPOSED: Table[str, Proposed] = Table("proposed")
"""What has become of the manifests that an operation proposes, by its uid."""

# -- hosts: stated by the world, as last read ------------------------------------------------------

NODE: Table[str, RawNode] = Table("node")
"""As last read, also while it is lost."""
UNREACHABLE: Table[str, str] = Table("unreachable")
"""Why a node of several cannot be read, in a sentence. Where there is just one nobody is told: all
stands still, and agent.yaml says so.
"""
FORMER: Table[str, str] = Table("former")
"""UUID of the host that had a name in the ledger's agent.yaml."""
FORGOTTEN: Table[str, bool] = Table("forgotten")
"""True of a node that was taken out of the settings for good: what belongs to it has no node."""
POOL_PATH: Table[tuple[str, str], str] = Table("pool-path")
"""Folder of an active pool, by (node, pool)."""
POOL_TYPE: Table[tuple[str, str], str] = Table("pool-type")
"""libvirt's type of an active pool, by (node, pool), where it is no plain directory."""
FREE: Table[tuple[str, str], int] = Table("free")
"""Bytes that are free in a pool, by (node, pool); known only while a guest waits for space."""
VOLUME: Table[tuple[str, str, str], RawVolume] = Table("volume")
"""By (node, pool, volume)."""
VOLUME_AT: Table[tuple[str, str], tuple[str, ...]] = Table("volume-at")
"""Nodes that have a volume, by (pool, volume)."""
DISK_VOLUMES: Table[str, tuple[tuple[str, str], ...]] = Table("disk-volumes")
"""Volumes of a disk, or of a disk's snapshot, as (pool, volume), on whatever node, by its uid."""
VOLUMES_OF: Table[tuple[str, str], tuple[str, ...]] = Table("volumes-of")
"""Seeds and console logs of a VM, and what is uploaded for an image or a disk, by (node, uid of the
object).
"""
OVERLAYS: Table[tuple[str, str], tuple[str, ...]] = Table("overlays")
"""Volumes that somebody has based on a disk, by (node, path of the disk)."""
DOMAIN: Table[tuple[str, str], RawDomain] = Table("domain")
"""By (node, UUID)."""
DOMAIN_AT: Table[str, tuple[str, ...]] = Table("domain-at")
"""Nodes that have a domain, by UUID, as last read: also those that are lost."""
DOUBLED: Table[str, tuple[str, ...]] = Table("doubled")
"""UUIDs of the domains of a node that other nodes have, too, by the node."""
DOMAIN_NAME: Table[tuple[str, str], str] = Table("domain-name")
"""UUID of a domain, by (node, name)."""
WRITERS: Table[tuple[str, str], tuple[str, ...]] = Table("writers")
"""UUIDs of the domains that may write to a disk, by (node, serial of the disk)."""
NETWORK: Table[tuple[str, str], RawNetwork] = Table("network")
"""One of libvirt's networks, by (node, its name)."""
HELD: Table[str, tuple[tuple[str, Held], ...]] = Table("held")
"""What libvirt's networks hold, each with its node, by each of its address, its MAC and its name.
"""
RESERVED: Table[Key, tuple[tuple[str, str], ...]] = Table("reserved")
"""What domains of this fleet remember of an object that reserves an address: the address, and the
name of the VM in its namespace that has it.
"""
USED_BY: Table[tuple[str, str], tuple[str, ...]] = Table("used-by")
"""Objects whose address some domain remembers, as people name them, by (kind, address)."""
WIRED: Table[str, tuple[str, ...]] = Table("wired")
"""UUIDs of the domains with an interface of a MAC address."""
GUEST: Table[tuple[str, str], GuestInfo] = Table("guest")
"""What the guest agent of a running domain says, by (node, UUID)."""

# -- placement: stated by whoever places ---------------------------------------------------------

PLACED: Table[Key, Verdict] = Table("placed")
"""What became of a machine's wish for a node; not stated while it has none."""
BOUNDED: Table[str, bool] = Table("bounded")
"""True of a namespace whose machines may not take all that there is."""
TAKEN: Table[str, tuple[tuple[str, int], ...]] = Table("taken")
"""What the machines of such a namespace take, by what is counted."""
MISFIT: Table[Key, str] = Table("misfit")
"""Why a machine that is on may not stay on its node, in Kubernetes' words."""
SHIFTED: Table[Key, str] = Table("shifted")
"""The node that a machine is to go to, since its own is short of memory."""

# -- what decisions about VMs state of others ---------------------------------------------------

PROGRESS: Table[str, Progress] = Table("progress")
"""How far an operation is, by its uid."""
MAINTENANCE: Table[str, bool] = Table("maintenance")
"""True where a VM is off and stays off for an operation, by the operation's uid."""
MADE_FOR: Table[Key, Key] = Table("made-for")
"""The VM that goes by an address without naming it, by the object that reserves it."""
ATTACHED: Table[tuple[Key, Key], bool] = Table("attached")
"""True where an instance has a disk open or the next one will, by (disk, VM)."""
MACHINE_OF: Table[Key, Key] = Table("machine-of")
"""The VM that an attachment is for, by the attachment; stated by attachments."""
PLUGGED: Table[Key, Plugged] = Table("plugged")
"""What a VM says of its attachments, by the attachment; not stated while nobody can tell."""
GROWS: Table[Key, int] = Table("grows")
"""Bytes that a disk is to grow to while an instance has it open; stated by the disk."""
GROWTH: Table[tuple[Key, Key], str] = Table("growth")
"""Why the running instance that has a disk open does not let it grow just now, in a sentence, by
(disk, VM); empty where it does.
"""
IMAGE_AT: Table[tuple[Key, Key], str] = Table("image-at")
"""The node on which a VM or a disk needs an image, by (image, whoever needs it)."""
SNAPSHOTTING: Table[Key, Key] = Table("snapshotting")
"""The snapshot of a VM that is being taken."""
CARRIED: Table[tuple[Key, Key], str] = Table("carried")
"""The node that a VM has brought a disk to, by (disk, VM)."""
READ_BY: Table[Key, Key] = Table("read-by")
"""The image that a disk is being copied into: nobody may write to the disk meanwhile."""
LEAVING: Table[Key, Key] = Table("leaving")
"""The VM that has a disk still open and does not want it any more."""
ELSEWHERE: Table[tuple[Key, Key], str] = Table("elsewhere")
"""The file that a disk lies on where that is not its own volume, by (disk, VM)."""

# -- what decisions about operations state -------------------------------------------------------

RESTORE: Table[str, bool] = Table("restore")
"""Of an operation that gives disks their earlier data, by its uid: False from when it may begin,
True once all of them are made.
"""
