"""Which machines go from nodes that are short of memory to nodes that are not.

A node that takes one in stays far from being short itself, so that what was shifted is never
shifted back: after it, the same machines on the same nodes ask for nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from agent.core.model import Key

SHORT, ROOMY = 95, 85
"""Percent of its memory from which a node is short, and up to which one may be filled by what it
takes in.
"""


@dataclass(frozen=True)
class Load:
    """One node."""

    name: str
    memory: int
    """Bytes for machines."""
    taken: int
    """Bytes that are taken of it, by whomever."""
    takes: bool = True
    """False of one that takes nobody in."""

    def filled(self, more: int = 0) -> float:
        """Percent of its memory that is taken with so many bytes more."""
        return 100 * (self.taken + more) / self.memory

    @property
    def short(self) -> bool:
        return self.filled() > SHORT

    def after(self, more: int) -> Load:
        return Load(self.name, self.memory, self.taken + more, self.takes)


@dataclass(frozen=True)
class Mover:
    """A machine that runs, and that may be moved."""

    key: Key
    at: str
    memory: int
    """Bytes."""


def shifts(
    loads: Iterable[Load], movers: Sequence[Mover], fits: Callable[[Key, str], bool]
) -> Mapping[Key, str]:
    """Where machines go. `fits` says whether a node could have a machine, whatever it has of
    memory.
    """
    now = {load.name: load for load in loads if load.memory}
    found: dict[Key, str] = {}
    while (
        step := _step(now, [each for each in movers if each.key not in found], fits)
    ) is not None:
        mover, target = step
        found[mover.key] = target
        now[mover.at] = now[mover.at].after(-mover.memory)
        now[target] = now[target].after(mover.memory)
    return found


def _step(
    now: Mapping[str, Load], movers: Sequence[Mover], fits: Callable[[Key, str], bool]
) -> tuple[Mover, str] | None:
    for load in sorted(now.values(), key=lambda each: (-each.filled(), each.name)):
        if not load.short:
            return None
        for mover in _in_turn(load, movers):
            for target in _targets(now, mover):
                if fits(mover.key, target):
                    return mover, target
    return None


def _in_turn(load: Load, movers: Sequence[Mover]) -> Iterator[Mover]:
    """First the smallest of those that suffice alone, then the others, the largest first."""
    there = [each for each in movers if each.at == load.name]
    enough = [each for each in there if load.filled(-each.memory) <= SHORT]
    yield from sorted(enough, key=lambda each: (each.memory, each.key))
    rest = (each for each in there if each not in enough)
    yield from sorted(rest, key=lambda each: (-each.memory, each.key))


def _targets(now: Mapping[str, Load], mover: Mover) -> Iterator[str]:
    """Nodes that have room for it, the emptiest first."""
    roomy = (
        each
        for each in now.values()
        if each.takes and each.name != mover.at and each.filled(mover.memory) <= ROOMY
    )
    for each in sorted(roomy, key=lambda one: (one.filled(mover.memory), one.name)):
        yield each.name
