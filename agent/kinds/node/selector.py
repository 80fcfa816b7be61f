"""Which nodes a selector means."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.model import Json

Labels = Mapping[str, str]


def selects(selector: Mapping[str, Json], labels: Labels) -> bool:
    """True if all of `matchLabels` and `matchExpressions` hold; an empty selector selects all."""
    exact: Labels = selector.get("matchLabels") or {}
    conditions = selector.get("matchExpressions") or ()
    return all(labels.get(name) == value for name, value in exact.items()) and all(
        _holds(condition, labels) for condition in conditions
    )


def _holds(condition: Mapping[str, Json], labels: Labels) -> bool:
    value = labels.get(condition["key"])
    values = condition.get("values") or []
    match condition["operator"]:
        case "In":
            return value in values
        case "NotIn":  # also where the label is absent
            return value not in values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    shown, limit = _whole(value), _whole(values[0])
    if shown is None or limit is None:
        return False
    return shown > limit if condition["operator"] == "Gt" else shown < limit


def _whole(value: str | None) -> int | None:
    """The whole number; None if it is none, or one of thousands of digits."""
    try:
        return None if value is None else int(value)
    except ValueError:
        return None
