"""Decide about one snapshot of a disk. What ended stays as it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent.core.actions import Action, DropSnapshot, SnapshotSource, TakeSnapshot
from agent.core.facts import Decision, View
from agent.core.host import RawVolume
from agent.core.identity import unfinished
from agent.core.jobs import held
from agent.core.known import MADE_FROM, READ_BY, VOLUME_AT
from agent.core.model import Condition, Json, Key, Object
from agent.core.nodes import HOME
from agent.core.quantity import format_bytes
from agent.kinds.exports import SnapshotData
from agent.kinds.local import away, several, unknown
from agent.kinds.protection import kept
from agent.kinds.virtual_disk import Stored
from agent.kinds.virtual_disk_snapshot.data import (
    SIZE,
    VOLUME_NAME,
    found,
    stored,
)
from agent.kinds.virtual_disk_snapshot.moment import (
    CONSISTENT,
    FINAL,
    NO_AGENT,
    Moment,
    moment,
    sentence,
)
from agent.kinds.virtual_disk_snapshot.spec import snapshot_spec

READY = "VirtualDiskSnapshotReady"
FAILED = "VirtualDiskSnapshotFailed"
MAKING = frozenset(("", "Pending", "Provisioning", "WaitForFirstConsumer", "WaitForUserUpload"))
"""Phases of what is not made yet."""


@dataclass
class _Report:
    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    disk: Condition = field(
        default_factory=lambda: Condition("VirtualDiskReady", "True", "VirtualDiskReady")
    )
    home: str = ""
    actions: tuple[Action, ...] = ()
    waiting: bool = False
    wake: float | None = None


def decide(snapshot: Object, view: View) -> Decision:
    previous = view.previous(snapshot.key)
    volume = stored(snapshot, view)
    if snapshot.deleted:
        return _delete(snapshot, previous, volume, view)
    home = previous.get(HOME, "")
    if home and away(view, home):
        status = unknown(previous, away(view, home), frozenset((READY,)))
        return Decision(status=status, ok=False)
    there = found(volume, view)
    if there and not view.job(_taker(snapshot)).busy:
        return _ready(snapshot, previous, volume, there, view)
    if previous.get("phase") == "Failed":
        return Decision(ok=False)
    if previous.get(VOLUME_NAME):
        return _lost(previous, volume)
    return _take(snapshot, view) if snapshot.owner is None else _of_machine(snapshot, view)


def _taker(snapshot: Object) -> Key:
    """Whose job it is: one of a machine's snapshot is taken with the others of that."""
    owner = snapshot.owner
    return Key(owner.kind, snapshot.key.namespace, owner.name) if owner else snapshot.key


def _of_machine(snapshot: Object, view: View) -> Decision:
    taker = _taker(snapshot)
    failed = view.object(taker) is None or view.previous(taker).get("phase") == "Failed"
    reason = FAILED if failed else "Snapshotting"
    told = Condition(READY, "False", reason, f"It is taken with {taker}: see its conditions.")
    spec = snapshot_spec(snapshot.spec)
    disk = Key("VirtualDisk", snapshot.key.namespace, spec["virtualDiskName"])
    now = moment(disk, snapshot.key, snapshot.uid, view)
    status = {
        "phase": "Failed" if failed else "InProgress",
        **(_told(snapshot, now.source, view) if now.source else {}),
        "conditions": [told],
    }
    return Decision(status=status, waiting=view.under_way(taker), ok=False)


def _ready(
    snapshot: Object,
    previous: Mapping[str, Json],
    volume: Stored,
    there: Mapping[str, RawVolume],
    view: View,
) -> Decision:
    known = view.job(_taker(snapshot)).result.get(CONSISTENT) or previous.get(CONSISTENT)
    # none is taken that is not as it has to be
    consistent = bool(known) or snapshot_spec(snapshot.spec)["requiredConsistency"]
    size = next(iter(there.values())).capacity
    home = previous.get(HOME, "")
    status: dict[str, Any] = {
        "phase": "Ready",
        CONSISTENT: consistent or None,
        VOLUME_NAME: volume.name,
        SIZE: format_bytes(size),
        HOME: home if home in there or not several(view) else next(iter(there)),
        **volume.told(view.fleet, snapshot.key, snapshot.uid),
        "conditions": [
            Condition("VirtualDiskReady", "True", "VirtualDiskReady"),
            Condition(READY, "True", READY),
        ],
    }
    paths = {node: at.path for node, at in there.items()}
    data = SnapshotData(paths, volume.pool, volume.name, size, volume.format)
    return Decision(status=status, export=data)


def _lost(previous: Mapping[str, Json], volume: Stored) -> Decision:
    message = (
        f"The volume {volume.name} is gone from pool {volume.pool}: bring it back under its name."
    )
    lost = Condition(READY, "False", "Lost", message)
    return Decision(status={**previous, "phase": "Failed", "conditions": [lost]}, ok=False)


def _take(snapshot: Object, view: View) -> Decision:
    spec = snapshot_spec(snapshot.spec)
    disk = Key("VirtualDisk", snapshot.key.namespace, spec["virtualDiskName"])
    now = moment(disk, snapshot.key, snapshot.uid, view)
    report = _Report()
    job = view.job(snapshot.key)
    if job.busy:
        _going_on(report, now)
        report.actions = _asked(snapshot, now)
    elif job.failed and job.reason in FINAL:
        report.phase, report.reason, report.message = "Failed", FAILED, sentence(job.error)
    elif now.why or now.source is None:
        report.reason, report.message, report.waiting = (
            "WaitingForTheVirtualDisk",
            now.why,
            now.waiting,
        )
        report.disk = Condition(
            "VirtualDiskReady", "False", "VirtualDiskNotReadyForSnapshotting", now.why
        )
    elif held(job, snapshot.generation, view.now):
        report.reason, report.message = "WaitingForTheVirtualDisk", sentence(job.error)
        report.wake, report.waiting = job.retry_at, True
    else:
        _going_on(report, now)
        report.actions = _asked(snapshot, now)
    status: dict[str, Any] = {
        "phase": report.phase,
        **(_told(snapshot, now.source, view) if now.source else {}),
        HOME: now.node if several(view) else "",
        "conditions": [report.disk, Condition(READY, "False", report.reason, report.message)],
    }
    return Decision(
        status=status,
        actions=report.actions,
        # no machine starts with it meanwhile
        publish=READ_BY.states(disk, snapshot.key) if job.busy and not now.uuid else {},
        wake=report.wake,
        waiting=report.waiting,
        ok=False,
    )


def _told(snapshot: Object, source: SnapshotSource, view: View) -> Mapping[str, Json]:
    volume = Stored(source.pool, source.target, source.format)
    return volume.told(view.fleet, snapshot.key, snapshot.uid)


def _going_on(report: _Report, now: Moment) -> None:
    report.phase, report.reason, report.waiting = "InProgress", "Snapshotting", True
    report.message = "What the disk holds is being copied."
    if now.uuid and not now.agent:
        report.reason, report.message = "PotentiallyInconsistent", NO_AGENT


def _asked(snapshot: Object, now: Moment) -> tuple[Action, ...]:
    if now.source is None:
        return ()
    required = snapshot_spec(snapshot.spec)["requiredConsistency"]
    return (TakeSnapshot(now.node, snapshot.uid, (now.source,), required, now.uuid, now.instance),)


def _delete(snapshot: Object, previous: Mapping[str, Json], volume: Stored, view: View) -> Decision:
    """What is whole goes to the trash. What is not is cleared away first."""
    if makers := _making(snapshot.key, view):
        there = found(volume, view)
        data = _ready(snapshot, previous, volume, there, view).export if there else None
        return replace(_terminating(previous, kept("snapshot", makers)), export=data)
    home = previous.get(HOME, "")
    if home and (why := away(view, home)):
        return _terminating(previous, why)
    if there := found(volume, view):
        status = _ready(snapshot, previous, volume, there, view).status or {}
        return Decision(status={**status, "phase": "Terminating"}, gone=True)
    nodes = view.read(VOLUME_AT, (volume.pool, unfinished(volume.name))) or ()
    node = next((node for node in nodes if not away(view, node)), "")
    job = view.job(_taker(snapshot))
    if not node and not job.busy:
        return Decision(status={**previous, "phase": "Terminating", "conditions": []}, gone=True)
    wait = held(job, snapshot.generation, view.now) and job.failed == DropSnapshot.__name__
    drop = (
        (DropSnapshot(node, snapshot.uid, ((volume.pool, volume.name),)),)
        if node and not wait
        else ()
    )
    going = _terminating(previous, sentence(job.error) if wait else "")
    return replace(going, actions=drop, wake=job.retry_at if wait else None, waiting=True)


def _terminating(previous: Mapping[str, Json], why: str) -> Decision:
    told = Condition("Terminating", "True", "CleanupPending", why)
    return Decision(status={**previous, "phase": "Terminating", "conditions": [told]}, ok=False)


def _making(snapshot: Key, view: View) -> tuple[Key, ...]:
    """What is being made from it."""
    keys = view.read(MADE_FROM, snapshot) or ()
    making = tuple(key for key in keys if view.previous(key).get("phase", "") in MAKING)
    restored: Key | None = view.read(READ_BY, snapshot)
    return making if restored is None or restored in making else (*making, restored)
