"""What the rest of the program knows of a Git repository. Two adapters: `local` opens one in
place, `remote` keeps a cache.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self


class RepositoryError(Exception):
    """The repository cannot be read or written. `reason` is CamelCase; the message says what to
    do.
    """

    def __init__(self, reason: str, message: str, *, retry: bool = True) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry = retry


class StaleTip(RepositoryError):
    """The ref is no longer where the caller saw it: read again, decide again."""

    def __init__(self, ref: str) -> None:
        super().__init__("StaleTip", f"{ref} has moved since it was read")


@dataclass(frozen=True, slots=True)
class TreeFile:
    """A file of a tree. `kind` is file, symlink or submodule; `path` is relative to the folder
    that was listed.
    """

    path: str
    blob: str
    kind: str


@dataclass(frozen=True, slots=True)
class CommitInfo:
    id: str
    parents: tuple[str, ...]
    time: int
    """Seconds since the epoch, of the commit."""
    author: str
    subject: str
    body: str


class Repository(Protocol):
    """One repository. Ids are 40 hex digits. Every method may raise RepositoryError. Used from one
    thread.
    """

    @property
    def address(self) -> str:
        """The repository's address without credentials, for logs."""

    def fetch(self) -> Mapping[str, str]:
        """Bring `refs/heads/*`, `refs/gitvirt/*` and what else this repository was opened for up
        to date and return them: full ref name -> id, of a commit where it is a branch.
        """

    def resolve(self, revision: str) -> str | None:
        """Commit id of a full ref, a branch, a tag or an abbreviated id; None if there is none."""

    def files(self, commit: str, folder: str = "") -> Iterator[TreeFile]:
        """Every file below `folder` ('' for all), sorted by path. Nothing if the folder does not
        exist. Subtrees that were listed before are remembered by tree id.
        """

    def tree_id(self, commit: str, folder: str = "") -> str | None:
        """Id of a folder's tree: equal ids mean equal content."""

    def changed(
        self, before: str | None, after: str | None, limit: int
    ) -> list[tuple[TreeFile | None, TreeFile | None]]:
        """Files that are not the same in two trees (by id; None for an empty one), as they are in
        each. Nothing of it is remembered. TooManyFiles where more than `limit` files and folders
        are not the same.
        """

    def size(self, blob: str) -> int:
        """Bytes of a blob, at the cost of its header."""

    def read(self, blob: str) -> bytes:
        """Content of a blob."""

    def read_path(self, commit: str, path: str) -> bytes | None:
        """Content of one file at a commit; None if it is not there or no ordinary file."""

    def commit_info(self, commit: str) -> CommitInfo:
        """A commit without its tree."""

    def log(self, commit: str, path: str | None = None, limit: int = 100) -> Iterator[CommitInfo]:
        """Commits from the tip along first parents, newest first; with `path` those that changed
        that file.
        """

    def commit(
        self,
        ref: str,
        expected: str | None,
        changes: Mapping[str, bytes | None],
        message: str,
        *,
        parentless: bool = False,
        author: str = "",
        beside: str | None = None,
    ) -> str:
        """Add one commit on top of `expected` (None: the ref must not exist) and move `ref` to it,
        as a true compare-and-swap, also at the remote. `changes`: path -> content, None removes;
        all else of the tree stays as it is at `expected`. Returns the new commit's id. Raises
        StaleTip, with nothing changed, if the ref has moved. With `parentless` the commit has no
        parent and its tree holds just `changes`. `author` is `Name <address>`; empty for gitvirt.
        A ref that must not exist begins at the commit `beside`, where there is one.
        """

    def sweep(self, refs: Iterable[str]) -> None:
        """Clear away what a writer of these refs that was killed has left on this machine."""

    def watch_paths(self) -> tuple[Path, ...]:
        """Folders in which a change may mean news; empty where one must poll."""

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...
