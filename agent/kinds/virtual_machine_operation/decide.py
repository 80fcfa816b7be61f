"""Report on one operation. What ended stays as it ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.acceptance import suspended
from agent.core.facts import Decision, View
from agent.core.known import PROGRESS
from agent.core.model import Condition, Key, Object
from agent.core.overview import ENDED
from agent.core.progress import Progress
from agent.kinds.requests import status
from agent.kinds.virtual_machine_operation.clone import cleared, clone
from agent.kinds.virtual_machine_operation.restore import begun, restore
from agent.kinds.virtual_machine_operation.spec import operation_spec

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
    if operation.deleted and (previous.get("phase") in ENDED or not begun(operation, view)):
        return Decision(status=None, gone=True)
    spec = operation_spec(operation.spec)
    if previous.get("phase") in ENDED:
        return cleared(operation, view) if spec["type"] == "Clone" else Decision()
    if spec["type"] == "Clone":
        return clone(operation, view)
    vm = Key("VirtualMachine", operation.key.namespace, spec["virtualMachineName"])
    target = view.object(vm)
    if target is not None and spec["type"] == "Restore" and not suspended(target.manifest):
        return restore(operation, target, view)
    progress: Progress | None
    if target is None:
        message = f"{vm} is not there."
        progress = Progress("Failed", "VirtualMachineNotFound", message)
    else:
        progress = view.read(PROGRESS, operation.uid)
    if progress is None and previous.get("phase"):
        return Decision()  # what the VM does cannot be seen now: what was known stays
    if progress is None:
        return Decision(status=status(Progress("Pending", "Unknown")), waiting=True)
    return Decision(status=status(progress))  # what is under way is the VM's
