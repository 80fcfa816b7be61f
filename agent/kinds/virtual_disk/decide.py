"""Decide about one disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent.core.actions import Action, CreateVolume, ResizeVolume
from agent.core.facts import Decision, View
from agent.core.host import RawVolume
from agent.core.identity import POOL, disk_volume
from agent.core.jobs import held
from agent.core.known import ATTACHED, ELSEWHERE, LEAVING, OVERLAYS, USERS, VOLUME
from agent.core.model import Condition, Json, Key, Object
from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.local import NOT_READY, Place, place
from agent.kinds.protection import kept
from agent.kinds.storage_class import storage_class
from agent.kinds.virtual_image import ImageData, device_key, imported

SECTOR = 512
BLANK = ImageData("", "", size=0)  # pragma: no mutate: a blank disk's size is always given
"""What a disk without a source lies on."""
PROVISIONED = ("Ready", "Resizing", "PVCLost")


@dataclass(frozen=True)
class DiskData:
    """A disk that a VM can open."""

    path: str
    capacity: int


@dataclass
class _Report:
    """What the decision says, gathered on its way."""

    phase: str = "Pending"
    reason: str = ""
    message: str = ""
    actions: tuple[Action, ...] = ()
    export: DiskData | None = None
    source: Condition = field(
        default_factory=lambda: Condition("DatasourceReady", "True", "DatasourceReady")
    )
    more: list[Condition] = field(default_factory=list)
    facts: Mapping[str, Json] = field(default_factory=dict)
    progress: str = ""
    wake: float | None = None
    waiting: bool = False


def users(disk: Key, view: View) -> tuple[Key, ...]:
    """The VMs that refer to a disk, and the one that still runs with it after its manifest let it
    go.
    """
    referring: tuple[Key, ...] = view.read(USERS, disk) or ()
    leaving: Key | None = view.read(LEAVING, disk)
    return referring if leaving is None or leaving in referring else (*referring, leaving)


def overlays(view: View, at: Place, path: str) -> tuple[str, ...]:
    """Volumes that somebody has based on a disk's volume, by name."""
    found: tuple[str, ...] | None = view.read(OVERLAYS, (at.name, path))
    return found or ()


def decide(disk: Object, view: View) -> Decision:
    attached = _attached(disk, view)
    at = place(view)
    if disk.deleted:
        return _delete(view.previous(disk.key), attached, users=users(disk.key, view))
    report = _Report()
    if at is None and view.previous(disk.key).get("phase"):
        return Decision()  # what was known stays: that there was a volume, above all
    if at is None:
        report.reason, report.message = "ProvisioningNotStarted", NOT_READY
    else:
        _provision(disk, view, at, report)
    volume = _volume(disk, view, at) if at else None
    status: dict[str, Any] = {
        "phase": report.phase,
        "capacity": format_bytes(volume.capacity) if volume else "",
        "progress": report.progress,
        "attachedToVirtualMachines": attached,
        "target": {"persistentVolumeClaimName": volume.name} if volume else {},
        "import": report.facts,
        "conditions": [
            report.source,
            Condition("Ready", "True", "Ready")
            if report.export
            else Condition("Ready", "False", report.reason, report.message),
            _in_use(attached),
            *storage_class(disk, view, "StorageClassNotReady"),
            *report.more,
        ],
    }
    return Decision(
        status=status,
        actions=report.actions,
        export=report.export,
        wake=report.wake,
        waiting=report.waiting,
        ok=report.export is not None,
    )


def _volume(disk: Object, view: View, at: Place) -> RawVolume | None:
    name = disk_volume(view.fleet, disk.key, disk.uid)
    volume: RawVolume | None = view.read(VOLUME, (at.name, POOL, name))
    return volume


def _provision(disk: Object, view: View, at: Place, report: _Report) -> None:
    volume = _volume(disk, view, at)
    previous = view.previous(disk.key)
    job = view.job(disk.key)
    if volume is not None:
        report.phase, report.progress = "Ready", "100%"
        report.facts = previous.get("import", {})
        report.export = DiskData(volume.path, volume.capacity)
        _grow(disk, volume, view, at, report)
    elif previous.get("phase") in PROVISIONED and "CreateVolume" not in job.busy:
        # never made anew by itself: an empty disk in place of a lost one would hide the loss
        report.phase, report.reason = "PVCLost", "PVCLost"
        report.message = (
            f"The disk's volume is gone from pool {POOL} of node {at.name}: bring it "
            "back under its name, or delete and create the disk."
        )
    elif "CreateVolume" in job.busy:
        report.phase, report.reason, report.waiting = "Provisioning", "Provisioning", True
        report.message = "The volume is being made."
    elif held(job, disk.generation, view.now) and job.failed == "CreateVolume":
        report.phase = "Pending" if job.retry else "Failed"
        report.reason, report.message = "ProvisioningFailed", job.error
        report.wake, report.waiting = (job.retry_at, True) if job.retry else (None, False)
    else:
        _create(disk, view, at, report)


def _create(disk: Object, view: View, at: Place, report: _Report) -> None:
    size = disk.spec.get("persistentVolumeClaim", {}).get("size")
    source = disk.spec.get("dataSource")
    data = _source(disk, source, view, at, report) if source else BLANK
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
            f"The disk's size {size} is smaller than its image: ask for "
            f"{format_bytes(data.size)} or more in spec.persistentVolumeClaim.size."
        )
        return
    report.phase, report.reason, report.waiting = "Provisioning", "Provisioning", True
    report.message = "The volume is about to be made."
    create = CreateVolume(
        node=at.name,
        pool=POOL,
        name=disk_volume(view.fleet, disk.key, disk.uid),
        capacity=capacity,
        backing_path=data.path,
        backing_format=data.driver,
    )
    report.actions = (create,)


def _in_sectors(size: int) -> int:
    """Bytes, rounded up."""
    return -(-size // SECTOR) * SECTOR


def _source(
    disk: Object, source: Mapping[str, Json], view: View, at: Place, report: _Report
) -> ImageData | None:
    """The image data to start from; None with the reason in the report."""
    if source["type"] == "HTTP":
        previous = view.previous(disk.key)
        known = previous.get("import", {})
        if "source" not in known and previous.get("observedGeneration") != disk.generation:
            known = {}  # it may be of another address
        state = imported(disk, source["http"], known, view, at)
        report.facts, report.progress = state.facts, state.progress
        report.wake, report.waiting = state.wake, state.waiting
        if state.data is None:
            report.phase = state.phase
            report.reason, report.message = state.reason, state.message
            report.actions = (state.action,) if state.action else ()
        return state.data
    ref = source.get("objectRef", {})
    if source["type"] != "ObjectRef" or ref["kind"] not in ("VirtualImage", "ClusterVirtualImage"):
        report.reason = "ProvisioningNotStarted"
        report.message = (
            "Disks are made blank, from HTTP, or from a VirtualImage or "
            "ClusterVirtualImage; other sources are not supported here yet."
        )
        return None
    return _image(disk, ref, view, report)


def _image(disk: Object, ref: Mapping[str, Json], view: View, report: _Report) -> ImageData | None:
    cluster = ref["kind"] == "ClusterVirtualImage"
    key = device_key(disk.key.namespace, ref)
    data = view.export(ImageData, key)
    if data is not None:
        return data
    prefix = "ClusterImage" if cluster else "Image"
    if view.object(key) is None:
        report.reason, what = "DatasourceIsNotFound", "NotFound"
        report.message = f"{key} is not there: the disk is made as soon as it is."
    else:
        report.reason, what = "DatasourceIsNotReady", "NotReady"
        report.message = f"{key} is not ready: the disk is made as soon as it is."
        report.waiting = view.under_way(key)
    report.source = Condition("DatasourceReady", "False", prefix + what, report.message)
    return None


def _grow(disk: Object, volume: RawVolume, view: View, at: Place, report: _Report) -> None:
    size = disk.spec.get("persistentVolumeClaim", {}).get("size")
    if size is None or to_bytes(size) == volume.capacity:
        return
    wanted = _in_sectors(to_bytes(size))
    if wanted < volume.capacity:
        has = format_bytes(volume.capacity)
        message = f"A disk cannot shrink: it has {has}, ask for that or more."
        report.more.append(Condition("Resizing", "False", "NotAvailable", message))
    if wanted <= volume.capacity:
        return
    if any(view.read(ATTACHED, (disk.key, vm)) is not None for vm in users(disk.key, view)):
        message = f"The disk grows to {size} once no running VirtualMachine has it open."
        report.more.append(Condition("Resizing", "False", "NotAvailable", message))
        return
    places = (view.read(ELSEWHERE, (disk.key, vm)) for vm in users(disk.key, view))
    if moved := next(filter(None, places), ""):
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
    report.actions = (ResizeVolume(at.name, POOL, volume.name, wanted),)


def _attached(disk: Object, view: View) -> list[dict[str, Json]]:
    return [
        {"name": vm.name, "mounted": view.read(ATTACHED, (disk.key, vm)) is not None}
        for vm in users(disk.key, view)
    ]


def _in_use(attached: list[dict[str, Json]]) -> Condition:
    if any(each["mounted"] for each in attached):
        return Condition("InUse", "True", "AttachedToVirtualMachine")
    return Condition("InUse", "False", "NotInUse")


def _delete(
    previous: Mapping[str, Json], attached: list[dict[str, Json]], users: tuple[Key, ...]
) -> Decision:
    if not users:
        return Decision(status={"phase": "Terminating"}, gone=True)
    message = kept("disk", users)
    status = {
        "phase": "Terminating",
        "capacity": previous.get("capacity", ""),
        "attachedToVirtualMachines": attached,
        "conditions": [
            Condition("Terminating", "True", "CleanupPending", message),
            _in_use(attached),
        ],
    }
    return Decision(status=status, ok=False)
