"""Decide about one disk."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from agent.core.actions import ResizeVolume
from agent.core.facts import Decision, View
from agent.core.host import RawVolume
from agent.core.jobs import held
from agent.core.known import (
    ATTACHED,
    ELSEWHERE,
    IMAGE_AT,
    LEAVING,
    MACHINE_OF,
    OVERLAYS,
    READ_BY,
    USERS,
    VOLUME,
    Fact,
)
from agent.core.model import Condition, Json, Key, Object
from agent.core.nodes import HOME
from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.exports import DiskData
from agent.kinds.local import Place, several, unknown
from agent.kinds.protection import kept
from agent.kinds.storage_class import Storage, ready, storage
from agent.kinds.virtual_disk.beginning import BLANK, Report, beginning
from agent.kinds.virtual_disk.location import (
    Location,
    belongs,
    image_of,
    location,
)
from agent.kinds.virtual_disk.spec import disk_spec
from agent.kinds.virtual_disk.volume import (
    CLASS,
    MAKING,
    PROVISIONED,
    Stored,
    first,
    its_class,
    present,
    recorded,
)

SECTOR = 512
UNUSED = "WaitForFirstConsumer"
"""Phase of a disk that is made once a machine refers to it."""
_OF_ITS_NODE = frozenset(("Ready",))
"""Conditions that nobody can tell of as long as the node is away."""


def users(disk: Key, view: View) -> tuple[Key, ...]:
    """The VMs that refer to a disk, by themselves or by an attachment, and the one that still runs
    with it after its manifest let it go.
    """
    named = (view.read(MACHINE_OF, user) or user for user in view.read(USERS, disk) or ())
    referring = tuple(dict.fromkeys(named))
    leaving: Key | None = view.read(LEAVING, disk)
    return referring if leaving is None or leaving in referring else (*referring, leaving)


def overlays(view: View, at: Place, path: str) -> tuple[str, ...]:
    """Volumes that somebody has based on a disk's volume, by name."""
    paths: tuple[str, ...] | None = view.read(OVERLAYS, (at.name, path))
    return paths or ()


def decide(disk: Object, view: View) -> Decision:
    attached = _attached(disk, view)
    previous = view.previous(disk.key)
    if disk.deleted:
        image = view.read(READ_BY, disk.key)
        data = view.export(DiskData, disk.key) if image else None  # it goes on to be copied
        return _delete(previous, attached, image, data, users=users(disk.key, view))
    report = Report()
    has = present(disk, view)
    of_disk = storage(its_class(disk, has, view), view)
    where = location(disk, has or first(view.fleet, disk.key, disk.uid, of_disk.pool), view)
    at = where.at
    if at is None and previous.get("phase"):
        # what was known stays: that there was a volume, above all
        if not several(view):
            return Decision()
        return Decision(status=unknown(previous, where.why, _OF_ITS_NODE), ok=False)
    if where.closed and previous.get("phase") in PROVISIONED:
        told = unknown(previous, where.closed, _OF_ITS_NODE, "StorageClassIsNotReady")
        return Decision(status=told, ok=False)
    if at is None:
        report.reason, report.message = "ProvisioningNotStarted", where.why
    else:
        _provision(disk, of_disk, view, where, at, report)
    chosen = bool(report.export or report.actions or previous.get(HOME))
    volume = _volume(where, view)
    status: dict[str, Any] = {
        "phase": report.phase,
        "capacity": format_bytes(volume.capacity) if volume else "",
        "progress": report.progress,
        "attachedToVirtualMachines": attached,
        "target": {"persistentVolumeClaimName": volume.name} if volume else {},
        "import": report.facts,
        CLASS: of_disk.name,
        **_lies(disk, where, view, chosen=chosen or report.phase in PROVISIONED),
        **belongs(view, at, chosen=chosen),
        "conditions": [
            report.source,
            Condition("Ready", "True", "Ready")
            if report.export
            else Condition("Ready", "False", report.reason, report.message),
            _in_use(attached, view.read(READ_BY, disk.key)),
            *ready(of_disk, "StorageClassNotReady"),
            *report.more,
        ],
    }
    return Decision(
        status=status,
        actions=report.actions,
        export=report.export,
        publish=_needs(disk, view, at) if report.export is None else {},
        wake=report.wake,
        waiting=report.waiting,
        ok=report.export is not None or report.phase == UNUSED,
    )


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


def _needs(disk: Object, view: View, at: Place | None) -> dict[Fact, Any]:
    """Where the image has to be that it is made from."""
    key = image_of(disk)
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
        export = DiskData(where.paths, volume.capacity, stored.pool, stored.name, stored.format)
        report.export = export
        _grow(disk, of_disk, volume, view, at, report)
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


def _create(disk: Object, stored: Stored, view: View, at: Place, report: Report) -> None:
    spec = disk_spec(disk.spec)
    size = spec.get("persistentVolumeClaim", {}).get("size")
    report.facts = {}
    source = spec.get("dataSource")
    data = beginning(disk, source, view, at, report) if source else BLANK
    if data is None:
        return
    capacity = _in_sectors(to_bytes(size) if size is not None else data.size)
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


def _in_sectors(size: int) -> int:
    """Bytes, rounded up."""
    return -(-size // SECTOR) * SECTOR


def _grow(
    disk: Object, of_disk: Storage, volume: RawVolume, view: View, at: Place, report: Report
) -> None:
    size = disk_spec(disk.spec).get("persistentVolumeClaim", {}).get("size")
    if size is None or to_bytes(size) == volume.capacity:
        return
    wanted = _in_sectors(to_bytes(size))
    if wanted < volume.capacity:
        has = format_bytes(volume.capacity)
        message = f"A disk cannot shrink: it has {has}, ask for that or more."
        report.more.append(Condition("Resizing", "False", "NotAvailable", message))
    if wanted <= volume.capacity:
        return
    if not of_disk.grows:
        message = (
            f"StorageClass {of_disk.name} does not let disks grow: put back the size, or set its "
            "allowVolumeExpansion to true."
        )
        report.more.append(Condition("Resizing", "False", "NotAvailable", message))
        return
    if any(view.read(ATTACHED, (disk.key, vm)) is not None for vm in users(disk.key, view)):
        message = f"The disk grows to {size} once no running VirtualMachine has it open."
        report.more.append(Condition("Resizing", "False", "NotAvailable", message))
        return
    moved_to = (view.read(ELSEWHERE, (disk.key, vm)) for vm in users(disk.key, view))
    if moved := next(filter(None, moved_to), ""):
        message = (
            f"The disk grows to {size} once it lies on its own volume again: it lies on {moved}, "
            "as after a snapshot taken by hand, and a guest would not see what is below that grow."
        )
        report.more.append(Condition("Resizing", "False", "NotAvailable", message))
        return
    job = view.job(disk.key)
    if held(job, disk.generation, view.now):
        report.more.append(Condition("Resizing", "False", "NotAvailable", job.error))
        report.wake = job.retry_at if job.retry else None
        return
    report.phase, report.waiting = "Resizing", True
    report.more.append(Condition("Resizing", "True", "InProgress"))
    report.actions = (ResizeVolume(at.name, volume.pool, volume.name, wanted),)


def _attached(disk: Object, view: View) -> list[dict[str, Json]]:
    return [
        {"name": vm.name, "mounted": view.read(ATTACHED, (disk.key, vm)) is not None}
        for vm in users(disk.key, view)
    ]


def _in_use(attached: list[dict[str, Json]], image: Key | None) -> Condition:
    if any(machine["mounted"] for machine in attached):
        return Condition("InUse", "True", "AttachedToVirtualMachine")
    if image is not None:
        return Condition("InUse", "True", "UsedForImageCreation", f"It is copied into {image}.")
    return Condition("InUse", "False", "NotInUse")


def _delete(
    previous: Mapping[str, Json],
    attached: list[dict[str, Json]],
    image: Key | None,
    data: DiskData | None,
    users: tuple[Key, ...],
) -> Decision:
    if not users and image is None:
        return Decision(status={"phase": "Terminating"}, gone=True)
    message = kept("disk", users) if users else f"The disk is kept while it is copied into {image}."
    status = {
        "phase": "Terminating",
        "capacity": previous.get("capacity", ""),
        "attachedToVirtualMachines": attached,
        "conditions": [
            Condition("Terminating", "True", "CleanupPending", message),
            _in_use(attached, image),
        ],
    }
    return Decision(status=status, export=data, ok=False)
