"""What of a manifest has no effect here stands in the status of its object, whatever its kind."""

from __future__ import annotations

from dataclasses import replace

from agent.core.facts import Decide, Decision, View
from agent.core.model import Condition, Object
from agent.core.status import conditioned

_TYPE = "FieldsSupported"


def noted(decide: Decide) -> Decide:
    """The same decisions, with a condition where fields are accepted and do nothing."""

    def decided(obj: Object, view: View) -> Decision:
        decision = decide(obj, view)
        notes, status = obj.manifest.notes, decision.status
        if status is None:
            return decision
        told = None
        if notes and not obj.deleted:
            told = Condition(_TYPE, "False", "NotSupportedHere", f"{'; '.join(notes)}.")
        report = conditioned(status, _TYPE, told)
        return decision if report is status else replace(decision, status=report)

    return decided
