"""Decide about one MAC address: which one it is, and which machine has it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from agent.core.facts import Decision, View
from agent.core.identity import domain_uuid
from agent.core.known import RESERVED, STATUS, USED_BY, WIRED
from agent.core.model import Key, Object
from agent.kinds.leases import MAC, Standing, address_in, standing
from agent.kinds.local import unread
from agent.kinds.reservation import Found, machine_of, reserved, was_bound
from agent.kinds.virtual_machine_mac_address.spec import address_of

NOT_READY = "VirtualMachineMACAddressLeaseNotReady"
LOST = "VirtualMachineMACAddressLeaseLost"
ALREADY = "VirtualMachineMACAddressLeaseAlreadyExists"
TAKEN = "The specified MAC address {} is in use already: {}."
TRIES = 8


def decide(vmmac: Object, view: View) -> Decision:
    machine = machine_of(vmmac, view)
    return reserved(MAC, vmmac, machine, _found(vmmac, machine, view), view)


def _found(vmmac: Object, machine: Key | None, view: View) -> Found:
    known = view.part(STATUS, vmmac.key, address_in)
    if known:
        how = standing(MAC, vmmac, known, view)
        if how in (Standing.OWN, Standing.RELEASED):
            return Found(known, how=how)
        if was_bound(vmmac.key, LOST, view):
            lost = f"The lease of {known} is not its own any more: delete it, and make a new one."
            return Found(known, (LOST, lost))
    if why := unread(view):
        return Found(problem=(NOT_READY, why), soon=True)
    problem = ""
    for address in _candidates(vmmac, view):
        how = standing(MAC, vmmac, address, view)
        problem = next(_others(vmmac, machine, address, view), "")
        if how is not Standing.TAKEN and not problem:
            return Found(address, how=how)
        holder = view.object(MAC.lease_of(address))
        problem = TAKEN.format(address, problem or (f"see {holder.key}" if holder else "claimed"))
    return Found(problem=(ALREADY, problem))


def _candidates(vmmac: Object, view: View) -> Iterator[str]:
    """The one that it asks for; else what a domain remembers, and some that its uid gives."""
    asked = address_of(vmmac.spec)
    if asked:
        yield asked
        return
    yield from (address for address, _ in view.read(RESERVED, vmmac.key) or ())
    for count in range(TRIES):
        digest = hashlib.sha256(f"{vmmac.uid}/{count}".encode()).digest()
        yield ":".join(["52", *(f"{byte:02x}" for byte in digest[:5])])


def _others(vmmac: Object, machine: Key | None, address: str, view: View) -> Iterator[str]:
    """Who else has an address by what hosts show, in words."""
    named, own = str(vmmac.key), domain_uuid(view.fleet, machine) if machine is not None else ""
    yield from (
        f"{each} has it" for each in view.read(USED_BY, (MAC.kind, address)) or () if each != named
    )
    yield from (
        f"a machine on a host has it ({uuid})"
        for uuid in view.read(WIRED, address) or ()
        if uuid != own
    )
