"""From the status branch to a reading. Files that stay are read once; a commit costs what it
changed. Used from one thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from agent.core import ledger
from agent.core.entries import PROBLEMS_FILE, Entry, problems, whole
from agent.core.overview import ENDED, status_of
from agent.core.schema import Catalogue, Kind
from agent.gitrepo.repository import Repository, TreeFile
from agent.kinds import nodes
from agent.reconcile.beats import DEFAULT_FLEET, lease_ref
from agent.web.reading import Reading, Row, Trashed, kind_of, row, trashed

_MOST_FILES = 5_000_000


@dataclass(frozen=True)
class Terms:
    """What is to be read, as settings name it."""

    fleet: str = DEFAULT_FLEET
    status: str = "status"
    main: str = "main"

    @property
    def status_ref(self) -> str:
        return f"refs/heads/{self.status}"


class Collector:
    """Remembers what the files held at the commit that was read last."""

    def __init__(self, repository: Repository, catalogue: Catalogue, terms: Terms) -> None:
        self._repository, self._catalogue, self._terms = repository, catalogue, terms
        self._by_plural = {kind.plural: kind for kind in catalogue.kinds.values()}
        self._tree: str | None = None
        self._rows: dict[str, dict[str, Row]] = {}
        """By kind and path."""
        self._trash: dict[str, Trashed] = {}
        self._plans: dict[str, str] = {}
        self._sorted: dict[str, tuple[Row, ...]] = {}

    def read(
        self, refs: Mapping[str, str], known: Reading | None = None
    ) -> tuple[Reading, float | None]:
        """What the refs lead to, which is what is `known` where that is the same, and when the
        agent gave its last sign of life. RepositoryError if it cannot be read.
        """
        terms = self._terms
        main, tip = refs.get(f"refs/heads/{terms.main}", ""), refs.get(terms.status_ref, "")
        same = known is not None and (known.commit, known.main) == (tip, main)
        reading = known if known is not None and same else self._reading(tip, main)
        lease = refs.get(lease_ref(str(reading.agent.get("fleet") or terms.fleet)))
        beat = None if lease is None else float(self._repository.commit_info(lease).time)
        return reading, beat

    def _reading(self, tip: str, main: str) -> Reading:
        terms, repository = self._terms, self._repository
        if not tip:
            return Reading(
                self._catalogue,
                missing=f"{repository.address} has no branch {terms.status!r} yet: start the agent "
                "on it (`gitvirt run`), or name another with --status-branch.",
                fleet=terms.fleet,
                main=main,
            )
        self._advance(repository.tree_id(tip))
        data = repository.read_path(tip, ledger.FLEET_FILE)
        agent = (ledger.load(data) if data is not None else None) or {}
        found = repository.read_path(tip, PROBLEMS_FILE)
        return Reading(
            self._catalogue,
            commit=tip,
            time=float(repository.commit_info(tip).time),
            agent=agent,
            fleet=terms.fleet,
            main=main,
            of_kind=self._kinds(agent),
            trash=tuple(sorted(self._trash.values(), key=lambda each: (each.deleted, each.path))),
            plans=dict(sorted(self._plans.items())),
            problems=tuple(problems(found)) if found is not None else (),
        )

    def _advance(self, tree: str | None) -> None:
        """To what another tree holds. Where that fails halfway, all is read anew the next time."""
        before, self._tree = self._tree, None
        if before is None:
            self._rows, self._trash, self._plans, self._sorted = {}, {}, {}, {}
        for old, new in self._repository.changed(before, tree, _MOST_FILES):
            if old is not None:
                self._drop(old.path)
            if new is not None and new.kind == "file":
                self._put(new)
        self._tree = tree

    def _drop(self, path: str) -> None:
        self._trash.pop(path, None)
        self._plans.pop(_ref(path), None)
        kind = kind_of(self._by_plural, path)
        if kind is not None:
            self._rows.get(kind.name, {}).pop(path, None)
            self._sorted.pop(kind.name, None)

    def _put(self, file: TreeFile) -> None:
        if ref := _ref(file.path):
            self._plans[ref] = file.blob
            return
        kind = kind_of(self._by_plural, file.path)
        value = whole(ledger.load(self._repository.read(file.blob))) if kind is not None else None
        if kind is None or value is None:
            return  # no object, or one that is damaged
        entry = Entry(kind, file.path, file.blob, value)
        if file.path.startswith(ledger.TRASH):
            self._trash[file.path] = trashed(entry)
        else:
            self._rows.setdefault(kind.name, {})[file.path] = row(entry, keep=_kept(kind, value))
            self._sorted.pop(kind.name, None)

    def _kinds(self, agent: Mapping[str, Any]) -> dict[str, tuple[Row, ...]]:
        for name in self._rows.keys() - self._sorted.keys():
            rows = self._rows[name].values()
            self._sorted[name] = tuple(sorted(rows, key=lambda row: row.key))
        manifests = (
            Entry(row.kind, row.path, row.blob, row.value)
            for row in self._rows.get(nodes.KIND, {}).values()
        )
        shown = nodes.shown(self._catalogue, manifests, agent)
        return {**self._sorted, nodes.KIND: tuple(row(entry, keep=True) for entry in shown)}


def _kept(kind: Kind, value: Mapping[str, Any]) -> bool:
    """True of what sums are made from: nodes, and what is under way."""
    under_way = kind.request and status_of(value).get("phase") not in ENDED
    return kind.name == nodes.KIND or under_way


def _ref(path: str) -> str:
    """The ref that a file has the plan of; empty for any other file."""
    if not path.startswith(ledger.PLANS) or not path.endswith(".md"):
        return ""
    return unquote(path.removeprefix(ledger.PLANS).removesuffix(".md"))
