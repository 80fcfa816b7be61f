"""Whether an attachment may be, and how far it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from agent.core import known
from agent.core.facts import Decision
from agent.core.known import Fact
from agent.core.model import Key, Object
from agent.core.progress import Plugged
from agent.kinds.virtual_disk import DiskData
from agent.kinds.virtual_image import ImageData
from agent.kinds.virtual_machine_block_device_attachment import MOST_DEVICES, Wish
from agent.kinds.virtual_machine_block_device_attachment.decide import decide
from tests.golden.case import NODE
from tests.kinds.deciding import PATH, READY, condition, decided, made, said

KIND = "VirtualMachineBlockDeviceAttachment"
DISK, IMAGE = Key("VirtualDisk", "ns", "data"), Key("VirtualImage", "ns", "iso")
VM = Key("VirtualMachine", "ns", "vm")
Facts = Mapping[Fact, Any]


def attachment(name: str = "plug", device: Key = DISK, deleted: str = "") -> Object:
    spec = {
        "blockDeviceRef": {"kind": device.kind, "name": device.name},
        "virtualMachineName": VM.name,
    }
    return made(Key(KIND, "ns", name), spec, deleted)


def machine(*listed: str, **spec: Any) -> Object:
    refs = [{"kind": "VirtualDisk", "name": name} for name in listed]
    return made(VM, {"blockDeviceRefs": refs, "enableParavirtualization": True, **spec})


ONE, OTHER = attachment(), attachment("other")
FILE = {NODE.name: f"{PATH}/data"}
THERE: Facts = {
    **READY,
    (known.OBJECT, VM): machine("root"),
    (known.STATUS, VM): {"phase": "Running"},
    (known.OBJECT, ONE.key): ONE,
    (known.ATTACHMENTS, VM): (ONE.key,),
    (known.USERS, DISK): (ONE.key,),
    (known.OBJECT, DISK): made(DISK, {}),
    (known.EXPORT, DISK): DiskData(FILE, 1),
}
"""A machine that runs and a disk that is ready."""
BOTH: Facts = {
    **THERE,
    (known.OBJECT, OTHER.key): OTHER,
    (known.ATTACHMENTS, VM): (ONE.key, OTHER.key),
    (known.USERS, DISK): (ONE.key, OTHER.key),
}


def of(facts: Facts, obj: Object = ONE) -> Decision:
    return decided(decide, obj, facts)


def without(facts: Facts, *left: Fact) -> Facts:
    return {fact: value for fact, value in facts.items() if fact not in left}


def test_what_may_be_is_wished_for_and_said_to_be_on_its_way() -> None:
    found = of(THERE)
    assert found.export == Wish(DISK)
    assert said(found)["phase"] == "InProgress"
    assert condition(found, "Attached").reason == "AttachmentRequestSent"
    assert found.waiting
    assert found.publish == {(known.MACHINE_OF, ONE.key): VM}


def test_what_the_instance_has_is_attached_to_it() -> None:
    found = of({**THERE, (known.PLUGGED, ONE.key): Plugged(present=True, on=True)})
    assert said(found)["phase"] == "Attached"
    assert said(found)["virtualMachineName"] == "vm"
    assert condition(found, "Attached").status == "True"
    assert found.ok
    assert not found.waiting


@pytest.mark.parametrize(
    ("facts", "kind", "message"),
    [
        (
            without(THERE, (known.EXPORT, DISK), (known.OBJECT, DISK)),
            "BlockDeviceReady",
            "VirtualDisk ns/data is not there: it is attached as soon as it is.",
        ),
        (
            without(THERE, (known.EXPORT, DISK)),
            "BlockDeviceReady",
            "VirtualDisk ns/data is not ready yet: see its conditions.",
        ),
        (
            without(THERE, (known.OBJECT, VM)),
            "VirtualMachineReady",
            "VirtualMachine ns/vm is not there: VirtualDisk ns/data is attached once it runs.",
        ),
        (
            {**THERE, (known.STATUS, VM): {"phase": "Stopped"}},
            "VirtualMachineReady",
            "VirtualMachine ns/vm is Stopped: VirtualDisk ns/data is attached once it runs.",
        ),
    ],
)
def test_what_it_waits_for_is_told_and_wished_for_all_the_same(
    facts: Facts, kind: str, message: str
) -> None:
    found = of(facts)
    assert said(found)["phase"] == "Pending"
    assert condition(found, kind).status == "False"
    assert condition(found, kind).message == message
    assert condition(found, "Attached").message == message
    assert "virtualMachineName" not in said(found)
    assert found.export == Wish(DISK)
    assert not found.ok


@pytest.mark.parametrize("phase", ["Running", "Migrating"])
def test_it_is_attached_in_these_phases(phase: str) -> None:
    assert said(of({**THERE, (known.STATUS, VM): {"phase": phase}}))["phase"] == "InProgress"


@pytest.mark.parametrize(
    ("vm", "reason", "message"),
    [
        (machine("root", "data"), "Conflict", "in its spec.blockDeviceRefs: it has it already"),
        (machine("root", osType="Legacy"), "NotAttached", "takes no devices while it runs"),
        (
            machine("root", enableParavirtualization=False),
            "NotAttached",
            "takes no devices while it runs",
        ),
    ],
)
def test_what_cannot_be_fails_and_is_not_wished_for(vm: Object, reason: str, message: str) -> None:
    found = of({**THERE, (known.OBJECT, VM): vm})
    assert said(found)["phase"] == "Failed"
    assert condition(found, "Attached").reason == reason
    assert message in condition(found, "Attached").message
    assert found.export is None


@pytest.mark.parametrize(
    ("facts", "first"),
    [
        (BOTH, OTHER),
        ({**BOTH, (known.STATUS, ONE.key): {"phase": "Pending"}}, ONE),
        ({**BOTH, (known.STATUS, ONE.key): {"phase": "Failed"}}, OTHER),
        (
            {
                **BOTH,
                (known.STATUS, OTHER.key): {"phase": "Attached"},
                (known.PLUGGED, ONE.key): Plugged(present=True, on=True),
            },
            ONE,
        ),
    ],
    ids=["name", "known", "failed", "plugged"],
)
def test_one_of_two_has_the_disk(facts: Facts, first: Object) -> None:
    second = OTHER if first is ONE else ONE
    assert of(facts, first).export == Wish(DISK)
    lost = of(facts, second)
    assert said(lost)["phase"] == "Failed"
    assert condition(lost, "Attached").reason == "Conflict"
    assert str(first.key) in condition(lost, "Attached").message
    assert lost.export is None


def test_what_else_is_made_from_a_disk_is_in_nobodys_way() -> None:
    facts = {**THERE, (known.USERS, DISK): (IMAGE, ONE.key), (known.OBJECT, IMAGE): made(IMAGE, {})}
    assert said(of(facts))["phase"] == "InProgress"


def test_one_that_goes_is_in_nobodys_way() -> None:
    going = attachment("other", deleted="1970-01-01T00:00:00Z")
    assert of({**BOTH, (known.OBJECT, OTHER.key): going}).export == Wish(DISK)


def test_an_image_can_be_attached_by_many() -> None:
    one, other = attachment("one", IMAGE), attachment("other", IMAGE)
    facts = {
        **THERE,
        (known.OBJECT, one.key): one,
        (known.OBJECT, other.key): other,
        (known.USERS, IMAGE): (one.key, other.key),
        (known.ATTACHMENTS, VM): (one.key, other.key),
        (known.OBJECT, IMAGE): made(IMAGE, {}),
        (known.EXPORT, IMAGE): ImageData(FILE, "iso", 1),
    }
    assert [of(facts, each).export for each in (one, other)] == [Wish(IMAGE)] * 2


def test_a_machine_has_room_for_sixteen() -> None:
    listed = machine(*(f"d{at}" for at in range(MOST_DEVICES - 1)))
    more = attachment("other", Key("VirtualDisk", "ns", "more"))
    facts = {**BOTH, (known.OBJECT, VM): listed, (known.OBJECT, OTHER.key): more}
    facts |= {(known.USERS, DISK): (ONE.key,), (known.STATUS, ONE.key): {"phase": "Pending"}}
    assert of(facts).export == Wish(DISK)
    device = Key("VirtualDisk", "ns", "more")
    facts |= {(known.EXPORT, device): DiskData(FILE, 1), (known.OBJECT, device): made(device, {})}
    full = of(facts, more)
    assert said(full)["phase"] == "Pending"
    told = condition(full, "DiskAttachmentCapacityAvailableType")
    assert (told.status, told.reason) == ("False", "CapacityReached")
    assert "16 devices" in condition(full, "Attached").message
    assert full.export is None
    has = {**facts, (known.PLUGGED, more.key): Plugged(present=True, on=True)}
    assert of(has, more).export == Wish(device), "what it has stays"


def test_nobody_can_tell_of_the_room_of_a_machine_that_is_not_there() -> None:
    found = of(without(THERE, (known.OBJECT, VM)))
    assert condition(found, "DiskAttachmentCapacityAvailableType").reason == "CapacityUnknown"


def test_what_is_in_the_way_is_told() -> None:
    why = "VirtualDisk data cannot be attached: no."
    found = of({**THERE, (known.PLUGGED, ONE.key): Plugged(present=False, on=True, hindrance=why)})
    assert condition(found, "Attached").message == why
    assert not found.waiting


GOING = attachment(deleted="1970-01-01T00:00:00Z")
ONCE: Fact = (known.STATUS, ONE.key)


@pytest.mark.parametrize(
    ("plugged", "before", "gone"),
    [
        (Plugged(present=False, on=True), "vm", True),
        (Plugged(present=True, on=True), "vm", False),
        (None, "vm", False),
        (None, "", True),
    ],
)
def test_it_goes_once_the_instance_does_not_have_it(
    plugged: Plugged | None, before: str, gone: bool
) -> None:
    facts = {**THERE, ONCE: {"phase": "Attached", "virtualMachineName": before}}
    if plugged is not None:
        facts[known.PLUGGED, ONE.key] = plugged
    found = of(facts, GOING)
    assert found.gone is gone
    assert said(found)["phase"] == "Terminating"
    assert found.export is None
    if not gone:
        assert condition(found, "Terminating").reason == "DetachPending"


def test_it_goes_with_its_machine() -> None:
    facts = {**THERE, ONCE: {"phase": "Attached", "virtualMachineName": "vm"}}
    assert of(without(facts, (known.OBJECT, VM)), GOING).gone
