"""Verbs on a machine between two nodes. What both of them show is read again, and asked of the one
table that also decides, right before anything is done.
"""

from __future__ import annotations

import contextlib
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TypeVar

from agent import measures
from agent.core.domain_xml import parse, with_metadata
from agent.core.host import Host, HostError, RawDomain
from agent.core.metadata import DomainMetadata, Migration, from_domain, to_xml
from agent.core.migrating import Transfer
from agent.core.migration import (
    Shows,
    Side,
    Step,
    decided,
    mark_of,
    migration_of,
    source_side,
    target_side,
)
from agent.core.moves import (
    AbortMigration,
    BetweenNodes,
    DiscardLanding,
    LandDomain,
    LeaveSource,
    MigrateDomain,
    ResumeSource,
)
from agent.images.errors import CancelledError
from agent.reconcile.verbs import carrying
from agent.reconcile.verbs.facts import Facts
from agent.reconcile.verbs.running import runs
from agent.reconcile.verbs.site import Site
from agent.reconcile.verbs.verb import Done, OutdatedError, Sight, Verb
from agent.reconcile.world import DomainRead

B = TypeVar("B", bound=BetweenNodes)
_LANDED = frozenset((Step.LAND, Step.ADOPT, Step.ARRIVED))
"""The target's copy is the machine."""
LOOK = 1.0
"""Seconds between two looks at a migration that goes on."""
STALLED = 150.0
"""Seconds without progress after which it is given up."""
SLOWED = 10.0
"""Seconds without progress of a guest that is slowed down as far as it goes, until that is told."""
MOST_THROTTLE = 99
HANGS = 60.0
"""Seconds that the end of one that was aborted is waited for."""


@dataclass(frozen=True)
class Seen:
    """What both nodes show."""

    step: Step
    mark: Migration
    here: RawDomain | None
    there: RawDomain | None


def look(action: BetweenNodes, sight: Sight) -> Seen:
    """Both nodes, now. The source comes last: whether it is off is what counts."""
    there = sight.at(action.target).read_domain(action.uuid)
    here = sight.at(action.source).read_domain(action.uuid) if action.source else None
    mark = mark_of({action.source: here, action.target: there})
    if mark is None:
        raise changed(action)
    side = source_side(here, mark) if action.source else Side(Shows.FENCED)
    return Seen(decided(mark, side, target_side(there, mark)), mark, here, there)


class Between(Verb[B]):
    """Done only while both nodes ask for just this."""

    wanted: frozenset[Step]

    def stands(self, action: B, sight: Sight) -> bool:
        if look(action, sight).step not in self.wanted:
            raise changed(action)
        return True

    def touches(self, action: B) -> tuple[tuple[str, str], ...]:
        nodes = dict.fromkeys(filter(None, (action.source, action.target)))
        return tuple((node, action.uuid) for node in nodes)


def changed(action: BetweenNodes) -> OutdatedError:
    nodes = filter(None, (action.source, action.target))
    message = "the machine is not between its nodes as it was: deciding anew"
    return OutdatedError("DomainChanged", message, [(node, action.uuid) for node in nodes])


class Migrate(Between[MigrateDomain]):
    """To its end: once it has landed the guest goes on at once."""

    moves = True
    wanted = frozenset((Step.STAY, Step.GOES))

    def alone(self, action: MigrateDomain, site: Site) -> AbstractContextManager[object]:
        """No snapshot of its disks is begun meanwhile, and none grows."""
        return site.backup(action.uuid)

    def stands(self, action: MigrateDomain, sight: Sight) -> bool:
        seen = look(action, sight)
        ours = seen.mark.operation == action.operation
        if seen.step not in self.wanted or not ours:
            raise changed(action)
        return seen.step is Step.GOES or runs(sight, action.uuid, action.if_instance)

    def perform(self, action: MigrateDomain, site: Site) -> Done:
        target = replace(site, name=action.target)
        if look(action, site).step is Step.STAY:
            carrying.load(action.freight, site.node, target)
            site.check()
            if look(action, site).step is not Step.STAY:
                raise changed(action)
            site.node.begin_migration(action.uuid, action.order)
        _follow(action, site)
        volumes = tuple((each.pool, each.name) for each in action.freight if each.mirrored)
        if look(action, site).step is Step.LAND:
            site.check()
            _land(action, site, volumes)
        every = tuple((each.pool, each.name) for each in action.freight)
        return Done(carrying.seen(every, action.target, target.node))

    def simulate(self, action: MigrateDomain, facts: Facts) -> Done:
        raw = facts.read_domain(action.uuid)
        if raw is None or not raw.active:
            return Done()
        handed = replace(raw, state="shutoff", reason="migrated", active_xml="", rebooted=0.0)
        landed = replace(raw, state="running", reason="unpaused", rebooted=0.0)
        return between(action, handed, counting(landed, action.target))


def _follow(action: MigrateDomain, site: Site) -> None:
    """Until it has ended. Whoever has to leave it leaves it to whoever comes next."""
    progress = _Progress(action, site)
    while (seen := site.node.await_migration(action.uuid, LOOK)).running:
        why = progress.given_up(seen)
        try:
            site.check()
        except CancelledError:
            why = why or "it was called off"
        if why:
            _abort(action.uuid, site.node)
            raise HostError("Aborted", f"the migration was ended: {why}")


class _Progress:
    """Tells how far it is, and when that is far enough."""

    def __init__(self, action: MigrateDomain, site: Site) -> None:
        self._action, self._site = action, site
        self._begun = self._moved = time.monotonic()
        self._least = -1

    def given_up(self, seen: Transfer) -> str:
        """Why it is to end; empty while it goes on."""
        now = time.monotonic()
        self._site.told(seen.percent)
        measures.MIGRATED.add(max(0, self._least - seen.remaining))
        if seen.remaining < self._least or self._least < 0:
            self._least, self._moved = seen.remaining, now
        if seen.throttle >= MOST_THROTTLE and now > self._moved + SLOWED:
            self._site.trouble(NOT_CONVERGING)
        if now > self._moved + STALLED:
            return f"it got no further for {STALLED:.0f} seconds"
        if now > self._begun + self._action.within:
            return f"it took longer than {self._action.within:.0f} seconds"
        return ""


NOT_CONVERGING = "its guest writes memory faster than the link takes it, slowed down as it is"


def _abort(uuid: str, host: Host) -> None:
    host.abort_migration(uuid)
    end = time.monotonic() + HANGS
    with contextlib.suppress(HostError):  # that it was aborted
        while host.await_migration(uuid, LOOK).running:
            if time.monotonic() > end:
                raise OutdatedError(
                    "AbortHangs",
                    "the host does not end the migration: a restart of its libvirtd helps, and "
                    "leaves the guest as it is",
                )


def _land(action: BetweenNodes, site: Site, volumes: carrying.Names) -> None:
    """End the source where that is in doubt, raise the epoch, and let the guest go on. Of the
    source, it is looked once more between any two of these.
    """
    target = site.at(action.target)
    seen = look(action, site)
    if seen.here is not None and seen.here.active and seen.step in _LANDED:
        site.at(action.source).destroy(action.uuid)
        seen = look(action, site)
    if seen.here is not None and seen.here.active:
        raise changed(action)
    if seen.there is None or seen.step not in _LANDED:
        raise changed(action)
    raised = counting(seen.there, action.target, seen.mark.epoch)
    if raised.inactive_xml != seen.there.inactive_xml:
        target.set_metadata(action.uuid, _memory(raised.inactive_xml))
    if raised.active_xml != seen.there.active_xml:
        target.set_live_metadata(action.uuid, _memory(raised.active_xml))
    if look(action, site).step is Step.LAND:
        target.go_on(action.uuid)
    carrying.keep(volumes, target, taken=seen.mark.cold)


def counting(raw: RawDomain, node: str, epoch: int | None = None) -> RawDomain:
    """A domain as the copy that counts."""
    texts = []
    for xml in (raw.inactive_xml, raw.active_xml):
        memory = from_domain(parse(xml)) if xml else None
        if memory is not None and _lower(memory, epoch):
            xml = with_metadata(xml, replace(memory, epoch=memory.epoch + 1, home=node))
        texts.append(xml)
    return replace(raw, inactive_xml=texts[0], active_xml=texts[1])


def _lower(memory: DomainMetadata, epoch: int | None) -> bool:
    return epoch is None or memory.epoch <= epoch


def _memory(xml: str) -> str:
    memory = from_domain(parse(xml))
    assert memory is not None  # noqa: S101  # it was just written there
    return to_xml(memory)


class Abort(Between[AbortMigration]):
    wanted = frozenset((Step.GOES,))

    def perform(self, action: AbortMigration, site: Site) -> Done:
        _abort(action.uuid, site.at(action.source))
        return Done()

    def simulate(self, action: AbortMigration, facts: Facts) -> Done:
        raw = facts.at(action.source).read_domain(action.uuid)
        if raw is None:
            return Done()
        stays = replace(raw, state="running", reason="migration-canceled", migrating=False)
        return between(action, stays, None)


class Land(Between[LandDomain]):
    wanted = _LANDED

    def perform(self, action: LandDomain, site: Site) -> Done:
        _land(action, site, action.volumes)
        return Done(carrying.seen(action.volumes, action.target, site.at(action.target)))

    def simulate(self, action: LandDomain, facts: Facts) -> Done:
        seen = look(action, facts)
        if seen.there is None:
            return Done()
        raised = counting(seen.there, action.target, seen.mark.epoch)
        if raised.active:
            raised = replace(raised, state="running", reason="unpaused")
        here = seen.here
        if here is not None and here.active:
            here = replace(
                here, state="shutoff", reason="destroyed", active_xml="", stopped_by="host"
            )
        return between(action, here, raised)


class Leave(Between[LeaveSource]):
    wanted = frozenset((Step.ARRIVED,))

    def perform(self, action: LeaveSource, site: Site) -> Done:
        source, target = site.at(action.source), site.at(action.target)
        carrying.keep(action.volumes, target, taken=look(action, site).mark.cold)
        carrying.whole(action.volumes, source, target)
        seen = look(action, site)
        if seen.step is not Step.ARRIVED:
            raise changed(action)
        mark = migration_of(seen.there)
        carrying.untouched(action.volumes, source, mark.taken if mark is not None else "")
        if seen.here is not None:
            if seen.here.active:
                source.destroy(action.uuid)
            source.undefine(action.uuid)
        carrying.leave(action.volumes, source, target)
        carrying.drop(action.rests, source)
        every = (*action.volumes, *action.rests)
        left = carrying.seen(every, action.source, source)
        return Done((*left, *carrying.seen(action.volumes, action.target, target)))

    def simulate(self, action: LeaveSource, facts: Facts) -> Done:
        there = facts.at(action.target).read_domain(action.uuid)
        return between(action, None, there)


class Discard(Between[DiscardLanding]):
    """Also where nothing is there but volumes."""

    wanted = frozenset((Step.DISCARD, Step.STAY))

    def perform(self, action: DiscardLanding, site: Site) -> Done:
        target, seen = site.at(action.target), look(action, site)
        there = seen.there
        if action.nvram and there is None and seen.here is not None:
            carrying.unload_nvram(seen.here.name, site.at(action.source), target)
        if there is not None:
            if there.active:
                target.destroy(action.uuid)
            if target.read_domain(action.uuid) is not None:
                target.undefine(action.uuid)
        carrying.unload(action.volumes, target)
        carrying.drop(action.rests, target)
        every = (*action.volumes, *action.rests)
        return Done(carrying.seen(every, action.target, target))

    def simulate(self, action: DiscardLanding, facts: Facts) -> Done:
        here = facts.at(action.source).read_domain(action.uuid)
        return between(action, here, None)


class GoOn(Between[ResumeSource]):
    wanted = frozenset((Step.GO_ON,))

    def perform(self, action: ResumeSource, site: Site) -> Done:
        site.at(action.source).go_on(action.uuid)
        return Done()

    def simulate(self, action: ResumeSource, facts: Facts) -> Done:
        here = facts.at(action.source).read_domain(action.uuid)
        if here is not None:
            here = replace(here, state="running", reason="unpaused")
        return between(action, here, facts.at(action.target).read_domain(action.uuid))


def between(action: BetweenNodes, here: RawDomain | None, there: RawDomain | None) -> Done:
    seen = [DomainRead(0, action.target, action.uuid, there)]
    if action.source:
        seen.insert(0, DomainRead(0, action.source, action.uuid, here))
    return Done(tuple(seen))
