"""What is said of a VM's networks."""

from __future__ import annotations

from collections.abc import Iterable

from agent.core.changes import Change
from agent.core.host import GuestInfo
from agent.core.model import Condition, Json
from agent.kinds.virtual_machine import macs, wiring
from agent.kinds.virtual_machine.definition import DomainFacts
from agent.kinds.virtual_machine.networks import NOT_READY, READY
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import MAIN, NetworkRef, networks

LACKS = "It is tried again; the next start has it."
HAS = "It is tried again; the next start is without it."


def interfaces(
    case: Situation, active: DomainFacts | None, guest: GuestInfo | None
) -> list[dict[str, Json]]:
    """Those of the running instance, in the order of its specification."""
    if active is None:
        return []
    memory = active.metadata
    spec = memory.spec if memory is not None and memory.spec else case.vm.spec
    there = {interface.mac for interface in active.interfaces.interfaces}
    return [
        _interface(case, network, mac, guest)
        for network in networks(spec)
        if (mac := case.cabling.mac(network)) in there
    ]


def main_address(case: Situation, guest: GuestInfo) -> str:
    """What the guest says of an interface to none of its additional networks; Main's, if it has
    one.
    """
    listed = networks(case.vm.spec)
    additional = {case.cabling.mac(network) for network in listed if network["type"] != MAIN}
    addresses = (_address(guest, mac) for mac in guest.addresses if mac not in additional)
    return next(filter(None, addresses), "")


def plugging(case: Situation, pending: Iterable[Change]) -> Condition | None:
    """Why the running instance lacks an interface that it is to have, or still has one that it is
    to lose; None as long as nothing of that has failed.
    """
    active, failures = case.seen.running, case.job.about
    if active is None or not failures:
        return None
    pending = tuple(pending)
    coming = (case.cabling.mac(network) for network in wiring.coming(case, active, pending))
    going = (mac for mac, _ in wiring.going(case, active, pending))
    told = [f"{failures[mac].message}. {LACKS}" for mac in coming if mac in failures]
    told += [f"{failures[mac].message}. {HAS}" for mac in going if mac in failures]
    return Condition(READY, "False", NOT_READY, " ".join(told)) if told else None


def outdated(case: Situation) -> Condition | None:
    """That the running instance is connected as a setting said when it was started; None if it is
    as settings say now, or if something is worse.
    """
    active = case.seen.running
    names = wiring.misled(case, active) if active is not None else ()
    if not names or case.cabling.lacking(case.vm.spec):
        return None
    message = (
        f"{', '.join(names)}: the setting networks has changed; the running instance is connected "
        "as before until its next start."
    )
    return Condition(READY, "True", READY, message)


def _interface(
    case: Situation, network: NetworkRef, mac: str, guest: GuestInfo | None
) -> dict[str, Json]:
    named: dict[str, Json] = {"name": network["name"]} if "name" in network else {}
    reserving = macs.reserving(case.vm, network)
    address = _known(case, mac) if guest is None else _address(guest, mac)
    return {
        "id": network["id"],
        "type": network["type"],
        **named,
        "macAddress": mac,
        **({"virtualMachineMACAddressName": reserving} if reserving else {}),
        **({"ipAddress": address} if address else {}),
    }


def _known(case: Situation, mac: str) -> str:
    """What was told last: the guest does not answer just now."""
    known = case.previous.get("networks", ())
    return next((at.get("ipAddress", "") for at in known if at.get("macAddress") == mac), "")


def _address(guest: GuestInfo, mac: str) -> str:
    addresses = guest.addresses.get(mac, ())
    return next((address for address in addresses if ":" not in address), "")
