"""`gitvirt describe`: one object in all its parts, with its history as events."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent.cli.command import CommandError, Subparsers
from agent.cli.machine import as_yaml
from agent.cli.objects import listed, named
from agent.cli.repositories import opened
from agent.cli.snapshot import Reader, Snapshot
from agent.cli.targets import targets
from agent.core import human, status
from agent.core.annotations import SOURCE
from agent.core.changes import reason, sentence
from agent.core.entries import Entry
from agent.core.model import Key
from agent.core.schema import Catalogue, Kind
from agent.core.tables import Table, printable, text
from agent.gitrepo.repository import CommitInfo
from agent.reconcile.message import about
from agent.settings import Settings

EVENTS = 20
_APART = ("conditions", "restartAwaitingChanges", "runningSpec", "stats", "phase")


def add(subparsers: Subparsers) -> None:
    parser = subparsers.add_parser(
        "describe",
        help="show one object with its conditions and events",
        description="Show objects in all their parts. Events are the log of the object's file on "
        "the status branch.",
        epilog="examples:\n  gitvirt describe vm linux-vm\n  gitvirt describe vd/root -n prod\n",
    )
    parser.add_argument("target", metavar="KIND NAME…", nargs="+", help="or KIND/NAME…")


def run(args: argparse.Namespace, settings: Settings) -> int:
    catalogue = Catalogue.load()
    wanted = targets(catalogue, args.target)
    now = time.time()
    with opened(settings) as repository:
        snapshot = Reader(repository, settings, catalogue).now()
        snapshot.warn_of_silence(now)
        entries: list[Entry] = []
        for target in wanted:
            if not target.names:
                entries.extend(listed(snapshot, target.kind, settings.namespace))
            for name in target.names:
                entry = named(snapshot, target.kind, settings.namespace, name)
                if entry is None:
                    where = f" in namespace {settings.namespace}" if target.kind.namespaced else ""
                    raise CommandError(f"there is no {target.kind.name} {name!r}{where}")
                entries.append(entry)
        print("\n\n".join(_described(snapshot, entry, now) for entry in entries))
    return 0


def _described(snapshot: Snapshot, entry: Entry, now: float) -> str:
    log = snapshot.reader.repository.log(snapshot.commit, entry.path, EVENTS)
    return "\n".join(describe(entry.kind, entry.value, list(log), now)).rstrip("\n")


def describe(
    kind: Kind, value: Mapping[str, Any], log: Sequence[CommitInfo], now: float
) -> Iterator[str]:
    """Lines about one whole object; `log` is that of its file, newest first."""
    metadata = value["metadata"]
    state: Mapping[str, Any] = value.get("status") or {}
    annotations = dict(metadata.get("annotations") or {})
    source = annotations.pop(SOURCE, "")
    yield from _fields(
        {
            "Name": metadata["name"],
            "Namespace": metadata.get("namespace", ""),
            "Kind": f"{value.get('kind', '')} ({value.get('apiVersion', '')})",
            "Labels": metadata.get("labels") or {},
            "Annotations": annotations,
            "UID": metadata.get("uid", ""),
            "Generation": metadata.get("generation", ""),
            "Created": _moment(metadata.get("creationTimestamp"), now),
            "Deleted": _moment(metadata.get("deletionTimestamp"), now),
            "Source": source,
            "Phase": state.get("phase", ""),
        }
    )
    content = [name for name in value if name not in ("apiVersion", "kind", "metadata", "status")]
    for name in content:
        yield from _block(name.capitalize(), value[name])
    yield from _block("Status", {key: part for key, part in state.items() if key not in _APART})
    yield from _waiting(kind, state.get("restartAwaitingChanges"))
    yield from _conditions(state.get("conditions"), now)
    key = Key(kind.name, metadata.get("namespace", ""), metadata["name"])
    yield from _events(kind.label(key), log, now)


def _fields(values: Mapping[str, Any]) -> Iterator[str]:
    width = max(len(name) for name in values) + 3
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines = [f"{key}={item}" for key, item in sorted(value.items())] or ["<none>"]
        elif value == "":
            continue
        else:
            lines = [str(value)]
        for position, line in enumerate(lines):
            head = f"{name}:" if position == 0 else ""
            yield f"{head:<{width}}{printable(line)}"


def _moment(value: Any, now: float) -> str:
    if not value:
        return ""
    return f"{value} ({_age(value, now)} ago)"


def _age(value: Any, now: float) -> str:
    try:
        return human.age(now - status.seconds(value))
    except (TypeError, ValueError):
        return "<unknown>"


def _block(title: str, value: Any) -> Iterator[str]:
    if value in ({}, None, []):
        return
    if not isinstance(value, dict | list):
        yield f"{title}: {printable(str(value))}"
        return
    yield f"{title}:"
    for line in as_yaml(value).splitlines():
        yield f"  {line}"


def _waiting(kind: Kind, changes: Any) -> Iterator[str]:
    if not isinstance(changes, list) or not changes:
        return
    yield "Waiting for a restart:"
    for change in changes:
        if isinstance(change, Mapping):
            why = reason(kind, str(change.get("path", "")))
            yield f"  {printable(sentence(change))}{f', because {why}' if why else ''}"


def _conditions(conditions: Any, now: float) -> Iterator[str]:
    items = conditions if isinstance(conditions, list) else []
    rows = tuple(
        (
            *(printable(str(item.get(name, ""))) for name in ("type", "status", "reason")),
            _age(item.get("lastTransitionTime"), now),
            printable(str(item.get("message", ""))),
        )
        for item in items
        if isinstance(item, Mapping)
    )
    if rows:
        yield "Conditions:"
        yield from _indented(Table(("TYPE", "STATUS", "REASON", "AGE", "MESSAGE"), rows))


def _events(label: str, log: Sequence[CommitInfo], now: float) -> Iterator[str]:
    rows = tuple(
        (
            human.age(now - commit.time),
            commit.id[:12],
            printable(about(label, commit.subject, commit.body)),
        )
        for commit in reversed(log)
    )
    if not rows:
        yield "Events:  <none>"
        return
    yield "Events:"
    yield from _indented(Table(("AGE", "COMMIT", "WHAT"), rows))


def _indented(table: Table) -> Iterator[str]:
    for line in text(table).splitlines():
        yield f"  {line}"
