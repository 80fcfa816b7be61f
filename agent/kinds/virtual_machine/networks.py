"""The networks of a VM: what each is on its node, and which interface leads there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.core.facts import View
from agent.core.host import RawNode
from agent.core.known import ANY_NODE, NETWORK, NETWORKS
from agent.core.links import MAIN as MAIN_NETWORK
from agent.core.links import USER, Link, lacking
from agent.core.metadata import DomainMetadata
from agent.core.model import Condition, Key, Object
from agent.core.network import RawNetwork
from agent.kinds.local import Place
from agent.kinds.uplink import DEFAULT, NOWHERE, Uplink, uplink
from agent.kinds.virtual_machine.macs import NONE as NO_MACS
from agent.kinds.virtual_machine.macs import Macs, macs
from agent.kinds.virtual_machine.spec import MAIN, NetworkRef, machine_spec, networks
from agent.kinds.virtual_machine.wanted import Wire, most_interfaces

READY, NOT_READY = "NetworkReady", "NetworkNotReady"


@dataclass(frozen=True)
class Cabling:
    """All that says where the interfaces of a VM lead, whatever its spec."""

    key: Key
    fleet: str
    node: RawNode
    links: Mapping[str, Link] | None
    """As the settings have them; None where every network is there."""
    networks: Mapping[str, RawNetwork] = field(default_factory=dict)
    """libvirt's networks that these name and the node has."""
    anywhere: bool = False
    """True where no host is asked: a node may have everything."""
    uplink: Uplink = NOWHERE
    """What Main is for machines with a reserved address."""
    macs: Macs = NO_MACS
    """Addresses that are reserved for its interfaces."""

    def lacking(self, spec: Mapping[str, object]) -> tuple[str, ...]:
        """What is missing for the interfaces of a spec, in sentences."""
        wanted = networks(spec)
        problems = tuple(filter(None, map(self._lacking, wanted)))
        return problems or tuple(self._too_many(spec))

    def conditions(self, spec: Mapping[str, object]) -> tuple[Condition, ...]:
        """Whether its interfaces lead where they should; nothing of a machine that has just Main,
        as long as all is well.
        """
        problems = self.lacking(spec)
        if problems:
            lacks = Condition(READY, "False", NOT_READY, " ".join(problems))
            return (lacks, *self.macs.conditions(spec))
        additional = any(network["type"] != MAIN for network in networks(spec))
        well = (Condition(READY, "True", READY),) if additional else ()
        return (*well, *self.macs.conditions(spec))

    def _lacking(self, network: NetworkRef) -> str:
        if problem := self.macs.problem(network):
            return f"{called(network)}: {problem}"
        link = self.link(network)
        name = _name(network)
        if link is None:
            return (
                f"{called(network)} is not known here: say what it is on the hosts in the agent's "
                f"setting networks (`networks: {{{name}: {{bridge: br0}}}}`), or take it out of "
                "spec.networks."
            )
        if self.anywhere or name not in (self.links or {}):
            return ""
        problem = lacking(link, self.node, self.networks.get(link.network))
        return f"{called(network)}: {problem}" if problem else ""

    def _too_many(self, spec: Mapping[str, object]) -> Iterator[str]:
        room, wanted = most_interfaces(machine_spec(spec)), len(networks(spec))
        if wanted > room:
            yield f"It has room for {room} interfaces, and spec.networks names {wanted}."

    def link(self, network: NetworkRef, *, reserved: bool = False) -> Link | None:
        """What a network is on the node; None where nobody has said so. `reserved` is True of a
        machine with an address for Main.
        """
        if network["type"] == MAIN and reserved:
            return self.uplink.link
        name = _name(network)
        known = (self.links or {}).get(name)
        if known is not None:
            return known
        if network["type"] == MAIN:
            shared = not self.node.session and DEFAULT in self.node.networks
            return Link(network=DEFAULT) if shared else USER
        return Link(network=name) if self.links is None else None

    def by_setting(self, spec: Mapping[str, object]) -> frozenset[str]:
        """MAC addresses of the interfaces to networks that a setting says what they are: it may
        have changed since.
        """
        named = self.links or {}
        return frozenset(self.mac(network) for network in networks(spec) if _name(network) in named)

    def mac(self, network: NetworkRef) -> str:
        return self.macs.of(self.fleet, self.key, network)

    def main_mac(self, spec: Mapping[str, object]) -> str:
        """Of the interface to Main that a spec asks for, or would."""
        alone: NetworkRef = {"id": 1, "type": MAIN}
        main = (network for network in networks(spec) if network["type"] == MAIN)
        return self.mac(next(main, alone))

    def wires(self, spec: Mapping[str, object], address: str = "") -> tuple[Wire, ...]:
        """Those of a spec's networks that are known here, in its order. `address` is the one that
        is reserved for Main, and the only one that its filter lets through.
        """
        return tuple(self._wires(spec, address))

    def _wires(self, spec: Mapping[str, object], address: str) -> Iterator[Wire]:
        for network in networks(spec):
            link, main = self.link(network, reserved=bool(address)), network["type"] == MAIN
            if link is not None:
                ip = address if main and link.filter else ""
                yield Wire(self.mac(network), link, main, ip)


def cabling(
    vm: Object,
    view: View,
    at: Place,
    *specs: Mapping[str, object],
    memories: tuple[DomainMetadata, ...] = (),
) -> Cabling:
    """Where the interfaces of these specs of the VM lead."""
    links = view.read(NETWORKS, None)
    named = {_name(network) for spec in specs for network in networks(spec)}
    wanted = {link.network for name, link in (links or {}).items() if name in named}
    found = ((name, view.read(NETWORK, (at.name, name))) for name in sorted(wanted - {""}))
    return Cabling(
        vm.key,
        view.fleet,
        at.node,
        links,
        {name: network for name, network in found if network is not None},
        anywhere=view.read(ANY_NODE, None) is True,
        uplink=uplink(view, at),
        macs=macs(vm, view, memories, *specs),
    )


def called(network: NetworkRef) -> str:
    """How people call it."""
    return f"{network['type']} {network['name']}" if "name" in network else "network Main"


def _name(network: NetworkRef) -> str:
    """How the settings call it."""
    return MAIN_NETWORK if network["type"] == MAIN else network["name"]
