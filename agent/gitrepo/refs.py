"""Which refs a fetch brings: branches, the agent's own refs, and what else was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from dulwich.refs import Ref, check_ref_format

TRACKED = ("refs/heads/", "refs/gitvirt/")
"""What every fetch brings."""
MOST_ASKED = 500
"""Refs of each pattern: those with the highest numbers."""
_PATTERN = re.compile(r"refs/[^/*]+/(?!.*\*\*)")
_NUMBER = re.compile(r"[0-9]{1,18}")


def is_ref(name: str) -> bool:
    """True for a full name that Git allows."""
    try:
        return name.startswith("refs/") and check_ref_format(Ref(name[5:].encode()))
    except UnicodeEncodeError:
        return False


def is_pattern(text: str) -> bool:
    """True for a full ref, with `*` for parts of its name, in a space that is no branch's, no tag's
    and not the agent's own.
    """
    reserved = text.startswith((*TRACKED, "refs/tags/"))
    return _PATTERN.match(text) is not None and not reserved and is_ref(text.replace("*", "x"))


def newest_first(refs: Iterable[str]) -> list[str]:
    """Branches, then all others by the numbers in their names, the highest ones first."""
    return sorted(refs, key=_age)


def _age(ref: str) -> tuple[bool, list[int], str]:
    branch = ref.startswith("refs/heads/")
    return (not branch, [] if branch else [-int(number) for number in _NUMBER.findall(ref)], ref)


@dataclass(frozen=True)
class Spaces:
    """The refs of a fetch. A `*` of a pattern stands for anything but a slash."""

    patterns: tuple[str, ...] = ()

    @cached_property
    def prefixes(self) -> tuple[str, ...]:
        """What each of these refs begins with, one of them."""
        return tuple(
            dict.fromkeys((*TRACKED, *(pattern.split("*")[0] for pattern in self.patterns)))
        )

    @cached_property
    def _expressions(self) -> tuple[re.Pattern[str], ...]:
        return tuple(
            re.compile("[^/]*".join(map(re.escape, pattern.split("*"))))
            for pattern in self.patterns
        )

    def has(self, name: str) -> bool:
        return name.startswith(TRACKED) or any(
            expression.fullmatch(name) for expression in self._expressions
        )

    def names(self, refs: Iterable[str]) -> set[str]:
        """Those of a repository's refs."""
        names = list(refs)
        chosen = {name for name in names if name.startswith(TRACKED)}
        for expression in self._expressions:
            chosen.update(newest_first(filter(expression.fullmatch, names))[:MOST_ASKED])
        return chosen

    def pick(self, refs: Mapping[str, str]) -> dict[str, str]:
        """The same with where they stand, sorted by name."""
        return {name: refs[name] for name in sorted(self.names(refs))}
