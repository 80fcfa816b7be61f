"""A snapshot taken by hand puts a disk on another file, no event tells of it, and nothing may be lost by that."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import Any

import pytest
from lxml import etree

from agent.core.actions import Action, DeleteVolume
from agent.core.domain_xml import parse
from agent.core.identity import disk_volume, serial
from agent.core.known import JOB
from agent.core.model import Key
from agent.kinds.virtual_machine.spec import machine_spec
from agent.reconcile.acting import MOST_OUTDATED
from tests.rig import STATUS, Rig, condition, disk, machine, operation

INSIDE = "/var/lib/libvirt/gitvirt/root.by-hand"
OUTSIDE = "/srv/root.by-hand"


@pytest.fixture
def on(rig: Rig) -> Rig:
    """A machine that runs from two disks."""
    rig.push({"vm.yaml": [machine(disks=("root", "data")), disk(), disk("data")]})
    rig.settle()
    rig.verbs()
    return rig


@pytest.fixture
def off(on: Rig) -> Rig:
    on.push({"s.yaml": operation("stop", "vm", "Stop")}, "refs/heads/operations")
    on.settle()
    assert not on.running()
    on.verbs()
    return on


def number(rig: Rig, name: str = "root") -> str:
    """A disk's serial number."""
    document = rig.document(f"namespaces/default/virtualdisks/{name}.yaml")
    return serial(document["metadata"]["uid"])


def own(rig: Rig, name: str = "root") -> str:
    """The path of a disk's own volume."""
    document = rig.document(f"namespaces/default/virtualdisks/{name}.yaml")
    volume = disk_volume(
        "default", Key("VirtualDisk", "default", name), document["metadata"]["uid"]
    )
    return f"/var/lib/libvirt/gitvirt/{volume}"


def sources(rig: Rig, *, active: bool = False) -> list[str]:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    root = parse(raw.active_xml if active else raw.inactive_xml)
    return [source.get("file", "") for source in root.iterfind("devices/disk/source")]


def push(rig: Rig, **change: Any) -> None:
    """Change the machine."""
    whole = {"disks": ("root", "data"), **change}
    rig.push({"vm.yaml": [machine(**whole), disk(), disk("data")]})
    rig.settle()


CHANGES: dict[str, dict[str, Any]] = {
    "label": {"metadata": {"labels": {"app": "web"}}},
    "cores": {"cpu": {"cores": 2}},
    "policy": {"runPolicy": "AlwaysOn"},
}


@pytest.mark.parametrize("path", [INSIDE, OUTSIDE])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_right_after_it_keeps_a_running_disk_on_the_new_file(
    on: Rig, change: str, path: str
) -> None:
    base = own(on)
    on.host.snapshot(on.uuid(), path, number(on))
    push(on, **CHANGES[change])
    assert path in sources(on)
    assert base not in sources(on)
    assert path in sources(on, active=True)


@pytest.mark.parametrize("change", ["label", "cores"])
def test_a_change_right_after_it_keeps_a_disk_that_is_off_on_the_new_file(
    off: Rig, change: str
) -> None:
    off.host.snapshot(off.uuid(), OUTSIDE, number(off))
    push(off, **CHANGES[change])
    assert OUTSIDE in sources(off)
    assert own(off) not in sources(off)


def test_an_operation_right_after_it_starts_from_the_new_file(on: Rig) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.push({"r.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    on.settle()
    assert on.vmop("again")["status"]["phase"] == "Completed"
    assert OUTSIDE in sources(on, active=True)


def test_a_definition_below_what_runs_is_put_on_top(on: Rig) -> None:
    base = own(on)
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))

    def back(root: etree._Element) -> None:
        (source,) = (each for each in root.iter("source") if each.get("file") == OUTSIDE)
        source.set("file", base)

    on.host.edit(on.uuid(), back)
    on.settle()
    assert OUTSIDE in sources(on)


def test_a_domain_undefined_by_hand_is_defined_on_the_file_that_it_runs_from(on: Rig) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.host.edit(on.uuid(), lambda _: None)  # all of it is known by now
    on.settle()
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    defined: list[str] = []
    define = on.host.define

    def recorded(xml: str) -> None:
        defined.append(xml)
        define(xml)

    on.host.define = recorded  # type: ignore[method-assign]
    on.host._put(replace(raw, inactive_xml=""))
    on.host._tell(on.uuid(), "lifecycle")
    on.settle()
    assert defined
    assert all(f"'{OUTSIDE}'" in xml for xml in defined)


def test_a_disk_taken_out_of_the_definition_comes_back_on_the_file_that_it_runs_from(
    on: Rig,
) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))

    def out(root: etree._Element) -> None:
        devices = root.find("devices")
        assert devices is not None
        devices.remove(devices.findall("disk")[0])

    on.host.edit(on.uuid(), out)
    on.settle()
    assert OUTSIDE in sources(on)
    assert own(on) not in sources(on)


def test_a_disk_is_not_let_go_while_only_its_domain_knows_where_it_is(on: Rig) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on, "data"))
    push(on, disks=("root",))
    assert OUTSIDE in sources(on)
    said = condition(on.vm(), "BlockDevicesReady")
    assert said["status"] == "False"
    assert OUTSIDE in said["message"]
    on.host.merge(on.uuid(), number(on, "data"))
    on.settle()
    assert sources(on) == [own(on)]
    assert condition(on.vm(), "BlockDevicesReady")["status"] == "True"


def test_a_disk_with_something_based_on_it_is_not_taken_by_a_domain_that_does_not_know_that(
    off: Rig,
) -> None:
    off.host.snapshot(off.uuid(), INSIDE, number(off))
    off.host._drop(off.uuid())  # somebody has undefined it
    off.host._tell(off.uuid(), "lifecycle")
    off.host._tell("", "connected")
    off.settle()
    push(off, runPolicy="AlwaysOn")
    assert off.host.read_domain(off.uuid()) is None
    said = condition(off.vm(), "BlockDevicesReady")
    assert said["status"] == "False"
    assert "root.by-hand" in said["message"]
    off.host.delete_volume("gitvirt", "root.by-hand")
    off.host._tell("", "connected")
    off.settle()
    assert off.running()


def test_a_leftover_of_a_merge_keeps_no_machine_from_starting(on: Rig) -> None:
    on.host.snapshot(on.uuid(), INSIDE, number(on))
    on.host.merge(on.uuid(), number(on))
    on.host._tell("", "connected")  # the file is seen
    on.push({"r.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    on.settle()
    assert on.vmop("again")["status"]["phase"] == "Completed"
    assert sources(on, active=True)[0] == own(on)


def test_no_other_machine_writes_to_a_disk_below_a_snapshot(off: Rig) -> None:
    off.host.snapshot(off.uuid(), OUTSIDE, number(off))
    off.host._tell("", "connected")
    off.push({"other.yaml": machine("other")})
    off.settle()
    assert off.host.read_domain(off.uuid("other")) is None
    said = condition(off.vm("other"), "BlockDevicesReady")
    assert OUTSIDE in said["message"]
    assert "VirtualMachine default/vm" in said["message"]
    off.push({"t.yaml": operation("start", "vm", "Start")}, "refs/heads/operations")
    off.settle()
    off.host.merge(off.uuid(), number(off))
    off.push({"u.yaml": operation("stop-again", "vm", "Stop")}, "refs/heads/operations")
    off.settle()
    assert off.running("other")


@pytest.mark.parametrize("path", [INSIDE, OUTSIDE])
@pytest.mark.parametrize("kept", [("root", "data"), ("data",)])
def test_no_other_machine_starts_below_a_snapshot_that_nobody_has_seen_yet(
    off: Rig, kept: tuple[str, ...], path: str
) -> None:
    """Also where the disk is handed over in the same commit."""
    off.host.snapshot(off.uuid(), path, number(off))
    files = {"vm.yaml": [machine(disks=kept), disk(), disk("data")], "other.yaml": machine("other")}
    off.push(files)
    off.settle()
    assert not off.running("other")
    assert path in condition(off.vm("other"), "BlockDevicesReady")["message"]


def test_a_disk_below_a_snapshot_is_not_taken_from_a_domain_that_was_renamed(off: Rig) -> None:
    off.host.snapshot(off.uuid(), OUTSIDE, number(off))
    raw = off.host._get(off.uuid())
    name = f"<name>{raw.name}<"
    off.host._put(
        replace(raw, name="mine", inactive_xml=raw.inactive_xml.replace(name, "<name>mine<"))
    )
    off.host._tell("", "connected")
    off.push({"vm.yaml": [machine(disks=("data",)), disk(), disk("data")]})
    off.settle()
    assert "domrename" in condition(off.vm(), "Running")["message"]
    off.push({"other.yaml": machine("other")})
    off.settle()
    assert not off.running("other")
    assert OUTSIDE in condition(off.vm("other"), "BlockDevicesReady")["message"]


def test_a_start_that_was_asked_for_waits_for_a_snapshot_that_nobody_has_seen_yet(off: Rig) -> None:
    off.push({"other.yaml": machine("other", runPolicy="Manual")})
    off.settle()
    off.host.snapshot(off.uuid(), OUTSIDE, number(off))
    off.push({"t.yaml": operation("start", "other", "Start")}, "refs/heads/operations")
    off.settle()
    assert off.host.read_domain(off.uuid("other")) is not None
    assert not off.running("other")


def test_a_disk_below_a_snapshot_grows_once_that_is_merged(off: Rig) -> None:
    """Else it would be called larger than any guest sees it."""
    off.host.snapshot(off.uuid(), OUTSIDE, number(off))
    off.host._tell("", "connected")
    off.push({"vm.yaml": [machine(disks=("root", "data")), disk(size="2Gi"), disk("data")]})
    off.settle()
    document = off.document("namespaces/default/virtualdisks/root.yaml")
    assert document["status"]["capacity"] == "1Gi"
    assert OUTSIDE in condition(document, "Resizing")["message"]

    def back(root: etree._Element) -> None:
        (source,) = (each for each in root.iter("source") if each.get("file") == OUTSIDE)
        source.set("file", own(off))

    off.host.edit(off.uuid(), back)
    off.settle()
    document = off.document("namespaces/default/virtualdisks/root.yaml")
    assert document["status"]["capacity"] == "2Gi"


# -- deletion --------------------------------------------------------------------------------


def test_a_machine_is_not_deleted_while_only_its_domain_knows_where_its_data_is(on: Rig) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.push({"vm.yaml": [disk(), disk("data")]})
    on.settle()
    assert on.running()
    assert on.vm()["status"]["phase"] == "Terminating"
    said = condition(on.vm(), "Terminating")
    # a commit without a base goes on into the image that other disks are made from
    assert (
        f"`virsh blockcommit default.vm sda --base {own(on)} --active --pivot`" in said["message"]
    )
    # a running domain that is only undefined is defined again, and nothing is given up
    assert "`virsh destroy default.vm`, then `virsh undefine default.vm --nvram`" in said["message"]
    assert condition(on.vm(), "Running")["status"] == "True"
    assert not {"shutdown", "destroy", "undefine", "delete_volume"} & set(on.verbs())
    on.host.merge(on.uuid(), number(on))
    on.settle()
    assert on.host.read_domain(on.uuid()) is None


def test_a_deletion_that_waits_tells_of_nothing_that_was_mended_or_is_missing(on: Rig) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.host._tell("", "connected")
    on.settle()
    assert condition(on.vm(), "DriftDetected")
    on.push({"vm.yaml": None, "other.yaml": disk("other")})  # its disks go, too
    on.settle()
    types = [each["type"] for each in on.vm()["status"]["conditions"]]
    assert types == ["Running", "Terminating"]
    commits = list(on.repo.log(on.repo.fetch()[STATUS]))
    told = "".join(each.subject + each.body for each in commits)
    assert "vm: Running → Terminating" in told
    assert "says again" not in told
    assert "no problem any more" not in told


def test_a_machine_whose_domain_is_removed_by_hand_while_its_deletion_waits_is_gone(
    on: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gitvirt")
    # a medium with user data outlasts a domain that others remove
    push(on, provisioning={"type": "UserData", "userData": "#cloud-config\n"})
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.push({"vm.yaml": [disk(), disk("data")]})
    on.settle()
    on.host.crash(on.uuid())
    on.settle()
    on.host.undefine(on.uuid())
    caplog.clear()
    on.settle()
    assert "namespaces/default/virtualmachines/vm.yaml" not in on.documents()
    said = [
        each for each in caplog.messages if each.startswith("VirtualMachine default/vm: Delete")
    ]
    assert said
    assert all(each.endswith(": its manifest is gone") for each in said)


def test_a_disk_below_two_snapshots_is_merged_down_to_its_own_volume(on: Rig) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.host.snapshot(on.uuid(), INSIDE, number(on))
    on.push({"vm.yaml": [disk(), disk("data")]})
    on.settle()
    said = condition(on.vm(), "Terminating")["message"]
    assert f"Disk sda lies on {INSIDE}" in said
    assert f"--base {own(on)} --active" in said


def test_a_disk_that_does_not_lie_above_its_own_volume_is_not_told_to_be_merged(on: Rig) -> None:
    def copied(
        root: etree._Element,
    ) -> None:  # `virsh blockcopy --pivot`, or a commit into the image
        source = root.find("devices/disk/source")
        assert source is not None
        source.set("file", OUTSIDE)

    on.host.edit(on.uuid(), copied, live=True)
    on.host.edit(on.uuid(), copied)
    on.host._tell("", "connected")
    on.push({"vm.yaml": [disk(), disk("data")]})
    on.settle()
    said = condition(on.vm(), "Terminating")["message"]
    assert f"Disk sda lies on {OUTSIDE}" in said
    assert "blockcommit" not in said
    assert "virsh undefine default.vm" in said
    assert on.running()


def test_a_machine_brought_back_after_such_a_deletion_has_what_was_written(on: Rig) -> None:
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.push({"vm.yaml": [disk(), disk("data")]})
    on.settle()
    push(on)
    assert OUTSIDE in sources(on)
    assert on.running()
    on.host.merge(on.uuid(), number(on))
    on.settle()
    assert on.running()  # the deletion has ended, and the manifest makes it anew
    assert sources(on, active=True)[0] == own(on)


def test_one_that_ends_by_itself_while_its_deletion_waits_is_not_started_again(on: Rig) -> None:
    push(on, runPolicy="AlwaysOn")
    on.host.snapshot(on.uuid(), OUTSIDE, number(on))
    on.push({"vm.yaml": [disk(), disk("data")]})
    on.settle()
    on.host.crash(on.uuid())
    on.settle()
    assert not on.running()
    assert on.host.read_domain(on.uuid()) is not None


def test_one_that_is_off_says_how_to_merge_what_is_off(off: Rig) -> None:
    off.host.snapshot(off.uuid(), OUTSIDE, number(off))
    off.push({"vm.yaml": [disk(), disk("data")]})
    off.settle()
    assert f"qemu-img commit {OUTSIDE}" in condition(off.vm(), "Terminating")["message"]
    assert off.host.read_domain(off.uuid()) is not None
    assert not off.running()


def test_a_snapshot_taken_between_decision_and_deed_keeps_the_domain(on: Rig) -> None:
    taken: list[str] = []

    def take(verb: str, phase: str) -> None:
        if verb == "shutdown" and phase == "after" and not taken:
            taken.append(verb)
            on.host.snapshot(on.uuid(), OUTSIDE, number(on))

    on.host.on_effect = take
    on.push({"vm.yaml": [disk(), disk("data")]})
    on.settle()
    assert taken
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    assert OUTSIDE in raw.inactive_xml
    assert "undefine" not in on.verbs()


def test_a_disk_on_a_source_that_cannot_be_written_down_is_left_with_its_definition(
    on: Rig,
) -> None:
    def network(root: etree._Element) -> None:
        element = root.find("devices/disk")
        assert element is not None
        element.set("type", "network")
        source = element.find("source")
        assert source is not None
        source.attrib.pop("file")
        source.set("protocol", "rbd")
        source.set("name", "pool/root")

    on.host.edit(on.uuid(), network)
    push(on, cpu={"cores": 2}, metadata={"labels": {"app": "web"}})
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    source = etree.fromstring(raw.inactive_xml).find("devices/disk/source")
    assert source is not None
    assert (source.get("protocol"), source.get("name")) == ("rbd", "pool/root")
    assert on.memory().labels == {"app": "web"}
    assert "source of type network" in condition(on.vm(), "BlockDevicesReady")["message"]


def test_a_disk_that_was_moved_to_a_block_device_stays_there(on: Rig) -> None:
    def moved(root: etree._Element) -> None:
        element = root.find("devices/disk")
        assert element is not None
        element.set("type", "block")
        source, driver = element.find("source"), element.find("driver")
        assert source is not None
        assert driver is not None
        source.attrib.clear()
        source.set("dev", "/dev/vg/root")
        driver.set("type", "raw")

    on.host.edit(on.uuid(), moved)
    push(on, cpu={"cores": 2})
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    element = etree.fromstring(raw.inactive_xml).find("devices/disk")
    assert element is not None
    assert element.get("type") == "block"
    assert element.find("source[@dev='/dev/vg/root']") is not None


# -- what a deed relies on -------------------------------------------------------------------


def test_what_somebody_keeps_changing_is_tried_again_later_and_told(on: Rig) -> None:
    reads = []
    read_domain = on.host.read_domain

    def restless(uuid: str) -> object:
        reads.append(uuid)
        on.host.edit(uuid, lambda root: root.append(etree.Comment(str(len(reads)))))
        return read_domain(uuid)

    on.host.read_domain = restless  # type: ignore[method-assign,assignment]
    on.push({"vm.yaml": [machine(disks=("root", "data"), cpu={"cores": 2}), disk(), disk("data")]})
    on.agent.reconciler.look_at_git()
    for _ in range(6 * MOST_OUTDATED):
        on.step()
    assert "define" not in on.verbs()
    job = on.agent.reconciler._engine.get(JOB, Key("VirtualMachine", "default", "vm"))
    assert job is not None
    assert job.reason == "DomainChanged"
    assert job.attempts == 1
    on.host.read_domain = read_domain  # type: ignore[method-assign]
    on.settle()
    assert machine_spec(on.memory().spec)["cpu"]["cores"] == 2


def test_a_seed_that_the_domain_refers_to_again_is_not_swept_away(rig: Rig) -> None:
    def data(text: str) -> dict[str, Any]:
        return {"provisioning": {"type": "UserData", "userData": f"#cloud-config\n{text}: 1\n"}}

    rig.push({"vm.yaml": [machine(runPolicy="AlwaysOff", **data("one")), disk()]})
    rig.settle()
    (old,) = (path for path in sources(rig) if path.endswith(".iso"))
    rig.push({"vm.yaml": [machine(runPolicy="AlwaysOff", **data("two")), disk()]})
    rig.agent.reconciler.look_at_git()
    until_under_way(rig, DeleteVolume)
    (new,) = (path for path in sources(rig) if path.endswith(".iso"))
    raw = rig.host._get(rig.uuid())
    rig.host._put(replace(raw, inactive_xml=raw.inactive_xml.replace(new, old)))
    while rig._tasks:  # all that is under way, and no pass that would mend it
        rig._tasks.popleft()()
    assert old in {volume.path for volume in rig.host.pools["gitvirt"].values()}


def until_under_way(rig: Rig, action: type[Action]) -> None:
    """Passes until a worker has such an action before it."""
    for _ in range(50):
        rig.agent.reconciler.run()
        busy = rig.agent.reconciler._acting.busy.values()
        if any(isinstance(each, action) for _, ticket in busy for each in ticket.actions):
            return
        while rig._tasks:
            rig._tasks.popleft()()
    raise AssertionError(f"{action.__name__} is never done")
