"""Decide about one VM: what its domain should be, what is done now, what waits for a restart."""

from __future__ import annotations

from typing import Any

from agent.core.actions import DeleteVolume
from agent.core.facts import Decision, Fact, View
from agent.core.host import RawDomain
from agent.core.identity import POOL, domain_name, domain_uuid
from agent.core.jobs import IDLE, Job, held
from agent.core.model import Object
from agent.core.schema import Kind
from agent.kinds.local import Place, place
from agent.kinds.virtual_machine import power
from agent.kinds.virtual_machine.deeds import deeds
from agent.kinds.virtual_machine.intent import Intent, current_phase, intent
from agent.kinds.virtual_machine.report import Report, conflict, unreachable
from agent.kinds.virtual_machine.situation import Situation, foreign, seen, situation

GOOD = ("Running", "Stopped", "Migrating")


class Planner:
    """Decides about VirtualMachines. Holds nothing but the rules of the kind's fields."""

    def __init__(self, rules: Kind) -> None:
        self._rules = rules

    def decide(self, vm: Object, view: View) -> Decision:
        at = place(view)
        if at is None:
            return unreachable(vm, view.previous(vm.key))
        uuid = domain_uuid(view.setting("fleet"), vm.key)
        taken = view.read("domain-name", (at.name, domain_name(vm.key)))
        raw: RawDomain | None = view.read("domain", (at.name, uuid))
        shown = seen(raw, self._rules)
        problem = foreign(vm, shown, taken, uuid, view)
        if problem:
            return conflict(vm, problem, gone=bool(vm.deleted))
        if vm.deleted and raw is None:
            return _leave(vm, at, view)
        return _decide(situation(self._rules, vm, view, at, uuid, shown), view)


def _decide(case: Situation, view: View) -> Decision:
    made = intent(case, view)
    todo = deeds(case, made, view)
    report = Report(
        case=case,
        intent=made,
        phase=current_phase(case, made.memory),
        guest=view.read("guest", (case.at.name, case.uuid)),
    )
    actions, wakes = todo.actions, [made.wake, todo.wake]
    waiting = bool(case.job.busy) or bool(actions) or todo.waiting or report.waiting
    if held(case.job, case.vm.generation, case.now):
        actions = ()
        wakes.append(case.job.retry_at if case.job.retry else None)
    return Decision(
        status=report.status(),
        actions=() if case.job.busy else actions,
        publish=_publish(case, made),
        changes=made.pending,
        wake=min((wake for wake in wakes if wake is not None), default=None),
        waiting=waiting,
        ok=report.phase in GOOD and case.needs.ready,
    )


def _leave(vm: Object, at: Place, view: View) -> Decision:
    """The domain is gone; what only it used goes too."""
    names = view.read("volumes-of", vm.uid) or ()
    actions = tuple(DeleteVolume(at.name, POOL, name) for name in names)
    job: Job = view.read("job", vm.key) or IDLE
    wait = held(job, vm.generation, view.now)
    return Decision(
        status={"phase": "Terminating"},
        actions=() if job.busy or wait else actions,
        wake=job.retry_at if wait and job.retry else None,
        waiting=bool(actions),
        gone=not actions,
    )


def _publish(case: Situation, made: Intent) -> dict[Fact, Any]:
    """How far operations are, and which disks nobody else may open."""
    facts: dict[Fact, Any] = {("operation", uid): each for uid, each in made.progress.items()}
    if _holds(case, made):
        for disk in case.needs.claims:
            facts["attached", (disk, case.vm.key)] = True
    return facts


def _holds(case: Situation, made: Intent) -> bool:
    """True while an instance runs or is about to."""
    if case.running is not None and case.running.on:
        return True
    if case.deleted or not case.needs.ready:
        return False
    if case.running is None:
        return made.memory.power.on
    return power.start_due(made.memory, case.running)
