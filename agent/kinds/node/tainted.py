"""Since when a node bears the taints for which machines have to leave it: it stands in its status,
so that whoever may stay for a while stays as long, whoever the agent is by then.
"""

from __future__ import annotations

from collections.abc import Sequence

from agent.core.facts import View
from agent.core.model import Json, Key, Object
from agent.core.placement.rules import NO_EXECUTE, Taint
from agent.core.status import seconds, timestamp

TAINTS = "taints"
"""Field of a node's status, in Kubernetes' own form."""


def tainted(node: Object, taints: Sequence[Taint], view: View) -> list[Json]:
    """The taints that make machines leave, each with the time since when it is there."""
    known: Sequence[Json] = view.previous(node.key).get(TAINTS, ())
    since = {(each["key"], each.get("value", "")): each["timeAdded"] for each in known}
    now = timestamp(view.now)
    return [
        {
            "key": taint.key,
            **({"value": taint.value} if taint.value else {}),
            "effect": taint.effect,
            "timeAdded": since.get((taint.key, taint.value), now),
        }
        for taint in taints
        if taint.effect == NO_EXECUTE
    ]


def since(node: str, view: View) -> list[tuple[Taint, float]]:
    """The same, as decisions about machines read it, in seconds since the epoch."""
    known: Sequence[Json] = view.previous(Key("Node", "", node)).get(TAINTS, ())
    return [
        (Taint(each["key"], each.get("value", ""), each["effect"]), seconds(each["timeAdded"]))
        for each in known
    ]
