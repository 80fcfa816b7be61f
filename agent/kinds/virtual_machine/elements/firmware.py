"""`<os>`: machine type and firmware."""

from __future__ import annotations

from dataclasses import dataclass

from agent.kinds.virtual_machine.elements.xml import Element, attribute
from agent.kinds.virtual_machine.wanted import Wanted


@dataclass(frozen=True)
class Firmware:
    virt_type: str
    """kvm, or qemu for software emulation."""
    machine: str
    firmware: str
    """Empty for BIOS."""


def expect(wanted: Wanted) -> Firmware:
    return Firmware(wanted.node.virt_type, wanted.machine, "")


def read(root: Element) -> Firmware:
    return Firmware(
        root.get("type", ""),
        attribute(root, "os/type", "machine"),
        attribute(root, "os", "firmware"),
    )
