"""The repository's open branches beside main, and what each of them changes. Whoever may push one
may be hostile: all that is read of a branch is bounded, and none of it is remembered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.core.manifests import is_manifest_file
from agent.gitrepo.refs import newest_first
from agent.gitrepo.repository import CommitInfo, Repository, RepositoryError, TreeFile
from agent.reconcile.desired import MAX_FILE, counts

FRESH = 30 * 86400.0
"""Seconds after its last commit for which a branch counts as open."""
LATEST = 1 << 53
"""The latest time of a commit: whoever makes one may write down any number."""
MOST_BRANCHES = 50
MOST_REFS = 5_000
"""Branches that are looked at, of a repository with very many."""
MAINLINE = 5_000
AHEAD = 1_000
"""Commits that are looked through, of main and of a branch."""
MOST_FILES = 1_000
MOST_BYTES = 4 * 1024**2
MOST_MOVED = 50_000
"""Files that main may have changed since a branch left it."""

Files = tuple[tuple[str, str, int, bytes], ...]
"""Path below the folder of manifests, kind as in TreeFile, size, content; none where it is too
large.
"""
BAD = ("ObjectMissing", "ObjectCorrupt", "WrongObject", "TooManyFiles")
"""What is wrong with a branch and not with the repository."""


@dataclass(frozen=True)
class BranchChange:
    """The files that a branch changes, as they were where it left main, and as they are."""

    ref: str
    tip: str
    main: str
    before: Files = ()
    after: Files = ()
    both: tuple[str, ...] = ()
    """Paths of those that main has changed too, into something else."""
    theirs: Files = ()
    """These, as main has them; those that it has removed are not among them."""
    refusal: str = ""
    """Why it cannot be planned, as a sentence."""


@dataclass(frozen=True)
class Surveyed:
    """Which branches are open, and the first of them that has no plan yet."""

    main: str
    open: frozenset[str] = frozenset()
    change: BranchChange | None = None
    error: RepositoryError | None = None


class OpenBranches:
    """Looks at branches. To be used from the repository's thread."""

    def __init__(self, repository: Repository, folder: str) -> None:
        self._repository = repository
        self._folder = folder
        self._mainline = _Mainline(repository)
        self._heads: Mapping[str, str] = {}
        self._looked_at: dict[str, str] = {}
        self._times: dict[str, float | None] = {}
        """Of the last commit, by tip; None where there is no such commit."""

    def survey(
        self,
        main: str,
        heads: Mapping[str, str],
        planned: Mapping[str, tuple[str, str]],
        now: float,
    ) -> Surveyed:
        """`planned` holds, by ref, the commits of main and of the branch that were planned for."""
        try:
            self._mainline.follow(main)
            opened = self._open(heads, now)
            for ref in opened:
                if planned.get(ref) != (main, heads[ref]):
                    return Surveyed(main, frozenset(opened), self.change(ref, heads[ref], main))
        except RepositoryError as error:
            return Surveyed(main, error=error)
        return Surveyed(main, frozenset(opened))

    def _open(self, heads: Mapping[str, str], now: float) -> list[str]:
        """Newest first."""
        if heads is not self._heads:
            looked_at = {ref: heads[ref] for ref in newest_first(heads)[:MOST_REFS]}
            self._times = {tip: self._time(tip) for tip in set(looked_at.values())}
            self._heads, self._looked_at = heads, looked_at
        ages = {
            ref: now - time
            for ref, tip in self._looked_at.items()
            if tip not in self._mainline.known and (time := self._times[tip]) is not None
        }
        fresh = [ref for ref, age in ages.items() if age <= FRESH]
        return sorted(fresh, key=lambda ref: (max(0.0, ages[ref]), ref))[:MOST_BRANCHES]

    def _time(self, tip: str) -> float | None:
        if tip not in self._times:
            info = _info(self._repository, tip)
            return None if info is None else float(min(max(info.time, 0), LATEST))
        return self._times[tip]

    def base(self, tip: str, main: str) -> str | None:
        """The newest commit of main that a branch contains."""
        self._mainline.follow(main)
        return self._mainline.base(tip)

    def change(self, ref: str, tip: str, main: str) -> BranchChange:
        """What a branch changes. One that is damaged or changes too much is refused."""
        try:
            base = self.base(tip, main)
            if base is None:
                return BranchChange(ref, tip, main, refusal=NO_BASE)
            changed = self._changed(base, tip, MOST_FILES)
            moved = self._changed(base, main, MOST_MOVED)
            names = [
                path
                for path, (_, new) in changed.items()
                if is_manifest_file(path) and path in moved and moved[path][1] != new
            ]
            room = [MOST_BYTES]
            before, after, theirs = (
                self._files(files, room)
                for files in (
                    (old for old, _ in changed.values()),
                    (new for _, new in changed.values()),
                    (moved[path][1] for path in names),
                )
            )
        except RepositoryError as error:
            if error.reason not in BAD:
                raise
            refusal = TOO_MUCH if error.reason == "TooManyFiles" else DAMAGED
            return BranchChange(ref, tip, main, refusal=refusal)
        if before is None or after is None or theirs is None:
            return BranchChange(ref, tip, main, refusal=TOO_MUCH)
        return BranchChange(ref, tip, main, before, after, tuple(names), theirs)

    def _changed(
        self, before: str, after: str, limit: int
    ) -> dict[str, tuple[TreeFile | None, TreeFile | None]]:
        """Files that are not the same in two commits, by path."""
        trees = [self._repository.tree_id(commit, self._folder) for commit in (before, after)]
        pairs = self._repository.changed(trees[0], trees[1], limit)
        return {file.path: (old, new) for old, new in pairs if (file := new or old)}

    def _files(self, files: Iterable[TreeFile | None], room: list[int]) -> Files | None:
        read = []
        for file in files:
            if file is None or not counts(file):
                continue
            size = self._repository.size(file.blob) if file.kind == "file" else 0
            readable = 0 < size <= MAX_FILE
            room[0] -= len(file.path) + (size if readable else 0)
            if room[0] < 0:
                return None
            data = self._repository.read(file.blob) if readable else b""
            read.append((file.path, file.kind, size, data))
        return tuple(read)


NO_BASE = "It shares no recent history with the branch it would be merged into."
TOO_MUCH = (
    f"It changes more than a plan is made for: at most {MOST_FILES} files and "
    f"{MOST_BYTES // 1024**2} MiB."
)
DAMAGED = "Some object of it is damaged, missing or absurdly large: check it with git fsck."


def _info(repository: Repository, commit: str) -> CommitInfo | None:
    """None where a shallow clone ends, and for what is no sane commit."""
    try:
        return repository.commit_info(commit)
    except RepositoryError as error:
        if error.reason not in BAD:
            raise
        return None


class _Mainline:
    """The newest commits that main contains."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._tip = ""
        self.known: set[str] = set()

    def follow(self, tip: str) -> None:
        if tip == self._tip:
            return
        new, met = self._walk(tip, self.known, MAINLINE)
        if self._tip and self._tip not in met:  # rewritten
            self.known = set()
            new, _ = self._walk(tip, self.known, MAINLINE)
        self.known, self._tip = self.known | new, tip

    def base(self, tip: str) -> str | None:
        """The newest commit of main that a branch contains."""
        _, met = self._walk(tip, self.known, AHEAD)
        times = {commit: info.time for commit in met if (info := _info(self._repository, commit))}
        return max(times, key=lambda commit: (times[commit], commit), default=None)

    def _walk(self, tip: str, known: set[str], limit: int) -> tuple[set[str], set[str]]:
        """Commits from a tip that are not known, and the known ones at which that ends."""
        new: set[str] = set()
        met: set[str] = set()
        waiting = deque([tip])
        while waiting and len(new) < limit:
            commit = waiting.popleft()
            if commit in known:
                met.add(commit)
            elif commit not in new and (info := _info(self._repository, commit)):
                new.add(commit)
                waiting.extend(info.parents)
        return new, met
