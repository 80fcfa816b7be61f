"""What the next commit of the status branch holds."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

from agent.core.entries import PROBLEMS_FILE
from agent.core.ledger import FLEET_FILE, PLANS, document, dump
from agent.core.model import Json, Problem
from agent.core.readme import PICTURE, Readme
from agent.core.schema import Catalogue
from agent.reconcile.book import Book
from agent.reconcile.message import compose, of_agent
from agent.reconcile.outbox import Batch
from agent.reconcile.status_branch import StatusBranch

README_FILE = "README.md"
DETAILS_EVERY = 1.0
"""Seconds between two writes where nothing but details changed."""


class Writing:
    """Composes commits, and remembers what they said of the agent itself."""

    def __init__(self, catalogue: Catalogue, status: StatusBranch, book: Book) -> None:
        self._catalogue, self._status, self._book = catalogue, status, book
        self._agent: Mapping[str, Json] = {}
        self._problems: tuple[Problem, ...] | None = None
        self._fleet: Readme | None = None
        self._picture = b""
        self._written_at = 0.0

    def forget(self) -> None:
        """The branch was read anew: nothing is known to be written."""
        self._agent, self._problems, self._fleet, self._picture = {}, None, None, b""

    def differs(self, agent: Mapping[str, Json]) -> bool:
        """True if there is something to write."""
        outbox = self._book.outbox
        changed = bool(len(outbox) or outbox.files)
        return changed or agent != self._agent or self._found() != self._problems

    def calm(self, agent: Mapping[str, Json], now: float) -> bool:
        """True if what there is to write can wait a moment for more."""
        if self._found() != self._problems or self._revisions(agent) != self._revisions(
            self._agent
        ):
            return False
        return not self._book.outbox.telling and now < self._written_at + DETAILS_EVERY

    def compose(
        self, agent: Mapping[str, Json], revision: str, now: float
    ) -> tuple[dict[str, bytes | None], str]:
        """Files and message of the next commit. It all counts as written until `failed`."""
        book, problems = self._book, self._found()
        batch = book.outbox.take_batch()
        changes = self._status.files([book.records[key] for key in batch.changed], batch.removed)
        for uid, key in batch.trash.items():
            path, data = self._status.trash_file(key, uid, book.trash.entries.get(uid))
            changes[path] = data
        changes |= batch.files
        changes[FLEET_FILE] = dump(agent)
        changes[PROBLEMS_FILE] = dump([_listed(problem) for problem in problems])
        fleet = self._up_to_date(batch)
        changes[README_FILE] = fleet.text(problems, agent).encode()
        picture = fleet.picture(agent)
        if picture != self._picture:
            changes[PICTURE] = self._picture = picture
        extra = of_agent(self._agent, agent) or _plans(batch.files)
        message = compose(self._catalogue, batch.events, revision, extra)
        self._agent, self._problems, self._written_at = agent, problems, now
        return changes, message

    def failed(self) -> None:
        """What was to be written is to be written again."""
        self._book.outbox.failed()
        self._agent, self._picture = {}, b""

    def _found(self) -> tuple[Problem, ...]:
        return (*self._book.problems, *self._book.held, *self._book.strays)

    def _up_to_date(self, batch: Batch) -> Readme:
        changed = batch.changed.keys()
        if self._fleet is None:
            self._fleet, changed = Readme(self._catalogue), self._book.records.keys()
        for key in batch.removed:
            self._fleet.drop(key)
        for key in changed:
            record = self._book.records[key]
            self._fleet.put(key, record.status, partial(document, self._catalogue, record))
        return self._fleet

    @staticmethod
    def _revisions(agent: Mapping[str, Json]) -> tuple[Json, Json]:
        return agent.get("attempted"), agent.get("applied")


def _plans(files: Mapping[str, bytes | None]) -> list[str]:
    """Says whose plans are new; the paths are encoded, so that a strange name does no harm."""
    names = sorted(path.removeprefix(PLANS).removesuffix(".md") for path in files)
    more = f" (+{len(names) - 1} more)" if len(names) > 1 else ""
    return [f"plan of {names[0]}{more}"] if names else []


def _listed(problem: Problem) -> dict[str, Json]:
    return {
        "file": problem.file,
        "line": problem.line,
        "resource": problem.resource,
        "path": problem.path,
        "message": problem.message,
    }
