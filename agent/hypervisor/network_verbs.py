"""What is done with libvirt's networks."""

from __future__ import annotations

from agent.core.network import Held, NatNetwork, NetworkReading
from agent.hypervisor import network_changes as changes
from agent.hypervisor.caller import Caller
from agent.hypervisor.networks import NetworkReader


class NetworkVerbs(Caller):
    """The part of a host that deals with networks."""

    _networks: NetworkReader

    def read_network(self, name: str) -> NetworkReading | None:
        return self._read(
            f"read network {name}",
            lambda connection: self._networks.read_one(connection, name),
        )

    def make_network(self, network: NatNetwork) -> None:
        self._verb(
            f"define network {network.name}",
            lambda connection: changes.make(connection, network),
            self._deadlines.storage,
            ("network", network.name),
            "networks",
        )

    def start_network(self, name: str) -> None:
        self._verb(
            f"start network {name}",
            lambda connection: changes.start(connection, name),
            self._deadlines.storage,
            ("network", name),
            "networks",
        )

    def hold_address(self, held: Held) -> None:
        self._verb(
            f"hold {held.address} in network {held.network}",
            lambda connection: changes.hold(connection, held),
            self._deadlines.storage,
            ("network", held.network),
            "networks",
        )

    def release_address(self, held: Held) -> None:
        self._verb(
            f"release {held.address} in network {held.network}",
            lambda connection: changes.release(connection, held),
            self._deadlines.storage,
            ("network", held.network),
            "networks",
        )
