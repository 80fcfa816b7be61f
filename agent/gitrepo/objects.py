"""Commits, trees and blobs, read and made: all that the adapters have in common."""

from __future__ import annotations

import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self, TypeVar

from dulwich.objects import Commit, ObjectID, ShaFile
from dulwich.refs import Ref

from agent.gitrepo.refs import Spaces, is_ref
from agent.gitrepo.repository import CommitInfo, RepositoryError, StaleTip, TreeFile
from agent.gitrepo.trees import Entry, Remembered, Trees

COMMIT, TREE, BLOB, TAG = 1, 2, 3, 4
_NAMES = {COMMIT: "commit", TREE: "tree", BLOB: "blob", TAG: "tag"}
_AUTHOR = b"gitvirt <gitvirt@localhost>"
_ID = re.compile(r"[0-9a-f]{40}")
_SHORT_ID = re.compile(r"[0-9a-f]{4,40}")
_TAG_DEPTH = 5
_REMEMBERED_COMMITS = 2_000
_MOST_BYTES = {COMMIT: 1024**2, TREE: 64 * 1024**2}


T = TypeVar("T")

BRANCHES = Spaces()


class _Commit(NamedTuple):
    tree: str
    info: CommitInfo


class ObjectRepository(ABC):
    """A repository that an adapter can get raw objects and refs from, and publish new ones to."""

    def __init__(
        self, address: str, clock: Callable[[], float] = time.time, spaces: Spaces = BRANCHES
    ) -> None:
        self._address = address
        self._spaces = spaces
        self._clock = clock
        self._trees = Trees(lambda tree: self._bounded(tree, TREE))
        self._commits: Remembered[str, _Commit] = Remembered(_REMEMBERED_COMMITS)

    # What an adapter brings.

    @abstractmethod
    def _load(self, identity: str) -> tuple[int, bytes]:
        """Type number and raw content of an object; KeyError if there is none of that id."""

    @abstractmethod
    def _size(self, identity: str) -> int:
        """Bytes of an object, at the cost of its header; KeyError if there is none of that id."""

    @abstractmethod
    def _ref(self, name: str) -> str | None:
        """Where a full ref stands."""

    @abstractmethod
    def _ids(self, prefix: str) -> Iterable[str]:
        """Ids of objects that begin so."""

    @abstractmethod
    def _publish(
        self, ref: str, expected: str | None, commit: str, objects: Sequence[ShaFile]
    ) -> None:
        """Store the objects and move the ref, or raise StaleTip and move nothing."""

    @abstractmethod
    def fetch(self) -> Mapping[str, str]: ...

    @abstractmethod
    def sweep(self, refs: Iterable[str]) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    # What follows from it.

    @property
    def address(self) -> str:
        return self._address

    def watch_paths(self) -> tuple[Path, ...]:
        return ()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address!r})"

    def resolve(self, revision: str) -> str | None:
        """A branch comes before a tag of its name. An abbreviated id must have at least four
        digits.
        """
        if revision == "HEAD" or revision.startswith("refs/"):
            names = [revision]
        else:
            names = [f"refs/{space}/{revision}" for space in ("heads", "tags", "remotes")]
        for name in names:
            identity = self._ref(name) if is_ref(name) or name == "HEAD" else None
            if identity is not None:
                return self._peeled(identity)
        return self._expanded(revision) if _SHORT_ID.fullmatch(revision) else None

    def files(self, commit: str, folder: str = "") -> Iterator[TreeFile]:
        """Names are for people and may hold anything but a slash: use none of them on a disk."""
        tree = self.tree_id(commit, folder)
        return iter(()) if tree is None else iter(self._trees.files(tree))

    def changed(
        self, before: str | None, after: str | None, limit: int
    ) -> list[tuple[TreeFile | None, TreeFile | None]]:
        return self._trees.changed(before, after, limit)

    def tree_id(self, commit: str, folder: str = "") -> str | None:
        entry = self._entry(commit, folder)
        return entry.id if entry is not None and entry.kind == "folder" else None

    def size(self, blob: str) -> int:
        return self._known(blob, BLOB, self._size)

    def read(self, blob: str) -> bytes:
        return self._object(blob, BLOB)

    def read_path(self, commit: str, path: str) -> bytes | None:
        entry = self._entry(commit, path)
        return self.read(entry.id) if entry is not None and entry.kind == "file" else None

    def commit_info(self, commit: str) -> CommitInfo:
        return self._commit(commit).info

    def log(self, commit: str, path: str | None = None, limit: int = 100) -> Iterator[CommitInfo]:
        """In a shallow clone it ends where the history that is there ends."""
        at: str | None = commit
        while at is not None and limit > 0:
            info = self.commit_info(at)
            parent = info.parents[0] if info.parents else None
            if parent is not None and not self._has_commit(parent):
                parent = None
            if path is None or self._differs(at, parent, path):
                yield info
                limit -= 1
            at = parent

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
        if not is_ref(ref):
            raise RepositoryError("InvalidRef", f"{ref!r} is no full name of a ref", retry=False)
        parent = None if parentless else expected or beside
        base = None if parent is None else self._base(ref, parent)
        tree, objects = self._trees.rewrite(base, changes)
        made = Commit()
        made.tree = ObjectID(tree.encode())
        made.parents = [] if parent is None else [ObjectID(parent.encode())]
        made.author, made.committer = author.encode(errors="replace") or _AUTHOR, _AUTHOR
        made.author_time = made.commit_time = int(self._clock())
        made.author_timezone = made.commit_timezone = 0
        made.encoding = b"UTF-8"
        made.message = message.encode(errors="replace")
        identity = made.id.decode()
        self._publish(ref, expected, identity, [*objects, made])
        return identity

    def _base(self, ref: str, parent: str) -> str:
        """The tree to change. Where the commit is gone, so is what the caller saw of the ref."""
        try:
            return self._commit(parent).tree
        except RepositoryError as error:
            if error.reason == "ObjectMissing" and self._ref(ref) != parent:
                raise StaleTip(ref) from error
            raise

    def _entry(self, commit: str, path: str) -> Entry | None:
        return self._trees.find(self._commit(commit).tree, path)

    def _differs(self, commit: str, parent: str | None, path: str) -> bool:
        before = None if parent is None else self._entry(parent, path)
        return before != self._entry(commit, path)

    def _has_commit(self, commit: str) -> bool:
        try:
            self._commit(commit)
        except RepositoryError as error:
            if error.reason == "ObjectMissing":
                return False
            raise
        return True

    def _commit(self, identity: str) -> _Commit:
        known = self._commits.get(identity)
        if known is not None:
            return known
        raw = self._bounded(identity, COMMIT)
        try:
            return self._commits.put(identity, _parsed(identity, raw))
        except (ValueError, IndexError) as error:
            raise RepositoryError("ObjectCorrupt", f"commit {identity} is malformed") from error

    def _bounded(self, identity: str, kind: int) -> bytes:
        """An object of a kind that is small in any repository that somebody works with."""
        size = self._known(identity, kind, self._size)
        if size > _MOST_BYTES[kind]:
            name = _NAMES[kind]
            raise RepositoryError("ObjectCorrupt", f"{name} {identity} is absurd: {size} bytes")
        return self._object(identity, kind)

    def _object(self, identity: str, kind: int) -> bytes:
        actual, raw = self._known(identity, kind, self._load)
        if actual != kind:
            raise RepositoryError(
                "WrongObject",
                f"{identity} is a {_NAMES.get(actual, 'strange object')}, not a {_NAMES[kind]}",
            )
        return raw

    def _known(self, identity: str, kind: int, look: Callable[[str], T]) -> T:
        """What a look at an object gives; RepositoryError where there is none."""
        if not _ID.fullmatch(identity):
            raise RepositoryError("InvalidId", f"{identity!r} is no id of an object", retry=False)
        try:
            return look(identity)
        except KeyError as error:
            raise RepositoryError(
                "ObjectMissing",
                f"{self._address} has no {_NAMES[kind]} {identity}: fetch again; if it stays so, "
                "check the repository with git fsck",
            ) from error

    def _peeled(self, identity: str) -> str | None:
        """The commit that an id stands for, through tags; None if it is something else or not
        there.
        """
        for _ in range(_TAG_DEPTH):
            try:
                kind, raw = self._load(identity)
            except KeyError:
                return None
            if kind != TAG:
                return identity if kind == COMMIT else None
            identity = raw[7:47].decode(errors="replace")
            if not _ID.fullmatch(identity):
                return None
        return None

    def _expanded(self, prefix: str) -> str | None:
        if len(prefix) == len("0" * 40):
            return self._peeled(prefix)
        commits = {commit for identity in self._ids(prefix) if (commit := self._peeled(identity))}
        if len(commits) > 1:
            raise RepositoryError(
                "AmbiguousRevision",
                f"{prefix} begins the ids of {len(commits)} commits: write more digits",
                retry=False,
            )
        return commits.pop() if commits else None


def usable_refs(values: Mapping[Ref, ObjectID | None] | Mapping[Ref, ObjectID]) -> dict[str, str]:
    """Refs by name, sorted; those with a name that is no UTF-8 or a value that is no id are left
    out.
    """
    usable: dict[str, str] = {}
    for name, value in sorted(values.items()):
        if value is None:
            continue
        try:
            ref, identity = name.decode(), value.decode()
        except UnicodeDecodeError:
            continue
        if is_ref(ref) and _ID.fullmatch(identity):
            usable[ref] = identity
    return usable


def _parsed(identity: str, raw: bytes) -> _Commit:
    head, _, message = raw.partition(b"\n\n")
    fields = [line.split(b" ", 1) for line in head.split(b"\n")]
    values = [(pair[0], pair[1].decode(errors="replace")) for pair in fields if len(pair) == 2]
    by_name = {name.decode(errors="replace"): value for name, value in reversed(values)}
    tree = by_name.get("tree", "")
    parents = tuple(value for name, value in values if name == b"parent")
    if not all(_ID.fullmatch(identity) for identity in (tree, *parents)):
        raise ValueError(identity)
    author = by_name.get("author", "").rsplit(" ", 2)[0]
    seconds = int(by_name.get("committer", "").rsplit(" ", 2)[1])
    subject, _, body = message.decode(errors="replace").strip("\n").partition("\n")
    info = CommitInfo(identity, parents, seconds, author, subject, body.strip("\n"))
    return _Commit(tree, info)
