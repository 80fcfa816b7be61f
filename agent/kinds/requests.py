"""What all requests have in common, of whatever kind: how a status says how far one is, and when it
is too late to begin.
"""

from __future__ import annotations

from typing import Any

from agent.core.annotations import NOT_AFTER
from agent.core.model import Condition, Object
from agent.core.progress import Progress
from agent.core.status import seconds

COMPLETED_AT = "completionTimestamp"
"""Field of a status: when a request ended that may go on for long. The time of its condition does
not tell: that was false before.
"""
_STATUS = {"Completed": "True", "Superseded": "True", "Failed": "False", "InProgress": "False"}


def status(progress: Progress, more: tuple[Condition, ...] = ()) -> dict[str, Any]:
    state = _STATUS.get(progress.phase, "Unknown")
    conditions = [Condition("Completed", state, progress.reason, progress.message), *more]
    if progress.sent:
        conditions.append(Condition("SignalSent", "True", "SignalSentSuccess"))
    told: dict[str, Any] = {"phase": progress.phase, "conditions": conditions}
    if progress.percent is not None:
        told["progress"] = f"{progress.percent}%"
    return told


def expiry(request: Object) -> float | None:
    """When it is too late to begin with it, in seconds since the epoch; None if it never is."""
    text = request.manifest.annotations.get(NOT_AFTER, "")
    try:
        return seconds(text) if text else None
    except ValueError:
        return None


def expired(request: Object) -> Progress:
    """Of one with which it is too late to begin."""
    message = f"Nothing could act on it before {request.manifest.annotations[NOT_AFTER]}."
    return Progress("Failed", "Expired", message)
