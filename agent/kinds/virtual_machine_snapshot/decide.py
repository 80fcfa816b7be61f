"""Decide about one snapshot of a machine. What ended stays as it ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, replace
from typing import Any

from agent.core.actions import DropSnapshot, TakeSnapshot
from agent.core.facts import Decision, View
from agent.core.identity import made_uid, unfinished
from agent.core.jobs import held
from agent.core.known import DISK_VOLUMES, READ_BY, SNAPSHOTTING, VOLUME_AT, Fact
from agent.core.ledger import Record
from agent.core.model import Condition, Json, Key, Manifest, Object
from agent.core.nodes import HOME
from agent.kinds.local import nodes, several
from agent.kinds.virtual_disk_snapshot import (
    CONSISTENT,
    FINAL,
    NO_AGENT,
    Moment,
    SnapshotData,
    moment,
    sentence,
    stored,
)
from agent.kinds.virtual_machine_snapshot.captured import disks_of, resources
from agent.kinds.virtual_machine_snapshot.spec import machine_snapshot_spec

DISKS = "VirtualDiskSnapshot"
NAMES = "virtualDiskSnapshotNames"
SECRET = "virtualMachineSnapshotSecretName"  # noqa: S105  # the field's name
READY = "VirtualMachineSnapshotReady"
FAILED = "VirtualMachineSnapshotFailed"
MACHINE = "VirtualMachineReady"
NOT_READY = "VirtualMachineNotReadyForSnapshotting"
FOUND_AGAIN = (
    "It was found again after the status branch was lost: what its disks held is there, what the "
    "manifests said then is not known."
)
STEADY = frozenset(("Running", "Stopped"))


@dataclass(frozen=True)
class _Part:
    """One disk of the machine, and its snapshot."""

    disk: str
    key: Key
    uid: str

    def manifest(self, *, required: bool) -> Manifest:
        spec = {"virtualDiskName": self.disk, "requiredConsistency": required}
        return Manifest(self.key, {}, {}, {"spec": spec})


@dataclass(frozen=True)
class _Said:
    """What keeps a snapshot from being taken now."""

    reason: str
    message: str
    waiting: bool = False
    machine: bool = False
    """True if the machine as such is not ready."""


def decide(snapshot: Object, view: View) -> Decision:
    previous = view.previous(snapshot.key)
    if snapshot.deleted:
        return _delete(snapshot, previous, view)
    if previous.get(SECRET):
        return _kept(snapshot, previous, view)
    if previous.get("phase") == "Failed":
        return Decision(ok=False)
    vm = view.object(_machine(snapshot))
    if vm is None or vm.deleted:
        message = f"{_machine(snapshot)} is not there: the snapshot is taken once it is."
        return _waits(_Said("WaitingForTheVirtualMachine", message, machine=True))
    parts = _parts(snapshot, tuple(key.name for key in disks_of(vm, view)))
    if _is_again(previous.get("resources", ())):
        parts = _recorded(snapshot, previous)
    if _whole(parts, view) and not view.job(snapshot.key).busy:
        return _ready(snapshot, vm, parts, previous, view)
    found = () if previous else tuple(part for part in parts if _lies(part, view))
    if found:
        return _found_again(snapshot, vm, found, view)
    return _take(snapshot, vm, parts, view)


def farewell(record: Record, staying: Set[Key]) -> str:
    """What becomes of one that is deleted."""
    return "goes to the trash with the snapshots of its disks" if SECRET in record.status else ""


def _machine(snapshot: Object) -> Key:
    name = machine_snapshot_spec(snapshot.spec)["virtualMachineName"]
    return Key("VirtualMachine", snapshot.key.namespace, name)


def _parts(snapshot: Object, disks: tuple[str, ...]) -> tuple[_Part, ...]:
    keys = {disk: Key(DISKS, snapshot.key.namespace, f"{disk}-{snapshot.uid}") for disk in disks}
    return tuple(_Part(disk, key, made_uid(snapshot.uid, key)) for disk, key in keys.items())


def _recorded(snapshot: Object, status: Mapping[str, Json]) -> tuple[_Part, ...]:
    """The parts that a status tells of."""
    ending = f"-{snapshot.uid}"
    return _parts(snapshot, tuple(name.removesuffix(ending) for name in status.get(NAMES, ())))


def _whole(parts: tuple[_Part, ...], view: View) -> bool:
    return all(view.export(SnapshotData, part.key) is not None for part in parts)


def _made(snapshot: Object, parts: tuple[_Part, ...]) -> tuple[Manifest, ...]:
    required = machine_snapshot_spec(snapshot.spec)["requiredConsistency"]
    return tuple(part.manifest(required=required) for part in parts)


# -- while it is taken ---------------------------------------------------------------------------


def _take(snapshot: Object, vm: Object, parts: tuple[_Part, ...], view: View) -> Decision:
    job = view.job(snapshot.key)
    disks = tuple(Key("VirtualDisk", vm.key.namespace, part.disk) for part in parts)
    moments = [
        moment(disk, part.key, part.uid, view) for disk, part in zip(disks, parts, strict=True)
    ]
    now = moments[0]
    ask = _asked(snapshot, moments)
    makes, status = _made(snapshot, parts), _status(snapshot, vm, disks, parts, view)
    if several(view):
        status[HOME] = now.node
    if job.busy:
        going = _going_on(snapshot, status, makes, ask, now)
        read: dict[Fact, Any] = dict(going.publish)
        if not now.uuid:
            read |= {(READ_BY, disk): snapshot.key for disk in disks}
        return replace(going, publish=read)  # no machine starts with them meanwhile
    if job.failed and job.reason in FINAL:
        told = Condition(READY, "False", FAILED, sentence(job.error))
        status = {**status, "phase": "Failed", "conditions": [_steady(), told]}
        return Decision(status=status, makes=makes, ok=False)
    said = _hindrance(vm, moments, view)
    if said is not None:
        return _waits(said)
    if held(job, snapshot.generation, view.now):
        waits = _waits(_Said("WaitingForTheVirtualMachine", sentence(job.error), waiting=True))
        return replace(waits, wake=job.retry_at)
    return _going_on(snapshot, status, makes, ask, now)


def _asked(snapshot: Object, moments: list[Moment]) -> TakeSnapshot:
    now = moments[0]
    sources = tuple(each.source for each in moments if each.source is not None)
    required = machine_snapshot_spec(snapshot.spec)["requiredConsistency"]
    return TakeSnapshot(now.node, snapshot.uid, sources, required, now.uuid, now.instance)


def _hindrance(vm: Object, moments: list[Moment], view: View) -> _Said | None:
    phase = view.previous(vm.key).get("phase", "")
    if phase not in STEADY:
        message = f"{vm.key} is in phase {phase or 'Pending'}: it has to be running or stopped."
        under_way = view.under_way(vm.key)
        return _Said("WaitingForTheVirtualMachine", message, waiting=under_way, machine=True)
    for each in moments:
        if each.why or each.source is None:
            return _Said("BlockDevicesNotReady", each.why, each.waiting)
    if len({each.where for each in moments}) > 1:
        message = "Some of its disks are open and others are not, or they are on several nodes."
        return _Said("BlockDevicesNotReady", message)
    return None


def _waits(said: _Said) -> Decision:
    machine = Condition(MACHINE, "False", NOT_READY, said.message) if said.machine else _steady()
    told = Condition(READY, "False", said.reason, said.message)
    status = {"phase": "Pending", "conditions": [machine, told]}
    return Decision(status=status, waiting=said.waiting, ok=False)


def _going_on(
    snapshot: Object,
    status: Mapping[str, Any],
    makes: tuple[Manifest, ...],
    ask: TakeSnapshot,
    now: Moment,
) -> Decision:
    reason, message = "Snapshotting", "What its disks hold is being copied."
    if now.uuid and not now.agent:
        reason, message = "PotentiallyInconsistent", NO_AGENT
    told = Condition(READY, "False", reason, message)
    status = {**status, "phase": "InProgress", "conditions": [_steady(), told]}
    actions = (ask,) if ask.disks else ()
    told_machine = SNAPSHOTTING.states(_machine(snapshot), snapshot.key)
    going = Decision(status=status, actions=actions, makes=makes, waiting=True, ok=False)
    return replace(going, publish=told_machine)


def _steady() -> Condition:
    return Condition(MACHINE, "True", MACHINE)


def _status(
    snapshot: Object, vm: Object, disks: tuple[Key, ...], parts: tuple[_Part, ...], view: View
) -> dict[str, Any]:
    return {
        NAMES: [part.key.name for part in parts],
        "resources": resources(vm, disks, view),
    }


# -- once it is there ----------------------------------------------------------------------------


def _ready(
    snapshot: Object,
    vm: Object,
    parts: tuple[_Part, ...],
    previous: Mapping[str, Json],
    view: View,
) -> Decision:
    required = machine_snapshot_spec(snapshot.spec)["requiredConsistency"]
    known = view.job(snapshot.key).result.get(CONSISTENT)
    disks = tuple(Key("VirtualDisk", vm.key.namespace, part.disk) for part in parts)
    status = {
        **_status(snapshot, vm, disks, parts, view),
        # what was captured when it began: the machine may have changed since
        **{name: previous[name] for name in ("resources", HOME) if name in previous},
        "phase": "Ready",
        CONSISTENT: bool(known) or required or not parts or None,
        SECRET: snapshot.key.name,
    }
    told = _told(status["resources"])
    return Decision(
        status={**status, "conditions": [_steady(), told]}, makes=_made(snapshot, parts)
    )


def _found_again(snapshot: Object, vm: Object, parts: tuple[_Part, ...], view: View) -> Decision:
    """One of a ledger that was lost: its parts lie there, and nothing is taken."""
    disks = tuple(Key("VirtualDisk", vm.key.namespace, part.disk) for part in parts)
    status = _status(snapshot, vm, disks, parts, view)
    status |= {
        "phase": "InProgress",
        "resources": [{**each, "source": ""} for each in status["resources"]],
        "conditions": [_steady(), Condition(READY, "False", "Snapshotting", FOUND_AGAIN)],
    }
    return Decision(status=status, makes=_made(snapshot, parts), waiting=True)


def _lies(part: _Part, view: View) -> bool:
    """True if there is data of a part."""
    return view.read(DISK_VOLUMES, part.uid) is not None


def _is_again(resources: Iterable[Mapping[str, Json]]) -> bool:
    """True of one that was found again: nobody knows what the manifests said."""
    return any(not each["source"] for each in resources)


def _told(resources: Iterable[Mapping[str, Json]]) -> Condition:
    """Of one that is there."""
    return Condition(READY, "True", READY, FOUND_AGAIN if _is_again(resources) else "")


def _kept(snapshot: Object, previous: Mapping[str, Json], view: View) -> Decision:
    """One that was taken. It comes back from the trash with its parts."""
    parts = _recorded(snapshot, previous)
    lost = [
        part.key.name
        for part in parts
        if view.object(part.key) is not None and view.previous(part.key).get("phase") == "Failed"
    ]
    if lost:
        message = f"VirtualDiskSnapshot {', '.join(lost)} is lost: see its conditions."
        told = [_steady(), Condition(READY, "False", "VirtualDiskSnapshotLost", message)]
        return Decision(
            status={**previous, "phase": "Failed", "conditions": told},
            makes=_made(snapshot, parts),
            ok=False,
        )
    told = [_steady(), _told(previous.get("resources", ()))]
    status = {**previous, "phase": "Ready", "conditions": told}
    return Decision(status=status, makes=_made(snapshot, parts))


def _delete(snapshot: Object, previous: Mapping[str, Json], view: View) -> Decision:
    """First what is not whole is cleared away, then the parts go, then the whole."""
    objects = [view.object(part.key) for part in _recorded(snapshot, previous)]
    there = [obj for obj in objects if obj is not None]
    told = [Condition("Terminating", "True", "CleanupPending")]
    going = Decision(
        status={**previous, "phase": "Terminating", "conditions": told}, waiting=True, ok=False
    )
    job = view.job(snapshot.key)
    volumes = [stored(obj, view) for obj in there]
    marks = [(volume.pool, unfinished(volume.name)) for volume in volumes]
    at = [node for mark in marks for node in view.read(VOLUME_AT, mark) or ()]
    if at or job.busy:
        if held(job, snapshot.generation, view.now):
            return replace(going, wake=job.retry_at)
        node = next(iter(at), previous.get(HOME) or nodes(view)[0])
        names = tuple((volume.pool, volume.name) for volume in volumes)
        return replace(going, actions=(DropSnapshot(node, snapshot.uid, names),))
    if there:
        return replace(going, drops=frozenset(obj.key for obj in there))
    return Decision(status={**previous, "phase": "Terminating", "conditions": []}, gone=True)
