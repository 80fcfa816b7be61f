"""Nodes as commands list them."""

from __future__ import annotations

from agent.cli.snapshot import Snapshot
from agent.core.entries import Entry
from agent.kinds.nodes import KIND, shown

__all__ = ["KIND", "nodes"]


def nodes(snapshot: Snapshot) -> list[Entry]:
    """Those of manifests, and those that the agent knows, by name."""
    catalogue = snapshot.reader.catalogue
    return shown(catalogue, snapshot.entries(catalogue.kinds[KIND]), snapshot.agent)
