"""What decisions about stored data and addresses let other kinds know, whichever of them is decided
first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Network

from agent.core.identity import POOL, QCOW2
from agent.core.model import Key


@dataclass(frozen=True)
class ImageData:
    """Image data that is stored whole."""

    paths: Mapping[str, str]
    """Where it is, by node."""
    format: str
    """qcow2, raw or iso."""
    size: int
    """Bytes that a guest sees."""
    digest: str = ""
    stored: int = 0
    """Bytes of its file."""

    @property
    def cdrom(self) -> bool:
        return self.format == "iso"

    @property
    def driver(self) -> str:
        """The format as QEMU is told it."""
        return "raw" if self.cdrom else self.format


@dataclass(frozen=True)
class Target:
    """An empty volume that a disk goes to while it is open."""

    path: str
    pool: str
    volume: str
    format: str
    block: bool
    needed: int
    """Bytes that it takes at least."""


@dataclass(frozen=True)
class DiskData:
    """A disk that a VM can open."""

    paths: Mapping[str, str]
    """Where its volume is, by node."""
    capacity: int
    pool: str = POOL
    """libvirt's name for the pool of its volume."""
    volume: str = ""
    """Name of its volume."""
    format: str = QCOW2
    """qcow2 or raw."""
    block: bool = False
    """True of a block device, false of a file."""
    instead_of: str = ""
    """The file that it has left: a definition with that one goes over to the volume."""
    moves_to: Target | None = None
    """Where whoever has it open has to copy it."""


@dataclass(frozen=True)
class SnapshotData:
    """A snapshot that something can be made from: a flat volume that nobody writes to."""

    paths: Mapping[str, str]
    """Where it is, by node."""
    pool: str
    volume: str
    size: int
    """Bytes that a guest sees."""
    format: str
    """qcow2 or raw."""


@dataclass(frozen=True)
class AddressRanges:
    """What machines' addresses are taken from."""

    networks: tuple[IPv4Network, ...] = ()

    def of(self, address: str) -> IPv4Network | None:
        """The range that an IPv4 address is in."""
        number = _number(address)
        return next((each for first, last, each in self._ends if first <= number <= last), None)

    @cached_property
    def firsts(self) -> frozenset[str]:
        """The first address of each that can be somebody's."""
        return frozenset(str(each[1]) for each in self.networks)

    @cached_property
    def _ends(self) -> tuple[tuple[int, int, IPv4Network], ...]:
        return tuple(
            (int(each.network_address), int(each.broadcast_address), each) for each in self.networks
        )


def _number(address: str) -> int:
    """Quicker than IPv4Address: it is known to be one."""
    first, second, third, fourth = map(int, address.split("."))
    return first << 24 | second << 16 | third << 8 | fourth


@dataclass(frozen=True)
class AddressData:
    """An IPv4 or MAC address that is reserved for a VM."""

    address: str = ""
    """Empty while there is none."""
    prefix: int = 0
    """Of the range that an IPv4 address came from."""
    ready: bool = False
    """True once it is bound, and Git says so: before, nobody may use it."""
    said: str = ""
    """Why it is not ready, in a sentence."""
    machine: Key | None = None
    """The VM that it is for; None while there is none."""
