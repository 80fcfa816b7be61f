"""Git trees: found, listed and rewritten, each remembered by its id."""

from __future__ import annotations

import stat
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

from dulwich.errors import ObjectFormatException
from dulwich.objects import Blob, ObjectID, ShaFile, Tree, parse_tree

from agent.gitrepo.repository import RepositoryError, TreeFile

FOLDER = 0o040000
_FILE = 0o100644
_MAX_ENTRIES = 200_000
"""Files and folders of one listing. A few small trees that contain each other can stand for
billions.
"""
_MAX_DEPTH = 100
_REMEMBERED = 50_000
"""Entries, at some 200 bytes each."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """The most recently used values, up to a total weight."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._weight = 0
        self._values: OrderedDict[K, tuple[V, int]] = OrderedDict()

    def get(self, key: K) -> V | None:
        value = self._values.get(key)
        if value is None:
            return None
        self._values.move_to_end(key)
        return value[0]

    def drop(self, key: K) -> None:
        _, weight = self._values.pop(key, (None, 0))
        self._weight -= weight

    def put(self, key: K, value: V, weight: int = 1) -> V:
        self.drop(key)
        self._values[key] = (value, weight)
        self._weight += weight
        while self._weight > self._limit and len(self._values) > 1:
            _, (_, dropped) = self._values.popitem(last=False)
            self._weight -= dropped
        return value


class Entry(NamedTuple):
    name: bytes
    mode: int
    id: str

    @property
    def kind(self) -> str:
        """folder, file, symlink or submodule; a mode that Git does not know counts as the last."""
        form = stat.S_IFMT(self.mode)
        return {FOLDER: "folder", stat.S_IFREG: "file", stat.S_IFLNK: "symlink"}.get(
            form, "submodule"
        )


@dataclass
class _Change:
    """What is to become of one name in a tree."""

    content: bytes | None = None
    removed: bool = False
    inside: dict[bytes, _Change] = field(default_factory=dict)


class Trees:
    """The trees of one repository. `load` gives a tree's raw content by id, or raises
    RepositoryError.
    """

    def __init__(self, load: Callable[[str], bytes]) -> None:
        self._load = load
        self._entries: Remembered[str, tuple[Entry, ...]] = Remembered(_REMEMBERED)
        self._listings: Remembered[tuple[str, str], tuple[TreeFile, ...]] = Remembered(_REMEMBERED)

    def entries(self, tree: str) -> tuple[Entry, ...]:
        known = self._entries.get(tree)
        if known is not None:
            return known
        entries = self._parsed(tree)
        return self._entries.put(tree, entries, 1 + len(entries))

    def _parsed(self, tree: str) -> tuple[Entry, ...]:
        try:
            return tuple(
                Entry(name, mode, sha.decode())
                for name, mode, sha in parse_tree(self._load(tree), 20)
            )
        except (ObjectFormatException, ValueError) as error:
            raise RepositoryError("ObjectCorrupt", f"tree {tree} is malformed") from error

    def find(self, root: str, path: str) -> Entry | None:
        """The entry at `path`; the root itself for an empty path. Empty and `.` components are
        passed over.
        """
        reached = Entry(b"", FOLDER, root)
        for name in path_parts(path):
            if reached.kind != "folder":
                return None
            inside = (entry for entry in self.entries(reached.id) if entry.name == name)
            entry = next(inside, None)
            if entry is None:
                return None
            reached = entry
        return reached

    def files(self, tree: str) -> tuple[TreeFile, ...]:
        """Everything below a tree that is no folder, sorted by path. The same instances for the
        same tree.
        """
        return self._list(tree, "", [_MAX_ENTRIES], 0)

    def changed(
        self, before: str | None, after: str | None, limit: int
    ) -> list[tuple[TreeFile | None, TreeFile | None]]:
        """Files that are not the same in two trees, as they are in each. Nothing new is remembered.
        RepositoryError TooManyFiles beyond `limit` files and folders that are not the same.
        """
        pairs: list[tuple[TreeFile | None, TreeFile | None]] = []
        waiting: list[tuple[str, str | None, str | None]] = [("", before, after)]
        room = limit
        while waiting:
            prefix, one, other = waiting.pop()
            old, new = self._by_name(one), self._by_name(other)
            for name in sorted(old.keys() | new.keys()):
                pair = old.get(name), new.get(name)
                if pair[0] == pair[1]:
                    continue
                room -= 1
                path = prefix + readable(name)
                if room < 0 or path.count("/") > _MAX_DEPTH:
                    raise RepositoryError("TooManyFiles", f"more than {limit} files differ")
                folders = [entry.id if entry and entry.kind == "folder" else None for entry in pair]
                if any(folders):
                    waiting.append((path + "/", folders[0], folders[1]))
                files = [
                    TreeFile(path, entry.id, entry.kind)
                    if entry and entry.kind != "folder"
                    else None
                    for entry in pair
                ]
                if any(files):
                    pairs.append((files[0], files[1]))
        return pairs

    def _by_name(self, tree: str | None) -> dict[bytes, Entry]:
        entries = () if tree is None else self._entries.get(tree) or self._parsed(tree)
        return {entry.name: entry for entry in entries}

    def _list(self, tree: str, prefix: str, room: list[int], depth: int) -> tuple[TreeFile, ...]:
        known = self._listings.get((tree, prefix))
        if known is not None:
            room[0] -= len(known)
            return known
        entries = self.entries(tree)
        room[0] -= len(entries)
        if room[0] < 0 or depth > _MAX_DEPTH:
            raise RepositoryError(
                "TooManyFiles",
                f"the tree holds more than {_MAX_ENTRIES} entries or is nested deeper than "
                f"{_MAX_DEPTH} folders: give a smaller folder with --path",
            )
        files: list[TreeFile] = []
        for entry in entries:
            path = prefix + readable(entry.name)
            if entry.kind == "folder":
                files += self._list(entry.id, path + "/", room, depth + 1)
            else:
                files.append(TreeFile(path, entry.id, entry.kind))
        return self._listings.put((tree, prefix), tuple(files), 1 + len(files))

    def rewrite(
        self, base: str | None, changes: Mapping[str, bytes | None]
    ) -> tuple[str, list[ShaFile]]:
        """The tree that `changes` make of `base`: its id, and the objects that were made for it.

        Only folders with a change in them are read and made. A folder with nothing left in it goes.
        """
        made: dict[str, ShaFile] = {}
        root = self._rewrite(base, _by_folder(changes), made)
        if root is None:
            root = _keep(Tree(), made)
        return root, list(made.values())

    def _rewrite(
        self, base: str | None, changes: Mapping[bytes, _Change], made: dict[str, ShaFile]
    ) -> str | None:
        entries = {entry.name: entry for entry in self.entries(base)} if base else {}
        for name, change in changes.items():
            entry = self._changed(name, entries.pop(name, None), change, made)
            if entry is not None:
                entries[name] = entry
        if not entries:
            return None
        tree = Tree()
        for entry in entries.values():
            tree.add(entry.name, entry.mode, ObjectID(entry.id.encode()))
        identity = tree.id.decode()
        if identity == base:
            return identity
        if base is not None:
            self._entries.drop(base)  # history by now: a branch's next commit builds on the new one
        written = tuple(Entry(name, mode, sha.decode()) for name, mode, sha in tree.iteritems())
        self._entries.put(identity, written, 1 + len(written))
        return _keep(tree, made)

    def _changed(
        self, name: bytes, old: Entry | None, change: _Change, made: dict[str, ShaFile]
    ) -> Entry | None:
        if change.content is not None:
            return Entry(name, _FILE, _keep(Blob.from_string(change.content), made))
        folder = old if old is not None and old.kind == "folder" else None
        if change.inside:
            inside = self._rewrite(folder.id if folder else None, change.inside, made)
            if inside is not None:
                return Entry(name, FOLDER, inside)
            return None if folder or change.removed else old
        # The removal of a file removes no folder that has its name.
        return folder


def path_parts(path: str) -> list[bytes]:
    return [
        part.encode(errors="surrogateescape") for part in path.split("/") if part not in ("", ".")
    ]


def readable(name: bytes) -> str:
    """A name for people: bytes that are no UTF-8 are shown escaped, so that it can be printed
    anywhere.
    """
    return name.decode(errors="backslashreplace")


def _keep(made: ShaFile, all_made: dict[str, ShaFile]) -> str:
    identity = made.id.decode()
    all_made[identity] = made
    return identity


def _by_folder(changes: Mapping[str, bytes | None]) -> dict[bytes, _Change]:
    root = _Change()
    for path, content in changes.items():
        at = root
        for name in _checked(path):
            at = at.inside.setdefault(name, _Change())
        at.content, at.removed = content, content is None
    _check_no_file_is_a_folder(root, "")
    return root.inside


def _checked(path: str) -> list[bytes]:
    names = path.split("/")
    try:
        encoded = [name.encode() for name in names]
    except UnicodeEncodeError:
        encoded = []
    if not encoded or "\0" in path or any(n.lower() in ("", ".", "..", ".git") for n in names):
        raise RepositoryError("InvalidPath", f"{path!r} is no path of a file in Git", retry=False)
    return encoded


def _check_no_file_is_a_folder(change: _Change, path: str) -> bool:
    """True if something is written at `path` or below it."""
    below = [
        _check_no_file_is_a_folder(inside, f"{path}/{readable(name)}")
        for name, inside in change.inside.items()
    ]
    if change.content is not None and any(below):
        raise RepositoryError(
            "InvalidPath", f"{path[1:]!r} cannot be a file and a folder at once", retry=False
        )
    return change.content is not None or any(below)
