"""What a host can do with a running domain that goes to another one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

MIB = 1024 * 1024
NVRAM = "/var/lib/libvirt/qemu/nvram"
"""Where the system's libvirt keeps what firmware remembers, by domain: NAME_VARS.fd."""


@dataclass(frozen=True)
class Peer:
    """How other hosts reach one."""

    uri: str
    """Its connection URI from there."""
    memory: str = ""
    """Where the memory of machines that come to it is sent."""


@dataclass(frozen=True)
class Manner:
    """How machines are moved, as the settings say it."""

    bandwidth: int = 0
    """Bytes a second at most for each; 0 for as many as go."""
    downtime: int = 0
    """Milliseconds for which a guest may be stopped; 0 for what QEMU takes."""
    at_once: int = 1
    """How many leave a node, and how many come to one, at the same time."""
    firmware_updates: bool = True
    """True if machines are moved by themselves that run on an older QEMU than their node has."""
    load_shifting: bool = False
    """True if machines are moved by themselves from a node that is short of memory."""


@dataclass(frozen=True)
class Order:
    """How a domain is to go."""

    peer: str
    """The other host's connection URI, as this one reaches it."""
    uri: str = ""
    """Where its memory is sent; empty for what the other host's name resolves to."""
    disks: tuple[str, ...] = ()
    """Names of the targets of disks that are copied along: their volumes are there, on whatever
    they are based on. All others are the same on both hosts.
    """
    bandwidth: int = 0
    """Bytes a second at most; 0 for as many as go."""
    downtime: int = 0
    """Milliseconds for which its guest may be stopped in the end; 0 for what QEMU takes."""
    converge: bool = False
    """True if its guest may be slowed down."""


@dataclass(frozen=True)
class Transfer:
    """How far it is, as the host says that it leaves."""

    running: bool
    total: int = 0
    """Bytes of memory and disks; 0 while nobody can tell."""
    remaining: int = 0
    rounds: int = 0
    """How often all of its memory has been gone through."""
    throttle: int = 0
    """By how many percent its guest is slowed down."""

    @property
    def percent(self) -> int:
        """0 to 100, as operations tell it: the first pass goes to 45, later ones to 90."""
        if not self.total:
            return 10
        done = 1 - min(max(self.remaining, 0), self.total) / self.total
        return int(10 + 35 * done) if self.rounds < 2 else int(45 + 45 * done)


@dataclass(frozen=True)
class Nvram:
    """A file in which the firmware of a domain remembers its settings. Its permissions are as
    libvirt says them of a volume, its owner by numbers.
    """

    file: str
    content: bytes = field(repr=False)
    mode: str = "0600"
    owner: str = "0"
    group: str = "0"


class Migrates(Protocol):
    """Part of `core.host.Host`. Every method may raise HostError."""

    def begin_migration(self, uuid: str, order: Order) -> None:
        """Begin to send a running domain to another host, where it lands paused, with both of its
        definitions. It goes on whatever becomes of the agent, and keeps its definition here.
        """

    def await_migration(self, uuid: str, seconds: float) -> Transfer:
        """How far it is, as soon as none is under way any more, or after so many seconds. HostError
        says why one has failed that this process began: once.
        """

    def abort_migration(self, uuid: str) -> None:
        """End one that is under way: the domain stays here. Fine if there is none."""

    def set_metadata(self, uuid: str, xml: str) -> None:
        """Replace the element of gitvirt's namespace in the definition, and nothing else."""

    def changed(self, pool: str, name: str) -> str:
        """When a volume's file was last written to: another text after each write."""

    def snapshots(self, uuid: str) -> int:
        """How many snapshots and checkpoints libvirt remembers of a domain, beside its definition;
        0 where there is no domain.
        """

    def read_nvram(self, name: str) -> tuple[Nvram, ...]:
        """What the firmware of the domain of that name remembers, where it was ever started with
        one that does. Not of a user's session.
        """

    def write_nvram(self, name: str, files: Sequence[Nvram]) -> None:
        """Have the firmware of a domain of that name, which is off or yet to be defined, remember
        just that.
        """

    def go_on(self, uuid: str) -> None:
        """Let the guest of a paused domain go on. Fine if it does."""
