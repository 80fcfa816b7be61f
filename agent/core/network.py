"""What is known of libvirt's networks on a host."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network


@dataclass(frozen=True)
class RawNetwork:
    """A libvirt network as one read saw it, without the addresses that it holds for somebody: those
    change with every machine.
    """

    name: str
    uuid: str
    active: bool
    forward: str = ""
    """libvirt's mode: nat, route, open, bridge, …; empty for one that leads nowhere."""
    bridge: str = ""
    """The host's bridge: libvirt's own, or the one that mode `bridge` names."""
    addresses: tuple[IPv4Interface, ...] = ()
    """The host's own on that bridge, each with the subnet that it is for; IPv4 only."""
    served: tuple[IPv4Network, ...] = ()
    """The subnets in which libvirt's DHCP server answers whoever it holds an address for."""
    serves_later: tuple[IPv4Network, ...] = ()
    """The same once it is started anew: by its definition."""
    fleet: str = ""
    """Whose agent made it; empty for one that somebody else did."""
    lasting: bool = True
    """False for one that is gone once it is stopped."""
    port_groups: frozenset[str] = frozenset()

    def covers(self, address: IPv4Address | str) -> bool:
        """True where an address is one of a station in a subnet in which the network hands out
        addresses: its first and its last address are nobody's.
        """
        asked = IPv4Address(address)
        return any(
            asked in subnet and asked not in (subnet[0], subnet[-1]) for subnet in self.served
        )


@dataclass(frozen=True)
class NatNetwork:
    """A network that the agent makes by itself: its guests reach the world by the host's
    addresses.
    """

    name: str
    fleet: str
    bridge: str
    mac: str
    """Of the bridge: the same on each node, so that guests go on when they move."""
    addresses: tuple[IPv4Interface, ...]
    """The host's own, each with its subnet."""


@dataclass(frozen=True, order=True)
class Held:
    """An address that a network holds for one network card, by its MAC."""

    network: str
    mac: str
    """In lower case."""
    address: str
    name: str = ""
    """The host name that goes with it. Those that an agent wrote say whose they are
    (`core.identity.entry_name`).
    """
    leased: bool = False
    """True for one that the DHCP server gave away by itself, False for an entry."""
    half: bool = False
    """True for an entry that only the running network has, or only its definition."""


@dataclass(frozen=True)
class NetworkReading:
    """A network, and the addresses that it holds. A lease that says the same as an entry is left
    out.
    """

    network: RawNetwork
    held: tuple[Held, ...] = ()
