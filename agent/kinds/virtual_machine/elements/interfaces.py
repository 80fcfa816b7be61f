"""`<interface>`: each network of a machine, told apart by MAC address."""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.core.links import Link
from agent.core.model import Json
from agent.core.xml import Element, by_tag, every
from agent.kinds.virtual_machine.elements.address import Address, read_pci, told
from agent.kinds.virtual_machine.elements.chipset import beyond_ports, interface_slots
from agent.kinds.virtual_machine.elements.firmware import i440fx
from agent.kinds.virtual_machine.elements.plain import by_name
from agent.kinds.virtual_machine.elements.xml import attribute, get, number
from agent.kinds.virtual_machine.spec import MachineSpec
from agent.kinds.virtual_machine.wanted import LEGACY, Wanted, Wire

ADDRESS = "IP"
"""What libvirt's filters call the address that they hold an interface to."""

_TYPES = ("network", "bridge", "user")
"""libvirt's types of what an interface is connected to here."""


@dataclass(frozen=True)
class Interface:
    mac: str
    link: Link
    model: str
    address: Address
    """Empty where somebody gave it a place that is not on PCI."""
    ip: str = ""
    """The address that a filter holds it to; empty for whichever it uses first."""
    other: str = ""
    """libvirt's type of an interface that somebody connected to something else."""

    @property
    def type(self) -> str:
        if self.other:
            return self.other
        if self.link.bridge:
            return "bridge"
        return "network" if self.link.network else "user"


@dataclass(frozen=True)
class Interfaces:
    interfaces: tuple[Interface, ...]
    """By place."""

    @property
    def links(self) -> Mapping[str, Link]:
        """What each is connected to, by MAC address."""
        return {interface.mac: interface.link for interface in self.interfaces}

    @property
    def more_ports(self) -> bool:
        """True if some are in places that most machines have not."""
        return any(beyond_ports(interface.address) for interface in self.interfaces)


def expect(wanted: Wanted) -> Interfaces:
    return connected(wanted.wires, wanted.spec, wanted.machine, wanted.slots.interfaces)


def connected(
    wires: Sequence[Wire], spec: MachineSpec, machine: str, present: Mapping[str, Address]
) -> Interfaces:
    """An interface for each wire. One that is present stays where it is."""
    places = _places(wires, present, interface_slots(i440fx=i440fx(machine)))
    model = _model(spec)
    return Interfaces(
        _ordered(Interface(wire.mac, wire.link, model, places[wire.mac], wire.ip) for wire in wires)
    )


def led(interfaces: Interfaces, like: Interfaces, macs: Container[str]) -> Interfaces:
    """The same interfaces, those with these MAC addresses connected as in the other ones."""
    links = {each.mac: each.link for each in like.interfaces if each.mac in macs}
    return Interfaces(
        tuple(replace(each, link=links.get(each.mac, each.link)) for each in interfaces.interfaces)
    )


def as_asked(interfaces: Interfaces, wanted: Interfaces) -> Interfaces:
    """What runs without what a libvirt network adds by itself to whoever is connected to it."""
    links = {each.mac: each.link for each in wanted.interfaces}
    return Interfaces(
        tuple(
            replace(each, link=_as_asked(each.link, links.get(each.mac)))
            for each in interfaces.interfaces
        )
    )


def _as_asked(link: Link, wanted: Link | None) -> Link:
    if wanted is None or not link.network or link.network != wanted.network:
        return link
    return replace(
        link, portgroup=wanted.portgroup, vlan=wanted.vlan, virtualport=wanted.virtualport
    )


def slots(interfaces: Interfaces) -> Mapping[str, Address]:
    """Where each interface is, by MAC address."""
    return {interface.mac: interface.address for interface in interfaces.interfaces}


def _places(
    wires: Sequence[Wire], present: Mapping[str, Address], possible: tuple[Address, ...]
) -> dict[str, Address]:
    """The place of each by MAC address. It keeps the one that it has, on the chipset that it is on;
    of two in one place the first one does. Where another one is about to go is no good place, but
    better than one that only a machine with more root ports has.
    """
    macs = {wire.mac for wire in wires}
    leaving = {place for mac, place in present.items() if mac not in macs}
    places: dict[str, Address] = {}
    for wire in wires:
        there = present.get(wire.mac, ())
        if there in possible and there not in places.values():
            places[wire.mac] = there
    main, *others = possible
    for wire in wires:
        if wire.mac not in places:
            good = sorted(others, key=lambda at: 2 if beyond_ports(at) else at in leaving)
            order = (main, *good) if wire.main else (*good, main)
            places[wire.mac] = next(place for place in order if place not in places.values())
    return places


def _ordered(interfaces: Iterable[Interface]) -> tuple[Interface, ...]:
    return tuple(sorted(interfaces, key=lambda interface: (interface.address, interface.mac)))


def _model(spec: MachineSpec) -> str:
    if spec["enableParavirtualization"]:
        return "virtio"
    # what such guests have drivers for: e1000 is too new for them
    return "rtl8139" if spec["osType"] == LEGACY else "e1000"


READS = ("interface",)


def read(root: Element) -> Interfaces:
    return Interfaces(_ordered(map(_interface, every(root, "devices", "interface"))))


def _interface(element: Element) -> Interface:
    inner = by_tag(element)
    return Interface(
        mac=get(inner.get("mac"), "address"),
        link=_link(inner),
        model=get(inner.get("model"), "type"),
        address=read_pci(inner.get("address")),
        ip=_parameter(inner.get("filterref"), ADDRESS),
        other=_other(element),
    )


def _link(inner: Mapping[str, Element]) -> Link:
    """What it is connected to. Of a running instance libvirt also says which bridge a network has:
    that is the network's own.
    """
    source, vlan = inner.get("source"), inner.get("vlan")
    network = get(source, "network")
    return Link(
        network=network,
        portgroup=get(source, "portgroup"),
        bridge="" if network else get(source, "bridge"),
        vlan=0 if vlan is None else max(number(attribute(vlan, "tag", "id")), 0),
        virtualport=get(inner.get("virtualport"), "type"),
        filter=get(inner.get("filterref"), "filter"),
    )


def _other(element: Element) -> str:
    kind = element.get("type", "")
    return "" if kind in _TYPES else kind


def _parameter(reference: Element | None, name: str) -> str:
    """The value of a filter's parameter."""
    parameters = () if reference is None else every(reference, "parameter")
    values = (each.get("value", "") for each in parameters if each.get("name") == name)
    return next(values, "")


def plain(interfaces: Interfaces) -> dict[str, Json]:
    """By MAC address."""
    return by_name((interface.mac, _plain(interface)) for interface in interfaces.interfaces)


def _plain(interface: Interface) -> dict[str, Json]:
    link = interface.link
    return {
        "type": interface.other or None,
        "network": link.network or None,
        "portgroup": link.portgroup or None,
        "bridge": link.bridge or None,
        "vlan": link.vlan or None,
        "virtualport": link.virtualport or None,
        "filter": link.filter or None,
        "filter.ip": interface.ip or None,
        "model": interface.model or None,
        "address": told(interface.address) or None,
    }
