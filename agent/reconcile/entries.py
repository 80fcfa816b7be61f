"""DHCP entries that this fleet's machines had and that nobody knows any more, as after a machine's
manifest has gone together with the status branch. An entry bears the name of its machine, and the
MAC address that is derived from that name: one with both is ours. Of one with another MAC address
nobody can tell who it is for: it is told, and left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from agent.core.identity import POOL, entry_name, mac_address
from agent.core.model import Key, Problem
from agent.core.network import Held

GRACE = 600.0
"""Seconds for which nobody may know an entry's machine before it goes: as long as its address stays
with its namespace.
"""
MESSAGE = (
    "holds {0} for {1}, by an entry that bears the name of {2}, which nobody knows any more, and "
    "another MAC address than its own: it is left alone, and `virsh net-update {3} delete "
    "ip-dhcp-host \"<host mac='{1}' ip='{0}'/>\" --live --config` on node {4} deletes it"
)
Entry = tuple[str, Held]
"""With its node."""


@dataclass(frozen=True)
class Lost:
    """Entries of machines that nobody knows."""

    ours: tuple[Entry, ...] = ()
    doubtful: tuple[Problem, ...] = ()


def lost(
    entries: Iterable[Entry], fleet: str, kind: str, is_known: Callable[[Key, str], bool]
) -> Lost:
    """`kind` is machines'; `is_known` is told of a machine and of the MAC address of an entry."""
    ours, doubtful = [], []
    for node, held in sorted(entries):
        machines = machines_of(held, fleet, kind)
        if not machines or any(is_known(machine, held.mac) for machine in machines):
            continue
        if held.mac in [mac_address(fleet, machine) for machine in machines]:
            ours.append((node, held))
        else:
            where = f"Network {held.network} of node {node}"
            words = (held.address, held.mac, machines[0], held.network, node)
            doubtful.append(Problem("", 0, where, "", MESSAGE.format(*words)))
    return Lost(tuple(ours), tuple(doubtful))


def machines_of(held: Held, fleet: str, kind: str) -> list[Key]:
    """The machines that an entry may have been written for; none if it bears no name of ours."""
    rest = held.name.removesuffix(f".{fleet}.{POOL}")
    name, _, namespace = rest.rpartition(".")
    if held.leased or rest == held.name or not name:
        return []
    keys = [Key(kind, namespace, each) for each in (name, name.removeprefix("vm-")) if each]
    return [key for key in dict.fromkeys(keys) if entry_name(fleet, key) == held.name]
