"""`<interface>`: the main network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import Json
from agent.core.xml import Element, every
from agent.kinds.virtual_machine.elements.address import Address, read_pci, told
from agent.kinds.virtual_machine.elements.chipset import interface_slots
from agent.kinds.virtual_machine.elements.firmware import i440fx
from agent.kinds.virtual_machine.elements.plain import by_name
from agent.kinds.virtual_machine.elements.xml import attribute
from agent.kinds.virtual_machine.spec import MachineSpec
from agent.kinds.virtual_machine.wanted import LEGACY, Wanted

NETWORK = "default"


@dataclass(frozen=True)
class Interface:
    mac: str
    network: str
    """A libvirt network, or empty for user-mode networking."""
    model: str
    address: Address
    """Empty where somebody gave it a place that is not on PCI."""

    @property
    def type(self) -> str:
        return "network" if self.network else "user"


@dataclass(frozen=True)
class Interfaces:
    interfaces: tuple[Interface, ...]


def expect(wanted: Wanted) -> Interfaces:
    shared = not wanted.node.session and NETWORK in wanted.node.networks
    network = NETWORK if shared else ""
    slot = _slot(wanted.mac, wanted.slots.interfaces, wanted.machine)
    return Interfaces((Interface(wanted.mac, network, _model(wanted.spec), slot),))


def slots(interfaces: Interfaces) -> Mapping[str, Address]:
    """Where each interface is, by MAC address."""
    return {interface.mac: interface.address for interface in interfaces.interfaces}


def _slot(mac: str, present: Mapping[str, Address], machine: str) -> Address:
    """An interface keeps the place that it has, on the chipset that it is on."""
    possible = interface_slots(i440fx=i440fx(machine))
    kept = present.get(mac, ())
    return kept if kept in possible else possible[0]


def _model(spec: MachineSpec) -> str:
    if spec["enableParavirtualization"]:
        return "virtio"
    # what such guests have drivers for: e1000 is too new for them
    return "rtl8139" if spec["osType"] == LEGACY else "e1000"


def read(root: Element) -> Interfaces:
    return Interfaces(
        tuple(
            Interface(
                mac=attribute(element, "mac", "address"),
                network=attribute(element, "source", "network"),
                model=attribute(element, "model", "type"),
                address=read_pci(element),
            )
            for element in every(root, "devices", "interface")
        )
    )


def plain(interfaces: Interfaces) -> dict[str, Json]:
    """By MAC address."""
    return by_name(
        (
            interface.mac,
            {
                "network": interface.network or None,
                "model": interface.model or None,
                "address": told(interface.address) or None,
            },
        )
        for interface in interfaces.interfaces
    )
