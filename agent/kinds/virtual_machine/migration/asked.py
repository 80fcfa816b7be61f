"""What operations that move a VM ask of it, and how far each is."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.core.facts import View
from agent.core.metadata import DomainMetadata, Recorded
from agent.core.migration import Step
from agent.core.model import Object
from agent.core.progress import Progress
from agent.core.quantity import to_bytes
from agent.core.status import seconds
from agent.kinds.virtual_machine.migration.target import Chosen, busy, chosen, fixed
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import machine_spec
from agent.kinds.virtual_machine_operation import MIGRATIONS, operation_spec

PATIENCE = 300.0
"""Seconds that a target, and a machine that is ready to go, are waited for."""
WITHIN = 800.0
"""Seconds that each GiB of memory may take."""
GIB = 1 << 30
VERB = "MigrateDomain"
_AHEAD = frozenset((VERB, "MakeNetwork", "HoldAddress", "StartNetwork"))
"""What takes it there, and what the target is prepared by."""
ABORTED, DISK_ERROR = "Aborted", "TargetDiskError"
_OF_DISKS = ("VolumeExists", "NoSpace")
"""Reasons of verbs."""
_POLICIES = {
    # policy: whether its guest may be slowed down where nobody says, and what may be said
    "AlwaysSafe": (False, (False,)),
    "PreferSafe": (False, (False, True)),
    "AlwaysForced": (True, (True,)),
    "PreferForced": (True, (False, True)),
}


@dataclass(frozen=True)
class Prospect:
    """What can be done about one that has not been taken up."""

    progress: Progress
    chosen: Chosen | None = None
    """Where to, once nothing but its turn is waited for."""
    wake: float | None = None


def converges(operation: Object, case: Situation) -> bool | Progress:
    """Whether its guest may be slowed down, or why that cannot be asked for."""
    policy = machine_spec(case.vm.spec)["liveMigrationPolicy"]
    default, allowed = _POLICIES[policy]
    force = operation_spec(operation.spec).get("force")
    if force is None:
        return default
    if force in allowed:
        return force
    said = str(force).lower()
    message = f"force: {said} is not applicable for liveMigrationPolicy {policy}."
    return Progress("Failed", "NotApplicableForLiveMigrationPolicy", message)


def prospect(operation: Object, case: Situation, view: View) -> Prospect:
    """Of one that suits run policy and phase."""
    forced = converges(operation, case)
    if isinstance(forced, Progress):
        return Prospect(forced)
    _, why = fixed(case, view)
    if why:
        return Prospect(Progress("Failed", "OperationFailed", f"It cannot be migrated: {why}"))
    until = seconds(operation.created) + PATIENCE
    if why := busy(case):
        waits = Progress("Pending", "WaitingForVirtualMachineToBeReadyToMigrate", why)
        return _for_a_while(waits, until, case.now)
    found = chosen(case, view)
    if not found.node:
        waits = Progress("InProgress", "TargetUnschedulable", found.why, percent=2)
        return _for_a_while(waits, until, case.now)
    message = f"It waits for its turn to go to node {found.node}."
    return Prospect(Progress("Pending", "MigrationPending", message, percent=0), found)


def _for_a_while(waits: Progress, until: float, now: float) -> Prospect:
    if now < until:
        return Prospect(waits, wake=until)
    message = f"Timed out preparing the migration target. {waits.message}"
    return Prospect(Progress("Failed", "OperationFailed", message, percent=waits.percent))


def within(case: Situation) -> float:
    """Seconds that it may take."""
    size = to_bytes(machine_spec(case.vm.spec)["memory"]["size"])
    return WITHIN * max(size / GIB, 1.0)


# -- one that was taken up -----------------------------------------------------------------------


def is_wanted(case: Situation, memory: DomainMetadata) -> bool:
    """True while the migration that is under way is to come to its end."""
    entry = _entry(case, memory)
    return entry is not None and not entry.cancelled and not entry.done


def _entry(case: Situation, memory: DomainMetadata) -> Recorded | None:
    return memory.recorded(case.way.mark.operation) if case.way is not None else None


def judged(memory: DomainMetadata, case: Situation) -> DomainMetadata:
    """The metadata with what has become of those that were taken up."""
    way = case.where.way
    for entry in memory.operations:
        if entry.type not in MIGRATIONS or entry.cancelled or entry.done:
            continue
        ours = way is not None and way.mark.operation == entry.uid
        if ours and way is not None and way.arrived:
            memory = _changed(memory, replace(entry, done=True))
        elif why := _failed(entry, case, ours=ours):
            memory = _changed(memory, replace(entry, cancelled=True, failed=why))
    return memory


def _failed(entry: Recorded, case: Situation, *, ours: bool) -> str:
    """Why it has come to nothing; empty while it has not."""
    if not ours:
        return "Failed: its domain has lost the mark of it."
    if case.way is None or case.way.step is not Step.STAY or case.job.busy:
        return ""
    if case.running is None or not case.running.on or case.running.instance != entry.target:
        return "Failed: the machine has ended before it was migrated."
    job = case.job
    if job.failed not in _AHEAD:
        return ""
    if job.reason == ABORTED:
        return f"{ABORTED}: {job.error}"
    if case.now >= entry.at + PATIENCE:
        return f"{DISK_ERROR if job.reason in _OF_DISKS else 'Failed'}: {job.error}"
    return ""


def _changed(memory: DomainMetadata, entry: Recorded) -> DomainMetadata:
    others = (entry if each.uid == entry.uid else each for each in memory.operations)
    return replace(memory, operations=tuple(others))


def progress(entry: Recorded, case: Situation, *, written: bool) -> Progress:
    """How far one is that was taken up. What has ended is told once it is `written` down."""
    if entry.failed:
        reason, _, message = entry.failed.partition(": ")
        return Progress("Failed", reason, message, sent=True)
    if entry.done and written:
        return Progress("Completed", "Completed", sent=True, percent=100)
    reason, message, percent = _stage(case)
    return Progress("InProgress", reason, message, sent=True, percent=percent)


def _stage(case: Situation) -> tuple[str, str, int]:
    way, job = case.way, case.job
    if way is None:
        return "TargetPreparing", "", 3
    where = f"It goes from node {way.source} to node {way.target}."
    match way.step:
        case Step.WAIT | Step.SPLIT:
            return "Syncing", way.why, max(job.progress, 10)
        case Step.LAND | Step.ADOPT:
            return "SourceSuspended", where, 91
        case Step.ARRIVED:
            return "TargetResumed", where, 92
    if VERB in job.busy and job.progress >= 10:
        if job.trouble:
            return "NotConverging", f"It does not come to an end: {job.trouble}.", job.progress
        return "Syncing", where, job.progress
    if job.failed in _AHEAD:
        reason = DISK_ERROR if job.reason in _OF_DISKS else "TargetPreparing"
        return reason, f"{where} That has failed and is tried again: {job.error}", 3
    if way.step is Step.GOES:
        return "Syncing", where, max(job.progress, 10)
    return "TargetPreparing", where, 3
