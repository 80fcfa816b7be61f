"""`<disk>`: block devices, told apart in the guest by serial and unit: on one virtio-scsi
controller, or on SATA where the guest has no virtio drivers. Legacy guests have virtio-blk and
IDE in their place, and CD-ROMs always on IDE.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count

from agent.core.model import Json
from agent.kinds.virtual_machine.elements.xml import Element, attribute, hexadecimal, number, text
from agent.kinds.virtual_machine.wanted import LEGACY, Device, Wanted

SATA_PORTS = 6
_CHANNEL = 2
"""Places on each of IDE's two channels."""
_FIRST_SLOT = 8
"""PCI slot of the first virtio-blk disk."""
_PREFIXES = {"virtio": "vd", "ide": "hd"}


FILE, BLOCK = "file", "block"
SOURCES = {FILE: "file", BLOCK: "dev"}
"""Types of a disk that we can write down, and the attribute that names its source."""


@dataclass(frozen=True)
class Disk:
    path: str
    """Empty where the source is of a type that we cannot write down."""
    format: str
    serial: str
    device: str
    """disk or cdrom."""
    readonly: bool
    bus: str
    """scsi, sata, virtio (virtio-blk) or ide."""
    controller: int
    unit: int
    """Place on the controller; of virtio-blk disks, which have none, the place among them."""
    boot: int
    """Position in the boot order from 1; 0: not booted from."""
    type: str = FILE
    """Of its source: file; somebody may have moved it to a block device, or to what libvirt knows
    else (network, volume, …).
    """

    @property
    def source(self) -> str:
        """The attribute that names the source."""
        return SOURCES[self.type]

    @property
    def position(self) -> int:
        """Place among all disks of its bus, from 0."""
        return self.controller * SATA_PORTS + self.unit if self.bus == "sata" else self.unit

    @property
    def target(self) -> str:
        return _PREFIXES.get(self.bus, "sd") + chr(ord("a") + self.position)

    @property
    def slot(self) -> int:
        """PCI slot of a virtio-blk disk."""
        return _FIRST_SLOT + self.unit

    @property
    def drive(self) -> tuple[int, int]:
        """Bus and unit of a drive's address: IDE has two units on each of its channels."""
        return divmod(self.unit, _CHANNEL) if self.bus == "ide" else (0, self.unit)


@dataclass(frozen=True)
class Disks:
    disks: tuple[Disk, ...]
    """By bus, and on each by position."""

    @property
    def sata_controllers(self) -> int:
        """How many are needed beside the one that the machine has."""
        return max((disk.controller for disk in self.disks if disk.bus == "sata"), default=0)


def expect(wanted: Wanted) -> Disks:
    places: dict[str, Iterator[int]] = {}
    found = []
    for device in wanted.devices:
        bus = _bus(wanted.spec, device)
        place = next(places.setdefault(bus, count()))
        found.append(_wanted(device, bus, place))
    return Disks(_ordered(found))


def _bus(spec: Mapping[str, Json], device: Device) -> str:
    virtio = spec["enableParavirtualization"]
    if spec["osType"] == LEGACY:
        # their drivers know no virtio-scsi, and virtio-blk knows no CD-ROM
        return "virtio" if virtio and not device.cdrom else "ide"
    return "scsi" if virtio else "sata"


def _wanted(device: Device, bus: str, place: int) -> Disk:
    controller, unit = divmod(place, SATA_PORTS) if bus == "sata" else (0, place)
    return Disk(
        path=device.path,
        format=device.format,
        serial=device.serial,
        device="cdrom" if device.cdrom else "disk",
        readonly=device.readonly or device.cdrom,
        bus=bus,
        controller=controller,
        unit=unit,
        boot=device.boot,
    )


def read(root: Element) -> Disks:
    return Disks(_ordered([_disk(element) for element in root.iterfind("devices/disk")]))


def _ordered(disks: list[Disk]) -> tuple[Disk, ...]:
    return tuple(sorted(disks, key=lambda disk: (disk.bus, disk.position)))


def _disk(element: Element) -> Disk:
    bus = attribute(element, "target", "bus")
    source = element.get("type", FILE)
    return Disk(
        path=attribute(element, "source", SOURCES[source]) if source in SOURCES else "",
        format=attribute(element, "driver", "type"),
        serial=text(element, "serial"),
        device=element.get("device", "disk"),
        readonly=element.find("readonly") is not None,
        bus=bus,
        controller=0 if bus == "virtio" else number(attribute(element, "address", "controller")),
        unit=_unit(element, bus),
        boot=max(number(attribute(element, "boot", "order")), 0),
        type=source,
    )


def bases(root: Element) -> Mapping[str, tuple[str, ...]]:
    """The files below the one that each disk of a running instance lies on, by serial number:
    libvirt lists them.
    """
    return {
        text(disk, "serial"): tuple(
            source.get("file") or source.get("dev") or ""
            for source in disk.iterfind("backingStore//source")
        )
        for disk in root.iterfind("devices/disk")
    }


def _unit(element: Element, bus: str) -> int:
    if bus == "virtio":
        return hexadecimal(attribute(element, "address", "slot")) - _FIRST_SLOT
    unit = number(attribute(element, "address", "unit"))
    channel = number(attribute(element, "address", "bus")) if bus == "ide" else 0
    return channel * _CHANNEL + unit
