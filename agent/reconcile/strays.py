"""Snapshots on hosts that nothing knows, as after the status branch was lost. What they hold may be
the last of its kind: they are told, and never deleted by anybody but people.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from agent.core.identity import disk_uid
from agent.core.model import Problem

MESSAGE = (
    "holds a snapshot that no object has, as after the status branch was lost: it is left alone, "
    "and `virsh vol-delete {} {}` deletes it"
)


def strays(snapshots: Iterable[tuple[str, str]], known: Container[str]) -> tuple[Problem, ...]:
    """Volumes, as (pool, volume), of none of the objects in force or in the trash, whose uids are
    known.
    """
    lost = sorted((pool, name) for pool, name in snapshots if disk_uid(name) not in known)
    return tuple(
        Problem("", 0, f"Volume {pool}/{name}", "", MESSAGE.format(name, pool))
        for pool, name in lost
    )
