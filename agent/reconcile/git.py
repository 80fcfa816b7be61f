"""Everything that a pass wants of the repository, done in one thread of its own: a hung server
stops nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import Desired, Key
from agent.core.schema import Catalogue
from agent.gitrepo.repository import Repository, RepositoryError, StaleTip
from agent.gitrepo.worktree import CommitSource
from agent.reconcile.desired import ManifestReader, together
from agent.reconcile.recall import recall
from agent.reconcile.status_branch import Ledger, StatusBranch

LEASE = "refs/gitvirt/agent"
BEAT = 60.0
MISSED_BEATS = 3
LEASE_FILE = "agent.json"


@dataclass(frozen=True)
class Branches:
    """Where things are in the repository."""

    main: str = "main"
    folder: str = ""
    """Manifests lie below it; empty for the whole tree."""
    operations: str = "operations"
    status: str = "status"


@dataclass(frozen=True)
class Synced:
    """What the repository holds. `desired` and `ledger` are None where nothing is new."""

    revision: str = ""
    desired: Desired | None = None
    ledger: Ledger | None = None
    leading: bool = True
    leader: str = ""
    """Who acts, where that is another agent."""
    error: RepositoryError | None = None


@dataclass(frozen=True)
class Pushed:
    """The end of one write. `tip` is None if it failed; `stale` if somebody else wrote first."""

    tip: str | None = None
    keys: frozenset[Key] = frozenset()
    stale: bool = False
    error: RepositoryError | None = None


class GitWorker:
    """Reads and writes the repository. Not to be used from two threads at a time."""

    def __init__(
        self,
        repository: Repository,
        catalogue: Catalogue,
        reader: ManifestReader,
        branches: Branches,
        status: StatusBranch,
        instance: str,
    ) -> None:
        self._repository = repository
        self._catalogue = catalogue
        self._reader = reader
        self._branches = branches
        self._status = status
        self._instance = instance
        self._seen: tuple[str | None, str | None] | None = None
        self._tip: str | None = None
        self._loaded = False
        self._beaten = 0.0

    def sync(self, now: float) -> Synced:
        """Fetch, keep the lease, and read what is new."""
        try:
            refs = self._repository.fetch()
            leader = self._lead(refs.get(LEASE), now)
            if leader:
                self._loaded = False
                return Synced(leading=False, leader=leader)
            ledger = self._ledger(refs.get(f"refs/heads/{self._branches.status}"))
            main = refs.get(f"refs/heads/{self._branches.main}")
            operations = refs.get(f"refs/heads/{self._branches.operations}")
            desired = self._desired(main, operations)
            return Synced(revision=main or "", desired=desired, ledger=ledger)
        except RepositoryError as error:
            return Synced(error=error)

    def push(
        self, changes: Mapping[str, bytes | None], message: str, keys: frozenset[Key]
    ) -> Pushed:
        """Write to the status branch."""
        try:
            self._tip = self._status.commit(self._tip, changes, message)
        except StaleTip as error:
            self._loaded = False
            return Pushed(stale=True, error=error)
        except RepositoryError as error:
            return Pushed(error=error)
        return Pushed(self._tip, keys)

    def reload(self) -> None:
        """Have the next sync read everything again."""
        self._loaded = False
        self._seen = None

    def release(self) -> None:
        """Give the lease up, so that another agent may act at once."""
        try:
            tip = self._repository.fetch().get(LEASE)
            if tip is not None and self._holder(tip) == self._instance:
                self._write_lease(tip, 0.0)
        except RepositoryError:
            pass  # it runs out by itself

    # -- reading -----------------------------------------------------------------------------

    def _desired(self, main: str | None, operations: str | None) -> Desired | None:
        if self._seen == (main, operations):
            return None
        if main is None:
            message = (
                f"branch {self._branches.main} is not there: push it, or name another with --branch"
            )
            raise RepositoryError("BranchNotFound", message)
        source = CommitSource(self._repository, main, self._branches.folder)
        wanted = self._reader.read(source, "main")
        if operations is not None:
            asked = self._reader.read(CommitSource(self._repository, operations), "operations")
            wanted = together(wanted, asked)
        self._seen = (main, operations)
        return wanted

    def _ledger(self, tip: str | None) -> Ledger | None:
        if self._loaded and tip == self._tip:
            return None
        ledger = self._status.read(tip)
        recall(ledger, self._repository, self._catalogue, self._reader)
        self._tip, self._loaded = tip, True
        return ledger

    # -- lease -------------------------------------------------------------------------------

    def _lead(self, tip: str | None, now: float) -> str:
        """Keep or take the lease; who has it, where that is somebody else."""
        if tip is not None:
            holder = self._holder(tip)
            if holder != self._instance and now < self._time(tip) + MISSED_BEATS * BEAT:
                return holder
            if holder == self._instance and now < self._beaten + BEAT:
                return ""
        try:
            self._write_lease(tip, now)
        except StaleTip:
            return "another agent that was faster"
        self._beaten = now
        return ""

    def _write_lease(self, tip: str | None, now: float) -> None:
        beat = {"instance": self._instance, "time": now, "revision": (self._seen or ("",))[0] or ""}
        changes = {LEASE_FILE: (json.dumps(beat) + "\n").encode()}
        self._repository.commit(LEASE, tip, changes, "Agent is alive", parentless=True)

    def _beat(self, tip: str) -> Mapping[str, object]:
        data = self._repository.read_path(tip, LEASE_FILE) or b"{}"
        try:
            value = json.loads(data)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}

    def _holder(self, tip: str) -> str:
        return str(self._beat(tip).get("instance", ""))

    def _time(self, tip: str) -> float:
        value = self._beat(tip).get("time", 0.0)
        return float(value) if isinstance(value, int | float) else 0.0
