"""A repository in memory, for tests that need no other. It passes the suite of the real ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from dulwich.objects import ShaFile

from agent.gitrepo.objects import BRANCHES, ObjectRepository
from agent.gitrepo.refs import Spaces
from agent.gitrepo.repository import StaleTip


class MemoryRepository(ObjectRepository):
    def __init__(self, clock: Callable[[], float] = time.time, spaces: Spaces = BRANCHES) -> None:
        super().__init__("memory", clock, spaces)
        self.objects: dict[str, tuple[int, bytes]] = {}
        self.refs: dict[str, str] = {}

    def fetch(self) -> Mapping[str, str]:
        return self._spaces.pick(self.refs)

    def sweep(self, refs: Iterable[str]) -> None:
        pass

    def close(self) -> None:
        pass

    def lose(self, commit: str) -> None:
        """A commit that nothing leads to any more is cleared away, as by `git gc`."""
        del self.objects[commit]
        self._commits.drop(commit)

    def _load(self, identity: str) -> tuple[int, bytes]:
        return self.objects[identity]

    def _size(self, identity: str) -> int:
        return len(self.objects[identity][1])

    def _ref(self, name: str) -> str | None:
        return self.refs.get(name)

    def _ids(self, prefix: str) -> Iterable[str]:
        return [identity for identity in self.objects if identity.startswith(prefix)]

    def _publish(
        self, ref: str, expected: str | None, commit: str, objects: Sequence[ShaFile]
    ) -> None:
        if self.refs.get(ref) != expected:
            raise StaleTip(ref)
        for made in objects:
            self.objects[made.id.decode()] = (made.type_num, made.as_raw_string())
        self.refs[ref] = commit
