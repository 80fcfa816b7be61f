"""`<disk>`: block devices, told apart in the guest by serial and unit: on one virtio-scsi
controller, or on SATA where the guest has no virtio drivers. Legacy guests have virtio-blk and
IDE in their place, and CD-ROMs always on IDE.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from itertools import count
from string import ascii_lowercase

from agent.core.model import Json
from agent.core.xml import Element, by_tag, every
from agent.kinds.virtual_machine.elements.address import Address, drive
from agent.kinds.virtual_machine.elements.chipset import (
    VIRTIO_DISKS,
    virtio_disk,
    virtio_disk_position,
)
from agent.kinds.virtual_machine.elements.plain import by_name
from agent.kinds.virtual_machine.elements.xml import content, get, hexadecimal, number, text
from agent.kinds.virtual_machine.spec import MachineSpec
from agent.kinds.virtual_machine.wanted import LEGACY, UNTUNED, Device, Tuning, Wanted

SATA_PORTS = 6
SCSI = "scsi"
_CHANNEL = 2
"""Places on each of IDE's two channels."""
_PREFIXES = {"virtio": "vd", "ide": "hd"}
_MEDIUM = {"scsi": 16, "sata": SATA_PORTS - 1}
"""Position of the medium that a guest configures itself from. On SCSI it is behind all devices that
a manifest can list; on SATA it is the last one of the controller that every machine has.
"""
_ROOM = {"scsi": 256, "sata": 3 * SATA_PORTS, "virtio": VIRTIO_DISKS, "ide": 2 * _CHANNEL}
"""How many positions there are on each bus of ours."""

_TUNING = tuple(each.name for each in fields(Tuning))
_DRIVER = ("name", "type", "cache", "io", "discard", "detect_zeroes")
"""As libvirt orders them."""

SOURCE = "source"
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
    tuning: Tuning = field(default=UNTUNED, compare=False)
    """Never a difference: an instance keeps what it has, and definitions that were written before
    get it when they are written the next time.
    """
    dev: str = ""
    """Its target's name, where it has no serial number to be told by: it is none of ours."""

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
        """The name of its place. A guest gives names of its own."""
        return self.dev or _PREFIXES.get(self.bus, "sd") + _letters(self.position)

    @property
    def address(self) -> Address:
        if self.bus == "virtio":
            return virtio_disk(self.unit)
        # IDE has two units on each of its channels
        channel, unit = divmod(self.unit, _CHANNEL) if self.bus == "ide" else (0, self.unit)
        return drive(self.controller, channel, unit)

    @property
    def name(self) -> str:
        """What tells it apart."""
        return self.serial or self.target

    @property
    def driver(self) -> Address:
        """How the host reads and writes it. Blocks that its guest needs no more are given back."""
        discard = "unmap" if self.device == "disk" and not self.readonly else ""
        named = {"name": "qemu", "type": self.format, "discard": discard, **asdict(self.tuning)}
        return tuple((name, named[name]) for name in _DRIVER if named[name])


@dataclass(frozen=True)
class Disks:
    disks: tuple[Disk, ...]
    """By bus, and on each by position."""

    @property
    def sata_controllers(self) -> int:
        """How many are needed beside the one that the machine has."""
        return max((disk.controller for disk in self.disks if disk.bus == "sata"), default=0)


def expect(wanted: Wanted) -> Disks:
    buses = [_bus(wanted.spec, device) for device in wanted.devices]
    positions = _positions(wanted.devices, buses, wanted.slots.disks)
    return Disks(_ordered(map(_wanted, wanted.devices, buses, positions)))


def slots(disks: Disks) -> Mapping[str, tuple[str, int]]:
    """Bus and position of each disk, by serial number."""
    return {disk.serial: (disk.bus, disk.position) for disk in disks.disks}


def _positions(
    devices: tuple[Device, ...], buses: list[str], present: Mapping[str, tuple[str, int]]
) -> list[int]:
    """The position of each device. It keeps the one that it has; a new one gets what is free, the
    medium its own.
    """
    positions = _kept(devices, buses, present)
    taken = {(buses[index], position) for index, position in positions.items()}
    media_first = sorted(range(len(devices)), key=lambda index: not devices[index].medium)
    for index in media_first:
        if index not in positions:
            bus = buses[index]
            order = _order(bus, medium=devices[index].medium)
            positions[index] = next(position for position in order if (bus, position) not in taken)
            taken.add((bus, positions[index]))
    return [positions[index] for index in range(len(devices))]


def _kept(
    devices: tuple[Device, ...], buses: list[str], present: Mapping[str, tuple[str, int]]
) -> dict[int, int]:
    """Positions of devices that have one on their bus, by index. Of two on one, the first that is
    present has it.
    """
    by_serial = {device.serial: index for index, device in enumerate(devices)}
    indexes: dict[tuple[str, int], int] = {}
    for serial, (bus, position) in present.items():
        index = by_serial.get(serial)
        if index is not None and bus == buses[index] and 0 <= position < _ROOM[bus]:
            indexes.setdefault((bus, position), index)
    return {index: position for (_, position), index in indexes.items()}


def _order(bus: str, *, medium: bool) -> Iterator[int]:
    """Positions in the order in which they are given out."""
    own = _MEDIUM.get(bus)
    if medium and own is not None:
        yield own
    for position in range(_ROOM[bus]):
        if position != own or bus == "scsi":
            yield position
    yield from count(_ROOM[bus])


def _bus(spec: MachineSpec, device: Device) -> str:
    virtio = spec["enableParavirtualization"]
    if spec["osType"] == LEGACY:
        # their drivers know no virtio-scsi, and virtio-blk knows no CD-ROM
        return "virtio" if virtio and not device.cdrom else "ide"
    return "scsi" if virtio else "sata"


def _wanted(device: Device, bus: str, position: int) -> Disk:
    controller, unit = divmod(position, SATA_PORTS) if bus == "sata" else (0, position)
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
        type=BLOCK if device.block else FILE,
        tuning=device.tuning,
    )


READS = ("disk",)


def read(root: Element) -> Disks:
    return Disks(_ordered([_disk(element) for element in every(root, "devices", "disk")]))


def plugged(
    disks: Disks, devices: Iterable[Device], present: Mapping[str, tuple[str, int]]
) -> Disks:
    """These disks, and behind them what is attached while the machine runs: each where it is
    already, by serial number, else in the first place that no disk has.
    """
    known = {disk.serial for disk in disks.disks}
    taken = {disk.position for disk in disks.disks if disk.bus == SCSI}
    taken |= {position for bus, position in present.values() if bus == SCSI}
    made = []
    for device in devices:
        if device.serial in known:
            continue
        bus, position = present.get(device.serial, ("", 0))
        if bus != SCSI:
            position = next(free for free in count(_MEDIUM[SCSI] + 1) if free not in taken)
            taken.add(position)
        made.append(_wanted(device, SCSI, position))
    return Disks(_ordered((*disks.disks, *made))) if made else disks


def without(disks: Disks, serials: Collection[str]) -> Disks:
    """The others."""
    return Disks(tuple(disk for disk in disks.disks if disk.serial not in serials))


def _ordered(disks: Iterable[Disk]) -> tuple[Disk, ...]:
    return tuple(sorted(disks, key=lambda disk: (disk.bus, disk.position)))


def _disk(element: Element) -> Disk:
    inner = by_tag(element)
    bus = get(inner.get("target"), "bus")
    source = element.get("type", FILE)
    serial = content(inner.get("serial"))
    return Disk(
        path=get(inner.get("source"), SOURCES[source]) if source in SOURCES else "",
        format=get(inner.get("driver"), "type"),
        serial=serial,
        device=element.get("device", "disk"),
        readonly="readonly" in inner,
        bus=bus,
        controller=0 if bus == "virtio" else number(get(inner.get("address"), "controller")),
        unit=_unit(inner.get("address"), bus),
        boot=max(number(get(inner.get("boot"), "order")), 0),
        type=source,
        tuning=Tuning(*(get(inner.get("driver"), name) for name in _TUNING)),
        dev="" if serial else get(inner.get("target"), "dev"),
    )


def bases(root: Element) -> Mapping[str, tuple[str, ...]]:
    """The files below the one that each disk of a running instance lies on, by serial number:
    libvirt lists them.
    """
    return {
        text(disk, "serial"): tuple(
            source.get("file") or source.get("dev") or ""
            for below in every(disk, "backingStore")
            for source in below.iter("source")
        )
        for disk in every(root, "devices", "disk")
    }


def _unit(address: Element | None, bus: str) -> int:
    if bus == "virtio":
        return virtio_disk_position(hexadecimal(get(address, "slot")))
    channel = number(get(address, "bus")) if bus == "ide" else 0
    return channel * _CHANNEL + number(get(address, "unit"))


def _letters(number: int) -> str:
    """Letters from a to z, then aa, ab and so on."""
    text = ""
    while number >= 0:
        number, letter = divmod(number, len(ascii_lowercase))
        text = ascii_lowercase[letter] + text
        number -= 1
    return text


def plain(disks: Disks) -> dict[str, Json]:
    """By serial number; by target where there is none."""
    return by_name((disk.name, _plain(disk)) for disk in disks.disks)


def _plain(disk: Disk) -> dict[str, Json]:
    return {
        "device": disk.device,
        "target": disk.dev or None,
        "bus": disk.bus,
        "unit": f"{disk.controller}:{disk.unit}",
        "type": disk.type,
        SOURCE: disk.path or None,
        "format": disk.format or None,
        "readonly": disk.readonly or None,
        "bootOrder": disk.boot or None,
    }
