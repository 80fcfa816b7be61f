"""A VM between two nodes, as both of them are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

from agent.core.facts import View
from agent.core.host import RawDomain
from agent.core.known import DOMAIN, DOMAIN_AT
from agent.core.metadata import Migration
from agent.core.migration import (
    Shows,
    Side,
    Step,
    decided,
    mark_of,
    migration_of,
    source_side,
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
_RAN_ON = (
    "It runs on {0} still, and has run in its place on {1}: what its guest knows of its disks may "
    "be outdated. Nothing is done to either. See which one is right: end the one on {0} with "
    "`virsh destroy`, or undefine the one on {1} with `virsh undefine --keep-nvram`."
)
_UNCLEAR = (
    "It was on its way from node {source} to node {target}, and {why} Nothing is done until that "
    "is clear, so that it never runs twice."
)
_INSTEAD = (
    "It is to be on node {target} in place of the one on node {source}, and {why} Nothing is done "
    "until that is clear, so that it never runs twice."
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
    def substitute(self) -> bool:
        """True if it was not sent: it takes the place of one on a lost node."""
        return self.mark.substitute

    @property
    def split(self) -> bool:
        return self.step is Step.SPLIT

    @property
    def moves(self) -> bool:
        """True while it is on its way."""
        return not self.arrived and not self.substitute

    @property
    def arrived(self) -> bool:
        return self.step is Step.ARRIVED


def crossing(uuid: str, view: View) -> Crossing | None:
    """None for a machine that is just where it is."""
    nodes = view.read(DOMAIN_AT, uuid) or ()
    raws: dict[str, RawDomain | None] = {node: view.read(DOMAIN, (node, uuid)) for node in nodes}
    mark = mark_of(raws)
    if mark is None:
        return None
    source, target = bearing(view, mark.source), bearing(view, mark.target)
    others = sorted({*nodes} - {source, target})
    if others and not mark.substitute:
        return None  # somebody has copied it elsewhere, too
    there = _side(view, target) or target_side(raws.get(target), mark)
    ways = []
    for node in (source, *others):
        here = _side(view, node) or source_side(raws.get(node), mark)
        what = decided(mark, here, there)
        waits = mark.substitute and what is Step.WAIT
        at = "" if waits else _at(what, here, there, node, target)
        settled = _settled(what, here, there, marked=migration_of(raws.get(at)) is not None)
        way = Crossing(mark, node, target, what, here, there, at, settled)
        ways.append(replace(way, why=_why(view, way)))
    return min(ways, key=_urgency)


def _urgency(way: Crossing) -> tuple[int, bool]:
    """Of several copies that were left behind, the one that stands most in the way comes first."""
    first = (Step.SPLIT, Step.WAIT, Step.DISCARD)
    return first.index(way.step) if way.step in first else len(first), way.settled


def _side(view: View, node: str) -> Side | None:
    """Of a node that cannot be read."""
    if not away(view, node):
        return None
    data = view.export(NodeData, Key("Node", "", node))
    return Side(Shows.FENCED if data is not None and data.fenced else Shows.UNKNOWN)


def _at(what: Step, here: Side, there: Side, source: str, target: str) -> str:
    if what in (Step.LAND, Step.ADOPT, Step.ARRIVED, Step.BEGIN):
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
    if what is Step.BEGIN:
        return True
    if what is Step.ARRIVED:
        return there.raised and here.shows in (Shows.UNKNOWN, Shows.FENCED)
    away = there.shows in (Shows.UNKNOWN, Shows.FENCED)
    return what is Step.STAY and here.raised and not marked and away


def _why(view: View, way: Crossing) -> str:
    nodes = (way.source, way.target)
    if way.split:
        if way.mark.cold:
            return STARTED_BEHIND.format(*nodes)
        both = way.there.shows in (Shows.RUNS, Shows.PAUSED)
        return (RUNS_TWICE if both else _RAN_ON).format(*nodes)
    if way.step is not Step.WAIT:
        return ""
    lost = next(filter(None, (away(view, node) for node in nodes)), "")
    why = (
        f"what has become of it cannot be told: {lost[:1].lower()}{lost[1:]}"
        if lost
        else ("what both nodes show does not tell where it is now.")
    )
    said = _INSTEAD if way.substitute else _UNCLEAR
    return said.format(source=way.source, target=way.target, why=why)
