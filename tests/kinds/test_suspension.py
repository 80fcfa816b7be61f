"""An object that is to be left alone is told about, and nothing is done."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core import known
from agent.core.actions import CreateVolume
from agent.core.facts import Decision, View
from agent.core.model import Condition, Key, Object
from agent.core.progress import Progress
from agent.kinds.suspension import MESSAGE, suspendable
from tests.kinds.deciding import NOW, decided, made

KEY = Key("VirtualMachine", "lab", "vm")
READY = Condition("Ready", "True", "Ready")
SUSPENDED = Condition("Suspended", "True", "ReconciliationDisabled", MESSAGE)
ENDED, UNDER_WAY = Progress("Failed", "Reason", "x"), Progress("InProgress", "Reason", "y")
ACTIONS = (CreateVolume("node", "pool", "volume", 1),)


def vm(reconcile: str, deleted: str = "") -> Object:
    return made(KEY, {}, deleted, **({"gitvirt.io/reconcile": reconcile} if reconcile else {}))


def suspended(decision: Decision, obj: Object) -> Decision:
    def decide(_: Object, __: View) -> Decision:
        return decision

    return decided(suspendable(decide), obj, {})


DECISION = Decision(
    status={"phase": "Running", "conditions": [READY]},
    actions=ACTIONS,
    export="data",
    publish={(known.USERS, "x"): 1, (known.PROGRESS, "a"): ENDED, (known.PROGRESS, "b"): UNDER_WAY},
    waiting=True,
    ok=False,
)


@pytest.mark.parametrize(
    "obj", [vm(""), vm("enabled"), vm("disabled", deleted="1970-01-01T00:00:00Z")]
)
def test_what_is_not_suspended_or_goes_is_decided_as_ever(obj: Object) -> None:
    assert suspended(DECISION, obj) == DECISION


def test_nothing_is_done_and_what_is_known_of_others_stays() -> None:
    found = suspended(DECISION, vm("disabled"))
    assert found.status == {"phase": "Running", "conditions": [READY, SUSPENDED]}
    assert (found.actions, found.waiting, found.export, found.ok) == ((), False, "data", False)
    assert found.publish == DECISION.publish


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (None, None),
        ({}, {"conditions": [SUSPENDED]}),
        ({"phase": "Pending"}, {"phase": "Pending", "conditions": [SUSPENDED]}),
    ],
)
def test_a_status_that_is_kept_is_kept(
    status: Mapping[str, Any] | None, expected: Mapping[str, Any] | None
) -> None:
    assert suspended(Decision(status=status), vm("disabled")).status == expected


@pytest.mark.parametrize(
    ("wake", "expected"), [(None, None), (NOW - 1, None), (NOW, None), (NOW + 1, NOW + 1)]
)
def test_it_wakes_for_what_only_time_changes(wake: float | None, expected: float | None) -> None:
    """Not for what is due and is not done: that would be at once, again and again."""
    assert suspended(Decision(wake=wake), vm("disabled")).wake == expected
