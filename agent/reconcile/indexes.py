"""Who refers to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from agent.core.acceptance import suspended
from agent.core.facts import Engine
from agent.core.known import (
    ATTACHMENTS,
    DEFAULTS,
    LOCKS,
    MADE_FROM,
    OPERATIONS,
    OWNED,
    USERS,
    Table,
)
from agent.core.model import Key, Object, block
from agent.core.references import references
from agent.core.schema import Catalogue

Index = Table[Key, tuple[Key, ...]]


def indexed(catalogue: Catalogue, obj: Object) -> Iterator[tuple[Index, Key]]:
    """The indexes in which an object stands. Of a suspended request its target does not know."""
    if obj.owner is not None:
        yield OWNED, Key(obj.owner.kind, obj.key.namespace, obj.owner.name)
    kind = catalogue.kinds[obj.key.kind]
    if kind.lock:
        yield LOCKS, block(obj.key)
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


class Indexes:
    """Objects by (index, target), as facts. `age` sorts them."""

    def __init__(
        self, engine: Engine, catalogue: Catalogue, age: Callable[[Key], tuple[str, str]]
    ) -> None:
        self._engine, self._catalogue, self._age = engine, catalogue, age
        self._keys: dict[tuple[Index, Key], set[Key]] = {}
        self._unstated: set[tuple[Index, Key]] = set()
        """Indexes that have changed since the engine was told."""

    def put(self, key: Key, old: Object | None, new: Object | None) -> None:
        """An object is there that was not, says something else, or is gone."""
        before, after = (set(indexed(self._catalogue, obj)) if obj else set() for obj in (old, new))
        for index in before ^ after:
            keys = self._keys.setdefault(index, set())
            (keys.add if index in after else keys.discard)(key)
            self._unstated.add(index)

    def state(self) -> None:
        """Once for all changes: a class may have thousands of users."""
        for index in self._unstated:
            keys = self._keys[index]
            self._engine.put(*index, tuple(sorted(keys, key=self._age)) or None)
            if not keys:
                del self._keys[index]
        self._unstated = set()
