"""A local repository, opened in place: nothing is copied, and a commit costs the objects that it
adds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from dulwich.objects import ShaFile

from agent.gitrepo.disk import Disk
from agent.gitrepo.objects import BRANCHES, ObjectRepository
from agent.gitrepo.refs import Spaces
from agent.gitrepo.repository import RepositoryError, StaleTip


class LocalRepository(ObjectRepository):
    """Satisfies `Repository`. `path` is a bare repository, a clone with its `.git`, or that folder
    itself.

    It need not exist: every method raises RepositoryError until it does, and after it has gone.
    """

    def __init__(
        self, path: Path, clock: Callable[[], float] = time.time, spaces: Spaces = BRANCHES
    ) -> None:
        super().__init__(str(path), clock, spaces)
        self._disk = Disk(path)

    def fetch(self) -> Mapping[str, str]:
        self._disk.refresh()
        return self._disk.refs(self._spaces.prefixes, self._spaces.names)

    def sweep(self, refs: Iterable[str]) -> None:
        self._disk.sweep(refs)

    def watch_paths(self) -> tuple[Path, ...]:
        try:
            self._disk.refresh()
            return (self._disk.control,)
        except RepositoryError:
            return (self._disk.path,)

    def close(self) -> None:
        self._disk.close()

    def _load(self, identity: str) -> tuple[int, bytes]:
        return self._disk.load(identity)

    def _size(self, identity: str) -> int:
        return self._disk.size(identity)

    def _ref(self, name: str) -> str | None:
        return self._disk.ref(name)

    def _ids(self, prefix: str) -> Iterable[str]:
        return self._disk.ids(prefix)

    def _publish(
        self, ref: str, expected: str | None, commit: str, objects: Sequence[ShaFile]
    ) -> None:
        self._disk.refresh()
        if self._disk.ref(ref) != expected:
            raise StaleTip(ref)
        self._disk.add(objects)
        if not self._disk.swap(ref, expected, commit):
            raise StaleTip(ref)
