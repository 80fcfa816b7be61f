"""`gitvirt cordon`, `uncordon`, `drain`: a node's marks on the branch of operations."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from agent.cli import nodes, operation
from agent.cli.command import CommandError, Subparsers, warn
from agent.cli.follow import follow
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.core import human, ledger
from agent.core.annotations import EVACUATE, SOURCE
from agent.core.entries import Entry
from agent.core.model import Key
from agent.core.parsing import parse
from agent.core.schema import Catalogue
from agent.core.status import timestamp
from agent.core.tables import printable
from agent.gitrepo.clone import author_at
from agent.gitrepo.repository import Repository, StaleTip
from agent.settings import Settings

Node = dict[str, Any]
_WHAT = {
    "cordon": "place no more machines on a node",
    "uncordon": "place machines on a node again, and stop draining it",
    "drain": "cordon a node and move its machines to others",
}
_EPILOG = """\
examples:
  gitvirt {verb} pt-1

The mark stands on the branch of operations, in nodes/NODE.yaml; a Node manifest on main with
`spec.unschedulable: true` cordons a node, too.
"""
_SWITCHES = (
    "--ignore-daemonsets",
    "--delete-emptydir-data",
    "--delete-emptydir-dat",
    "--delete-local-data",
    "--force",
    "--disable-eviction",
)
_VALUES = ("--grace-period", "--skip-wait-for-delete-timeout", "--chunk-size")
_EVERY_MACHINE = (
    "vm.kubevirt.internal.virtualization.deckhouse.io/name",
    "kubevirt.internal.virtualization.deckhouse.io=virt-launcher",
)
"""Labels of the pods that machines have in Deckhouse."""
_AWAY = ("Running", "Pause", "Starting", "Stopping", "Migrating")
"""Phases of a machine that its node still has."""


def add(subparsers: Subparsers) -> None:
    for verb, what in _WHAT.items():
        parser = subparsers.add_parser(
            verb,
            help=what,
            description=f"{what.capitalize()}. Commits to the branch of operations.",
            epilog=_EPILOG.format(verb=verb),
        )
        parser.add_argument("node", metavar="NODE", help="its name, as `gitvirt get nodes` has it")
        if verb == "drain":
            _add_drain(parser)


def _add_drain(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--stop", action="store_true", help="shut down what cannot be moved; it stays off there"
    )
    ignored = parser.add_argument_group("kubectl's options, accepted and without meaning here")
    for name in _SWITCHES:
        spelt = (name, f"{name}=true", f"{name}=false")
        ignored.add_argument(*spelt, action="store_true", help=argparse.SUPPRESS)
    for name in _VALUES:
        ignored.add_argument(name, metavar="ANY", help=argparse.SUPPRESS)
    parser.add_argument("--pod-selector", metavar="SELECTOR", help=argparse.SUPPRESS)


def _check_selector(selector: str | None) -> None:
    """Nothing but machines is on a node: a selector of all of them is none."""
    words = (selector or "").replace(" ", "")
    if words and words not in _EVERY_MACHINE:
        raise CommandError(
            f"--pod-selector {printable(words)}: a node is drained of all its machines "
            f"(--pod-selector {_EVERY_MACHINE[0]}), or of none. `gitvirt evict VM` moves one of "
            "them away"
        )


def run(args: argparse.Namespace, settings: Settings) -> int:
    now = time.time()
    _check_selector(getattr(args, "pod_selector", None))
    with opened(settings) as repository:
        reader = Reader(repository, settings, Catalogue.load())
        snapshot = reader.now()
        node = _node(snapshot, args.node)
        snapshot.warn_of_silence(now)
        if args.command == "uncordon":
            return _uncordon(reader, snapshot, node)
        drains = args.command == "drain"
        word = "Drain" if drains else "Cordon"
        cordoned = partial(_cordoned, now=now, drains=drains)
        changed = mark(repository, settings, args.node, cordoned, word)
        print(f"node/{args.node} {'cordoned' if changed else 'already cordoned'}", flush=True)
        return _drain(reader, args.node, settings.timeout, stop=args.stop) if drains else 0


def _node(snapshot: Snapshot, name: str) -> Entry:
    every = {entry.name: entry for entry in nodes.nodes(snapshot)}
    if name not in every:
        raise CommandError(f"there is no node {name!r}; known are {', '.join(every) or 'none'}")
    return every[name]


def _cordoned(document: Node, now: float, drains: bool) -> Node:
    metadata = document["metadata"]
    annotations = dict(metadata.get("annotations") or {})
    if drains:
        annotations.setdefault(EVACUATE, timestamp(now))
    marked = {**metadata, **({"annotations": annotations} if annotations else {})}
    return {**document, "metadata": marked, "spec": {"unschedulable": True}}


def _free(document: Node) -> Node:
    """Without its marks; whatever else it says stays."""
    annotations = document["metadata"].get("annotations") or {}
    kept = {name: text for name, text in annotations.items() if name != EVACUATE}
    metadata = {"name": document["metadata"]["name"], **({"annotations": kept} if kept else {})}
    return {**document, "metadata": metadata, "spec": {}}


def mark(
    repository: Repository,
    settings: Settings,
    name: str,
    change: Callable[[Node], Node],
    word: str,
) -> bool:
    """Commit another version of a node's file; False if it says that already. `word` says in the
    commit what was done.
    """
    path, ref = f"nodes/{name}.yaml", settings.operations_ref
    blank = {"apiVersion": "v1", "kind": nodes.KIND, "metadata": {"name": name}, "spec": {}}
    for _ in range(operation.ATTEMPTS):
        tip = repository.fetch().get(ref)
        data = repository.read_path(tip, path) if tip is not None else None
        before = (ledger.load(data) if data is not None else None) or blank
        after = change(before)
        if after == before:
            return False
        empty = not after["spec"] and not after["metadata"].get("annotations")
        try:
            repository.commit(
                ref,
                tip,
                {path: None if empty else ledger.dump(after)},
                f"{word} {name}",
                author=author_at(Path.cwd()),
            )
        except StaleTip:
            continue
        return True
    raise CommandError(
        f"the branch {settings.operations_branch!r} moves too often to commit to it: try again"
    )


def _uncordon(reader: Reader, snapshot: Snapshot, node: Entry) -> int:
    changed = mark(reader.repository, reader.settings, node.name, _free, "Uncordon")
    if file := _cordons(reader, snapshot, node):
        raise CommandError(
            f"node {node.name} stays cordoned by {file} on main: take spec.unschedulable out there"
        )
    print(f"node/{node.name} {'uncordoned' if changed else 'already uncordoned'}")
    return 0


def _cordons(reader: Reader, snapshot: Snapshot, node: Entry) -> str:
    """The file on main that cordons a node; empty if none does."""
    source = str((node.value["metadata"].get("annotations") or {}).get(SOURCE, ""))
    _, _, path = source.partition(":")
    main = f"refs/heads/{snapshot.agent.get('branch') or 'main'}"
    tip = reader.repository.fetch().get(main)
    data = reader.repository.read_path(tip, path) if tip is not None and path else None
    for document in parse(data).documents if data is not None else ():
        value = document.value if isinstance(document.value, Mapping) else {}
        metadata, spec = value.get("metadata"), value.get("spec")
        named = isinstance(metadata, Mapping) and metadata.get("name") == node.name
        if value.get("kind") == nodes.KIND and named and isinstance(spec, Mapping):
            return path if spec.get("unschedulable") is True else ""
    return ""


def _drain(reader: Reader, node: str, timeout: float | None, *, stop: bool) -> int:
    """Wait until all machines have left, and say of each when it has; of those that cannot, why."""
    there: dict[str, Entry] = {}
    stopped: set[str] = set()
    for refs in follow(reader.repository, timeout):
        snapshot = reader.now(refs)
        now = {entry.label: entry for entry in _machines(snapshot, node)}
        for label in now.keys() - there.keys():
            print(f"evicting virtualmachine {label}", flush=True)
        for label in there.keys() - now.keys():
            print(f"virtualmachine {label} evicted", flush=True)
        there = now
        if not _taken_up(snapshot, node):
            continue
        if not there:
            print(f"node/{node} drained")
            return 0
        alone = len(tuple(nodes.nodes(snapshot))) == 1
        stuck = {label: why for label, entry in there.items() if (why := _stuck(entry, alone))}
        if stop:
            for label in stuck.keys() - stopped:
                _stop(reader, there[label], timeout)
                stopped.add(label)
        elif stuck.keys() == there.keys():
            return _left(node, stuck, "")
    still = {label: _stuck(entry) or "it is on its way" for label, entry in there.items()}
    return _left(node, still, f" after {human.age(timeout or 0)}")


def _left(node: str, stuck: Mapping[str, str], after: str) -> int:
    for label, why in sorted(stuck.items()):
        warn(f"virtualmachine {label} stays on node {node}: {printable(why)}")
    raise CommandError(f"node {node} is cordoned and not drained{after}: {len(stuck)} left")


def _machines(snapshot: Snapshot, node: str) -> Iterator[Entry]:
    kind = snapshot.reader.catalogue.machine
    for entry in snapshot.entries(kind):
        if entry.status.get("nodeName") == node and entry.status.get("phase") in _AWAY:
            yield entry


def _taken_up(snapshot: Snapshot, node: str) -> bool:
    """True once the agent drains it."""
    entry = snapshot.find(snapshot.reader.catalogue.kinds[nodes.KIND], "", node)
    annotations = entry.value["metadata"].get("annotations") if entry is not None else None
    return EVACUATE in (annotations or {})


def _stuck(entry: Entry, alone: bool = False) -> str:
    """Why a machine cannot leave, as the agent says; empty while it may. Where its node is `alone`,
    the agent asks none to leave.
    """
    listed = entry.status.get("conditions", ())
    known = {each.get("type"): each for each in listed if isinstance(each, Mapping)}
    asked = known.get("Schedulable")
    if asked is None and not alone:
        return ""
    moves = known.get("Migratable", {})
    if moves.get("status") == "False":
        return str(moves.get("message") or moves.get("reason"))
    message = str((asked or {}).get("message", ""))
    return message if "nodes are available" in message else ""


def _stop(reader: Reader, entry: Entry, timeout: float | None) -> None:
    vm = Key(entry.kind.name, entry.namespace, entry.name)
    key = Key("VirtualMachineOperation", vm.namespace, operation.name_for(vm.name))
    request = operation.Request("stop", vm, key)
    until = time.time() + (timeout or operation.TIMEOUT)
    spec = {"type": "Stop", "virtualMachineName": vm.name}
    document = operation.manifest(request, spec, until=until)
    operation.submit(reader.repository, reader.settings, request, document)
    print(f"stopping virtualmachine {entry.label}", flush=True)
