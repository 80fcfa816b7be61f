"""Locks: who has what, for everybody to rely on once it is written down."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from agent.core.facts import Engine
from agent.core.known import WRITTEN
from agent.core.model import Key, Object
from agent.core.schema import Catalogue


class Locks:
    """The locks among the objects, and which of them Git does not show as they are."""

    def __init__(self, engine: Engine, catalogue: Catalogue) -> None:
        self._engine = engine
        self._kinds = frozenset(kind.name for kind in catalogue.kinds.values() if kind.lock)
        self.keys: set[Key] = set()
        self.taking: dict[Key, int] = {}
        """Those that nobody may rely on yet, with the generation that is to be written."""

    def __contains__(self, key: Key) -> bool:
        """True for the names of locks, whether they are there or not."""
        return key.kind in self._kinds

    def load(self, objects: Iterable[Object]) -> None:
        """All that there are, as the status branch shows them."""
        self.taking = {}
        for obj in objects:
            self._engine.put(WRITTEN, obj.key, obj.generation)

    def put(self, key: Key) -> None:
        if key in self:
            self.keys.add(key)

    def changed(self, obj: Object) -> None:
        """A lock says something else than Git does."""
        if obj.key in self:
            self.taking[obj.key] = obj.generation

    def forget(self, key: Key) -> None:
        if key in self:
            self.keys.discard(key)
            self.taking.pop(key, None)
            self._engine.put(WRITTEN, key, None)

    def written(self, is_saved: Callable[[Key], bool]) -> None:
        """Something has been written down."""
        for key in [key for key in self.taking if is_saved(key)]:
            self._engine.put(WRITTEN, key, self.taking.pop(key))
