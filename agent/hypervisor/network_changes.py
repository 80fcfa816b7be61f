"""Changing libvirt's networks: entries of their DHCP, and a network of the agent's own.

An entry is written where the network runs and where it is defined, each by itself: a kill in
between leaves half of it, which is read as such. libvirt loads the host's firewall anew for each
change of a running network, which takes up to seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Interface

import libvirt
from lxml import etree

from agent.core.host import HostError
from agent.core.metadata import NAMESPACE, PREFIX
from agent.core.network import Held, NatNetwork
from agent.core.xml import Element, every
from agent.hypervisor.networks import (
    DNSMASQ,
    MARK,
    definition,
    find,
    fleet_of,
    hosts,
    served,
    static_range,
)
from agent.hypervisor.xml import parse

LEASE_MINUTES = 2
"""For so long an address stays with the card that had it, once it is held for another one."""
_ANYWHERE = -1
"""The subnet with DHCP, wherever it stands."""
_LIVE = libvirt.VIR_NETWORK_UPDATE_AFFECT_LIVE
_CONFIG = libvirt.VIR_NETWORK_UPDATE_AFFECT_CONFIG
_ADD = libvirt.VIR_NETWORK_UPDATE_COMMAND_ADD_LAST
_MODIFY = libvirt.VIR_NETWORK_UPDATE_COMMAND_MODIFY
_DELETE = libvirt.VIR_NETWORK_UPDATE_COMMAND_DELETE


def hold(connection: libvirt.virConnect, held: Held) -> None:
    network = _found(connection, held.network)
    for flag, xml in _sides(network):
        entries = list(_entries(held.network, xml))
        if held in entries:
            continue
        _refuse(held, entries)
        named = [each for each in entries if each.name == held.name]
        for each in named[1:]:
            _update(network, _DELETE, each, flag)
        _update(network, _MODIFY if named else _ADD, held, flag)


def release(connection: libvirt.virConnect, held: Held) -> None:
    network, whole = find(connection, held.network), replace(held, half=False)
    for flag, xml in () if network is None else _sides(network):
        if whole in _entries(held.network, xml):
            assert network is not None  # noqa: S101  # it has sides
            _update(network, _DELETE, held, flag)


def make(connection: libvirt.virConnect, wanted: NatNetwork) -> None:
    network = find(connection, wanted.name)
    if network is None:
        connection.networkDefineXML(_text(_new(wanted)))
        return
    xml = definition(network, parse(network.XMLDesc(0)))
    if fleet_of(xml) != wanted.fleet:
        raise HostError(
            "NetworkForeign",
            f"libvirt has a network {wanted.name} that this fleet did not make: rename it, or say "
            "with `main` in the setting networks which network machines are in",
        )
    known = set(served(xml))
    missing = [each for each in wanted.addresses if each.network not in known]
    if missing:
        for each in missing:
            _add_subnet(xml, each)
        connection.networkDefineXML(_text(xml))


def start(connection: libvirt.virConnect, name: str) -> None:
    network = _found(connection, name)
    if network.isActive():
        now = parse(network.XMLDesc(0))
        more = set(served(definition(network, now))) - set(served(now))
        if not more:
            return
        if network.listAllPorts(0):
            raise HostError(
                "NetworkInUse",
                f"network {name} serves {', '.join(sorted(map(str, more)))} once it is started "
                "anew, which would cut machines off that run on it: stop those first",
            )
        network.destroy()
    network.setAutostart(True)
    network.create()


def _found(connection: libvirt.virConnect, name: str) -> libvirt.virNetwork:
    network = find(connection, name)
    if network is None:
        raise HostError("NetworkNotFound", f"libvirt has no network {name}")
    return network


def _sides(network: libvirt.virNetwork) -> Iterator[tuple[int, Element]]:
    """What is defined, which is quick to change, and what runs."""
    now = parse(network.XMLDesc(0))
    active = bool(network.isActive())
    if network.isPersistent():
        yield _CONFIG, definition(network, now) if active else now
    if active:
        yield _LIVE, now


def _entries(network: str, xml: Element) -> Iterator[Held]:
    for (mac, address), name in hosts(xml):
        yield Held(network, mac, address, name)


def _refuse(held: Held, entries: list[Held]) -> None:
    """Fails where somebody else has the address, or the card another one."""
    for each in entries:
        if each.name != held.name and (each.mac == held.mac or each.address == held.address):
            whose = f"{each.name} ({each.mac})" if each.name else each.mac
            raise HostError(
                "AddressTaken",
                f"network {held.network} holds {each.address} for {whose}, so that it cannot hold "
                f"{held.address} for {held.mac}: take that entry out with `virsh net-update`",
            )


def _update(network: libvirt.virNetwork, command: int, held: Held, flag: int) -> None:
    host = etree.Element("host", mac=held.mac, ip=held.address)
    if held.name:
        host.set("name", held.name)
    etree.SubElement(host, "lease", expiry=str(LEASE_MINUTES), unit="minutes")
    network.update(command, libvirt.VIR_NETWORK_SECTION_IP_DHCP_HOST, _ANYWHERE, _text(host), flag)


def _new(wanted: NatNetwork) -> Element:
    root = etree.Element("network", nsmap={"dnsmasq": DNSMASQ})
    etree.SubElement(root, "name").text = wanted.name
    metadata = etree.SubElement(root, "metadata")
    etree.SubElement(metadata, MARK, nsmap={PREFIX: NAMESPACE}, fleet=wanted.fleet)
    etree.SubElement(root, "forward", mode="nat")
    etree.SubElement(root, "bridge", name=wanted.bridge, stp="on", delay="0")
    etree.SubElement(root, "mac", address=wanted.mac)
    first, *others = wanted.addresses
    _ip(root, first)
    for each in others:
        _add_subnet(root, each)
    return root


def _ip(root: Element, address: IPv4Interface) -> Element:
    length = str(address.network.prefixlen)
    return etree.SubElement(root, "ip", address=str(address.ip), prefix=length)


def _add_subnet(root: Element, address: IPv4Interface) -> None:
    """DHCP is for one subnet as libvirt sees it; dnsmasq itself answers in others as well."""
    ip = _ip(root, address)
    earlier = list(every(root, "ip"))[-2]
    earlier.addnext(ip)
    options = next(every(root, f"{{{DNSMASQ}}}options"), None)
    if options is None:
        options = etree.SubElement(root, f"{{{DNSMASQ}}}options")
    etree.SubElement(options, f"{{{DNSMASQ}}}option", value=static_range(address))


def _text(element: Element) -> str:
    return etree.tostring(element, encoding="unicode")
