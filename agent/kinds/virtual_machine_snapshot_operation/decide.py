"""Decide about one operation. What it comes to is a branch to merge, as for a clone; the data is
what the snapshot has.
"""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.facts import Decision, View
from agent.core.model import Json, Key, Object
from agent.core.overview import ENDED
from agent.core.progress import Progress
from agent.kinds.cloning import (
    BRANCH,
    Asked,
    Captured,
    Naming,
    copies,
    followed,
    hindrance,
    looked_at,
    proposed,
)
from agent.kinds.requests import expired, expiry, status
from agent.kinds.virtual_disk_snapshot import snapshot_spec
from agent.kinds.virtual_machine_snapshot import NAMES
from agent.kinds.virtual_machine_snapshot_operation.spec import snapshot_operation_spec

UNDER_WAY = "CreateVirtualMachineInProgress"
NOT_FOUND, NOT_READY = "VirtualMachineSnapshotNotFound", "NotReadyToBeExecuted"
AS_IT_WAS = Naming(mode="Strict")


def decide(operation: Object, view: View) -> Decision:
    previous = view.previous(operation.key)
    if operation.deleted:
        return Decision(status=None, gone=True)
    if previous.get("phase") in ENDED:
        return Decision()
    spec = snapshot_operation_spec(operation.spec)
    key = Key("VirtualMachineSnapshot", operation.key.namespace, spec["virtualMachineSnapshotName"])
    said = view.previous(key)
    asked = Asked(
        operation,
        spec.get("createVirtualMachine", AS_IT_WAS),
        UNDER_WAY,
        f"Make what {key.name} has",
        view.now,
        f"Its disks are made from {key}: keep that until then.",
    )
    if previous.get(BRANCH):
        return followed(asked, said.get(NAMES, ()), view)
    if (early := _early(operation, key, said, view)) is not None:
        return Decision(status=status(early), waiting=view.under_way(key), wake=expiry(operation))
    every = copies(_captured(key, said, view), asked.how, view)
    if why := hindrance(every, asked.how):
        return asked.failed(why, every)
    return looked_at(asked, every, view) or proposed(asked, every, view)


def _early(operation: Object, key: Key, said: Mapping[str, Json], view: View) -> Progress | None:
    """Why there is nothing to make a machine from, or not yet; None if there is."""
    until = expiry(operation)
    if until is not None and until <= view.now:
        return expired(operation)
    snapshot = view.object(key)
    if snapshot is None or snapshot.deleted:
        return Progress("Failed", NOT_FOUND, f"{key} is not there.")
    if said.get("phase") == "Failed":
        return Progress("Failed", NOT_READY, f"{key} has failed: see its conditions.")
    if said.get("phase") != "Ready":
        return Progress("Pending", NOT_READY, f"{key} is not ready yet.")
    return None


def _captured(key: Key, said: Mapping[str, Json], view: View) -> Captured:
    names = [Key("VirtualDiskSnapshot", key.namespace, name) for name in said.get(NAMES, ())]
    objects = [obj for name in names if (obj := view.object(name)) is not None]
    parts = {snapshot_spec(obj.spec)["virtualDiskName"]: obj.key.name for obj in objects}
    return Captured(key.namespace, said.get("resources", ()), parts, lasting=True)
