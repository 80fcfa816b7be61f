"""What a VM's status says of its migration."""

from __future__ import annotations

from agent.core.facts import View
from agent.core.ledger import MOVE as STATE
from agent.core.model import Condition, Json
from agent.core.status import timestamp
from agent.kinds.virtual_machine.elements.firmware import BIOS
from agent.kinds.virtual_machine.evacuation import BECAUSE, made_by_us
from agent.kinds.virtual_machine.intent import Intent
from agent.kinds.virtual_machine.migration import cold
from agent.kinds.virtual_machine.migration.asked import is_wanted
from agent.kinds.virtual_machine.situation import Situation
from agent.kinds.virtual_machine.spec import machine_spec

INSTEAD = (
    "It is here in place of the one on node {}, which is lost: what is left there is removed as "
    "soon as the node is back."
)


def state(case: Situation) -> dict[str, Json]:
    """`status.migrationState`: of the one that is under way, else of the last one."""
    known: dict[str, Json] = dict(case.previous.get(STATE, {}))
    way = case.way
    if way is not None and way.moves:
        return {
            "startTimestamp": timestamp(way.mark.at),
            "source": {"node": way.source},
            "target": {"node": way.target},
        }
    if known and "endTimestamp" not in known:
        there = known.get("target", {}).get("node") == case.at.name
        known["endTimestamp"] = timestamp(case.now)
        known["result"] = "Succeeded" if there else "Failed"
    return known


def node(case: Situation) -> str:
    """The node that it is on; while it is on its way, the one that it leaves."""
    way = case.way
    return case.at.name if way is None or not way.moves else way.source


def migrating(case: Situation, made: Intent, view: View) -> list[Condition]:
    """Condition Migrating, while somebody asks for a migration."""
    way = case.way
    if way is not None and way.mark.cold and not way.arrived:
        return [cold.told(case, view)]
    if way is not None and way.moves:
        message = way.why or f"It goes from node {way.source} to node {way.target}."
        if not way.why and not is_wanted(case, made.memory):
            message = f"It stays on node {way.source}: the migration is ended."
        elif not way.why and (because := _because(case, view)):
            message += f" {because}"
        return [Condition("Migrating", "True", "InProgress", message)]
    way = case.where.way
    if way is not None and way.settled and way.substitute:
        message = INSTEAD.format(way.source)
        if machine_spec(case.vm.spec)["bootloader"] != BIOS:
            message += " Its firmware began with settings of its own: the old ones are there."
        return [Condition("Substitute", "True", "NodeLost", message)]
    if made.boards is not None:
        message = f"It waits for its turn to go to node {made.boards.to.node}."
        return [Condition("Migrating", "False", "ReadyToMigrate", message)]
    waiting = [each for each in made.progress.values() if each.percent == WAITS_FOR_TARGET]
    if waiting:
        return [Condition("Migrating", "False", "Pending", waiting[0].message)]
    return []


def _because(case: Situation, view: View) -> str:
    """Why the agent has it moved, in a sentence; empty where somebody else does."""
    uid = case.way.mark.operation if case.way is not None else ""
    asked = (each for each in made_by_us(case.vm, view) if each.uid == uid)
    return next((each.manifest.annotations.get(BECAUSE, "") for each in asked), "")


WAITS_FOR_TARGET = 2
"""Percent of an operation that no node is there for."""
