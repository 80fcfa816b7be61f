"""How far somebody's request has come."""

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
