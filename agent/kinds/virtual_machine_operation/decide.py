"""Report on one operation. What ended stays as it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.facts import Decision, View
from agent.core.known import PROGRESS
from agent.core.model import Condition, Key, Object
from agent.core.overview import ENDED
from agent.core.progress import Progress
from agent.kinds.virtual_machine_operation.spec import operation_spec

_STATUS = {"Completed": "True", "Superseded": "True", "Failed": "False", "InProgress": "False"}

LOST: Mapping[str, Any] = {
    "phase": "Failed",
    "conditions": [
        Condition(
            "Completed",
            "False",
            "Expired",
            "It was asked for before the agent's ledger began: ask again with a new name.",
        )
    ],
}
"""The report of one from before the ledger: whether it was executed cannot be known."""


def decide(operation: Object, view: View) -> Decision:
    previous = view.previous(operation.key)
    if operation.deleted:
        return Decision(status=None, gone=True)
    if previous.get("phase") in ENDED:
        return Decision()
    name = operation_spec(operation.spec)["virtualMachineName"]
    vm = Key("VirtualMachine", operation.key.namespace, name)
    target = view.object(vm)
    progress: Progress | None
    if target is None:
        message = f"{vm} is not there."
        progress = Progress("Failed", "VirtualMachineNotFound", message)
    else:
        progress = view.read(PROGRESS, operation.uid)
    if progress is None and previous.get("phase"):
        return Decision()  # what the VM does cannot be seen now: what was known stays
    if progress is None:
        return Decision(status=_status(Progress("Pending", "Unknown")), waiting=True)
    return Decision(status=_status(progress))  # what is under way is the VM's


def _status(progress: Progress) -> dict[str, Any]:
    conditions = [
        Condition(
            "Completed", _STATUS.get(progress.phase, "Unknown"), progress.reason, progress.message
        )
    ]
    if progress.sent:
        conditions.append(Condition("SignalSent", "True", "SignalSentSuccess"))
    return {"phase": progress.phase, "conditions": conditions}
