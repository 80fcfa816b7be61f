"""The networks of a VM: what each is on its node, and which interface leads there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.core.facts import View
from agent.core.host import RawNode
from agent.core.identity import mac_address
from agent.core.known import NETWORKS
from agent.core.links import MAIN as MAIN_NETWORK
from agent.core.links import USER, Link
from agent.core.model import Key, Object
from agent.kinds.local import Place
from agent.kinds.virtual_machine.spec import MAIN, NetworkRef, networks
from agent.kinds.virtual_machine.wanted import Wire

DEFAULT = "default"
"""libvirt's own network."""


@dataclass(frozen=True)
class Cabling:
    """All that says where the interfaces of a VM lead, whatever its spec."""

    key: Key
    fleet: str
    node: RawNode
    links: Mapping[str, Link] | None
    """As the settings have them; None where every network is there."""

    def link(self, network: NetworkRef) -> Link | None:
        """What a network is on the node; None where nobody has said so."""
        name = MAIN_NETWORK if network["type"] == MAIN else network["name"]
        known = (self.links or {}).get(name)
        if known is not None:
            return known
        if network["type"] == MAIN:
            shared = not self.node.session and DEFAULT in self.node.networks
            return Link(network=DEFAULT) if shared else USER
        return Link(network=name) if self.links is None else None

    def mac(self, network: NetworkRef) -> str:
        if network["type"] == MAIN:
            return mac_address(self.fleet, self.key)
        name = f"{network['type']}/{network['name']}"
        return mac_address(self.fleet, self.key, name, network["id"])

    def wires(self, spec: Mapping[str, object]) -> tuple[Wire, ...]:
        """Those of a spec's networks that are known here, in its order."""
        return tuple(self._wires(spec))

    def _wires(self, spec: Mapping[str, object]) -> Iterator[Wire]:
        for network in networks(spec):
            link = self.link(network)
            if link is not None:
                yield Wire(self.mac(network), link, main=network["type"] == MAIN)


def cabling(vm: Object, view: View, at: Place) -> Cabling:
    return Cabling(vm.key, view.fleet, at.node, view.read(NETWORKS, None))
