"""What decisions about stored data let other kinds know, whichever of them is decided first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.identity import POOL, QCOW2


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
