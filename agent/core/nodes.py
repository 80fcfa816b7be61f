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
UNKNOWN = "(planned)"
"""The name of a plan's node where nobody knows any: it may be able to do anything."""
Told = Mapping[str, Any]
"""What is said of a node: name, ready, message; memory and libvirt once it was read."""


def told(agent: Mapping[str, Any]) -> tuple[Told, ...]:
    """What an agent.yaml says of each node, in its order. Those without a name are none."""
    one, many = agent.get("node"), agent.get("nodes")
    entries = many if isinstance(many, list | tuple) else [one]
    return tuple(
        entry
        for entry in entries
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str) and entry["name"]
    )


def part(nodes: Sequence[Told]) -> dict[str, Any]:
    """The part of an agent.yaml that tells of these nodes."""
    return (
        {"node": dict(nodes[0])} if len(nodes) == 1 else {"nodes": [dict(node) for node in nodes]}
    )


def ready(node: Told) -> bool:
    return bool(node.get("ready", True))
