"""One object in all its parts."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote as quote_for_shell
from typing import Any
from urllib.parse import quote

from agent.core.annotations import SOURCE
from agent.core.changes import reason, sentence
from agent.core.ledger import dump
from agent.core.model import Key
from agent.core.nodes import told
from agent.core.overview import LIMITS, mappings, status_of, weight
from agent.gitrepo.repository import CommitInfo
from agent.reconcile.message import about
from agent.web.answers import View
from agent.web.deeds import OFF, offered
from agent.web.reading import Reading, Row
from agent.web.views.common import href, link, word_of
from agent.web.views.log import commit_line
from agent.web.views.shapes import shape

_WORDS = re.compile("((?<=[a-z])[A-Z]|(?<!^)[A-Z](?=[a-z]))")
_COMMIT = re.compile("[0-9a-f]{40}")
_APART = ("conditions", "restartAwaitingChanges", "runningSpec", "stats", "phase")
_TOLD = ("apiVersion", "kind", "metadata", "status")


@dataclass(frozen=True)
class Found:
    """What was looked up in Git about one object."""

    value: Mapping[str, Any]
    """The whole object."""
    events: Sequence[CommitInfo] = ()
    """Commits of the agent that changed its file, newest first."""
    changes: Sequence[CommitInfo] = ()
    """Commits of people that changed its manifest's file, newest first."""
    line: int = 0
    """Of its manifest in that file; 0 where that is not known."""


def one(reading: Reading, row: Row, found: Found, forge: str = "") -> View:
    """`forge` is the pattern of a file's address on the forge; see `forge_address`."""
    catalogue, kind, value = reading.catalogue, row.kind, found.value
    metadata, status = value["metadata"], status_of(value)
    annotations = _mapping(metadata.get("annotations"))
    commit, path = source_of(annotations)
    key = Key(kind.name, row.namespace, row.name)
    label = kind.label(key)
    data = {
        **link(row),
        "word": word_of(kind),
        "machine": kind.machine,
        "labels": _mapping(metadata.get("labels")),
        "annotations": {name: text for name, text in annotations.items() if name != SOURCE},
        "uid": str(metadata.get("uid", "")),
        "generation": metadata.get("generation", 0),
        "created": str(metadata.get("creationTimestamp") or ""),
        "deleted": str(metadata.get("deletionTimestamp") or ""),
        "source": {
            "commit": commit,
            "path": path,
            "line": found.line,
            "href": forge_address(forge, commit, path, found.line),
        },
        "columns": dict(zip((column.name for column in kind.columns), row.cells, strict=True)),
        "conditions": _conditions(status),
        "waits": _waits(row, status),
        "waits_since": row.waits_since,
        "content": {name: part for name, part in value.items() if name not in _TOLD},
        "running": status.get("runningSpec") or {},
        "transitions": list(_mapping(status.get("stats")).get("phasesTransitions") or ()),
        "events": [
            {**commit_line(each), "subject": about(label, each.subject, each.body)}
            for each in found.events
        ],
        "changes": [commit_line(each) for each in found.changes],
        "commands": commands(row, commit),
        "object": value,
    }

    def find(kind_name: str, name: str) -> str:
        known = catalogue.kinds.get(kind_name)
        space = row.namespace if known is not None and known.namespaced else ""
        other = reading.find(known, space, name) if known is not None else None
        return href(other) if other is not None and other is not row else ""

    told = {name: part for name, part in status.items() if name not in _APART}
    plain = {name: part for name, part in told.items() if not isinstance(part, dict | list)}
    shapes = {
        name: shape(catalogue, part, find) for name, part in told.items() if name not in plain
    }
    cells = zip(kind.columns, row.cells, strict=True)
    more = {
        "cells": [
            (column.name, cell)
            for column, cell in cells
            if cell not in ("", column.missing) and column.type != "date" and cell != row.phase
        ],
        "reachable": kind.machine and row.phase not in OFF,
        "deeds": _deeds(reading, row) if kind.machine else [],
        "facts": shape(catalogue, plain, find),
        "parts": [(spaced(name), each) for name, each in shapes.items()],
        "spec": list(beside(status.get("runningSpec"), value.get("spec"))),
        "others": {
            name: shape(catalogue, part, find)
            for name, part in value.items()
            if name not in (*_TOLD, "spec")
        },
    }
    return View("one.html", f"{row.label} · {kind.name}", data, more, word_of(kind))


def beside(running: Any, wanted: Any) -> Iterator[tuple[str, str]]:
    """The spec line by line, each with `was` where it only runs so, `new` where it is only wanted
    so, and nothing where that is the same, or nobody knows what runs.
    """
    after = dump(wanted).decode().splitlines() if wanted else []
    before = dump(running).decode().splitlines() if running else after
    for line in difflib.ndiff(before, after):
        mark = {"- ": "was", "+ ": "new", "  ": ""}.get(line[:2])
        if mark is not None:
            yield mark, line[2:]


def spaced(name: str) -> str:
    """`Block device refs`, of a field's name."""
    words = _WORDS.sub(r" \1", name).split()
    small = [word if word.isupper() else word.lower() for word in words]
    return " ".join(small)[:1].upper() + " ".join(small)[1:]


def source_of(annotations: Mapping[str, Any]) -> tuple[str, str]:
    """The commit and the file that an object was accepted from; empty for one that has none."""
    source = str(annotations.get(SOURCE, ""))
    commit, colon, path = source.partition(":")
    return (commit, path) if colon and _COMMIT.fullmatch(commit) else ("", "")


def forge_address(pattern: str, commit: str, path: str, line: int) -> str:
    """Where people read a file: the pattern with `{commit}`, `{path}` and `{line}` filled in."""
    if not pattern or not commit:
        return ""
    whole = pattern.replace("{commit}", quote(commit)).replace("{path}", quote(path))
    return whole.replace("{line}", str(line or 1))


def _deeds(reading: Reading, row: Row) -> list[dict[str, str]]:
    """What buttons ask of a machine."""
    nodes = len(told(reading.agent))
    return [
        {"button": deed.button, "href": f"{href(row)}/{deed.verb}"}
        for deed in offered(row.phase, nodes)
    ]


def commands(row: Row, commit: str) -> list[dict[str, str]]:
    """What people type about it; `commit` is the one that it was accepted from."""
    name, space = quote_for_shell(row.name), ""
    if row.namespace not in ("", "default"):
        space = f" -n {quote_for_shell(row.namespace)}"
    lines = [("Describe", f"gitvirt describe {row.kind.singular} {name}{space}")]
    if row.kind.machine:
        lines += [
            ("Shell", f"gitvirt ssh {name}{space}"),
            ("Console", f"gitvirt console {name}{space}"),
            ("Restart", f"gitvirt restart {name}{space} --wait"),
        ]
    if row.waits and commit:
        lines.append(("Withdraw", f"git revert {commit[:12]}"))
    return [{"what": what, "command": command} for what, command in lines]


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _weight(condition: Mapping[str, Any], phase: str) -> str:
    """Empty where there is nothing to say. What cannot be done here is no fault of the object."""
    if not condition.get("message"):
        return ""
    limit = condition.get("type") in LIMITS
    return "limit" if limit else weight(condition, phase).name.lower()


def _conditions(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    phase = str(status.get("phase", ""))
    return [
        {
            "type": str(each.get("type", "")),
            "status": str(each.get("status", "")),
            "reason": str(each.get("reason", "")),
            "message": str(each.get("message", "")),
            "since": str(each.get("lastTransitionTime") or ""),
            "weight": _weight(each, phase),
        }
        for each in mappings(status.get("conditions"))
    ]


def _waits(row: Row, status: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "path": str(each.get("path", "")),
            "running": each.get("currentValue"),
            "wanted": each.get("desiredValue"),
            "sentence": sentence(each),
            "because": reason(row.kind, str(each.get("path", ""))),
        }
        for each in mappings(status.get("restartAwaitingChanges"))
    ]
