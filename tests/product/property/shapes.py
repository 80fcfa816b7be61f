"""What a definition says, and what a spec should make of it: worked out once more, without the agent's own rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lxml import etree

from agent.core.quantity import to_bytes

MIB = 1 << 20
UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "b": 1, "bytes": 1}
CPUS = {
    "host": ("host-model", "", ()),
    "kept": ("host-model", "", ()),
    "generic": ("custom", "Nehalem", ()),
    "sized": ("custom", "Westmere", ()),
    "featured": ("custom", "qemu64", ("aes", "vmx")),
}
"""Mode, model and features of the guest's CPU, by class."""


@dataclass(frozen=True)
class Shape:
    cores: int
    memory: int
    """Bytes."""
    shares: int
    cpu: tuple[str, str, tuple[str, ...]]
    firmware: str
    system: str
    """Windows, Legacy, or Generic."""
    virtio: bool
    devices: tuple[tuple[str, int, bool], ...]
    """Volume, place in the boot order, and whether it is a CD-ROM; sorted, as places say nothing: each keeps the one that it has."""
    medium: str
    """What the guest is told: the volume of its medium, empty without one."""
    networks: tuple[str, ...]
    """What its interfaces lead to, sorted."""


def _firmware(root: etree._Element) -> str:
    system = root.find("os")
    if system is None or system.get("firmware") != "efi":
        return "BIOS"
    secure = system.find("firmware/feature[@name='secure-boot']")
    return "EFIWithSecureBoot" if secure is not None and secure.get("enabled") == "yes" else "EFI"


def _system(root: etree._Element) -> str:
    clock, kind = root.find("clock"), root.find("os/type")
    assert kind is not None
    if "q35" not in kind.get("machine", ""):
        return "Legacy"
    hyperv = root.find("features/hyperv") is not None
    localtime = clock is not None and clock.get("offset") == "localtime"
    return "Windows" if hyperv and localtime else "Generic"


def shape(xml: str) -> Shape:
    """What a definition says."""
    root = etree.fromstring(xml)
    memory = root.find("memory")
    assert memory is not None
    cpu = root.find("cpu")
    mode = "" if cpu is None else cpu.get("mode", "")
    features = sorted(each.get("name", "") for each in root.iterfind("cpu/feature"))
    devices, medium = [], ""
    for disk in root.iterfind("devices/disk"):
        source, boot = disk.find("source"), disk.find("boot")
        volume = "" if source is None else source.get("file", "").rsplit("/", 1)[-1]
        if "_seed_" in volume:
            medium = volume
            continue
        order = 0 if boot is None else int(boot.get("order", "0"))
        devices.append((volume, order, disk.get("device") == "cdrom"))
    buses = {
        target.get("bus")
        for disk in root.iterfind("devices/disk")
        for target in disk.iterfind("target")
        if disk.get("device") != "cdrom"
    }
    model = root.find("devices/interface/model")
    system = _system(root)
    links = [dict(each.attrib) for each in root.iterfind("devices/interface/source")]
    return Shape(
        networks=tuple(sorted(str(each.get("network") or each.get("bridge")) for each in links)),
        cores=int(root.findtext("vcpu", "0")),
        memory=int(memory.text or 0) * UNITS[memory.get("unit", "KiB")],
        shares=int(root.findtext("cputune/shares", "0")),
        cpu=(mode, root.findtext("cpu/model", "") if mode == "custom" else "", tuple(features)),
        firmware=_firmware(root),
        system=system,
        virtio=buses <= {"scsi", "virtio"} and model is not None and model.get("type") == "virtio",
        devices=tuple(sorted(devices)),
        medium=medium,
    )


def shape_of(
    spec: Mapping[str, Any], volume_of: Callable[[Mapping[str, Any]], str], medium: str
) -> Shape:
    """What a complete spec should make of it. `medium` is the one that is expected."""
    cores, fraction = spec["cpu"]["cores"], spec["cpu"]["coreFraction"]
    percent = 100 if fraction == "Auto" else int(fraction[:-1])
    refs = spec["blockDeviceRefs"]
    explicit = any("bootOrder" in each for each in refs)
    devices = [
        (
            volume_of(each),
            each.get("bootOrder", 0) if explicit else position,
            volume_of(each).endswith(".iso"),
        )
        for position, each in enumerate(refs, 1)
    ]
    listed = spec.get("networks") or [{"type": "Main"}]
    return Shape(
        networks=tuple(sorted(each.get("name", "default") for each in listed)),
        cores=cores,
        memory=-(-to_bytes(spec["memory"]["size"]) // MIB) * MIB,
        shares=max(2, cores * percent),
        cpu=CPUS[spec["virtualMachineClassName"]],
        firmware=spec["bootloader"],
        system=spec["osType"],
        virtio=spec["enableParavirtualization"],
        devices=tuple(sorted(devices)),
        medium=medium,
    )
