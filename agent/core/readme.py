"""README.md of the status branch: the fleet as Markdown, kept up to date object by object."""

from __future__ import annotations

import re
from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from agent.core import nodes, tables
from agent.core.changes import sentence
from agent.core.fleetmap import FleetMap
from agent.core.human import count
from agent.core.ledger import path_of
from agent.core.model import Key, Problem
from agent.core.overview import Weight, last_change, said
from agent.core.picture import Machine
from agent.core.quantity import to_bytes
from agent.core.schema import Catalogue, Kind

PICTURE = "fleet.svg"
MAX_ROWS = 100
MAX_TEXT = 300
NAMES = 5
"""Objects that are named behind one sentence."""

Sortable = TypeVar("Sortable", bound=tuple[Any, ...])
Whole = Callable[[], Mapping[str, Any]]
"""Gives an object as the status branch has it. Called only for objects that are shown."""


@dataclass(slots=True)
class _Entry:
    key: Key
    label: str
    phase: str
    changed: str
    """When it last became something else."""
    said: tuple[tuple[Weight, str], ...]
    """What it has to say."""
    drawn: tuple[str, Machine] | None
    """A machine as the picture shows it, and its node."""
    whole: Whole
    row: str = ""
    """Its line in the table of its kind, once it was shown."""

    @property
    def resource(self) -> str:
        return f"{self.key.kind} {self.label}"


class Readme:
    """Bringing it up to date costs as much as changed, however large the fleet is."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._entries: dict[Key, _Entry] = {}
        self._labels: dict[str, list[tuple[str, Key]]] = {}
        """Objects of each kind in the order of their labels."""
        self._said: dict[tuple[Weight, str], list[tuple[str, Key]]] = {}
        """Who says what: a sentence stands there once, whoever it is about."""
        self._sentences: list[tuple[Weight, str]] = []
        self._changes: list[tuple[str, str, Key]] = []
        self._running = 0
        self._weights: Counter[Weight] = Counter()
        self._map = FleetMap()

    def put(self, key: Key, status: Mapping[str, Any], whole: Whole) -> None:
        """An object is there, or is not the same as before."""
        self.drop(key)
        kind = self._catalogue.kinds[key.kind]
        label = f"{key.namespace}/{key.name}" if key.namespace else key.name
        entry = _Entry(
            key=key,
            label=label,
            phase=str(status.get("phase", "")),
            changed=last_change(status),
            said=_sentences(kind, status),
            drawn=_drawn(key, status) if kind.machine else None,
            whole=whole,
        )
        self._entries[key] = entry
        insort(self._labels.setdefault(key.kind, []), (label, key))
        for told in entry.said:
            if told not in self._said:
                self._said[told] = []
                insort(self._sentences, told)
            insort(self._said[told], (entry.resource, key))
        if entry.changed:
            insort(self._changes, (entry.changed, entry.resource, key))
        self._count(entry, 1)

    def drop(self, key: Key) -> None:
        """An object is gone."""
        entry = self._entries.pop(key, None)
        if entry is None:
            return
        _remove(self._labels[key.kind], (entry.label, key))
        for told in entry.said:
            _remove(self._said[told], (entry.resource, key))
            if not self._said[told]:
                del self._said[told]
                _remove(self._sentences, told)
        if entry.changed:
            _remove(self._changes, (entry.changed, entry.resource, key))
        self._count(entry, -1)

    def _count(self, entry: _Entry, step: int) -> None:
        self._running += step * (entry.drawn is not None and entry.phase == "Running")
        for weight in {weight for weight, _ in entry.said}:
            self._weights[weight] += step
        if entry.drawn is not None:
            (self._map.put if step > 0 else self._map.drop)(*entry.drawn)

    def picture(self, agent: Mapping[str, Any]) -> bytes:
        """fleet.svg. As long as nothing in it changes it is the same object."""
        return self._map.picture(nodes.told(agent))

    def text(self, problems: Sequence[Problem], agent: Mapping[str, Any]) -> str:
        """A line of summary, what asks for somebody, the picture, what else there is to know, and
        a table a kind. Equal input gives equal text, and nothing in it moves by itself.
        """
        trouble = _trouble(agent)
        parts = [
            f"# Fleet {markdown(str(agent.get('fleet', 'default')))}",
            self._summary(problems, calm=not trouble),
            *trouble,
            *self._weighing(Weight.ACT, "Somebody has to look at"),
            *_problems(problems),
            *self._weighing(Weight.RESTART, "Waiting for a restart"),
            f"![Nodes, and the machines on them by phase]({PICTURE})",
            *self._times(agent),
            *self._weighing(Weight.UNDER_WAY, "Under way"),
            *self._weighing(Weight.NOTE, "Good to know"),
            *(part for kind in self._catalogue.in_order for part in self._kind(kind)),
        ]
        return "\n\n".join(parts) + "\n"

    def _summary(self, problems: Sequence[Problem], *, calm: bool) -> str:
        weights = self._weights
        machines = len(self._labels.get(self._catalogue.machine.name, ()))
        act, restart, moving = (
            weights[weight] for weight in (Weight.ACT, Weight.RESTART, Weight.UNDER_WAY)
        )
        counts = [
            f"**{self._running} of {count(machines, 'virtual machine')} running**",
            f"{count(act, 'object')} for somebody to look at" if act else "",
            f"{count(len(problems), 'problem')} in manifests" if problems else "",
            f"{restart} waiting for a restart" if restart else "",
            f"{moving} under way" if moving else "",
        ]
        if calm and not (act or problems or restart or moving):
            counts.append("all is as it should be")
        return f"{', '.join(count for count in counts if count)}."

    def _times(self, agent: Mapping[str, Any]) -> list[str]:
        said = []
        applied, attempted = _revision(agent, "applied"), _revision(agent, "attempted")
        if applied:
            said.append(f"Commit `{applied}` in force{_since(agent, 'applied')}.")
        if attempted and attempted != applied:
            said.append(f"Commit `{attempted}` under way{_since(agent, 'attempted')}.")
        if self._changes:
            when, _, key = self._changes[-1]
            entry = self._entries[key]
            what = f" {markdown(entry.phase)}" if entry.phase else ""
            said.append(f"Last change: {self._link(entry, key.kind)}{what}, {_moment(when)}.")
        return [" ".join(said)] if said else []

    def _weighing(self, weight: Weight, title: str) -> list[str]:
        first = bisect_left(self._sentences, (weight, ""))
        last = (
            bisect_left(self._sentences, (Weight(weight + 1), "")) if weight < max(Weight) else None
        )
        sentences = self._sentences[first:last]
        if not sentences:
            return []
        lines = [self._sentence(sentence) for sentence in sentences[:MAX_ROWS]]
        what = "CHANGES" if weight is Weight.RESTART else "WHAT"
        table = _table((what, "OF"), lines, len(sentences))
        return [f"## {title} ({count(self._weights[weight], 'object')})", *table]

    def _sentence(self, said: tuple[Weight, str]) -> str:
        by = self._said[said]
        names = [self._link(self._entries[key], key.kind) for _, key in by[:NAMES]]
        more = f" and {len(by) - NAMES} more" if by[NAMES:] else ""
        return _line((markdown(said[1]), f"{', '.join(names)}{more}"))

    def _link(self, entry: _Entry, kind: str = "") -> str:
        """The object's name, which leads to its file."""
        shown = f"{kind} {entry.label}" if kind else entry.key.name
        return f"[{markdown(shown)}]({quote(path_of(self._catalogue, entry.key))})"

    def _kind(self, kind: Kind) -> list[str]:
        listed = self._labels.get(kind.name)
        if not listed or kind.stateless:
            return []
        lines = [self._row(kind, self._entries[key]) for _, key in listed[:MAX_ROWS]]
        headers = (*_cells(kind, ()).headers, "LAST CHANGE")
        return [f"## {kind.name} ({len(listed)})", *_table(headers, lines, len(listed))]

    def _row(self, kind: Kind, entry: _Entry) -> str:
        if not entry.row:
            cells = [markdown(cell) for cell in _cells(kind, [entry.whole()]).rows[0]]
            cells[1 if kind.namespaced else 0] = self._link(entry)
            entry.row = _line((*cells, _moment(entry.changed)))
        return entry.row


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


def _sentences(kind: Kind, status: Mapping[str, Any]) -> tuple[tuple[Weight, str], ...]:
    """What an object has to say. What waits for a restart is told by the changes themselves."""
    phase = str(status.get("phase", ""))
    sentences = {(told.weight, told.message or f"{phase}.") for told in said(kind, status)}
    changes = status.get("restartAwaitingChanges")
    if isinstance(changes, list) and changes:
        sentences = {pair for pair in sentences if pair[0] is not Weight.RESTART}
        listed = (sentence(change) for change in changes if isinstance(change, Mapping))
        sentences.add((Weight.RESTART, "; ".join(listed)))
    return tuple(sorted(sentences))


def _drawn(key: Key, status: Mapping[str, Any]) -> tuple[str, Machine]:
    label = key.name if key.namespace == "default" else f"{key.namespace}/{key.name}"
    memory = _mapping(_mapping(status, "resources"), "memory").get("size", "0")
    try:
        count = to_bytes(memory)
    except (TypeError, ValueError):
        count = 0
    return str(status.get("nodeName", "")), Machine(label, str(status.get("phase", "")), count)


def _mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = value.get(name)
    return part if isinstance(part, Mapping) else {}


def _revision(agent: Mapping[str, Any], name: str) -> str:
    return re.sub("[^0-9a-f]", "", str(_mapping(agent, name).get("revision") or ""))[:12]


def _since(agent: Mapping[str, Any], name: str) -> str:
    moment = _moment(str(_mapping(agent, name).get("since") or ""))
    return f" since {moment}" if moment else ""


def _moment(when: str) -> str:
    """A time as people read it: `2026-01-01 12:00:00 UTC`."""
    return markdown(when.replace("T", " ").replace("Z", " UTC"))


NOT_READY = "Node {} is not ready."


def _trouble(agent: Mapping[str, Any]) -> list[str]:
    """What keeps the agent from its work."""
    parts = [(_mapping(agent, "repository"), "The manifests cannot be read.")]
    parts += [(node, NOT_READY.format(markdown(node["name"]))) for node in nodes.told(agent)]
    return [
        f"**{title}** {markdown(str(state.get('message', '')))}".rstrip()
        for state, title in parts
        if not nodes.ready(state)
    ]


def _problems(problems: Sequence[Problem]) -> list[str]:
    if not problems:
        return []
    rows = [
        _row((problem.where, problem.resource, problem.path, problem.message))
        for problem in sorted(problems)[:MAX_ROWS]
    ]
    table = _table(("FILE", "RESOURCE", "FIELD", "PROBLEM"), rows, len(problems))
    return ["## Manifests that do not hold", *table]


def _cells(kind: Kind, objects: Iterable[Mapping[str, Any]]) -> tables.Table:
    return tables.table(kind, objects, now=None, wide=kind.machine, namespaces=True)


def _remove(values: list[Sortable], value: Sortable) -> None:
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
