"""Snapshots of a machine by its schedule: each slot has one, whoever acts by then and however often
it is decided. A slot that was missed is made up for, the newest only. What is beyond the number to
be kept goes for good; what people have made themselves is none of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from agent.core.acceptance import suspended
from agent.core.annotations import SNAPSHOTS
from agent.core.facts import Decide, Decision, View
from agent.core.identity import made_uid
from agent.core.known import DISK_VOLUMES, OWNED, SNAPSHOTTING
from agent.core.model import Condition, Json, Key, Manifest, Object
from agent.core.schedule import Schedule, schedule
from agent.core.status import conditioned, seconds, timestamp

KIND = "VirtualMachineSnapshot"
PART = "VirtualDiskSnapshot"
CONDITION = "SnapshotsScheduled"
STATUS = "snapshotSchedule"
LAST, WHEN = "lastSlot", "schedule"
READY, FAILED = "Ready", "Failed"


def scheduling(decide: Decide) -> Decide:
    """The same decisions, with the snapshots that a machine's schedule asks for."""

    def decided(vm: Object, view: View) -> Decision:
        decision = _taken_now(vm, decide(vm, view), view)
        text = vm.manifest.annotations.get(SNAPSHOTS)
        if text is None or vm.deleted or decision.status is None:
            return decision
        if suspended(vm.manifest):  # what it misses is made up for
            known = {STATUS: view.previous(vm.key).get(STATUS)}
            return replace(decision, status={**decision.status, **known})
        return _scheduled(vm, text, decision, decision.status, view)

    return decided


def _taken_now(vm: Object, decision: Decision, view: View) -> Decision:
    """The decision that tells of a snapshot, whoever has asked for it, as long as it is taken."""
    snapshot = view.read(SNAPSHOTTING, vm.key)
    if snapshot is None or decision.status is None:
        return decision
    message = f"{snapshot} is being taken."
    told = Condition("Snapshotting", "True", "SnapshottingInProgress", message)
    return replace(decision, status=conditioned(decision.status, told.type, told))


@dataclass(frozen=True)
class _Taken:
    """A snapshot that the schedule has asked for."""

    key: Key
    phase: str
    why: str


def _scheduled(
    vm: Object, text: str, decision: Decision, status: Mapping[str, Any], view: View
) -> Decision:
    try:
        known = schedule(text)
    except ValueError as error:  # of a zone that the manifest was accepted with elsewhere
        told = Condition(CONDITION, "False", "InvalidSchedule", f"The schedule: {error}.")
        return replace(decision, status=conditioned(status, CONDITION, told))
    told_before: Mapping[str, Json] = view.previous(vm.key).get(STATUS, {})
    due = known.last(view.now)
    when = text.partition(";")[0].strip()  # how many are kept says nothing of when
    last = seconds(told_before[LAST]) if told_before.get(WHEN) == when else due
    taken = _taken(vm, view)
    makes = () if told_before else tuple(_there(vm, known, view))
    problem = _problem(taken)
    if due is not None and last is not None and due > last:
        last = due
        if taken and taken[-1].phase not in (READY, FAILED):
            problem = f"The snapshot {taken[-1].key.name} is not done yet: a slot was left out."
        else:
            makes = (_manifest(vm, due),)
    slot = {} if last is None else {STATUS: {WHEN: when, LAST: timestamp(last)}}
    skipped = Condition(CONDITION, "False", "SlotSkipped", problem) if problem else None
    wakes = [wake for wake in (decision.wake, known.next(view.now)) if wake is not None]
    return replace(
        decision,
        status={**conditioned(status, CONDITION, skipped), **slot},
        makes=(*decision.makes, *makes),
        drops=decision.drops | _surplus(taken, known.keep),
        wake=min(wakes, default=None),
    )


def _there(vm: Object, known: Schedule, view: View) -> Iterator[Manifest]:
    """Those that are to be kept and lie on hosts: they were taken before the ledger began."""
    refs: Any = vm.spec.get("blockDeviceRefs", ())
    disks = [ref["name"] for ref in refs if ref["kind"] == "VirtualDisk"]
    for slot in known.before(view.now):
        manifest = _manifest(vm, slot)
        uid = made_uid(vm.uid, manifest.key)
        parts = (Key(PART, vm.key.namespace, f"{disk}-{uid}") for disk in disks)
        if any(view.read(DISK_VOLUMES, made_uid(uid, part)) is not None for part in parts):
            yield manifest


def _taken(vm: Object, view: View) -> list[_Taken]:
    """By slot, the oldest first: so their names sort."""
    keys = sorted(key for key in view.read(OWNED, vm.key) or () if key.kind == KIND)
    objects = [key for key in keys if (obj := view.object(key)) is not None and not obj.deleted]
    return [_of(key, view.previous(key)) for key in objects]


def _of(key: Key, status: Mapping[str, Json]) -> _Taken:
    conditions = status.get("conditions", ())
    why = [each["message"] for each in conditions if each["type"] == f"{KIND}Ready"]
    return _Taken(key, status.get("phase", ""), next(iter(why), ""))


def _problem(taken: list[_Taken]) -> str:
    """Why the last one came to nothing; empty if it did not."""
    if not taken or taken[-1].phase != FAILED:
        return ""
    return f"The snapshot {taken[-1].key.name} failed: {taken[-1].why}"


def _surplus(taken: list[_Taken], keep: int) -> frozenset[Key]:
    """Those beyond the number to be kept, and what came to nothing once another one has been
    tried.
    """
    ready = [each.key for each in taken if each.phase == READY]
    failed = [each.key for each in taken[:-1] if each.phase == FAILED]
    return frozenset((*ready[:-keep], *failed))


def _manifest(vm: Object, slot: float) -> Manifest:
    """Named by machine and slot: the same for whoever decides it, again and again."""
    at = datetime.fromtimestamp(slot, UTC).strftime("%Y%m%d-%H%M")
    digest = hashlib.sha256(f"{vm.uid}/{slot:.0f}".encode()).hexdigest()[:5]
    key = Key(KIND, vm.key.namespace, f"{vm.key.name}-{at}-{digest}")
    spec = {
        "virtualMachineName": vm.key.name,
        # one as after a power cut is better than none; the status says which it is
        "requiredConsistency": False,
        "keepIPAddress": "Always",
    }
    return Manifest(key, {}, {}, {"spec": spec})
