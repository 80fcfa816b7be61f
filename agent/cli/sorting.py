"""`--sort-by`: objects in the order of one of their fields, as kubectl sorts them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from agent.cli.command import CommandError
from agent.cli.printing import one_path
from agent.cli.snapshot import Entry
from agent.core import jsonpath, quantity

_PARTS = re.compile(r"(\d+)")
_NOTHING, _NUMBER, _TEXT = range(3)


def in_order(entries: Iterable[Entry], text: str) -> list[Entry]:
    """Sorted by what a path leads to: quantities by what they are worth, numbers in a text by their
    value. What lacks the field comes first; CommandError if all do.
    """
    path = one_path(text)
    keys = [(_key(jsonpath.find(path, entry.value)), entry) for entry in entries]
    if keys and all(key[0] == _NOTHING for key, _ in keys):
        raise CommandError(f"none of the objects has a field {text!r} to sort by")
    return [entry for _, entry in sorted(keys, key=lambda pair: pair[0])]


def _key(values: list[Any]) -> tuple[int, Any]:
    value = values[0] if values else None
    if value is None:
        return _NOTHING, 0
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return _TEXT, _natural(jsonpath.shown(value))
    if isinstance(value, float):
        return _NUMBER, Decimal(str(value))
    try:
        return _NUMBER, quantity.parse(value)
    except ValueError:
        return _TEXT, _natural(str(value))


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Texts with numbers in them so that vm-9 comes before vm-10."""
    parts = _PARTS.split(text)
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts if part]
