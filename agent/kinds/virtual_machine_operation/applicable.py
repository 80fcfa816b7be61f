"""Whether an operation may act: on this run policy, in this phase, beside that other operation."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.progress import Progress
from agent.kinds.virtual_machine_operation.spec import OperationSpec

SUPPORTED = ("Start", "Stop", "Restart", "Evict", "Migrate", "Restore", "Clone")
MIGRATIONS = ("Evict", "Migrate")
BY_ITSELF = ("Clone",)
"""Types that ask nothing of their machine."""
_EVERY = frozenset({"Manual", "AlwaysOnUnlessStoppedManually", "AlwaysOn", "AlwaysOff"})

_UNLESS_OFF = _EVERY - {"AlwaysOff"}

_POLICIES: Mapping[str, frozenset[str]] = {
    "Start": frozenset({"Manual", "AlwaysOnUnlessStoppedManually"}),
    "Stop": frozenset({"Manual", "AlwaysOnUnlessStoppedManually"}),
    "Restart": _UNLESS_OFF,
    "Evict": _UNLESS_OFF,
    "Migrate": _UNLESS_OFF,
    "Restore": _EVERY,
    "Clone": _EVERY,
}
_PHASES: Mapping[str, frozenset[str]] = {
    "Start": frozenset({"Stopped", "Stopping"}),
    "Stop": frozenset({"Running", "Degraded", "Starting", "Pause", "Pending", "Migrating"}),
    "Restart": frozenset({"Running", "Degraded", "Starting", "Pause", "Migrating"}),
    "Evict": frozenset({"Running"}),
    "Migrate": frozenset({"Running"}),
    "Restore": frozenset({"Stopped", "Running", "Pending"}),
    "Clone": frozenset({"Stopped", "Running"}),
}
_STOPPING_BY_FORCE = frozenset({"Stop", "Restart"})


def refused(spec: OperationSpec, policy: str, phase: str) -> Progress | None:
    """Why the VM cannot do this now or ever; None if it can."""
    kind, force = spec["type"], spec.get("force", False)
    forbidden = against_policy(kind, policy)
    if forbidden is not None:
        return forbidden
    if kind in MIGRATIONS and phase == "Migrating":
        message = "It is being migrated already: ask again with a new name once that has ended."
        return Progress("Failed", "OtherMigrationInProgress", message)
    if phase in _PHASES[kind] or (phase == "Stopping" and force and kind in _STOPPING_BY_FORCE):
        return None
    return Progress(
        "Failed",
        "NotApplicableForVirtualMachinePhase",
        f"A VirtualMachine in phase {phase} takes no operation of type {kind}.",
    )


def against_policy(kind: str, policy: str) -> Progress | None:
    """Why this run policy does not let the operation act; None if it does."""
    if policy in _POLICIES[kind]:
        return None
    return Progress(
        "Failed",
        "NotApplicableForVirtualMachineRunPolicy",
        f"A VirtualMachine with run policy {policy} takes no operation of type {kind}.",
    )


def supersedes(new: OperationSpec, old_type: str, *, old_force: bool) -> bool:
    """True if the newer operation replaces an unfinished older one."""
    kind, force = new["type"], new.get("force", False)
    match old_type:
        case "Start":
            return kind == "Stop"
        case "Stop" | "Restart" | "Automatic":
            return not old_force and force and kind in _STOPPING_BY_FORCE
        case "Evict" | "Migrate":
            return kind in _STOPPING_BY_FORCE
    return False
