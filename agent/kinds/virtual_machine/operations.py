"""What the operations on a VM ask of it, and what has become of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace

from agent.core.facts import View
from agent.core.host import RawDomain
from agent.core.known import OPERATIONS, RESTORE
from agent.core.metadata import DomainMetadata, Power, Recorded
from agent.core.model import Key, Object
from agent.core.overview import ENDED
from agent.core.progress import Progress
from agent.kinds.requests import expired, expiry
from agent.kinds.virtual_machine.power import (
    Running,
    accept,
    cancel,
    finished,
    made,
    unfinished,
)
from agent.kinds.virtual_machine_operation import (
    BY_ITSELF,
    MIGRATIONS,
    SUPPORTED,
    against_policy,
    operation_spec,
    refused,
    supersedes,
)

_REASONS = {
    "Start": "StartInProgress",
    "Stop": "StopInProgress",
    "Restart": "RestartInProgress",
    "Evict": "Syncing",
    "Migrate": "Syncing",
    "Restore": "RestoreInProgress",
}
_SUSPENDED = Progress(
    "Pending", "Unknown", "The VirtualMachine is suspended: nothing is done about it."
)


@dataclass(frozen=True)
class Outcome:
    memory: DomainMetadata
    progress: Mapping[str, Progress]
    """By operation uid."""
    wake: float | None = None
    off_for: str = ""
    """Uid of the operation that there is no domain to be stopped for."""


def none_taken_up(progress: Mapping[str, Progress]) -> dict[str, Progress]:
    """How far the operations on a suspended machine are: what would be written down of those that
    have not ended is not.
    """
    return {uid: state if state.phase in ENDED else _SUSPENDED for uid, state in progress.items()}


def open_operations(vm: Key, view: View) -> list[Object]:
    """Operations on the VM that have not ended, oldest first."""
    operations = [view.object(key) for key in view.read(OPERATIONS, vm) or ()]
    live = [
        operation
        for operation in operations
        if operation is not None
        and operation_spec(operation.spec)["type"] not in BY_ITSELF
        # one whose disks have begun anew goes on to its end
        and (not operation.deleted or view.read(RESTORE, operation.uid) is not None)
    ]
    return [
        operation for operation in live if view.previous(operation.key).get("phase") not in ENDED
    ]


def completed_operations(vm: Key, view: View) -> frozenset[str]:
    """Uids of the operations on the VM that the ledger calls completed."""
    keys = view.read(OPERATIONS, vm) or ()
    operations = [
        view.object(key) for key in keys if view.previous(key).get("phase") == "Completed"
    ]
    return frozenset(operation.uid for operation in operations if operation is not None)


def restores(operations: Iterable[Object], view: View) -> dict[str, bool]:
    """Those that give disks their earlier data and may begin, by uid: True once that is done."""
    states = {each.uid: view.read(RESTORE, each.uid) for each in operations}
    return {uid: state for uid, state in states.items() if state is not None}


def without_domain(
    operations: Iterable[Object],
    memory: DomainMetadata,
    policy: str,
    phase: str,
    restoring: Mapping[str, bool],
    now: float,
) -> Outcome:
    """There is no domain yet that could do anything. One that is asked to be off is made off."""
    progress = {}
    wake: float | None = None
    off_for = ""
    for operation in operations:
        until = expiry(operation)
        if until is not None and until <= now:
            progress[operation.uid] = expired(operation)
            continue
        if until is not None:
            wake = until if wake is None else min(wake, until)
        spec = operation_spec(operation.spec)
        problem = refused(spec, policy, phase)
        if problem is None and spec["type"] == "Stop":
            entry = Recorded(uid=operation.uid, type="Stop", force=False, target="", at=int(now))
            off = Power(on=False, by=operation.uid, at=int(now), instance="")
            memory = replace(memory.with_operation(entry), power=off)
        if problem is None and spec["type"] == "Restore":
            if operation.uid not in restoring or off_for:
                continue
            if not restoring[operation.uid]:
                off_for = operation.uid
            progress[operation.uid] = _begun(done=restoring[operation.uid])
            continue
        progress[operation.uid] = problem or Progress(
            "Pending", "Unknown", "The VirtualMachine is not defined yet."
        )
    return Outcome(memory, progress, wake, off_for)


def _begun(*, done: bool) -> Progress:
    """Of a restore that no domain had to be stopped for."""
    if done:
        return Progress("Completed", "OperationCompleted", sent=True)
    return Progress("InProgress", "RestoreInProgress", _WAITING, sent=True)


def advance(
    operations: Iterable[Object],
    memory: DomainMetadata,
    running: Running,
    *,
    written: DomainMetadata | None,
    policy: str,
    phase: str,
    ready: bool,
    deleted: bool,
    completed: Set[str],
    restoring: Mapping[str, bool],
    trouble: str,
    now: float,
    prospects: Mapping[str, Progress] = {},
    going: Mapping[str, Progress] = {},
) -> Outcome:
    """Take up what may act now, withdraw what was deleted, and say of each where it is. `written`
    is what the domain holds: an operation is only called completed once it is finished by that.
    `completed` are uids of those that were called so, `trouble` is what failed last. Of migrations,
    by uid, `prospects` says what can be done about new ones, and `going` how far the others are.
    """
    operations = list(operations)
    names = {operation.uid: operation.key.name for operation in operations}
    memory = _cancelled(
        memory, running, {operation.uid for operation in operations} | completed, now
    )
    for uid, done in restoring.items():
        # what somebody has started meanwhile runs with disks as they were: it ends first
        memory = made(memory, uid) if done and not running.on else memory
    progress: dict[str, Progress] = {}
    wake: float | None = None
    for operation in operations:
        known = memory.recorded(operation.uid)
        if known is None and _by_itself(operation, restoring, progress):
            continue
        if known is None:
            until = expiry(operation)
            if until is not None and until <= now:
                progress[operation.uid] = expired(operation)
                continue
            memory, state = _consider(
                operation, memory, running, policy, phase, progress, names, ready=ready, now=now
            )
            if state is None and operation.uid in prospects:
                state = prospects[operation.uid]
            if state is not None:
                progress[operation.uid] = state
                if state.phase == "Pending" and until is not None:
                    wake = until if wake is None else min(wake, until)
                continue
        overruled = _overruled(operation, memory, running, policy, deleted=deleted)
        if overruled is not None:
            memory = cancel(memory, running, operation.uid, now)
        entry = memory.recorded(operation.uid)
        moves = entry is not None and (entry.failed or not entry.cancelled)
        progress[operation.uid] = (
            overruled
            or (going.get(operation.uid) if moves and operation.uid in going else None)
            or _progress(operation, memory, running, written, trouble)
        )
    return Outcome(memory, progress, wake)


def _by_itself(
    operation: Object, restoring: Mapping[str, bool], progress: dict[str, Progress]
) -> bool:
    """True for a restore that the domain has nothing to do with: either nobody knows yet whether
    there is something to be done, or it was done while there was no domain.
    """
    if operation_spec(operation.spec)["type"] != "Restore":
        return False
    done = restoring.get(operation.uid)
    if done:
        progress[operation.uid] = _begun(done=True)
    return done is not False


def _consider(
    operation: Object,
    memory: DomainMetadata,
    running: Running,
    policy: str,
    phase: str,
    progress: dict[str, Progress],
    names: Mapping[str, str],
    *,
    ready: bool,
    now: float,
) -> tuple[DomainMetadata, Progress | None]:
    """Record a new operation in the metadata, or say why not."""
    spec = operation_spec(operation.spec)
    problem = refused(spec, policy, phase)
    if problem is not None:
        return memory, problem
    older = unfinished(memory, running)
    if older is not None:
        if not supersedes(spec, older.type, old_force=older.force):
            message = f"{_name(older, names)} of this VirtualMachine has to end first."
            return memory, Progress("Failed", "NotReadyToBeExecuted", message)
        memory = cancel(memory, running, older.uid, now)
        progress[older.uid] = Progress(
            "Superseded",
            "Superseded",
            f"Superseded by {operation.key.name} of type {spec['type']}.",
            sent=True,
        )
    if spec["type"] == "Restore" and running.raw.managed_save:
        return memory, Progress("Failed", "OperationFailed", _SAVED)
    goes_on = spec["type"] == "Restart" or (spec["type"] == "Restore" and running.on)
    if goes_on and not ready:
        message = (
            "The VirtualMachine could not start again now: see its conditions. It "
            "keeps running until it could."
        )
        return memory, Progress("Pending", "Unknown", message)
    if spec["type"] in MIGRATIONS:
        return memory, None  # it is written down once its turn has come
    force = spec.get("force", False)
    return accept(memory, running, operation.uid, spec["type"], now, force=force), None


def _overruled(
    operation: Object, memory: DomainMetadata, running: Running, policy: str, *, deleted: bool
) -> Progress | None:
    """Why an operation that was taken up cannot end well any more; None if it can, or has."""
    entry = memory.recorded(operation.uid)
    if entry is None or (finished(entry, memory, running) and not entry.cancelled):
        return None
    if deleted and entry.type != "Stop":
        return Progress(
            "Failed", "VirtualMachineNotFound", "The VirtualMachine is being deleted.", sent=True
        )
    forbidden = None if deleted else against_policy(entry.type, policy)
    return replace(forbidden, sent=True) if forbidden else None


def _name(entry: Recorded, names: Mapping[str, str]) -> str:
    """What people know an operation by. A restart by itself has no name."""
    name = names.get(entry.uid)
    return f"Operation {name}" if name else "The restart"


def _progress(
    operation: Object,
    memory: DomainMetadata,
    running: Running,
    written: DomainMetadata | None,
    trouble: str,
) -> Progress:
    entry = memory.recorded(operation.uid)
    assert entry is not None  # noqa: S101  # recorded by now
    if entry.cancelled:
        return Progress("Superseded", "Superseded", _CALLED_OFF, sent=True)
    if written and written.recorded(operation.uid) == entry and finished(entry, written, running):
        return Progress("Completed", "OperationCompleted", sent=True)
    message = _WAITING
    if running.raw.state == "paused":
        message += _unheard(running.raw)
    if trouble:
        message += f" What it needs has failed and is tried again: {trouble}"
    reason = _REASONS[operation_spec(operation.spec)["type"]]
    return Progress("InProgress", reason, message, sent=True)


_WAITING = "Waiting for the operation to complete."
_SAVED = (
    "The VirtualMachine's state is saved on its node, and goes with the disks as they are: start "
    "it, or drop the state with `virsh managedsave-remove`, and ask again with a new name."
)
_CALLED_OFF = (
    "It was called off before it had ended: by a later operation, by a change of the "
    "VirtualMachine, or because its file was gone for a while. A new operation can be asked for."
)
"""All that a domain remembers of one is that it was called off."""


def _unheard(raw: RawDomain) -> str:
    """Why a guest that is paused does not shut down."""
    if raw.starting:
        return ""
    why, way_out = (
        (" for lack of space on its node", "Free some, and it shuts down; else its")
        if raw.starved
        else ("", "Its")
    )
    return (
        f" The guest is paused{why}, and does not hear the power button. {way_out} power is cut at "
        "the end of spec.terminationGracePeriodSeconds."
    )


def _cancelled(
    memory: DomainMetadata, running: Running, wanted: set[str], now: float
) -> DomainMetadata:
    for entry in memory.operations:
        if entry.type not in SUPPORTED or entry.uid in wanted or entry.cancelled:
            continue
        if not finished(entry, memory, running):
            memory = cancel(memory, running, entry.uid, now)
    return memory
