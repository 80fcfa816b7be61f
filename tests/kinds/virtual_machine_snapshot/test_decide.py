"""What is done about a snapshot of a machine, by how the machine and its disks are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core import known
from agent.core.actions import DropSnapshot, SnapshotSource, TakeSnapshot
from agent.core.facts import Decision
from agent.core.host import RawVolume
from agent.core.identity import POOL, made_uid, serial, snapshot_volume, unfinished
from agent.core.jobs import Job
from agent.core.known import Fact
from agent.core.model import Key
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_disk_snapshot import SnapshotData
from agent.kinds.virtual_machine_snapshot.decide import decide
from tests.golden.case import NODE
from tests.kinds.deciding import FLEET, NOW, PATH, READY, condition, decided, made, said

GIB = 1 << 30
KEY, VM = Key("VirtualMachineSnapshot", "lab", "snap"), Key("VirtualMachine", "lab", "vm")
SPEC = {"virtualMachineName": "vm", "requiredConsistency": True, "keepIPAddress": "Always"}
NAMES = ("root", "data")
REFS = [{"kind": "VirtualDisk", "name": name} for name in NAMES]
PARTS = {name: Key("VirtualDiskSnapshot", "lab", f"{name}-uid-snap") for name in NAMES}
DISKS = {name: Key("VirtualDisk", "lab", name) for name in NAMES}
VOLUMES = {
    name: snapshot_volume(FLEET, key, made_uid("uid-snap", key)) for name, key in PARTS.items()
}
OFF: Mapping[Fact, Any] = {
    **READY,
    (known.OBJECT, VM): made(VM, {"blockDeviceRefs": REFS}),
    (known.STATUS, VM): {"phase": "Stopped"},
    **{(known.OBJECT, key): made(key, {}) for key in DISKS.values()},
    **{
        (known.EXPORT, key): DiskData(
            {NODE.name: f"{PATH}/{name}.qcow2"}, GIB, POOL, f"{name}.qcow2"
        )
        for name, key in DISKS.items()
    },
}
WHOLE: Mapping[Fact, Any] = {
    **OFF,
    **{(known.EXPORT, key): SnapshotData({}, POOL, "v", GIB, "qcow2") for key in PARTS.values()},
}
TAKE = TakeSnapshot(
    NODE.name,
    "uid-snap",
    tuple(
        SnapshotSource(serial(f"uid-{name}"), POOL, f"{name}.qcow2", GIB, VOLUMES[name], "qcow2")
        for name in NAMES
    ),
    required=True,
)


def snapshot(deleted: str = "", **spec: Any) -> Any:
    return made(KEY, {**SPEC, **spec}, deleted)


def ready(found: Decision) -> Any:
    return condition(found, "VirtualMachineSnapshotReady")


def test_all_disks_are_kept_by_one_deed() -> None:
    found = decided(decide, snapshot(), OFF)
    assert found.actions == (TAKE,)
    assert [(each.key, each.spec) for each in found.makes] == [
        (PARTS[name], {"virtualDiskName": name, "requiredConsistency": True}) for name in NAMES
    ]
    assert said(found)["phase"] == "InProgress"
    assert ready(found).reason == "Snapshotting"


@pytest.mark.parametrize("phase", ["", "Pending", "Starting", "Stopping", "Pause", "Migrating"])
def test_a_machine_that_changes_is_waited_for(phase: str) -> None:
    found = decided(decide, snapshot(), {**OFF, (known.STATUS, VM): {"phase": phase}})
    assert (found.actions, found.makes, said(found)["phase"]) == ((), (), "Pending")
    assert ready(found).reason == "WaitingForTheVirtualMachine"
    assert condition(found, "VirtualMachineReady").status == "False"


def test_a_disk_that_is_not_ready_is_waited_for() -> None:
    found = decided(decide, snapshot(), {**OFF, (known.EXPORT, DISKS["data"]): None})
    assert (found.actions, said(found)["phase"]) == ((), "Pending")
    assert ready(found).reason == "BlockDevicesNotReady"
    assert condition(found, "VirtualMachineReady").status == "True"


def test_disks_of_several_nodes_are_no_moment() -> None:
    elsewhere: Mapping[Fact, Any] = {
        (known.EXPORT, DISKS["data"]): DiskData({"far": "/far"}, GIB, POOL, "far")
    }
    away: Mapping[Fact, Any] = {
        (known.NODES, None): (NODE.name, "far"),
        (known.NODE, "far"): NODE,
        (known.POOL_PATH, ("far", POOL)): PATH,
    }
    found = decided(decide, snapshot(), {**OFF, **elsewhere, **away})
    assert found.actions == ()
    assert "several nodes" in ready(found).message


def test_it_is_ready_once_each_part_is() -> None:
    found = decided(decide, snapshot(), WHOLE)
    assert (found.actions, said(found)["phase"], said(found)["consistent"]) == ((), "Ready", True)
    assert said(found)["virtualDiskSnapshotNames"] == [key.name for key in PARTS.values()]
    assert said(found)["virtualMachineSnapshotSecretName"] == "snap"
    assert found.ok
    half = decided(decide, snapshot(), {**WHOLE, (known.EXPORT, PARTS["data"]): None})
    assert half.actions == (TAKE,)
    busy = decided(decide, snapshot(), {**WHOLE, (known.JOB, KEY): Job(busy=("TakeSnapshot",))})
    assert said(busy)["phase"] == "InProgress"


@pytest.mark.parametrize(
    ("spec", "job", "consistent"),
    [
        ({}, Job(), True),
        ({"requiredConsistency": False}, Job(), None),
        ({"requiredConsistency": False}, Job(result={"consistent": True}), True),
    ],
)
def test_only_what_was_seen_is_called_consistent(
    spec: Any, job: Job, consistent: bool | None
) -> None:
    found = decided(decide, snapshot(**spec), {**WHOLE, (known.JOB, KEY): job})
    assert said(found)["consistent"] is consistent


def test_a_machine_without_disks_is_at_rest() -> None:
    facts = {**OFF, (known.OBJECT, VM): made(VM, {"blockDeviceRefs": []})}
    found = decided(decide, snapshot(requiredConsistency=False), facts)
    assert (said(found)["phase"], said(found)["consistent"], found.makes) == ("Ready", True, ())


def test_what_was_taken_stays_whatever_becomes_of_the_machine() -> None:
    status = {**said(decided(decide, snapshot(), WHOLE)), "conditions": []}
    found = decided(decide, snapshot(), {**READY, (known.STATUS, KEY): status})
    assert said(found)["phase"] == "Ready"
    assert [each.key for each in found.makes] == list(PARTS.values())


def test_the_moment_that_was_asked_for_does_not_come_back() -> None:
    job = Job(failed="TakeSnapshot", reason="NoSpace", error="it is full")
    found = decided(decide, snapshot(), {**OFF, (known.JOB, KEY): job})
    assert (found.actions, said(found)["phase"]) == ((), "Failed")
    assert (ready(found).reason, ready(found).message) == (
        "VirtualMachineSnapshotFailed",
        "It is full.",
    )
    again = decided(decide, snapshot(), {**OFF, (known.STATUS, KEY): {"phase": "Failed"}})
    assert (again.status, again.actions) == (None, ())


def test_what_passes_is_tried_again() -> None:
    job = Job(failed="TakeSnapshot", reason="Busy", error="busy", generation=2, retry_at=NOW + 9)
    found = decided(decide, snapshot(), {**OFF, (known.JOB, KEY): job})
    assert (found.actions, found.wake, said(found)["phase"]) == ((), NOW + 9, "Pending")


def test_a_deletion_ends_what_is_begun_then_lets_the_parts_go_then_itself() -> None:
    status: Any = {"virtualDiskSnapshotNames": [key.name for key in PARTS.values()]}
    parts: Mapping[Fact, Any] = {
        **READY,
        (known.STATUS, KEY): status,
        **{(known.OBJECT, key): made(key, {}) for key in PARTS.values()},
    }
    name = snapshot_volume(FLEET, PARTS["data"], "uid-data-uid-snap")
    mark = RawVolume(POOL, unfinished(name), "/x", 0, 0)
    half = {**parts, (known.VOLUME, (NODE.name, POOL, unfinished(name))): mark}
    (drop,) = decided(decide, snapshot("now"), half).actions
    assert isinstance(drop, DropSnapshot)
    assert (drop.uid, (POOL, name) in drop.volumes) == ("uid-snap", True)
    going = decided(decide, snapshot("now"), parts)
    assert (going.actions, going.drops, going.gone) == ((), frozenset(PARTS.values()), False)
    assert decided(decide, snapshot("now"), {**READY, (known.STATUS, KEY): status}).gone


def test_no_machine_starts_with_disks_that_are_being_copied() -> None:
    found = decided(decide, snapshot(), {**OFF, (known.JOB, KEY): Job(busy=("TakeSnapshot",))})
    machine = {(known.SNAPSHOTTING, VM): KEY}
    assert found.publish == {(known.READ_BY, key): KEY for key in DISKS.values()} | machine
    assert decided(decide, snapshot(), OFF).publish == machine
