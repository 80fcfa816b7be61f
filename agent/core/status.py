"""From a decision's report to the status that is written down."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from agent.core.model import Condition, Json

PHASES_KEPT = 5


def timestamp(now: float) -> str:
    """RFC 3339, UTC, whole seconds."""
    return _written(int(now))


@lru_cache(maxsize=2)  # all that a pass says has the same time
def _written(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def seconds(text: str) -> float:
    """The time that `timestamp` wrote, in seconds since the epoch."""
    return datetime.fromisoformat(text).timestamp()


def stamp(
    previous: Mapping[str, Json], report: Mapping[str, Any], generation: int, now: float
) -> dict[str, Json]:
    """The report with its times: a condition's time moves only with its status. Empty values are
    left out.
    """
    status = {name: value for name, value in report.items() if value not in (None, "", [], {}, ())}
    old = {condition["type"]: condition for condition in previous.get("conditions", ())}
    status["conditions"] = [
        _stamped(condition, old.get(condition.type), generation, now)
        for condition in sorted(
            report.get("conditions", ()), key=lambda condition: str(condition.type)
        )
    ]
    if not status["conditions"]:
        del status["conditions"]
    status["observedGeneration"] = generation
    return status


def conditions(status: Mapping[str, Json]) -> list[Condition]:
    """The conditions of a status, as reports have them."""
    return [
        Condition(known["type"], known["status"], known["reason"], known["message"])
        for known in status.get("conditions", ())
    ]


def still(previous: Mapping[str, Json], news: Condition) -> dict[str, Any]:
    """The report of a status that stays as it is, but for one condition."""
    others = [condition for condition in conditions(previous) if condition.type != news.type]
    return {**previous, "conditions": [*others, news]}


def conditioned(report: Mapping[str, Any], kind: str, news: Condition | None) -> Mapping[str, Any]:
    """The report with this as its only condition of that type, or with none. One that goes on from
    an earlier status may have it already.
    """
    present = report.get("conditions", ())
    if news is None and kind not in [condition.type for condition in present]:
        return report
    others = [condition for condition in present if condition.type != kind]
    return {**report, "conditions": others if news is None else [*others, news]}


def _stamped(
    condition: Condition, old: Mapping[str, Json] | None, generation: int, now: float
) -> dict[str, Json]:
    same = old is not None and old["status"] == condition.status
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": old["lastTransitionTime"] if same and old else timestamp(now),
        "observedGeneration": generation,
    }


def transitions(previous: Mapping[str, Json], phase: str, now: float) -> list[Json]:
    """`stats.phasesTransitions`: the last five phases with the time each began."""
    past: list[Json] = list(previous.get("stats", {}).get("phasesTransitions", ()))
    if not past or past[-1]["phase"] != phase:
        past.append({"phase": phase, "timestamp": timestamp(now)})
    return past[-PHASES_KEPT:]
