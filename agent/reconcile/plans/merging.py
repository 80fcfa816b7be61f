"""What a branch makes of files once it is merged: where main has changed them too, both sides'
changes count, or it does not merge and says so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from agent.core.merge import alike, merged
from agent.core.model import Problem
from agent.gitrepo.repository import RepositoryError, TreeFile
from agent.gitrepo.worktree import Source
from agent.reconcile.plans.open_branches import BranchChange

File = tuple[str, int, bytes]
"""Kind as in TreeFile, size, content: none where it is too large to be read."""
_THERE = "the branch it would be merged into"
_SAME_LINES = (
    f"does not merge: its lines are changed here and, differently, on {_THERE}; merge that one "
    "into this one first"
)
_REMOVED_HERE = f"does not merge: it is removed here and changed on {_THERE}"
_REMOVED_THERE = f"does not merge: it is changed here and removed or renamed on {_THERE}"


@dataclass(frozen=True)
class United:
    """The files that a branch touches: as they are on main, and as they are once it is merged. A
    file that does not merge is as it was where the branch left main, and as the branch has it.
    """

    before: Mapping[str, File]
    after: Mapping[str, File]
    problems: tuple[Problem, ...] = ()


def merge(change: BranchChange) -> United:
    """A branch's change, merged with main's."""
    before, after, theirs = (
        {path: (kind, size, data) for path, kind, size, data in files}
        for files in (change.before, change.after, change.theirs)
    )
    return united(before, after, theirs, change.both)


def united(
    before: Mapping[str, File],
    after: Mapping[str, File],
    theirs: Mapping[str, File],
    both: Iterable[str],
) -> United:
    """`before` and `after` are a branch's files where it left main and now, `both` those that main
    has changed since, and `theirs` what main has of them.
    """
    old, new, problems = dict(before), dict(after), []
    for path in both:
        base, there = before.get(path), theirs.get(path)
        here = path if path in after else _renamed(path, before, after)
        made = _merged(base, there, new.get(here)) if here else None
        if made is None or there is None:
            problems.append(_conflict(path, here=bool(here), there=there is not None))
        else:
            old[path], new[here] = there, made
    return United(old, new, tuple(problems))


def _renamed(path: str, before: Mapping[str, File], after: Mapping[str, File]) -> str:
    """Under which name the branch has a file that it has no more under its own; empty if none."""
    _, _, content = before.get(path, ("", 0, b""))
    new = (name for name in after if name not in before)
    return next((name for name in new if alike(content, after[name][2])), "")


def _merged(base: File | None, there: File | None, here: File | None) -> File | None:
    if base is None or there is None or here is None:
        return None
    for kind, size, content in (base, there, here):
        if kind != "file" or len(content) != size:
            return None
    made = merged(base[2], there[2], here[2])
    return None if made is None else ("file", len(made), made)


def _conflict(path: str, *, here: bool, there: bool) -> Problem:
    message = _SAME_LINES if here and there else _REMOVED_THERE if here else _REMOVED_HERE
    return Problem(path, 0, "", "", message)


class MergedSource:
    """The files of a commit with some of them replaced. Satisfies `Source`."""

    def __init__(self, main: Source, change: United, revision: str) -> None:
        self._main = main
        self._new = change.after
        self._gone = change.before.keys() - change.after.keys()
        self.revision = revision

    def files(self) -> Iterator[TreeFile]:
        kept = [
            file
            for file in self._main.files()
            if file.path not in self._new and file.path not in self._gone
        ]
        new = [TreeFile(path, "", kind) for path, (kind, _, _) in self._new.items()]
        return iter(sorted((*kept, *new), key=lambda file: file.path.encode()))

    def size(self, file: TreeFile) -> int:
        new = self._new.get(file.path)
        return self._main.size(file) if new is None else new[1]

    def read(self, file: TreeFile) -> bytes:
        new = self._new.get(file.path)
        if new is None:
            return self._main.read(file)
        if len(new[2]) != new[1]:
            raise RepositoryError("FileTooLarge", f"{file.path} is too large", retry=False)
        return new[2]
