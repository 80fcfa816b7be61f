"""Decide about one disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from agent.core.facts import Decision, View
from agent.core.host import RawVolume
from agent.core.identity import QCOW2, RAW
from agent.core.jobs import held
from agent.core.known import (
    ATTACHED,
    IMAGE_AT,
    READ_BY,
    VOLUME,
    Fact,
)
from agent.core.ledger import MOVE
from agent.core.model import Condition, Json, Key, Object
from agent.core.nodes import HOME
from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.exports import DiskData, Target
from agent.kinds.local import Place, format_in, is_block, several, unknown
from agent.kinds.storage_class import Storage, ready, storage
from agent.kinds.virtual_disk.beginning import BLANK, Report, beginning
from agent.kinds.virtual_disk.growth import RESIZING, growth, in_sectors
from agent.kinds.virtual_disk.location import (
    Location,
    belongs,
    image_of,
    location,
    source_of,
)
from agent.kinds.virtual_disk.moving import MIGRATING, move
from agent.kinds.virtual_disk.spec import disk_spec
from agent.kinds.virtual_disk.usage import attached_to, delete, in_use, users
from agent.kinds.virtual_disk.volume import (
    CLASS,
    MAKING,
    PROVISIONED,
    RESTORED,
    Stored,
    begun,
    first,
    its_class,
    present,
    recorded,
)
from agent.kinds.virtual_image import clearing, source_uid, speed

UNUSED = "WaitForFirstConsumer"
"""Phase of a disk that is made once a machine refers to it."""
_OF_ITS_NODE = frozenset(("Ready",))
"""Conditions that nobody can tell of as long as the node is away."""


def decide(disk: Object, view: View) -> Decision:
    attached = attached_to(disk, view)
    previous = view.previous(disk.key)
    if disk.deleted:
        image = view.read(READ_BY, disk.key)
        data = view.export(DiskData, disk.key) if image else None  # it goes on to be copied
        return delete(previous, attached, image, data, users=users(disk.key, view))
    report = Report()
    has = present(disk, view)
    of_disk = storage(its_class(disk, has, view), view)
    where = location(disk, has, view) if has else _new(disk, of_disk.pool, view)
    at = where.at
    if at is None and previous.get("phase") and not where.waits:
        # what was known stays: that there was a volume, above all
        if not several(view):
            return Decision()
        return Decision(status=unknown(previous, where.why, _OF_ITS_NODE), ok=False)
    if where.closed and previous.get("phase") in PROVISIONED:
        told = unknown(previous, where.closed, _OF_ITS_NODE, "StorageClassIsNotReady")
        return Decision(status=told, ok=False)
    if at is None:
        report.reason, report.message = "ProvisioningNotStarted", where.why
        if where.waits:
            report.phase, report.reason = UNUSED, "WaitingForFirstConsumer"
    else:
        _provision(disk, of_disk, view, where, at, report)
    left, where = where, report.where or where
    chosen = bool(report.export or report.actions or previous.get(HOME))
    volume = _volume(where, view)
    status: dict[str, Any] = {
        "phase": report.phase,
        "capacity": format_bytes(volume.capacity) if volume else "",
        "progress": report.progress,
        **speed(disk, view),
        **source_uid(disk, view),
        "attachedToVirtualMachines": attached,
        "target": {"persistentVolumeClaimName": volume.name} if volume else {},
        "import": report.facts,
        **({"uploadCommand": report.command} if report.command else {}),
        CLASS: report.move.its_class or of_disk.name,
        MOVE: report.move.state,
        **begun(previous),
        **_lies(disk, where, view, chosen=chosen or report.phase in PROVISIONED),
        **belongs(view, at, chosen=chosen),
        "conditions": [
            report.source,
            Condition("Ready", "True", "Ready")
            if report.export
            else Condition("Ready", "False", report.reason, report.message),
            in_use(attached, view.read(READ_BY, disk.key)),
            *ready(of_disk, "StorageClassNotReady"),
            *report.more,
        ],
    }
    return Decision(
        status=status,
        actions=report.actions,
        export=report.export,
        publish=_needs(disk, view, at) if report.export is None else report.asks,
        retired=(_part(left, of_disk, previous),) if left is not where else (),
        wake=report.wake,
        waiting=report.waiting,
        expects=report.expects,
        ok=report.export is not None or report.phase == UNUSED,
    )


def _new(disk: Object, pool: str, view: View) -> Location:
    """Where a disk is to be made that has no volume."""
    where = location(disk, first(view.fleet, disk.key, disk.uid, pool), view)
    if where.at is None or format_in(view, where.at.name, pool) == QCOW2:
        return where
    return location(disk, first(view.fleet, disk.key, disk.uid, pool, RAW), view)


def _lies(disk: Object, where: Location, view: View, *, chosen: bool) -> dict[str, Json]:
    """What the status says of the volume: written before it is made."""
    volume = where.volume
    known = recorded(view.fleet, disk.key, disk.uid, view.previous(disk.key))
    return volume.told(view.fleet, disk.key, disk.uid) if chosen or volume == known else {}


def _volume(where: Location, view: View) -> RawVolume | None:
    """The disk's volume; None if it is not there, or nobody can tell."""
    if where.at is None:
        return None
    stored = where.volume
    volume: RawVolume | None = view.read(VOLUME, (where.at.name, stored.pool, stored.name))
    return volume


def _opened(where: Location, view: View, instead_of: str = "") -> DiskData | None:
    """What a VM can open there."""
    volume, raw = where.volume, _volume(where, view)
    if raw is None:
        return None
    return DiskData(
        where.paths,
        raw.capacity,
        volume.pool,
        volume.name,
        volume.format,
        block=where.at is not None and is_block(view, where.at.name, volume.pool),
        instead_of=instead_of,
    )


def _part(left: Location, of_disk: Storage, previous: Mapping[str, Json]) -> Mapping[str, Json]:
    """What is remembered of the volume that a disk has left."""
    kept = {name: previous[name] for name in ("capacity", "import", HOME) if name in previous}
    return {**kept, **left.volume.part, CLASS: of_disk.name}


def _move(
    disk: Object,
    of_disk: Storage,
    where: Location,
    volume: RawVolume,
    view: View,
    report: Report,
) -> None:
    opened = (vm for vm in users(disk.key, view) if view.read(ATTACHED, (disk.key, vm)))
    report.move = made = move(disk, of_disk, where, volume, next(opened, None), view)
    report.actions, report.wake = made.actions, made.wake
    report.waiting = bool(made.actions) or made.wake is not None
    if made.condition is not None:
        report.more.append(made.condition)
        report.reason, report.message = MIGRATING, made.condition.message
    if made.closed:
        job = view.job(disk.key)
        report.phase, report.export, report.waiting = MIGRATING, None, True
        report.progress = f"{job.progress}%"
    elif made.open_to is not None and report.export is not None:
        report.phase, report.waiting = MIGRATING, True
        report.export = replace(report.export, moves_to=_target(made.open_to, where, volume, view))
    elif made.copied is not None:
        report.phase, report.waiting = MIGRATING, True
        report.export = _opened(location(disk, made.copied, view), view, volume.path)
    elif made.lies is not None:
        report.where = location(disk, made.lies, view)
        report.export, report.facts = _opened(report.where, view), {}


def _target(to: Stored, where: Location, volume: RawVolume, view: View) -> Target | None:
    assert where.at is not None  # noqa: S101  # it is open there
    raw: RawVolume | None = view.read(VOLUME, (where.at.name, to.pool, to.name))
    if raw is None:
        return None
    needed = volume.physical if where.volume.format == QCOW2 == to.format else 0
    block = is_block(view, where.at.name, to.pool)
    return Target(raw.path, to.pool, to.name, to.format, block, needed)


def _needs(disk: Object, view: View, at: Place | None) -> dict[Fact, Any]:
    """Where the image has to be that it is made from, and the snapshot that it goes back to."""
    if snapshot := view.previous(disk.key).get(RESTORED):
        return READ_BY.states(Key("VirtualDiskSnapshot", disk.key.namespace, snapshot), disk.key)
    key = image_of(disk, view)
    return IMAGE_AT.states((key, disk.key), at.name) if key and at and several(view) else {}


def _provision(
    disk: Object, of_disk: Storage, view: View, where: Location, at: Place, report: Report
) -> None:
    stored, volume = where.volume, _volume(where, view)
    previous = view.previous(disk.key)
    job = view.job(disk.key)
    report.facts = previous.get("import", {})
    if volume is not None:
        report.phase, report.progress = "Ready", "100%"
        report.export = _opened(where, view)
        _move(disk, of_disk, where, volume, view, report)
        if report.phase == "Ready" and not report.actions and report.where is None:
            _grow(disk, of_disk, volume, view, at, report)
        _clear(disk, view, report)
    elif previous.get("phase") in PROVISIONED and not MAKING & {*job.busy}:
        # never made anew by itself: an empty disk in place of a lost one would hide the loss
        report.phase, report.reason = "PVCLost", "PVCLost"
        report.message = (
            f"The disk's volume is gone from pool {stored.pool} of node {at.name}: bring it "
            "back under its name, or delete and create the disk."
        )
    elif MAKING & {*job.busy}:
        report.phase, report.reason, report.waiting = "Provisioning", "Provisioning", True
        report.message = "The volume is being made."
        report.progress = f"{job.progress}%" if "CopyVolume" in job.busy else ""
    elif held(job, disk.generation, view.now) and job.failed in MAKING:
        report.phase = "Pending" if job.retry else "Failed"
        report.reason, report.message = "ProvisioningFailed", job.error
        report.wake, report.waiting = (job.retry_at, True) if job.retry else (None, False)
    elif problem := of_disk.problem or where.closed:
        report.reason, report.message = "StorageClassIsNotReady", problem
    elif of_disk.waits and not users(disk.key, view):
        report.phase, report.reason = UNUSED, "WaitingForFirstConsumer"
        report.message = f"It is made once a VirtualMachine refers to it: {of_disk.name} says so."
    else:
        _create(disk, stored, view, at, report)


def _grow(
    disk: Object, of_disk: Storage, volume: RawVolume, view: View, at: Place, report: Report
) -> None:
    made = growth(disk, of_disk, volume, at.name, users(disk.key, view), view)
    report.more.extend(made.told)
    report.actions, report.asks = made.actions, made.asks
    wakes = [wake for wake in (report.wake, made.wake) if wake is not None]
    report.wake = min(wakes, default=None)
    if made.under_way:
        report.phase, report.waiting = RESIZING, True


def _clear(disk: Object, view: View, report: Report) -> None:
    """A disk that has its volume needs nothing any more that was uploaded for it."""
    if not report.actions and disk_spec(disk.spec).get("dataSource", {}).get("type") == "Upload":
        report.actions, again = clearing(disk, view)
        report.wake = report.wake or again


def _create(disk: Object, stored: Stored, view: View, at: Place, report: Report) -> None:
    spec = disk_spec(disk.spec)
    size = spec.get("persistentVolumeClaim", {}).get("size")
    report.facts = {}
    source = source_of(disk, view)
    data = beginning(disk, source, view, at, report) if source else BLANK
    if data is None:
        return
    capacity = in_sectors(to_bytes(size) if size is not None else data.size)
    if data.cdrom:
        report.phase, report.reason = "Failed", "ProvisioningFailed"
        report.message = (
            "The source is a CD-ROM image (ISO 9660): a disk cannot be made from it. "
            "Attach the image to the VirtualMachine instead."
        )
        return
    if capacity < data.size:
        report.phase, report.reason = "Failed", "ProvisioningFailed"
        report.message = (
            f"The disk's size {size} is smaller than its {data.word}: ask for "
            f"{format_bytes(data.size)} or more in spec.persistentVolumeClaim.size."
        )
        return
    report.phase, report.reason, report.waiting = "Provisioning", "Provisioning", True
    report.message = "The volume is about to be made."
    report.actions = (data.made(stored, at, capacity),)
