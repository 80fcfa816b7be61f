"""Decide about one address: which one it is, whose it is, and which machine has it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network

from agent.core.facts import Decision, View
from agent.core.known import LOCKS, RELEASED, RESERVED
from agent.core.model import Key, Object, block
from agent.kinds.exports import AddressRanges
from agent.kinds.leases import IP, VM, Standing, standing
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
    found = _found(vmip, view)
    return reserved(IP, vmip, machine_of(vmip, view), found, view, _prefix(found.address, view))


def _prefix(address: str, view: View) -> int:
    network = address_ranges(view).of(address) if address else None
    return network.prefixlen if network is not None else 32


def _found(vmip: Object, view: View) -> Found:
    previous = view.previous(vmip.key)
    known: str = previous.get("address", "")
    if known:
        how = standing(IP, vmip, known, view)
        if how is Standing.OURS:
            return Found(known, how=how)
        if how in (Standing.FREE, Standing.RELEASED):  # nobody has it meanwhile
            return Found(known, how=how)
        if was_bound(previous, LOST):
            lost = f"The lease of {known} is not its own any more: delete it, and make a new one."
            return Found(known, (LOST, lost))
    if why := unread(view):  # a domain may have an address that no lease tells of
        return Found(problem=(NOT_READY, why), soon=True)
    ranges = address_ranges(view)
    if not ranges.networks:
        return Found(problem=(NOT_READY, NO_POOL))
    spec = address_spec(vmip.spec)
    if spec["type"] == "Static":
        return _static(vmip, spec["staticIP"], ranges, view)
    return _automatic(vmip, ranges, view)


def _static(vmip: Object, address: str, ranges: AddressRanges, view: View) -> Found:
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
    if other := _other(vmip, address, view):
        return Found(problem=(ALREADY, TAKEN.format(address, f": {other}")))
    return Found(address, how=how)


def _outside(address: str, network: IPv4Network | None, ranges: AddressRanges) -> str:
    if network is not None:
        what = "first" if address == str(network.network_address) else "last"
        return f"{address} is the {what} address of {network}, which no machine can have."
    known = ", ".join(map(str, ranges.networks))
    return f"{address} is in none of the ranges of virtualMachineCIDRs, which are {known}."


def _automatic(vmip: Object, ranges: AddressRanges, view: View) -> Found:
    def how(address: str) -> Standing:
        network = ranges.of(address)
        usable = network is not None and in_range(network, IPv4Address(address))
        if not usable or _other(vmip, address, view):
            return Standing.TAKEN
        return standing(IP, vmip, address, view)

    for address in _earlier(vmip, view):
        if (known := how(address)) in (Standing.FREE, Standing.RELEASED, Standing.OURS):
            return Found(address, how=known)

    def taken(beginning: str) -> frozenset[str]:
        leases = view.read(LOCKS, block(IP.lease_of(f"{beginning}0"))) or ()
        return frozenset(map(IP.address_of, leases))

    chosen = choose(
        vmip.uid,
        ranges.networks,
        lambda address: how(address) in (Standing.FREE, Standing.OURS),
        taken,
    )
    if chosen is None:
        return Found(problem=(NOT_READY, EMPTY))
    return Found(chosen, how=how(chosen))


def _other(vmip: Object, address: str, view: View) -> str:
    """Who has an address by what hosts show; empty if nobody has."""
    return next(others(vmip, machine_of(vmip, view), address, view), "")


def _earlier(vmip: Object, view: View) -> Iterator[str]:
    """Addresses that its machine has, or had: a domain remembers them, or a lease."""
    yield from (address for address, _ in view.read(RESERVED, vmip.key) or ())
    if machine := made_for(vmip):
        lease = view.read(RELEASED, Key(VM, vmip.key.namespace, machine))
        if lease is not None:
            yield IP.address_of(lease)
