"""`<disk>`: block devices, told apart in the guest by serial and unit: on one virtio-scsi
controller, or on SATA where the guest has no virtio drivers.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.kinds.virtual_machine.elements.xml import Element, attribute, number, text
from agent.kinds.virtual_machine.wanted import Wanted

SATA_PORTS = 6


@dataclass(frozen=True)
class Disk:
    path: str
    format: str
    serial: str
    device: str
    """disk or cdrom."""
    readonly: bool
    bus: str
    """scsi or sata."""
    controller: int
    unit: int
    boot: int
    """Position in the boot order from 1; 0: not booted from."""

    @property
    def position(self) -> int:
        """Place among all disks, from 0."""
        return self.controller * SATA_PORTS + self.unit if self.bus == "sata" else self.unit

    @property
    def target(self) -> str:
        return "sd" + chr(ord("a") + self.position)


@dataclass(frozen=True)
class Disks:
    disks: tuple[Disk, ...]

    @property
    def sata_controllers(self) -> int:
        """How many are needed beside the one that the machine has."""
        return max((disk.controller for disk in self.disks if disk.bus == "sata"), default=0)


def expect(wanted: Wanted) -> Disks:
    virtio = wanted.spec["enableParavirtualization"]
    return Disks(
        tuple(
            Disk(
                path=device.path,
                format=device.format,
                serial=device.serial,
                device="cdrom" if device.cdrom else "disk",
                readonly=device.readonly or device.cdrom,
                bus="scsi" if virtio else "sata",
                controller=0 if virtio else position // SATA_PORTS,
                unit=position if virtio else position % SATA_PORTS,
                boot=device.boot,
            )
            for position, device in enumerate(wanted.devices)
        )
    )


def read(root: Element) -> Disks:
    found = (_disk(element) for element in root.iterfind("devices/disk"))
    return Disks(tuple(sorted(found, key=lambda disk: disk.position)))


def _disk(element: Element) -> Disk:
    return Disk(
        path=attribute(element, "source", "file"),
        format=attribute(element, "driver", "type"),
        serial=text(element, "serial"),
        device=element.get("device", "disk"),
        readonly=element.find("readonly") is not None,
        bus=attribute(element, "target", "bus"),
        controller=number(attribute(element, "address", "controller")),
        unit=number(attribute(element, "address", "unit")),
        boot=max(number(attribute(element, "boot", "order")), 0),
    )
