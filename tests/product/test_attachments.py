"""Disks and images that are attached to a running machine, and taken from it."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from agent.core.domain_text import DomainText
from agent.core.domain_xml import parse
from agent.core.identity import serial
from agent.images.seed import nocloud
from agent.kinds.virtual_machine.definition import read
from tests.images.server import Faulty, serve
from tests.plans import planned
from tests.rig import Rig, condition, disk, machine, manifest

KIND = "VirtualMachineBlockDeviceAttachment"


def attachment(
    name: str = "plug", device: str = "data", vm: str = "vm", kind: str = "VirtualDisk"
) -> dict[str, Any]:
    spec = {"blockDeviceRef": {"kind": kind, "name": device}, "virtualMachineName": vm}
    return manifest(KIND, name, spec)


def told(rig: Rig, name: str = "plug") -> dict[str, Any]:
    path = f"namespaces/default/virtualmachineblockdeviceattachments/{name}.yaml"
    found: dict[str, Any] = rig.document(path)
    return found


def phase(rig: Rig, name: str = "plug") -> str:
    found: str = told(rig, name)["status"]["phase"]
    return found


def number(rig: Rig, name: str = "data") -> str:
    path = f"namespaces/default/virtualdisks/{name}.yaml"
    return serial(rig.document(path)["metadata"]["uid"])


def units(rig: Rig, name: str = "vm", *, live: bool = True) -> dict[str, int]:
    """Place of each disk, by serial number."""
    raw = rig.host._domains[rig.uuid(name)]
    xml = raw.active_xml if live else raw.inactive_xml
    return {each.serial: each.unit for each in read(DomainText(xml)).disks.disks} if xml else {}


@pytest.fixture
def on(rig: Rig) -> Rig:
    """A machine that runs, and a disk that it does not have."""
    rig.push({"vm.yaml": [disk(), machine()], "data.yaml": disk("data")})
    rig.settle()
    rig.verbs()
    return rig


@pytest.fixture
def plugged(on: Rig) -> Rig:
    on.push({"plug.yaml": attachment()})
    on.settle()
    on.verbs()
    return on


@pytest.mark.promise("S186", "S194", "S195", "S197", "S200", "S204")
def test_a_disk_is_attached_to_what_runs_and_to_what_is_started_next(on: Rig) -> None:
    on.push({"plug.yaml": attachment()})
    on.settle()
    assert on.verbs() == ["define", "set_live_metadata", "attach_device"]
    assert phase(on) == "Attached"
    assert told(on)["status"]["virtualMachineName"] == "vm"
    assert condition(told(on), "Attached")["status"] == "True"
    for live in (True, False):
        assert units(on, live=live)[number(on)] == 17
    item = on.vm()["status"]["blockDeviceRefs"][1]
    assert item == {
        "attached": True,
        "hotplugged": True,
        "kind": "VirtualDisk",
        "name": "data",
        "size": "1Gi",
        "target": "sdr",
        "virtualMachineBlockDeviceAttachmentName": "plug",
    }
    assert not on.vm()["status"].get("restartAwaitingChanges")
    assert not condition(on.vm(), "DriftDetected")


@pytest.mark.promise("S194", "S207")
def test_it_is_detached_when_its_manifest_goes(plugged: Rig) -> None:
    uid = number(plugged)
    plugged.push({"plug.yaml": None})
    plugged.settle()
    assert plugged.verbs() == ["define", "detach_device", "set_live_metadata"]
    assert uid not in {**units(plugged), **units(plugged, live=False)}
    assert not [path for path in plugged.documents() if "attachments" in path]
    assert len(plugged.vm()["status"]["blockDeviceRefs"]) == 1
    assert not condition(plugged.vm(), "DriftDetected")


def test_any_start_by_anybody_has_it(plugged: Rig) -> None:
    plugged.host.crash(plugged.uuid())
    plugged.settle()
    assert phase(plugged) == "Attached"
    assert units(plugged)[number(plugged)] == 17
    assert "attach_device" not in plugged.verbs()


def test_what_somebody_takes_away_by_hand_comes_back(plugged: Rig) -> None:
    plugged.host.detach_device(plugged.uuid(), number(plugged))
    plugged.settle()
    assert units(plugged)[number(plugged)] == 17
    assert phase(plugged) == "Attached"


def test_a_mounted_disk_is_not_taken_from_its_guest(plugged: Rig) -> None:
    uid = number(plugged)
    plugged.host.mounts[plugged.uuid()] = frozenset({uid})
    plugged.push({"plug.yaml": None, "more.yaml": [disk("more"), attachment("other", "more")]})
    plugged.settle(steps=30)
    assert uid in units(plugged)
    assert phase(plugged) == "Terminating"
    assert "is mounted in the guest" in condition(told(plugged), "Terminating")["message"]
    assert phase(plugged, "other") == "Attached"
    plugged.host.mounts.clear()
    plugged.now += 400
    plugged.settle()
    assert uid not in units(plugged)


def test_a_disk_stays_while_the_guests_agent_does_not_say_whether_it_is_mounted(
    plugged: Rig,
) -> None:
    uid = number(plugged)

    def connected(root: etree._Element) -> None:
        (target,) = root.findall("devices/channel/target[@name='org.qemu.guest_agent.0']")
        target.set("state", "connected")

    plugged.host.edit(plugged.uuid(), connected, live=True)
    plugged.push({"plug.yaml": None})
    plugged.settle(steps=30)
    assert uid in units(plugged)
    assert "does not say whether" in condition(told(plugged), "Terminating")["message"]
    plugged.host.mounts[plugged.uuid()] = frozenset()
    plugged.now += 400
    plugged.settle()
    assert uid not in units(plugged)


def test_a_mounted_disk_goes_where_somebody_says_so(plugged: Rig) -> None:
    uid = number(plugged)
    plugged.host.mounts[plugged.uuid()] = frozenset({uid})
    vm = machine()
    vm["metadata"]["annotations"] = {"gitvirt.io/force-detach": "plug"}
    plugged.push({"plug.yaml": None, "vm.yaml": [disk(), vm]})
    plugged.settle()
    assert uid not in units(plugged)


@pytest.mark.promise("S198", "S201")
def test_it_waits_for_the_machine_to_run(rig: Rig) -> None:
    off = machine(runPolicy="AlwaysOff")
    rig.push({"vm.yaml": [disk(), off], "data.yaml": [disk("data"), attachment()]})
    rig.settle()
    assert phase(rig) == "Pending"
    assert "virtualMachineName" not in told(rig)["status"]
    message = condition(told(rig), "VirtualMachineReady")["message"]
    assert (
        message
        == "VirtualMachine default/vm is Stopped: VirtualDisk default/data is attached once it runs."
    )
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    assert phase(rig) == "Attached"
    assert "attach_device" not in rig.verbs()


def test_of_two_attachments_of_one_disk_the_later_fails_until_the_first_is_gone(
    plugged: Rig,
) -> None:
    plugged.push({"again.yaml": attachment("again")})
    plugged.settle()
    assert phase(plugged, "again") == "Failed"
    told_why = condition(told(plugged, "again"), "Attached")
    assert told_why["reason"] == "Conflict"
    assert f"{KIND} default/plug" in told_why["message"]
    assert phase(plugged) == "Attached"
    plugged.push({"plug.yaml": None})
    plugged.settle()
    assert phase(plugged, "again") == "Attached"


def test_a_disk_of_the_spec_is_not_attached_a_second_time(on: Rig) -> None:
    on.push({"plug.yaml": attachment(device="root")})
    on.settle()
    assert phase(on) == "Failed"
    assert condition(told(on), "Attached")["reason"] == "Conflict"
    assert on.verbs() == []


def test_a_disk_that_is_attached_is_opened_by_nobody_else_and_stays(plugged: Rig) -> None:
    plugged.push({"thief.yaml": machine("thief", disks=("data",)), "data.yaml": None})
    plugged.settle()
    assert not plugged.running("thief")
    why = condition(plugged.vm("thief"), "BlockDevicesReady")["message"]
    assert "in use by VirtualMachine default/vm" in why or "being deleted" in why
    document = plugged.document("namespaces/default/virtualdisks/data.yaml")
    assert document["status"]["phase"] == "Terminating"
    assert number(plugged) in units(plugged)


@pytest.mark.promise("S208", "S209")
@pytest.mark.parametrize("kind", ["VirtualImage", "ClusterVirtualImage"])
@pytest.mark.parametrize(("path", "device"), [("/tools.iso", "cdrom"), ("/base.img", "disk")])
def test_an_image_is_attached_read_only(on: Rig, kind: str, path: str, device: str) -> None:
    with Faulty() as server:
        server.routes["/tools.iso"] = serve(nocloud({}, ""))
        server.routes["/base.img"] = serve(bytes(510) + b"\x55\xaa" + bytes(1024**2))
        spec: dict[str, Any] = {"dataSource": {"type": "HTTP", "http": {"url": server.url(path)}}}
        if kind == "VirtualImage":
            spec["storage"] = "ContainerRegistry"
        plug = attachment(device="tools", kind=kind)
        on.push({"image.yaml": manifest(kind, "tools", spec), "plug.yaml": plug})
        on.settle()
    assert phase(on) == "Attached"
    raw = on.host._domains[on.uuid()]
    disks = parse(raw.active_xml).findall("devices/disk")
    assert [each.get("device") for each in disks] == ["disk", device]
    assert disks[1].find("readonly") is not None
    on.push({"plug.yaml": None})
    on.settle()
    assert len(parse(on.host._domains[on.uuid()].active_xml).findall("devices/disk")) == 1


def test_sixteen_devices_are_as_many_as_there_can_be(on: Rig) -> None:
    names = [f"d{at:02}" for at in range(16)]
    on.push({f"{name}.yaml": [disk(name), attachment(name, name)] for name in names})
    on.settle()
    phases = [phase(on, name) for name in names]
    assert sorted(phases) == ["Attached"] * 15 + ["Pending"]
    full = names[phases.index("Pending")]
    assert condition(told(on, full), "DiskAttachmentCapacityAvailableType")["reason"] == (
        "CapacityReached"
    )
    first = names[phases.index("Attached")]
    on.push({f"{first}.yaml": disk(first)})
    on.settle()
    assert phase(on, full) == "Attached"


@pytest.mark.parametrize(
    "spec", [{"enableParavirtualization": False}, {"osType": "Legacy"}], ids=["SATA", "Legacy"]
)
def test_a_machine_without_a_bus_for_it_says_so(rig: Rig, spec: dict[str, Any]) -> None:
    rig.push({"vm.yaml": [disk(), machine(**spec)], "data.yaml": [disk("data"), attachment()]})
    rig.settle()
    assert phase(rig) == "Failed"
    assert "spec.blockDeviceRefs instead" in condition(told(rig), "Attached")["message"]
    assert "attach_device" not in rig.verbs()


def test_a_deleted_machine_takes_its_attachment_with_it_and_leaves_the_disk(plugged: Rig) -> None:
    plugged.push({"vm.yaml": disk()})
    plugged.settle()
    assert phase(plugged) == "Pending"
    assert "is not there" in condition(told(plugged), "VirtualMachineReady")["message"]
    assert condition(told(plugged), "BlockDeviceReady")["status"] == "True"


def test_what_is_attached_cannot_be_changed(plugged: Rig) -> None:
    plugged.push({"more.yaml": disk("more"), "plug.yaml": attachment(device="more")})
    plugged.settle()
    assert told(plugged)["spec"]["blockDeviceRef"]["name"] == "data"
    assert units(plugged).get(number(plugged)) == 17


@pytest.mark.promise("S199", "S201")
def test_an_attach_that_fails_is_told_and_tried_again(on: Rig) -> None:
    on.host.edit(
        on.uuid(),
        lambda root: root.find("devices").append(  # type: ignore[union-attr]
            parse(
                "<disk type='file' device='disk'><source file='/x'/><target dev='sdr' bus='scsi'/></disk>"
            )
        ),
        live=True,
    )
    on.settle()
    on.push({"plug.yaml": attachment()})
    on.settle(steps=20)
    assert phase(on) == "InProgress"
    assert "duplicated" in condition(told(on), "Attached")["message"]
    assert on.vm()["status"]["phase"] == "Running"


@pytest.mark.parametrize("live", [False, True])
def test_a_plan_says_what_would_be_done(on: Rig, live: bool) -> None:
    found = planned(on, {"plug.yaml": attachment()}, live=live)
    assert found.names == {"plug": "create", "vm": "act"}
    assert "AttachDevice" in found["vm"].actions


@pytest.mark.parametrize("live", [False, True])
def test_there_is_nothing_to_do_where_it_is_attached(plugged: Rig, live: bool) -> None:
    assert planned(plugged, live=live).report.empty


def test_what_the_spec_lists_by_now_stays_without_its_attachment(plugged: Rig) -> None:
    uid = number(plugged)
    plugged.push({"vm.yaml": [disk(), machine(disks=("root", "data"))], "plug.yaml": None})
    plugged.settle()
    assert uid in units(plugged)
    assert "detach_device" not in plugged.verbs()
    assert not [path for path in plugged.documents() if "attachments" in path]
    items = plugged.vm()["status"]["blockDeviceRefs"]
    assert [(item["name"], item["attached"]) for item in items] == [("root", True), ("data", True)]
    assert "hotplugged" not in items[1]
    plugged.push({"vm.yaml": [disk(), machine()]})
    plugged.settle()
    assert uid not in units(plugged), "nobody asks for it any more"


def test_a_machine_that_is_to_lose_its_bus_keeps_the_disk_until_it_is_restarted(
    plugged: Rig,
) -> None:
    uid = number(plugged)
    plugged.push({"vm.yaml": [disk(), machine(enableParavirtualization=False)]})
    plugged.settle()
    assert phase(plugged) == "Attached"
    assert "next restart" in condition(told(plugged), "Attached")["message"]
    assert uid in units(plugged)
    assert uid not in units(plugged, live=False)
    plugged.host.crash(plugged.uuid())
    plugged.settle()
    assert phase(plugged) == "Failed"
    assert uid not in units(plugged)


def test_another_attachment_of_the_same_name_keeps_nothing_of_the_older_one(plugged: Rig) -> None:
    uid = number(plugged)
    plugged.push({"vm.yaml": [disk(), machine(disks=("root", "data"))], "plug.yaml": None})
    plugged.settle()
    plugged.push({"more.yaml": [disk("more"), attachment(device="more")]})
    plugged.settle()
    assert phase(plugged) == "Attached"
    assert {uid, number(plugged, "more")} <= units(plugged).keys()
    plugged.push({"vm.yaml": [disk(), machine()]})
    plugged.settle()
    assert uid not in units(plugged)
    assert number(plugged, "more") in units(plugged)


@pytest.mark.parametrize("attached", [False, True])
def test_nobody_waits_for_a_machine_that_is_suspended(on: Rig, attached: bool) -> None:
    if attached:
        on.push({"plug.yaml": attachment()})
        on.settle()
    still = machine()
    still["metadata"]["annotations"] = {"gitvirt.io/reconcile": "disabled"}
    on.push({"vm.yaml": [disk(), still], "plug.yaml": None if attached else attachment()})
    on.settle()
    assert (number(on) in units(on)) is attached
    assert phase(on) == ("Terminating" if attached else "InProgress")
    told_why = condition(told(on), "Terminating" if attached else "Attached")["message"]
    assert "is suspended" in told_why
    on.push({"vm.yaml": [disk(), machine()]})
    on.settle()
    assert (number(on) in units(on)) is not attached
