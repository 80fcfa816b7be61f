"""Who refers to whom."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.acceptance import suspended
from agent.core.known import ATTACHMENTS, DEFAULTS, MADE_FROM, OPERATIONS, OWNED, USERS, Table
from agent.core.model import Key, Object
from agent.core.references import references
from agent.core.schema import Catalogue

Index = Table[Key, tuple[Key, ...]]


def indexed(catalogue: Catalogue, obj: Object) -> Iterator[tuple[Index, Key]]:
    """The indexes in which an object stands. Of a suspended request its target does not know."""
    if obj.owner is not None:
        yield OWNED, Key(obj.owner.kind, obj.key.namespace, obj.owner.name)
    kind = catalogue.kinds[obj.key.kind]
    if kind.request and suspended(obj.manifest):
        return
    if (mark := kind.default_by) and obj.manifest.annotations.get(mark) == "true":
        yield DEFAULTS, Key(kind.name, "", "")
    for ref, target in references(catalogue, obj.manifest):
        if kind.request:
            yield OPERATIONS, target
        elif ref.attaches:
            yield ATTACHMENTS, target
        elif ref.uses:
            yield USERS, target
        elif not ref.kind:  # the manifest says of what kind it is
            yield MADE_FROM, target
