"""How long a VM may stay on a node with a taint that it bears for a while."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from agent.core.facts import View
from agent.core.ledger import MOVE
from agent.core.model import Json, Object
from agent.core.placement.rules import Taint, toleration
from agent.core.status import seconds
from agent.kinds.node import marks, tainted_since
from agent.kinds.virtual_machine.placement import class_of

SECONDS = "tolerationSeconds"


@dataclass(frozen=True)
class Limit:
    """It may stay until then, in seconds since the epoch."""

    at: float
    taint: Taint
    since: float


def limit(vm: Object, view: View, at: str) -> Limit | None:
    """None where nothing limits it. Of several taints the first one counts whose time is over."""
    listed = list(_tolerations(vm, view))
    if not any(SECONDS in each for each in listed):
        return None
    there, _ = marks(view, at)
    came = _came(vm, view, at)
    limits = []
    for taint, since in tainted_since(at, view):
        borne = next((each for each in listed if toleration(each).bears(taint)), None)
        if taint in there and borne is not None and borne.get(SECONDS) is not None:
            begun = max(since, came)
            limits.append(Limit(begun + max(int(borne[SECONDS]), 0), taint, begun))
    return min(limits, key=lambda each: each.at, default=None)


def _tolerations(vm: Object, view: View) -> Iterator[Json]:
    its_class = view.object(class_of(vm))
    for spec in (vm.spec, its_class.spec if its_class is not None else {}):
        listed: Json = spec.get("tolerations") or ()
        yield from listed


def _came(vm: Object, view: View, at: str) -> float:
    """When it came to the node, by its last start or by a migration; 0 where nobody knows."""
    previous = view.previous(vm.key)
    phases = previous.get("stats", {}).get("phasesTransitions", ())
    times = [each["timestamp"] for each in phases if each["phase"] == "Starting"]
    move = previous.get(MOVE, {})
    if move.get("target", {}).get("node") == at and "endTimestamp" in move:
        times.append(move["endTimestamp"])
    return max(map(seconds, times), default=0.0)
