"""Where a machine can be that has a disk: at what it lies on, or where it can be made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from agent.core.facts import View
from agent.core.known import VOLUME_AT
from agent.core.model import Key, Object
from agent.core.nodes import HOME
from agent.kinds.exports import DiskData, SnapshotData
from agent.kinds.local import belonging, nodes, unusable
from agent.kinds.storage_class import storage
from agent.kinds.virtual_disk.location import made_from, source_of
from agent.kinds.virtual_disk.usage import users
from agent.kinds.virtual_disk.volume import PROVISIONED, its_class, present

ELSEWHERE = "node(s) had volume node affinity conflict"
"""Kubernetes' own words."""
NO_POOL = "node(s) did not have storage pool {}"


def barring(key: Key, vm: Key, view: View) -> Mapping[str, str]:
    """Nodes where a VM cannot have a disk, and why."""
    disk = view.object(key)
    if disk is None:
        return {}
    data = view.export(DiskData, key)
    there = data.paths if data is not None else _there(disk, view)
    if there:
        return _all_but(there, view)
    previous = view.previous(key)
    home = belonging(view, previous.get(HOME, ""))
    first = next(iter(users(key, view)), vm)
    if home and (previous.get("phase") in PROVISIONED or first != vm):
        return _all_but((home,), view)
    return _made(disk, view)


def _there(disk: Object, view: View) -> tuple[str, ...]:
    """Nodes that have its volume, though nobody may open it just now."""
    has = present(disk, view)
    return (view.read(VOLUME_AT, (has.pool, has.name)) or ()) if has is not None else ()


def _made(disk: Object, view: View) -> dict[str, str]:
    """Nodes where it cannot be made."""
    pool = storage(its_class(disk, None, view), view).pool
    barred = {}
    if pool:
        closed = (name for name in nodes(view) if unusable(view, name, pool))
        barred = dict.fromkeys(closed, NO_POOL.format(pool))
    source = made_from(disk, source_of(disk, view))
    snapshot = view.export(SnapshotData, source) if source is not None else None
    if snapshot is not None:
        barred |= _all_but(snapshot.paths, view)
    return barred


def _all_but(there: Iterable[str], view: View) -> dict[str, str]:
    return dict.fromkeys({*nodes(view)} - {*there}, ELSEWHERE)
