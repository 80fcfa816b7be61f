"""Whether an operation may act."""

from __future__ import annotations

import pytest

from agent.kinds.virtual_machine_operation.applicable import refused, supersedes
from agent.kinds.virtual_machine_operation.spec import operation_spec

BY_HAND = ("Manual", "AlwaysOnUnlessStoppedManually")
ON = {"Running", "Degraded", "Starting", "Pause"}
PHASES = {*ON, "Stopping", "Stopped", "Pending", "Terminating", "Migrating"}


@pytest.mark.parametrize(
    ("kind", "force", "policies", "phases"),
    [
        ("Start", False, BY_HAND, {"Stopped", "Stopping"}),
        ("Start", True, BY_HAND, {"Stopped", "Stopping"}),
        ("Stop", False, BY_HAND, {*ON, "Pending", "Migrating"}),
        ("Stop", True, BY_HAND, {*ON, "Pending", "Migrating", "Stopping"}),
        ("Restart", False, (*BY_HAND, "AlwaysOn"), {*ON, "Migrating"}),
        ("Restart", True, (*BY_HAND, "AlwaysOn"), {*ON, "Migrating", "Stopping"}),
        ("Clone", False, (*BY_HAND, "AlwaysOn", "AlwaysOff"), {"Running", "Stopped"}),
        ("Evict", False, (*BY_HAND, "AlwaysOn"), {"Running"}),
        ("Migrate", True, (*BY_HAND, "AlwaysOn"), {"Running"}),
    ],
)
def test_an_operation_fits_policy_and_phase(
    kind: str, force: bool, policies: tuple[str, ...], phases: set[str]
) -> None:
    spec = operation_spec({"type": kind, "force": force})
    for policy in (*BY_HAND, "AlwaysOn", "AlwaysOff"):
        for phase in PHASES:
            found = refused(spec, policy, phase)
            if policy not in policies:
                assert found
                assert found.reason == "NotApplicableForVirtualMachineRunPolicy"
                assert not found.sent
            elif phase not in phases:
                assert found
                under_way = phase == "Migrating" and kind in ("Evict", "Migrate")
                reason = "NotApplicableForVirtualMachinePhase"
                assert found.reason == ("OtherMigrationInProgress" if under_way else reason)
            else:
                assert found is None


FORCE = {"Stop", "Restart"}


@pytest.mark.parametrize(
    "old", ["Start", "Stop", "Restart", "Automatic", "Reboot", "Evict", "Migrate"]
)
@pytest.mark.parametrize("old_force", [False, True])
@pytest.mark.parametrize("new", ["Start", "Stop", "Restart", "Evict"])
@pytest.mark.parametrize("force", [False, True])
def test_a_newer_operation_replaces_one_that_it_overrides(
    old: str, old_force: bool, new: str, force: bool
) -> None:
    expected = {
        "Start": new == "Stop",
        "Reboot": False,
        "Evict": new in FORCE,
        "Migrate": new in FORCE,
    }.get(old, force and not old_force and new in FORCE)
    newer = operation_spec({"type": new, "force": force})
    assert supersedes(newer, old, old_force=old_force) is expected
