"""Where a VM is, and where it belongs. It may run on one node alone: as long as another one may
have its domain, and cannot be read, it is started nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.facts import View
from agent.core.host import RawDomain
from agent.core.known import DOMAIN, DOMAIN_AT, PLACED
from agent.core.metadata import DomainMetadata
from agent.core.migration import Shows, migration_of
from agent.core.model import Object
from agent.core.nodes import HOME
from agent.core.placement.tenants import Ask
from agent.core.status import conditions
from agent.kinds.local import (
    Place,
    away,
    belonging,
    missing,
    nodes,
    place,
    places,
    several,
    unread,
)
from agent.kinds.virtual_machine.migration.crossing import Crossing, crossing
from agent.kinds.virtual_machine.placement import NOWHERE, governed, parted, unfit

BOTH = (
    "Its domain is on the nodes {} at once: it may run twice, and its data may differ. Nothing is "
    "done to either. See which one is right, and undefine the other with `virsh undefine "
    "--keep-nvram`."
)

SENT = (
    "Somebody has migrated it from node {0} to another host, where it may run, and no other node "
    "that can be read has it: it is started nowhere. Have the other host read, or migrate it back; "
    "if it runs nowhere, `virsh start` on node {0} says so."
)
TWICE, SENT_AWAY = "DomainOnSeveralNodes", "DomainSentAway"
"""Reasons of condition Running."""


BETWEEN = ","
"""Stands between the names of nodes that had the domain at once."""


@dataclass(frozen=True)
class Location:
    """`at` is None where nothing can be done; then `why` says why, in a sentence."""

    at: Place | None
    """The node that has the domain, or that is to have it."""
    home: str = ""
    """The node that it belongs to, or the nodes that have its domain; empty where none has been
    chosen for good, and where there is just one.
    """
    why: str = ""
    twice: bool = False
    """True if more than one node has its domain."""
    sent: bool = False
    """True if the only domain of it is what somebody has left who has migrated it."""
    asks: bool = False
    """True of a VM without a domain that is placed beside others."""
    way: Crossing | None = None
    """Of a machine that is between two nodes."""
    lost: tuple[str, ...] = ()
    """The nodes that may have its domain and cannot be read, where nothing else is in the way."""
    instead: str = ""
    """The lost node in whose place it is to be started here."""
    ask: Ask | None = None
    """Its wish for such a place."""
    before: DomainMetadata | None = None
    """What its domain remembered on the lost node, where that was ever read."""


def location(vm: Object, uuid: str, view: View) -> Location:
    there = view.read(DOMAIN_AT, uuid) or ()
    if (way := crossing(uuid, view)) is not None:
        return _between(way, view)
    if len(there) > 1:
        return Location(None, BETWEEN.join(there), BOTH.format(" and ".join(there)), twice=True)
    recorded: str = view.previous(vm.key).get(HOME, "")
    homes = tuple(filter(None, (belonging(view, name) for name in recorded.split(BETWEEN))))
    why = next(filter(None, _hindrances(vm, view, homes, there)), "")
    if why:
        lost = tuple(sorted(node for node in {*there, *homes} if away(view, node)))
        return Location(None, recorded, why, lost=lost)
    if there and _is_sent(vm, uuid, there[0], view):
        return Location(None, there[0], SENT.format(there[0]), sent=True)
    if there:
        return Location(place(view, there[0]), there[0] if several(view) else "")
    if governed(vm, view):
        return _placed(vm, view, next(iter(homes), ""))
    return Location(next(iter(places(view)), None))


def _is_sent(vm: Object, uuid: str, node: str, view: View) -> bool:
    """True of a domain that is off since libvirt has handed its guest over, and whoever had that
    done was not the agent. A restart of libvirtd forgets why a domain is off: what was told then
    holds.
    """
    raw: RawDomain | None = view.read(DOMAIN, (node, uuid))
    if raw is None or raw.active or migration_of(raw) is not None:
        return False
    told = (each for each in conditions(view.previous(vm.key)) if each.type == "Running")
    return raw.reason == "migrated" or (
        raw.reason == "unknown" and any(each.reason == SENT_AWAY for each in told)
    )


def _placed(vm: Object, view: View, home: str) -> Location:
    """Where a VM without a domain is to have it: its node is chosen anew as long as nothing is
    being made there.
    """
    verdict, busy = view.read(PLACED, vm.key), view.job(vm.key).busy
    if verdict is None or busy:
        home = home or (verdict.node if verdict is not None else "")
        if busy and not home:  # whatever is under way is so on the only node
            home = next(iter(nodes(view)), "")
        at = place(view, home) if home else None
        return Location(at, home if several(view) else "", asks=True)
    if verdict.node:
        home = verdict.node
    elif not home or unfit(vm, view, home):
        why = NOWHERE.format(verdict.message), parted(vm, view)
        return Location(None, "", " ".join(filter(None, why)), asks=True)
    return Location(place(view, home), home if several(view) else "", asks=True)


def _between(way: Crossing, view: View) -> Location:
    """Where a machine is that goes from node to node, as far as that can be told."""
    both = BETWEEN.join((way.source, way.target))
    if not way.at:
        return Location(None, both, way.why, twice=way.split, lost=_lost(way))
    if why := away(view, way.at):
        return Location(None, both, way.why or why)
    counts = not way.substitute or way.there.raised or way.at == way.source
    return Location(place(view, way.at), way.at if counts else both, way=way)


def _lost(way: Crossing) -> tuple[str, ...]:
    """The nodes that had it and are off, the last one first, where nothing of it is elsewhere."""
    sides = {way.target: way.there.shows, way.source: way.here.shows}
    if {*sides.values()} - {Shows.FENCED, Shows.ABSENT}:
        return ()
    return tuple(node for node, shows in sides.items() if shows is Shows.FENCED)


def _hindrances(
    vm: Object, view: View, homes: tuple[str, ...], there: tuple[str, ...]
) -> Iterator[str]:
    """Why nobody can tell where the domain is, or what it does."""
    yield from (away(view, node) for node in {*there, *homes})
    if there:
        return
    if view.previous(vm.key).get("virtualMachinePods"):
        yield missing(view)  # there was a domain: somebody may have moved it
    elif not homes:
        yield unread(view)
