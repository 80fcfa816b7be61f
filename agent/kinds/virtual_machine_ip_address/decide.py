"""Decide about one address: which one it is, whose it is, and which machine has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from agent.core.facts import Decision, View
from agent.core.known import CLAIM, LOCKS, RELEASED, RESERVED
from agent.core.model import Condition, Json, Key, Object, block
from agent.core.status import conditions
from agent.kinds.exports import AddressData, AddressRanges
from agent.kinds.leases import BOUND, IP, VM, Standing, is_written, standing
from agent.kinds.local import unread
from agent.kinds.module_config import SETTINGS, address_ranges
from agent.kinds.protection import kept
from agent.kinds.reservation import machine_of, report, users
from agent.kinds.virtual_machine_ip_address.others import others
from agent.kinds.virtual_machine_ip_address.pool import choose, in_range
from agent.kinds.virtual_machine_ip_address.spec import address_spec

NOT_FOUND = "VirtualMachineIPAddressLeaseNotFound"
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


@dataclass(frozen=True)
class _Found:
    """Which address it is. `problem` says why it has none, or not that one, as reason and
    sentence.
    """

    address: str = ""
    problem: tuple[str, str] = ("", "")
    how: Standing | None = None
    """How its lease is got: FREE, it is made; RELEASED, it is taken over; OURS, it is there."""
    soon: bool = False
    """True if it comes without anybody's doing anything."""


def decide(vmip: Object, view: View) -> Decision:
    machine = machine_of(vmip, view)
    if vmip.deleted:
        by = users(vmip, machine, view)
        if not by:
            return Decision(status={"phase": "Terminating"}, gone=True)
    found = _found(vmip, view)
    bound = found.how is Standing.OURS
    reason, said = found.problem
    status = report(found.address, machine, Condition(BOUND, "True", BOUND), "")
    if not bound:
        status = report(found.address, None, Condition(BOUND, "False", reason, said), "Pending")
    if vmip.deleted:
        told = Condition("Terminating", "True", "InUse", kept("address", by))
        status["conditions"] = [*status["conditions"], told]
    ready = bound and is_written(IP, found.address, view)
    return Decision(
        status=status,
        export=AddressData(
            address=found.address if bound else "",
            prefix=_prefix(found.address, view) if bound else 0,
            ready=ready,
            said=said or ("" if ready else "Its lease is being written down."),
            machine=machine,
        ),
        makes=(IP.held(vmip, found.address, _made_for(vmip)),)
        if found.how is Standing.FREE
        else (),
        publish=_claim(vmip, found),
        waiting=found.soon or (bound and not ready),
        ok=bound,
    )


def _claim(vmip: Object, found: _Found) -> dict[Any, Any]:
    if found.how not in (Standing.FREE, Standing.RELEASED):
        return {}
    return CLAIM.states(IP.lease_of(found.address), vmip.key)


def _made_for(vmip: Object) -> str:
    return vmip.owner.name if vmip.owner is not None and vmip.owner.kind == VM else ""


def _prefix(address: str, view: View) -> int:
    network = address_ranges(view).of(address)
    return network.prefixlen if network is not None else 32


def _found(vmip: Object, view: View) -> _Found:
    previous = view.previous(vmip.key)
    known: str = previous.get("address", "")
    if known:
        how = standing(IP, vmip, known, view)
        if how is Standing.OURS:
            return _Found(known, how=how)
        if how in (Standing.FREE, Standing.RELEASED):  # nobody has it meanwhile
            return _asked(known, how)
        if _was_bound(previous):
            lost = f"The lease of {known} is not its own any more: delete it, and make a new one."
            return _Found(known, (LOST, lost))
    if why := unread(view):  # a domain may have an address that no lease tells of
        return _Found(problem=(NOT_READY, why), soon=True)
    ranges = address_ranges(view)
    if not ranges.networks:
        return _Found(problem=(NOT_READY, NO_POOL))
    spec = address_spec(vmip.spec)
    if spec["type"] == "Static":
        return _static(vmip, spec["staticIP"], ranges, view)
    return _automatic(vmip, ranges, view)


def _was_bound(previous: Mapping[str, Json]) -> bool:
    """True if the address has been its own: one that it only asked for may be another's."""
    reasons = {condition.reason for condition in conditions(previous)}
    return previous.get("phase") != "Pending" or LOST in reasons


def _static(vmip: Object, address: str, ranges: AddressRanges, view: View) -> _Found:
    network = ranges.of(address)
    if network is None or not in_range(network, IPv4Address(address)):
        return _Found(problem=(OUTSIDE, _outside(address, network, ranges)))
    how = standing(IP, vmip, address, view)
    if how is Standing.TAKEN:
        holder = view.object(IP.lease_of(address))
        by = f": see {holder.key}" if holder is not None else ""
        return _Found(problem=(ALREADY, TAKEN.format(address, by)))
    if how is Standing.ELSEWHERE:
        return _Found(problem=(NOT_READY, ELSEWHERE.format(address)))
    if other := _other(vmip, address, view):
        return _Found(problem=(ALREADY, TAKEN.format(address, f": {other}")))
    return _asked(address, how)


def _outside(address: str, network: IPv4Network | None, ranges: AddressRanges) -> str:
    if network is not None:
        what = "first" if address == str(network.network_address) else "last"
        return f"{address} is the {what} address of {network}, which no machine can have."
    known = ", ".join(map(str, ranges.networks))
    return f"{address} is in none of the ranges of virtualMachineCIDRs, which are {known}."


def _automatic(vmip: Object, ranges: AddressRanges, view: View) -> _Found:
    def how(address: str) -> Standing:
        network = ranges.of(address)
        usable = network is not None and in_range(network, IPv4Address(address))
        if not usable or _other(vmip, address, view):
            return Standing.TAKEN
        return standing(IP, vmip, address, view)

    for address in _earlier(vmip, view):
        if (known := how(address)) in (Standing.FREE, Standing.RELEASED, Standing.OURS):
            return _asked(address, known)

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
        return _Found(problem=(NOT_READY, EMPTY))
    return _asked(chosen, how(chosen))


def _other(vmip: Object, address: str, view: View) -> str:
    """Who has an address by what hosts show; empty if nobody has."""
    return next(others(vmip, machine_of(vmip, view), address, view), "")


def _earlier(vmip: Object, view: View) -> Iterator[str]:
    """Addresses that its machine has, or had: a domain remembers them, or a lease."""
    yield from (address for address, _ in view.read(RESERVED, vmip.key) or ())
    if machine := _made_for(vmip):
        lease = view.read(RELEASED, Key(VM, vmip.key.namespace, machine))
        if lease is not None:
            yield IP.address_of(lease)


def _asked(address: str, how: Standing) -> _Found:
    message = f"The lease of {address} is being taken."
    return _Found(address, (NOT_FOUND, message), how, soon=True)
