"""Everything that a pass wants of the repository, done in one thread of its own: a hung server
stops nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from agent import measures
from agent.core.human import count
from agent.core.model import Desired, Key
from agent.core.proposals import Proposal, Proposed
from agent.core.schema import Catalogue
from agent.gitrepo.history import authors
from agent.gitrepo.repository import Repository, RepositoryError, StaleTip
from agent.gitrepo.worktree import CommitSource
from agent.reconcile.beats import OWN, Beat
from agent.reconcile.desired import ManifestReader, together
from agent.reconcile.lease import BEAT, Lease, uptime
from agent.reconcile.proposing import propose
from agent.reconcile.recall import recall
from agent.reconcile.status_branch import Ledger, StatusBranch
from agent.reconcile.withdrawal import withdrawal

HEADS = "refs/heads/"
SWEEP = 600.0
"""Seconds between two looks for what killed writers have left."""


@dataclass(frozen=True)
class Branches:
    """Where things are in the repository."""

    main: str = "main"
    folder: str = ""
    """Manifests lie below it; empty for the whole tree."""
    operations: str = "operations"
    status: str = "status"

    def others(self, refs: Mapping[str, str], theirs: frozenset[str]) -> dict[str, str]:
        """The branches that are none of these nor of other fleets, and refs that were asked for
        beside branches.
        """
        ours = {f"{HEADS}{name}" for name in (self.main, self.operations, self.status)} | theirs
        return {
            ref: tip for ref, tip in refs.items() if ref not in ours and not ref.startswith(OWN)
        }


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
    unreadable: RepositoryError | None = None
    """Why the main branch cannot be read, where the repository itself can."""
    heads: Mapping[str, str] = field(default_factory=dict)
    """Every branch but the agent's own three."""
    subject: str = ""
    """What the newest commit of the desired branch says, where it is new."""
    renew_in: float = BEAT
    """Seconds until the lease is to be looked at again."""


@dataclass(frozen=True)
class Withdrawn:
    """The end of an attempt to remove files of the operations branch."""

    files: int = 0
    error: RepositoryError | None = None


@dataclass(frozen=True)
class Answer:
    """What has become of a proposal; None where the repository keeps one from telling."""

    proposed: Proposed | None = None
    error: RepositoryError | None = None


@dataclass(frozen=True)
class Pushed:
    """The end of one write. `tip` is None if it failed; `stale` if somebody else wrote first."""

    tip: str | None = None
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
        me: Beat,
        clock: Callable[[], float] = uptime,
        written: Callable[[], None] = lambda: None,
    ) -> None:
        """`written` is called when the status branch has a new commit."""
        self._written = written
        self._repository = repository
        self._catalogue = catalogue
        self._reader = reader
        self._branches = branches
        self._status = status
        self._seen: tuple[str | None, str | None] | None = None
        self._tip: str | None = None
        self._loaded = False
        self._clock = clock
        self._sweep_at = float("-inf")
        self._lease = Lease(repository, me, clock)
        self.may_act = self._lease.may_act

    def sync(self, now: float) -> Synced:
        """Fetch, keep the lease, and read what is new."""
        ledger = None
        try:
            with measures.GIT.taking("fetch"):
                refs = self._repository.fetch()
            tip = refs.get(f"refs/heads/{self._branches.status}")
            self._status.check(tip)
            leader = self._lease.keep(refs, now, (self._seen or ("",))[0] or "")
            measures.LEADING.value = not leader
            if leader:
                self._loaded = False
                return Synced(leading=False, leader=leader)
            self._sweep()
            ledger = self._ledger(tip)
            main = refs.get(f"refs/heads/{self._branches.main}")
            operations = refs.get(f"refs/heads/{self._branches.operations}")
            desired, unreadable = self._read(main, operations)
            return Synced(
                revision=main or "",
                desired=desired,
                subject=self._subject(main) if desired is not None else "",
                ledger=ledger,
                unreadable=unreadable,
                heads=self._branches.others(refs, self._lease.branches()),
                renew_in=self._lease.renew_in(),
            )
        except RepositoryError as error:
            self._lease.failed()
            if ledger is not None:  # it is not handed over, so it has to be read again
                self._loaded = False
            return Synced(error=error)

    def _subject(self, commit: str | None) -> str:
        return self._repository.commit_info(commit).subject if commit is not None else ""

    def push(self, changes: Mapping[str, bytes | None], message: str) -> Pushed:
        """Write to the status branch."""
        if not self.may_act():
            return Pushed(error=_lost())
        try:
            with measures.GIT.taking("push"):
                self._tip = self._status.commit(self._tip, changes, message)
        except StaleTip as error:
            self._loaded = False
            return Pushed(stale=True, error=error)
        except RepositoryError as error:
            return Pushed(error=error)
        self._written()
        return Pushed(self._tip)

    def reload(self) -> None:
        """Have the next sync read everything again."""
        self._loaded = False
        self._seen = None

    def release(self) -> None:
        """Give the lease up, so that another agent may act at once. This one acts no more."""
        self._loaded = False
        self._lease.release()

    def withdraw(self, finished: frozenset[Key], kept: frozenset[Key]) -> Withdrawn:
        """Take finished operations from their branch, beside which others that ended are kept."""
        _, tip = self._seen or (None, None)
        if tip is None:
            return Withdrawn()
        if not self.may_act():
            return Withdrawn(error=_lost())
        try:
            asked = self._reader.follow(CommitSource(self._repository, tip), "operations")
            changes = withdrawal(self._catalogue, asked, finished, kept)
            gone = sum(asked.paths[key] in changes for key in finished & asked.paths.keys())
            if changes:
                ref = f"refs/heads/{self._branches.operations}"
                message = f"Remove {count(gone, 'finished operation')}\n\n[skip ci]\n"
                self._repository.commit(ref, tip, changes, message)
        except RepositoryError as error:
            return Withdrawn(error=error)
        return Withdrawn(gone)

    def propose(self, proposal: Proposal) -> Answer:
        """Write manifests to a branch of their own, which begins at main's tip, or look what would
        become of them.
        """
        if not self.may_act():
            return Answer(error=_lost())
        try:
            refs = self._repository.fetch()
            main = refs.get(f"{HEADS}{self._branches.main}")
            if main is None:
                raise self._no_main()
            folder = self._branches.folder
            source = CommitSource(self._repository, main, folder)
            desired = self._reader.follow(source, "main")
            proposed = propose(
                *(self._repository, self._catalogue, proposal, refs, desired, folder)
            )
        except RepositoryError as error:
            return Answer(error=error)
        return Answer(proposed)

    def _sweep(self) -> None:
        """A lock that a killed writer left would stop people's pushes for ever."""
        if self._clock() >= self._sweep_at:
            self._sweep_at = self._clock() + SWEEP
            ours = (self._branches.status, self._branches.operations)
            self._repository.sweep((*(f"{HEADS}{name}" for name in ours), *self._lease.refs()))

    # -- reading -----------------------------------------------------------------------------

    def _read(
        self, main: str | None, operations: str | None
    ) -> tuple[Desired | None, RepositoryError | None]:
        """What is new, and why it cannot be read."""
        try:
            return self._desired(main, operations), None
        except RepositoryError as error:
            return None, error

    def _desired(self, main: str | None, operations: str | None) -> Desired | None:
        if self._seen == (main, operations):
            return None
        if main is None:
            raise self._no_main()
        source = CommitSource(self._repository, main, self._branches.folder)
        try:
            wanted = self._reader.follow(source, "main")
        except RepositoryError as error:
            message = f"branch {self._branches.main} cannot be read at {main[:12]}: {error}"
            raise RepositoryError(error.reason, message) from error
        if operations is not None:
            source = CommitSource(self._repository, operations)
            asked = self._reader.follow(source, "operations")
            made = self._authors(operations, asked)
            wanted = replace(together(self._catalogue, wanted, asked), authors=made)
        self._seen = (main, operations)
        return wanted

    def _no_main(self) -> RepositoryError:
        message = (
            f"branch {self._branches.main} is not there: push it, or name another with --branch"
        )
        return RepositoryError("BranchNotFound", message)

    def _authors(self, tip: str, asked: Desired) -> dict[Key, str]:
        """Who asked for each operation that has come since the last look."""
        by_path = authors(self._repository, tip, (self._seen or (None, None))[1])
        return {key: by_path[path] for key, path in asked.paths.items() if path in by_path}

    def _ledger(self, tip: str | None) -> Ledger | None:
        if self._loaded and tip == self._tip:
            return None
        ledger = self._status.read(tip)
        recall(ledger, self._repository, self._catalogue, self._reader)
        self._tip, self._loaded = tip, True
        return ledger


def _lost() -> RepositoryError:
    return RepositoryError("LeaseLost", "another agent may act by now: waiting for the lease")
