"""How objects stand by their last decisions."""

from __future__ import annotations

from agent.core.facts import Decision
from agent.core.model import Key

_GONE = Decision()


class Standing:
    """Each set has the objects of which it is so."""

    def __init__(self) -> None:
        self.waiting: set[Key] = set()
        """They go on by themselves."""
        self.wrong: set[Key] = set()
        """They are not as their manifests want them."""
        self.expecting: set[Key] = set()
        """Somebody may upload their data."""

    def decided(self, key: Key, decision: Decision | None) -> None:
        """None for an object that is not there any more."""
        said = _GONE if decision is None else decision
        _put(self.waiting, key, there=said.waiting)
        _put(self.wrong, key, there=not said.ok)
        _put(self.expecting, key, there=said.expects)

    def clear(self) -> None:
        for keys in (self.waiting, self.wrong, self.expecting):
            keys.clear()


def _put(keys: set[Key], key: Key, *, there: bool) -> None:
    (keys.add if there else keys.discard)(key)
