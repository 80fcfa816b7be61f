"""What two hosts of a fleet have to be to each other: they mind each other's locks on a pool that
they share, for without that nothing but the agent keeps a machine from running on both, and guests
can go from one to the other.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Protocol

from agent.core.actions import Action

_ROOT = uuid.UUID("6f0c8c0e-5d3f-4a53-9d43-5c1b7c2d7f11")
SIZE = 1024 * 1024
"""Bytes of the volume that is tried with."""


@dataclass(frozen=True)
class TryLock(Action):
    """Open a volume, made for that alone, for writing on both nodes of a pool: on the second one
    that has to be refused.
    """

    holder: str
    """The node that opens it first."""
    pool: str
    volume: str
    """Its name."""

    @property
    def about(self) -> str:
        return self.pool


def guest(volume: str, node: str) -> str:
    """UUID of the guest, which never runs, that opens such a volume on a node."""
    return str(uuid.uuid5(_ROOT, f"{volume}/{node}"))


class Locks(Protocol):
    """Part of `core.host.Host`. Every method may raise HostError."""

    def hold_lock(self, uuid: str, path: str) -> bool:
        """Have a guest that never runs, of that UUID, open a file for writing, as QEMU does for a
        disk. False if somebody else's lock on the file keeps it from that. `destroy` ends it, and
        so does the end of the agent.
        """

    def try_peer(self, uuid: str, peer: str, memory: str) -> None:
        """Send a guest that never runs, of that UUID, to another host, as a migration does: by its
        connection URI from here, and to where its memory is to go. It stays there until `destroy`
        ends it; HostError says why it does not get there.
        """
