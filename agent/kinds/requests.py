"""How the status of an operation says how far it is."""

from __future__ import annotations

from typing import Any

from agent.core.model import Condition
from agent.core.progress import Progress

_STATUS = {"Completed": "True", "Superseded": "True", "Failed": "False", "InProgress": "False"}


def status(progress: Progress, more: tuple[Condition, ...] = ()) -> dict[str, Any]:
    state = _STATUS.get(progress.phase, "Unknown")
    conditions = [Condition("Completed", state, progress.reason, progress.message), *more]
    if progress.sent:
        conditions.append(Condition("SignalSent", "True", "SignalSentSuccess"))
    return {"phase": progress.phase, "conditions": conditions}
