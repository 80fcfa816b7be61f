"""What networks are to hold for a VM: for its next start, for what runs, and where it goes to."""

from __future__ import annotations

from agent.core.actions import Action
from agent.core.facts import View
from agent.core.metadata import DomainMetadata
from agent.kinds.local import Place
from agent.kinds.uplink import uplink
from agent.kinds.virtual_machine.addresses import address_of
from agent.kinds.virtual_machine.delivery import Holding, Instance, awaited, holding
from agent.kinds.virtual_machine.situation import Situation


def held(case: Situation, memory: DomainMetadata, view: View) -> Holding:
    """What is to be held now. Of one that is off it is what its next start asks for, whoever starts
    it.
    """
    if case.running is None or not case.running.on:
        return held_for_start(case, memory, view)
    if case.deleted:
        return Holding()
    up, mac = case.cabling.uplink, _mac(case, memory)
    return holding(case.vm.key, view, up, mac, address_of(memory), _instance(case, mac))


def held_for_start(case: Situation, memory: DomainMetadata, view: View) -> Holding:
    """What is to be held for the next start."""
    if case.deleted:
        return Holding()
    up, mac = case.cabling.uplink, case.cabling.main_mac(memory.spec)
    return holding(case.vm.key, view, up, mac, address_of(memory))


def held_ahead(
    case: Situation, memory: DomainMetadata, to: Place, view: View
) -> tuple[Action, ...]:
    """Have the network that what runs comes to hold its address before it leaves. Where it stays
    after all, that is taken away like all that others than its own network hold.
    """
    mac = _mac(case, memory)
    return awaited(case.vm.key, view, uplink(view, to), mac, _instance(case, mac))


def _mac(case: Situation, memory: DomainMetadata) -> str:
    return case.cabling.main_mac((case.seen.running or memory).spec)


def _instance(case: Situation, mac: str) -> Instance:
    links = case.seen.active.interfaces.links if case.seen.active is not None else {}
    return Instance(address_of(case.seen.running), links[mac].network if mac in links else "")
