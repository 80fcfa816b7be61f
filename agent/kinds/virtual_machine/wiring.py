"""The interfaces of a running instance: those that it has, those that it is to have, and those that
it is said to have.

It is said in its metadata, as the networks of its spec, after an interface has come or gone. So
what it has beside these, and nobody asks for, somebody has plugged in by hand; and what it lacks of
them, although somebody still asks for it, somebody has unplugged.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.changes import Change, applied
from agent.core.metadata import DomainMetadata
from agent.kinds.virtual_machine.addresses import address_of
from agent.kinds.virtual_machine.changes import NETWORKS
from agent.kinds.virtual_machine.elements.interfaces import Interface, Interfaces, as_asked
from agent.kinds.virtual_machine.networks import called
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import NetworkRef, networks
from agent.kinds.virtual_machine.wanted import can_be_plugged


def target(
    case: Situation, active: DomainMetadata, pending: Iterable[Change]
) -> Mapping[str, object]:
    """The spec that the instance is to run now, with all that needs no restart."""
    spec = applied(active.spec, case.sealed, pending)
    return _with(spec, active.spec) if case.cabling.lacking(case.vm.spec) else spec


def said(
    case: Situation, active: DomainMetadata, pending: Iterable[Change]
) -> Mapping[str, object]:
    """The spec that it is said to run: `target` with the networks that it has by now."""
    spec = target(case, active, pending)
    if networks(spec) == networks(active.spec):
        return spec
    there, mac = present(case), case.cabling.mac
    known = {mac(network) for network in networks(active.spec)}
    wanted = {mac(network) for network in networks(spec)}
    listed = [each for each in networks(spec) if mac(each) in there | known]
    listed += [
        each for each in networks(active.spec) if mac(each) in there and mac(each) not in wanted
    ]
    if tuple(listed) == networks(spec):
        return spec
    if _unordered(listed) == _unordered(networks(active.spec)):
        return _with(spec, active.spec)
    return {**spec, NETWORKS: listed}


def present(case: Situation) -> frozenset[str]:
    """MAC addresses of the interfaces that the instance has."""
    active = case.seen.active
    interfaces = active.interfaces.interfaces if active is not None else ()
    return frozenset(interface.mac for interface in interfaces)


def coming(
    case: Situation, active: DomainMetadata, pending: Iterable[Change]
) -> tuple[NetworkRef, ...]:
    """Networks that it is to be connected to."""
    if not _can_tell(case, active):
        return ()
    there, known = present(case), _macs(case, active.spec)
    wanted = networks(target(case, active, pending))
    return tuple(
        network
        for network in wanted
        if (mac := case.cabling.mac(network)) not in there and not (_left(case) and mac in known)
    )


def going(
    case: Situation, active: DomainMetadata, pending: Iterable[Change]
) -> tuple[tuple[str, str], ...]:
    """Interfaces that it is to lose: the MAC address of each, and what people call it."""
    if not _can_tell(case, active):
        return ()
    known = {case.cabling.mac(network): network for network in networks(active.spec)}
    wanted = _macs(case, target(case, active, pending))
    return tuple(
        (mac, called(known[mac]) if mac in known else f"interface {mac}")
        for mac in sorted(present(case) - wanted)
        if mac in known or not _left(case)
    )


def misled(case: Situation, active: DomainMetadata) -> tuple[str, ...]:
    """Networks that the instance is connected to in another way than their settings say by now."""
    there = case.seen.active
    if there is None or case.report_only:
        return ()
    wires = case.cabling.wires(active.spec, address_of(active))
    wanted = Interfaces(tuple(Interface(wire.mac, wire.link, "", ()) for wire in wires))
    links = {wire.mac: wire.link for wire in wires}
    macs = case.cabling.by_setting(active.spec)
    return tuple(
        called(network)
        for network in networks(active.spec)
        for each in as_asked(there.interfaces, wanted).interfaces
        if each.mac == case.cabling.mac(network) and each.mac in macs
        if each.link != links.get(each.mac, each.link)
    )


def _can_tell(case: Situation, active: DomainMetadata) -> bool:
    """True if interfaces can be plugged, and all that are there are known."""
    raw = case.seen.raw
    return can_be_plugged(active.spec) and raw is not None and not raw.remembered


def _left(case: Situation) -> bool:
    """True if what people did by hand is left."""
    return case.report_only or case.seen.block_job


def _macs(case: Situation, spec: Mapping[str, object]) -> frozenset[str]:
    return frozenset(case.cabling.mac(network) for network in networks(spec))


def _unordered(listed: Iterable[NetworkRef]) -> list[NetworkRef]:
    return sorted(listed, key=lambda network: network["id"])


def _with(spec: Mapping[str, object], of: Mapping[str, object]) -> Mapping[str, object]:
    """The spec with the networks of another one."""
    others = {name: value for name, value in spec.items() if name != NETWORKS}
    return {**others, NETWORKS: of[NETWORKS]} if NETWORKS in of else others
