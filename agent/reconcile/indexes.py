"""Who refers to whom."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.acceptance import suspended
from agent.core.known import MADE_FROM, OPERATIONS, USERS, Table
from agent.core.model import Key, Object
from agent.core.references import references
from agent.core.schema import Catalogue

Index = Table[Key, tuple[Key, ...]]


def indexed(catalogue: Catalogue, obj: Object) -> Iterator[tuple[Index, Key]]:
    """The indexes in which an object stands. Of a suspended request its target does not know."""
    request = catalogue.kinds[obj.key.kind].request
    if request and suspended(obj.manifest):
        return
    for ref, target in references(catalogue, obj.manifest):
        if request:
            yield OPERATIONS, target
        elif ref.uses:
            yield USERS, target
        elif not ref.kind:  # the manifest says of what kind it is
            yield MADE_FROM, target
