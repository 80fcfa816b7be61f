"""In which volume of which pool a disk lies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core import known
from agent.core.actions import CopyVolume, CreateVolume
from agent.core.host import RawVolume
from agent.core.identity import POOL, disk_volume
from agent.core.jobs import Job
from agent.core.known import Fact
from agent.core.ledger import Record
from agent.core.model import Json, Key, Object
from agent.kinds.exports import ImageData
from agent.kinds.storage_class.decide import ClassData
from agent.kinds.virtual_disk import RECORD, DiskData
from agent.kinds.virtual_disk.decide import decide
from agent.kinds.virtual_disk.volume import first, recorded
from tests.golden.case import NODE
from tests.kinds.deciding import FLEET, READY, condition, decided, made, said

GIB = 1 << 30
UID = "0b5f4f3e-8d1f-4c57-9d0e-6f6f1b9f2a11"
KEY = Key("VirtualDisk", "lab", "disk")
FAST = Key("StorageClass", "", "fast")
NAME = disk_volume(FLEET, KEY, UID)
WHERE = {"pool": "vms", "name": NAME, "format": "qcow2"}
IN_CLASS: Mapping[Fact, Any] = {
    **READY,
    (known.POOL_PATH, (NODE.name, "vms")): "/vms",
    (known.OBJECT, FAST): made(FAST, {}),
    (known.EXPORT, FAST): ClassData("vms"),
}
NOWHERE = replace(made(FAST, {}), deleted="1970-01-01T00:00:00Z")


def disk(its_class: str = "fast") -> Object:
    claim = {"size": "1Gi", "storageClassName": its_class} if its_class else {"size": "1Gi"}
    return replace(made(KEY, {"persistentVolumeClaim": claim}), uid=UID)


def lies(pool: str, **status: Json) -> Mapping[Fact, Any]:
    """A volume in a pool, and what the ledger says of the disk."""
    volume = RawVolume(pool, NAME, f"/{pool}/{NAME}", GIB, 4096)
    return {
        (known.VOLUME, (NODE.name, pool, NAME)): volume,
        (known.DISK_VOLUMES, UID): ((pool, NAME),),
        (known.STATUS, KEY): status,
    }


def test_a_disk_is_made_in_the_pool_of_its_class_and_says_so_before() -> None:
    found = decided(decide, disk(), IN_CLASS)
    assert found.actions == (CreateVolume(NODE.name, "vms", NAME, GIB),)
    assert said(found)["volume"] == WHERE
    record = Record(disk(), said(found))
    assert record.identity == f"{UID} vms {NAME}"  # which has to be written before
    assert list(RECORD.lies(FLEET, record)) == [("vms", NAME)]


def test_a_disk_without_a_class_is_where_all_were_and_says_nothing_of_it() -> None:
    found = decided(decide, disk(""), IN_CLASS)
    assert found.actions == (CreateVolume(NODE.name, POOL, NAME, GIB),)
    assert "volume" not in said(found)
    record = Record(disk(""), said(found))
    assert record.identity == UID
    assert list(RECORD.lies(FLEET, record)) == [(POOL, NAME)]


@pytest.mark.parametrize(
    "its_class",
    [
        {(known.EXPORT, FAST): ClassData("other")},
        {(known.EXPORT, FAST): ClassData("", "a sentence")},
        {(known.OBJECT, FAST): None},
        {(known.OBJECT, FAST): NOWHERE},
    ],
)
def test_a_class_that_changes_or_vanishes_moves_nothing(its_class: Mapping[Fact, Any]) -> None:
    facts = {**IN_CLASS, **its_class, **lies("vms", phase="Ready", volume=WHERE)}
    found = decided(decide, disk(), facts)
    assert found.actions == ()
    assert found.export == DiskData({NODE.name: f"/vms/{NAME}"}, GIB, "vms", NAME, "qcow2")
    assert (said(found)["phase"], said(found)["volume"]) == ("Ready", WHERE)


def test_a_volume_that_the_ledger_does_not_know_any_more_is_found_wherever_it_is() -> None:
    found = decided(decide, disk(), {**IN_CLASS, **lies(POOL)})
    assert found.actions == ()
    assert isinstance(found.export, DiskData)
    assert (found.export.pool, said(found)["phase"]) == (POOL, "Ready")


def test_one_that_was_never_made_follows_its_class() -> None:
    status = {"phase": "Pending", "volume": {**WHERE, "pool": "old"}}
    found = decided(decide, disk(), {**IN_CLASS, (known.STATUS, KEY): status})
    assert found.actions == (CreateVolume(NODE.name, "vms", NAME, GIB),)
    busy: Mapping[Fact, Any] = {(known.JOB, KEY): Job(busy=("CreateVolume",))}
    found = decided(decide, disk(), {**IN_CLASS, (known.STATUS, KEY): status, **busy})
    assert said(found)["volume"]["pool"] == "old"  # it is being made there


def test_a_class_that_cannot_be_used_keeps_a_new_disk_waiting() -> None:
    facts = {**IN_CLASS, (known.EXPORT, FAST): ClassData("", "its pool is not known")}
    found = decided(decide, disk(), facts)
    assert (found.actions, found.export, said(found)["phase"]) == ((), None, "Pending")
    for name, reason in (
        ("Ready", "StorageClassIsNotReady"),
        ("StorageClassReady", "StorageClassNotReady"),
    ):
        told = condition(found, name)
        assert (told.status, told.reason) == ("False", reason)
        assert "its pool is not known" in told.message
    assert "volume" not in said(found)


def test_a_pool_that_is_not_active_keeps_a_new_disk_waiting() -> None:
    facts = {**IN_CLASS, (known.POOL_PATH, (NODE.name, "vms")): None}
    found = decided(decide, disk(), facts)
    assert (found.actions, said(found)["phase"]) == ((), "Pending")
    told = condition(found, "Ready")
    assert told.reason == "StorageClassIsNotReady"
    assert f"Storage pool vms of node {NODE.name} is not there" in told.message
    assert "virsh pool-start vms" in told.message


def test_of_a_disk_in_a_pool_that_is_not_active_nobody_says_that_it_is_lost() -> None:
    ready = {"type": "Ready", "status": "True", "reason": "Ready", "message": ""}
    gone = {**lies("vms", phase="Ready", volume=WHERE, capacity="1Gi", conditions=[ready])}
    for volume in (gone[known.VOLUME, (NODE.name, "vms", NAME)], None):
        gone[known.VOLUME, (NODE.name, "vms", NAME)] = volume
        found = decided(
            decide, disk(), {**IN_CLASS, **gone, (known.POOL_PATH, (NODE.name, "vms")): None}
        )
        assert (found.actions, found.export, found.ok) == ((), None, False)
        told = condition(found, "Ready")
        assert (told.status, told.reason) == ("Unknown", "StorageClassIsNotReady")
        assert "virsh pool-start vms" in told.message
        assert (said(found)["phase"], said(found)["volume"]) == ("Ready", WHERE)


def test_a_lost_volume_is_told_with_its_pool_and_stays_where_it_was() -> None:
    status = {"phase": "Ready", "volume": WHERE, "capacity": "1Gi"}
    found = decided(decide, disk(), {**IN_CLASS, (known.STATUS, KEY): status})
    assert (said(found)["phase"], said(found)["volume"]) == ("PVCLost", WHERE)
    assert "from pool vms" in condition(found, "Ready").message


DEFAULT: Mapping[Fact, Any] = {(known.DEFAULTS, Key("StorageClass", "", "")): (FAST,)}


@pytest.mark.parametrize(
    ("named", "facts", "its_class", "pool"),
    [
        ("", DEFAULT, "fast", "vms"),
        ("", {}, "", POOL),
        ("fast", {}, "fast", "vms"),
    ],
)
def test_a_disk_that_names_no_class_is_made_in_the_default_one(
    named: str, facts: Mapping[Fact, Any], its_class: str, pool: str
) -> None:
    found = decided(decide, disk(named), {**IN_CLASS, **facts})
    assert found.actions == (CreateVolume(NODE.name, pool, NAME, GIB),)
    assert said(found)["storageClassName"] == its_class


@pytest.mark.parametrize(
    ("status", "named", "stays"),
    [
        ({"storageClassName": "old"}, "", "old"),
        ({}, "", ""),  # made when there was no default class
        ({}, "fast", "fast"),  # from before anybody wrote it down
        ({"observedGeneration": 2}, "fast", "fast"),
    ],
)
def test_a_disk_stays_in_the_class_that_it_was_made_in(
    status: Mapping[str, Json], named: str, stays: str
) -> None:
    facts = {**IN_CLASS, **DEFAULT, **lies(POOL, phase="Ready", **status)}
    found = decided(decide, disk(named), facts)
    assert (found.actions, said(found)["storageClassName"]) == ((), stays)


WAITS: Mapping[Fact, Any] = {(known.EXPORT, FAST): ClassData("vms", waits=True)}
VM = Key("VirtualMachine", "lab", "vm")


def test_a_disk_whose_class_waits_is_made_for_its_first_machine() -> None:
    found = decided(decide, disk(), {**IN_CLASS, **WAITS})
    assert (found.actions, found.export, found.waiting) == ((), None, False)
    assert found.ok  # nothing is wrong with it
    assert said(found)["phase"] == "WaitForFirstConsumer"
    ready = condition(found, "Ready")
    assert (ready.status, ready.reason) == ("False", "WaitingForFirstConsumer")
    assert condition(found, "StorageClassReady").status == "True"
    used = decided(decide, disk(), {**IN_CLASS, **WAITS, (known.USERS, KEY): (VM,)})
    assert used.actions == (CreateVolume(NODE.name, "vms", NAME, GIB),)
    there = {**IN_CLASS, **WAITS, **lies("vms", phase="Ready", volume=WHERE)}
    assert said(decided(decide, disk(), there))["phase"] == "Ready"  # the machine has gone


@pytest.mark.parametrize("status", [{"home": "node-2"}, {"nodeName": "node-2"}])
def test_it_is_made_on_the_node_of_that_machine(status: Mapping[str, Json]) -> None:
    other = replace(NODE, name="node-2")
    facts = {
        **IN_CLASS,
        **WAITS,
        (known.NODES, None): (NODE.name, other.name),
        (known.NODE, other.name): other,
        (known.POOL_PATH, (other.name, POOL)): "/pool",
        (known.POOL_PATH, (other.name, "vms")): "/vms",
        (known.USERS, KEY): (VM,),
        (known.STATUS, VM): status,
    }
    found = decided(decide, disk(), facts)
    assert [action.node for action in found.actions] == [other.name]


@pytest.mark.parametrize(("grows", "size", "told"), [(True, "2Gi", False), (False, "2Gi", True)])
def test_a_disk_grows_where_its_class_lets_it(grows: bool, size: str, told: bool) -> None:
    facts = {**IN_CLASS, (known.EXPORT, FAST): ClassData("vms", grows=grows)}
    facts = {**facts, **lies("vms", phase="Ready", volume=WHERE, storageClassName="fast")}
    larger = disk()
    claim = {"size": size, "storageClassName": "fast"}
    content = {"spec": {"persistentVolumeClaim": claim}}
    larger = replace(larger, manifest=replace(larger.manifest, content=content))
    found = decided(decide, larger, facts)
    assert bool(found.actions) is not told
    assert isinstance(found.export, DiskData)
    resizing = condition(found, "Resizing")
    assert (resizing.status == "False") is told
    if told:
        assert "StorageClass fast does not let disks grow" in resizing.message
        assert "allowVolumeExpansion" in resizing.message


IMAGE = Key("VirtualImage", "lab", "image")
FROM_IMAGE = {
    "persistentVolumeClaim": {"size": "1Gi", "storageClassName": "fast"},
    "dataSource": {"type": "ObjectRef", "objectRef": {"kind": IMAGE.kind, "name": IMAGE.name}},
}


@pytest.mark.parametrize(
    ("shared", "kind", "copied"),
    [
        ((), None, ""),
        (("vms",), None, "qcow2"),  # the image is on one of its nodes alone
        (("vms", POOL), None, ""),
        ((), "logical", "raw"),
        ((), "netfs", ""),
    ],
)
def test_a_disk_lies_on_its_image_where_it_can_and_has_a_copy_else(
    shared: tuple[str, ...], kind: str | None, copied: str
) -> None:
    data = ImageData({NODE.name: "/pool/default_image_1.qcow2"}, "qcow2", GIB)
    facts = {
        **IN_CLASS,
        (known.OBJECT, IMAGE): made(IMAGE, {}),
        (known.EXPORT, IMAGE): data,
        (known.SHARED, None): frozenset(shared) or None,
        (known.POOL_TYPE, (NODE.name, "vms")): kind,
    }
    (action,) = decided(decide, replace(made(KEY, FROM_IMAGE), uid=UID), facts).actions
    assert isinstance(action, CopyVolume if copied else CreateVolume)
    assert action.pool == "vms"
    if isinstance(action, CopyVolume):
        assert (action.source_pool, action.source) == (POOL, "default_image_1.qcow2")
        assert (action.format, action.source_format) == (copied, "qcow2")
        assert action.name.endswith(copied)


def test_a_pool_of_a_type_that_holds_no_disks_says_so() -> None:
    found = decided(decide, disk(), {**IN_CLASS, (known.POOL_TYPE, (NODE.name, "vms")): "iscsi"})
    assert (found.actions, said(found)["phase"]) == ((), "Pending")
    message = condition(found, "Ready").message
    assert "Storage pool vms of node" in message
    assert "is of type iscsi" in message


def test_what_is_remembered_is_read_as_it_was_told() -> None:
    moved = replace(first(FLEET, KEY, UID), pool="vms", name="x.2.raw", format="raw")
    assert recorded(FLEET, KEY, UID, moved.told(FLEET, KEY, UID)) == moved
    assert recorded(FLEET, KEY, UID, {}) == first(FLEET, KEY, UID)
    assert first(FLEET, KEY, UID).told(FLEET, KEY, UID) == {}


def test_a_plan_knows_the_pool_of_what_is_there() -> None:
    record = Record(disk(), {"phase": "Ready", "capacity": "1Gi", "volume": WHERE})
    assert list(RECORD.volumes(FLEET, record)) == [("vms", NAME, GIB, 1)]
