"""Where a disk is, or is to be made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from agent.core.facts import View
from agent.core.known import CARRIED, PLACED, POOL_PATH, SHARED, VOLUME, VOLUME_AT
from agent.core.model import Key, Object
from agent.core.nodes import HOME
from agent.kinds.exports import ImageData, SnapshotData
from agent.kinds.local import (
    Place,
    away,
    belonging,
    missing,
    nodes,
    place,
    places,
    several,
    unread,
    unusable,
)
from agent.kinds.node import takes_all
from agent.kinds.virtual_disk.spec import DiskSource, ObjectRef, disk_spec
from agent.kinds.virtual_disk.usage import users
from agent.kinds.virtual_disk.volume import MAKING, PROVISIONED, RESTORED, Stored
from agent.kinds.virtual_image import device_key

COPIES = (
    "The nodes {} each have a volume of this disk, and nothing tells which one is right: delete "
    "the other with `virsh vol-delete`."
)

WAITS = "It is made on the node of its VirtualMachine, which has none yet: see its conditions."


@dataclass(frozen=True)
class Location:
    """`at` is None where nothing can be done; then `why` says why, in a sentence."""

    at: Place | None
    volume: Stored
    """The volume that it has, or is to have."""
    paths: Mapping[str, str] = field(default_factory=dict)
    """Where its volume can be opened, by node."""
    why: str = ""
    closed: str = ""
    """Why its pool cannot be used on that node, in a sentence; empty if it can."""
    waits: bool = False
    """True if it goes where a machine goes that has no node yet."""


def location(disk: Object, volume: Stored, view: View) -> Location:
    there = view.read(VOLUME_AT, (volume.pool, volume.name)) or ()
    shared = volume.pool in (view.read(SHARED, None) or ())
    node, why = _node(disk, there, view, shared=shared)
    if not node and not why:
        return Location(None, volume, why=WAITS, waits=True)
    why = why or (away(view, node) if node else "")
    at = place(view, node) if node and not why else None
    if at is None:
        return Location(None, volume, why=why)
    if volume.pool and (closed := unusable(view, at.name, volume.pool)):
        return Location(at, volume, closed=closed)
    raw = view.read(VOLUME, (at.name, volume.pool, volume.name))
    paths = {at.name: raw.path} if raw is not None else {}
    if shared and paths:
        paths |= _everywhere(volume, view)
    return Location(at, volume, paths)


def _everywhere(volume: Stored, view: View) -> Mapping[str, str]:
    """Where the volume of a shared pool can be opened: on each node that has the pool, also where
    it was not looked into since the volume was made.
    """
    folders = (
        (node, view.read(POOL_PATH, (node, volume.pool)))
        for node in nodes(view)
        if not away(view, node)
    )
    return {node: f"{folder}/{volume.name}" for node, folder in folders if folder}


def _node(disk: Object, there: tuple[str, ...], view: View, *, shared: bool) -> tuple[str, str]:
    """The node's name, or why there is none."""
    previous = view.previous(disk.key)
    recorded: str = previous.get(HOME, "")
    home = belonging(view, recorded)
    if shared and there:  # whoever has it has the same
        return next((node for node in there if not away(view, node)), there[0]), ""
    if len(there) > 1 and (carried := _carried(disk, there, view)):
        return carried, ""
    if home and (home in there or not there):
        return (home if there or _is_made(disk, home, view) else _follows(disk, home, view)), ""
    if len(there) > 1:
        return "", COPIES.format(" and ".join(there))
    if there:
        return there[0], away(view, home) if home else ""
    if previous.get("phase") in PROVISIONED:
        return next(iter(nodes(view)), ""), missing(view)
    return _chosen(disk, view), unread(view)


def _carried(disk: Object, there: tuple[str, ...], view: View) -> str:
    """The node to which a machine has taken it along, and where it has it open; empty if none
    has.
    """
    for user in users(disk.key, view):
        node = view.read(CARRIED, (disk.key, user))
        if node in there:
            return node
    return ""


def _is_made(disk: Object, home: str, view: View) -> bool:
    """True of a disk whose volume is, or may be, on its way there."""
    if view.previous(disk.key).get("phase") in PROVISIONED or away(view, home):
        return True
    return bool(MAKING & {*view.job(disk.key).busy})


def _follows(disk: Object, home: str, view: View) -> str:
    """The node of a disk that nothing has been made of: its machine may have been sent to another
    one meanwhile.
    """
    return next(_of_users(disk, view), home)


def _of_users(disk: Object, view: View) -> Iterator[str]:
    """The nodes of the machines that refer to a disk, the oldest first."""
    every = {at.name for at in places(view)}
    for user in users(disk.key, view):
        of_user, placed = view.previous(user), view.read(PLACED, user)
        known = of_user.get(HOME) or of_user.get("nodeName") or (placed.node if placed else "")
        name = belonging(view, known)
        if name in every:
            yield name


def _chosen(disk: Object, view: View) -> str:
    """A node for a disk that is new: that of a machine that refers to it, empty while there are
    only such that have none yet. For one that nobody refers to it is one that has the image or
    snapshot that it is made from, else the first one that can be read and takes machines.
    """
    if several(view):
        node = next(_of_users(disk, view), "")
        if node or any(view.object(user) is not None for user in users(disk.key, view)):
            return node
    every = places(view)
    every = [at for at in every if takes_all(view, at.name)] or every
    data: ImageData | SnapshotData | None = None
    if (key := made_from(disk, source_of(disk, view))) is not None:
        data = view.export(ImageData, key) or view.export(SnapshotData, key)
    candidates = [at for at in every if data is not None and at.name in data.paths] or every
    return candidates[0].name if candidates else next(iter(nodes(view)), "")


def source_of(disk: Object, view: View) -> DiskSource | None:
    """What a disk is made from; None for one that begins blank."""
    if snapshot := view.previous(disk.key).get(RESTORED):
        ref = ObjectRef(kind="VirtualDiskSnapshot", name=str(snapshot))
        return DiskSource(type="ObjectRef", objectRef=ref)
    return disk_spec(disk.spec).get("dataSource")


def made_from(disk: Object, source: DiskSource | None) -> Key | None:
    """The image or snapshot that a disk is made from, if it is one."""
    ref = source.get("objectRef") if source is not None else None
    return device_key(disk.key.namespace, ref["kind"], ref["name"]) if ref else None


def image_of(disk: Object, view: View) -> Key | None:
    """The image that a disk is made from, if it is one."""
    key = made_from(disk, source_of(disk, view))
    return key if key is not None and key.kind != "VirtualDiskSnapshot" else None


def belongs(view: View, at: Place | None, *, chosen: bool) -> Mapping[str, str]:
    """What the status says of the node that it belongs to: written before anything is made there,
    where there are several.
    """
    return {HOME: at.name} if at is not None and chosen and several(view) else {}
