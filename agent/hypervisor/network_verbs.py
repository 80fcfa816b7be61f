"""What is done with libvirt's networks."""

from __future__ import annotations

from agent.core.network import NetworkReading
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
