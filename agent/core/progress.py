"""How far it has come with what somebody asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """What has become of one operation."""

    phase: str
    reason: str
    message: str = ""
    sent: bool = False
    """True once the domain remembers the operation."""
    percent: int | None = None
    """How far a migration is."""


@dataclass(frozen=True)
class Plugged:
    """What has become of a device that is attached to a running VM, or is to be."""

    present: bool
    """True while the running instance has it."""
    on: bool
    """True while there is a running instance."""
    hindrance: str = ""
    """Why it cannot be attached or detached just now, in a sentence; empty if nothing is in the
    way.
    """
