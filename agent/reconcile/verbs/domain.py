"""Verbs on a domain."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TypeVar

from agent.core.actions import (
    DefineDomain,
    DefinitionAction,
    DestroyDomain,
    DomainAction,
    ResumeDomain,
    SetLiveMetadata,
    ShutdownDomain,
    StartDomain,
    UndefineDomain,
)
from agent.core.domain_xml import parse, with_metadata_xml
from agent.core.host import HostError, RawDomain, version
from agent.core.network import Held
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.running import runs
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, OutdatedError, Sight, Verb
from agent.reconcile.world import DomainRead

D = TypeVar("D", bound=DomainAction)
R = TypeVar("R", bound=DefinitionAction)


class OnDomain(Verb[D]):
    """The domain is read again at the end, as it is then."""

    def touches(self, action: D) -> tuple[tuple[str, str], ...]:
        return ((action.node, action.uuid),)


class _Redefines(OnDomain[R]):
    """Somebody may have changed the domain since it was decided: a snapshot taken by hand puts its
    disks on other files, and no event tells of it.
    """

    def stands(self, action: R, sight: Sight) -> bool:
        if version(sight.node.read_domain(action.uuid)) != action.over:
            raise _changed("the domain", action.node, action.uuid)
        return True


class Define(_Redefines[DefineDomain]):
    def perform(self, action: DefineDomain, site: Site) -> Done:
        site.node.define(action.xml)
        return Done()

    def simulate(self, action: DefineDomain, facts: Facts) -> Done:
        known = facts.read_domain(action.uuid)
        if known is None:
            name = parse(action.xml).findtext("name") or ""
            known = RawDomain(action.uuid, name, "shutoff", "unknown", "")
        return became(replace(known, inactive_xml=action.xml), facts)


class Undefine(_Redefines[UndefineDomain]):
    def perform(self, action: UndefineDomain, site: Site) -> Done:
        site.node.undefine(action.uuid)
        return Done()

    def simulate(self, action: UndefineDomain, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is not None and raw.active:
            raise HostError("DomainRunning", f"cannot undefine {raw.name}: it is running")
        return Done((DomainRead(0, facts.name, action.uuid, None),))


class Start(OnDomain[StartDomain]):
    def alone(self, action: StartDomain, site: Site) -> AbstractContextManager[object]:
        return site.start()

    def stands(self, action: StartDomain, sight: Sight) -> bool:
        unchanged(action.beside, sight)
        if action.holds is not None:
            _held(action.holds, sight)
        return True

    def changes(self, action: StartDomain) -> str:
        return action.holds.network if action.holds is not None else ""

    def perform(self, action: StartDomain, site: Site) -> Done:
        if action.instead_of:
            _still_lost(action, site)
        site.node.start(action.uuid, reset_nvram=action.reset_nvram)
        return Done()

    def simulate(self, action: StartDomain, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None:
            raise HostError("DomainNotFound", f"no domain with UUID {action.uuid}", retry=False)
        if raw.active and not raw.starting:
            return Done()
        active_xml = raw.active_xml or raw.inactive_xml
        up = replace(raw, state="running", reason="booted", active_xml=active_xml)
        return became(replace(up, stopped_by="", rebooted=0.0, remembered=False), facts)


class Shutdown(OnDomain[ShutdownDomain]):
    def stands(self, action: ShutdownDomain, sight: Sight) -> bool:
        return runs(sight, action.uuid, action.if_instance)

    def perform(self, action: ShutdownDomain, site: Site) -> Done:
        site.node.shutdown(action.uuid)
        return Done()

    def simulate(self, action: ShutdownDomain, facts: Facts) -> Done:
        return _ended(action.uuid, facts, "shutdown", by="guest")


class Destroy(OnDomain[DestroyDomain]):
    def stands(self, action: DestroyDomain, sight: Sight) -> bool:
        return runs(sight, action.uuid, action.if_instance)

    def perform(self, action: DestroyDomain, site: Site) -> Done:
        site.node.destroy(action.uuid)
        return Done()

    def simulate(self, action: DestroyDomain, facts: Facts) -> Done:
        return _ended(action.uuid, facts, "destroyed", by="host")


class Resume(Verb[ResumeDomain]):
    """Not read again at once: where there is still no space it is paused again in a moment, and
    both are told by events.
    """

    def stands(self, action: ResumeDomain, sight: Sight) -> bool:
        return runs(sight, action.uuid, action.if_instance)

    def perform(self, action: ResumeDomain, site: Site) -> Done:
        site.node.resume(action.uuid)
        return Done()

    def simulate(self, action: ResumeDomain, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None or not raw.starved:
            return Done()
        return became(replace(raw, state="running", reason="unpaused"), facts)


class WriteLiveMetadata(OnDomain[SetLiveMetadata]):
    def stands(self, action: SetLiveMetadata, sight: Sight) -> bool:
        return runs(sight, action.uuid, action.if_instance)

    def perform(self, action: SetLiveMetadata, site: Site) -> Done:
        site.node.set_live_metadata(action.uuid, action.xml)
        return Done()

    def simulate(self, action: SetLiveMetadata, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None or not raw.active_xml:
            return Done()
        active = with_metadata_xml(raw.active_xml, action.xml)
        return became(replace(raw, active_xml=active), facts)


def unchanged(beside: tuple[tuple[str, str, str], ...], sight: Sight) -> None:
    """Raises OutdatedError unless these domains that have a disk of its own, by node, UUID and
    version, are as they were.
    """
    for node, uuid, known in beside:
        if version(sight.at(node).read_domain(uuid)) != known:
            raise _changed("a domain that has a disk of its own", node, uuid)


def _still_lost(action: StartDomain, site: Site) -> None:
    """Raises OutdatedError once the node is back in whose place the machine is started."""
    try:
        back = site.at(action.instead_of).read_domain(action.uuid)
    except HostError:
        return
    if back is not None:
        raise _changed(
            "the node that it was lost with is back, and the domain", action.instead_of, action.uuid
        )


def _held(wanted: Held, sight: Sight) -> None:
    """Raises OutdatedError unless the network runs and holds it. No event tells of an entry."""
    reading = sight.node.read_network(wanted.network)
    if reading is None or not reading.network.active or wanted not in reading.held:
        message = f"network {wanted.network} does not hold {wanted.address}: deciding anew"
        raise OutdatedError("NetworkChanged", message)


def _changed(what: str, node: str, uuid: str) -> OutdatedError:
    message = f"{what} was changed meanwhile: deciding anew"
    return OutdatedError("DomainChanged", message, ((node, uuid),))


def became(raw: RawDomain, facts: Facts) -> Done:
    return Done((DomainRead(0, facts.name, raw.uuid, raw),))


def _ended(uuid: str, facts: Facts, reason: str, *, by: str) -> Done:
    raw = facts.read_domain(uuid)
    if raw is None or not raw.active:
        return Done()
    if not raw.inactive_xml:
        return Done((DomainRead(0, facts.name, uuid, None),))
    off = replace(raw, state="shutoff", reason=reason, active_xml="", stopped_by=by)
    return became(replace(off, rebooted=0.0), facts)
