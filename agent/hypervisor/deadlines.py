"""How long a host is waited for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Deadlines:
    """Seconds after which a call is given up."""

    connect: float = 30.0
    read: float = 60.0
    quick: float = 30.0
    """Definitions, and whatever waits for a QEMU process to answer."""
    start: float = 180.0
    destroy: float = 90.0
    guest: float = 20.0
    storage: float = 120.0
    copy: float = 600.0
    """And one second more for each `SLOWEST` bytes: of some kinds of pools nobody can tell how far
    it is.
    """
    stall: float = 60.0
    """A stream that moves no byte for so long."""
