"""Where an agent stands."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.model import Key, Problem


@dataclass(frozen=True)
class Summary:
    """Where things stand, for `run --once` and for logs."""

    revision: str
    problems: tuple[Problem, ...]
    waiting: tuple[Key, ...]
    wrong: tuple[Key, ...]
    """Objects that are not as their manifest wants them."""
    busy: int
    unsaved: int
    synced: bool
    leading: bool
    git_error: str
    node_error: str

    @property
    def settled(self) -> bool:
        """True if nothing is left to do, for good or ill."""
        return self.synced and not self.waiting and not self.busy and not self.unsaved
