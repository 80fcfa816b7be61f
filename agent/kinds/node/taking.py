"""Which machines a node takes, as its manifest says."""

from __future__ import annotations

from agent.core.facts import View
from agent.core.model import Key
from agent.core.placement.rules import PREFER_NO_SCHEDULE, Taint, taints


def marks(view: View, name: str) -> tuple[tuple[Taint, ...], bool]:
    """Its taints, and whether it is cordoned."""
    node = view.object(Key("Node", "", name))
    if node is None or node.deleted:
        return (), False
    spec = node.spec
    listed = spec.get("taints") or ()
    return taints(listed), spec.get("unschedulable") is True  # type: ignore[arg-type]


def takes_all(view: View, name: str) -> bool:
    """True if it takes machines that bear nothing."""
    listed, cordoned = marks(view, name)
    return not cordoned and all(taint.effect == PREFER_NO_SCHEDULE for taint in listed)
