"""`<interface>`: the main network."""

from __future__ import annotations

from dataclasses import dataclass

from agent.kinds.virtual_machine.elements.xml import Element, attribute
from agent.kinds.virtual_machine.wanted import Wanted

NETWORK = "default"


@dataclass(frozen=True)
class Interface:
    mac: str
    network: str
    """A libvirt network, or empty for user-mode networking."""
    model: str


@dataclass(frozen=True)
class Interfaces:
    interfaces: tuple[Interface, ...]


def expect(wanted: Wanted) -> Interfaces:
    shared = not wanted.node.session and NETWORK in wanted.node.networks
    model = "virtio" if wanted.spec["enableParavirtualization"] else "e1000"
    return Interfaces((Interface(wanted.mac, NETWORK if shared else "", model),))


def read(root: Element) -> Interfaces:
    return Interfaces(
        tuple(
            Interface(
                mac=attribute(element, "mac", "address"),
                network=attribute(element, "source", "network"),
                model=attribute(element, "model", "type"),
            )
            for element in root.iterfind("devices/interface")
        )
    )
