"""How the guest of a VM gets the address that is reserved for it.

By DHCP where Main is a network of libvirt whose subnets hold it: an entry by the MAC, which stands
before the machine starts. Else by the medium that the guest configures itself from: on a bridge
nobody of ours answers, and user-mode networking gives everybody the same address. What runs keeps
the address that it was started with, whatever is reserved meanwhile.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from agent.core.actions import Action, HoldAddress, MakeNetwork, ReleaseAddress, StartNetwork
from agent.core.facts import View
from agent.core.identity import bridge_mac, bridge_name, entry_name, network_name
from agent.core.known import ANY_NODE, HELD, NETWORK, NETWORKS
from agent.core.links import MAIN, USER, Link
from agent.core.model import Key
from agent.core.network import Held, NatNetwork, RawNetwork
from agent.kinds.exports import AddressRanges
from agent.kinds.local import Place, away
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


@dataclass(frozen=True)
class Holding:
    """What a network holds for a machine, and what is to be done about that."""

    actions: tuple[Action, ...] = ()
    """All on one node."""
    ready: bool = True
    """True if the guest gets its address once it starts."""


def holding(
    key: Key, view: View, up: Uplink, mac: str, address: str, *, now: str | None
) -> Holding:
    """Have the network hold what the machine is to have; `address` is that of its next start, empty
    for none. `now` is that of the instance that runs, None if none does: as long as it runs, it
    keeps that.
    """
    name = entry_name(view.fleet, key)
    present = view.read(HELD, name) or ()
    wanted = _wanted(up, name, mac, address)
    if now is not None:
        if not now:
            return Holding(ready=not wanted)  # it has another one, and nobody takes that from it
        wanted = _wanted(up, name, mac, now)
    if wanted is None:
        return Holding(_released(present, view))
    return Holding(*_held(present, view, up, wanted))


def released(key: Key, view: View) -> tuple[Action, ...]:
    """Take away whatever networks hold for a machine that goes."""
    return _released(view.read(HELD, entry_name(view.fleet, key)) or (), view)


def _wanted(up: Uplink, name: str, mac: str, address: str) -> Held | None:
    if not address or up.way is not Way.DHCP or up.problem(address):
        return None
    return Held(up.link.network, mac.lower(), address, name)


def _held(
    present: tuple[tuple[str, Held], ...], view: View, up: Uplink, wanted: Held
) -> tuple[tuple[Action, ...], bool]:
    stands = (up.node, wanted) in present
    make, starts = _own(up, wanted.address)
    hold = () if stands else (HoldAddress(up.node, wanted),)
    if make or hold:
        return (*make, *hold), False
    if starts:
        return starts, False
    others = tuple(
        (node, each) for node, each in present if (node, each.network) != (up.node, wanted.network)
    )
    return _released(others, view), True


def _own(up: Uplink, address: str) -> tuple[tuple[Action, ...], tuple[Action, ...]]:
    """What makes the agent's own network, and what has it run with the subnet of an address. Apart:
    what several machines have it hold costs next to nothing before it runs.
    """
    if up.own is None:
        return (), ()
    raw = up.network
    later = set(raw.serves_later) if raw is not None else set()
    lacks = any(each.network not in later for each in up.own.addresses)
    make = (MakeNetwork(up.node, up.own),) if raw is None or lacks else ()
    runs = raw is not None and raw.active and raw.covers(address)
    return make, () if runs else (StartNetwork(up.node, up.own.name),)


def _released(present: tuple[tuple[str, Held], ...], view: View) -> tuple[Action, ...]:
    """On one node at a time, and on none that nobody can reach."""
    within = [(node, each) for node, each in present if not each.leased and not away(view, node)]
    return tuple(ReleaseAddress(node, each) for node, each in within if node == within[0][0])
