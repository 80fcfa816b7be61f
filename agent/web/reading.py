"""The status branch at one of its commits, made ready to be looked at: a row an object. Frozen;
what is added up is added up when somebody asks for it, once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any

from agent.core import jsonpath, ledger, nodes, overview, tables
from agent.core.annotations import SOURCE
from agent.core.entries import Entry
from agent.core.model import Problem
from agent.core.ordering import rank
from agent.core.schema import Catalogue, Column, Kind

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Row:
    """What lists and sums need of one object; the rest stands in its file."""

    kind: Kind
    namespace: str
    name: str
    path: str
    """Of its file on the status branch."""
    blob: str
    """Of that file; empty for what has none."""
    phase: str
    cells: tuple[str, ...]
    """One a column of the kind. Of dates, the time (RFC 3339) or nothing."""
    labels: Mapping[str, str]
    said: tuple[overview.Said, ...]
    changed: str
    """When it last became something else (RFC 3339)."""
    waits: tuple[str, ...]
    """Paths of what waits for a restart."""
    waits_since: str
    """RFC 3339."""
    text: str
    """All that a search looks at, in lower case."""
    value: Mapping[str, Any]
    """The whole object, of kinds that have few objects; of others nothing."""

    @property
    def label(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def key(self) -> tuple[str, str]:
        return self.namespace, self.name

    @property
    def weight(self) -> overview.Weight | None:
        """Of the weightiest that it says; None of what is as it should be."""
        return self.said[0].weight if self.said else None


def row(entry: Entry, *, keep: bool) -> Row:
    """What is shown of an object; `keep` it whole, too."""
    kind, value, status = entry.kind, entry.value, entry.status
    metadata = value["metadata"]
    labels = _texts(metadata.get("labels"))
    cells = tuple(_cell(column, value) for column in kind.columns)
    named = (f"{name}={text}" for name, text in labels.items())
    words = (entry.namespace, entry.name, *cells, *named)
    changes = overview.mappings(status.get("restartAwaitingChanges"))
    return Row(
        kind=kind,
        namespace=entry.namespace,
        name=entry.name,
        path=entry.path,
        blob=entry.blob,
        phase=str(status.get("phase", "")),
        cells=cells,
        labels=labels,
        said=overview.said(kind, status),
        changed=overview.last_change(status),
        waits=tuple(str(each.get("path", "")) for each in changes),
        waits_since=_since(status, overview.AWAITING_RESTART) if changes else "",
        text="\n".join(words).lower(),
        value=value if keep else NOTHING,
    )


def _cell(column: Column, value: Mapping[str, Any]) -> str:
    if column.type != "date":
        return tables.cell(column, value, None)
    return next((str(item) for item in jsonpath.find(column.path, value) if item), "")


def _texts(labels: Any) -> dict[str, str]:
    pairs = labels.items() if isinstance(labels, Mapping) else ()
    return {str(name): str(text) for name, text in sorted(pairs)}


def _since(status: Mapping[str, Any], types: frozenset[str]) -> str:
    """When the first of these conditions became what it is."""
    times = (
        str(each.get("lastTransitionTime") or "")
        for each in overview.mappings(status.get("conditions"))
        if each.get("type") in types
    )
    return min((time for time in times if time), default="")


@dataclass(frozen=True)
class Trashed:
    """What was deleted and can still come back."""

    kind: Kind
    namespace: str
    name: str
    uid: str
    path: str
    deleted: str
    """RFC 3339."""
    message: str
    """What brings it back, or what becomes of it."""
    source: str
    capacity: str


def trashed(entry: Entry) -> Trashed:
    metadata = entry.value["metadata"]
    annotations = metadata.get("annotations")
    said = overview.mappings(entry.status.get("conditions"))
    messages = (str(each.get("message") or "") for each in said)
    return Trashed(
        kind=entry.kind,
        namespace=entry.namespace,
        name=entry.name,
        uid=str(metadata.get("uid", "")),
        path=entry.path,
        deleted=str(metadata.get("deletionTimestamp") or ""),
        message=" ".join(message for message in messages if message),
        source=str(annotations.get(SOURCE, "")) if isinstance(annotations, Mapping) else "",
        capacity=str(entry.status.get("capacity") or ""),
    )


@dataclass(frozen=True)
class Reading:
    """One commit of the status branch. `commit` is empty where there is no such branch, and
    `missing` says so.
    """

    catalogue: Catalogue
    commit: str = ""
    time: float = 0.0
    """Of the commit, in seconds since the epoch."""
    missing: str = ""
    agent: Mapping[str, Any] = field(default_factory=dict)
    """agent.yaml."""
    fleet: str = ""
    """Whose status is asked for."""
    main: str = ""
    """The newest commit of the branch with the manifests."""
    of_kind: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    """By the kind's name, sorted by namespace and name."""
    trash: tuple[Trashed, ...] = ()
    plans: Mapping[str, str] = field(default_factory=dict)
    """Blobs of plans by the names of their refs."""
    problems: tuple[Problem, ...] = ()

    def rows(self, kind: Kind) -> tuple[Row, ...]:
        return self.of_kind.get(kind.name, ())

    def find(self, kind: Kind, namespace: str, name: str) -> Row | None:
        return self._by_key(kind).get((namespace, name))

    def ranks(self, kind: Kind, name: str, value: Callable[[Row], Any]) -> Mapping[str, Any]:
        """What the kind's objects are sorted by, where `name` says which `value`, by their paths:
        worked out once.
        """
        if (kind.name, name) not in self._ranks:
            by_path = {row.path: (rank(value(row)), row.key) for row in self.rows(kind)}
            self._ranks[kind.name, name] = by_path
        return self._ranks[kind.name, name]

    @cached_property
    def machines(self) -> tuple[Row, ...]:
        return self.rows(self.catalogue.machine)

    @cached_property
    def phases(self) -> Mapping[str, Mapping[str, int]]:
        """How many objects of each kind are in each phase, phases sorted."""
        return {
            name: dict(sorted(Counter(row.phase for row in rows).items()))
            for name, rows in self.of_kind.items()
        }

    @cached_property
    def told(self) -> Mapping[overview.Weight, Mapping[str, Sequence[Row]]]:
        """Who says what, by how much it asks of people: each sentence once."""
        said: dict[overview.Weight, dict[str, list[Row]]] = {}
        for rows in self.of_kind.values():
            for each in rows:
                for sentence in each.said:
                    message = sentence.message or f"{each.phase}."
                    said.setdefault(sentence.weight, {}).setdefault(message, []).append(each)
        return said

    @cached_property
    def waiting(self) -> Sequence[Row]:
        """What waits for a restart, for the longest time first."""
        rows = (row for rows in self.of_kind.values() for row in rows if row.waits)
        return sorted(rows, key=lambda row: (row.waits_since, row.key))

    @cached_property
    def errors(self) -> Sequence[str]:
        """What keeps the agent from its work, or what is read from being what is meant."""
        found = []
        theirs = str(self.agent.get("fleet") or self.fleet)
        if theirs != self.fleet:
            found.append(
                f"This is the status branch of fleet {theirs}, and fleet {self.fleet} is asked "
                "for, whose agent refuses it: name the right --fleet, or another --status-branch."
            )
        repository = self.agent.get("repository")
        if isinstance(repository, Mapping) and not repository.get("ready", True):
            found.append(str(repository.get("message") or "The manifests cannot be read."))
        found += [
            f"Node {node['name']} is not ready. {node.get('message') or ''}".rstrip()
            for node in nodes.told(self.agent)
            if not nodes.ready(node)
        ]
        return found

    def _by_key(self, kind: Kind) -> Mapping[tuple[str, str], Row]:
        if kind.name not in self._keys:
            self._keys[kind.name] = {row.key: row for row in self.rows(kind)}
        return self._keys[kind.name]

    @cached_property
    def _ranks(self) -> dict[tuple[str, str], dict[str, Any]]:
        return {}

    @cached_property
    def _keys(self) -> dict[str, dict[tuple[str, str], Row]]:
        return {}


def kind_of(by_plural: Mapping[str, Kind], path: str) -> Kind | None:
    """The kind of the object in a file of the status branch; None for a file that holds none."""
    parts = path.removeprefix(ledger.TRASH).split("/")
    root = parts[0]
    wanted = {"namespaces": 4, "cluster": 3}.get(root)
    if len(parts) != wanted or not parts[-1].endswith(".yaml"):
        return None
    kind = by_plural.get(parts[-2])
    return kind if kind is not None and kind.namespaced == (root == "namespaces") else None
