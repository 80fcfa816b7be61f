"""What kinds and objects a command line means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from agent.cli.command import CommandError
from agent.core.schema import LAST, Catalogue, Kind

ALL = "all"


@dataclass(frozen=True)
class Target:
    """Objects of one kind: those named, or all of them."""

    kind: Kind
    names: tuple[str, ...] = ()


def targets(catalogue: Catalogue, words: Sequence[str]) -> list[Target]:
    """`vm`, `vm a b`, `vm,vd`, `vm/a vd/b`, `all`. CommandError says what does not fit."""
    if any("/" in word for word in words):
        return _named(catalogue, words)
    kinds = _kinds(catalogue, words[0])
    names = tuple(dict.fromkeys(words[1:]))
    return [Target(kind, names) for kind in kinds]


def target(catalogue: Catalogue, words: Sequence[str]) -> tuple[Kind, str]:
    """Exactly one object: `vm/a` or `vm a`."""
    if len(words) == 1 and "/" not in words[0]:
        _not_a_name(catalogue, words[0])
    listed = targets(catalogue, words)
    if len(listed) != 1 or len(listed[0].names) != 1:
        raise CommandError(f"{' '.join(words)!r} must name one object, such as vm/linux-vm")
    return listed[0].kind, listed[0].names[0]


def _not_a_name(catalogue: Catalogue, word: str) -> None:
    """CommandError if one word is no kind, and so most likely a name that lacks its kind."""
    try:
        _kinds(catalogue, word)
    except CommandError as error:
        raise CommandError(f"{word!r} must be KIND/NAME: did you mean vm/{word}?") from error


def kind(catalogue: Catalogue, word: str) -> Kind:
    try:
        return catalogue.find(word)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _kinds(catalogue: Catalogue, word: str) -> list[Kind]:
    if word.lower() == ALL:
        return [one for one in catalogue.in_order if one.namespaced and one.order < LAST]
    kinds = [kind(catalogue, part) for part in word.split(",") if part]
    if not kinds:
        raise CommandError("a kind is missing, such as vm")
    return list({one.name: one for one in kinds}.values())


def _named(catalogue: Catalogue, words: Sequence[str]) -> list[Target]:
    names: dict[str, list[str]] = {}
    for word in words:
        what, slash, name = word.partition("/")
        if not slash or not name or "/" in name:
            raise CommandError(
                f"{word!r} must be KIND/NAME, such as vm/linux-vm, when others are written so"
            )
        names.setdefault(kind(catalogue, what).name, []).append(name)
    return [
        Target(catalogue.kinds[name], tuple(dict.fromkeys(listed)))
        for name, listed in names.items()
    ]
