"""Decide about one quota: its bounds, and what is taken of them."""

from __future__ import annotations

from collections.abc import Mapping

from agent.core.facts import Decision, View
from agent.core.known import TAKEN
from agent.core.model import Json, Object
from agent.core.placement.quota import COUNTED, Quota, shown
from agent.core.quantity import parse


def decide(quota: Object, view: View) -> Decision:
    if quota.deleted:
        return Decision(status={}, gone=True)
    written: Mapping[str, Json] = quota.spec.get("hard") or {}  # type: ignore[assignment]
    hard = {name: _units(name, written[name]) for name in sorted(written) if name in COUNTED}
    known: tuple[tuple[str, int], ...] | None = view.read(TAKEN, quota.key.namespace)
    taken = dict(known or ())
    status = {
        "hard": {name: str(written[name]) for name in hard},
        "used": {name: shown(name, taken.get(name, 0)) for name in hard},
    }
    return Decision(status=status, quota=Quota(quota.key, tuple(hard.items())))


def _units(name: str, written: Json) -> int:
    """Thousandths of a core, bytes, or a number."""
    value = parse(str(written))
    return int(value * 1000) if COUNTED[name] == "cpu" else int(value)
