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
        ("Stop", False, BY_HAND, {*ON, "Pending"}),
        ("Stop", True, BY_HAND, {*ON, "Pending", "Stopping"}),
        ("Restart", False, (*BY_HAND, "AlwaysOn"), ON),
        ("Restart", True, (*BY_HAND, "AlwaysOn"), {*ON, "Stopping"}),
        ("Clone", False, (*BY_HAND, "AlwaysOn", "AlwaysOff"), {"Running", "Stopped"}),
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
                assert found.reason == "NotApplicableForVirtualMachinePhase"
            else:
                assert found is None


@pytest.mark.parametrize("kind", ["Migrate", "Evict"])
def test_what_is_not_built_fails(kind: str) -> None:
    found = refused(operation_spec({"type": kind}), "Manual", "Running")
    assert found
    assert (found.phase, found.reason) == ("Failed", "OperationFailed")


FORCE = {"Stop", "Restart"}


@pytest.mark.parametrize("old", ["Start", "Stop", "Restart", "Automatic", "Reboot"])
@pytest.mark.parametrize("old_force", [False, True])
@pytest.mark.parametrize("new", ["Start", "Stop", "Restart"])
@pytest.mark.parametrize("force", [False, True])
def test_a_newer_operation_replaces_one_that_it_overrides(
    old: str, old_force: bool, new: str, force: bool
) -> None:
    expected = {
        "Start": new == "Stop",
        "Reboot": False,
    }.get(old, force and not old_force and new in FORCE)
    newer = operation_spec({"type": new, "force": force})
    assert supersedes(newer, old, old_force=old_force) is expected
