"""A repository on this machine's disk, which others write, repack, delete and make anew while it is
open.
"""

from __future__ import annotations

import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NoReturn, TypeVar

from dulwich.errors import (
    ApplyDeltaError,
    ChecksumMismatch,
    FileFormatException,
    NotGitRepository,
)
from dulwich.file import FileLocked
from dulwich.objects import ObjectID, ShaFile
from dulwich.pack import PackFileDisappeared, full_unpacked_object, write_pack_data
from dulwich.refs import DiskRefsContainer, Ref, SymrefLoop
from dulwich.repo import Repo, UnsupportedExtension, UnsupportedVersion

from agent.gitrepo.objects import usable_refs
from agent.gitrepo.repository import RepositoryError
from agent.gitrepo.sizes import size

DAMAGE = (
    ApplyDeltaError,
    AssertionError,
    ChecksumMismatch,
    FileFormatException,
    IndexError,
    ValueError,
    zlib.error,
)
"""What dulwich raises where stored bytes are not what Git writes."""

LOCK_WAIT = 2.0
"""Seconds to wait for another writer. Each holds a lock for the time of writing one small file."""
LOCK_STALE = 10.0
"""Seconds for which one and the same lock file of a ref is watched before it counts as left by a
writer that died.
"""
LOCK_OLD = 60.0
"""A lock file this old, in seconds, counts so at once. That of packed-refs, which Git holds while
it writes all refs, counts so at no other time.
"""
_LOCK_PAUSE = 0.002
_DAY = 86400.0
UNPACKED = 100
"""Objects of one write that get a file each; Git draws this line there too."""

T = TypeVar("T")


class Disk:
    """Raw objects and refs. Opened when first needed, and again whenever what is open no longer
    fits the disk.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._repo: Repo | None = None
        self._identity: object = None
        self._lock: tuple[Path, int, int] | None = None
        self._lock_since = 0.0

    @property
    def control(self) -> Path:
        """The folder that holds refs and packed-refs."""
        return Path(self.repo.commondir())

    @property
    def repo(self) -> Repo:
        """The open repository; RepositoryError if it is not there."""
        if self._repo is None:
            self._repo = self._opened()
            self._identity = _identity(self._repo)
        return self._repo

    def refresh(self) -> Repo:
        """Open again if the repository was deleted, made anew or configured in another way."""
        if self._repo is not None:
            now = _identity(self._repo)
            if now is None or now != self._identity:
                self.close()
        return self.repo

    def close(self) -> None:
        if self._repo is not None:
            self._repo.close()
        self._repo = None

    def load(self, identity: str) -> tuple[int, bytes]:
        """Type and content; KeyError if there is no such object, also not in what others have just
        packed.
        """
        return self._found(identity, self._read)

    def size(self, identity: str) -> int:
        """Bytes of an object, whose content is not read; KeyError as in `load`."""
        return self._found(identity, lambda identity: size(self.repo.object_store, identity))

    def _found(self, identity: str, read: Callable[[str], T]) -> T:
        try:
            return read(identity)
        except (KeyError, OSError, PackFileDisappeared, *DAMAGE):
            self.close()
        try:
            return read(identity)
        except (FileNotFoundError, PackFileDisappeared) as error:
            raise KeyError(identity) from error
        except DAMAGE as error:
            raise RepositoryError(
                "ObjectCorrupt",
                f"object {identity} in {self.path} is damaged: check it with git fsck",
            ) from error
        except OSError as error:
            self.unusable(error)

    def _read(self, identity: str) -> tuple[int, bytes]:
        return self.repo.object_store.get_raw(ObjectID(identity.encode()))

    def ids(self, prefix: str) -> list[str]:
        return [
            identity.decode() for identity in self.repo.object_store.iter_prefix(prefix.encode())
        ]

    def ref(self, name: str) -> str | None:
        try:
            _, commit = self.repo.refs.follow(Ref(name.encode()))
        except SymrefLoop:
            return None
        except (OSError, FileFormatException, StopIteration, ValueError) as error:
            self.unreadable_refs(error)
        return commit.decode(errors="replace") if commit else None

    def refs(
        self, spaces: Sequence[str], wanted_of: Callable[[Iterable[str]], Set[str]] = frozenset
    ) -> dict[str, str]:
        """Every ref with one of the given prefixes (`refs/heads/`), of which `wanted_of` may take a
        part: no file is read for those that it leaves out.
        """
        wanted = tuple(space.encode() for space in spaces)
        values: dict[Ref, ObjectID] = {}
        try:
            # Loose ones first: `git pack-refs` moves them into the file that is read after them.
            loose = wanted_of([name for space in spaces for name in self._loose(space)])
            for name in (Ref(os.fsencode(path)) for path in loose):
                with suppress(SymrefLoop):
                    _, value = self.repo.refs.follow(name)
                    values.update({} if value is None else {name: value})
            for name, value in self.repo.refs.get_packed_refs().items():
                if name.startswith(wanted):
                    values.setdefault(name, value)
        except (OSError, FileFormatException, StopIteration, ValueError) as error:
            self.unreadable_refs(error)
        usable = usable_refs(values)
        return {name: usable[name] for name in sorted(wanted_of(usable))}

    def _loose(self, space: str) -> Iterator[str]:
        control = str(self.control)
        for folder, _, names in os.walk(f"{control}/{space.rpartition('/')[0]}"):
            paths = (f"{folder[len(control) + 1 :]}/{name}" for name in names)
            yield from (name for name in paths if name.startswith(space))

    def add(self, objects: Sequence[ShaFile]) -> None:
        """Write objects: a few each as a file of its own, where those that are there already stay,
        many as a pack.
        """
        if len(objects) > UNPACKED:
            self._locked(partial(self._add_pack, objects))
            return
        for made in objects:
            self._locked(partial(self.repo.object_store.add_object, made))

    def _add_pack(self, objects: Sequence[ShaFile]) -> None:
        """Nothing is left of a pack that cannot be written, above all where the disk is full."""
        store = self.repo.object_store
        file, commit, _ = store.add_pack()
        path = Path(f"/proc/self/fd/{file.fileno()}").readlink()
        try:
            write_pack_data(
                file.write,
                map(full_unpacked_object, objects),
                num_records=len(objects),
                compression_level=store.pack_compression_level,
                object_format=store.object_format,
            )
            commit()
        except BaseException:
            path.unlink(missing_ok=True)
            with suppress(OSError):
                file.close()
            raise

    def swap(self, ref: str, expected: str | None, new: str) -> bool:
        """Move a ref if it stands at `expected` (None: if there is none). False if it stands
        elsewhere.
        """
        name, target = Ref(ref.encode()), ObjectID(new.encode())
        refs = self.repo.refs
        if expected is None:
            self._check_free(ref)
            return self._locked(partial(refs.add_if_new, name, target))
        old = ObjectID(expected.encode())
        return self._locked(partial(refs.set_if_equals, name, old, target))

    def _check_free(self, ref: str) -> None:
        """Of branches in packed-refs dulwich does not see that they are in the way."""
        above = [str(parent) for parent in PurePosixPath(ref).parents][:-2]
        below = self.repo.refs.subkeys(Ref(ref.encode() + b"/"))
        if below or any(self.ref(name) for name in above):
            _in_the_way(ref, None)
        for folder, _, _ in os.walk(self.control / ref, topdown=False):
            # What a deleted branch left, as Git clears it away too.
            with suppress(OSError):
                Path(folder).rmdir()

    def pack_refs(self, refs: Mapping[Ref, ObjectID | None]) -> None:
        """Set refs whatever they were, None removes one: all in one step."""
        if refs:
            self._locked(partial(self.repo.refs.add_packed_refs, refs))

    def sweep(self, refs: Iterable[str]) -> None:
        """Remove what a writer that was killed has left: the lock files of these refs, of
        packed-refs and of objects, which stop Git for ever, and packs that were begun.
        """
        control, packs = self.control, self.control / "objects" / "pack"
        with suppress(FileNotFoundError):  # Git removes folders of objects that it has packed
            old = [(control / f"{name}.lock", LOCK_OLD) for name in (*refs, "packed-refs")]
            old += ((lock, LOCK_OLD) for lock in (control / "objects").glob("[0-9a-fp]*/*.lock"))
            old += ((pack, _DAY) for pack in packs.glob("tmp_pack_*"))
            for path, age in old:
                with suppress(OSError):
                    if time.time() - path.lstat().st_mtime >= age:
                        path.unlink()

    def _locked(self, write: Callable[[], T]) -> T:
        """Carry out a write that takes a lock file, once the lock is free."""
        patience = time.monotonic() + LOCK_WAIT
        while True:
            try:
                return write()
            except FileLocked as error:
                lock = Path(os.fsdecode(error.lockfilename))
                if not self._removed_if_stale(lock) and time.monotonic() > patience:
                    raise RepositoryError(
                        "Locked",
                        f"{lock} is there: somebody is writing, or died at it; wait, for it is "
                        f"removed after {_patience(lock):g} seconds, or remove it if no program "
                        "writes there",
                    ) from error
                time.sleep(_LOCK_PAUSE)
            except FileNotFoundError as error:
                # Git removes folders that it has emptied, also between our making one and using it.
                if time.monotonic() > patience or not self.path.exists():
                    self.unusable(error)
            except (NotADirectoryError, IsADirectoryError, FileExistsError) as error:
                _in_the_way(str(error.filename or error), error)
            except OSError as error:
                self.unusable(error)

    def _removed_if_stale(self, lock: Path) -> bool:
        """True if the lock is there no more. How long it has been there is measured from when it
        was first met: a file's time and the clock may come from two machines.
        """
        try:
            stat = lock.stat()
            met = (lock, stat.st_ino, stat.st_mtime_ns)
            if met != self._lock:
                self._lock, self._lock_since = met, time.monotonic()
            watched = time.monotonic() - self._lock_since
            if watched < _patience(lock) and time.time() - stat.st_mtime < LOCK_OLD:
                return False
            lock.unlink()
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return True

    def _opened(self) -> Repo:
        try:
            repo = Repo(str(self.path))
        except (NotGitRepository, FileNotFoundError, NotADirectoryError) as error:
            raise RepositoryError(
                "RepositoryNotFound",
                f"{self.path} is no Git repository: correct --repo, or make one with "
                f"git init --bare {self.path}",
            ) from error
        except (UnsupportedExtension, UnsupportedVersion, NotImplementedError) as error:
            self._unsupported(str(error) or type(error).__name__, error)
        except OSError as error:
            self.unusable(error)
        except (KeyError, *DAMAGE) as error:
            raise RepositoryError(
                "RepositoryUnusable", f"the configuration of {self.path} cannot be read"
            ) from error
        try:
            if repo.object_format.name != "sha1":
                self._unsupported("ids that are not SHA-1", None)
            if not isinstance(repo.refs, DiskRefsContainer):
                self._unsupported("reftable", None)
        except RepositoryError:
            repo.close()
            raise
        repo.object_store.fsync_object_files = True
        return repo

    def _unsupported(self, what: str, error: Exception | None) -> NoReturn:
        raise RepositoryError(
            "UnsupportedRepository",
            f"{self.path} uses an extension of Git that gitvirt cannot read ({what}): convert it, "
            "or let gitvirt use it through a server",
        ) from error

    def unusable(self, error: OSError) -> NoReturn:
        reason = "PermissionDenied" if isinstance(error, PermissionError) else "RepositoryUnusable"
        raise RepositoryError(
            reason,
            f"{self.path} cannot be used: {error.strerror or error} ({error.filename}): "
            "the agent's user must be able to read and write it, and its disk must have room",
        ) from error

    def unreadable_refs(self, error: BaseException) -> NoReturn:
        if isinstance(error, OSError):
            self.unusable(error)
        raise RepositoryError(
            "RefsCorrupt", f"the refs of {self.path} cannot be read: check it with git fsck"
        ) from error


def _identity(repo: Repo) -> tuple[int, ...] | None:
    """Changes when the repository is replaced or configured anew; None where nobody can tell."""
    try:
        stat = (Path(repo.commondir()) / "config").stat()
    except OSError:
        return None
    return (stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size)


def _in_the_way(ref: str, error: OSError | None) -> NoReturn:
    raise RepositoryError(
        "RefConflict",
        f"{ref} cannot be made: a branch of that name and branches below it, as in a and a/b, "
        "exclude each other; rename or delete the other one",
    ) from error


def _patience(lock: Path) -> float:
    return LOCK_OLD if lock.name == "packed-refs.lock" else LOCK_STALE
