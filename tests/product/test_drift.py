"""What people change by hand on a host: put back where that costs nobody anything, shown else, never lost."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from agent.core import difference
from agent.core.changes import SENSITIVE
from agent.core.domain_text import DomainText
from agent.core.domain_xml import parse
from agent.core.identity import mac_address
from agent.core.model import Key
from agent.kinds.virtual_machine.definition import NAMES, DomainFacts, read
from tests.plans import planned
from tests.product.test_fields import CLOUD_INIT, secret
from tests.rig import Rig, condition, disk, machine, operation

Edit = Callable[[etree._Element], object]


def text(path: str, value: str) -> Edit:
    def change(root: etree._Element) -> None:
        found = root.find(path)
        assert found is not None
        found.text = value

    return change


def attribute(path: str, name: str, value: str) -> Edit:
    def change(root: etree._Element) -> None:
        found = root.find(path)
        assert found is not None
        found.set(name, value)

    return change


def remove(path: str) -> Edit:
    def change(root: etree._Element) -> None:
        found = root.find(path)
        assert found is not None
        parent = found.getparent()
        assert parent is not None
        parent.remove(found)

    return change


def together(*edits: Edit) -> Edit:
    def change(root: etree._Element) -> None:
        for edit in edits:
            edit(root)

    return change


def read_only(root: etree._Element) -> None:
    found = root.find("devices/disk")
    assert found is not None
    etree.SubElement(found, "readonly")


EDITS: dict[str, Edit] = {
    "cpu": together(text("vcpu", "3"), attribute("cpu/topology", "cores", "3")),
    "unplugged": attribute("vcpu", "current", "1"),
    "memory": text("memory", "524288"),
    "currentMemory": text("currentMemory", "131072"),
    "boot order": remove("devices/disk/boot"),
    "disk gone": remove("devices/disk"),
    "disk read-only": read_only,
    "interface gone": remove("devices/interface"),
    "mac": attribute("devices/interface/mac", "address", "52:00:00:00:00:01"),
    "model": attribute("devices/interface/model", "type", "e1000"),
    "agent channel gone": remove("devices/channel"),
    "graphics on a port": lambda root: (
        attribute("devices/graphics/listen", "type", "address")(root),
        attribute("devices/graphics/listen", "address", "0.0.0.0")(root),
    ),
    "firmware": attribute("os", "firmware", "efi"),
    "clock": attribute("clock", "offset", "localtime"),
    "metadata gone": remove("metadata"),
    "metadata broken": attribute("metadata/*", "generation", "many"),
    "labels": text("metadata/*/{*}labels", '{"app": "other"}'),
}


def plugged(root: etree._Element) -> None:
    """`virsh attach-disk` and `virsh attach-interface`."""
    devices = root.find("devices")
    assert devices is not None
    for target, unit, number in (("sdq", "16", ""), ("sdr", "17", "mine")):
        added = etree.SubElement(devices, "disk", type="file", device="disk")
        etree.SubElement(added, "source", file=f"/mnt/{target}.img")
        etree.SubElement(added, "target", dev=target, bus="scsi")
        etree.SubElement(added, "address", type="drive", controller="0", unit=unit)
        if number:
            etree.SubElement(added, "serial").text = number
    interface = etree.SubElement(devices, "interface", type="network")
    etree.SubElement(interface, "mac", address="52:54:00:00:00:01")


MAC = mac_address("default", Key("VirtualMachine", "default", "vm"))
TOLD: dict[str, tuple[Edit, str]] = {
    **{
        name: (EDITS[name], told)
        for name, told in {
            "cpu": "cpu.cores 2 → 3",
            "unplugged": "vcpu.current none → 1",
            "memory": "memory.size 256Mi → 512Mi",
            "currentMemory": "currentMemory 256Mi → 128Mi",
            "boot order": "disk root: bootOrder 1 → none",
            "disk gone": "disk root removed",
            "disk read-only": "disk root: readonly added",
            "interface gone": f"interface {MAC} removed",
            "mac": f"interface 52:00:00:00:00:01 added, interface {MAC} removed",
            "model": f"interface {MAC}: model virtio → e1000",
            "agent channel gone": "channel org.qemu.guest_agent.0 removed",
            "graphics on a port": "graphics.listen socket → address",
            "clock": "clock.offset utc → localtime",
        }.items()
    },
    "topology": (attribute("cpu/topology", "cores", "1"), "cpu.topology none → 1x1"),
    "shares": (text("cputune/shares", "1"), "cputune.shares 200 → 1"),
    "network": (
        attribute("devices/interface/source", "network", "br0"),
        f"interface {MAC}: network default → br0",
    ),
    "devices": (plugged, "disk mine added, disk sdq added, interface 52:54:00:00:00:01 added"),
    "disk moved": (
        attribute("devices/disk/address", "unit", "900"),
        "disk root: unit 0:0 → 0:900",
    ),
    "interface moved": (
        attribute("devices/interface/address", "slot", "0x1f"),
        f"interface {MAC}: address 0000:01:00.0 → 0000:01:1f.0",
    ),
    "all at once": (
        together(EDITS["cpu"], EDITS["memory"], EDITS["boot order"], EDITS["clock"]),
        "clock.offset utc → localtime, cpu.cores 2 → 3, disk root: bootOrder 1 → none, memory.size 256Mi → 512Mi",
    ),
}
"""What is said of each edit."""


@pytest.fixture
def on(rig: Rig) -> Rig:
    """A machine that runs, with two cores and two disks."""
    whole = machine(disks=("root", "data"), cpu={"cores": 2}, metadata={"labels": {"app": "web"}})
    rig.push({"vm.yaml": [whole, disk(), disk("data")]})
    rig.settle()
    rig.verbs()
    return rig


def same_but_for_metadata(one: str, other: str) -> bool:
    def bare(xml: str) -> bytes:
        root = etree.fromstring(xml)
        for element in root.findall("metadata"):
            root.remove(element)
        return etree.tostring(root, method="c14n")

    return bare(one) == bare(other)


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_definition_is_put_back_without_a_restart(on: Rig, name: str) -> None:
    before = on.host.read_domain(on.uuid())
    assert before is not None
    on.host.edit(on.uuid(), EDITS[name])
    on.settle()
    after = on.host.read_domain(on.uuid())
    assert after is not None
    assert same_but_for_metadata(after.inactive_xml, before.inactive_xml)
    assert same_but_for_metadata(after.active_xml, before.active_xml)
    assert on.memory().uid == on.vm()["metadata"]["uid"]
    assert on.memory().labels == {"app": "web"}
    assert not {"start", "shutdown", "destroy"} & set(on.verbs())
    assert condition(on.vm(), "DriftDetected") == {}
    assert condition(on.vm(), "AwaitingRestartToApplyConfiguration") == {}


PLUGGED = ("interface gone", "mac", "devices")
"""Edits that plug interfaces in or unplug them."""


@pytest.mark.parametrize("name", PLUGGED)
def test_interfaces_that_somebody_plugs_or_unplugs_are_put_back_at_once(on: Rig, name: str) -> None:
    on.host.edit(on.uuid(), TOLD[name][0], live=True)
    on.settle()
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    macs = [each.get("address") for each in parse(raw.active_xml).iterfind("devices/interface/mac")]
    assert macs == [MAC]
    assert "interface" not in condition(on.vm(), "DriftDetected").get("message", "")
    assert not {"start", "shutdown", "destroy", "define"} & set(on.verbs())


@pytest.mark.parametrize("name", [name for name in TOLD if name not in PLUGGED])
def test_an_edited_instance_is_shown_and_a_restart_undoes_it(on: Rig, name: str) -> None:
    edit, told = TOLD[name]
    on.host.edit(on.uuid(), edit, live=True)
    on.settle()
    found = condition(on.vm(), "DriftDetected")
    assert found["status"] == "True"
    assert found["message"] == (
        f"The running instance was changed by hand: {told}; a restart undoes it."
    )
    assert not {"start", "shutdown", "destroy"} & set(on.verbs())
    on.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    on.settle()
    assert condition(on.vm(), "DriftDetected") == {}


@pytest.mark.parametrize("name", [*TOLD, "firmware"])
def test_an_edited_definition_is_told_in_the_same_words(rig: Rig, name: str) -> None:
    edit, told = (
        TOLD.get(name, (EDITS[name], "bootloader BIOS → unknown")) if name in EDITS else TOLD[name]
    )
    reporting(rig)
    rig.host.edit(rig.uuid(), edit)
    rig.settle()
    assert condition(rig.vm(), "DriftDetected")["message"] == (
        f"The definition was changed by hand: {told}; it is left (gitvirt.io/drift: report)."
    )


def test_running_metadata_that_was_removed_comes_back(on: Rig) -> None:
    on.host.edit(on.uuid(), EDITS["metadata gone"], live=True)
    on.settle()
    assert on.memory(active=True).uid == on.vm()["metadata"]["uid"]
    assert on.verbs() == ["set_live_metadata"]
    assert condition(on.vm(), "DriftDetected") == {}


def test_drift_that_is_only_to_be_reported_is_left(on: Rig) -> None:
    annotated = machine(
        disks=("root", "data"),
        cpu={"cores": 2},
        metadata={"annotations": {"gitvirt.io/drift": "report"}},
    )
    on.push({"vm.yaml": [annotated, disk(), disk("data")]})
    on.settle()
    on.host.edit(on.uuid(), EDITS["memory"])
    on.settle()
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    assert "524288" in raw.inactive_xml
    assert "memory" in condition(on.vm(), "DriftDetected")["message"]
    annotated["metadata"].pop("annotations")
    on.push({"vm.yaml": [annotated, disk(), disk("data")]})
    on.settle()
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    assert "524288" not in raw.inactive_xml


REPORT = {"annotations": {"gitvirt.io/drift": "report"}}
CHANGES: dict[str, dict[str, Any]] = {
    "labels": {"metadata": {**REPORT, "labels": {"app": "db"}}},
    "policy": {"runPolicy": "AlwaysOn"},
    "cores": {"cpu": {"cores": 4}},
    "memory": {"memory": {"size": "512Mi"}},
    "class": {"virtualMachineClassName": "generic"},
    "devices": {"disks": ("data", "root")},
    "firmware": {"bootloader": "EFI"},
    "instructions": {"provisioning": {"type": "UserData", "userData": "#cloud-config\n# 1\n"}},
}
TOUCHED = {
    "cores": {"cpu"},
    "memory": {"memory"},
    "class": {"cpu"},
    "devices": {"disks"},
    "firmware": {"firmware"},
    "instructions": {"disks"},
}
HARDWARE = {
    "cpu": "cpu",
    "memory": "memory",
    "boot order": "disks",
    "disk read-only": "disks",
    "model": "interfaces",
    "agent channel gone": "channels",
    "firmware": "firmware",
    "clock": "features",
}
"""The element that each edit is about."""


def reporting(rig: Rig, **more: Any) -> None:
    whole = machine(**{"disks": ("root", "data"), "cpu": {"cores": 2}, "metadata": REPORT, **more})
    rig.push({"vm.yaml": [whole, disk(), disk("data")]})
    rig.settle()


OWN = {"type": "UserData", "userData": "#cloud-config\n# 1\n"}


def remove_medium(root: etree._Element) -> None:
    for each in root.findall("devices/disk"):
        if each.findtext("serial") == "cloudinit":
            each.getparent().remove(each)  # type: ignore[union-attr]


def defined(rig: Rig) -> DomainFacts:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    return read(DomainText(raw.inactive_xml))


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("edit", HARDWARE)
def test_what_is_only_reported_stays_as_edited_when_something_else_is_changed(
    rig: Rig, edit: str, change: str
) -> None:
    reporting(rig, **CHANGES[change])
    meant = defined(rig)
    rig.push({"vm.yaml": None})
    rig.settle()
    reporting(rig)
    rig.host.edit(rig.uuid(), EDITS[edit])
    rig.settle()
    edited = defined(rig)
    reporting(rig, **CHANGES[change])
    found, changed = defined(rig), TOUCHED.get(change, set())
    for name in NAMES:
        wanted = meant if name in changed else edited
        assert getattr(found, name) == getattr(wanted, name), name
    drift = condition(rig.vm(), "DriftDetected")
    if HARDWARE[edit] in changed:
        assert drift == {}
    else:
        told = TOLD[edit][1] if edit in TOLD else "bootloader"
        assert told.partition(" → ")[0] in drift["message"]
        assert "it is left" in drift["message"]


def test_an_instance_that_was_started_with_an_edit_says_that_a_restart_keeps_it(rig: Rig) -> None:
    reporting(rig)
    rig.host.edit(rig.uuid(), EDITS["memory"])
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    rig.settle()
    rig.host.edit(rig.uuid(), EDITS["interface gone"], live=True)
    rig.settle()
    message = condition(rig.vm(), "DriftDetected")["message"]
    assert message == (
        "The definition was changed by hand: memory.size 256Mi → 512Mi; it is left "
        "(gitvirt.io/drift: report). "
        "The running instance was changed by hand: memory.size 256Mi → 512Mi; a restart does not "
        "undo it. "
        f"The running instance was changed by hand: interface {MAC} removed; a restart undoes it."
    )


def test_a_restart_undoes_what_the_definition_says_otherwise(rig: Rig) -> None:
    reporting(rig)
    rig.host.edit(rig.uuid(), text("memory", "524288"))
    rig.host.edit(rig.uuid(), text("memory", "1048576"), live=True)
    rig.settle()
    message = condition(rig.vm(), "DriftDetected")["message"]
    assert "memory.size 256Mi → 1Gi; a restart undoes it." in message


def test_a_disk_that_is_left_keeps_its_target(rig: Rig) -> None:
    def plug(root: etree._Element) -> None:
        plugged(root)
        for path, name, value in (
            ("target[@dev='sdq']", "dev", "sdz"),
            ("address[@unit='16']", "controller", "3"),
        ):
            attribute(f"devices/disk/{path}", name, value)(root)

    reporting(rig)
    rig.host.edit(rig.uuid(), plug)
    rig.settle()
    assert "disk sdz added" in condition(rig.vm(), "DriftDetected")["message"]
    reporting(rig, cpu={"cores": 4})
    assert defined(rig).cpu.cores == 4
    assert "sdz" in [each.target for each in defined(rig).disks.disks]


def test_the_file_of_a_medium_is_not_shown(rig: Rig) -> None:
    """Its name is made from what is on it."""
    rig.push({"vm.yaml": [machine(provisioning=OWN), disk()]})
    rig.settle()
    (medium,) = (each for each in defined(rig).disks.disks if each.serial == "cloudinit")
    rig.host.edit(rig.uuid(), remove_medium, live=True)
    rig.settle()
    assert "provisioning medium removed" in condition(rig.vm(), "DriftDetected")["message"]
    (edit,) = planned(rig, live=True)["vm"].drift.edits
    assert edit.listed()["expectedValue"]["source"] == SENSITIVE
    digest = medium.path.rpartition("_")[2].removesuffix(".iso")
    assert len(digest) > 10
    assert digest not in str(edit.listed())
    assert digest not in str(rig.documents())


def test_an_edit_is_compared_once_and_what_is_as_it_should_be_never(
    on: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[list[str]] = []
    paths = difference.paths

    def counted(before: Any, after: Any) -> Iterator[difference.Path]:
        compared.append([*before])
        return paths(before, after)

    monkeypatch.setattr(difference, "paths", counted)
    on.host.edit(on.uuid(), attribute("cpu", "note", "none"), live=True)
    on.settle()
    assert compared == []
    on.host.edit(on.uuid(), text("currentMemory", "77824"), live=True)
    on.settle()
    assert compared == [["memory"]]
    labelled = machine(disks=("root", "data"), cpu={"cores": 2}, metadata={"labels": {"app": "db"}})
    on.push({"vm.yaml": [labelled, disk(), disk("data")]})
    on.settle()
    assert on.memory(active=True).labels == {"app": "db"}
    assert compared == [["memory"]]


def test_an_edit_that_is_only_reported_is_left_when_a_secret_changes(rig: Rig) -> None:
    seeded = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "cloud"}}
    rig.push({"secret.yaml": secret("cloud", CLOUD_INIT, userData="one")})
    reporting(rig, provisioning=seeded)
    rig.host.edit(rig.uuid(), EDITS["memory"])
    rig.settle()
    before = defined(rig)
    rig.push({"secret.yaml": secret("cloud", CLOUD_INIT, userData="another")})
    rig.settle()
    assert defined(rig).memory == before.memory
    assert defined(rig).disks != before.disks


def test_a_disk_stays_on_the_file_that_a_snapshot_by_hand_put_it_on(on: Rig) -> None:
    overlay = "/somewhere/else/root.snap1"
    source = attribute("devices/disk/source", "file", overlay)
    on.host.edit(on.uuid(), source)
    on.host.edit(on.uuid(), source, live=True)
    on.settle()
    assert overlay in condition(on.vm(), "DriftDetected")["message"]
    whole = machine(disks=("root", "data"), cpu={"cores": 4})
    on.push({"vm.yaml": [whole, disk(), disk("data")]})
    on.settle()
    on.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    on.settle()
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    assert raw.active_xml.count(overlay) == 1
    assert ">4</vcpu>" in raw.active_xml


def test_a_disk_source_edited_for_the_next_start_is_named_and_left(on: Rig) -> None:
    on.host.edit(on.uuid(), attribute("devices/disk/source", "file", "/somewhere/else"))
    on.settle()
    assert on.verbs() == []
    message = condition(on.vm(), "DriftDetected")["message"]
    assert "sda will lie on /somewhere/else from the next start on" in message


def test_nothing_is_judged_while_a_disk_is_being_copied(on: Rig) -> None:
    def copying(root: etree._Element) -> None:
        EDITS["unplugged"](root)
        etree.SubElement(root.findall("devices/disk")[0], "mirror", job="copy")

    on.host.edit(on.uuid(), copying, live=True)
    on.settle()
    assert on.verbs() == []
    assert condition(on.vm(), "DriftDetected") == {}


def test_an_undefined_domain_that_runs_is_defined_again(on: Rig) -> None:
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    on.host._put(replace(raw, inactive_xml=""))
    on.host._tell(on.uuid(), "lifecycle")
    on.settle()
    assert on.verbs()[0] == "define"
    assert on.running()
    assert on.memory().uid == on.vm()["metadata"]["uid"]


def test_a_domain_that_was_destroyed_by_hand_runs_again(on: Rig) -> None:
    on.host.destroy(on.uuid())
    on.settle()
    assert on.running()
    assert on.vm()["status"]["phase"] == "Running"


def test_a_paused_domain_is_shown_and_left(on: Rig) -> None:
    on.host.pause(on.uuid())
    on.step()
    on.step()
    assert on.vm()["status"]["phase"] == "Pause"
    assert "virsh resume" in condition(on.vm(), "Running")["message"]
    assert on.verbs() == []


def test_a_domain_that_was_saved_by_hand_is_left(on: Rig) -> None:
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    on.host._put(replace(raw, state="shutoff", reason="saved", active_xml="", managed_save=True))
    on.host._tell(on.uuid(), "lifecycle")
    on.settle()
    assert "start" not in on.verbs()
    assert "managedsave-remove" in condition(on.vm(), "DriftDetected")["message"]


def test_a_renamed_domain_is_named_and_left(on: Rig) -> None:
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    on.host._put(
        replace(raw, name="mine", inactive_xml=raw.inactive_xml.replace("default.vm", "mine"))
    )
    on.host._tell(on.uuid(), "lifecycle")
    on.settle()
    assert on.verbs() == []
    assert "virsh domrename" in condition(on.vm(), "Running")["message"]


def test_a_deleted_volume_is_not_made_anew(on: Rig) -> None:
    name = next(name for name in on.host.pools["gitvirt"] if "_root_" in name)
    on.host.delete_volume("gitvirt", name)
    on.verbs()
    on.host._tell("", "connected")
    on.settle()
    assert on.document("namespaces/default/virtualdisks/root.yaml")["status"]["phase"] == "PVCLost"
    assert on.verbs() == []
    assert on.running()


def test_a_plan_tells_drift_of_a_machine_that_is_kept(rig: Rig) -> None:
    kept = machine()
    kept["metadata"]["annotations"] = {"gitvirt.io/prune": "disabled"}
    rig.push({"disk.yaml": disk(), "vm.yaml": kept})
    rig.settle()
    rig.host.edit(rig.uuid(), EDITS["model"], live=True)
    rig.settle()
    assert condition(rig.vm(), "DriftDetected")
    item = planned(rig, {"vm.yaml": None}, live=True)["vm"]
    assert item.operation == "held"
    assert "gitvirt.io/prune" in item.reason
    assert item.drift
