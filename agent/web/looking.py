"""What views look up in Git when somebody asks, in the thread that reads it. What was cut off or
lost is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from agent.core import ledger
from agent.core.documents import Document
from agent.core.entries import whole
from agent.core.model import Json
from agent.core.parsing import parse
from agent.gitrepo.repository import CommitInfo, Repository, RepositoryError
from agent.web.reading import Reading, Row
from agent.web.views.log import SIZE
from agent.web.views.one import Found, source_of

RECENT = 10
EVENTS = 30
CHANGES = 10
WITHIN = 3_000
"""Commits that are looked at for those that changed one file."""


def recent(reading: Reading, repository: Repository) -> list[CommitInfo]:
    return _commits(repository.log(reading.commit, limit=RECENT)) if reading.commit else []


def log(
    reading: Reading, before: str, repository: Repository
) -> tuple[list[CommitInfo], list[CommitInfo]]:
    """Commits of the status branch from one on, and the newest of people's."""
    start = before if len(before) == 40 else reading.commit
    commits = _commits(repository.log(start, limit=SIZE + 1)) if start else []
    changes = _commits(repository.log(reading.main, limit=SIZE)) if reading.main else []
    return commits, changes


def about(reading: Reading, row: Row, repository: Repository) -> Found:
    value = row.value or (whole(ledger.load(repository.read(row.blob))) if row.blob else None)
    if value is None:
        raise RepositoryError("NoObject", f"{row.path} holds no object that can be read")
    events = _commits(repository.log(reading.commit, row.path, EVENTS)) if row.blob else []
    annotations = value["metadata"].get("annotations")
    commit, path = source_of(annotations if isinstance(annotations, dict) else {})
    if not commit:
        return Found(value, events)
    changes = _commits(repository.log(reading.main, path, CHANGES)) if reading.main else []
    return Found(value, events, changes, _line(repository, commit, path, row))


def _line(repository: Repository, commit: str, path: str, row: Row) -> int:
    """Where the object's manifest begins; 0 where that cannot be told."""
    try:
        data = repository.read_path(commit, path)
    except RepositoryError:
        return 0
    for document in parse(data).documents if data is not None else ():
        for value, line in _manifests(document):
            if _is(value, row):
                return line
    return 0


def _manifests(document: Document) -> Iterator[tuple[Json, int]]:
    """Each object of a document with its line: it may be a List."""
    value = document.value
    yield value, document.line
    items = value.get("items") if isinstance(value, dict) else None
    for at, item in enumerate(items if isinstance(items, list) else ()):
        yield item, document.line_of(("items", at))


def _is(value: Json, row: Row) -> bool:
    metadata = value.get("metadata") if isinstance(value, dict) else None
    if not isinstance(metadata, dict) or value.get("kind") != row.kind.name:
        return False
    space = metadata.get("namespace") or "default" if row.kind.namespaced else ""
    return metadata.get("name") == row.name and space == row.namespace


def _commits(log: Iterable[CommitInfo]) -> list[CommitInfo]:
    """As far as they are there."""
    found: list[CommitInfo] = []
    try:
        for commit in log:
            found.append(commit)  # noqa: PERF402  # what came before the first that is lost
    except RepositoryError:
        pass
    return found
