"""Faults at a chosen effect, and a host that keeps account of what was done to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from dulwich.objects import ShaFile

from agent.core.domain_xml import parse
from agent.core.metadata import from_domain
from agent.core.proposals import CLONES
from tests.memory_host import Killed, MemoryHost
from tests.memory_repository import MemoryRepository
from tests.rig import STATUS


@dataclass
class Effects:
    """Numbers everything that the agent does to the host and to the status branch. `plan` may break one of them."""

    plan: Callable[[int, str, str], None] = lambda _number, _what, _phase: None
    count: int = 0
    done: list[str] = field(default_factory=list)

    def __call__(self, what: str, phase: str) -> None:
        if what == "ensure_pool":
            return
        if phase == "before":
            self.count += 1
            self.done.append(what)
        self.plan(self.count, what, phase)


def killed_at(number: int, phase: str = "after") -> Callable[[int, str, str], None]:
    """A plan for `Effects`: the agent is killed around that one."""

    def plan(at: int, _what: str, when: str) -> None:
        if (at, when) == (number, phase):
            raise Killed

    return plan


@contextmanager
def killed_around(host: MemoryHost, verb: str, phase: str = "after") -> Iterator[None]:
    """What is done inside kills the agent, around that verb's effect."""

    def kill(what: str, when: str) -> None:
        if (what, when) == (verb, phase):
            raise Killed

    host.on_effect = kill
    with pytest.raises(Killed):
        yield
    host.on_effect = lambda _verb, _phase: None


class FragileRepository(MemoryRepository):
    """Tells of every write to the status branch, and to one with a clone, before it is made and once it stands."""

    effects: Callable[[str, str], None] = staticmethod(lambda _what, _phase: None)

    def _publish(
        self, ref: str, expected: str | None, commit: str, objects: Sequence[ShaFile]
    ) -> None:
        what = {STATUS: "push"}.get(ref, "propose" if ref.startswith(CLONES) else "")
        if what:
            self.effects(what, "before")
        super()._publish(ref, expected, commit, objects)
        if what:
            self.effects(what, "after")


@dataclass(frozen=True)
class Turn:
    """The agent turned an instance on or off."""

    uuid: str
    on: bool
    instance: str


@dataclass
class WatchedHost(MemoryHost):
    """Remembers which instances the agent started and ended, and which operations were meant for which instance."""

    turns: list[Turn] = field(default_factory=list)
    targets: dict[str, set[str]] = field(default_factory=dict)
    """Instances that each operation was ever written down for, by its uid."""

    def starting(self) -> list[str]:
        """UUIDs of domains that start up."""
        return [uuid for uuid, raw in self._domains.items() if raw.starting]

    def instance(self, uuid: str) -> str:
        raw = self._domains.get(uuid)
        if raw is None or not raw.active:
            return ""
        memory = from_domain(parse(raw.active_xml))
        return memory.instance if memory else "unknown"

    def define(self, xml: str) -> None:
        super().define(xml)
        memory = from_domain(parse(xml))
        for entry in memory.operations if memory else ():
            self.targets.setdefault(entry.uid, set()).add(entry.target)

    def comes_up(self, uuid: str) -> None:
        super().comes_up(uuid)
        self.turns.append(Turn(uuid, True, self.instance(uuid)))

    def shutdown(self, uuid: str) -> None:
        self._ending(uuid, super().shutdown)

    def destroy(self, uuid: str) -> None:
        self._ending(uuid, super().destroy)

    def _ending(self, uuid: str, verb: Callable[[str], None]) -> None:
        raw, before = self._domains.get(uuid), self.instance(uuid)
        try:
            verb(uuid)
        finally:
            if raw is not None and not raw.starting and before and not self.instance(uuid):
                self.turns.append(Turn(uuid, False, before))
