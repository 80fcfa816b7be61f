"""`gitvirt node fence`: say of a lost node that it is off."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping
from functools import partial

from agent.cli.command import CommandError, confirm
from agent.cli.maintenance import Node, mark
from agent.cli.nodes import nodes
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.core.annotations import FENCED
from agent.core.entries import Entry
from agent.core.model import Key
from agent.core.nodes import HOME, is_removed, told
from agent.core.schema import Catalogue
from agent.core.status import seconds, timestamp
from agent.core.tables import printable
from agent.settings import Settings

_WARNING = """\
They are started on other nodes where their disks are shared and locks on them hold. Make sure that
the node is off, and stays off until it is repaired: switch it off, or cut its power."""


def run(args: argparse.Namespace, settings: Settings) -> int:
    now = time.time()
    with opened(settings) as repository:
        snapshot = Reader(repository, settings, Catalogue.load()).now()
        snapshot.warn_of_silence(now)
        node = _node(snapshot, args.node)
        if args.withdraw:
            changed = mark(repository, settings, node.name, _free, "Take back the fence of")
            print(f"node/{node.name} {'not fenced any more' if changed else 'was not fenced'}")
            return 0
        since = _away_since(snapshot, node)
        _confirm(snapshot, node.name, sure=args.yes)
        # whoever says so may have a clock that is behind the agent's
        said = timestamp(max(now, since))
        mark(repository, settings, node.name, partial(_fenced, said=said), "Fence")
        print(f"node/{node.name} fenced")
    return 0


def _node(snapshot: Snapshot, name: str) -> Entry:
    every = {entry.name: entry for entry in nodes(snapshot)}
    if name not in every:
        raise CommandError(f"there is no node {name!r}; known are {', '.join(every) or 'none'}")
    return every[name]


def _away_since(snapshot: Snapshot, node: Entry) -> float:
    """When the agent found it lost, in seconds since the epoch."""
    if any(each["name"] == node.name and is_removed(each) for each in told(snapshot.agent)):
        raise CommandError(
            f"node {node.name} is not among the nodes of the agent's settings any more: "
            f"`gitvirt node forget {node.name}` gives up what is on it"
        )
    listed = [each for each in node.status.get("conditions", ()) if isinstance(each, Mapping)]
    ready = next((each for each in listed if each.get("type") == "Ready"), {})
    if ready.get("status") != "False":
        raise CommandError(
            f"node {node.name} is Ready: the agent reaches it. `gitvirt drain {node.name}` has its "
            "machines go elsewhere"
        )
    return seconds(str(ready["lastTransitionTime"])) if "lastTransitionTime" in ready else 0.0


def _confirm(snapshot: Snapshot, name: str, *, sure: bool) -> None:
    left = list(_machines(snapshot, name))
    print(f"Machines of node {name}:" if left else f"No machine is known to be on node {name}.")
    for line in left:
        print(f"  {line}")
    print(_WARNING, flush=True)
    if not sure:
        confirm(f"Is node {name} off?", "nothing is said of it", "say that it is off")


def _machines(snapshot: Snapshot, name: str) -> Iterator[str]:
    kind = snapshot.reader.catalogue.machine
    for entry in snapshot.entries(kind):
        if name in (entry.status.get("nodeName"), entry.status.get(HOME)):
            key = Key(kind.name, entry.namespace, entry.name)
            yield printable(f"{key} ({entry.status.get('phase') or 'Unknown'})")


def _fenced(document: Node, said: str) -> Node:
    metadata = document["metadata"]
    annotations = {**(metadata.get("annotations") or {}), FENCED: said}
    return {**document, "metadata": {**metadata, "annotations": annotations}}


def _free(document: Node) -> Node:
    metadata = document["metadata"]
    annotations = {**(metadata.get("annotations") or {})}
    annotations.pop(FENCED, None)
    rest = {name: value for name, value in metadata.items() if name != "annotations"}
    return {
        **document,
        "metadata": {**rest, **({"annotations": annotations} if annotations else {})},
    }
