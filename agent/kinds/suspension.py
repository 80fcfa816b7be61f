"""Objects that somebody has asked to leave alone for a while."""

from __future__ import annotations

from dataclasses import replace

from agent.core.acceptance import suspended
from agent.core.annotations import SUSPEND
from agent.core.facts import Decide, Decision, View
from agent.core.model import Condition, Object
from agent.core.status import conditioned

MESSAGE = (
    f"Nothing is done about it while its annotation {SUSPEND} is disabled; remove the "
    "annotation to go on."
)
_CONDITION = Condition("Suspended", "True", "ReconciliationDisabled", MESSAGE)


def suspendable(decide: Decide) -> Decide:
    """The same decisions, with nothing done while the object is suspended."""

    def decided(obj: Object, view: View) -> Decision:
        decision = decide(obj, view)
        told = suspended(obj.manifest) and not obj.deleted
        status = decision.status
        if status is not None:
            status = conditioned(status, _CONDITION.type, _CONDITION if told else None)
        if status is not decision.status:
            decision = replace(decision, status=status)
        return _still(decision, view.now) if told else decision

    return decided


def _still(decision: Decision, now: float) -> Decision:
    return replace(
        decision,
        actions=(),
        makes=(),
        drops=frozenset(),
        becomes=None,
        proposes=None,
        waiting=False,
        wake=decision.wake if decision.wake is not None and decision.wake > now else None,
    )
