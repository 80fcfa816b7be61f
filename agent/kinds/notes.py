"""What of a manifest has no effect here stands in the status of its object, whatever its kind."""

from __future__ import annotations

from dataclasses import replace

from agent.core.facts import Decide, Decision, View
from agent.core.model import Condition, Object


def noted(decide: Decide) -> Decide:
    """The same decisions, with a condition where fields are accepted and do nothing."""

    def decided(obj: Object, view: View) -> Decision:
        decision = decide(obj, view)
        notes, status = obj.manifest.notes, decision.status
        if not notes or status is None or obj.deleted:
            return decision
        told = Condition("FieldsSupported", "False", "NotSupportedHere", f"{'; '.join(notes)}.")
        conditions = [*status.get("conditions", ()), told]
        return replace(decision, status={**status, "conditions": conditions})

    return decided
