"""Objects that somebody has asked to leave alone for a while."""

from __future__ import annotations

from dataclasses import replace

from agent.core.acceptance import suspended
from agent.core.annotations import SUSPEND
from agent.core.facts import Decide, Decision, View
from agent.core.model import Condition, Object

MESSAGE = (
    f"Nothing is done about it while its annotation {SUSPEND} is disabled; remove the "
    "annotation to go on."
)
_CONDITION = Condition("Suspended", "True", "ReconciliationDisabled", MESSAGE)


def suspendable(decide: Decide) -> Decide:
    """The same decisions, with nothing done while the object is suspended."""

    def decided(obj: Object, view: View) -> Decision:
        decision = decide(obj, view)
        if obj.deleted or not suspended(obj.manifest):
            return decision
        return _still(decision, view.now)

    return decided


def _still(decision: Decision, now: float) -> Decision:
    status = decision.status
    if status is not None:
        status = {**status, "conditions": [*status.get("conditions", ()), _CONDITION]}
    return replace(
        decision,
        status=status,
        actions=(),
        waiting=False,
        wake=decision.wake if decision.wake is not None and decision.wake > now else None,
    )
