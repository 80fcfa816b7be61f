"""`<interface>`: the main network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import Json
from agent.kinds.virtual_machine.elements.xml import Element, attribute
from agent.kinds.virtual_machine.wanted import LEGACY, Wanted

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
    network = NETWORK if shared else ""
    return Interfaces((Interface(wanted.mac, network, _model(wanted.spec)),))


def _model(spec: Mapping[str, Json]) -> str:
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
            )
            for element in root.iterfind("devices/interface")
        )
    )
