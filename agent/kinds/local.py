"""The nodes, as decisions see them: which can be read, and where things lie on each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from agent.core.facts import View
from agent.core.host import RawNode
from agent.core.identity import POOL, QCOW2, RAW
from agent.core.known import (
    FORGOTTEN,
    FORMER,
    NODE,
    NODES,
    POOL_PATH,
    POOL_TYPE,
    POOLS,
    UNREACHABLE,
)
from agent.core.model import Condition, Json, Key
from agent.core.nodes import own_labels
from agent.core.status import conditions

NOT_READY = "The node has not been read yet, or cannot be reached."
CLOSED = (
    "Storage pool {0} of node {1} is not there, or not active: start it with "
    "`virsh pool-start {0}`."
)
NODE_NOT_READY = "NodeNotReady"
"""Reason of what nobody can tell as long as a node is away."""


@dataclass(frozen=True)
class Place:
    """A node, and where gitvirt keeps volumes on it."""

    node: RawNode
    pool_path: str
    folders: Mapping[str, str] = field(default_factory=dict)
    """Of the other active storage pools that disks may lie in, by libvirt's name for each."""

    @property
    def name(self) -> str:
        return self.node.name

    def path(self, volume: str) -> str:
        return f"{self.pool_path}/{volume}"

    def holds(self, path: str) -> bool:
        """True for what lies in one of its storage pools."""
        folder = path.rpartition("/")[0]
        return folder == self.pool_path or folder in self.folders.values()


def labels(view: View, node: str) -> Mapping[str, str]:
    """A node's labels: those that each has by itself, and its manifest's."""
    obj = view.object(Key("Node", "", node))
    own = {} if obj is None or obj.deleted else obj.manifest.labels
    return {**own_labels(node), **own}


def nodes(view: View) -> tuple[str, ...]:
    """Names of all that are configured, in their order."""
    return view.read(NODES, None) or ()


def several(view: View) -> bool:
    return len(nodes(view)) > 1


def place(view: View, name: str) -> Place | None:
    """A node as it was read last; None before the first time."""
    node: RawNode | None = view.read(NODE, name)
    path: str | None = view.read(POOL_PATH, (name, POOL))
    if node is None or not path:
        return None
    pools = {*(view.read(POOLS, None) or {}).values()} - {POOL}
    folders = {pool: view.read(POOL_PATH, (name, pool)) for pool in sorted(pools)}
    return Place(node, path, {pool: folder for pool, folder in folders.items() if folder})


DIRECTORIES = ("", "dir", "fs", "netfs")
"""Types of pools whose volumes are files."""
LOGICAL = "logical"
"""Type of pools whose volumes are LVM's: raw block devices."""


def is_block(view: View, node: str, pool: str) -> bool:
    return view.read(POOL_TYPE, (node, pool)) == LOGICAL


def format_in(view: View, node: str, pool: str) -> str:
    """Format of the volumes that are made in a pool: a block device holds no image file."""
    return RAW if is_block(view, node, pool) else QCOW2


def unusable(view: View, node: str, pool: str) -> str:
    """Why no disk can lie in a pool, in a sentence; empty if one can."""
    if not view.read(POOL_PATH, (node, pool)):
        return CLOSED.format(pool, node)
    kind = view.read(POOL_TYPE, (node, pool)) or ""
    if kind in (*DIRECTORIES, LOGICAL):
        return ""
    return (
        f"Storage pool {pool} of node {node} is of type {kind}: disks lie in directories (types "
        f"dir, fs and netfs) and in LVM volume groups (type {LOGICAL})."
    )


def away(view: View, name: str) -> str:
    """Why nobody can tell what is on a node now, in a sentence; empty if it can be read."""
    if name not in nodes(view):
        return f"Node {name} is not among the nodes of the settings any more."
    why = view.read(UNREACHABLE, name)
    if why is not None:
        return f"Node {name} cannot be read: {why.rstrip('.')}."
    if place(view, name) is None:
        return f"Node {name} has not been read yet." if several(view) else NOT_READY
    return ""


def places(view: View) -> list[Place]:
    """The nodes that can be read, in their order."""
    every = ((name, place(view, name)) for name in nodes(view))
    return [at for name, at in every if at is not None and not away(view, name)]


def missing(view: View) -> str:
    """Why nobody can tell what is on one of the nodes; empty if all can be read."""
    return next(filter(None, (away(view, name) for name in nodes(view))), "")


def unread(view: View) -> str:
    """As `missing`, of those that have never been read."""
    never = (name for name in nodes(view) if place(view, name) is None)
    return next((away(view, name) for name in never), "")


def belonging(view: View, name: str) -> str:
    """The node of something of which the ledger says that it is on the one of that name; empty
    where it says nothing, and once that node is forgotten.
    """
    return bearing(view, name) if name and not view.read(FORGOTTEN, name) else ""


def bearing(view: View, name: str) -> str:
    """What the node is called now that had a name in the ledger: its host may bear another one."""
    known = nodes(view)
    host = view.read(FORMER, name)
    if name in known or host is None:
        return name
    pairs = ((other, view.read(NODE, other)) for other in known)
    return next((other for other, node in pairs if node is not None and node.host == host), name)


def unknown(
    previous: Mapping[str, Json], why: str, kinds: frozenset[str], reason: str = NODE_NOT_READY
) -> Mapping[str, Json]:
    """The status of something on a node that is away: what was known stays, but for the conditions
    of these kinds, of which nobody can tell any more whether they hold.
    """
    told = [
        Condition(condition.type, "Unknown", reason, why) if condition.type in kinds else condition
        for condition in conditions(previous)
    ]
    return {**previous, "conditions": told}
