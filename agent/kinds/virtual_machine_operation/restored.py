"""What a restore would do to each object, and what keeps it from being done."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.facts import Renewal, View
from agent.core.identity import made_uid
from agent.core.known import ATTACHED, ELSEWHERE, READ_BY, REPLACED
from agent.core.model import Json, Key, Object
from agent.core.nodes import HOME
from agent.core.quantity import format_bytes, to_bytes
from agent.kinds.exports import DiskData, SnapshotData
from agent.kinds.local import several
from agent.kinds.virtual_disk import BROUGHT_BACK, RESTORED, disk_spec, users
from agent.kinds.virtual_machine_operation.spec import operation_spec

API = "virtualization.deckhouse.io/v1alpha2"
SECRET = "Secret"  # noqa: S105  # the name of a kind
_CHANGING = ("Migrating", "Resizing")
NAMES = "virtualDiskSnapshotNames"
DISK = "VirtualDisk"
STAYS = "Its specification stays as its manifest says."


@dataclass(frozen=True)
class Fate:
    """What becomes of one object."""

    key: Key
    message: str
    version: str = API
    problem: bool = False
    """True if it cannot be as it was."""
    missing: bool = False
    """True if that is because it is not there as it was: the others can be restored without it."""
    renewed: bool = False
    """True of a disk that has begun anew for this operation."""
    renewal: Renewal | None = None
    """Of a disk that gets the data of the snapshot."""

    def listed(self, state: str) -> dict[str, Json]:
        """An entry of `status.resources`."""
        return {
            "apiVersion": self.version,
            "kind": self.key.kind,
            "name": self.key.name,
            "status": "Failed" if self.problem else state,
            "message": self.message,
        }


def fates(operation: Object, vm: Object, snapshot: Object, view: View) -> tuple[Fate, ...]:
    """Of all that the snapshot of the machine has, the machine first."""
    said = view.previous(snapshot.key)
    space = vm.key.namespace
    captured: list[Mapping[str, Any]] = said.get("resources", [])
    of_disks = [Key("VirtualDiskSnapshot", space, name) for name in said.get(NAMES, ())]
    return (
        *(_machine(vm, each) for each in captured if each["kind"] == vm.key.kind),
        *(_disk(operation, vm, key, snapshot, view) for key in of_disks),
        *_others(vm, captured, view),
    )


def _machine(vm: Object, captured: Mapping[str, Any]) -> Fate:
    message = "Its specification stays as its manifest says, which is as it was then."
    was, _, path = captured["source"].partition(":")
    now = vm.source.partition(":")[0]
    if not captured["source"]:
        return Fate(vm.key, STAYS)
    if captured["source"] != vm.source:
        message = (
            "Its specification stays as its manifest says, which has changed since the snapshot: "
            f"`git diff {was[:12]} {now[:12]} -- {path}` shows in what."
        )
    return Fate(vm.key, message)


def _disk(operation: Object, vm: Object, source: Key, snapshot: Object, view: View) -> Fate:
    part, data = view.object(source), view.export(SnapshotData, source)
    name = source.name if part is None else str(part.spec["virtualDiskName"])
    key = Key("VirtualDisk", source.namespace, name)
    disk, uid = view.object(key), made_uid(operation.uid, key)
    if disk is not None and disk.uid == uid:
        return Fate(key, _said(operation, key, view) or f"It is made from {source}.", renewed=True)
    if part is None or data is None:
        return Fate(key, f"{source} is not ready: there is nothing to restore from.", problem=True)
    if disk is None or disk.deleted:
        message = f"{key} is not there any more: put its manifest back."
        return Fate(key, message, problem=True, missing=True)
    whose = users(key, view)
    if vm.key not in whose:
        message = f"{vm.key} does not have it any more: refer to it again in spec.blockDeviceRefs."
        return Fate(key, message, problem=True, missing=True)
    if problem := _hindrance(disk, vm, whose, data, view):
        return Fate(key, problem, problem=True)
    lies = view.export(DiskData, key)
    home = _home(lies, data)
    status = {RESTORED: source.name, **({HOME: home} if several(view) else {})}
    only_told = operation_spec(operation.spec)["restore"]["mode"] == "DryRun"
    name = "OPERATION" if only_told else operation.key.name
    old = f"Its volume {lies.volume} goes to the trash" if lies else "What it has goes to the trash"
    message = (
        f"{old}, and a new one is made from {source.name} of {snapshot.created}. `gitvirt restore "
        f"{vm.key.name} --undo {name}` brings it back as long as it lies there."
    )
    return Fate(key, message, renewal=Renewal(key, disk.uid, uid, status, message))


def undone(operation: Object, vm: Object, earlier: str, view: View) -> tuple[Fate, ...]:
    """Of the machine, and of its disks that an earlier operation has replaced."""
    space = vm.key.namespace
    in_spec: Any = vm.spec.get("blockDeviceRefs", ())
    listed = [*in_spec, *view.previous(vm.key).get("blockDeviceRefs", ())]
    names = dict.fromkeys(each["name"] for each in listed if each["kind"] == DISK)
    fates = (_back(operation, vm, Key(DISK, space, name), earlier, view) for name in names)
    return (Fate(vm.key, STAYS), *(fate for fate in fates if fate is not None))


def _back(operation: Object, vm: Object, key: Key, earlier: str, view: View) -> Fate | None:
    """None for a disk that the earlier operation has not replaced, or whose data is gone."""
    if view.previous(key).get(BROUGHT_BACK) == operation.uid:
        message = _said(operation, key, view) or "It is back from the trash."
        return Fate(key, message, renewed=True)
    uids = [uid for uid, by in view.read(REPLACED, key) or () if by == earlier]
    disk = view.object(key)
    if not uids or disk is None or disk.deleted:
        return None
    if problem := _others_have(disk, vm, users(key, view), view):
        return Fate(key, problem, problem=True)
    lies = view.export(DiskData, key)
    old = f"Its volume {lies.volume} goes to the trash" if lies else "What it has goes to the trash"
    message = f"{old}, and what it held before {earlier} comes back from there."
    status = {BROUGHT_BACK: operation.uid}
    renewal = Renewal(key, disk.uid, uids[0], status, message, back=True)
    return Fate(key, message, renewal=renewal)


def _said(operation: Object, key: Key, view: View) -> str:
    """What was said of an object before: where lies what it had, above all."""
    listed = view.previous(operation.key).get("resources", ())
    told = (each["message"] for each in listed if (each["kind"], each["name"]) == key[::2])
    return next(told, "")


def _others_have(disk: Object, vm: Object, whose: tuple[Key, ...], view: View) -> str:
    """Why a disk cannot get other data than it has, in a sentence; empty if it can."""
    others = [str(each) for each in whose if each != vm.key]
    if others:
        return f"{', '.join(others)} has it, too: detach it there first."
    if path := view.read(ELSEWHERE, (disk.key, vm.key)):
        return f"It lies on {path}, as after a snapshot taken by hand: merge that first."
    return ""


def _hindrance(
    disk: Object, vm: Object, whose: tuple[Key, ...], data: SnapshotData, view: View
) -> str:
    """Why a disk cannot get the data of a snapshot, in a sentence; empty if it can."""
    if problem := _others_have(disk, vm, whose, view):
        return problem
    lies = view.export(DiskData, disk.key)
    if lies is not None and not _home(lies, data):
        return f"Its snapshot is on {', '.join(data.paths)}, and the disk is not."
    size = disk_spec(disk.spec).get("persistentVolumeClaim", {}).get("size")
    if size is not None and to_bytes(size) < data.size:
        has = format_bytes(data.size)
        return f"Its size {size} is less than it was: ask for {has} or more."
    return ""


def _home(lies: DiskData | None, data: SnapshotData) -> str:
    """A node that has the snapshot, and the disk."""
    nodes = data.paths if lies is None else (node for node in lies.paths if node in data.paths)
    return next(iter(nodes), "")


def _others(vm: Object, captured: list[Mapping[str, Any]], view: View) -> Iterator[Fate]:
    """What else belonged to the machine. Its manifests stay as they are."""
    for each in captured:
        if each["kind"] in (vm.key.kind, "VirtualDisk"):
            continue
        key = Key(each["kind"], vm.key.namespace, each["name"])
        obj, version = view.object(key), each["apiVersion"]
        if obj is None or obj.deleted:
            message = "It is not there any more: put its manifest back."
            yield Fate(key, message, version, problem=True, missing=True)
        elif key.kind == SECRET and each["source"] and obj.source != each["source"]:
            message = "It has changed since the snapshot, and stays as it is."
            yield Fate(key, message, version, problem=True, missing=True)
        else:
            yield Fate(key, "It stays as its manifest says.", version)


def busy(fate: Fate, view: View) -> str:
    """Why a disk cannot be replaced just now, in a sentence; empty if it can."""
    key = fate.key
    if any(view.read(ATTACHED, (key, vm)) is not None for vm in users(key, view)):
        return f"{key} is still open."
    moving = view.previous(key).get("phase") in _CHANGING
    if moving or view.job(key).busy or view.read(READ_BY, key) is not None:
        return f"{key} is being worked on: it is replaced once that has ended."
    return ""
