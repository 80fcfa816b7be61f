"""What becomes of a file that two sides have changed, as Git merges it: line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

ALIKE = 0.5
"""The share of lines from which on a file under another name counts as the same one."""
MOST_PAIRS = 4_000_000  # pragma: no mutate: about so many
"""Pairs of equal lines that are compared: with the same line again and again their number grows
with the square of the length. Where there are more, all that lies between the first and the last
change counts as changed.
"""

Lines = Sequence[bytes]


@dataclass(frozen=True)
class _Hunk:
    """Lines of the base from `start` to before `end` that one side has as `lines`."""

    start: int
    end: int
    lines: Lines
    ours: bool


def merged(base: bytes, ours: bytes, theirs: bytes) -> bytes | None:
    """The file with both sides' changes; None where they change the same lines, or lines beside
    each other, differently.
    """
    old = base.splitlines(keepends=True)
    hunks = [*_hunks(old, ours, ours=True), *_hunks(old, theirs, ours=False)]
    made: list[bytes] = []
    done = 0
    for cluster in _clusters(sorted(hunks, key=lambda hunk: (hunk.start, hunk.end))):
        start, end = min(hunk.start for hunk in cluster), max(hunk.end for hunk in cluster)
        sides = {hunk.ours for hunk in cluster}
        versions = {tuple(_applied(old, start, end, cluster, ours=side)) for side in sides}
        if len(versions) > 1:
            return None
        made += old[done:start]
        made += versions.pop()
        done = end
    return b"".join([*made, *old[done:]])


def alike(one: bytes, other: bytes) -> bool:
    """True for two versions of what is most likely one file, whatever each is called."""
    ours, theirs = Counter(one.splitlines()), Counter(other.splitlines())
    most = max(ours.total(), theirs.total())
    return most > 0 and (ours & theirs).total() >= ALIKE * most


def _hunks(old: Lines, changed: bytes, *, ours: bool) -> Iterator[_Hunk]:
    new = changed.splitlines(keepends=True)
    head = _common(old, new)
    tail = _common(old[head:][::-1], new[head:][::-1])
    left, right = old[head : len(old) - tail], new[head : len(new) - tail]
    there = Counter(right)
    pairs = sum(count * there[line] for line, count in Counter(left).items())
    if pairs > MOST_PAIRS:  # pragma: no mutate: about so many
        yield _Hunk(head, head + len(left), right, ours)
        return
    middle = SequenceMatcher(None, left, right, autojunk=False)
    for tag, start, end, new_start, new_end in middle.get_opcodes():
        if tag != "equal":
            yield _Hunk(start + head, end + head, new[new_start + head : new_end + head], ours)


def _common(one: Lines, other: Lines) -> int:
    """How many lines both begin with."""
    pairs = zip(one, other, strict=False)
    return next((at for at, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _clusters(hunks: Sequence[_Hunk]) -> Iterator[list[_Hunk]]:
    """Hunks that overlap or touch, together."""
    cluster: list[_Hunk] = []
    for hunk in hunks:
        if cluster and hunk.start > max(one.end for one in cluster):
            yield cluster
            cluster = []
        cluster.append(hunk)
    if cluster:
        yield cluster


def _applied(
    old: Lines, start: int, end: int, cluster: Sequence[_Hunk], *, ours: bool
) -> Iterator[bytes]:
    """One side's version of the lines from `start` to before `end`."""
    at = start
    for hunk in cluster:
        if hunk.ours is ours:
            yield from old[at : hunk.start]
            yield from hunk.lines
            at = hunk.end
    yield from old[at:end]
