"""What is asked of machines from their pages: each button leads to a page that asks once more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from agent.core.model import Key
from agent.web.hands import Wish


@dataclass(frozen=True)
class Deed:
    verb: str
    button: str
    what: str
    """What comes of it, in a sentence."""
    force: str = ""
    """What it means to force it; empty for what cannot be."""
    moves: bool = False
    named: bool = False
    """A node may be named."""


_SLOW = "Slow the guest down where it writes memory faster than it can be copied"
_CUT = "Do not wait for the guest: cut the power"
DEEDS = {
    deed.verb: deed
    for deed in (
        Deed("start", "Start", "It starts."),
        Deed("stop", "Stop", "Its guest is asked to shut down, and it stays off.", _CUT),
        Deed(
            "restart",
            "Restart",
            "Its guest is asked to shut down, and it starts anew, with all changes that wait.",
            _CUT,
        ),
        Deed("evict", "Evict", "It moves to another node while it runs.", _SLOW, moves=True),
        Deed(
            "migrate",
            "Migrate",
            "It moves to another node while it runs.",
            _SLOW,
            moves=True,
            named=True,
        ),
    )
}
OFF = ("Stopped", "Pending", "Terminating")
"""Phases in which a machine has no console."""


def offered(phase: str, nodes: int) -> list[Deed]:
    """Those that make sense for a machine; the agent judges them all the same."""
    if phase == "Terminating":
        return []
    if phase in OFF:
        return [DEEDS["start"]]
    moves = nodes > 1
    return [deed for deed in DEEDS.values() if deed.verb != "start" and (moves or not deed.moves)]


def wish(deed: Deed, machine: Key, fields: Mapping[str, str]) -> Wish:
    """What a form says."""
    return Wish(
        verb=deed.verb,
        machine=machine,
        node=fields.get("node", "") if deed.named else "",
        force=bool(deed.force) and "force" in fields,
    )
