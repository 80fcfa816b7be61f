"""Decide about one address: which one it is, whose it is, and which machine has it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from agent.core.facts import Decision, View
from agent.core.known import LOCKS, RELEASED, RESERVED, STATUS
from agent.core.model import Key, Object, block
from agent.kinds.exports import AddressRanges
from agent.kinds.leases import IP, VM, Standing, address_in, standing
from agent.kinds.local import unread
from agent.kinds.module_config import SETTINGS, address_ranges
from agent.kinds.reservation import Found, machine_of, made_for, reserved, was_bound
from agent.kinds.virtual_machine_ip_address.others import others
from agent.kinds.virtual_machine_ip_address.pool import choose, in_range
from agent.kinds.virtual_machine_ip_address.spec import address_spec

NOT_READY = "VirtualMachineIPAddressLeaseNotReady"
LOST = "VirtualMachineIPAddressLeaseLost"
ALREADY = "VirtualMachineIPAddressLeaseAlreadyExists"
OUTSIDE = "VirtualMachineIPAddressIsOutOfTheValidRange"
NO_POOL = (
    f"There is no pool of addresses: give the settings of {SETTINGS} virtualMachineCIDRs, such as "
    "10.66.10.0/24."
)
TAKEN = "The specified IP address {} has already been allocated and has not been released{}."
ELSEWHERE = (
    "The IP address {} belongs to a different namespace, which has released it a short while ago: "
    "it is free for all ten minutes after that."
)
EMPTY = (
    "Failed to allocate new IP address: no remaining ips. Add a range to virtualMachineCIDRs in "
    f"the settings of {SETTINGS}, or delete addresses that nobody needs."
)


def decide(vmip: Object, view: View) -> Decision:
    machine = machine_of(vmip, view)
    found = _found(vmip, machine, view)
    return reserved(IP, vmip, machine, found, view, _prefix(found.address, view))


def _prefix(address: str, view: View) -> int:
    network = address_ranges(view).of(address) if address else None
    return network.prefixlen if network is not None else 32


def _found(vmip: Object, machine: Key | None, view: View) -> Found:
    known = view.part(STATUS, vmip.key, address_in)
    if known:
        how = standing(IP, vmip, known, view)
        if how in (Standing.OWN, Standing.RELEASED):  # nobody has it meanwhile
            return Found(known, how=how)
        if was_bound(vmip.key, LOST, view):
            lost = f"The lease of {known} is not its own any more: delete it, and make a new one."
            return Found(known, (LOST, lost))
    if why := unread(view):  # a domain may have an address that no lease tells of
        return Found(problem=(NOT_READY, why), soon=True)
    ranges = address_ranges(view)
    if not ranges.networks:
        return Found(problem=(NOT_READY, NO_POOL))
    spec = address_spec(vmip.spec)
    if spec["type"] == "Static":
        return _static(vmip, machine, spec["staticIP"], ranges, view)
    return _automatic(vmip, machine, ranges, view)


def _static(
    vmip: Object, machine: Key | None, address: str, ranges: AddressRanges, view: View
) -> Found:
    network = ranges.of(address)
    if network is None or not in_range(network, IPv4Address(address)):
        return Found(problem=(OUTSIDE, _outside(address, network, ranges)))
    how = standing(IP, vmip, address, view)
    if how is Standing.TAKEN:
        holder = view.object(IP.lease_of(address))
        by = f": see {holder.key}" if holder is not None else ""
        return Found(problem=(ALREADY, TAKEN.format(address, by)))
    if how is Standing.ELSEWHERE:
        return Found(problem=(NOT_READY, ELSEWHERE.format(address)))
    if other := next(others(vmip, machine, address, view), ""):
        return Found(problem=(ALREADY, TAKEN.format(address, f": {other}")))
    return Found(address, how=how)


def _outside(address: str, network: IPv4Network | None, ranges: AddressRanges) -> str:
    if network is not None:
        what = "first" if address == str(network.network_address) else "last"
        return f"{address} is the {what} address of {network}, which no machine can have."
    known = ", ".join(map(str, ranges.networks))
    return f"{address} is in none of the ranges of virtualMachineCIDRs, which are {known}."


def _automatic(vmip: Object, machine: Key | None, ranges: AddressRanges, view: View) -> Found:
    def how(address: str) -> Standing:
        """Leases are quicker asked than hosts."""
        known = standing(IP, vmip, address, view)
        if known is Standing.TAKEN or next(others(vmip, machine, address, view), ""):
            return Standing.TAKEN
        return known

    for address in _earlier(vmip, view):
        network = ranges.of(address)
        if network is None or not in_range(network, IPv4Address(address)):
            continue
        if (known := how(address)) in (Standing.OWN, Standing.RELEASED):
            return Found(address, how=known)

    def taken(beginning: str) -> frozenset[str]:
        leases = view.read(LOCKS, block(IP.lease_of(f"{beginning}0"))) or ()
        return frozenset(map(IP.address_of, leases))

    chosen = choose(vmip.uid, ranges.networks, lambda address: how(address) is Standing.OWN, taken)
    return Found(problem=(NOT_READY, EMPTY)) if chosen is None else Found(chosen, how=Standing.OWN)


def _earlier(vmip: Object, view: View) -> Iterator[str]:
    """Addresses that its machine has, or had: a domain remembers them, or a lease."""
    yield from (address for address, _ in view.read(RESERVED, vmip.key) or ())
    if machine := made_for(vmip):
        lease = view.read(RELEASED, Key(VM, vmip.key.namespace, machine))
        if lease is not None:
            yield IP.address_of(lease)
