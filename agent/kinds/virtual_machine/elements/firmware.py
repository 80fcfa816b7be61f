"""`<os>`: machine type and firmware."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from agent.core.host import RawNode
from agent.core.model import Json
from agent.core.xml import Element, every, first
from agent.kinds.virtual_machine.elements.xml import attribute
from agent.kinds.virtual_machine.wanted import Wanted

BIOS: Final = "BIOS"
EFI: Final = "EFI"
SECURE: Final = "EFIWithSecureBoot"
_FEATURES = {
    EFI: (("secure-boot", "no"),),
    SECURE: (("enrolled-keys", "yes"), ("secure-boot", "yes")),
}
"""By which libvirt chooses the firmware's file: without any, the one with the most of them."""


@dataclass(frozen=True)
class Firmware:
    virt_type: str
    """kvm, or qemu for software emulation."""
    machine: str
    bootloader: str
    """As in spec.bootloader; empty where a definition says something else."""

    @property
    def i440fx(self) -> bool:
        """True if the machine has the chipset of the nineties, with conventional PCI; else it has
        q35's.
        """
        return i440fx(self.machine)

    @property
    def automatic(self) -> str:
        """The kind of firmware whose file libvirt chooses; empty for BIOS, which needs none."""
        return "" if self.bootloader == BIOS else "efi"

    @property
    def features(self) -> tuple[tuple[str, str], ...]:
        """What the firmware must have (yes) and must not have (no)."""
        return _FEATURES.get(self.bootloader, ())


def i440fx(machine: str) -> bool:
    return machine == "pc" or machine.startswith("pc-i440fx")


def machine(legacy: bool, node: RawNode, present: Iterable[str]) -> str:
    """The first of the present machine types that has the wanted chipset, so that an upgrade of
    QEMU changes no hardware; else the node's newest one.
    """
    kept = (machine for machine in present if machine and i440fx(machine) == legacy)
    return next(kept, node.legacy_machine if legacy else node.machine)


def expect(wanted: Wanted) -> Firmware:
    return Firmware(wanted.node.virt_type, wanted.machine, wanted.spec["bootloader"])


READS = ("os",)


def read(root: Element) -> Firmware:
    machine = attribute(root, "os/type", "machine")
    return Firmware(root.get("type", ""), machine, _bootloader(root))


def _bootloader(root: Element) -> str:
    if attribute(root, "os", "firmware") != "efi":
        return BIOS if first(root, "os", "loader") is None else ""
    features = {
        feature.get("name", ""): feature.get("enabled", "")
        for feature in every(root, "os", "firmware", "feature")
    }
    if features.get("secure-boot") == "no":
        return EFI
    return SECURE if features.get("secure-boot") == features.get("enrolled-keys") == "yes" else ""


def plain(firmware: Firmware) -> dict[str, Json]:
    return {
        "domain": {"type": firmware.virt_type or None},
        "os": {"machine": firmware.machine or None},
        "bootloader": firmware.bootloader or "unknown",
    }
