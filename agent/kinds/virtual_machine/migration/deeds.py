"""What is to be done about a VM between two nodes. Meanwhile nothing is defined on either, but for
the mark itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from agent.core.actions import Action, DefineDomain, SetLiveMetadata
from agent.core.domain_xml import with_metadata
from agent.core.facts import View
from agent.core.host import version
from agent.core.identity import POOL, console_log, unfinished
from agent.core.known import MANNER, PEERS, SHARED, VOLUME, VOLUMES_OF
from agent.core.metadata import DomainMetadata, Migration, Recorded, to_xml
from agent.core.migrating import Manner, Order
from agent.core.migration import Shows, Step
from agent.core.moves import (
    AbortMigration,
    DiscardLanding,
    LandDomain,
    LeaveSource,
    MigrateDomain,
    ResumeSource,
)
from agent.kinds.local import away, bearing, place
from agent.kinds.virtual_machine.holding import held_ahead
from agent.kinds.virtual_machine.intent import Boarding, Intent
from agent.kinds.virtual_machine.migration.asked import VERB, is_wanted, within
from agent.kinds.virtual_machine.migration.cargo import cargo, own
from agent.kinds.virtual_machine.migration.cold import VERB as COLD
from agent.kinds.virtual_machine.migration.cold import carried, has_nvram, loaded
from agent.kinds.virtual_machine.migration.cold import is_wanted as is_taken
from agent.kinds.virtual_machine.migration.crossing import Crossing
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine_operation import operation_spec


def boarding(case: Situation, boards: Boarding, memory: DomainMetadata) -> tuple[Action, ...]:
    """Write it down, with its mark: from then on the domain itself says that it goes."""
    active = case.seen.running
    if active is None or case.running is None:
        return ()
    operation, now = boards.operation, int(case.now)
    spec = operation_spec(operation.spec)
    entry = Recorded(
        operation.uid, spec["type"], spec.get("force", False), case.running.instance, now
    )
    mark = Migration(
        operation.uid, case.at.name, boards.to.node, now, memory.epoch, boards.converge
    )
    written = replace(memory.with_operation(entry), migration=mark)
    return (
        *_defined(case, written),
        SetLiveMetadata(
            case.at.name, case.uuid, to_xml(replace(active, migration=mark)), active.instance
        ),
    )


def setting_out(case: Situation, mark: Migration, memory: DomainMetadata) -> tuple[Action, ...]:
    """Write down that it is taken to another node while it is off."""
    return _defined(case, replace(memory, migration=mark))


def crossed(case: Situation, made: Intent, view: View) -> tuple[Action, ...]:
    """What is to be done now."""
    way = case.way
    assert way is not None  # noqa: S101  # asked only then
    wanted = is_taken(case, view) if way.mark.cold else is_wanted(case, made.memory)
    nodes = (case.uuid, way.source, way.target)
    if {VERB, COLD} & {*case.job.busy}:
        return () if wanted else (AbortMigration(way.source, *nodes),)
    match way.step:
        case Step.GOES:
            if not wanted:
                return (AbortMigration(way.source, *nodes),)
            return _sent(case, way, view)
        case Step.STAY:
            if wanted and case.seen.memory is not None and case.seen.memory.migration == way.mark:
                return _going(case, way, made.memory, view)
            return (*_unloaded(case, way, view), *_stays(case, way, made.memory))
        case Step.DISCARD:
            volumes = () if way.substitute else own(case.seen, case.at, view)
            rests = _rests(case, way.target, view) if way.substitute else ()
            return (DiscardLanding(way.target, *nodes, volumes=volumes, rests=rests),)
        case Step.GO_ON:
            return (ResumeSource(way.source, *nodes),)
        case Step.LAND | Step.ADOPT:
            source = "" if way.here.shows is Shows.FENCED else way.source
            volumes = own(case.seen, case.at, view)
            return (LandDomain(way.target, case.uuid, source, way.target, volumes),)
        case Step.ARRIVED:
            return _arrived(case, way, made.memory, view)
    return ()


def _going(
    case: Situation, way: Crossing, memory: DomainMetadata, view: View
) -> tuple[Action, ...]:
    if way.mark.cold:
        return carried(case, view)
    to = place(view, way.target)
    ahead = held_ahead(case, memory, to, view) if to is not None else ()
    return _marked(case, way) or ahead or _sent(case, way, view)


def _marked(case: Situation, way: Crossing) -> tuple[Action, ...]:
    """What runs bears the mark, too, so that it arrives with it."""
    active = case.seen.running
    if active is None or active.migration == way.mark:
        return ()
    xml = to_xml(replace(active, migration=way.mark))
    return (SetLiveMetadata(case.at.name, case.uuid, xml, active.instance),)


def _sent(case: Situation, way: Crossing, view: View) -> tuple[Action, ...]:
    peer = (view.read(PEERS, None) or {}).get(way.target)
    to = place(view, way.target)
    if peer is None or to is None or case.running is None:
        return ()
    lot = cargo(case.seen, case.at, to, view)
    manner = view.read(MANNER, None) or Manner()
    order = Order(
        peer.uri,
        peer.memory,
        lot.disks,
        manner.bandwidth,
        manner.downtime,
        way.mark.converge,
    )
    return (
        MigrateDomain(
            way.source,
            case.uuid,
            way.source,
            way.target,
            case.running.instance,
            way.mark.operation,
            order,
            lot.freight,
            within(case),
        ),
    )


def _unloaded(case: Situation, way: Crossing, view: View) -> Iterator[Action]:
    """Nothing stays on the target of what was brought there."""
    volumes, nvram = own(case.seen, case.at, view), False
    if way.mark.cold:
        volumes = tuple(dict.fromkeys((*volumes, *loaded(case, way, view))))
        nvram = has_nvram(case)
    if (volumes or nvram) and not away(view, way.target):
        nodes = (way.target, case.uuid, way.source, way.target)
        yield DiscardLanding(*nodes, volumes, nvram=nvram)


def _stays(case: Situation, way: Crossing, memory: DomainMetadata) -> tuple[Action, ...]:
    """The source's copy counts, whatever of an earlier one is found later."""
    return _unmarked(case, memory, way.mark.epoch + 1, way.source)


def _arrived(
    case: Situation, way: Crossing, memory: DomainMetadata, view: View
) -> tuple[Action, ...]:
    epoch = way.mark.epoch + 1
    if way.substitute and not way.there.raised:
        # it was seen to run: from now on it counts, whatever of it is found elsewhere
        return _written(case, memory, lambda known: _counting(known, epoch, way.target))
    if way.source != bearing(view, way.mark.source):
        return tuple(_left(case, way, view))  # the other one may be found still
    return (*_left(case, way, view), *_unmarked(case, memory, epoch, way.target))


def _unmarked(case: Situation, memory: DomainMetadata, epoch: int, home: str) -> tuple[Action, ...]:
    return _written(
        case, memory, lambda known: replace(_counting(known, epoch, home), migration=None)
    )


def _counting(known: DomainMetadata, epoch: int, home: str) -> DomainMetadata:
    return known if known.epoch >= epoch else replace(known, epoch=epoch, home=home)


def _written(
    case: Situation, memory: DomainMetadata, change: Callable[[DomainMetadata], DomainMetadata]
) -> tuple[Action, ...]:
    """Changed in the definition, and in what runs."""
    active = case.seen.running
    live: tuple[Action, ...] = ()
    if active is not None and (merged := change(active)) != active:
        live = (SetLiveMetadata(case.at.name, case.uuid, to_xml(merged), active.instance),)
    return (*_defined(case, change(memory)), *live)


def _defined(case: Situation, memory: DomainMetadata) -> tuple[Action, ...]:
    raw = case.seen.raw
    if raw is None or memory == case.seen.memory:
        return ()
    xml = with_metadata(raw.inactive_xml or raw.active_xml, memory)
    return (DefineDomain(case.at.name, case.uuid, version(raw), xml, "metadata"),)


def _left(case: Situation, way: Crossing, view: View) -> Iterator[Action]:
    volumes = () if way.substitute else own(case.seen, case.at, view)
    half = [
        (pool, name)
        for pool, name in volumes
        if view.read(VOLUME, (way.target, pool, unfinished(name))) is not None
    ]
    if half:
        source = way.source if not away(view, way.source) else ""
        yield LandDomain(way.target, case.uuid, source, way.target, tuple(half))
    if not away(view, way.source):
        rests = _rests(case, way.source, view)
        yield LeaveSource(way.source, case.uuid, way.source, way.target, volumes, rests)


def _rests(case: Situation, node: str, view: View) -> tuple[tuple[str, str], ...]:
    """What a node has no need of any more without the machine: its media, and what it has written
    to its console. Where the pool is the same on all nodes the machine has both still.
    """
    if POOL in (view.read(SHARED, None) or ()):
        return ()
    log = console_log(case.fleet, case.vm.uid)
    names = {log, *(view.read(VOLUMES_OF, (node, case.vm.uid)) or ())}
    return tuple((POOL, name) for name in sorted(names))
