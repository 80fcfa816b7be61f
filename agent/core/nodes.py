"""The nodes as agent.yaml tells of them: `node` where there is one, `nodes` where there are more.
Whoever reads an older file, or one that somebody has edited, gets what it holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

HOME = "home"
"""Field of a status: the node that a machine or a disk belongs to, where there are several. It
stands there before anything is made on that node.
"""
EPOCH = "epoch"
"""Field of a machine's status: how often it was moved, as its domain remembers it."""
UNKNOWN = "(planned)"
"""The name of a plan's node where nobody knows any: it may be able to do anything."""
REMOVED = (
    "It is not among the nodes of the settings any more: what is on it is as it was left. Put it "
    "back there, or give it up with `gitvirt node forget`."
)
Told = Mapping[str, Any]
"""What is said of a node: name, ready, message; memory and libvirt once it was read."""


def own_labels(node: str) -> Mapping[str, str]:
    """The labels that each node has by itself."""
    return {
        "kubernetes.io/hostname": node,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": "amd64",
    }


def told(agent: Mapping[str, Any]) -> tuple[Told, ...]:
    """What an agent.yaml says of each node, in its order. Those without a name are none."""
    one, many = agent.get("node"), agent.get("nodes")
    entries = many if isinstance(many, list | tuple) else [one]
    return tuple(
        entry
        for entry in entries
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str) and entry["name"]
    )


def part(nodes: Sequence[Told], forgotten: Sequence[str] = ()) -> dict[str, Any]:
    """The part of an agent.yaml that tells of these nodes, and of those that are forgotten."""
    said = (
        {"node": dict(nodes[0])} if len(nodes) == 1 else {"nodes": [dict(node) for node in nodes]}
    )
    return {**said, **({"forgotten": list(forgotten)} if forgotten else {})}


def forgotten(agent: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the nodes that were taken out of the settings for good."""
    names = agent.get("forgotten")
    return tuple(filter(_is_name, names)) if isinstance(names, list | tuple) else ()


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def removed(name: str) -> Told:
    """What is said of a node that no setting names any more."""
    return {"name": name, "ready": False, "message": REMOVED}


def is_removed(node: Told) -> bool:
    return node.get("message") == REMOVED


def ready(node: Told) -> bool:
    return bool(node.get("ready", True))
