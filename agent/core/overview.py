"""What is worth knowing of a fleet at a glance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.model import Json

CALM = frozenset(("", "Ready", "Running", "Stopped", "Completed", "Superseded"))
"""Phases in which nothing is wrong and nothing is under way."""
FIRST = (
    "VirtualMachine",
    "VirtualDisk",
    "VirtualImage",
    "ClusterVirtualImage",
    "VirtualMachineClass",
    "VirtualMachineOperation",
)
"""The kinds of virtualization, in the order in which people look at them."""
LEFT_OUT = frozenset(("Secret", "ModuleConfig"))
"""Kinds that have no state."""


LIMITS = frozenset(("Migratable",))
"""Conditions that say what cannot be done here, of objects that lack nothing."""


@dataclass(frozen=True, order=True)
class Concern:
    """An object that is not as it should be, or not yet."""

    resource: str
    """`VirtualMachine default/linux-vm`."""
    phase: str
    messages: tuple[str, ...]
    """`Type: message` of the conditions that have something to say."""


def concerns(objects: Iterable[Mapping[str, Any]]) -> list[Concern]:
    """Objects that are in no calm phase, and those whose conditions have a message."""
    return sorted(concern(each) for each in objects if is_concern(status_of(each)))


def is_concern(status: Mapping[str, Any]) -> bool:
    """True for the status of an object that is in no calm phase or has something to say."""
    return str(status.get("phase", "")) not in CALM or any(_said(status))


def concern(value: Mapping[str, Any]) -> Concern:
    """What there is to say of one whole object."""
    status = status_of(value)
    messages = tuple(f"{each.get('type', '')}: {each['message']}" for each in _said(status))
    resource = f"{value.get('kind', '')} {_label(value)}"
    return Concern(resource, str(status.get("phase", "")), messages)


def phases(objects: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """How many objects of each kind are in each phase; kinds and phases sorted."""
    counts: dict[str, Counter[str]] = {}
    for each in objects:
        kind = str(each.get("kind", ""))
        if kind not in LEFT_OUT:
            counts.setdefault(kind, Counter())[str(status_of(each).get("phase", ""))] += 1
    return {kind: dict(sorted(counts[kind].items())) for kind in sorted(counts)}


def restarts(objects: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What waits for a restart: paths of changes by `namespace/name`."""
    found = {}
    for each in objects:
        waiting = status_of(each).get("restartAwaitingChanges")
        if isinstance(waiting, list) and waiting:
            paths = [str(item.get("path", "")) for item in waiting if isinstance(item, Mapping)]
            found[_label(each)] = paths
    return dict(sorted(found.items()))


def _label(value: Mapping[str, Any]) -> str:
    metadata = value["metadata"]
    namespace = metadata.get("namespace", "")
    return f"{namespace}/{metadata['name']}" if namespace else str(metadata["name"])


def status_of(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """The status of a whole object; empty while it has none."""
    status = value.get("status")
    return status if isinstance(status, Mapping) else {}


def _said(status: Mapping[str, Any]) -> Iterator[Mapping[str, Json]]:
    """Conditions that have something to say."""
    for each in _conditions(status):
        if each.get("message") and each.get("type") not in LIMITS:
            yield each


def _conditions(status: Mapping[str, Json]) -> list[Mapping[str, Json]]:
    conditions = status.get("conditions")
    items = conditions if isinstance(conditions, list | tuple) else ()
    return [item for item in items if isinstance(item, Mapping)]
