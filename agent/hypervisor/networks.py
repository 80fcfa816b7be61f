"""Reading libvirt's networks: what they are, and which addresses they hold for whom."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address, IPv4Interface, IPv4Network

import libvirt

from agent.core.metadata import NAMESPACE
from agent.core.model import Json
from agent.core.network import Held, NetworkReading, RawNetwork
from agent.core.xml import Element, every, first
from agent.hypervisor.errors import unsupported
from agent.hypervisor.xml import parse

DNSMASQ = "http://libvirt.org/schemas/network/dnsmasq/1.0"
MARK = f"{{{NAMESPACE}}}network"
_RANGE = "dhcp-range="
_STATIC = "static"


class NetworkReader:
    """Reads networks, and hands out the same instance for as long as nothing about one changes.
    Both methods may raise libvirtError.
    """

    def __init__(self) -> None:
        self._known: dict[str, NetworkReading] = {}

    def read_all(self, connection: libvirt.virConnect) -> dict[str, NetworkReading]:
        """Every network by name. One that vanishes meanwhile is left out."""
        found = {}
        for network in connection.listAllNetworks(0):
            reading = self._read(network)
            if reading is not None:
                found[reading.network.name] = reading
        self._known = found
        return dict(found)

    def read_one(self, connection: libvirt.virConnect, name: str) -> NetworkReading | None:
        network = find(connection, name)
        reading = None if network is None else self._read(network)
        if reading is None:
            self._known.pop(name, None)
            return None
        self._known[name] = reading
        return reading

    def _read(self, network: libvirt.virNetwork) -> NetworkReading | None:
        try:
            reading = _read(network)
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
                raise
            return None
        known = self._known.get(reading.network.name)
        return known if known == reading else reading


def find(connection: libvirt.virConnect, name: str) -> libvirt.virNetwork | None:
    """A network by its name. May raise libvirtError."""
    try:
        return connection.networkLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_NETWORK:
            raise
        return None


def _read(network: libvirt.virNetwork) -> NetworkReading:
    active, lasting = bool(network.isActive()), bool(network.isPersistent())
    now = parse(network.XMLDesc(0))
    later = definition(network, now) if active and lasting else now
    name = network.name()
    entries = tuple(_entries(name, now, later))
    leases = _leases(network) if active and first(now, "ip", "dhcp") is not None else ()
    same = {(each.mac, each.address) for each in entries}
    held = (*entries, *(each for each in leases if (each.mac, each.address) not in same))
    return NetworkReading(_described(network, now, later, active=active, lasting=lasting), held)


def definition(network: libvirt.virNetwork, now: Element) -> Element:
    """What the network is once it is started again."""
    try:
        return parse(network.XMLDesc(libvirt.VIR_NETWORK_XML_INACTIVE))
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_INVALID_ARG:
            raise
        return now  # the test driver has one for both


def _described(
    network: libvirt.virNetwork, xml: Element, later: Element, *, active: bool, lasting: bool
) -> RawNetwork:
    forward, bridge = first(xml, "forward"), first(xml, "bridge")
    return RawNetwork(
        name=network.name(),
        uuid=network.UUIDString(),
        active=active,
        forward="" if forward is None else forward.get("mode", "nat"),
        bridge="" if bridge is None else bridge.get("name", ""),
        addresses=tuple(interface for _, interface in _addresses(xml)),
        served=tuple(served(xml)),
        serves_later=tuple(served(later)),
        fleet=fleet_of(xml),
        lasting=lasting,
        port_groups=frozenset(group.get("name", "") for group in every(xml, "portgroup")),
    )


def fleet_of(xml: Element) -> str:
    """Whose agent made a network; empty for others."""
    mark = first(xml, "metadata", MARK)
    return "" if mark is None else mark.get("fleet", "")


def _addresses(xml: Element) -> Iterator[tuple[Element, IPv4Interface]]:
    for ip in every(xml, "ip"):
        if ip.get("family", "ipv4") == "ipv4":
            length = ip.get("prefix") or ip.get("netmask") or "32"
            yield ip, IPv4Interface(f"{ip.get('address', '')}/{length}")


def served(xml: Element) -> Iterator[IPv4Network]:
    """DHCP is for one subnet, the first one where none has an entry yet; an option for dnsmasq adds
    others.
    """
    every_ip = list(_addresses(xml))
    own = [interface for ip, interface in every_ip if first(ip, "dhcp") is not None]
    yield from (interface.network for interface in own or [ip for _, ip in every_ip[:1]])
    for option in every(xml, f"{{{DNSMASQ}}}options", f"{{{DNSMASQ}}}option"):
        subnet = _subnet(option.get("value", ""))
        if subnet is not None:
            yield subnet


def static_range(address: IPv4Interface) -> str:
    """The option by which dnsmasq answers in a subnet."""
    return f"{_RANGE}{address.ip},{_STATIC},{address.netmask}"


def _subnet(option: str) -> IPv4Network | None:
    """The subnet of `dhcp-range=10.66.20.1,static,255.255.255.0`; None for everything else."""
    parts = option.removeprefix(_RANGE).split(",")
    if not option.startswith(_RANGE) or _STATIC not in parts[:-1]:
        return None
    at = parts.index(_STATIC)
    try:
        return IPv4Network((parts[at - 1], parts[at + 1]), strict=False)
    except ValueError:
        return None


def _entries(network: str, now: Element, later: Element) -> Iterator[Held]:
    """What both say stands for good; what only one says is told as half of it."""
    running, defined = dict(hosts(now)), dict(hosts(later))
    for key in sorted(running.keys() | defined.keys()):
        mac, address = key
        name = running.get(key, defined.get(key, ""))
        half = running.get(key) != defined.get(key)
        yield Held(network, mac, address, name, half=half)


def hosts(xml: Element) -> Iterator[tuple[tuple[str, str], str]]:
    """MAC and address of each entry, and its name."""
    for host in every(xml, "ip", "dhcp", "host"):
        address = host.get("ip", "")
        try:
            IPv4Address(address)
        except AddressValueError:
            continue  # of IPv6
        yield (host.get("mac", "").lower(), address), host.get("name", "")


def _leases(network: libvirt.virNetwork) -> tuple[Held, ...]:
    try:
        leases: Json = network.DHCPLeases()
    except libvirt.libvirtError as error:
        if unsupported(error):
            return ()
        raise
    return tuple(
        Held(network.name(), str(lease["mac"]).lower(), lease["ipaddr"], leased=True)
        for lease in sorted(leases, key=lambda lease: str(lease["ipaddr"]))
        if lease["type"] == libvirt.VIR_IP_ADDR_TYPE_IPV4 and lease["mac"]
    )
