"""The one node of a fleet that has no Node manifest, as decisions see it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.facts import View
from agent.core.host import RawNode
from agent.core.identity import POOL
from agent.core.known import HERE, NODE, POOL_PATH
from agent.core.model import Key

NOT_READY = "The node has not been read yet, or cannot be reached."


@dataclass(frozen=True)
class Place:
    """A node, and where gitvirt keeps volumes on it."""

    node: RawNode
    pool_path: str

    @property
    def name(self) -> str:
        return self.node.name

    def path(self, volume: str) -> str:
        return f"{self.pool_path}/{volume}"


def labels(view: View, node: str) -> Mapping[str, str]:
    """A node's labels: those that each has by itself, and its manifest's."""
    obj = view.object(Key("Node", "", node))
    own = {} if obj is None or obj.deleted else obj.manifest.labels
    return {
        "kubernetes.io/hostname": node,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
        **own,
    }


def place(view: View) -> Place | None:
    """The node that everything runs on; None while none can be reached."""
    name = view.read(HERE, None)
    if name is None:
        return None
    node: RawNode | None = view.read(NODE, name)
    path: str | None = view.read(POOL_PATH, (name, POOL))
    return Place(node, path) if node is not None and path else None
