"""A guest that a backup has left frozen, because its helper was ended, is thawed."""

from __future__ import annotations

from agent.core.actions import Action, ThawGuest
from agent.core.backup import GIVEN_UP, mark_of
from agent.kinds.virtual_machine.situation import Situation


def thawed(case: Situation) -> tuple[tuple[Action, ...], float | None]:
    """What is to be done now, and when there may be something to do."""
    raw, running = case.seen.raw, case.running
    mark = mark_of(raw.active_xml) if raw is not None else None
    if mark is None or not mark.frozen or running is None or not case.seen.agent:
        return (), None
    due = mark.at + GIVEN_UP  # until then its helper may be at it
    if case.now < due:
        return (), due
    return (ThawGuest(case.at.name, case.uuid, running.instance),), None
