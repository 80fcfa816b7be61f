"""What a domain is to remember and to be from now on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from agent.core.changes import Change, Disposition, applied
from agent.core.drift import Drift
from agent.core.facts import View
from agent.core.identity import next_instance
from agent.core.metadata import DomainMetadata, Migration, Power, Recorded, Reserved
from agent.core.model import Object
from agent.core.nodes import EPOCH
from agent.core.progress import Progress
from agent.kinds.virtual_machine import files, operations, power
from agent.kinds.virtual_machine.changes import NETWORKS, differences
from agent.kinds.virtual_machine.definition import DomainFacts
from agent.kinds.virtual_machine.elements.firmware import BIOS
from agent.kinds.virtual_machine.expected import attached, connected, drift, expected, with_edits
from agent.kinds.virtual_machine.migration import asked as moves
from agent.kinds.virtual_machine.migration.target import Chosen
from agent.kinds.virtual_machine.phase import phase as phase_of
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_operation import MIGRATIONS, operation_spec


@dataclass(frozen=True)
class Intent:
    """`facts` is None where nothing can be defined yet."""

    memory: DomainMetadata
    facts: DomainFacts | None = None
    pending: tuple[Change, ...] = ()
    """Changes that wait for a restart of the running instance."""
    drift: Drift = field(default_factory=Drift)
    progress: Mapping[str, Progress] = field(default_factory=dict)
    """Operations, by uid."""
    off_for: str = ""
    """Uid of the operation that there is no domain to be stopped for."""
    wake: float | None = None
    boards: Boarding | None = None
    """The migration whose turn may come."""


@dataclass(frozen=True)
class Boarding:
    operation: Object
    to: Chosen
    converge: bool


def intent(case: Situation, view: View) -> Intent:
    """Take in what happened, what was asked for, and what is wanted."""
    memory, outcome, boards = _asked(case, view)
    if case.way is not None:
        return Intent(memory, progress=outcome.progress, wake=outcome.wake)
    if case.deleted:
        return _kept(case, Intent(memory, progress=outcome.progress, wake=outcome.wake))
    pending = _pending(case)
    memory = _updated(case, memory)
    automatic = by_itself(case.vm)
    if case.running is not None and not (automatic and pending and case.needs.ready):
        memory = power.stay(memory, case.running, case.now)
    if case.running is not None and case.needs.ready:
        memory = power.restart_by_itself(
            memory,
            case.running,
            automatic=automatic and not _busy(case),
            reboots=_reboots(case),
            pending=bool(pending),
            now=case.now,
        )
    made = Intent(
        memory,
        pending=pending,
        progress=outcome.progress,
        off_for=outcome.off_for,
        wake=outcome.wake,
        boards=boards,
    )
    if not case.needs.ready:
        return _kept(case, made)
    facts = expected(case, memory)
    by_hand = drift(case, facts, pending)
    made = replace(
        made, facts=with_edits(case, facts) if case.report_only else facts, drift=by_hand
    )
    return made if files.writable(made.facts) else _kept(case, made)


def by_itself(vm: Object) -> bool:
    """True for a machine that is restarted for its changes without anybody's asking."""
    return machine_spec(vm.spec)["disruptions"]["restartApprovalMode"] == "Automatic"


def can_start(case: Situation, memory: DomainMetadata) -> bool:
    """True if the next instance could start now: with what is wanted, or, where it follows one
    that ran until now, as it is defined.
    """
    return case.needs.ready or (case.as_defined and power.goes_on(memory))


def current_phase(case: Situation, memory: DomainMetadata | None) -> str:
    if case.way is not None and case.way.moves and not case.way.mark.cold:
        return "Migrating"
    if case.deleted:
        return "Terminating"
    if case.running is None:
        if memory is not None and not memory.power.on:
            return "Stopped" if case.previous.get("phase") == "Stopped" else "Pending"
        memory = None
    generation = case.vm.generation
    ready = case.needs.ready if memory is None else can_start(case, memory)
    return phase_of(memory, case.running, case.job, generation, case.now, ready=ready)


def _asked(
    case: Situation, view: View
) -> tuple[DomainMetadata, operations.Outcome, Boarding | None]:
    """What the domain remembers, brought up to date with the host and with operations."""
    asked = operations.open_operations(case.vm.key, view)
    restoring = operations.restores(asked, view)
    memory = _remembered(case)
    if case.running is None:
        phase = current_phase(case, memory)
        outcome = operations.without_domain(asked, memory, case.policy, phase, restoring, case.now)
        return outcome.memory, outcome, None
    memory = power.observed(memory, case.running, case.policy, deleted=case.leaving, now=case.now)
    memory = moves.judged(memory, case)
    prospects = {
        operation.uid: moves.prospect(operation, case, view)
        for operation in asked
        if operation_spec(operation.spec)["type"] in MIGRATIONS
        and memory.recorded(operation.uid) is None
        and case.running.on
    }
    outcome = operations.advance(
        asked,
        memory,
        case.running,
        written=case.seen.memory,
        policy=case.policy,
        phase=current_phase(case, memory),
        ready=case.needs.ready,
        deleted=case.deleted,
        completed=operations.completed_operations(case.vm.key, view),
        restoring=restoring,
        trouble=case.job.error if case.job.failed else "",
        now=case.now,
        prospects={uid: each.progress for uid, each in prospects.items()},
        going={
            entry.uid: moves.progress(entry, case, written=_is_written(entry, case))
            for entry in memory.operations
            if entry.type in MIGRATIONS
        },
    )
    wakes = [each.wake for each in prospects.values() if each.wake is not None]
    wakes += [outcome.wake] if outcome.wake is not None else []
    outcome = replace(outcome, wake=min(wakes, default=None))
    return outcome.memory, outcome, _boarding(asked, outcome, prospects, case)


def _is_written(entry: Recorded, case: Situation) -> bool:
    return case.seen.memory is not None and case.seen.memory.recorded(entry.uid) == entry


def _boarding(
    asked: Iterable[Object],
    outcome: operations.Outcome,
    prospects: Mapping[str, moves.Prospect],
    case: Situation,
) -> Boarding | None:
    """The first one that nothing but its turn is in the way of."""
    for operation in asked:
        known = prospects.get(operation.uid)
        if known is None or known.chosen is None:
            continue
        if outcome.progress.get(operation.uid) == known.progress:
            forced = moves.converges(operation, case)
            return Boarding(operation, known.chosen, converge=forced is True)
    return None


def _remembered(case: Situation) -> DomainMetadata:
    """What the domain remembers, or what a new one starts with."""
    known = case.seen.memory or case.seen.running
    if known is not None and known.uid == case.vm.uid:
        return known
    return _instead(case, _new(case)) if case.where.instead else _new(case)


def _instead(case: Situation, new: DomainMetadata) -> DomainMetadata:
    """What one starts with that takes the place of one on a lost node: it goes on from what that
    one remembered, and says by its mark that it has not run yet.
    """
    known = case.where.before or new
    instance = next_instance(case.vm.uid, known.instance, case.now)
    epoch = max(known.epoch, moved_last(case))
    mark = Migration("", case.where.instead, case.at.name, int(case.now), epoch)
    due = Power(on=True, by=power.BY_END, at=int(case.now), instance=instance)
    return replace(known, instance=instance, power=due, epoch=epoch, migration=mark)


def moved_last(case: Situation) -> int:
    """How often it was moved, as far as is known."""
    known = case.seen.memory.epoch if case.seen.memory is not None else 0
    return max(known, int(case.previous.get(EPOCH, 0)))


def _new(case: Situation) -> DomainMetadata:
    vm = case.vm
    instance = next_instance(vm.uid, "", case.now)
    stopped = case.previous.get("phase") == "Stopped"
    return DomainMetadata(
        fleet=case.fleet,
        namespace=vm.key.namespace,
        name=vm.key.name,
        uid=vm.uid,
        created=vm.created,
        generation=vm.generation,
        source=vm.source,
        instance=instance,
        power=power.first(case.policy, instance, case.now, was_stopped=stopped),
        spec=case.sealed,
    )


def _updated(case: Situation, memory: DomainMetadata) -> DomainMetadata:
    """The metadata with what the manifest says now."""
    ran = case.seen.running
    firmware = machine_spec(ran.spec).get("bootloader", BIOS) if ran else BIOS
    return replace(
        memory,
        labels=dict(case.vm.manifest.labels),
        annotations=dict(case.vm.manifest.annotations),
        generation=case.vm.generation,
        source=case.vm.source,
        spec=_startable(case, memory),
        addresses=_addresses(case) if _is_startable(case) else memory.addresses,
        attachments=case.attachments.recorded(memory.attachments),
        nvram=memory.nvram if firmware == BIOS else firmware,
    )


def _startable(case: Situation, memory: DomainMetadata) -> Mapping[str, object]:
    """The newest spec that could start: all of it, or what needs no start where something is
    missing.
    """
    if _is_startable(case):
        return case.sealed
    waiting = _restarts(case, memory.spec)
    if case.cabling.lacking(case.vm.spec):
        waiting = (*waiting, *_of_networks(case, memory.spec))
    return applied(memory.spec, case.sealed, waiting)


def _of_networks(case: Situation, spec: Mapping[str, object]) -> tuple[Change, ...]:
    """What cannot be had as long as one of its networks is not there."""
    changes = differences(case.rules, spec, case.sealed)
    return tuple(change for change in changes if change.path == NETWORKS)


def _addresses(case: Situation) -> tuple[Reserved, ...]:
    macs = case.cabling.macs.reserved(case.vm.spec)
    return tuple(sorted((*case.needs.address.reserved, *macs)))


def _is_startable(case: Situation) -> bool:
    """True if all of what is wanted goes into the definition: it could start, or there is none."""
    return case.needs.ready or (case.seen.defined or case.seen.active) is None


def _busy(case: Situation) -> bool:
    """True while somebody holds the guest or copies its disks: it could not be ended gently."""
    raw = case.seen.raw
    return case.seen.block_job or (raw is not None and raw.state in ("paused", "pmsuspended"))


def _pending(case: Situation) -> tuple[Change, ...]:
    seen = case.seen
    # removed by hand: what runs cannot be known any more, what is defined is the best guess
    running = seen.running or (seen.memory if seen.active is not None else None)
    return _restarts(case, running.spec) if running is not None else ()


def _reboots(case: Situation) -> bool:
    """True if the guest has just rebooted, with changes waiting for that already: what was pushed
    since finds a guest that comes up again, and waits for the next time.
    """
    defined, running, raw = case.seen.memory, case.seen.running, case.seen.raw
    if defined is None or running is None or raw is None:
        return False
    if case.now >= raw.rebooted + power.REBOOT_WINDOW:
        return False
    defined_at = case.job.done.get("DefineDomain", 0.0)  # pragma: no mutate: long before any
    if raw.rebooted < defined_at:
        return False
    changes = differences(case.rules, running.spec, defined.spec)
    return any(change.disposition is Disposition.RESTART for change in changes)


def _restarts(case: Situation, spec: Mapping[str, object]) -> tuple[Change, ...]:
    """What differs from a spec and takes a restart."""
    changes = differences(case.rules, spec, case.sealed)
    return tuple(change for change in changes if change.disposition is Disposition.RESTART)


def _kept(case: Situation, made: Intent) -> Intent:
    """Nothing but the metadata of the present definition may change, and what is attached beside.
    Where the definition was removed, what runs is its model.
    """
    there = files.present(case.seen)
    if there is None or (case.seen.defined is None and not files.writable(there)):
        return replace(made, facts=None)
    facts = replace(there, metadata=made.memory)
    if not case.deleted:
        facts = replace(
            facts,
            disks=attached(case, there, made.memory),
            interfaces=connected(case, there, made.memory),
        )
    return replace(made, facts=facts)
