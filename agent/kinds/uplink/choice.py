"""What Main is on a node for machines with a reserved address, and which way it gives them that.

By DHCP where it is a network of libvirt whose subnets hold it. Else by the medium that the guest
configures itself from: on a bridge nobody of ours answers, and user-mode networking gives everybody
the same address.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from agent.core.facts import View
from agent.core.identity import bridge_mac, bridge_name, network_name
from agent.core.known import ANY_NODE, NETWORK, NETWORKS
from agent.core.links import MAIN, USER, Link
from agent.core.network import NatNetwork, RawNetwork
from agent.kinds.exports import AddressRanges
from agent.kinds.local import Place
from agent.kinds.module_config import address_ranges

DEFAULT = "default"
"""libvirt's own network."""
FORWARDED = ("nat", "route", "open", "")
"""libvirt's modes of networks that it gives a bridge of their own, and addresses if they have any.
"""
_NAME_ANOTHER = (
    "name another one as `main` in the setting networks, or give virtualMachineCIDRs a range of it"
)


class Way(Enum):
    DHCP = "by DHCP"
    MEDIUM = "from its medium"


@dataclass(frozen=True)
class Uplink:
    """What Main is, on one node, for machines with a reserved address."""

    node: str
    fleet: str
    link: Link
    ranges: AddressRanges
    network: RawNetwork | None = None
    """libvirt's network, if it is one and that is there."""
    own: NatNetwork | None = None
    """The agent's own network, where nobody has said what Main is."""
    known: bool = True
    """False in a plan that asks no host."""

    @property
    def way(self) -> Way:
        if self.own is not None:
            return Way.DHCP
        if not self.link.network:
            return Way.MEDIUM
        raw = self.network
        bridged = raw is not None and not raw.addresses
        return Way.MEDIUM if bridged else Way.DHCP

    def prefix(self, address: str) -> int:
        """Of the range that an address is in."""
        network = self.ranges.of(address)
        return 32 if network is None else network.prefixlen

    @property
    def user_mode(self) -> bool:
        return self.link == USER

    def problem(self, address: str) -> str:
        """Why a guest cannot get that address, in a sentence; empty if it can, or will soon."""
        if not self.known or not self.link.network:
            return ""
        name, raw = self.link.network, self.network
        if self.own is not None:
            foreign = raw is not None and raw.fleet != self.fleet
            return FOREIGN.format(name, self.node) if foreign else ""
        if raw is None:
            return MISSING.format(name, self.node)
        if not raw.active:
            return INACTIVE.format(name, self.node)
        if self.way is Way.DHCP and address and not raw.covers(address):
            serves = ", ".join(map(str, raw.served)) or "no addresses"
            return OUTSIDE.format(name, self.node, serves, address, _NAME_ANOTHER)
        return ""


NOWHERE = Uplink("", "", USER, AddressRanges())
"""Where no addresses are given out."""

FOREIGN = (
    "Node {1} has a network {0} that this fleet did not make: rename it, or say with `main` in the "
    "setting networks which network machines are in."
)
MISSING = (
    "Node {1} has no libvirt network {0}: make and start it (`virsh net-define`, `virsh net-start "
    "{0}`), or name another one as `main` in the setting networks."
)
INACTIVE = "Network {0} of node {1} does not run: start it with `virsh net-start {0}`."
OUTSIDE = "Network {0} of node {1} serves {2}, and not {3}: {4}."


def uplink(view: View, at: Place) -> Uplink:
    """What Main is on that node for machines with a reserved address."""
    ranges, known = address_ranges(view), not view.read(ANY_NODE, None)
    link = (view.read(NETWORKS, None) or {}).get(MAIN)
    own = None
    if link is None and at.node.session:
        link = USER
    elif link is None and _serves_all(view.read(NETWORK, (at.name, DEFAULT)), ranges):
        link = Link(network=DEFAULT)
    elif link is None:
        own = own_network(view.fleet, ranges.networks)
        link = Link(network=own.name)
    raw = view.read(NETWORK, (at.name, link.network)) if link.network else None
    return Uplink(at.name, view.fleet, link, ranges, raw, own, known)


def _serves_all(raw: RawNetwork | None, ranges: AddressRanges) -> bool:
    """True for a network that runs and has all addresses that machines may get."""
    if raw is None or not raw.active:
        return False
    return all(any(each.subnet_of(own) for own in raw.served) for each in ranges.networks)


def own_network(fleet: str, subnets: Iterable[IPv4Network]) -> NatNetwork:
    """The network that the agent makes from the ranges of addresses."""
    interfaces = tuple(IPv4Interface((gateway(each), each.prefixlen)) for each in subnets)
    return NatNetwork(network_name(fleet), fleet, bridge_name(fleet), bridge_mac(fleet), interfaces)


def gateway(subnet: IPv4Network) -> IPv4Address:
    """The host's own address in a range from which the agent makes a network."""
    return subnet[1]
