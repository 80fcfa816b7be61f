"""The verb that takes a machine to another node while it is off.

Nothing but its definition says where a machine is. So all that it relies on is there, whole, before
the target gets one, which says with a higher epoch that it counts from then on; and a machine that
somebody has started meanwhile stays where it is.
"""

from __future__ import annotations

from dataclasses import replace

from agent.core.domain_xml import parse, with_metadata
from agent.core.host import HostError, RawDomain, version
from agent.core.metadata import Migration, from_domain
from agent.core.migration import Step
from agent.core.moves import CarryDomain, Freight
from agent.reconcile.verbs import carrying
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.migration import Between, Seen, changed, counting, look
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, Sight
from agent.reconcile.world import DomainRead, VolumeRead


class Carry(Between[CarryDomain]):
    moves = True
    wanted = frozenset((Step.STAY,))

    def stands(self, action: CarryDomain, sight: Sight) -> bool:
        _off(action, look(action, sight))
        return True

    def perform(self, action: CarryDomain, site: Site) -> Done:
        target = replace(site, name=action.target)
        _may_leave(action, site)
        carrying.same(action.shared, site.node, target.node)
        taken = carrying.take(action.freight, site.node, target)
        site.check()
        seen = look(action, site)
        here = _off(action, seen)
        _may_leave(action, site)
        if action.nvram:
            carrying.take_nvram(here.name, site.node, target.node)
        mark = replace(seen.mark, taken=taken)
        target.node.define(_bearing(counting(here, action.target), mark))
        if look(action, site).step is Step.SPLIT:  # started in that very instant
            target.node.undefine(action.uuid)
            raise changed(action)
        written = tuple((each.pool, each.name) for each in action.freight if each.mirrored)
        carrying.keep(written, target.node, taken=True)
        every = tuple((each.pool, each.name) for each in action.freight)
        return Done(carrying.seen(every, action.target, target.node))

    def simulate(self, action: CarryDomain, facts: Facts) -> Done:
        here = facts.read_domain(action.uuid)
        if here is None:
            return Done()
        there = replace(counting(here, action.target), reason="unknown", stopped_by="")
        copies = (_copied(each, action.target, facts) for each in action.freight)
        return Done((*copies, DomainRead(0, action.target, action.uuid, there)))


def _off(action: CarryDomain, seen: Seen) -> RawDomain:
    """The domain, which nobody has started, saved or changed."""
    here = seen.here
    if (
        seen.step is not Step.STAY
        or not seen.mark.cold
        or here is None
        or here.active
        or here.managed_save
        or version(here) != action.over
    ):
        raise changed(action)
    return here


def _bearing(raw: RawDomain, mark: Migration) -> str:
    """Its definition, with that mark."""
    memory = from_domain(parse(raw.inactive_xml))
    assert memory is not None  # noqa: S101  # it has a mark
    return with_metadata(raw.inactive_xml, replace(memory, migration=mark))


def _may_leave(action: CarryDomain, site: Site) -> None:
    """What libvirt remembers of a domain beside its definition cannot be taken along."""
    if count := site.node.snapshots(action.uuid):
        raise HostError(
            "HasSnapshots",
            f"libvirt has {count} snapshot(s) or checkpoint(s) of it on node {site.name}, which "
            "would be lost: delete them (`virsh snapshot-delete`, `virsh checkpoint-delete`), or "
            "let it start where it is",
        )


def _copied(each: Freight, target: str, facts: Facts) -> VolumeRead:
    raw = facts.volume(each.pool, each.name)
    return VolumeRead(target, each.pool, each.name, raw)
