"""The times of a status."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core.model import Condition, Json
from agent.core.status import PHASES_KEPT, seconds, stamp, timestamp, transitions

THEN, NOW = "1970-01-01T00:00:00Z", "1970-01-01T00:16:40Z"


@pytest.mark.parametrize("now", [1000.0, 1000.9])
def test_a_time_is_in_whole_seconds(now: float) -> None:
    assert timestamp(now) == NOW
    assert seconds(NOW) == 1000.0


def shown(condition: Condition, time: str) -> dict[str, Json]:
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": time,
        "observedGeneration": 3,
    }


READY = Condition("Ready", "True", "Ready", "x")


@pytest.mark.parametrize(
    ("before", "time"),
    [
        ({}, NOW),
        ({"conditions": []}, NOW),
        ({"conditions": [shown(READY, THEN)]}, THEN),
        ({"conditions": [shown(Condition("Ready", "True", "Other", "y"), THEN)]}, THEN),
        ({"conditions": [shown(Condition("Ready", "False", "Ready", "x"), THEN)]}, NOW),
        ({"conditions": [shown(Condition("Other", "True", "Ready", "x"), THEN)]}, NOW),
    ],
)
def test_a_conditions_time_moves_only_with_its_status(before: Mapping[str, Any], time: str) -> None:
    assert stamp(before, {"conditions": [READY]}, 3, 1000.0) == {
        "conditions": [shown(READY, time)],
        "observedGeneration": 3,
    }


def test_conditions_stand_by_type_and_what_is_empty_is_left_out() -> None:
    other = Condition("InUse", "False", "NotInUse")
    report: dict[str, Json] = {
        "phase": "Ready",
        "zero": 0,
        "no": False,
        **dict(zip("abcde", (None, "", [], {}, ()), strict=True)),
        "conditions": (READY, other),
    }
    assert stamp({}, report, 3, 1000.0) == {
        "phase": "Ready",
        "zero": 0,
        "no": False,
        "conditions": [shown(other, NOW), shown(READY, NOW)],
        "observedGeneration": 3,
    }
    assert stamp({"phase": "Ready"}, {"conditions": []}, 3, 0.0) == {"observedGeneration": 3}
    assert stamp({}, {}, 3, 0.0) == {"observedGeneration": 3}


def phases(*names: str) -> list[Json]:
    return [{"phase": name, "timestamp": THEN} for name in names]


def test_the_last_phases_are_kept_with_when_each_began() -> None:
    new = {"phase": "f", "timestamp": NOW}
    assert transitions({}, "f", 1000.0) == [new]

    def after(*names: str) -> list[Json]:
        return transitions({"stats": {"phasesTransitions": phases(*names)}}, "f", 1000.0)

    assert after("a") == [*phases("a"), new]
    assert after("f", "a") == [*phases("f", "a"), new]
    assert after("a", "f") == phases("a", "f")
    assert after("a", "b", "c", "d") == [*phases("a", "b", "c", "d"), new]
    assert after("a", "b", "c", "d", "e") == [*phases("b", "c", "d", "e"), new]
    assert PHASES_KEPT == 5
