"""libvirt's networks of a host in memory."""

from __future__ import annotations

import uuid as uuids
from dataclasses import replace
from ipaddress import IPv4Interface

from agent.core.network import Held, NetworkReading, RawNetwork

DEFAULT = "192.168.122.1/24"


def network(name: str, *addresses: str, active: bool = True, forward: str = "nat") -> RawNetwork:
    """One as libvirt's own: the first of its subnets has DHCP."""
    interfaces = tuple(IPv4Interface(address) for address in addresses)
    return RawNetwork(
        name,
        str(uuids.uuid5(uuids.NAMESPACE_DNS, name)),
        active=active,
        forward=forward,
        bridge=f"virbr-{name}"[:15],
        addresses=interfaces,
        served=tuple(interface.network for interface in interfaces[:1]),
    )


class MemoryNetworks:
    """The part of a host in memory that deals with networks. What a test puts into `networks` is there from the start."""

    networks: dict[str, NetworkReading]
    name: str

    def read_network(self, name: str) -> NetworkReading | None:
        self._reach()
        return self.networks.get(name)

    # What happens to a host.

    def add_network(self, raw: RawNetwork, *held: Held) -> None:
        """Somebody makes a network, or changes one."""
        self.networks[raw.name] = NetworkReading(raw, held)
        self._tell("", "network", raw.name)

    def stop_network(self, name: str) -> None:
        """`virsh net-destroy`."""
        reading = self.networks[name]
        stopped = replace(reading.network, active=False)
        entries = tuple(each for each in reading.held if not each.leased)
        self.networks[name] = NetworkReading(stopped, entries)
        self._tell("", "network", name)

    def remove_network(self, name: str) -> None:
        """`virsh net-undefine` of one that does not run."""
        del self.networks[name]
        self._tell("", "network", name)

    def _reach(self) -> None:
        raise NotImplementedError

    def _tell(self, uuid: str, what: str, network: str = "") -> None:
        raise NotImplementedError
