"""Decide about one VM: what its domain should be, what is done now, what waits for a restart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from agent.core.acceptance import suspended
from agent.core.actions import Action, DeleteConsoleLog, DeleteSeed
from agent.core.facts import Decision, View
from agent.core.host import RawDomain
from agent.core.identity import POOL, domain_name, domain_uuid, serial
from agent.core.jobs import Job, held
from agent.core.known import (
    ATTACHED,
    DOMAIN,
    DOMAIN_AT,
    DOMAIN_NAME,
    ELSEWHERE,
    GUEST,
    IMAGE_AT,
    LEAVING,
    PROGRESS,
    VOLUMES_OF,
    Fact,
)
from agent.core.metadata import DomainMetadata
from agent.core.model import Key, Object
from agent.core.nodes import HOME
from agent.core.schema import Kind
from agent.kinds.local import Place, away, nodes, place, several
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.cause import GONE, cause
from agent.kinds.virtual_machine.deeds import MEDIUM, deeds
from agent.kinds.virtual_machine.dependencies import disks, images
from agent.kinds.virtual_machine.files import elsewhere
from agent.kinds.virtual_machine.intent import Intent, can_start, current_phase, intent
from agent.kinds.virtual_machine.location import Location, location
from agent.kinds.virtual_machine.operations import none_taken_up
from agent.kinds.virtual_machine.report import Report, conflict, torn, unreachable, unread
from agent.kinds.virtual_machine.seen import Seen, seen
from agent.kinds.virtual_machine.situation import Situation, foreign, situation

GOOD = ("Running", "Stopped", "Migrating")


class Planner:
    """Decides about VirtualMachines. Holds nothing but the rules of the kind's fields."""

    def __init__(self, rules: Kind) -> None:
        self._rules = rules

    def decide(self, vm: Object, view: View) -> Decision:
        uuid = domain_uuid(view.fleet, vm.key)
        where = location(vm, uuid, view)
        at = where.at
        if at is None:
            return self._left(vm, uuid, where, view)
        taken = view.read(DOMAIN_NAME, (at.name, domain_name(vm.key)))
        raw: RawDomain | None = view.read(DOMAIN, (at.name, uuid))
        if raw is not None and raw.unread:
            return unread(vm, view.previous(vm.key), _kept_open(vm, view))
        shown = seen(raw, self._rules)
        problem = foreign(vm, shown, taken, uuid, view)
        if problem:
            left = conflict(vm, problem, gone=bool(vm.deleted))
            return replace(left, publish={**_opened(vm, shown), **_moved(vm, shown, at, view)})
        if vm.deleted and raw is None:
            return _leave(vm, view)
        return _decide(situation(self._rules, vm, view, where, uuid, shown), view)

    def _left(self, vm: Object, uuid: str, where: Location, view: View) -> Decision:
        """Nothing is done as long as nobody can tell where it runs. What it has open stays so."""
        previous = view.previous(vm.key)
        if where.twice:
            left = torn(vm, previous, where.home, where.why)
        elif several(view):
            left = unreachable(vm, previous, where.why)
        else:
            return unreachable(vm, previous)
        facts: dict[Fact, Any] = {}
        for disk in {*disks(vm, vm.spec), *disks(vm, previous)}:
            facts |= ATTACHED.states((disk, vm.key), True)
        for node in view.read(DOMAIN_AT, uuid) or ():
            shown = seen(view.read(DOMAIN, (node, uuid)), self._rules)
            facts |= _opened(vm, shown)
            if (at := place(view, node)) is not None:
                facts |= _moved(vm, shown, at, view)
        return replace(left, publish=facts)


def _decide(case: Situation, view: View) -> Decision:
    made = intent(case, view)
    todo = deeds(case, made, view)
    report = Report(
        case=case,
        intent=made,
        phase=current_phase(case, _in_force(case, made)),
        guest=view.read(GUEST, (case.at.name, case.uuid)),
    )
    actions, wakes = todo.actions, [made.wake, todo.wake]
    waiting = bool(case.job.busy) or bool(actions) or todo.waiting or report.waiting
    if held(case.job, case.vm.generation, case.now) and _fails(case.job, actions):
        actions = ()
        wakes.append(case.job.retry_at if case.job.retry else None)
    status = report.status()
    if case.where.home or (actions and several(view)):
        status[HOME] = case.at.name  # written before anything is made there
    return Decision(
        status=status,
        actions=() if case.job.busy else actions,
        publish=_publish(case, made, view),
        why=cause(case, made, actions, view),
        changes=made.pending,
        drift=made.drift,
        wake=min((wake for wake in wakes if wake is not None), default=None),
        waiting=waiting,
        ok=report.phase in GOOD and case.needs.ready,
    )


def _fails(job: Job, actions: tuple[Action, ...]) -> bool:
    """True if what failed last would be done again. Other deeds do not wait for its turn: a
    deadline or a forced stop acts also where the power button has failed.
    """
    return job.failed in {action.verb for action in actions}


def _in_force(case: Situation, made: Intent) -> DomainMetadata:
    """What the machine's power follows: of a suspended one what was written down before."""
    written = case.seen.memory if suspended(case.vm.manifest) else None
    return written or made.memory


def _leave(vm: Object, view: View) -> Decision:
    """The domain is gone; what only it used goes too."""
    uuid = domain_uuid(view.fleet, vm.key)
    actions = tuple(
        (DeleteSeed if name.endswith(MEDIUM) else DeleteConsoleLog)(node, POOL, name, uuid)
        for node in nodes(view)
        if not away(view, node)
        for name in view.read(VOLUMES_OF, (node, vm.uid)) or ()
    )
    job = view.job(vm.key)
    wait = held(job, vm.generation, view.now)
    return Decision(
        status={"phase": "Terminating"},
        actions=() if job.busy or wait else actions,
        why=GONE,
        wake=job.retry_at if wait and job.retry else None,
        waiting=bool(actions),
        gone=not actions,
    )


def _publish(case: Situation, made: Intent, view: View) -> dict[Fact, Any]:
    """How far operations are, and which disks nobody else may open."""
    still = suspended(case.vm.manifest) and not case.deleted
    told = none_taken_up(made.progress) if still else made.progress
    facts: dict[Fact, Any] = {(PROGRESS, uid): progress for uid, progress in told.items()}
    facts |= _moved(case.vm, case.seen, case.at, view)
    if several(view):
        for image in images(case.vm, case.vm.spec):
            facts |= IMAGE_AT.states((image, case.vm.key), case.at.name)
    for disk in _held(case, made):
        facts |= ATTACHED.states((disk, case.vm.key), True)
        if disk not in case.needs.claims:
            facts |= LEAVING.states(disk, case.vm.key)
    return facts


def _kept_open(vm: Object, view: View) -> dict[Fact, Any]:
    """Disks that an instance may have open that nobody can read."""
    opened = {*disks(vm, vm.spec), *disks(vm, view.previous(vm.key))}
    return {(ATTACHED, (disk, vm.key)): True for disk in opened}


def _moved(vm: Object, shown: Seen, at: Place, view: View) -> dict[Fact, Any]:
    """The file that each disk lies on where that is not its own volume, by disk and VM. A VM has
    such a disk until it lies on its own volume again, whatever its manifest says.
    """
    memories = [
        memory for memory in (shown.memory, shown.running) if memory and memory.uid == vm.uid
    ]
    moved_disks = elsewhere(shown, view.fleet, at) if memories else ()
    if not moved_disks:
        return {}
    moved = {disk.serial: disk.path for disk in moved_disks}
    known = {disk for memory in memories for disk in disks(vm, memory.spec)}
    objects = ((disk, view.object(disk)) for disk in known)
    numbers = {disk: serial(obj.uid) for disk, obj in objects if obj is not None}
    there = {disk: moved[number] for disk, number in numbers.items() if number in moved}
    wanted = disks(vm, vm.spec)
    facts: dict[Fact, Any] = {(LEAVING, disk): vm.key for disk in there if disk not in wanted}
    return facts | {(ELSEWHERE, (disk, vm.key)): path for disk, path in there.items()}


def _opened(vm: Object, shown: Seen) -> dict[Fact, Any]:
    """Disks that the running instance of a domain that is left alone has open."""
    running = shown.running
    if running is None or running.uid != vm.uid:
        return {}
    opened = disks(vm, running.spec)
    leaving = set(opened) - set(disks(vm, vm.spec))
    facts: dict[Fact, Any] = {(ATTACHED, (disk, vm.key)): True for disk in opened}
    return facts | {(LEAVING, disk): vm.key for disk in leaving}


def _held(case: Situation, made: Intent) -> Iterator[Key]:
    """Disks that the running instance has open, or a saved one, and those that the next one will
    have.
    """
    for memory in (case.seen.running, case.seen.memory if case.saved else None):
        if memory is not None:
            yield from disks(case.vm, memory.spec)
    if case.saved:
        yield from disks(case.vm, case.previous)
    if _holds(case, made):
        yield from case.needs.claims if case.needs.ready else disks(case.vm, made.memory.spec)


def _holds(case: Situation, made: Intent) -> bool:
    """True while an instance runs or is about to."""
    if case.running is not None and case.running.on:
        return True
    if case.deleted or not can_start(case, made.memory):
        return False
    if case.running is None:
        return made.memory.power.on
    return power.start_due(made.memory, case.running)
