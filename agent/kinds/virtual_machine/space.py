"""Guests that QEMU paused because a write found no space: they go on when there is some."""

from __future__ import annotations

from agent.core.actions import ResumeDomain
from agent.core.facts import View
from agent.core.identity import POOL
from agent.core.known import FREE
from agent.core.quantity import format_bytes
from agent.kinds.virtual_machine.situation import Situation

ENOUGH = 64 * 1024 * 1024
"""Bytes that must be free: with less a guest would be paused again at once."""
AGAIN = 300.0
"""Seconds until a guest that was paused again is resumed again."""
RESUME = "ResumeDomain"


def resumed(case: Situation, view: View) -> tuple[tuple[ResumeDomain, ...], float | None]:
    """What lets the guest go on, or when to look again; nothing if it does not wait for space.
    What people paused is theirs.
    """
    raw, running = case.seen.raw, case.running
    if raw is None or running is None or not raw.starved:
        return (), None
    free = [view.read(FREE, (case.at.name, pool)) for pool in case.pools]
    if any(each is None or each < ENOUGH for each in free):
        return (), None  # the next look at the pools is a fact that is new
    last = case.job.done.get(RESUME, 0.0)  # pragma: no mutate: long before any
    again = last + AGAIN
    if case.now < again:
        return (), again
    return (ResumeDomain(case.at.name, case.uuid, running.instance),), None


def sentence(case: Situation) -> str:
    """Why the guest stands still, and what lets it go on."""
    folders = {POOL: case.at.pool_path, **case.at.folders}
    pools = " and ".join(f"{pool} ({folders.get(pool, 'not active')})" for pool in case.pools)
    return (
        f"The guest is paused: node {case.at.name} had no space left for what it wrote. Free some "
        f"in storage pool {pools}: it goes on by itself once {format_bytes(ENOUGH)} are free."
    )
