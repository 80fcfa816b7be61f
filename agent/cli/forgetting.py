"""`gitvirt node`: give up what is on a node that no setting names any more."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from functools import partial

from agent.cli import fencing
from agent.cli.command import CommandError, Subparsers, confirm
from agent.cli.follow import follow
from agent.cli.maintenance import Node, mark
from agent.cli.nodes import KIND
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.core import nodes
from agent.core.annotations import FORGET, SOURCE
from agent.core.model import Key
from agent.core.schema import Catalogue
from agent.core.status import timestamp
from agent.core.tables import printable
from agent.settings import Settings

VALID = 3600.0
"""Seconds in which the agent may take it up."""
_EPILOG = """\
examples:
  gitvirt node forget pt-2          # says what is given up, and asks
  gitvirt node forget pt-2 --yes
  gitvirt node fence pt-2           # says that a lost node is off
  gitvirt node fence pt-2 --withdraw

Machines of a node that is lost are started nowhere else as long as they may run there. Once
somebody has switched it off, `fence` says so: what has shared disks is started on other nodes. That
holds for this outage alone.

A node that is taken out of the setting `nodes` is not absent: what is on it may still run, and is
started nowhere else. Once it is forgotten, its machines may be started on other nodes. Nothing on
the node itself is touched, and one that is put back into the settings has its machines again.
"""
_WARNING = """\
Machines may be started on other nodes: make sure that none runs there any more. Disks that it alone
has are lost as long as it is not put back. Nothing is deleted there."""


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "node",
        help="say that a lost node is off, or forget one that is no more",
        description="Forget a node that was taken out of the agent's settings for good, or say of "
        "a lost one that it is off. Commits to the branch of operations.",
        epilog=_EPILOG,
    )
    parser.add_argument("verb", metavar="VERB", choices=("forget", "fence"), help="forget or fence")
    parser.add_argument("node", metavar="NODE", help="its name, as `gitvirt get nodes` has it")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--withdraw", action="store_true", help="take back that the node is off (fence)"
    )


def run(args: argparse.Namespace, settings: Settings) -> int:
    if args.verb == "fence":
        return fencing.run(args, settings)
    if args.withdraw:
        raise CommandError("--withdraw goes with `gitvirt node fence`")
    now = time.time()
    with opened(settings) as repository:
        reader = Reader(repository, settings, Catalogue.load())
        snapshot = reader.now()
        snapshot.warn_of_silence(now)
        if args.node not in nodes.forgotten(snapshot.agent):
            _check(snapshot, args.node)
            _confirm(snapshot, args.node, sure=args.yes)
            until = timestamp(now + VALID)
            mark(repository, settings, args.node, partial(_marked, until=until), "Forget")
            _wait(reader, args.node, settings.timeout)
        mark(repository, settings, args.node, _blank, "Have forgotten")
        print(f"node/{args.node} forgotten")
    return 0


def _check(snapshot: Snapshot, name: str) -> None:
    known = {node["name"]: node for node in nodes.told(snapshot.agent)}
    if name not in known:
        raise CommandError(f"there is no node {name!r}; known are {', '.join(known) or 'none'}")
    if not nodes.is_removed(known[name]):
        raise CommandError(
            f"node {name} is among the nodes of the agent's settings: take it out there and start "
            "the agent again first"
        )
    entry = snapshot.find(snapshot.reader.catalogue.kinds[KIND], "", name)
    annotations = (entry.value["metadata"].get("annotations") or {}) if entry is not None else {}
    _, _, path = str(annotations.get(SOURCE, "")).partition(":")
    if path and path != f"nodes/{name}.yaml":
        raise CommandError(f"node {name} has a manifest on main, {path}: delete it there first")


def _confirm(snapshot: Snapshot, name: str, *, sure: bool) -> None:
    left = list(_left(snapshot, name))
    print(f"Known to be on node {name}:" if left else f"Nothing is known to be on node {name}.")
    for line in left:
        print(f"  {line}")
    print(_WARNING, flush=True)
    if not sure:
        confirm(f"Forget node {name}?", "nothing is forgotten", "forget it")


def _left(snapshot: Snapshot, name: str) -> Iterator[str]:
    """Objects that the ledger has on a node."""
    for kind in snapshot.reader.catalogue.in_order:
        for entry in snapshot.entries(kind):
            places = (entry.status.get("nodeName"), entry.status.get(nodes.HOME))
            if name in places:
                key = Key(kind.name, entry.namespace, entry.name)
                yield printable(f"{key} ({entry.status.get('phase') or 'Unknown'})")


def _marked(document: Node, until: str) -> Node:
    name = document["metadata"]["name"]
    return {**document, "metadata": {"name": name, "annotations": {FORGET: until}}}


def _blank(document: Node) -> Node:
    return {**document, "metadata": {"name": document["metadata"]["name"]}, "spec": {}}


def _wait(reader: Reader, name: str, timeout: float | None) -> None:
    for refs in follow(reader.repository, VALID if timeout is None else timeout):
        if name in nodes.forgotten(reader.now(refs).agent):
            return
    raise CommandError(
        f"the agent has not forgotten node {name} yet: see `gitvirt status`, and try again"
    )
