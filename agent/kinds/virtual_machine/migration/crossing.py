"""A VM between two nodes, as both of them are known."""

from __future__ import annotations

from dataclasses import dataclass

from agent.core.facts import View
from agent.core.host import RawDomain
from agent.core.known import DOMAIN, DOMAIN_AT
from agent.core.metadata import Migration
from agent.core.migration import (
    Shows,
    Side,
    Step,
    migration_of,
    source_side,
    step,
    target_side,
)
from agent.core.model import Key
from agent.kinds.local import away, bearing
from agent.kinds.node import NodeData

RUNS_TWICE = (
    "It runs on {} and on {} at once, and its data may differ: nothing is done to either. See "
    "which one is right, and end the other with `virsh destroy`."
)
STARTED_BEHIND = (
    "It has been taken to node {1}, and somebody has started what was left of it on node {0}: its "
    "data may differ, and nothing is done to either. See which one is right, and undefine the "
    "other one there with `virsh undefine --keep-nvram` once it is off."
)
_UNCLEAR = (
    "It was on its way from node {source} to node {target}, and {why} Nothing is done until that "
    "is clear, so that it never runs twice."
)


@dataclass(frozen=True)
class Crossing:
    """`source` and `target` are what these nodes are called now."""

    mark: Migration
    source: str
    target: str
    step: Step
    here: Side
    there: Side
    at: str
    """The node whose copy is the machine; empty where nobody can tell."""
    settled: bool = False
    """True where that copy has gone on without the other one, which cannot be read now."""
    why: str = ""
    """Why nothing is done, in a sentence."""

    @property
    def split(self) -> bool:
        return self.step is Step.SPLIT

    @property
    def arrived(self) -> bool:
        return self.step is Step.ARRIVED


def crossing(uuid: str, view: View) -> Crossing | None:
    """None for a machine that is just where it is."""
    nodes = view.read(DOMAIN_AT, uuid) or ()
    raws: dict[str, RawDomain | None] = {node: view.read(DOMAIN, (node, uuid)) for node in nodes}
    found = {node: mark for node, raw in raws.items() if (mark := migration_of(raw)) is not None}
    if not found:
        return None
    mark = max(found.values(), key=lambda each: (each.epoch, each.at))
    source, target = bearing(view, mark.source), bearing(view, mark.target)
    if {*nodes} - {source, target}:
        return None  # somebody has copied it elsewhere, too
    here = _side(view, source) or source_side(raws.get(source), mark)
    there = _side(view, target) or target_side(raws.get(target), mark)
    what = step(here, there, cold=mark.cold)
    at = _at(what, here, there, source, target)
    return Crossing(
        mark,
        source,
        target,
        what,
        here,
        there,
        at,
        _settled(what, here, there, marked=at in found),
        _why(view, what, mark, source, target),
    )


def _side(view: View, node: str) -> Side | None:
    """Of a node that cannot be read."""
    if not away(view, node):
        return None
    data = view.export(NodeData, Key("Node", "", node))
    return Side(Shows.FENCED if data is not None and data.fenced else Shows.UNKNOWN)


def _at(what: Step, here: Side, there: Side, source: str, target: str) -> str:
    if what in (Step.LAND, Step.ADOPT, Step.ARRIVED):
        return target
    if what is Step.SPLIT:
        return ""
    if here.shows not in (Shows.UNKNOWN, Shows.FENCED, Shows.ABSENT):
        return source
    return target if there.shows not in (Shows.UNKNOWN, Shows.FENCED, Shows.ABSENT) else ""


def _settled(what: Step, here: Side, there: Side, *, marked: bool) -> bool:
    """What has arrived bears its mark until nothing of it is left on the source; what has stayed
    bears none any more.
    """
    if what is Step.ARRIVED:
        return there.raised and here.shows in (Shows.UNKNOWN, Shows.FENCED)
    away = there.shows in (Shows.UNKNOWN, Shows.FENCED)
    return what is Step.STAY and here.raised and not marked and away


def _why(view: View, what: Step, mark: Migration, source: str, target: str) -> str:
    if what is Step.SPLIT:
        return (STARTED_BEHIND if mark.cold else RUNS_TWICE).format(source, target)
    if what is not Step.WAIT:
        return ""
    lost = next(filter(None, (away(view, node) for node in (source, target))), "")
    why = (
        f"what has become of it cannot be told: {lost[:1].lower()}{lost[1:]}"
        if lost
        else ("what both nodes show does not tell where it is now.")
    )
    return _UNCLEAR.format(source=source, target=target, why=why)
