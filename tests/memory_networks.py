"""libvirt's networks of a host in memory."""

from __future__ import annotations

import uuid as uuids
from contextlib import AbstractContextManager
from dataclasses import replace
from ipaddress import IPv4Interface

from agent.core.host import HostError
from agent.core.network import Held, NatNetwork, NetworkReading, RawNetwork

DEFAULT = "192.168.122.1/24"


def network(name: str, *addresses: str, active: bool = True, forward: str = "nat") -> RawNetwork:
    """One as libvirt's own: the first of its subnets has DHCP."""
    interfaces = tuple(IPv4Interface(address) for address in addresses)
    return RawNetwork(
        name,
        _uuid(name),
        active=active,
        forward=forward,
        bridge=f"virbr-{name}"[:15],
        addresses=interfaces,
        served=tuple(interface.network for interface in interfaces[:1]),
        serves_later=tuple(interface.network for interface in interfaces[:1]),
    )


def _uuid(name: str) -> str:
    return str(uuids.uuid5(uuids.NAMESPACE_DNS, name))


class MemoryNetworks:
    """The part of a host in memory that deals with networks. What a test puts into `networks` is there from the start."""

    networks: dict[str, NetworkReading]
    name: str

    def read_network(self, name: str) -> NetworkReading | None:
        self._reach()
        return self.networks.get(name)

    def make_network(self, network: NatNetwork) -> None:
        with self._effect("make_network", network.name):
            known = self.networks.get(network.name)
            if known is not None and known.network.fleet != network.fleet:
                raise HostError("NetworkForeign", f"somebody else has made {network.name}")
            raw = known.network if known else RawNetwork(network.name, _uuid(network.name), False)
            later = {*raw.serves_later, *(each.network for each in network.addresses)}
            made = replace(
                raw,
                forward="nat",
                bridge=network.bridge,
                fleet=network.fleet,
                serves_later=tuple(sorted(later)),
            )
            if not raw.active:
                addresses = dict.fromkeys((*raw.addresses, *network.addresses))
                made = replace(made, addresses=tuple(addresses), served=made.serves_later)
            self._becomes(made)

    def start_network(self, name: str) -> None:
        with self._effect("start_network", name):
            raw = self._network(name).network
            if raw.active and set(raw.serves_later) <= set(raw.served):
                return
            if raw.active and self._used(name):
                raise HostError("NetworkInUse", f"machines run on network {name}")
            self._becomes(replace(raw, active=True, served=raw.serves_later))

    def hold_address(self, held: Held) -> None:
        with self._effect("hold_address", f"{held.network}/{held.address}"):
            reading = self._network(held.network)
            others = [each for each in reading.held if each.name != held.name and not each.leased]
            if any(held.mac == each.mac or held.address == each.address for each in others):
                raise HostError("AddressTaken", f"{held.address} is held for somebody else")
            kept = [each for each in reading.held if each in others or each.leased]
            entries = tuple(sorted((*kept, held)))
            self.networks[held.network] = NetworkReading(reading.network, entries)

    def release_address(self, held: Held) -> None:
        with self._effect("release_address", f"{held.network}/{held.address}"):
            reading = self.networks.get(held.network)
            if reading is not None:
                same = replace(held, half=True)
                kept = tuple(each for each in reading.held if each not in (held, same))
                self.networks[held.network] = NetworkReading(reading.network, kept)

    def _network(self, name: str) -> NetworkReading:
        if name not in self.networks:
            raise HostError("NetworkNotFound", f"libvirt has no network {name}")
        return self.networks[name]

    def _becomes(self, raw: RawNetwork) -> None:
        known = self.networks.get(raw.name)
        self.networks[raw.name] = NetworkReading(raw, known.held if known else ())
        self._tell("", "network", raw.name)

    def _used(self, name: str) -> bool:
        raise NotImplementedError

    def _effect(self, verb: str, subject: str, event: str = "") -> AbstractContextManager[None]:
        raise NotImplementedError

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
