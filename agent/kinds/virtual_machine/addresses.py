"""The address of a VM: which object reserves it, whether it may be used, and what is told of it."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

from agent.core.facts import Decide, Decision, View
from agent.core.host import GuestInfo
from agent.core.known import MADE_FOR, OWNED, RESERVED, Fact
from agent.core.metadata import DomainMetadata, Reserved
from agent.core.model import Condition, Key, Manifest, Object
from agent.kinds.exports import AddressData
from agent.kinds.leases import IP, MAC
from agent.kinds.module_config import address_ranges
from agent.kinds.virtual_machine import macs
from agent.kinds.virtual_machine.spec import has_main, machine_spec

READY: Final = "VirtualMachineIPAddressReady"
NOT_READY: Final = "VirtualMachineIPAddressNotReady"
NOT_ASSIGNED: Final = "VirtualMachineIPAddressNotAssigned"
NOT_AVAILABLE: Final = "VirtualMachineIPAddressNotAvailable"
FIELD: Final = "spec.virtualMachineIPAddressName"
_LONGEST = 253
_DIGITS = 5
_NO_DATA = AddressData()
_WELL = Condition(READY, "True", READY)


@dataclass(frozen=True)
class Address:
    """What reserves the address of Main, and how far that is."""

    vmip: Key | None = None
    """None where no addresses are given out."""
    data: AddressData = _NO_DATA
    condition: Condition = _WELL
    waiting: bool = False
    """True if it comes without anybody's doing anything."""

    @property
    def ready(self) -> bool:
        """True if the next instance may have it."""
        return self.condition.status == "True"

    @property
    def reserved(self) -> tuple[Reserved, ...]:
        """What a domain remembers of it."""
        if self.vmip is None or not self.ready:
            return ()
        return (Reserved(self.vmip.kind, self.vmip.name, self.data.address),)


NONE = Address()
"""Of a machine that gets none from here."""


def automatic(vm: Object) -> Key:
    """The address that is made for a VM which names none: another VM of its name has another."""
    digest = hashlib.sha256(vm.uid.encode()).hexdigest()[:_DIGITS]
    name = vm.key.name[: _LONGEST - _DIGITS - 1].rstrip("-.")
    return Key(IP.kind, vm.key.namespace, f"{name}-{digest}")


def address(vm: Object, view: View) -> Address:
    """The address of the next instance."""
    vmip, problem = _reserving(vm, view)
    if vmip is None:
        return NONE
    obj, data = view.object(vmip), view.export(AddressData, vmip) or _NO_DATA
    if problem:
        return _not(vmip, data, NOT_READY, problem)
    if obj is None and vmip == automatic(vm):
        return replace(_not(vmip, data, NOT_READY, f"{vmip} is being made."), waiting=True)
    if obj is None:
        message = f"{vmip} is not there: create it, or name another one in {FIELD}."
        return _not(vmip, data, NOT_READY, message)
    if data.machine not in (None, vm.key):
        message = f"{vmip} is attached to {data.machine}: name another one in {FIELD}."
        return _not(vmip, data, NOT_AVAILABLE, message)
    if obj.deleted and data.machine is None:
        return _not(vmip, data, NOT_READY, f"{vmip} is being deleted: its manifest is gone.")
    if not data.ready:
        waits = replace(_not(vmip, data, NOT_READY, f"{vmip}: {data.said}"))
        return replace(waits, waiting=view.under_way(vmip))
    return Address(vmip, data)


def _not(vmip: Key, data: AddressData, reason: str, message: str) -> Address:
    return Address(vmip, data, Condition(READY, "False", reason, message))


def _reserving(vm: Object, view: View) -> tuple[Key | None, str]:
    """What reserves its address, and why it must not, in a sentence."""
    named = machine_spec(vm.spec).get("virtualMachineIPAddressName")
    if named:
        return Key(IP.kind, vm.key.namespace, named), ""
    own = automatic(vm)
    if view.object(own) is not None:
        return own, ""
    if not has_main(vm.spec) or not address_ranges(view).networks:
        return None, ""
    same = own._replace(name=vm.key.name)
    if view.object(same) is None:
        return own, ""
    return own, (
        f"{same} bears the machine's own name: name it in {FIELD} if it is meant for it, else give "
        "it another name."
    )


def still_its_own(vm: Object, memory: DomainMetadata, view: View) -> bool:
    """True if what a domain is defined with is still reserved for it."""
    known = ((each, view.export(AddressData, _key(vm, each))) for each in memory.addresses)
    return all(
        data is not None and (data.address, data.machine) == (each.address, vm.key)
        for each, data in known
    )


def _key(vm: Object, reserved: Reserved) -> Key:
    return Key(reserved.kind, vm.key.namespace, reserved.name)


def addressing(decide: Decide) -> Decide:
    """The same decisions, with the address that is made for a machine."""

    def decided(vm: Object, view: View) -> Decision:
        decision = decide(vm, view)
        if vm.deleted:
            return decision
        wanted = {each.key: each for each in _made(vm, view)}
        facts: dict[Fact, Any] = {**decision.publish}
        for key in wanted:
            facts |= MADE_FOR.states(key, vm.key)
        missing = [each for key, each in wanted.items() if _is_missing(key, view)]
        return replace(
            decision,
            makes=(*decision.makes, *missing),
            drops=decision.drops | frozenset(_left(vm, wanted.keys(), view)),
            publish=facts,
        )

    return decided


def _made(vm: Object, view: View) -> Iterator[Manifest]:
    """What is to be there for it, and it alone."""
    vmip, problem = _reserving(vm, view)
    if vmip is not None and vmip == automatic(vm) and not problem:
        yield _manifest(vm, vmip)
    yield from macs.made(vm, view.fleet)


def _is_missing(key: Key, view: View) -> bool:
    there = view.object(key)
    return there is None or bool(there.deleted)


def _manifest(vm: Object, vmip: Key) -> Manifest:
    labels = {"virtualization.deckhouse.io/virtual-machine-uid": vm.uid}
    return Manifest(vmip, labels, {}, {"spec": {"type": "Auto"}})


def _left(vm: Object, wanted: Container[Key], view: View) -> Iterator[Key]:
    """What was made for it and is not wanted any more, once no domain has it."""
    for key in view.read(OWNED, vm.key) or ():
        reserves = key.kind in (IP.kind, MAC.kind)
        if reserves and key not in wanted and not view.read(RESERVED, key):
            yield key


@dataclass(frozen=True)
class Told:
    """What a VM's status says of its address."""

    name: str
    address: str
    condition: Condition


def told(
    wanted: Address, running: DomainMetadata | None, guest: GuestInfo | None, seen: str
) -> Told:
    """`running` is what the instance was started with, None while there is none; `seen` is the
    address that its guest uses, as far as anybody knows.
    """
    name = wanted.vmip.name if wanted.vmip is not None and wanted.data.address else ""
    has = _main(running) if running is not None else None
    if has is None:
        if running is None or not name:
            return Told(name, wanted.data.address or seen, wanted.condition)
        later = f"{wanted.data.address} is its address from the next start on."
        told_later = replace(wanted.condition, message=wanted.condition.message or later)
        return Told(name, seen, told_later)
    condition = wanted.condition
    if wanted.ready and _uses_another(has.address, guest):
        others = ", ".join(sorted(_reported(guest)))
        message = (
            f"The guest has {others} and not {has.address}, which is reserved for it: it may not "
            "ask for its address by DHCP, or still has an earlier one."
        )
        condition = Condition(READY, "False", NOT_ASSIGNED, message)
    return Told(has.name, has.address, condition)


def address_of(memory: DomainMetadata | None) -> str:
    """The address of Main that a domain remembers; empty where it has none."""
    main = _main(memory) if memory is not None else None
    return main.address if main is not None else ""


def _main(memory: DomainMetadata) -> Reserved | None:
    return next((each for each in memory.addresses if each.kind == IP.kind), None)


def _reported(guest: GuestInfo | None) -> set[str]:
    """The IPv4 addresses that a guest says it has."""
    listed = guest.addresses.values() if guest is not None else ()
    return {address for addresses in listed for address in addresses if ":" not in address}


def _uses_another(address: str, guest: GuestInfo | None) -> bool:
    known = _reported(guest)
    return bool(known) and address not in known
