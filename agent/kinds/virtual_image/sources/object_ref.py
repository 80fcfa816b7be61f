"""Data that another object has: an image's is shared, a disk's and a snapshot's is copied."""

from __future__ import annotations

from dataclasses import replace

from agent.core.facts import View
from agent.core.identity import POOL, QCOW2, copied_data, image_volume
from agent.core.image_sources import VolumeSource, marked, object_identity
from agent.core.known import ATTACHED, ELSEWHERE, LEAVING, USERS, VOLUME, VOLUME_AT
from agent.core.model import Condition, Json, Key, Object
from agent.kinds.exports import DiskData, ImageData, SnapshotData
from agent.kinds.virtual_image.sources.coming import Origin
from agent.kinds.virtual_image.sources.known import known_again
from agent.kinds.virtual_image.spec import CLUSTER, ClusterObjectRef, device_key

NOT_READY = "DatasourceNotReady"
ATTACHED_TO = (
    "{} is in use by {}: it is copied once that one is stopped. Or make the image from a "
    "VirtualDiskSnapshot."
)
LIES_ON = (
    "{} lies on {} in {}, as after a snapshot taken by hand: it is copied once that is merged."
)
COPYING = "The data of {} is being copied."


def named(obj: Object, ref: ClusterObjectRef) -> Key:
    return device_key(obj.key.namespace or ref.get("namespace", ""), ref["kind"], ref["name"])


def source_uid(obj: Object, view: View) -> dict[str, Json]:
    """The part of a status that says which object the data is of: once it is made, that stays."""
    ref = obj.manifest.content["spec"].get("dataSource", {}).get("objectRef")
    if ref is None:
        return {}
    previous = view.previous(obj.key)
    uid: str = previous.get("sourceUID", "")
    if not uid or previous.get("phase") != "Ready":
        there = view.object(named(obj, ref))
        uid = there.uid if there is not None else uid
    return {"sourceUID": uid} if uid else {}


def origin(obj: Object, ref: ClusterObjectRef, view: View) -> Origin:
    found = _origin(obj, named(obj, ref), view)
    return found if found.shared else replace(found, shared=known_again(obj, view))


def _origin(obj: Object, key: Key, view: View) -> Origin:
    if key.kind == "VirtualDisk":
        return _disk(obj, key, view)
    if key.kind == "VirtualDiskSnapshot":
        return _snapshot(obj, key, view)
    return _image(key, view)


def _image(key: Key, view: View) -> Origin:
    data = view.export(ImageData, key)
    if data is None:
        what = "ClusterImageNotReady" if key.kind == CLUSTER else "ImageNotReady"
        return _lacking(key, what, view)
    shared = {
        "digest": data.digest,
        "format": data.format,
        "storedBytes": data.stored,
        "unpackedBytes": data.size,
    }
    return Origin(shared=shared, near=tuple(data.paths))


def _disk(obj: Object, key: Key, view: View) -> Origin:
    data = view.export(DiskData, key)
    if data is None or not data.paths:
        return _lacking(key, "VirtualDiskNotReady", view)
    near = tuple(data.paths)
    source = _copied(obj, key, VolumeSource(near[0], data.pool, data.volume, data.format), view)
    reason, problem = _in_use(key, view)
    return Origin(
        source,
        problem,
        NOT_READY,
        Condition("DatasourceReady", "False", reason, problem) if problem else Origin.condition,
        doing=COPYING.format(key),
        copied=True,
        shared=_made(source, view),
        near=near,
        reads=key,
    )


def _copied(obj: Object, key: Key, source: VolumeSource, view: View) -> VolumeSource:
    """From a disk or a snapshot, under a name of its own."""
    known = view.previous(obj.key)
    before = image_volume(view.fleet, known.get("digest", ""), known.get("format", ""))
    lost = "" if view.read(VOLUME_AT, (POOL, before)) else known.get("digest", "")
    digest = copied_data(obj.uid, obj.generation, source.volume, lost)
    return replace(source, digest=digest, copied=True, of=str(key))


def _made(source: VolumeSource, view: View) -> dict[str, Json] | None:
    """What is known of a whole copy that is there, though nobody has written that down."""
    name = image_volume(view.fleet, source.digest, QCOW2)
    for node in view.read(VOLUME_AT, (POOL, name)) or ():
        volume = view.read(VOLUME, (node, POOL, name))
        if volume is not None:
            return {
                "digest": source.digest,
                "format": QCOW2,
                "storedBytes": volume.physical,
                "unpackedBytes": volume.capacity,
            }
    return None


def _in_use(key: Key, view: View) -> tuple[str, str]:
    """Why a disk cannot be copied now: a reason, and a sentence. Both are empty if it can."""
    users = {*(view.read(USERS, key) or ()), view.read(LEAVING, key)}
    for vm in sorted(user for user in users if user is not None):
        if view.read(ATTACHED, (key, vm)):
            return "VirtualDiskAttachedToVirtualMachine", ATTACHED_TO.format(key, vm)
        if moved := view.read(ELSEWHERE, (key, vm)):
            return "VirtualDiskNotReadyForUse", LIES_ON.format(key, moved, vm)
    return "", ""


def _snapshot(obj: Object, key: Key, view: View) -> Origin:
    data = view.export(SnapshotData, key)
    if data is None or not data.paths:
        return _lacking(key, "VirtualDiskSnapshotNotReady", view)
    near = tuple(data.paths)
    volume = VolumeSource(near[0], data.pool, data.volume, data.format, data.size)
    source = _copied(obj, key, volume, view)
    doing = COPYING.format(key)
    return Origin(source, doing=doing, copied=True, shared=_made(source, view), near=near)


def _lacking(key: Key, reason: str, view: View) -> Origin:
    there = view.object(key)
    what = "is not there" if there is None else "is not ready"
    message = f"{key} {what}: the image is made as soon as it is."
    condition = Condition("DatasourceReady", "False", reason, message)
    return Origin(
        *(None, message, NOT_READY, condition),
        waiting=view.under_way(key),
        gone=marked(object_identity(str(key))),
    )
