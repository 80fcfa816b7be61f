"""Changes from the commit to the guest: what applies at once, what waits, and what ends the waiting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from lxml import etree

from agent.kinds.virtual_machine.spec import machine_spec
from tests.images.server import Faulty, serve
from tests.rig import OPERATIONS, Rig, condition, disk, machine, manifest, operation

CORES = {"currentValue": 1, "desiredValue": 2, "operation": "replace", "path": "cpu.cores"}
AWAITING = "AwaitingRestartToApplyConfiguration"


def push(rig: Rig, *more: Mapping[str, Any], **spec: Any) -> None:
    rig.push({"vm.yaml": [machine(**spec), *more]})
    rig.settle()


def awaiting(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rig.vm()["status"].get("restartAwaitingChanges", [])
    return found


def cores(rig: Rig) -> int:
    """Of the running instance, as the host runs it."""
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    return int(raw.active_xml.split("<vcpu", 1)[1].split(">", 1)[1].split("<", 1)[0])


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"disk.yaml": disk()})
    push(rig)
    assert rig.running()
    rig.verbs()
    return rig


def undisturbed(rig: Rig, instance: str) -> None:
    assert rig.memory(active=True).instance == instance
    assert {"start", "shutdown", "destroy"}.isdisjoint(rig.verbs())


def test_the_status_holds_what_runs_while_a_restart_is_due(on: Rig) -> None:
    before = on.vm()["spec"]
    assert "runningSpec" not in on.vm()["status"]
    push(on, cpu={"cores": 2})
    assert on.vm()["status"]["runningSpec"] == before
    push(on)
    assert "runningSpec" not in on.vm()["status"]


@pytest.mark.promise("S145", "S148", "S149", "S153", "S157")
def test_cores_wait_for_a_restart(on: Rig) -> None:
    instance = on.memory(active=True).instance
    push(on, cpu={"cores": 2})
    assert awaiting(on) == [CORES]
    assert list(awaiting(on)[0]) == sorted(CORES)
    assert condition(on.vm(), AWAITING)["status"] == "True"
    assert condition(on.vm(), "ConfigurationApplied")["status"] == "False"
    assert on.vm()["spec"]["cpu"]["cores"] == 2
    assert on.vm()["spec"]["disruptions"] == {"restartApprovalMode": "Manual"}  # nobody said so
    assert on.vm()["status"]["resources"]["cpu"]["cores"] == 1
    assert cores(on) == 1
    undisturbed(on, instance)
    on.now += 4000
    on.settle()
    undisturbed(on, instance)


@pytest.mark.promise("S148", "S155")
def test_a_revert_ends_the_waiting(on: Rig) -> None:
    instance = on.memory(active=True).instance
    push(on, cpu={"cores": 2})
    push(on)
    assert awaiting(on) == []
    assert condition(on.vm(), AWAITING) == {}
    undisturbed(on, instance)
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    assert cores(on) == 1


@pytest.mark.promise("S137", "S139", "S140", "S138")
def test_what_applies_at_once_reaches_the_running_instance(on: Rig) -> None:
    instance = on.memory(active=True).instance
    push(
        on,
        metadata={"labels": {"tier": "db"}, "annotations": {"note": "mine"}},
        runPolicy="Manual",
        disruptions={"restartApprovalMode": "Automatic"},
        liveMigrationPolicy="AlwaysSafe",
    )
    for live in (on.memory(active=True), on.memory()):
        assert dict(live.labels) == {"tier": "db"}
        assert dict(live.annotations) == {"note": "mine"}
        assert live.spec["runPolicy"] == "Manual"
        assert live.spec["liveMigrationPolicy"] == "AlwaysSafe"
        assert live.spec["disruptions"] == {"restartApprovalMode": "Automatic"}
    assert awaiting(on) == []
    undisturbed(on, instance)


@pytest.mark.promise("S136")
def test_of_mixed_changes_only_the_disruptive_ones_wait(on: Rig) -> None:
    push(on, cpu={"cores": 2}, runPolicy="AlwaysOn", metadata={"labels": {"tier": "db"}})
    assert awaiting(on) == [CORES]
    live = on.memory(active=True)
    spec = machine_spec(live.spec)
    assert (spec["runPolicy"], spec["cpu"]["cores"]) == ("AlwaysOn", 1)
    assert dict(live.labels) == {"tier": "db"}


def test_the_same_amount_in_other_words_is_no_change(on: Rig) -> None:
    push(on, memory={"size": "1Gi"})
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    instance = on.memory(active=True).instance
    on.verbs()
    push(on, memory={"size": "1024Mi"})
    assert awaiting(on) == []
    undisturbed(on, instance)
    assert on.vm()["spec"]["memory"]["size"] == "1024Mi"


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ({"cpu": {"cores": 1, "coreFraction": "50%"}}, "cpu.coreFraction"),
        ({"memory": {"size": "512Mi"}}, "memory.size"),
        ({"bootloader": "EFI"}, "bootloader"),
        ({"osType": "Windows"}, "osType"),
        ({"enableParavirtualization": False}, "enableParavirtualization"),
        ({"virtualMachineClassName": "generic"}, "virtualMachineClassName"),
        ({"disks": ("root", "data")}, "blockDeviceRefs.1"),
        ({"provisioning": {"type": "UserData", "userData": "#cloud-config\n"}}, "provisioning"),
    ],
)
def test_every_other_field_waits_and_then_applies(on: Rig, spec: dict[str, Any], path: str) -> None:
    on.push({"data.yaml": disk("data")})
    push(on, **spec)
    assert [change["path"] for change in awaiting(on)] == [path]
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    assert awaiting(on) == []
    assert on.vm()["status"]["phase"] == "Running"


@pytest.mark.promise("S135")
def test_a_stopped_machine_takes_everything_at_its_next_start(on: Rig) -> None:
    on.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    on.settle()
    on.verbs()
    push(on, cpu={"cores": 2}, memory={"size": "512Mi"})
    assert awaiting(on) == []
    assert "start" not in on.verbs()
    on.push({"start.yaml": operation("start", "vm", "Start")}, OPERATIONS)
    on.settle()
    assert cores(on) == 2
    assert on.vm()["status"]["resources"]["memory"]["size"] == "512Mi"


@pytest.mark.promise("S158")
@pytest.mark.parametrize("together", [True, False])
def test_automatic_restarts_once_and_gently(on: Rig, together: bool) -> None:
    automatic = {"disruptions": {"restartApprovalMode": "Automatic"}}
    if together:
        push(on, cpu={"cores": 2}, **automatic)
    else:
        push(on, **automatic)
        assert {"start", "shutdown"}.isdisjoint(on.verbs())
        push(on, cpu={"cores": 2}, **automatic)
    assert cores(on) == 2
    assert awaiting(on) == []
    verbs = on.verbs()
    assert (verbs.count("start"), verbs.count("shutdown"), verbs.count("destroy")) == (1, 1, 0)


AUTOMATIC: dict[str, Any] = {"disruptions": {"restartApprovalMode": "Automatic"}}


def test_automatic_waits_for_a_guest_that_is_paused(on: Rig) -> None:
    instance = on.memory(active=True).instance
    on.host.pause(on.uuid())
    push(on, cpu={"cores": 2}, **AUTOMATIC)
    on.now += 600
    on.settle()
    undisturbed(on, instance)
    on.host.unpause(on.uuid())
    on.settle()
    assert cores(on) == 2


def test_automatic_waits_for_the_end_of_a_copy(on: Rig) -> None:
    instance = on.memory(active=True).instance

    def begins(root: etree._Element) -> None:
        etree.SubElement(root.findall("devices/disk")[0], "mirror", job="copy")

    def ends(root: etree._Element) -> None:
        for mirror in root.findall("devices/disk/mirror"):
            root.findall("devices/disk")[0].remove(mirror)

    on.host.edit(on.uuid(), begins, live=True)
    push(on, cpu={"cores": 2}, **AUTOMATIC)
    undisturbed(on, instance)
    on.host.edit(on.uuid(), ends, live=True)
    on.settle()
    assert cores(on) == 2


@pytest.mark.parametrize(
    "back",
    [AUTOMATIC, {"cpu": {"cores": 2}}, {"cpu": {"cores": 2}, "disks": ("root", "late")}],
    ids=["reverted", "manual", "not-startable"],
)
def test_an_automatic_restart_is_called_off(on: Rig, back: dict[str, Any]) -> None:
    instance = on.memory(active=True).instance
    on.host.guest_obeys = False
    on.push({"vm.yaml": machine(cpu={"cores": 2}, **AUTOMATIC)})
    on.agent.reconciler.look_at_git()
    for _ in range(3):
        on.step()
    assert on.vm()["status"]["phase"] == "Stopping"
    on.verbs()
    push(on, **back)
    on.now += 600
    on.settle()
    undisturbed(on, instance)
    assert on.vm()["status"]["phase"] == "Running"
    push(on, cpu={"cores": 3}, **AUTOMATIC)  # and the next change is applied again
    assert cores(on) == 3


def test_a_guest_that_goes_down_for_a_restart_that_was_called_off_comes_back(on: Rig) -> None:
    on.host.guest_obeys = False
    on.push({"vm.yaml": machine(cpu={"cores": 2}, **AUTOMATIC)})
    on.agent.reconciler.look_at_git()
    for _ in range(3):
        on.step()
    push(on, **AUTOMATIC)
    on.host.guest_poweroff(on.uuid())  # it was only slow
    on.settle()
    assert on.running()
    assert cores(on) == 1


def test_automatic_waits_for_what_a_start_needs(on: Rig) -> None:
    instance = on.memory(active=True).instance
    push(on, disks=("root", "data"), disruptions={"restartApprovalMode": "Automatic"})
    undisturbed(on, instance)
    on.push({"data.yaml": disk("data")})
    on.settle()
    assert on.memory(active=True).instance != instance
    assert len(on.vm()["status"]["blockDeviceRefs"]) == 2


def test_a_guest_reboot_applies_what_waits(on: Rig) -> None:
    push(on, cpu={"cores": 2})
    on.verbs()
    for _ in range(3):  # libvirt tells of one reboot several times
        on.host.guest_reboot(on.uuid())
    on.settle()
    assert cores(on) == 2
    assert awaiting(on) == []
    verbs = on.verbs()
    assert (verbs.count("start"), verbs.count("destroy")) == (1, 1)


def test_a_guest_reboot_before_the_change_does_not_count(on: Rig) -> None:
    on.host.guest_reboot(on.uuid())
    on.settle()
    on.now += 3600
    instance = on.memory(active=True).instance
    on.verbs()
    push(on, cpu={"cores": 2})
    undisturbed(on, instance)
    assert awaiting(on) == [CORES]


def test_a_crash_applies_what_waits(on: Rig) -> None:
    push(on, cpu={"cores": 2})
    on.host.crash(on.uuid())
    on.settle()
    assert cores(on) == 2


def test_a_restart_by_hand_applies_what_waits(on: Rig) -> None:
    push(on, cpu={"cores": 2})
    on.host.close()
    on.host.destroy(on.uuid())
    on.host.start(on.uuid())
    on.start()
    on.settle()
    assert cores(on) == 2
    assert awaiting(on) == []


def test_the_status_names_the_generation_that_it_is_about(rig: Rig) -> None:
    push(rig)
    push(rig, runPolicy="AlwaysOn")  # nothing else becomes of it: there is no disk
    document = rig.vm()
    assert document["metadata"]["generation"] == 2
    assert document["status"]["observedGeneration"] == 2


# -- what a start needs -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "spec",
    [
        {"disks": ("root", "late")},
        {"virtualMachineClassName": "late"},
        {"cpu": {"cores": 2}, "disks": ("root", "late"), "runPolicy": "AlwaysOn"},
    ],
)
def test_a_change_that_cannot_start_costs_the_running_machine_nothing(
    on: Rig, spec: dict[str, Any]
) -> None:
    instance = on.memory(active=True).instance
    push(on, **spec)
    assert awaiting(on)
    assert on.vm()["status"]["phase"] == "Running"
    undisturbed(on, instance)
    on.host.guest_reboot(on.uuid())
    on.settle()
    undisturbed(on, instance)
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    undisturbed(on, instance)
    assert on.vmop("op")["status"]["phase"] == "Pending"
    on.push({"op.yaml": None}, OPERATIONS)
    push(on)
    assert awaiting(on) == []
    undisturbed(on, instance)


LATE_SECRET = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "late"}}


@pytest.mark.promise("S114", "S117")
@pytest.mark.parametrize("away", [False, True], ids=["watched", "agent-away"])
@pytest.mark.parametrize("end", ["crash", "host_signal", "lose_host", "destroy"])
@pytest.mark.parametrize(
    "spec",
    [
        {"disks": ("root", "late")},
        {"virtualMachineClassName": "late"},
        {"provisioning": LATE_SECRET},
        {"virtualMachineClassName": "small", "cpu": {"cores": 4}},
    ],
    ids=["disk", "class", "secret", "size"],
)
def test_a_change_that_cannot_start_does_not_keep_a_machine_off(
    on: Rig, spec: dict[str, Any], end: str, away: bool
) -> None:
    policies = [{"cores": {"min": 1, "max": 2}}]
    on.push(
        {
            "small.yaml": manifest(
                "VirtualMachineClass",
                "small",
                {"cpu": {"type": "Host"}, "sizingPolicies": policies},
            )
        }
    )
    push(on, **spec)
    waits = awaiting(on)
    instance = on.memory(active=True).instance
    if away:
        on.host.close()
    end_it = getattr(on.host, end)
    end_it(*(() if end == "lose_host" else (on.uuid(),)))
    if away:
        on.start()
    on.settle()
    assert on.running()
    assert on.memory(active=True).instance != instance
    assert on.vm()["status"]["phase"] == "Running"
    assert cores(on) == 1
    assert awaiting(on) == waits


def test_a_machine_that_is_always_on_comes_back_as_it_was(on: Rig) -> None:
    push(on, runPolicy="AlwaysOn", cpu={"cores": 2}, disks=("root", "late"))
    on.host.guest_poweroff(on.uuid())
    on.settle()
    assert cores(on) == 1
    on.push({"late.yaml": disk("late")})
    on.settle()
    assert [change["path"] for change in awaiting(on)] == ["blockDeviceRefs.1", "cpu.cores"]


def test_what_goes_missing_during_a_restart_does_not_keep_a_machine_off(on: Rig) -> None:
    on.host.guest_obeys = False
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.agent.reconciler.look_at_git()
    for _ in range(3):
        on.step()
    assert on.vm()["status"]["phase"] == "Stopping"
    push(on, disks=("root", "late"))
    assert on.vmop("op")["status"]["phase"] == "Completed"
    assert on.running()


def test_a_machine_that_is_off_starts_with_all_or_not_at_all(on: Rig) -> None:
    on.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    on.settle()
    push(on, disks=("root", "late"))
    on.push({"start.yaml": operation("start", "vm", "Start")}, OPERATIONS)
    on.settle()
    assert not on.running()
    assert on.vm()["status"]["phase"] == "Pending"
    push(on, disks=("root", "late"), runPolicy="AlwaysOn")
    assert not on.running()


# -- a disk that a running machine is to lose ---------------------------------------------------


@pytest.fixture
def losing(on: Rig) -> Rig:
    """A machine that runs with a disk that its manifest has let go."""
    on.push({"data.yaml": disk("data")})
    push(on, disks=("root", "data"))
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    push(on)
    assert [change["operation"] for change in awaiting(on)] == ["remove"]
    return on


DATA = "namespaces/default/virtualdisks/data.yaml"


@pytest.mark.parametrize("end", ["Restart", "crash"])
def test_nobody_else_opens_it_before_the_restart(losing: Rig, end: str) -> None:
    attached = [{"name": "vm", "mounted": True}]
    assert losing.document(DATA)["status"]["attachedToVirtualMachines"] == attached
    losing.push({"a.yaml": machine("a", disks=("data",))})
    losing.settle()
    assert not losing.running("a")
    assert "VirtualMachine default/vm" in condition(losing.vm("a"), "BlockDevicesReady")["message"]
    losing.start()
    losing.settle()
    assert not losing.running("a")
    if end == "crash":
        losing.host.crash(losing.uuid())
    else:
        losing.push({"again.yaml": operation("again", "vm", "Restart")}, OPERATIONS)
    losing.settle()
    assert losing.running("a")
    assert losing.running()


def test_nobody_else_opens_it_when_the_machine_goes_on_as_it_was(on: Rig) -> None:
    on.push({"data.yaml": disk("data")})
    push(on, disks=("root", "data"))
    on.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
    on.settle()
    push(on, disks=("root", "late"))
    on.push({"a.yaml": machine("a", disks=("data",))})
    on.settle()
    on.host.crash(on.uuid())
    on.settle()
    raw = on.host.read_domain(on.uuid())
    assert raw is not None
    assert "_data_" in raw.active_xml
    assert not on.running("a")


def test_it_is_not_deleted_and_does_not_grow_before_the_restart(losing: Rig) -> None:
    losing.push({"data.yaml": disk("data", "2Gi")})
    losing.settle()
    assert "resize_volume" not in losing.verbs()
    losing.push({"data.yaml": None})
    losing.settle()
    status = losing.document(DATA)["status"]
    assert status["phase"] == "Terminating"
    assert "VirtualMachine default/vm" in condition({"status": status}, "Terminating")["message"]
    losing.push({"again.yaml": operation("again", "vm", "Restart")}, OPERATIONS)
    losing.settle()
    assert DATA not in losing.documents()


SMALL: dict[str, Any] = {
    "cpu": {"type": "Host"},
    "sizingPolicies": [
        {
            "cores": {"min": 1, "max": 2},
            "memory": {"min": "128Mi", "max": "1Gi"},
            "coreFractions": [50, 100],
        },
    ],
}
"""A class and the sizes that it allows."""


@pytest.mark.promise("S58", "S59")
@pytest.mark.parametrize("by", ["operation", "crash", "approval", "guest"])
@pytest.mark.parametrize(
    "size",
    [
        {"cpu": {"cores": 4}},
        {"memory": {"size": "2Gi"}},
        {"memory": {"size": "64Mi"}},
        {"cpu": {"cores": 1, "coreFraction": "10%"}},
    ],
    ids=["cores", "memory", "little", "fraction"],
)
def test_a_size_against_the_policy_of_its_class_is_never_applied(
    rig: Rig, size: dict[str, Any], by: str
) -> None:
    rig.push({"disk.yaml": disk(), "class.yaml": manifest("VirtualMachineClass", "small", SMALL)})
    small: dict[str, Any] = {"virtualMachineClassName": "small", "cpu": {"cores": 1}}
    push(rig, **small)
    instance = rig.memory(active=True).instance
    before = rig.memory().spec
    rig.verbs()
    automatic = {"disruptions": {"restartApprovalMode": "Automatic"}} if by == "approval" else {}
    push(rig, **{**small, **size}, **automatic, osType="Windows")
    assert condition(rig.vm(), "SizingPolicyMatched")["status"] == "False"
    undisturbed(rig, instance)
    match by:
        case "operation":
            rig.push({"op.yaml": operation("op", "vm", "Restart")}, OPERATIONS)
            rig.settle()
            undisturbed(rig, instance)
            assert rig.vmop("op")["status"]["phase"] == "Pending"
        case "crash":
            rig.host.crash(rig.uuid())
        case "guest":
            rig.host.guest_reboot(rig.uuid())
    rig.settle()
    rig.now += 60
    assert rig.running()
    for active in (True, False):
        memory = rig.memory(active=active)
        for each in ("cpu", "memory", "osType"):
            assert memory.spec[each] == before[each]
    push(rig, **{**small, "cpu": {"cores": 2, "coreFraction": "100%"}}, **automatic)
    assert condition(rig.vm(), "SizingPolicyMatched") == {}
    restarted = by in ("operation", "approval")
    assert awaiting(rig) == ([] if restarted else [CORES])
    assert cores(rig) == (2 if restarted else 1)


# -- going away ---------------------------------------------------------------------------------


@pytest.mark.promise("S49")
def test_a_stopped_machine_takes_nothing(on: Rig) -> None:
    on.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    on.settle()
    status = on.vm()["status"]
    assert status["phase"] == "Stopped"
    assert "nodeName" not in status
    assert not on.running()


@pytest.mark.promise("S50")
def test_a_deleted_machine_leaves_its_disks_and_images(on: Rig) -> None:
    with Faulty() as server:
        server.routes["/image"] = serve(bytes(510) + b"\x55\xaa" + bytes(1 << 20))
        source = {"dataSource": {"type": "HTTP", "http": {"url": server.url("/image")}}}
        on.push({"image.yaml": manifest("ClusterVirtualImage", "image", source)})
        image = {"kind": "ClusterVirtualImage", "name": "image"}
        push(on, blockDeviceRefs=[{"kind": "VirtualDisk", "name": "root"}, image])
    on.host.guest_obeys = False
    volumes = dict(on.host.pools["gitvirt"])
    assert len(volumes) == 2
    on.push({"vm.yaml": None})
    on.agent.reconciler.look_at_git()
    for _ in range(4):
        on.step()
    assert on.vm()["status"]["phase"] == "Terminating"
    push(on)  # too late: it goes, and a new one comes
    assert on.running()
    on.push({"vm.yaml": None})
    on.settle()
    assert on.host.read_domain(on.uuid()) is None
    assert on.host.pools["gitvirt"] == volumes
    for path in ("namespaces/default/virtualdisks/root", "cluster/clustervirtualimages/image"):
        assert on.document(f"{path}.yaml")["status"]["phase"] == "Ready"


def trashed(rig: Rig) -> list[str]:
    return [path for path in rig.documents() if path.startswith("trash/") and "/root" in path]


def test_a_disk_comes_back_from_the_trash_with_its_data(on: Rig) -> None:
    path = "namespaces/default/virtualdisks/root.yaml"
    uid = on.document(path)["metadata"]["uid"]
    volumes = dict(on.host.pools["gitvirt"])
    on.push(
        {
            "vm.yaml": None,
            "disk.yaml": manifest("VirtualMachineClass", "c", {"cpu": {"type": "Host"}}),
        }
    )
    on.settle()
    assert trashed(on)
    assert path not in on.documents()
    on.push({"disk.yaml": disk()})
    push(on)
    assert on.document(path)["metadata"]["uid"] == uid
    assert not trashed(on)
    assert on.host.pools["gitvirt"] == volumes
    assert on.running()


def test_a_disk_in_use_stays_and_its_deletion_can_be_taken_back(on: Rig) -> None:
    path = "namespaces/default/virtualdisks/root.yaml"
    on.push({"disk.yaml": None})
    on.settle()
    assert on.document(path)["status"]["phase"] == "Terminating"
    assert on.running()
    on.push({"disk.yaml": disk()})
    on.settle()
    assert on.document(path)["status"]["phase"] == "Ready"
    assert "deletionTimestamp" not in on.document(path)["metadata"]
