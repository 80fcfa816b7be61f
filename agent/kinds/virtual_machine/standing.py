"""How a VM stands for whoever places machines: where it is, and which wish it has."""

from __future__ import annotations

from agent.core.facts import View
from agent.core.known import PLACED
from agent.core.model import Object
from agent.core.placement.tenants import Ask, Tenant
from agent.kinds.local import several
from agent.kinds.virtual_machine import engine, power, relief
from agent.kinds.virtual_machine.evacuation import cause
from agent.kinds.virtual_machine.intent import current_phase
from agent.kinds.virtual_machine.location import BETWEEN, Location
from agent.kinds.virtual_machine.migration import cold
from agent.kinds.virtual_machine.migration.target import barred
from agent.kinds.virtual_machine.phase import ON
from agent.kinds.virtual_machine.placement import (
    asked_to_go_to,
    asked_to_leave,
    elsewhere,
    governed,
    returning,
    starting,
    tenant,
)
from agent.kinds.virtual_machine.situation import Situation


def still(vm: Object, where: Location, view: View) -> Tenant:
    """A VM that nothing is done about: it stands as it stood."""
    previous = view.previous(vm.key)
    at = where.at.name if where.at is not None else where.home.partition(BETWEEN)[0]
    if where.ask is not None:
        return tenant(vm, view, "", on=False, ask=where.ask)
    on = not where.asks and previous.get("phase") in ON
    return tenant(vm, view, at, on=on, ask=starting(vm, view) if where.asks else None)


def standing(case: Situation, view: View) -> Tenant:
    """What a VM asks of its node, or for another one."""
    vm, at, raw = case.vm, case.at.name, case.seen.raw
    if raw is None and case.where.ask is not None:
        return tenant(vm, view, at, on=False, ask=case.where.ask)
    if raw is None:
        ask = starting(vm, view) if case.where.asks else None
        due = current_phase(case, None) in ON
        return tenant(
            vm, view, at if case.where.home or ask is None else "", on=due and ask is None, ask=ask
        )
    if raw.active:
        gives = relief.gives(case, view)
        return tenant(vm, view, at, on=True, ask=_leaving(case, view), gives=gives)
    due = not case.saved and _due(case)
    ask = returning(vm, view, at, due=due) if governed(vm, view) else None
    if ask is not None and _declined(case, view) and not cold.fixed(case, view):
        ask = cold.anywhere(case, view)
    return tenant(vm, view, at, on=due and ask is None, ask=ask)


def _leaving(case: Situation, view: View) -> Ask | None:
    """The wish of a VM that is on for another node, where one has to be found for it."""
    vm, at = case.vm, case.at.name
    if not several(view):
        return None
    among, selector = asked_to_go_to(vm, view), asked_to_leave(vm, view)
    if selector is None and cause(vm, view, at) is None:
        if (why := engine.cause(case, view)) is None or why.spent:
            return None
        among = why.nodes
    return elsewhere(vm, view, at, barred(case, view), selector or {}, among)


def _declined(case: Situation, view: View) -> bool:
    """True of one that its node was seen not to take, and that is on its way. Only for such is it
    worked out where else it could go.
    """
    verdict = view.read(PLACED, case.vm.key)
    return case.where.way is not None or (verdict is not None and verdict.node != case.at.name)


def _due(case: Situation) -> bool:
    """True if the host says that it is to be on, whatever it lacks."""
    memory = case.seen.memory
    if memory is None or case.running is None or case.deleted:
        return False
    return power.start_due(
        power.observed(memory, case.running, case.policy, deleted=False, now=case.now), case.running
    )
