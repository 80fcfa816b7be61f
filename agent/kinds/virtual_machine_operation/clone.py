"""Decide about an operation that makes a machine like another one. First all is looked at, then a
snapshot is taken for it, then manifests are written to a branch; the snapshot stays until what was
merged of them is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from agent.core.acceptance import suspended
from agent.core.facts import Decision, View
from agent.core.identity import made_uid
from agent.core.model import Condition, Json, Key, Manifest, Object
from agent.core.progress import Progress
from agent.core.status import conditions, still
from agent.kinds.cloning import (
    BRANCH,
    Asked,
    Captured,
    copies,
    followed,
    hindrance,
    looked_at,
    proposed,
)
from agent.kinds.requests import expired, expiry, status
from agent.kinds.virtual_machine_operation.applicable import refused
from agent.kinds.virtual_machine_operation.spec import OperationSpec, operation_spec
from agent.kinds.virtual_machine_snapshot import NAMES, READY, disks_of, resources

KIND = "VirtualMachineSnapshot"
UNDER_WAY = "CloneInProgress"
SNAPSHOT = "SnapshotReady"
_TAKEN = Condition(SNAPSHOT, "True", "SnapshotReady")
_CLEARED = Condition(SNAPSHOT, "False", "SnapshotCleanedUp")
_SUSPENDED = "The VirtualMachine is suspended: nothing is done about it."


def clone(operation: Object, view: View) -> Decision:
    spec, previous = operation_spec(operation.spec), view.previous(operation.key)
    snapshot = _snapshot(operation)
    said = view.previous(snapshot)
    if previous.get(BRANCH):
        decision = followed(_asked(operation, spec, view.now, (_TAKEN,)), said.get(NAMES, ()), view)
        return replace(decision, makes=(_manifest(snapshot, spec),))
    vm = view.object(Key("VirtualMachine", operation.key.namespace, spec["virtualMachineName"]))
    if vm is None:
        message = (
            f"VirtualMachine {operation.key.namespace}/{spec['virtualMachineName']} is not there."
        )
        return _fails(Progress("Failed", "VirtualMachineNotFound", message))
    taken = view.object(snapshot) is not None
    if not taken and (early := _early(operation, vm, spec, view)) is not None:
        return early
    asked = _asked(operation, spec, view.now)
    every = copies(_captured(operation, vm, said, view), spec["clone"], view)
    if why := hindrance(every, spec["clone"]):
        return asked.failed(why, every)
    if not taken and (look := looked_at(asked, every, view)) is not None:
        return look
    if said.get("phase") == "Ready":
        decision = proposed(replace(asked, more=(_TAKEN,)), every, view)
    else:
        decision = _taking(asked, every, said)
    return replace(decision, makes=(_manifest(snapshot, spec),))


def cleared(operation: Object, view: View) -> Decision:
    """One that has ended needs its snapshot no more."""
    key = _snapshot(operation)
    if view.object(key) is not None:
        return Decision(drops=frozenset((key,)))
    previous = view.previous(operation.key)
    if any(each.type == SNAPSHOT and each != _CLEARED for each in conditions(previous)):
        return Decision(status=still(previous, _CLEARED))
    return Decision()


def _snapshot(operation: Object) -> Key:
    return Key(KIND, operation.key.namespace, f"vmop-clone-{operation.uid}")


def _manifest(key: Key, spec: OperationSpec) -> Manifest:
    asks = {
        "virtualMachineName": spec["virtualMachineName"],
        "requiredConsistency": True,
        "keepIPAddress": "Never",
    }
    return Manifest(key, {}, {}, {"spec": asks})


def _asked(
    operation: Object, spec: OperationSpec, now: float, more: tuple[Condition, ...] = ()
) -> Asked:
    keeps = "Until then the snapshot that was taken for it keeps the data of its disks."
    subject = f"Clone {spec['virtualMachineName']}"
    return Asked(operation, spec["clone"], UNDER_WAY, subject, now, keeps, more)


def _early(operation: Object, vm: Object, spec: OperationSpec, view: View) -> Decision | None:
    """Why it does not begin, or not yet; None if it does."""
    until = expiry(operation)
    if until is not None and until <= view.now:
        return _fails(expired(operation))
    if suspended(vm.manifest):
        pending = Progress("Pending", "Unknown", _SUSPENDED)
        return Decision(status=status(pending), wake=until)
    phase = view.previous(vm.key).get("phase", "Pending")
    wrong = refused(spec, str(vm.spec["runPolicy"]), phase)
    return None if wrong is None else _fails(wrong)


def _fails(progress: Progress) -> Decision:
    return Decision(status=status(progress))


def _captured(operation: Object, vm: Object, said: Mapping[str, Any], view: View) -> Captured:
    """What the snapshot has, or would have by now."""
    space, key = operation.key.namespace, _snapshot(operation)
    ending = f"-{made_uid(operation.uid, key)}"
    if said.get("resources"):
        names: Iterable[str] = said.get(NAMES, ())
        parts = {name.removesuffix(ending): name for name in names}
        return Captured(space, said["resources"], parts)
    disks = disks_of(vm, view)
    parts = {disk.name: f"{disk.name}{ending}" for disk in disks}
    return Captured(space, resources(vm, disks, view), parts)


def _taking(asked: Asked, every: tuple[Any, ...], said: Mapping[str, Json]) -> Decision:
    """The snapshot is waited for."""
    why = next((each.message for each in conditions(said) if each.type == READY), "")
    if said.get("phase") == "Failed":
        told = Condition(SNAPSHOT, "False", "SnapshotFailed", why)
        return replace(asked, more=(told,)).failed(f"Its snapshot failed: {why}", every)
    told = Condition(SNAPSHOT, "False", "SnapshotInProgress", why)
    return replace(asked, more=(told,)).waits("A snapshot is taken of its disks.", every)
