"""A machine that leaves a node that is short of memory, where the settings have the agent do that.
Which one goes where is found over all nodes (`core.placement.shifting`); here it is said which may.
"""

from __future__ import annotations

from agent.core.acceptance import suspended
from agent.core.facts import View
from agent.core.known import MANNER, SHIFTED
from agent.core.ledger import MOVE
from agent.core.migrating import Manner
from agent.core.placement.tenants import Ask
from agent.core.status import seconds
from agent.kinds.local import nodes, several
from agent.kinds.virtual_machine import evacuation
from agent.kinds.virtual_machine.evacuation import DRAINED, Cause
from agent.kinds.virtual_machine.migration.target import barred
from agent.kinds.virtual_machine.placement import elsewhere
from agent.kinds.virtual_machine.situation import Situation

PAUSE = 600.0
"""Seconds for which one that has moved stays, and between two attempts."""


def gives(case: Situation, view: View) -> Ask | None:
    """The wish that it would have if it were to make room; None where it may not be asked to."""
    vm, raw = case.vm, case.seen.raw
    if not _is_on(view) or raw is None or raw.state != "running" or case.way is not None:
        return None
    if vm.deleted or suspended(vm.manifest) or not evacuation.is_migratable(vm, view):
        return None
    if evacuation.cause(vm, view, case.at.name) is not None or _asked_by_others(case, view):
        return None
    if view.now < rests_until(case):
        return None
    return elsewhere(vm, view, case.at.name, barred(case, view), {}, nodes(view))


def _is_on(view: View) -> bool:
    return (view.read(MANNER, None) or Manner()).load_shifting and several(view)


def _asked_by_others(case: Situation, view: View) -> bool:
    ours = {each.key for each in evacuation.made_by_us(case.vm, view)}
    return any(each.key not in ours for each in evacuation.asking(case.vm, view))


def rests_until(case: Situation) -> float:
    """When it may be moved for that again, in seconds since the epoch."""
    end = case.previous.get(MOVE, {}).get("endTimestamp")
    return seconds(end) + PAUSE if end else 0.0


def wake(case: Situation, view: View) -> float | None:
    """When time alone lets it be asked again."""
    until = rests_until(case)
    return until if _is_on(view) and until > view.now else None


def cause(case: Situation, view: View) -> Cause | None:
    """Why it is to leave, and where to."""
    target = view.read(SHIFTED, case.vm.key)
    if target is None or case.deleted:
        return None
    at, epoch = case.at.name, case.seen.memory.epoch if case.seen.memory is not None else 0
    told = f"Node {at} is short of memory, and node {target} is not."
    token = f"{at} memory {target} {epoch}"
    return Cause(DRAINED, token, told, frozenset((target,)), pause=PAUSE, found=True)
