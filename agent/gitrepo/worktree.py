"""Files to validate or to plan for: those of a commit, or those of a folder on disk, seen alike."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn, Protocol

from agent.gitrepo.repository import Repository, RepositoryError, TreeFile

_MAX_FILES = 200_000
_MAX_CHANGES = 10_000
"""Of a commit that changes more, all files are read again."""
_MAX_BYTES = 16 * 1024**2
"""Far more than a manifest may have."""


class Source(Protocol):
    """Files by their path below a folder. What lies in a folder whose name begins with a dot is
    left out.
    """

    @property
    def revision(self) -> str:
        """Id of the commit; empty for a folder on disk."""

    def files(self) -> Iterator[TreeFile]:
        """Every file, sorted by path. `blob` is the same only for the same content."""

    def size(self, file: TreeFile) -> int:
        """Bytes of a file."""

    def read(self, file: TreeFile) -> bytes:
        """Content of a file; RepositoryError FileTooLarge beyond 16 MiB."""


class CommitSource:
    """The files of a commit, below one of its folders."""

    def __init__(self, repository: Repository, commit: str, folder: str = "") -> None:
        self.repository = repository
        self.folder = folder
        self.revision = commit

    def files(self) -> Iterator[TreeFile]:
        listed = self.repository.files(self.revision, self.folder)
        return (file for file in listed if not _in_dot_folder(file.path))

    def tree(self) -> str | None:
        """Id of the folder's tree; None if there is no such folder."""
        return self.repository.tree_id(self.revision, self.folder)

    def changed(self, before: str | None) -> list[tuple[TreeFile | None, TreeFile | None]] | None:
        """Files that are not as they were in the tree `before`, as `files` names them; None where
        they are too many to tell.
        """
        try:
            pairs = self.repository.changed(before, self.tree(), _MAX_CHANGES)
        except RepositoryError:
            return None
        return [
            pair for pair in pairs if not any(_in_dot_folder(file.path) for file in pair if file)
        ]

    def size(self, file: TreeFile) -> int:
        return self.repository.size(file.blob)

    def read(self, file: TreeFile) -> bytes:
        content = self.repository.read(file.blob)
        if len(content) > _MAX_BYTES:
            _too_large(file.path)
        return content


class FolderSource:
    """The files of a folder on disk, or one file alone. No symlink is followed, no device is
    opened.

    A folder with a `.git` of its own below it is a submodule, as it would be in a commit.
    """

    revision = ""

    def __init__(self, path: Path) -> None:
        self._only = path.name if path.is_file() else ""
        self._root = path.resolve().parent if self._only else path
        self._odd: dict[str, str] = {}

    def files(self) -> Iterator[TreeFile]:
        try:
            if self._only:
                identity = _identity((self._root / self._only).stat())
                return iter([TreeFile(self._only, identity, "file")])
            files = sorted(self._below(), key=lambda file: file.path.encode())
        except OSError as error:
            self._fail(error)
        return iter(files)

    def size(self, file: TreeFile) -> int:
        try:
            return self._path(file).lstat().st_size
        except OSError as error:
            self._fail(error)

    def read(self, file: TreeFile) -> bytes:
        path = self._path(file)
        try:
            with os.fdopen(
                os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb"
            ) as opened:
                if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                    raise RepositoryError("NotAFile", f"{path} is no ordinary file", retry=False)
                content = opened.read(_MAX_BYTES + 1)
        except OSError as error:
            self._fail(error)
        if len(content) > _MAX_BYTES:
            _too_large(str(path))
        return content

    def _path(self, file: TreeFile) -> Path:
        return self._root / self._odd.get(file.path, file.path)

    def _below(self) -> Iterator[TreeFile]:
        """In any order. With a stack of its own: folders can be nested deeper than Python calls."""
        waiting, room = [""], _MAX_FILES
        while waiting:
            prefix = waiting.pop()
            with os.scandir(self._root / prefix) as entries:
                for entry in entries:
                    room -= 1
                    kind = _kind(entry)
                    if kind == "folder":
                        waiting.append(f"{prefix}{entry.name}/")
                    elif kind:
                        yield self._file(prefix + entry.name, kind, entry)
                    if room < 0:
                        self._too_many()

    def _file(self, path: str, kind: str, entry: os.DirEntry[str]) -> TreeFile:
        shown = os.fsencode(path).decode(errors="backslashreplace")
        if shown != path:
            self._odd[shown] = path
        return TreeFile(shown, _identity(entry.stat(follow_symlinks=False)), kind)

    def _too_many(self) -> NoReturn:
        raise RepositoryError(
            "TooManyFiles",
            f"{self._root} holds more than {_MAX_FILES} files: name a smaller folder",
            retry=False,
        )

    def _fail(self, error: OSError) -> NoReturn:
        raise RepositoryError(
            "FolderUnreadable",
            f"{error.filename or self._root} cannot be read: {error.strerror}",
            retry=False,
        ) from error


def _kind(entry: os.DirEntry[str]) -> str:
    """folder, file, symlink, submodule, or empty for what is none of them."""
    if entry.is_symlink():
        return "symlink"
    if entry.is_file(follow_symlinks=False):
        return "file"
    if not entry.is_dir(follow_symlinks=False) or entry.name.startswith("."):
        return ""
    return "submodule" if os.path.lexists(f"{entry.path}/.git") else "folder"


def _identity(stat: os.stat_result) -> str:
    return f"disk:{stat.st_dev}:{stat.st_ino}:{stat.st_mtime_ns}:{stat.st_size}"


def _in_dot_folder(path: str) -> bool:
    return (path.startswith(".") and "/" in path) or "/." in path.rpartition("/")[0]


def _too_large(path: str) -> NoReturn:
    raise RepositoryError(
        "FileTooLarge", f"{path} is larger than {_MAX_BYTES // 1024**2} MiB", retry=False
    )
