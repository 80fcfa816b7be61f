"""What hosts show of an address: whoever has it there has it, whatever leases say."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.facts import View
from agent.core.identity import entry_name, mac_address
from agent.core.known import ANY_NODE, HELD, NETWORKS, USED_BY
from agent.core.links import MAIN
from agent.core.model import Key, Object
from agent.kinds.leases import IP
from agent.kinds.local import places
from agent.kinds.module_config import address_ranges
from agent.kinds.uplink import gateway, uplink


def others(vmip: Object, machine: Key | None, address: str, view: View) -> Iterator[str]:
    """Who else has an address, in words; `machine` is the one that the object is for."""
    named = str(vmip.key)
    yield from (each for each in view.read(USED_BY, (IP.kind, address)) or () if each != named)
    name = entry_name(view.fleet, machine) if machine is not None else None
    mac = mac_address(view.fleet, machine) if machine is not None else None
    for node, held in view.read(HELD, address) or ():
        if held.name != name and held.mac != mac:
            whom = held.name or held.mac or "the node itself"
            yield f"network {held.network} of node {node} holds it for {whom}"
    yield from _hosts_own(address, view)


def _hosts_own(address: str, view: View) -> Iterator[str]:
    """Addresses that ways out of the machines' networks have, or will have."""
    main = (view.read(NETWORKS, None) or {}).get(MAIN)
    if main is not None and address in main.gateways:
        yield "the setting networks has it for a gateway"
    ranges = address_ranges(view)
    if address not in ranges.firsts or view.read(ANY_NODE, None):
        return
    network = ranges.of(address)
    if network is None or address != str(gateway(network)):
        return
    for at in places(view):
        if (own := uplink(view, at).own) is not None:
            yield f"network {own.name} of node {at.name} has it for a gateway"
