"""Verbs on libvirt's networks. Each network is read again at the end, as it is then."""

from __future__ import annotations

from dataclasses import replace

from agent.core.host import HostError
from agent.core.network import Held, NetworkReading, RawNetwork
from agent.core.network_actions import HoldAddress, MakeNetwork, ReleaseAddress, StartNetwork
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import A, Done, Verb
from agent.reconcile.world import NetworkRead


class OnNetwork(Verb[A]):
    """One at a time: libvirt loads the host's firewall anew for each."""

    networks = True


class Make(OnNetwork[MakeNetwork]):
    def changes(self, action: MakeNetwork) -> str:
        return action.network.name

    def perform(self, action: MakeNetwork, site: Site) -> Done:
        site.node.make_network(action.network)
        return Done()

    def simulate(self, action: MakeNetwork, facts: Facts) -> Done:
        wanted = action.network
        known = facts.read_network(wanted.name)
        raw = RawNetwork(wanted.name, "", active=False) if known is None else known.network
        if known is not None and raw.fleet != wanted.fleet:
            raise HostError("NetworkForeign", f"somebody else has made network {wanted.name}")
        later = dict.fromkeys((*raw.serves_later, *(each.network for each in wanted.addresses)))
        made = replace(raw, forward="nat", bridge=wanted.bridge, fleet=wanted.fleet)
        made = replace(made, serves_later=tuple(later))
        if not raw.active:
            addresses = dict.fromkeys((*raw.addresses, *wanted.addresses))
            made = replace(made, addresses=tuple(addresses), served=made.serves_later)
        return _became(NetworkReading(made, known.held if known else ()), facts)


class Start(OnNetwork[StartNetwork]):
    def changes(self, action: StartNetwork) -> str:
        return action.network

    def perform(self, action: StartNetwork, site: Site) -> Done:
        site.node.start_network(action.network)
        return Done()

    def simulate(self, action: StartNetwork, facts: Facts) -> Done:
        known = _known(action.network, facts)
        raw = replace(known.network, active=True, served=known.network.serves_later)
        return _became(replace(known, network=raw), facts)


class Hold(OnNetwork[HoldAddress]):
    def changes(self, action: HoldAddress) -> str:
        return action.held.network

    def perform(self, action: HoldAddress, site: Site) -> Done:
        site.node.hold_address(action.held)
        return Done()

    def simulate(self, action: HoldAddress, facts: Facts) -> Done:
        held = action.held
        known = _known(held.network, facts)
        others = [each for each in known.held if each.name != held.name or each.leased]
        if any(_excludes(each, held) for each in others):
            raise HostError("AddressTaken", f"{held.address} is held for somebody else")
        return _became(replace(known, held=tuple(sorted((*others, held)))), facts)


class Release(OnNetwork[ReleaseAddress]):
    def changes(self, action: ReleaseAddress) -> str:
        return action.held.network

    def perform(self, action: ReleaseAddress, site: Site) -> Done:
        site.node.release_address(action.held)
        return Done()

    def simulate(self, action: ReleaseAddress, facts: Facts) -> Done:
        known = facts.read_network(action.held.network)
        if known is None:
            return Done()
        whole = replace(action.held, half=False)
        kept = tuple(each for each in known.held if replace(each, half=False) != whole)
        return _became(replace(known, held=kept), facts)


def _excludes(other: Held, held: Held) -> bool:
    same = other.mac == held.mac or other.address == held.address
    return same and not other.leased


def _known(name: str, facts: Facts) -> NetworkReading:
    known = facts.read_network(name)
    if known is None:
        raise HostError("NetworkNotFound", f"libvirt has no network {name}")
    return known


def _became(reading: NetworkReading, facts: Facts) -> Done:
    return Done((NetworkRead(0, facts.name, reading.network.name, reading),))
