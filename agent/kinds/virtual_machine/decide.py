"""Decide about one VM: what its domain should be, what is done now, what waits for a restart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from agent.core.acceptance import suspended
from agent.core.actions import Action, DeleteConsoleLog, DeleteSeed
from agent.core.facts import Decision, Passage, View
from agent.core.host import RawDomain
from agent.core.identity import POOL, domain_name, domain_uuid
from agent.core.jobs import Job, held
from agent.core.known import (
    ATTACHED,
    DOMAIN,
    DOMAIN_AT,
    DOMAIN_NAME,
    GUEST,
    VOLUMES_OF,
    Fact,
)
from agent.core.metadata import DomainMetadata
from agent.core.model import Object
from agent.core.moves import AbortMigration
from agent.core.nodes import EPOCH, HOME
from agent.core.schema import Kind
from agent.kinds.local import away, nodes, place, several
from agent.kinds.virtual_machine import engine, relief
from agent.kinds.virtual_machine.cause import GONE, cause
from agent.kinds.virtual_machine.deeds import MEDIUM, Deeds, deeds
from agent.kinds.virtual_machine.delivery import released
from agent.kinds.virtual_machine.dependencies import disks
from agent.kinds.virtual_machine.evacuation import (
    FIRMWARE,
    NOTHING,
    Cause,
    Evacuation,
    evacuation,
)
from agent.kinds.virtual_machine.growth import Growth, growth
from agent.kinds.virtual_machine.intent import Intent, current_phase, intent, moved_last
from agent.kinds.virtual_machine.location import SENT_AWAY, TWICE, Location, location
from agent.kinds.virtual_machine.migration import cold
from agent.kinds.virtual_machine.migration.deeds import boarding, crossed, setting_out
from agent.kinds.virtual_machine.migration.target import migratable
from agent.kinds.virtual_machine.migration.told import migrating
from agent.kinds.virtual_machine.report import (
    Report,
    conflict,
    torn,
    unplaced,
    unreachable,
    unread,
)
from agent.kinds.virtual_machine.seen import seen
from agent.kinds.virtual_machine.situation import Situation, foreign, situation
from agent.kinds.virtual_machine.standing import standing, still
from agent.kinds.virtual_machine.stated import kept_open, moved, opened, published
from agent.kinds.virtual_machine.substitute import substituted

GOOD = ("Running", "Stopped", "Migrating")


class Planner:
    """Decides about VirtualMachines. Holds nothing but the rules of the kind's fields."""

    def __init__(self, rules: Kind) -> None:
        self._rules = rules

    def decide(self, vm: Object, view: View) -> Decision:
        uuid = domain_uuid(view.fleet, vm.key)
        where = location(vm, uuid, view)
        if where.lost:
            where = substituted(self._rules, vm, uuid, where, view)
        made = self._decided(vm, uuid, where, view)
        return made if made.tenant is not None else replace(made, tenant=still(vm, where, view))

    def _decided(self, vm: Object, uuid: str, where: Location, view: View) -> Decision:
        at = where.at
        if at is None and where.asks:
            return _leave(vm, view) if vm.deleted else unplaced(where.why)
        if at is None:
            return self._left(vm, uuid, where, view)
        taken = view.read(DOMAIN_NAME, (at.name, domain_name(vm.key)))
        raw: RawDomain | None = view.read(DOMAIN, (at.name, uuid))
        if raw is not None and raw.unread:
            return unread(vm, view.previous(vm.key), kept_open(vm, view))
        shown = seen(raw, self._rules)
        problem = foreign(vm, shown, taken, uuid, view)
        if problem:
            left = conflict(vm, problem, gone=bool(vm.deleted))
            return replace(left, publish={**opened(vm, shown), **moved(vm, shown, at, view)})
        if vm.deleted and raw is None:
            return _leave(vm, view)
        return _decide(situation(self._rules, vm, view, where, uuid, shown), view)

    def _left(self, vm: Object, uuid: str, where: Location, view: View) -> Decision:
        """Nothing is done as long as nobody can tell where it runs. What it has open stays so."""
        previous = view.previous(vm.key)
        if where.twice:
            left = torn(vm, previous, where.home, where.why, TWICE)
        elif where.sent:
            left = torn(vm, previous, where.home, where.why, SENT_AWAY)
        elif several(view):
            left = unreachable(vm, previous, where.why)
        else:
            return unreachable(vm, previous)
        facts: dict[Fact, Any] = {}
        for disk in {*disks(vm, vm.spec), *disks(vm, previous)}:
            facts |= ATTACHED.states((disk, vm.key), True)
        for node in view.read(DOMAIN_AT, uuid) or ():
            shown = seen(view.read(DOMAIN, (node, uuid)), self._rules)
            facts |= opened(vm, shown)
            if (at := place(view, node)) is not None:
                facts |= moved(vm, shown, at, view)
        return replace(left, publish=facts)


def _decide(case: Situation, view: View) -> Decision:
    made, grows = intent(case, view), growth(case, view)
    todo, passage = _todo(case, made, grows, view)
    report = Report(
        case=case,
        intent=made,
        phase=current_phase(case, _in_force(case, made)),
        guest=view.read(GUEST, (case.at.name, case.uuid)),
        migratable=migratable(case, view),
        moving=(*migrating(case, made, view), *engine.conditions(case, view)),
    )
    actions, wakes = todo.actions, [made.wake, todo.wake]
    waiting = bool(case.job.busy) or bool(actions) or todo.waiting or report.waiting
    if held(case.job, case.vm.generation, case.now) and _fails(case.job, actions):
        actions = ()
        wakes.append(case.job.retry_at if case.job.retry else None)
    older = engine.cause(case, view) if report.on else None
    sent = _sent(case, made, older or relief.cause(case, view), view) if report.on else NOTHING
    wakes += [sent.wake, relief.wake(case, view)]
    status = report.status()
    asked = older is not None and any(each.key.name.startswith(FIRMWARE) for each in sent.makes)
    status[engine.NOTED] = engine.noted(case, asked=asked)
    if case.where.home or (actions and several(view)):
        status[HOME] = case.where.home or case.at.name  # written before anything is made there
    if epoch := moved_last(case):
        status[EPOCH] = epoch
    return Decision(
        status=status,
        actions=_beside_work(actions) if case.job.busy else actions,
        publish=published(case, made, grows, view),
        tenant=standing(case, view),
        makes=sent.makes,
        drops=sent.drops,
        why=cause(case, made, actions, view),
        changes=made.pending,
        drift=made.drift,
        wake=min((wake for wake in wakes if wake is not None), default=None),
        waiting=waiting,
        passage=passage,
        ok=report.phase in GOOD and case.needs.ready and report.plugging is None,
    )


def _todo(case: Situation, made: Intent, grows: Growth, view: View) -> tuple[Deeds, Passage | None]:
    """What is to be done, and whether it has to wait for its turn."""
    way = case.way
    if way is not None:
        todo = Deeds(crossed(case, made, view), waiting=not way.why)
        return todo, Passage(way.source, way.target, begun=True)
    todo = deeds(case, made, grows, view)
    if not todo.actions and (mark := cold.setting_out(case, view)) is not None:
        actions = setting_out(case, mark, made.memory)
        return replace(todo, actions=actions, waiting=True), cold.turn(mark)
    if made.boards is None or todo.actions or todo.waiting:
        return todo, None
    actions = boarding(case, made.boards, made.memory)
    asked = made.boards.operation.created
    turn = Passage(case.at.name, made.boards.to.node, begun=False, asked=asked)
    return replace(todo, actions=actions, waiting=True), turn


def _sent(case: Situation, made: Intent, other: Cause | None, view: View) -> Evacuation:
    taken_up = {entry.uid for entry in made.memory.operations}
    return evacuation(case.vm, view, case.at.name, other, taken_up)


def _beside_work(actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """What ends the work that is under way."""
    return tuple(action for action in actions if isinstance(action, AbortMigration))


def _fails(job: Job, actions: tuple[Action, ...]) -> bool:
    """True if what failed last would be done again. Other deeds do not wait for its turn: a
    deadline or a forced stop acts also where the power button has failed.
    """
    return any(
        action.verb == job.failed and (not action.about or action.about in job.about)
        for action in actions
    )


def _in_force(case: Situation, made: Intent) -> DomainMetadata:
    """What the machine's power follows: of a suspended one what was written down before."""
    written = case.seen.memory if suspended(case.vm.manifest) else None
    return written or made.memory


def _leave(vm: Object, view: View) -> Decision:
    """The domain is gone; what only it used goes too."""
    uuid = domain_uuid(view.fleet, vm.key)
    actions: tuple[Action, ...] = released(vm.key, view)
    actions = actions or tuple(
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
