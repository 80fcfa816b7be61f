"""All disks of a machine at one moment, each in a snapshot of its own that nobody has a manifest of."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.backup import mark_of
from agent.core.host import GuestInfo, HostError
from agent.core.identity import POOL
from agent.core.schema import Catalogue
from agent.core.tables import table
from tests.memory_host import Killed
from tests.plans import planned
from tests.product.test_attachments import attachment
from tests.rig import Rig, condition, disk, machine, manifest

READY = "VirtualMachineSnapshotReady"
FOLDER = "namespaces/default/virtualmachinesnapshots"
PARTS = "namespaces/default/virtualdisksnapshots"


def snapshot(name: str = "snap", of: str = "vm", **spec: Any) -> dict[str, Any]:
    whole = {"virtualMachineName": of, "keepIPAddress": "Always", "requiredConsistency": True}
    return manifest("VirtualMachineSnapshot", name, {**whole, **spec})


def shown(rig: Rig, name: str = "snap") -> dict[str, Any]:
    return rig.document(f"{FOLDER}/{name}.yaml")


def status(rig: Rig, name: str = "snap") -> dict[str, Any]:
    found: dict[str, Any] = shown(rig, name)["status"]
    return found


def parts(rig: Rig) -> dict[str, dict[str, Any]]:
    """The snapshots of disks, by name."""
    paths = (path for path in rig.documents() if path.startswith(PARTS))
    return {(found := rig.document(path))["metadata"]["name"]: found for path in paths}


def kept(rig: Rig) -> dict[str, bytes]:
    return {
        name: at.content for name, at in rig.host.pools[POOL].items() if "_disksnapshot_" in name
    }


@pytest.fixture
def up(rig: Rig) -> Rig:
    """A machine with two disks that runs, with an agent in its guest."""
    rig.push({"vm.yaml": machine(disks=("root", "data")), "disks.yaml": [disk(), disk("data")]})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.verbs()
    return rig


def test_all_disks_are_kept_at_one_moment(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    uid = shown(up)["metadata"]["uid"]
    assert (status(up)["phase"], status(up)["consistent"]) == ("Ready", True)
    assert status(up)["virtualDiskSnapshotNames"] == [f"root-{uid}", f"data-{uid}"]
    assert condition(shown(up), READY)["status"] == "True"
    assert condition(shown(up), "VirtualMachineReady")["status"] == "True"
    assert sorted(kept(up).values()) == [b"whole", b"whole"]
    assert len(up.host.freezes) == 1
    assert up.verbs().count("begin_backup") == 1


def test_each_disk_has_a_snapshot_that_belongs_to_the_machines(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    uid = shown(up)["metadata"]["uid"]
    assert parts(up).keys() == {f"root-{uid}", f"data-{uid}"}
    for disk_name in ("root", "data"):
        part = parts(up)[f"{disk_name}-{uid}"]
        assert part["spec"] == {"virtualDiskName": disk_name, "requiredConsistency": True}
        assert part["status"]["phase"] == "Ready"
        assert part["status"]["consistent"] is True
        assert part["status"]["volumeSnapshotName"] in kept(up)
        (owner,) = part["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["name"], owner["uid"]) == (
            "VirtualMachineSnapshot",
            "snap",
            uid,
        )
    summary = up.settle()
    assert summary.problems == ()


def test_it_says_in_which_commits_the_manifests_stand(up: Rig) -> None:
    first = up.vm()["metadata"]["annotations"]["gitvirt.io/source"]
    up.push({"vm.yaml": machine(disks=("root", "data"), cpu={"cores": 2}), "snap.yaml": snapshot()})
    up.settle()
    found = {(each["kind"], each["name"]): each for each in status(up)["resources"]}
    assert found.keys() == {
        ("VirtualMachine", "vm"),
        ("VirtualDisk", "root"),
        ("VirtualDisk", "data"),
    }
    # the machine still runs as it was before
    assert found["VirtualMachine", "vm"]["source"] == first
    assert found["VirtualDisk", "root"]["apiVersion"] == "virtualization.deckhouse.io/v1alpha2"
    assert status(up)["virtualMachineSnapshotSecretName"] == "snap"


def test_of_a_secret_only_its_commit_is_kept(rig: Rig) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "data"},
        "type": "provisioning.virtualization.deckhouse.io/cloud-init",
        "stringData": {"userData": "#cloud-config\npassword: hunter2\n"},
    }
    ref = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "data"}}
    vm = machine(provisioning=ref, runPolicy="AlwaysOff")
    rig.push({"vm.yaml": vm, "disk.yaml": disk(), "secret.yaml": secret, "snap.yaml": snapshot()})
    rig.settle()
    (found,) = [each for each in status(rig)["resources"] if each["kind"] == "Secret"]
    assert (found["apiVersion"], found["name"]) == ("v1", "data")
    assert found["source"].endswith(":secret.yaml")
    assert not any(b"hunter2" in text for text in rig.documents().values())


def test_a_machine_that_is_off_is_at_rest(rig: Rig) -> None:
    rig.push(
        {
            "vm.yaml": machine(disks=("root", "data"), runPolicy="AlwaysOff"),
            "disks.yaml": [disk(), disk("data")],
            "snap.yaml": snapshot(),
        }
    )
    rig.settle()
    assert (status(rig)["phase"], status(rig)["consistent"]) == ("Ready", True)
    assert rig.host.freezes == []
    assert len(kept(rig)) == 2


def test_a_guest_that_cannot_be_frozen_fails_it_for_good(up: Rig) -> None:
    up.host.guests.clear()
    up.push({"snap.yaml": snapshot()})
    up.settle()
    assert status(up)["phase"] == "Failed"
    assert condition(shown(up), READY)["reason"] == "VirtualMachineSnapshotFailed"
    assert {part["status"]["phase"] for part in parts(up).values()} == {"Failed"}
    assert kept(up) == {}
    up.host.guests[up.uuid()] = GuestInfo()
    up.start()
    up.settle()
    assert status(up)["phase"] == "Failed"
    assert kept(up) == {}


def test_one_of_a_paused_machine_waits_for_somebody_and_goes_on_by_itself_then(up: Rig) -> None:
    files = {"snap.yaml": snapshot()}
    up.push(files)
    up.agent.reconciler.look_at_git()
    up.host.pause(up.uuid())
    up.settle()  # nothing of it gets anywhere by itself
    assert status(up)["phase"] == "Pending"
    assert "phase Pause" in condition(shown(up), "VirtualMachineReady")["message"]
    up.host.unpause(up.uuid())
    up.settle()
    assert status(up)["phase"] == "Ready"


def test_it_waits_for_its_machine(rig: Rig) -> None:
    rig.push({"snap.yaml": snapshot()})
    rig.settle()
    assert status(rig)["phase"] == "Pending"
    assert condition(shown(rig), READY)["reason"] == "WaitingForTheVirtualMachine"
    told = condition(shown(rig), "VirtualMachineReady")
    assert (told["status"], told["reason"]) == ("False", "VirtualMachineNotReadyForSnapshotting")
    assert parts(rig) == {}


def test_what_was_deleted_comes_back_whole(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    before, volumes = parts(up).keys(), kept(up)
    up.push({"snap.yaml": None})
    up.settle()
    assert parts(up) == {}
    assert f"{FOLDER}/snap.yaml" not in up.documents()
    assert kept(up) == volumes
    up.push({"snap.yaml": snapshot()})
    up.settle()
    assert status(up)["phase"] == "Ready"
    assert parts(up).keys() == before
    assert {part["status"]["phase"] for part in parts(up).values()} == {"Ready"}
    assert kept(up) == volumes
    assert len(up.host.freezes) == 1


def test_the_trash_erases_all_of_it(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    up.push({"snap.yaml": None})
    up.settle()
    up.now += 8 * 86400
    up.settle()
    assert kept(up) == {}
    assert not [path for path in up.documents() if path.startswith("trash/")]


def test_its_parts_stay_without_a_manifest_over_agents(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    before = up.documents().keys()
    up.start("another")
    up.settle()
    up.push({"more.yaml": disk("more")})
    up.settle()
    assert before <= up.documents().keys()
    assert len(kept(up)) == 2


def test_machine_and_disks_may_go_and_the_snapshot_stays(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    up.push({"vm.yaml": None, "disks.yaml": None})
    up.settle()
    up.now += 8 * 86400
    up.settle()
    assert status(up)["phase"] == "Ready"
    assert len(kept(up)) == 2


def test_a_part_that_is_lost_is_told(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    up.host.pools[POOL].pop(next(iter(kept(up))))
    up.start()
    up.settle()
    assert status(up)["phase"] == "Failed"
    assert condition(shown(up), READY)["reason"] == "VirtualDiskSnapshotLost"


def test_one_that_is_withdrawn_while_it_is_taken_leaves_nothing(up: Rig) -> None:
    def kill(verb: str, phase: str) -> None:
        if (verb, phase) == ("begin_backup", "after"):
            raise Killed

    up.host.jobs_held, up.host.on_effect = True, kill
    up.push({"snap.yaml": snapshot()})
    with pytest.raises(Killed):
        up.settle()
    up.host.on_effect = lambda _verb, _phase: None
    up.push({"snap.yaml": None})
    up.start()
    up.settle()
    assert kept(up) == {}
    assert parts(up) == {}
    assert not up.host.jobs[up.uuid()].running


@pytest.mark.parametrize("phase", ["before", "after"])
def test_the_agent_is_killed_at_each_effect(up: Rig, phase: str) -> None:
    """No two moments are ever mixed: all volumes are of one backup."""
    for number in range(1, 14):
        count = [0]

        def kill(_verb: str, when: str, number: int = number, count: list[int] = count) -> None:
            count[0] += when == phase
            if count[0] == number and when == phase:
                raise Killed

        up.host.on_effect = kill
        name = f"{phase}-{number}"
        up.push({f"{name}.yaml": snapshot(name)})
        try:
            up.settle()
        except Killed:
            up.host.on_effect = lambda _verb, _phase: None
            up.start("another" if number % 2 else "agent")
            up.settle()
        up.host.on_effect = lambda _verb, _phase: None
        assert status(up, name)["phase"] == "Ready"
        assert len(kept(up)) == 2 * number
        assert set(kept(up).values()) == {b"whole"}
        raw = up.host.read_domain(up.uuid())
        assert raw is not None
        assert mark_of(raw.active_xml) is None, "its disks would never grow again"


def test_disks_that_were_attached_meanwhile_are_kept_too(up: Rig) -> None:
    attached = attachment("more", "more")
    up.push({"more.yaml": [disk("more"), attached]})
    up.settle()
    up.push({"snap.yaml": snapshot()})
    up.settle()
    assert status(up)["phase"] == "Ready"
    assert {part["spec"]["virtualDiskName"] for part in parts(up).values()} == {
        *("root", "data", "more")
    }
    assert len(kept(up)) == 3
    found = {(each["kind"], each["name"]): each for each in status(up)["resources"]}
    assert found["VirtualMachineBlockDeviceAttachment", "more"]["source"].endswith(":more.yaml")


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("policy", ["AlwaysOn", "AlwaysOff"])
def test_an_effect_fails_once(rig: Rig, phase: str, policy: str) -> None:
    """It ends well, or for good with nothing left over; a copy that has failed does not come back."""
    vm = machine(disks=("root", "data"), runPolicy=policy)
    rig.push({"vm.yaml": vm, "disks.yaml": [disk(), disk("data")]})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    ready = 0
    for number in range(1, 12):
        count = [0]

        def fail(verb: str, when: str, number: int = number, count: list[int] = count) -> None:
            count[0] += when == phase
            if count[0] == number and when == phase:
                raise HostError("HypervisorError", f"{verb} failed")

        rig.host.on_effect = fail
        name = f"snap-{number}"
        rig.push({f"{name}.yaml": snapshot(name)})
        rig.settle()
        rig.host.on_effect = lambda _verb, _phase: None
        ready += status(rig, name)["phase"] == "Ready"
        assert len(kept(rig)) == 2 * ready
        assert not any(volume.endswith("unfinished") for volume in kept(rig))
    assert ready == 11
    assert rig.running() is (policy == "AlwaysOn")


def test_a_plan_leaves_what_nobody_has_a_manifest_of(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    assert planned(up).report.items == []
    up.push({"more.yaml": disk("more")})
    assert {item.key.name for item in planned(up).report.items} == {"more"}


def test_a_plan_says_what_becomes_of_a_snapshot(up: Rig) -> None:
    up.push({"snap.yaml": snapshot()})
    (item,) = planned(up).report.items
    assert (item.key.kind, item.operation) == ("VirtualMachineSnapshot", "create")
    up.settle()
    up.push({"snap.yaml": None})
    (item,) = planned(up).report.items
    assert (item.key.kind, item.operation) == ("VirtualMachineSnapshot", "delete")
    assert "trash" in item.reason


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("vmsnapshot", "snap"),
        ("vmsnapshots", "snap"),
        ("vdsnapshot", "root-"),
        ("vdsnapshots", "root-"),
    ],
)
def test_they_are_listed_with_phase_and_consistency(up: Rig, word: str, name: str) -> None:
    up.push({"snap.yaml": snapshot()})
    up.settle()
    catalogue = Catalogue.load()
    kind = catalogue.find(word)
    folder = f"namespaces/default/{kind.plural}/"
    objects = [up.document(path) for path in up.documents() if path.startswith(folder)]
    shown_table = table(kind, objects, now=up.now)
    assert shown_table.headers == ("NAME", "PHASE", "CONSISTENT", "AGE")
    rows = [row for row in shown_table.rows if row[0].startswith(name)]
    assert [row[1:3] for row in rows] == [("Ready", "true")]


def test_the_machine_says_while_a_snapshot_of_it_is_taken(up: Rig) -> None:
    seen = []

    def look(verb: str, phase: str) -> None:
        if (verb, phase) == ("begin_backup", "before"):
            seen.append(condition(up.vm(), "Snapshotting"))

    up.host.on_effect = look
    up.push({"snap.yaml": snapshot()})
    up.settle()
    ((told),) = seen
    assert (told["status"], told["reason"]) == ("True", "SnapshottingInProgress")
    assert "VirtualMachineSnapshot default/snap" in told["message"]
    assert condition(up.vm(), "Snapshotting") == {}
