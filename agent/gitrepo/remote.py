"""A repository on a server: what was fetched stands in a cache on disk, and a commit is pushed
at once.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import struct
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TypeVar
from urllib.parse import urlsplit

from dulwich.errors import GitProtocolError, NotGitRepository, SendPackError
from dulwich.objects import ObjectID, ShaFile
from dulwich.pack import UnpackedObject, pack_objects_to_data
from dulwich.refs import Ref
from dulwich.repo import Repo

from agent.gitrepo.client import Client
from agent.gitrepo.disk import DAMAGE, Disk
from agent.gitrepo.objects import BLOB, BRANCHES, COMMIT, ObjectRepository, usable_refs
from agent.gitrepo.refs import TRACKED, Spaces, is_ref
from agent.gitrepo.repository import RepositoryError, StaleTip
from agent.gitrepo.sizes import largest_of

LARGE = 16 * 1024**2
"""Bytes of a blob that a server is asked to leave out: far more than a manifest may have."""
_MAX_OBJECT = 256 * 1024**2
_MAX_REFS = 50_000
_MAX_PACKS = 100
"""Each fetch with news adds a pack, and reading slows down with their number."""
_MAX_LOOSE = 2_000
_BROKEN = (
    GitProtocolError,
    KeyError,
    NotGitRepository,
    NotImplementedError,
    TypeError,
    struct.error,
    *DAMAGE,
)
"""What dulwich raises where an answer, or the cache that it is put into, is not what Git would
write.
"""

T = TypeVar("T")
Pick = Callable[[Mapping[str, str]], dict[str, str]]


class RemoteRepository(ObjectRepository):
    """Satisfies `Repository`. Its cache is a folder of its own below `cache_dir` and can be deleted
    at any time.
    """

    def __init__(
        self,
        client: Client,
        cache_dir: Path,
        *,
        clock: Callable[[], float] = time.time,
        spaces: Spaces = BRANCHES,
    ) -> None:
        super().__init__(client.address, clock, spaces)
        self._client = client
        self._path = cache_dir / _cache_name(client.address)
        self._cache = Disk(self._path)
        self._damaged = False
        self._loose = _MAX_LOOSE

    def fetch(self) -> Mapping[str, str]:
        if not self._damaged:
            try:
                return self._download(self._opened())
            except _BROKEN:
                # The cache or the server: a new cache tells which.
                self._damaged = True
            except RepositoryError as error:
                if error.reason not in ("ObjectCorrupt", "ObjectMissing", "RefsCorrupt"):
                    raise
        return self._rebuild()

    def resolve(self, revision: str) -> str | None:
        """Besides branches and ids that were fetched: tags and other refs, asked of the server."""
        commit = super().resolve(revision)
        if commit is not None:
            return commit
        name = revision if revision.startswith("refs/") else f"refs/tags/{revision}"
        if not is_ref(name) or name.startswith(TRACKED):
            return None
        identity = self._fetch_one(name)
        return None if identity is None else self._peeled(identity)

    def sweep(self, refs: Iterable[str]) -> None:
        self._opened().sweep(())  # the cache has its refs in packed-refs

    def close(self) -> None:
        self._cache.close()
        self._client.close()

    def _load(self, identity: str) -> tuple[int, bytes]:
        return self._cached(identity, self._cache.load)

    def _size(self, identity: str) -> int:
        return self._cached(identity, self._cache.size)

    def size(self, blob: str) -> int:
        """Of one that the server left out, the least that it must be."""
        try:
            return super().size(blob)
        except RepositoryError as error:
            if error.reason == "ObjectMissing" and self._client.filters:
                return LARGE
            raise

    def _cached(self, identity: str, look: Callable[[str], T]) -> T:
        try:
            return look(identity)
        except RepositoryError as error:
            if error.reason == "RepositoryNotFound":
                raise KeyError(identity) from error
            self._damaged = True
            raise

    def _known(self, identity: str, kind: int, look: Callable[[str], T]) -> T:
        try:
            return super()._known(identity, kind, look)
        except RepositoryError as error:
            # A commit may be one that was never fetched. A tree or a blob is asked for because a
            # commit names it.
            left_out = error.reason == "ObjectMissing" and kind == BLOB and self._client.filters
            if (
                error.reason in ("ObjectMissing", "ObjectCorrupt")
                and kind != COMMIT
                and not left_out
            ):
                self._damaged = True
            raise

    def _ref(self, name: str) -> str | None:
        return self._opened().ref(name) if self._spaces.has(name) else None

    def _ids(self, prefix: str) -> Iterable[str]:
        return self._opened().ids(prefix)

    def _publish(
        self, ref: str, expected: str | None, commit: str, objects: Sequence[ShaFile]
    ) -> None:
        name, new = Ref(ref.encode()), ObjectID(commit.encode())

        def update(advertised: dict[Ref, ObjectID]) -> dict[Ref, ObjectID]:
            # The push names what is advertised as the old value, and the server checks just that
            # under its lock.
            stands = advertised.get(name)
            if stands != (None if expected is None else expected.encode()):
                raise StaleTip(ref)
            return {name: new}

        def pack(
            have: AbstractSet[ObjectID],
            want: AbstractSet[ObjectID],
            *,
            ofs_delta: bool = False,
            progress: Callable[[bytes], None] | None = None,
        ) -> tuple[int, Iterator[UnpackedObject]]:
            return pack_objects_to_data(list(objects))

        try:
            result = self._client.send_pack(b"", update, pack)
        except SendPackError as error:
            self._client.fail("PushRejected", f"the server cannot take the push: {error}", error)
        except _BROKEN as error:
            self._client.fail("UnexpectedAnswer", f"the push failed: {error}", error)
        refusal = (result.ref_status or {}).get(ref.encode(), "" if result.ref_status else None)
        if refusal is not None:
            self._refused(ref, expected, refusal)
        cache = self._opened()
        cache.add(objects)
        self._store(cache, {ref: commit})
        self._loose += len(objects)

    def _refused(self, ref: str, expected: str | None, refusal: str) -> None:
        if self._advertised([ref]).get(ref) != expected:
            raise StaleTip(ref)
        self._client.fail(
            "PushRejected",
            f"the server refused the push to {ref} ({refusal or 'it did not say why'}): let the "
            "credentials push there, and exempt that branch from protection rules",
        )

    def _advertised(self, names: Iterable[str]) -> dict[str, str]:
        try:
            values = self._client.get_refs(b"", ref_prefix=[name.encode() for name in names]).refs
        except _BROKEN as error:
            self._client.fail("UnexpectedAnswer", f"the refs cannot be read: {error}", error)
        return usable_refs(values)

    def _download(self, cache: Disk) -> dict[str, str]:
        refs = self._fetch_into(cache, self._spaces.prefixes, self._spaces.pick)
        self._store(cache, refs, prune=True)
        self._tidy(cache)
        return refs

    def _fetch_one(self, name: str) -> str | None:
        try:
            return self._fetch_into(self._opened(), (name,), partial(_only, name)).get(name)
        except _BROKEN as error:
            self._client.fail("UnexpectedAnswer", f"{name} cannot be fetched: {error}", error)

    def _fetch_into(self, cache: Disk, prefixes: tuple[str, ...], pick: Pick) -> dict[str, str]:
        """Bring the picked refs' objects. A server may name more refs than it was asked for."""
        repo = cache.repo

        def wanted(refs: Mapping[Ref, ObjectID], depth: int | None = None) -> list[ObjectID]:
            usable = set(pick(usable_refs(refs)).values())
            return [
                identity
                for value in sorted(usable)
                if (identity := ObjectID(value.encode())) not in repo.object_store
            ]

        try:
            with TemporaryFile(dir=cache.path) as file:
                result = self._client.fetch_pack(
                    b"",
                    wanted,
                    repo.get_graph_walker(),
                    file.write,
                    ref_prefix=[prefix.encode() for prefix in prefixes],
                    filter_spec=b"blob:limit=%d" % LARGE,
                )
                self._add_pack(repo, file)
        except OSError as error:
            cache.unusable(error)
        refs = pick(usable_refs(result.refs))
        if len(refs) > _MAX_REFS:
            self._client.fail("TooLarge", f"there are more than {_MAX_REFS} branches: delete some")
        return refs

    def _add_pack(self, repo: Repo, file: IO[bytes]) -> None:
        """Add a fetched pack, in which no object is so large that it would fill the memory."""
        if not file.tell():
            return
        file.seek(0)
        largest = largest_of(file, _MAX_OBJECT)
        if largest > _MAX_OBJECT:
            self._client.fail(
                "TooLarge",
                f"some branch holds a file of {largest} bytes: delete that branch, or have the "
                "server leave large files out (git config uploadpack.allowFilter true)",
            )
        file.seek(0)
        repo.object_store.add_thin_pack(file.read, None)

    def _store(self, cache: Disk, refs: Mapping[str, str], *, prune: bool = False) -> None:
        """Remember the server's refs, all in one file and in one step."""
        before = cache.refs(("refs/",))
        changed: dict[Ref, ObjectID | None] = {
            Ref(name.encode()): ObjectID(value.encode())
            for name, value in refs.items()
            if before.get(name) != value
        }
        if prune:
            changed.update({Ref(name.encode()): None for name in before if name not in refs})
        cache.pack_refs(changed)

    def _opened(self) -> Disk:
        """The cache; an empty one if there is none."""
        try:
            self._cache.refresh()
        except RepositoryError as error:
            if error.reason != "RepositoryNotFound":
                raise
            self._discard(self._path)
            _make(self._cache)
        return self._cache

    def _rebuild(self) -> dict[str, str]:
        """Fetch everything into a new cache, then let it take the old one's place."""
        fresh = Disk(self._path.with_name(f"{self._path.name}.new"))
        self._discard(fresh.path)
        try:
            _make(fresh)
            refs = self._fetch_into(fresh, self._spaces.prefixes, self._spaces.pick)
            self._store(fresh, refs)
        except _BROKEN as error:
            self._client.fail("UnexpectedAnswer", f"the fetch failed: {error}", error)
        finally:
            fresh.close()
        self._cache.close()
        self._discard(self._path)
        try:
            fresh.path.rename(self._path)
        except OSError as error:
            self._cache.unusable(error)
        self._damaged = False
        return refs

    def _discard(self, path: Path) -> None:
        try:
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.exists():
                shutil.rmtree(path)
        except OSError as error:
            self._cache.unusable(error)

    def _tidy(self, cache: Disk) -> None:
        store = cache.repo.object_store
        if self._loose >= _MAX_LOOSE:
            self._loose = store.count_loose_objects()
            if self._loose >= _MAX_LOOSE:
                store.pack_loose_objects()
                self._loose = 0
        # The next fetch gets one well-packed copy from the server in their place.
        self._damaged = self._damaged or len(store.packs) > _MAX_PACKS


def _make(disk: Disk) -> None:
    try:
        disk.path.mkdir(mode=0o700, parents=True)
        Repo.init_bare(str(disk.path)).close()
    except OSError as error:
        disk.unusable(error)


def _only(name: str, refs: Mapping[str, str]) -> dict[str, str]:
    return {name: refs[name]} if name in refs else {}


def _cache_name(address: str) -> str:
    """A folder name that people recognise and that no two addresses share."""
    parts = urlsplit(address)
    host, path = parts.hostname or "", parts.path.removesuffix(".git")
    words = re.sub(r"[^A-Za-z0-9]+", "-", f"{host}{path}")
    digest = hashlib.sha256(os.fsencode(address)).hexdigest()[:12]
    return f"{words.strip('-')[:80]}-{digest}.git"
