"""What a machine has beside its disks and interfaces, and which place is whose: with the chipset
q35, on PCI Express; with i440fx, on conventional PCI, for guests that know neither AHCI nor PCI
Express. There, virtio devices answer to drivers of either generation.

A place belongs to a role, and nothing that is there moves when something is added.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.kinds.virtual_machine.elements.address import Address, pci, usb
from agent.kinds.virtual_machine.elements.xml import hexadecimal

_FUNCTIONS = 8
"""Of one PCI slot."""
_ROOT_PORTS = 16
"""Each is a bus of its own, numbered from 1, for one device. The first eight are taken:"""
_MORE_PORTS = 8
"""What there are beyond these in a machine with more interfaces than they have room for."""
_INTERFACE, _SCSI, _SERIAL, _USB, _BALLOON, _RNG, _SATA = 1, 2, 3, 4, 5, 6, 7
_FREE_PORT = 9
"""The first port for what is plugged in while the machine runs."""

VIRTIO_DISKS = 16
_VIRTIO_DISK = 8
"""i440fx: the slot of the first virtio-blk disk. Behind them all is room for interfaces."""
_FREE_SLOT = _VIRTIO_DISK + VIRTIO_DISKS
_SLOTS = 32


@dataclass(frozen=True)
class Controller:
    type: str
    index: int
    model: str
    """Empty where there is only one."""
    address: Address
    """Empty for the root of all buses."""


@dataclass(frozen=True)
class Hardware:
    controllers: tuple[Controller, ...]
    balloon: Address
    rng: Address
    """Empty where there is no such device."""
    video: Address
    tablet: Address
    panic: bool
    """Whether a guest can say that it has crashed."""


def hardware(*, i440fx: bool, sata: int, more_ports: bool = False) -> Hardware:
    """`sata` controllers are needed beside the one that q35 has."""
    return _conventional() if i440fx else _express(sata, more_ports=more_ports)


def interface_slots(*, i440fx: bool) -> tuple[Address, ...]:
    """Where interfaces can be, the main one's place first."""
    if i440fx:
        return (pci(0, 3), *(pci(0, slot) for slot in range(_FREE_SLOT, _SLOTS)))
    ports = range(_FREE_PORT, _ROOT_PORTS + _MORE_PORTS + 1)
    return (pci(_INTERFACE, 0), *(pci(bus, 0) for bus in ports))


def beyond_ports(address: Address) -> bool:
    """True of a place behind the root ports that every machine has."""
    return hexadecimal(dict(address).get("bus", "")) > _ROOT_PORTS


def virtio_disk(position: int) -> Address:
    return pci(0, _VIRTIO_DISK + position)


def virtio_disk_position(slot: int) -> int:
    return slot - _VIRTIO_DISK


def _express(sata: int, *, more_ports: bool) -> Hardware:
    return Hardware(
        controllers=(
            Controller("pci", 0, "pcie-root", ()),
            *(
                Controller("pci", 1 + port, "pcie-root-port", _port(port))
                for port in range(_ROOT_PORTS + _MORE_PORTS * more_ports)
            ),
            Controller("scsi", 0, "virtio-scsi", pci(_SCSI, 0)),
            Controller("virtio-serial", 0, "", pci(_SERIAL, 0)),
            Controller("usb", 0, "qemu-xhci", pci(_USB, 0)),
            Controller("sata", 0, "", pci(0, 0x1F, 2)),
            *(Controller("sata", 1 + more, "", pci(_SATA + more, 0)) for more in range(sata)),
        ),
        balloon=pci(_BALLOON, 0),
        rng=pci(_RNG, 0),
        video=pci(0, 1),
        tablet=usb(1),
        panic=True,
    )


def _port(number: int) -> Address:
    slot, function = divmod(number, _FUNCTIONS)
    return pci(0, 2 + slot, function, multifunction=function == 0)


def _conventional() -> Hardware:
    return Hardware(
        controllers=(
            Controller("pci", 0, "pci-root", ()),
            Controller("ide", 0, "", pci(0, 1, 1)),
            Controller("usb", 0, "piix3-uhci", pci(0, 1, 2)),
            Controller("virtio-serial", 0, "", pci(0, 4)),
        ),
        balloon=pci(0, 5),
        rng=(),
        video=pci(0, 2),
        tablet=usb(1),
        panic=False,
    )
