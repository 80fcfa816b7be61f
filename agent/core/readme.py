"""README.md of the status branch: the fleet as Markdown, kept up to date object by object."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core import tables
from agent.core.model import Key, Problem
from agent.core.overview import FIRST, LEFT_OUT, concern, is_concern, status_of
from agent.core.schema import Catalogue, Kind

MAX_ROWS = 100
MAX_TEXT = 300

Whole = Callable[[], Mapping[str, Any]]
"""Gives an object as the status branch has it. Called only for objects that are shown."""


@dataclass(slots=True)
class _Entry:
    kind: str
    label: str
    running: bool
    restarts: bool
    troubled: bool
    whole: Whole
    row: str = ""
    """Its line in the table of its kind, once it was shown."""
    concern: str = ""
    """Its line among those with something to say, once it was shown."""


class Readme:
    """Bringing it up to date costs as much as changed, however large the fleet is."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._entries: dict[Key, _Entry] = {}
        self._labels: dict[str, list[tuple[str, Key]]] = {}
        """Objects of each kind in the order of their labels."""
        self._troubled: list[tuple[str, Key]] = []
        self._running = self._restarts = 0

    def put(self, key: Key, status: Mapping[str, Any], whole: Whole) -> None:
        """An object is there, or is another one than before."""
        self.drop(key)
        entry = _Entry(
            kind=key.kind,
            label=f"{key.namespace}/{key.name}" if key.namespace else key.name,
            running=key.kind == "VirtualMachine" and status.get("phase") == "Running",
            restarts=bool(status.get("restartAwaitingChanges")),
            troubled=is_concern(status),
            whole=whole,
        )
        self._entries[key] = entry
        insort(self._labels.setdefault(key.kind, []), (entry.label, key))
        if entry.troubled:
            insort(self._troubled, (f"{key.kind} {entry.label}", key))
        self._running += entry.running
        self._restarts += entry.restarts

    def drop(self, key: Key) -> None:
        """An object is gone."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        _remove(self._labels[key.kind], (entry.label, key))
        if entry.troubled:
            _remove(self._troubled, (f"{key.kind} {entry.label}", key))
        self._running -= entry.running
        self._restarts -= entry.restarts

    def text(self, problems: Sequence[Problem], agent: Mapping[str, Any]) -> str:
        """A line of summary, problems, and a table a kind. Equal input gives equal text, and
        nothing in it moves by itself.
        """
        parts = [
            f"# Fleet {markdown(str(agent.get('fleet', 'default')))}",
            self._summary(problems, agent),
            *_node(agent),
            *_problems(problems),
            *self._concerns(),
            *(part for kind in _kinds(self._catalogue) for part in self._kind(kind)),
        ]
        return "\n\n".join(parts) + "\n"

    def _summary(self, problems: Sequence[Problem], agent: Mapping[str, Any]) -> str:
        machines = len(self._labels.get("VirtualMachine", ()))
        counts = [
            f"{self._running} of {_count(machines, 'virtual machine')} running",
            f"{_count(len(problems), 'problem')} in manifests",
            f"{_count(len(self._troubled), 'object')} with something to say",
        ]
        if self._restarts:
            counts.append(f"{self._restarts} waiting for a restart")
        applied = _revision(agent, "applied")
        attempted = _revision(agent, "attempted")
        if applied:
            counts.append(f"`{applied}` applied")
        if attempted and attempted != applied:
            counts.append(f"`{attempted}` under way")
        return f"**{counts[0]}**, {', '.join(counts[1:])}."

    def _concerns(self) -> list[str]:
        if not self._troubled:
            return []
        lines = [self._concern(self._entries[key]) for _, key in self._troubled[:MAX_ROWS]]
        table = _table(("OBJECT", "PHASE", "WHAT"), lines, len(self._troubled))
        return ["## Objects with something to say", *table]

    def _concern(self, entry: _Entry) -> str:
        if not entry.concern:
            found = concern(entry.whole())
            said = "; ".join(found.messages[:3]) + ("; …" if found.messages[3:] else "")
            entry.concern = _row((found.resource, found.phase, said))
        return entry.concern

    def _kind(self, kind: Kind) -> list[str]:
        found = self._labels.get(kind.name)
        if not found:
            return []
        lines = [self._line(kind, self._entries[key]) for _, key in found[:MAX_ROWS]]
        headers = _cells(kind, ()).headers
        return [f"## {kind.name} ({len(found)})", *_table(headers, lines, len(found))]

    def _line(self, kind: Kind, entry: _Entry) -> str:
        if not entry.row:
            entry.row = _row(_cells(kind, [entry.whole()]).rows[0])
        return entry.row


def readme(
    catalogue: Catalogue,
    objects: Iterable[Mapping[str, Any]],
    problems: Sequence[Problem],
    agent: Mapping[str, Any],
) -> str:
    """The text for whole objects, in one go."""
    made = Readme(catalogue)
    for each in objects:
        metadata = each["metadata"]
        key = Key(each["kind"], metadata.get("namespace", ""), metadata["name"])
        made.put(key, status_of(each), lambda each=each: each)  # type: ignore[misc]
    return made.text(problems, agent)


def markdown(text: str, limit: int = MAX_TEXT) -> str:
    """Text from people as Markdown shows it: as it is, on one line, never as formatting, a link, a
    mention or HTML.
    """
    line = tables.printable(" ".join(text.split()))
    if len(line) > limit:
        line = line[: limit - 1] + "…"
    return "".join(_escaped(line, at) for at in range(len(line)))


def _escaped(line: str, at: int) -> str:
    sign = line[at]
    if sign in "&<>":
        return {"&": "&amp;", "<": "&lt;", ">": "&gt;"}[sign]
    # these begin links and mentions also where a backslash stands before them
    if sign == "@" or (sign == ":" and line[at : at + 3] == "://"):
        return f"&#{ord(sign)};"
    if sign == "." and line[max(0, at - 3) : at].lower() == "www":
        return f"&#{ord(sign)};"
    if sign in "#!" or sign in "\\`*_[]|~$":
        return f"\\{sign}"
    return f"\\{sign}" if at == 0 and sign in "-+=" else sign


def _revision(agent: Mapping[str, Any], name: str) -> str:
    part = agent.get(name)
    revision = part.get("revision") if isinstance(part, Mapping) else None
    return re.sub("[^0-9a-f]", "", str(revision or ""))[:12]


def _node(agent: Mapping[str, Any]) -> list[str]:
    node = agent.get("node")
    if not isinstance(node, Mapping) or node.get("ready", True):
        return []
    name, message = markdown(str(node.get("name", ""))), markdown(str(node.get("message", "")))
    return [f"**Node {name} is not ready.** {message}".rstrip()]


def _problems(problems: Sequence[Problem]) -> list[str]:
    if not problems:
        return []
    rows = [
        _row((_place(each), each.resource, each.path, each.message))
        for each in sorted(problems)[:MAX_ROWS]
    ]
    table = _table(("FILE", "RESOURCE", "FIELD", "PROBLEM"), rows, len(problems))
    return ["## Manifests that do not hold", *table]


def _place(problem: Problem) -> str:
    return f"{problem.file}:{problem.line}" if problem.line else problem.file


def _kinds(catalogue: Catalogue) -> list[Kind]:
    names = [*FIRST, *sorted(catalogue.kinds.keys() - set(FIRST) - LEFT_OUT)]
    return [catalogue.kinds[name] for name in names if name in catalogue.kinds]


def _cells(kind: Kind, objects: Iterable[Mapping[str, Any]]) -> tables.Table:
    wide = kind.name == "VirtualMachine"
    return tables.table(kind, objects, now=None, wide=wide, namespaces=True)


def _remove(values: list[tuple[str, Key]], value: tuple[str, Key]) -> None:
    del values[bisect_left(values, value)]


def _table(headers: Sequence[str], rows: Sequence[str], count: int) -> list[str]:
    """A table of the first rows, and how many there are beyond."""
    lines = [_line(headers), _line(["---"] * len(headers)), *rows]
    more = count - len(rows)
    return ["\n".join(lines), *([f"… and {more} more."] if more > 0 else [])]


def _row(cells: Iterable[str]) -> str:
    return _line(markdown(cell) for cell in cells)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
