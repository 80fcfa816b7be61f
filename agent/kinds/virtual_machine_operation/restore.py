"""Decide about an operation that gives a machine's disks the data of a snapshot. First all is
looked at, then the machine is kept off, then its disks begin anew in one step, and once they are
made the machine goes on as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent.core.annotations import UNDO
from agent.core.facts import Decision, View
from agent.core.identity import made_uid
from agent.core.known import MAINTENANCE, PROGRESS, REPLACED, RESTORE
from agent.core.model import Condition, Json, Key, Object
from agent.core.overview import ENDED
from agent.core.progress import Progress
from agent.kinds.exports import DiskData
from agent.kinds.requests import status
from agent.kinds.virtual_disk import BROUGHT_BACK
from agent.kinds.virtual_machine_operation.applicable import refused
from agent.kinds.virtual_machine_operation.restored import Fate, busy, fates, undone
from agent.kinds.virtual_machine_operation.spec import operation_spec

DRY_RUN, STRICT, BEST_EFFORT = "DryRun", "Strict", "BestEffort"
_MADE = "Its disks are being made from the snapshot."
_ON = Condition("MaintenanceMode", "True", "MaintenanceModeEnabled")
_OFF = Condition("MaintenanceMode", "False", "MaintenanceModeDisabled")
_PENDING = Progress("Pending", "Unknown")


def restore(operation: Object, vm: Object, view: View) -> Decision:
    mode = operation_spec(operation.spec)["restore"]["mode"]
    progress: Progress | None = view.read(PROGRESS, operation.uid)
    if progress is not None and progress.phase in ENDED:
        # what the machine says in the end: that it goes on, or why nothing came of it
        return _ended(operation, progress, view.previous(operation.key))
    every = _fates(operation, vm, view)
    if isinstance(every, Decision):
        return every
    replaced = [fate for fate in every if fate.renewal is not None]
    made = [fate.key for fate in every if fate.renewed]
    if made and not replaced:
        return _making(operation, made, [each.listed("InProgress") for each in every], view)
    hindered = _hindered(every, replaced, mode)
    if mode == DRY_RUN:
        return _reported(operation, vm, every, hindered, view)
    if hindered:
        return Decision(status=_status(Progress("Failed", "OperationFailed", hindered), every))
    asked = RESTORE.states(operation.uid, False)
    told = progress or _PENDING
    off: bool | None = view.read(MAINTENANCE, operation.uid)
    if not off:
        report = _status(told, every)
        return Decision(status=report, publish=asked, waiting=told.phase == "Pending")
    whys = [why for fate in replaced if (why := busy(fate, view))]
    if whys:
        told = Progress("InProgress", "RestoreInProgress", whys[0], sent=True)
        report = _status(told, every)
        return Decision(status=report, publish=asked, waiting=True)
    report = _status(
        Progress("InProgress", "RestoreInProgress", _MADE, sent=True), every, mode=(_ON,)
    )
    renews = tuple(fate.renewal for fate in replaced if fate.renewal is not None)
    return Decision(status=report, publish=asked, renews=renews, waiting=True)


def _fates(operation: Object, vm: Object, view: View) -> tuple[Fate, ...] | Decision:
    """What becomes of each object; or what is done as long as nobody can tell."""
    if earlier := operation.manifest.annotations.get(UNDO):
        every = undone(operation, vm, earlier, view)
        if len(every) > 1:
            return every
        message = (
            f"Nothing lies in the trash that {earlier} has replaced: it was not, or is erased."
        )
        return Decision(status=status(Progress("Failed", "OperationFailed", message)))
    name = operation_spec(operation.spec)["restore"]["virtualMachineSnapshotName"]
    key = Key("VirtualMachineSnapshot", vm.key.namespace, name)
    snapshot = view.object(key)
    renewed = begun(operation, view)
    if renewed and (snapshot is None or snapshot.deleted):  # it stays until they are made
        return _making(operation, renewed, view.previous(operation.key)["resources"], view)
    if (early := _unready(snapshot, key, vm, view)) is not None:
        return Decision(status=status(early), waiting=early.phase == "Pending")
    assert snapshot is not None  # noqa: S101  # it is ready
    return fates(operation, vm, snapshot, view)


def begun(operation: Object, view: View) -> list[Key]:
    """Disks that have begun anew for an operation: from then on it is not called off any more."""
    listed = view.previous(operation.key).get("resources", ())
    names = [each["name"] for each in listed if each["kind"] == "VirtualDisk"]
    keys = [Key("VirtualDisk", operation.key.namespace, name) for name in names]
    objects = [view.object(key) for key in keys]
    uids = {obj.key: obj.uid for obj in objects if obj is not None}
    return [
        key
        for key, uid in uids.items()
        if uid == made_uid(operation.uid, key)
        or view.previous(key).get(BROUGHT_BACK) == operation.uid
    ]


def _unready(snapshot: Object | None, key: Key, vm: Object, view: View) -> Progress | None:
    """Why there is nothing to restore from, or not yet; None if there is."""
    if snapshot is None or snapshot.deleted:
        return Progress("Failed", "OperationFailed", f"{key} is not there.")
    if (of := snapshot.spec["virtualMachineName"]) != vm.key.name:
        message = f"{key} is of VirtualMachine {of}: ask for a restore of that."
        return Progress("Failed", "OperationFailed", message)
    phase = view.previous(key).get("phase", "")
    if phase == "Failed":
        return Progress("Failed", "OperationFailed", f"{key} has failed: see its conditions.")
    if phase != "Ready":
        return Progress("Pending", "Unknown", f"{key} is not ready yet.")
    return None


def _hindered(every: Iterable[Fate], replaced: list[Fate], mode: str) -> str:
    """Why nothing is done, in a sentence; empty if something is."""
    wrong = [fate for fate in every if fate.problem]
    if mode == BEST_EFFORT:
        wrong = [fate for fate in wrong if not fate.missing or not replaced]
    if wrong:
        return " ".join(f"{fate.key}: {fate.message}" for fate in wrong)
    return "" if replaced else "The snapshot has no disks to restore."


def _making(
    operation: Object,
    made: list[Key],
    listed: list[dict[str, Json]],
    view: View,
) -> Decision:
    """What is to be replaced has been: it is waited for."""
    progress: Progress | None = view.read(PROGRESS, operation.uid)
    lacking = [key for key in made if not _there(operation, key, view)]
    told = progress or _PENDING
    if lacking:
        names = ", ".join(str(key) for key in lacking)
        told = Progress(
            "InProgress", "RestoreInProgress", f"{names} is made: see its conditions.", sent=True
        )
    off: bool | None = view.read(MAINTENANCE, operation.uid)
    known = view.previous(operation.key)
    report = {**status(told, _mode(known, on=bool(off))), "resources": listed}
    return Decision(status=report, publish=RESTORE.states(operation.uid, not lacking), waiting=True)


def _there(operation: Object, key: Key, view: View) -> bool:
    """True once a disk can be opened, and it is written down that it is another one: of one that
    has to be made, before that begins.
    """
    if view.previous(key).get(BROUGHT_BACK) == operation.uid:
        replaced = view.read(REPLACED, key) or ()
        if not any(by == operation.key.name for _, by in replaced):
            return False
    return view.export(DiskData, key) is not None


def _reported(
    operation: Object, vm: Object, every: tuple[Fate, ...], hindered: str, view: View
) -> Decision:
    """Only what would be done."""
    said = view.previous(vm.key).get("phase", "Pending")
    policy = str(vm.spec["runPolicy"])
    told = refused(operation_spec(operation.spec), policy, said) or Progress(
        "Completed", "OperationCompleted", "Nothing was done: see status.resources for what would."
    )
    if hindered:
        told = Progress("Failed", "OperationFailed", hindered)
    return Decision(status=_status(told, every, "Completed"))


def _ended(operation: Object, progress: Progress, previous: Mapping[str, Any]) -> Decision:
    done = progress.phase == "Completed"
    state = "Completed" if done else "Failed"
    listed = [
        {**each, "status": state} if each["status"] == "InProgress" else each
        for each in previous.get("resources", ())
    ]
    report = {**status(progress, _mode(previous, on=False)), "resources": listed}
    # what the machine answers to stays said until the answer is written down
    return Decision(status=report, publish=RESTORE.states(operation.uid, done))


def _mode(previous: Mapping[str, Any], *, on: bool) -> tuple[Condition, ...]:
    """Whether the machine is kept off; nothing where it never was."""
    if on:
        return (_ON,)
    known = {each["type"] for each in previous.get("conditions", ())}
    return (_OFF,) if _OFF.type in known else ()


def _status(
    progress: Progress,
    every: Iterable[Fate],
    state: str = "InProgress",
    *,
    mode: tuple[Condition, ...] = (),
) -> dict[str, Any]:
    return {
        **status(progress, mode),
        "resources": [fate.listed(state) for fate in every],
    }
