"""`--sort-by`: objects in the order of one of their fields, as kubectl sorts them."""

from __future__ import annotations

from collections.abc import Iterable

from agent.cli.command import CommandError
from agent.cli.printing import one_path
from agent.core import jsonpath
from agent.core.entries import Entry
from agent.core.ordering import NOTHING, rank


def in_order(entries: Iterable[Entry], text: str) -> list[Entry]:
    """Sorted by what a path leads to: quantities by what they are worth, numbers in a text by their
    value. What lacks the field comes first; CommandError if all do.
    """
    path = one_path(text)
    found = [(jsonpath.find(path, entry.value), entry) for entry in entries]
    keys = [(rank(next(iter(values), None)), entry) for values, entry in found]
    if keys and all(key[0] == NOTHING for key, _ in keys):
        raise CommandError(f"none of the objects has a field {text!r} to sort by")
    return [entry for _, entry in sorted(keys, key=lambda pair: pair[0])]
