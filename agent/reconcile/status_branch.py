"""The status branch as the agent reads and writes it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from agent.core.ledger import (
    FLEET_FILE,
    PLANS,
    TRASH,
    Record,
    document,
    dump,
    former_path,
    is_record,
    load,
    path_of,
    record,
    trash_path,
)
from agent.core.model import Json, Key
from agent.core.schema import Catalogue
from agent.gitrepo.repository import Repository, RepositoryError


class ForeignLedger(RepositoryError):  # says what it is
    """The status branch belongs to another fleet."""

    def __init__(self, ref: str, theirs: str, ours: str) -> None:
        super().__init__(
            "ForeignLedger",
            f"{ref} is the status branch of fleet {theirs}, and this agent is of fleet {ours}: "
            "give it the right --fleet, or another status branch",
            retry=False,
        )


@dataclass
class Ledger:
    """What the status branch holds, at one of its commits."""

    tip: str | None = None
    records: dict[Key, Record] = field(default_factory=dict)
    trash: dict[str, Record] = field(default_factory=dict)
    """What was deleted and can still come back, by uid."""
    fresh: bool = True
    """True if nothing is known of what was done before: there was no ledger, or one that was begun
    before anything could be read.
    """
    plans: frozenset[str] = frozenset()
    """Files of branches' plans."""
    agent: Mapping[str, Json] = field(default_factory=dict)
    """What an agent said of itself last."""


class StatusBranch:
    """Reads a whole ledger, and adds commits to it."""

    def __init__(self, repository: Repository, catalogue: Catalogue, ref: str, fleet: str) -> None:
        self._repository = repository
        self._catalogue = catalogue
        self.ref = ref
        self._fleet = fleet
        self._checked = ""

    def read(self, tip: str | None) -> Ledger:
        """The ledger at a commit. Raises ForeignLedger if another fleet wrote it."""
        if tip is None:
            return Ledger()
        ledger = Ledger(tip, agent=self._agent(tip))
        files = list(self._repository.files(tip))
        ledger.plans = frozenset(file.path for file in files if file.path.startswith(PLANS))
        for file in files:
            if file.kind != "file" or not (is_record(file.path) or file.path.startswith(TRASH)):
                continue
            value = load(self._repository.read(file.blob))
            entry = record(self._catalogue, value) if value else None
            if entry is None:
                continue  # not ours, or damaged: the object is accepted anew
            if file.path.startswith(TRASH):
                ledger.trash[entry.obj.uid] = entry
            else:
                ledger.records[entry.obj.key] = entry
        ledger.fresh = not ledger.records and not ledger.agent.get("attempted")
        return ledger

    def check(self, tip: str | None) -> None:
        """Raise ForeignLedger if another fleet writes this branch."""
        if tip is not None and tip != self._checked:
            self._agent(tip)
            self._checked = tip

    def _agent(self, tip: str) -> Mapping[str, Json]:
        data = self._repository.read_path(tip, FLEET_FILE)
        value = (load(data) if data else None) or {}
        fleet = value.get("fleet")
        if fleet is not None and fleet != self._fleet:
            raise ForeignLedger(self.ref, str(fleet), self._fleet)
        return value

    def files(self, records: Iterable[Record], removed: Iterable[Key]) -> dict[str, bytes | None]:
        """The changed files of a commit."""
        records = list(records)
        gone = [*removed, *(entry.obj.key for entry in records)]
        changes: dict[str, bytes | None] = {}
        for key in gone:
            changes[former_path(self._catalogue, key)] = None
            changes[path_of(self._catalogue, key)] = None
        for entry in records:
            changes[path_of(self._catalogue, entry.obj.key)] = dump(
                document(self._catalogue, entry)
            )
        return changes

    def trash_file(self, key: Key, uid: str, entry: Record | None) -> tuple[str, bytes | None]:
        """Where a deleted object is remembered until it is erased, and what stands there."""
        path = trash_path(self._catalogue, key, uid)
        return path, None if entry is None else dump(document(self._catalogue, entry))

    def commit(
        self, expected: str | None, changes: Mapping[str, bytes | None], message: str
    ) -> str:
        """Add one commit, unless it would change nothing; StaleTip if somebody else wrote
        meanwhile.
        """
        if expected is not None:
            changes = {
                path: data
                for path, data in changes.items()
                if data != self._repository.read_path(expected, path)
            }
            if not changes:
                return expected
        return self._repository.commit(self.ref, expected, changes, message)
