"""What a machine needs before it can start, and what is said of what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from agent.core.facts import View
from agent.core.identity import serial
from agent.core.known import (
    ATTACHED,
    ELSEWHERE,
    EXPORT,
    LEAVING,
    OBJECT,
    UNDER_WAY,
    USERS,
    Fact,
)
from agent.core.model import Condition, Key, Object
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_image import ImageData
from agent.kinds.virtual_machine.defaults import CLASS
from agent.kinds.virtual_machine.dependencies import (
    NO_CLASS,
    Dependencies,
    all_there,
    blocked,
    dependencies,
    disks,
)
from agent.kinds.virtual_machine.networks import Cabling
from agent.kinds.virtual_machine.wanted import Device, Tuning
from agent.kinds.virtual_machine_class import ClassData, GuestCpu
from tests.golden.case import NODE as HOST
from tests.kinds.deciding import READY, made, place_of, view_of
from tests.kinds.virtual_machine.test_deeds import KEY
from tests.kinds.virtual_machine.test_intent import SPEC

CABLING = Cabling(KEY, "default", HOST, {})

HOST_CLASS = Key("VirtualMachineClass", "", "host")
ROOT, DATA = (Key("VirtualDisk", "default", name) for name in ("root", "data"))
ISO, IMAGE = (Key("VirtualImage", "default", name) for name in ("iso", "image"))
SHARED = Key("ClusterVirtualImage", "", "shared")
OTHER = Key("VirtualMachine", "default", "other")
CPU = GuestCpu("host-model")
GIB = 1 << 30
NAME = place_of().name
EXPORTS: Mapping[Key, Any] = {
    HOST_CLASS: ClassData({NAME: CPU}, ()),
    ROOT: DiskData({NAME: "/pool/root"}, GIB),
    DATA: DiskData({NAME: "/pool/data"}, 2 * GIB),
    ISO: ImageData({NAME: "/pool/iso"}, "iso", GIB),
    IMAGE: ImageData({NAME: "/pool/image"}, "qcow2", GIB),
    SHARED: ImageData({NAME: "/pool/shared"}, "raw", 3 * GIB),
}
THERE: Mapping[Fact, Any] = {
    **READY,
    **{(OBJECT, key): made(key, {}) for key in EXPORTS},
    **{(EXPORT, key): data for key, data in EXPORTS.items()},
}
DELETED = "2023-11-14T22:13:20Z"


def vm(*refs: Any, **spec: Any) -> Object:
    """With these devices: a key, or a key and its place in the boot order."""
    pairs = [each if isinstance(each[0], Key) else (each, 0) for each in refs]
    listed = [
        {"kind": key.kind, "name": key.name, **({"bootOrder": boot} if boot else {})}
        for key, boot in pairs
    ]
    return made(KEY, {**SPEC, "blockDeviceRefs": listed, **spec})


def needs(obj: Object, facts: Mapping[Fact, Any] | None = None) -> Dependencies:
    return dependencies(obj, view(facts), place_of(), CABLING)


def view(facts: Mapping[Fact, Any] | None = None) -> View:
    return view_of({**THERE, **(facts or {})})


def told(found: Dependencies, name: str) -> Condition:
    (condition,) = [each for each in found.conditions if each.type == name]
    return condition


def device(key: Key, boot: int, **what: Any) -> Device:
    data = EXPORTS[key]
    image_format = data.driver if isinstance(data, ImageData) else "qcow2"
    if isinstance(data, DiskData):
        what["tuning"] = Tuning(detect_zeroes="unmap")
    return Device(data.paths[NAME], image_format, serial(f"uid-{key.name}"), boot=boot, **what)


def test_all_that_is_there_is_found() -> None:
    found = needs(vm(ROOT, ISO, IMAGE, SHARED))
    assert (found.ready, found.waiting, found.shortage, found.cpu) == (True, False, "", CPU)
    assert found.devices == (
        device(ROOT, 1),
        device(ISO, 2, readonly=True, cdrom=True),
        device(IMAGE, 3, readonly=True),
        device(SHARED, 4, readonly=True),
    )
    assert [size // GIB for _, _, size in found.listed] == [1, 1, 1, 3]
    assert found.claims == (ROOT,)
    assert {each.status for each in found.conditions} == {"True"}


@pytest.mark.parametrize(
    ("refs", "boots"),
    [((ROOT, DATA), [1, 2]), (((ROOT, 2), DATA), [2, 0]), ((ROOT, (DATA, 1)), [0, 1])],
)
def test_devices_boot_as_they_stand_unless_one_says_otherwise(
    refs: tuple[Any, ...], boots: list[int]
) -> None:
    assert [each.boot for each in needs(vm(*refs)).devices] == boots


@pytest.mark.parametrize(
    ("facts", "sentence", "waiting"),
    [
        ({(OBJECT, ROOT): None}, "is not there", False),
        ({(OBJECT, ROOT): None, (EXPORT, ROOT): None}, "is not there", False),
        ({(EXPORT, ROOT): None}, "is not ready yet", False),
        ({(EXPORT, ROOT): None, (UNDER_WAY, ROOT): True}, "is not ready yet", True),
        ({(EXPORT, ROOT): None, (OBJECT, ROOT): made(ROOT, {}, DELETED)}, "is being deleted", False),
        # what is still in use while it goes can be used
        ({(OBJECT, ROOT): made(ROOT, {}, DELETED)}, "", False),
        # what others have open
        ({(USERS, ROOT): (KEY, OTHER)}, "", False),
        ({(USERS, ROOT): (KEY, OTHER), (ATTACHED, (ROOT, OTHER)): True}, f"is in use by {OTHER}", False),
        ({(USERS, ROOT): (OTHER, KEY), (ATTACHED, (ROOT, KEY)): True}, "", False),
        ({(LEAVING, ROOT): OTHER, (ATTACHED, (ROOT, OTHER)): True}, f"is in use by {OTHER}", False),
        ({(USERS, ROOT): (KEY, OTHER), (ELSEWHERE, (ROOT, OTHER)): "/x"}, f"lies on /x in {OTHER}", False),
        ({(USERS, ROOT): (KEY,), (ELSEWHERE, (ROOT, KEY)): "/x"}, "", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("more", [(), (DATA,)])
def test_a_disk_that_cannot_be_had_is_told_of(
    facts: Mapping[Fact, Any], sentence: str, waiting: bool, more: tuple[Key, ...]
) -> None:
    found = needs(vm(ROOT, *more), facts)
    condition = told(found, "BlockDevicesReady")
    assert found.ready is (condition.status == "True") is (not sentence)
    assert found.waiting is waiting
    reason = (
        "WaitingForTheProvisioningToPersistentVolumeClaim" if waiting else "BlockDevicesNotReady"
    )
    assert condition.reason == (reason if sentence else "BlockDevicesReady")
    assert sentence in condition.message
    if sentence:
        assert condition.message.startswith(str(ROOT))
        assert ("block devices are ready" in condition.message) is bool(more)
        assert ("(1 of 2 block" in condition.message) is bool(more)
        assert [each.path for each in found.devices] == ["/pool/data"] * len(more)
    assert all_there(vm(ROOT), vm(ROOT, *more).spec, view(facts), place_of()) is not bool(sentence)


@pytest.mark.parametrize("under_way", [(), (ROOT,), (DATA,), (ROOT, DATA)])
def test_a_machine_waits_where_all_that_is_missing_is_on_its_way(
    under_way: tuple[Key, ...],
) -> None:
    missing = {(EXPORT, key): None for key in (ROOT, DATA)}
    found = needs(vm(ROOT, DATA), missing | {(UNDER_WAY, key): True for key in under_way})
    assert found.waiting is (len(under_way) == 2)
    assert told(found, "BlockDevicesReady").message.startswith(str(ROOT))


@pytest.mark.parametrize("virtio", [True, False])
@pytest.mark.parametrize(("key", "cdrom"), [(ISO, True), (IMAGE, False)])
def test_an_image_takes_a_bus_on_which_it_can_be_read_only(
    virtio: bool, key: Key, cdrom: bool
) -> None:
    found = needs(vm(key, enableParavirtualization=virtio))
    assert found.ready is (virtio or cdrom)
    assert not found.waiting
    assert ("no CD-ROM image" in told(found, "BlockDevicesReady").message) is not found.ready


@pytest.mark.parametrize(
    ("system", "count", "ready"), [("Legacy", 4, True), ("Legacy", 5, False), ("Generic", 5, True)]
)
@pytest.mark.parametrize("missing", [False, True])
def test_legacy_guests_have_room_for_few_cdroms(
    system: str, count: int, ready: bool, missing: bool
) -> None:
    facts: dict[Fact, Any] = {(EXPORT, ROOT): None, (UNDER_WAY, ROOT): True} if missing else {}
    found = needs(vm(*[ISO] * count, IMAGE, ROOT, osType=system), facts)
    assert found.ready is (ready and not missing)
    assert found.waiting is (ready and missing)


@pytest.mark.parametrize(
    ("name", "facts", "sentence"),
    [
        ("", {}, NO_CLASS),
        ("host", {(EXPORT, HOST_CLASS): None}, "is not ready"),
        ("host", {(EXPORT, HOST_CLASS): None, (OBJECT, HOST_CLASS): None}, "is not there"),
        ("host", {(EXPORT, HOST_CLASS): None, (OBJECT, HOST_CLASS): made(HOST_CLASS, {}, DELETED)}, "is being deleted"),
        ("host", {(OBJECT, HOST_CLASS): made(HOST_CLASS, {}, DELETED)}, ""),
        ("host", {}, ""),
    ],
)  # fmt: skip
def test_a_class_that_cannot_be_had_is_told_of(
    name: str, facts: Mapping[Fact, Any], sentence: str
) -> None:
    found = needs(vm(ROOT, **{CLASS: name}), facts)
    condition = told(found, "VirtualMachineClassReady")
    assert found.ready is (condition.status == "True") is (found.cpu is not None) is (not sentence)
    assert sentence in condition.message
    other = "is being deleted" if "not" in sentence else "is not"
    assert sentence == NO_CLASS or other not in condition.message
    assert not found.waiting


SMALL = {"cores": {"min": 1, "max": 1}}
BIG = {"cores": {"min": 2, "max": 8}, "coreFractions": [100], "memory": {"max": "1Gi"}}


@pytest.mark.parametrize(
    ("policy", "spec", "fits"),
    [
        (BIG, {}, True),
        (SMALL, {}, False),
        (BIG, {"memory": {"size": "2Gi"}}, False),
        (BIG, {"cpu": {"cores": 2, "coreFraction": "50%"}}, False),
    ],
)
def test_a_size_that_the_class_does_not_allow_keeps_a_machine_off(
    policy: Any, spec: Mapping[str, Any], fits: bool
) -> None:
    found = needs(vm(ROOT, **spec), {(EXPORT, HOST_CLASS): ClassData({NAME: CPU}, (policy,))})
    wrong = [each for each in found.conditions if each.type == "SizingPolicyMatched"]
    assert (found.ready, wrong == [], found.cpu) == (fits, fits, CPU)


@pytest.mark.parametrize(("memory", "ready"), [(GIB + 1, True), (GIB, True), (GIB - 1, False)])
def test_a_machine_that_its_node_is_too_small_for_is_not_ready(memory: int, ready: bool) -> None:
    at = place_of(replace(HOST, memory=memory))
    found = dependencies(vm(ROOT), view(), at, CABLING)
    assert (found.ready, found.shortage == "") == (ready, ready)


def test_what_a_guest_configures_itself_from_has_to_be_there() -> None:
    told_how = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "missing"}}
    found = needs(vm(ROOT, provisioning=told_how))
    assert (found.ready, found.medium) == (False, None)
    assert told(found, "ProvisioningReady").status == "False"


def test_devices_that_cannot_be_used_are_told_of_in_their_condition_alone() -> None:
    before = needs(vm(ROOT), {(EXPORT, ROOT): None, (UNDER_WAY, ROOT): True})
    found = blocked(before, "Merge it first.")
    assert (found.ready, found.waiting) == (False, False)
    assert told(found, "BlockDevicesReady").message == "Merge it first."
    others = [each for each in before.conditions if each.type != "BlockDevicesReady"]
    assert [each for each in found.conditions if each.type != "BlockDevicesReady"] == others


def test_the_disks_of_a_spec_are_its_virtual_disks() -> None:
    assert disks(vm(), vm(ROOT, ISO, SHARED, DATA).spec) == (ROOT, DATA)
    assert disks(vm(), {}) == ()
