"""Machines of which a node has a copy that nobody can tell from another node's."""

from __future__ import annotations

from collections.abc import Iterator

from agent.core.facts import View
from agent.core.known import DOMAIN, DOMAIN_AT, DOUBLED
from agent.core.migration import Step, decided, mark_of, source_side, target_side
from agent.core.model import Condition
from agent.kinds.local import away

SHOWN = 5
"""So many are told by name."""


def doubled(node: str, view: View) -> Iterator[Condition]:
    """What is said on the node. Of one that is just on its way nothing is."""
    found = sorted(_in_doubt(node, view))
    if not found:
        return
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    message = (
        f"Other nodes have these domains, too, and nothing is done to them until that is clear: "
        f"{', '.join(found[:SHOWN])}{more}. See the conditions of these machines."
    )
    yield Condition("DomainsInDoubt", "True", "DomainOnSeveralNodes", message)


def _in_doubt(node: str, view: View) -> Iterator[str]:
    for uuid in view.read(DOUBLED, node) or ():
        there = view.read(DOMAIN_AT, uuid) or ()
        raws = {each: view.read(DOMAIN, (each, uuid)) for each in there}
        here = raws.get(node)
        ours = f' fleet="{view.fleet}"'
        if here is None or ours not in f"{here.inactive_xml}{here.active_xml}":
            continue
        if any(away(view, each) for each in there):
            continue  # what is there now nobody knows
        mark = mark_of(raws)
        if mark is None:
            yield here.name
            continue
        target = target_side(raws.get(mark.target), mark)
        others = (raw for each, raw in raws.items() if each != mark.target)
        if any(decided(mark, source_side(raw, mark), target) is Step.SPLIT for raw in others):
            yield here.name
