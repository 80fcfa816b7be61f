"""All that a definition is made from: the spec, and everything it refers to, found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.core.host import RawNode
from agent.core.links import Link
from agent.core.metadata import DomainMetadata
from agent.kinds.exports import Target
from agent.kinds.virtual_machine.elements.address import Address
from agent.kinds.virtual_machine.spec import MachineSpec, machine_spec
from agent.kinds.virtual_machine_class import GuestCpu

LEGACY: Final = "Legacy"
"""The osType of guests from before AHCI and virtio."""


@dataclass(frozen=True)
class Tuning:
    """How a host reads and writes a disk, by what its storage pool can do: in libvirt's words,
    empty for QEMU's own choice.
    """

    cache: str = ""
    io: str = ""
    detect_zeroes: str = ""

    def beside(self, said: Tuning) -> Tuning:
        """The same where a definition says something of it already: that stays. `io` is as good as
        the `cache` that it stands with.
        """
        own = said if said.cache or said.io else self
        return Tuning(own.cache, own.io, said.detect_zeroes or self.detect_zeroes)


UNTUNED: Final = Tuning()


@dataclass(frozen=True)
class Device:
    """One block device, found and ready."""

    path: str
    format: str
    serial: str
    readonly: bool = False
    cdrom: bool = False
    boot: int = 0
    """Position in the boot order from 1; 0: not booted from."""
    block: bool = False
    """True of a block device, false of a file."""
    instead_of: str = ""
    """The file that it has left: a definition with that one goes over to the path."""
    moves_to: Target | None = None
    """Where the running instance has to copy it."""
    tuning: Tuning = UNTUNED
    medium: bool = False
    """True for what a guest configures itself from, which no manifest lists."""


@dataclass(frozen=True)
class Wire:
    """One network interface, found and ready."""

    mac: str
    link: Link
    main: bool = False
    ip: str = ""
    """The address that it is held to, where its network has a filter; empty while none is known."""


@dataclass(frozen=True)
class Slots:
    """Where devices are that the VM has already: they stay there."""

    disks: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    """Bus and position on it, by serial number. Of two in one place, the first one stays."""
    interfaces: Mapping[str, Address] = field(default_factory=dict)
    """Attributes of the address, by MAC address."""


def can_be_read_only(spec: MachineSpec) -> bool:
    """True if a disk that is no CD-ROM can be attached read-only: on SATA and IDE, where it is
    without paravirtualization, libvirt refuses that.
    """
    return spec["enableParavirtualization"]


def can_be_plugged(spec: Mapping[str, object]) -> bool:
    """True if devices can be attached to a running machine: disks on virtio-scsi, interfaces on
    free root ports.
    """
    known = machine_spec(spec)
    return known.get("enableParavirtualization", True) and known.get("osType") != LEGACY


INTERFACES, LEGACY_INTERFACES = 16, 9
"""The most that a machine can have."""
FREE_PLACES = 8
"""For interfaces beside Main, on every machine whose devices can be plugged."""


def most_interfaces(spec: MachineSpec) -> int:
    return LEGACY_INTERFACES if spec.get("osType") == LEGACY else INTERFACES


@dataclass(frozen=True)
class Wanted:
    """What `expect` of every element sees."""

    name: str
    uuid: str
    metadata: DomainMetadata
    spec: MachineSpec
    node: RawNode
    cpu: GuestCpu
    devices: tuple[Device, ...]
    wires: tuple[Wire, ...]
    """In the order of their places, as far as those are not taken yet."""
    console_log: str
    """Path of the serial console's log on the host."""
    machine: str
    """Machine type in full; carried over from the present definition where the chipset is the
    same.
    """
    slots: Slots = Slots()
