"""`<os>`: machine type and firmware."""

from __future__ import annotations

from dataclasses import dataclass

from agent.kinds.virtual_machine.elements.xml import Element, attribute
from agent.kinds.virtual_machine.wanted import Wanted

BIOS, EFI, SECURE = "BIOS", "EFI", "EFIWithSecureBoot"


@dataclass(frozen=True)
class Firmware:
    virt_type: str
    """kvm, or qemu for software emulation."""
    machine: str
    bootloader: str
    """As in spec.bootloader; empty where a definition says something else."""


def expect(wanted: Wanted) -> Firmware:
    return Firmware(wanted.node.virt_type, wanted.machine, wanted.spec["bootloader"])


def read(root: Element) -> Firmware:
    machine = attribute(root, "os/type", "machine")
    return Firmware(root.get("type", ""), machine, _bootloader(root))


def _bootloader(root: Element) -> str:
    if attribute(root, "os", "firmware") != "efi":
        return BIOS if root.find("os/loader") is None else ""
    features = {
        each.get("name", ""): each.get("enabled", "")
        for each in root.iterfind("os/firmware/feature")
    }
    if features.get("secure-boot") == "no":
        return EFI
    return SECURE if features.get("secure-boot") == features.get("enrolled-keys") == "yes" else ""
