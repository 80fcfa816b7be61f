"""What is worth knowing of a fleet at a glance, and how much it asks of people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from agent.core.model import Json
from agent.core.schema import Catalogue, Kind

AT_REST = frozenset(("", "Ready", "Running", "Stopped"))
"""Phases in which nothing is wrong and nothing is under way."""
STUCK = frozenset(("Failed", "ImageLost", "Lost", "Pause", "PVCLost"))
"""Phases that no object leaves by itself."""
MOVING = frozenset(
    ("InProgress", "Migrating", "Provisioning", "Resizing", "Starting", "Stopping", "Terminating")
)
"""Phases of what gets somewhere by itself."""
ENDED = frozenset(("Completed", "Failed", "Superseded"))
"""Phases of requests that are history: whoever asked was told."""

AWAITING_RESTART = frozenset(("AwaitingRestartToApplyConfiguration", "ConfigurationApplied"))
NOTES = frozenset(
    (
        "AgentReady",
        "CoreFractionEnforced",
        "FieldsSupported",
        "HardwareVirtualization",
        "ParavirtualizationSupported",
        "Suspended",
    )
)
"""Conditions that say how things are here, and keep nothing from being as it should be."""
LIMITS = frozenset(("Migratable",))
"""Conditions that say what cannot be done here, of objects that lack nothing."""
DRIFT = "DriftDetected"
_ABNORMAL = frozenset((DRIFT, "Terminating"))
"""Conditions that are true where something is wrong."""


class Weight(IntEnum):
    """How much a sentence about an object asks of people, the most urgent first."""

    ACT = 0
    """Somebody has to do something."""
    RESTART = 1
    """A change waits until somebody restarts a machine."""
    UNDER_WAY = 2
    """It gets there by itself."""
    NOTE = 3
    """Good to know."""


@dataclass(frozen=True)
class Said:
    """What one condition says. `message` is empty where nothing but the phase tells."""

    weight: Weight
    type: str
    message: str


@dataclass(frozen=True, order=True)
class Concern:
    """An object that people should know something about."""

    weight: Weight
    """Of the weightiest that it says."""
    resource: str
    """`VirtualMachine default/linux-vm`."""
    phase: str
    said: tuple[Said, ...]

    @property
    def messages(self) -> tuple[str, ...]:
        """`Type: message` of the conditions that say something."""
        return tuple(
            f"{sentence.type}: {sentence.message}" for sentence in self.said if sentence.message
        )


def said(kind: Kind | None, status: Mapping[str, Json]) -> tuple[Said, ...]:
    """What an object has to say, each sentence once, the weightiest first; nothing if it is as it
    should be. None stands for a kind that is not known.
    """
    phase = str(status.get("phase", ""))
    if kind is not None and kind.request and phase in ENDED:
        return ()
    by_message: dict[str, Said] = {}
    for condition in _conditions(status):
        message = str(condition.get("message") or "")
        if message and condition.get("type") not in LIMITS:
            new = Said(weight(condition, phase), str(condition.get("type", "")), message)
            old = by_message.setdefault(message, new)
            if new.weight < old.weight:
                by_message[message] = new
    urgent = any(
        sentence.weight in (Weight.ACT, Weight.UNDER_WAY) for sentence in by_message.values()
    )
    if phase.partition(",")[0] not in AT_REST and not urgent:  # a cordoned node is ready, too
        by_message[""] = Said(Weight.ACT if phase in STUCK else Weight.UNDER_WAY, "", "")
    return tuple(sorted(by_message.values(), key=lambda sentence: sentence.weight))


def weight(condition: Mapping[str, Json], phase: str) -> Weight:
    """Of what one condition says of an object in a phase."""
    kind, state = condition.get("type"), condition.get("status")
    if kind in AWAITING_RESTART:
        return Weight.RESTART
    if kind in NOTES:
        return Weight.NOTE
    if state == "True" and kind not in _ABNORMAL:
        return Weight.NOTE
    reason = str(condition.get("reason", ""))
    if "Fail" in reason or phase in STUCK or kind in _ABNORMAL:
        return Weight.ACT
    moving = phase in MOVING or reason.startswith("Wait")
    return Weight.UNDER_WAY if moving else Weight.ACT


def concerns(catalogue: Catalogue, objects: Iterable[Mapping[str, Any]]) -> list[Concern]:
    """Of all objects that people should know something about, the most urgent first."""
    return sorted(told for value in objects if (told := concern(catalogue, value)).said)


def concern(catalogue: Catalogue, value: Mapping[str, Any]) -> Concern:
    """What there is to say of one whole object."""
    status = status_of(value)
    kind = str(value.get("kind", ""))
    sentences = said(catalogue.kinds.get(kind), status)
    weight = sentences[0].weight if sentences else Weight.NOTE
    return Concern(weight, f"{kind} {_label(value)}", str(status.get("phase", "")), sentences)


def phases(catalogue: Catalogue, objects: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many objects of each kind are in each phase; kinds and phases sorted. Kinds that have
    no state are left out.
    """
    stateless = {kind.name for kind in catalogue.kinds.values() if kind.stateless}
    counts: dict[str, Counter[str]] = {}
    for value in objects:
        kind = str(value.get("kind", ""))
        if kind not in stateless:
            counts.setdefault(kind, Counter())[str(status_of(value).get("phase", ""))] += 1
    return {kind: dict(sorted(counts[kind].items())) for kind in sorted(counts)}


def restarts(objects: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What waits for a restart: paths of changes by `namespace/name`."""
    paths_of = {}
    for value in objects:
        waiting = status_of(value).get("restartAwaitingChanges")
        if isinstance(waiting, list) and waiting:
            paths = [str(item.get("path", "")) for item in waiting if isinstance(item, Mapping)]
            paths_of[_label(value)] = paths
    return dict(sorted(paths_of.items()))


def last_change(status: Mapping[str, Json]) -> str:
    """When the object last became something else (RFC 3339); empty if nothing tells."""
    stats = status.get("stats")
    past = stats.get("phasesTransitions") if isinstance(stats, Mapping) else None
    entries = [*mappings(past), *_conditions(status)]
    names = ("timestamp", "lastTransitionTime")
    return max((str(entry.get(name) or "") for entry in entries for name in names), default="")


def _label(value: Mapping[str, Any]) -> str:
    metadata = value["metadata"]
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def status_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of a whole object; empty while it has none."""
    status = value.get("status")
    return status if isinstance(status, Mapping) else {}


def _conditions(status: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    return mappings(status.get("conditions"))


def mappings(value: Json) -> list[Mapping[str, Json]]:
    items = value if isinstance(value, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping)]
