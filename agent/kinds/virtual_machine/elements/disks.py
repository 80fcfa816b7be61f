"""`<disk>`: block devices on one virtio-scsi controller, told apart in the guest by serial and
unit.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent.kinds.virtual_machine.elements.xml import Element, attribute, number, text
from agent.kinds.virtual_machine.wanted import Wanted


@dataclass(frozen=True)
class Disk:
    path: str
    format: str
    serial: str
    device: str
    """disk or cdrom."""
    readonly: bool
    unit: int
    boot: int
    """Position in the boot order from 1; 0: not booted from."""

    @property
    def target(self) -> str:
        return "sd" + chr(ord("a") + self.unit)


@dataclass(frozen=True)
class Disks:
    disks: tuple[Disk, ...]


def expect(wanted: Wanted) -> Disks:
    return Disks(
        tuple(
            Disk(
                path=device.path,
                format=device.format,
                serial=device.serial,
                device="cdrom" if device.cdrom else "disk",
                readonly=device.readonly or device.cdrom,
                unit=unit,
                boot=device.boot,
            )
            for unit, device in enumerate(wanted.devices)
        )
    )


def read(root: Element) -> Disks:
    found = (_disk(element) for element in root.iterfind("devices/disk"))
    return Disks(tuple(sorted(found, key=lambda disk: disk.unit)))


def _disk(element: Element) -> Disk:
    return Disk(
        path=attribute(element, "source", "file"),
        format=attribute(element, "driver", "type"),
        serial=text(element, "serial"),
        device=element.get("device", "disk"),
        readonly=element.find("readonly") is not None,
        unit=number(attribute(element, "address", "unit")),
        boot=max(number(attribute(element, "boot", "order")), 0),
    )
