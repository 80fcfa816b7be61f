"""Which labels are meant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from agent.core.model import Json

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on labels, as Kubernetes has it."""

    key: str
    operator: str
    """In, NotIn, Exists, DoesNotExist, Gt or Lt."""
    values: tuple[str, ...] = ()

    def holds(self, labels: Labels) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":  # also where the label is absent
                return value not in self.values
            case "Exists":
                return value is not None
            case "DoesNotExist":
                return value is None
        shown, limit = _whole(value), _whole(next(iter(self.values), None))
        if shown is None or limit is None:
            return False
        return shown > limit if self.operator == "Gt" else shown < limit


Requirements = tuple[Requirement, ...]
"""All of them hold together."""


def holds(requirements: Requirements, labels: Labels) -> bool:
    return all(each.holds(labels) for each in requirements)


def exactly(labels: Mapping[str, str]) -> Iterator[Requirement]:
    """The labels with just these values."""
    return (Requirement(key, "In", (value,)) for key, value in sorted(labels.items()))


def expressions(listed: Json) -> Iterator[Requirement]:
    """What `matchExpressions` says."""
    for each in listed or ():
        yield Requirement(each["key"], each["operator"], tuple(each.get("values") or ()))


def requirements(selector: Mapping[str, Json]) -> Requirements:
    """What `matchLabels` and `matchExpressions` say: an empty selector holds for all."""
    exact = exactly(selector.get("matchLabels") or {})
    return (*exact, *expressions(selector.get("matchExpressions")))


def _whole(value: str | None) -> int | None:
    """The whole number; None if it is none, or one of thousands of digits."""
    try:
        return None if value is None else int(value)
    except ValueError:
        return None
