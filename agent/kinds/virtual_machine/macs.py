"""MAC addresses that are reserved for the interfaces of a VM. One that no object is named for has
the address that is derived from its name, and an object that says so is made for it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from agent.core.facts import View
from agent.core.identity import mac_address
from agent.core.metadata import DomainMetadata, Reserved
from agent.core.model import Condition, Key, Manifest, Object
from agent.kinds.exports import AddressData
from agent.kinds.leases import MAC
from agent.kinds.virtual_machine.spec import MAIN, NetworkRef, networks

READY: Final = "VirtualMachineMACAddressReady"
NOT_READY: Final = "VirtualMachineMACAddressNotReady"
NOT_AVAILABLE: Final = "VirtualMachineMACAddressNotAvailable"
FIELD: Final = "virtualMachineMACAddressName"
_DIGITS = 5
_LONGEST = 253


@dataclass(frozen=True)
class Macs:
    """The reserved addresses that a VM's networks name, by the name of the object."""

    known: Mapping[str, str] = field(default_factory=dict)
    """Also those that the domain has and nobody can tell of just now."""
    problems: Mapping[str, Condition] = field(default_factory=dict)
    """Why one may not be used."""

    def of(self, fleet: str, machine: Key, network: NetworkRef) -> str:
        """The address of the interface to a network."""
        named = self.known.get(network.get(FIELD, ""))
        return named or derived(fleet, machine, network)

    def problem(self, network: NetworkRef) -> str:
        """Why an interface cannot have its address, in a sentence; empty if it can."""
        problem = self.problems.get(network.get(FIELD, ""))
        return problem.message if problem is not None else ""

    def conditions(self, spec: Mapping[str, object]) -> tuple[Condition, ...]:
        """Nothing of a machine that names none."""
        names = list(_named(spec))
        problems = [self.problems[name] for name in names if name in self.problems]
        if problems:
            return (problems[0],)
        return (Condition(READY, "True", READY),) if names else ()

    def reserved(self, spec: Mapping[str, object]) -> tuple[Reserved, ...]:
        """What a domain remembers of them."""
        names = (name for name in _named(spec) if name in self.known)
        return tuple(Reserved(MAC.kind, name, self.known[name]) for name in names)


NONE = Macs()
"""Of a machine that names none."""


def macs(
    vm: Object, view: View, memories: tuple[DomainMetadata, ...], *specs: Mapping[str, object]
) -> Macs:
    """Those that these specs of a VM name."""
    names = {name for spec in specs for name in _named(spec)}
    if not names:
        return NONE
    has = {
        each.name: each.address
        for memory in memories
        for each in memory.addresses
        if each.kind == MAC.kind
    }
    known, problems = {name: has[name] for name in names if name in has}, {}
    for name in sorted(names):
        key = Key(MAC.kind, vm.key.namespace, name)
        data = view.export(AddressData, key)
        problem = _problem(vm, key, data, there=view.object(key) is not None)
        if problem is not None:
            problems[name] = problem
        elif data is not None:
            known[name] = data.address
    return Macs(known, problems)


def _problem(vm: Object, key: Key, data: AddressData | None, *, there: bool) -> Condition | None:
    if not there:
        message = f"{key} is not there: create it, or name another one in spec.networks."
        return Condition(READY, "False", NOT_READY, message)
    if data is None or data.machine not in (None, vm.key):
        message = f"{key} is attached to {data.machine if data else 'nobody'}: name another one."
        return Condition(READY, "False", NOT_AVAILABLE, message)
    if not data.ready:
        return Condition(READY, "False", NOT_READY, f"{key}: {data.said}")
    return None


def _named(spec: Mapping[str, object]) -> Iterator[str]:
    return (name for network in networks(spec) if (name := network.get(FIELD, "")))


def derived(fleet: str, machine: Key, network: NetworkRef) -> str:
    if network["type"] == MAIN:
        return mac_address(fleet, machine)
    name = f"{network['type']}/{network['name']}"
    return mac_address(fleet, machine, name, network["id"])


def automatic(vm: Object, network: NetworkRef) -> Key:
    """The object that is made for the interface to an additional network."""
    text = f"{vm.uid}/{network['type']}/{network.get('name', '')}/{network['id']}"
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    name = vm.key.name[: _LONGEST - _DIGITS - 1].rstrip("-.")
    return Key(MAC.kind, vm.key.namespace, f"{name}-{digest}")


def reserving(vm: Object, network: NetworkRef) -> str:
    """Name of the object that reserves the address of an interface; empty for Main's own."""
    named = network.get(FIELD, "")
    return named or (automatic(vm, network).name if network["type"] != MAIN else "")


def made(vm: Object, fleet: str) -> Iterator[Manifest]:
    """The objects that are made for its interfaces."""
    labels = {"virtualization.deckhouse.io/virtual-machine-uid": vm.uid}
    for network in networks(vm.spec):
        if network["type"] != MAIN and not network.get(FIELD):
            spec = {"address": derived(fleet, vm.key, network)}
            yield Manifest(automatic(vm, network), labels, {}, {"spec": spec})
