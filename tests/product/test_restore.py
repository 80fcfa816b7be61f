"""Disks get the data of a snapshot back, and what they held until then lies in the trash."""

from __future__ import annotations

from typing import Any

import pytest

from agent.core.host import GuestInfo
from agent.core.identity import POOL
from tests.plans import planned
from tests.product.test_machine_snapshots import FOLDER, parts, snapshot
from tests.rig import OPERATIONS, Rig, condition, disk, machine, operation

SAME = "Its specification stays as its manifest says, which is as it was then."
OLD, NEW = b"as it was", b"as it went on"


def volumes(rig: Rig) -> dict[str, bytes]:
    """What each disk's volumes hold, by name."""
    found = rig.host.pools[POOL].items()
    return {name: at.content for name, at in found if "_disk_" in name}


def uid(rig: Rig, name: str) -> str:
    found: str = rig.document(f"namespaces/default/virtualdisks/{name}.yaml")["metadata"]["uid"]
    return found


def volume(rig: Rig, name: str = "root") -> str:
    return next(each for each in volumes(rig) if uid(rig, name) in each)


def write(rig: Rig, name: str, content: bytes) -> None:
    rig.host.pools[POOL][volume(rig, name)].content = content


def ask(rig: Rig, name: str = "back", mode: str = "Strict", **more: Any) -> None:
    what = {"mode": mode, "virtualMachineSnapshotName": "snap", **more}
    rig.push({f"{name}.yaml": operation(name, "vm", "Restore", restore=what)}, OPERATIONS)


def outcome(rig: Rig, name: str = "back") -> tuple[str, str]:
    found = rig.vmop(name)
    return found["status"]["phase"], condition(found, "Completed")["reason"]


@pytest.fixture
def taken(rig: Rig) -> Rig:
    return with_snapshot(rig)


def with_snapshot(rig: Rig) -> Rig:
    """A machine that runs, has a snapshot, and has gone on since."""
    rig.push({"vm.yaml": machine(disks=("root", "data")), "disks.yaml": [disk(), disk("data")]})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.push({"snap.yaml": snapshot()})
    rig.settle()
    for part in parts(rig).values():
        stored = rig.host.pools[POOL][part["status"]["volumeSnapshotName"]]
        stored.content = OLD + part["spec"]["virtualDiskName"].encode()
    for name in ("root", "data"):
        write(rig, name, NEW + name.encode())
    rig.verbs()
    return rig


def test_a_machine_that_runs_goes_on_with_the_data_of_the_snapshot(taken: Rig) -> None:
    old = {name: volume(taken, name) for name in ("root", "data")}
    ask(taken)
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    for name in ("root", "data"):
        assert volume(taken, name) != old[name]
        assert volumes(taken)[volume(taken, name)] == OLD + name.encode()
        assert volumes(taken)[old[name]] == NEW + name.encode()
    assert taken.running()
    raw = taken.host.read_domain(taken.uuid())
    assert raw is not None
    assert volume(taken) in raw.active_xml
    assert old["root"] not in raw.active_xml
    verbs = taken.verbs()
    assert (verbs.count("start"), verbs.count("destroy"), verbs.count("shutdown")) == (1, 0, 1)


def resources(rig: Rig, name: str = "back") -> dict[str, tuple[str, str]]:
    """What is said of each object: its state and the sentence, by kind and name."""
    listed = rig.vmop(name)["status"]["resources"]
    return {f"{each['kind']} {each['name']}": (each["status"], each["message"]) for each in listed}


def message(rig: Rig, name: str = "back") -> str:
    found: str = condition(rig.vmop(name), "Completed")["message"]
    return found


def stop(rig: Rig) -> None:
    rig.push({"off.yaml": operation("off", "vm", "Stop")}, OPERATIONS)
    rig.settle()
    assert not rig.running()
    rig.verbs()


def restored(rig: Rig) -> bool:
    return all(volumes(rig)[volume(rig, name)] == OLD + name.encode() for name in ("root", "data"))


def test_a_machine_that_is_off_stays_off(taken: Rig) -> None:
    stop(taken)
    ask(taken)
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert restored(taken)
    assert taken.vm()["status"]["phase"] == "Stopped"
    assert "start" not in taken.verbs()


@pytest.mark.parametrize(
    "policy", ["AlwaysOn", "AlwaysOff", "Manual", "AlwaysOnUnlessStoppedManually"]
)
def test_the_run_policy_is_the_same_to_it(taken: Rig, policy: str) -> None:
    taken.push({"vm.yaml": machine(disks=("root", "data"), runPolicy=policy)})
    taken.settle()
    on = taken.running()
    assert on is (policy != "AlwaysOff")
    ask(taken)
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert restored(taken)
    assert taken.running() is on


def test_what_each_object_comes_to_stands_in_the_status(taken: Rig) -> None:
    old, created = (
        volume(taken),
        taken.document(f"{FOLDER}/snap.yaml")["metadata"]["creationTimestamp"],
    )
    ask(taken, mode="DryRun")
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    state, said = resources(taken)["VirtualDisk root"]
    assert state == "Completed"
    assert f"Its volume {old} goes to the trash" in said
    assert created in said
    assert "--undo OPERATION`" in said  # this one is none that anything could be brought back of
    assert resources(taken)["VirtualMachine vm"][1] == SAME
    assert taken.verbs() == []
    assert volume(taken) == old


def test_what_the_manifest_says_else_by_now_is_named_and_stays(taken: Rig) -> None:
    before = taken.vm()["metadata"]["annotations"]["gitvirt.io/source"].partition(":")[0]
    taken.push({"vm.yaml": machine(disks=("root", "data"), cpu={"cores": 2})})
    taken.settle()
    after = taken.vm()["metadata"]["annotations"]["gitvirt.io/source"].partition(":")[0]
    ask(taken)
    taken.settle()
    said = resources(taken)["VirtualMachine vm"]
    assert f"`git diff {before[:12]} {after[:12]} -- vm.yaml`" in said[1]
    assert taken.vm()["status"]["resources"]["cpu"]["cores"] == 2
    assert restored(taken)


def without_data(taken: Rig) -> None:
    taken.push({"vm.yaml": machine()})
    taken.settle()
    taken.push({"r.yaml": operation("apply", "vm", "Restart")}, OPERATIONS)
    taken.settle()
    taken.verbs()


def test_a_disk_that_the_machine_has_no_more_is_a_clear_failure(taken: Rig) -> None:
    without_data(taken)
    old = volume(taken)
    ask(taken)
    taken.settle()
    assert outcome(taken) == ("Failed", "OperationFailed")
    assert "does not have it any more" in resources(taken)["VirtualDisk data"][1]
    assert taken.verbs() == []
    assert volume(taken) == old


def test_best_effort_leaves_out_what_is_missing(taken: Rig) -> None:
    without_data(taken)
    ask(taken, mode="BestEffort")
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert resources(taken)["VirtualDisk data"][0] == "Failed"
    assert resources(taken)["VirtualDisk root"][0] == "Completed"
    assert volumes(taken)[volume(taken)] == OLD + b"root"
    assert volumes(taken)[volume(taken, "data")] == NEW + b"data"
    assert taken.running()


@pytest.mark.parametrize("mode", ["Strict", "BestEffort", "DryRun"])
def test_a_disk_that_another_machine_has_too_is_not_replaced(taken: Rig, mode: str) -> None:
    taken.push({"other.yaml": machine("other", disks=("data",))})
    taken.settle()
    ask(taken, mode=mode)
    taken.settle()
    assert outcome(taken) == ("Failed", "OperationFailed")
    assert "VirtualMachine default/other has it, too" in message(taken)
    assert taken.running()


@pytest.mark.parametrize("mode", ["Strict", "DryRun"])
def test_what_is_not_there_is_a_clear_failure(taken: Rig, mode: str) -> None:
    ask(taken, mode=mode, virtualMachineSnapshotName="none")
    taken.settle()
    assert outcome(taken) == ("Failed", "OperationFailed")
    assert message(taken) == "VirtualMachineSnapshot default/none is not there."


def test_a_snapshot_of_another_machine_is_none_of_this(taken: Rig) -> None:
    taken.push({"other.yaml": [machine("other", disks=("more",)), disk("more")]})
    taken.settle()
    taken.push(
        {
            "o.yaml": operation(
                "o",
                "other",
                "Restore",
                restore={"mode": "Strict", "virtualMachineSnapshotName": "snap"},
            )
        },
        OPERATIONS,
    )
    taken.settle()
    assert outcome(taken, "o") == ("Failed", "OperationFailed")
    assert "is of VirtualMachine vm" in message(taken, "o")


def test_nobody_starts_it_in_between(taken: Rig) -> None:
    taken.host.free = 0
    ask(taken)
    for _ in range(40):
        taken.step()
        taken.now += 1
    assert outcome(taken) == ("InProgress", "RestoreInProgress")
    assert condition(taken.vmop("back"), "MaintenanceMode")["status"] == "True"
    assert condition(taken.vm(), "Maintenance")["reason"] == "RestoreInProgress"
    assert not taken.running()
    taken.host.start(taken.uuid())
    for _ in range(10):
        taken.step()
        taken.now += 5
    assert not taken.running()
    taken.host.free = 1 << 40
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert condition(taken.vmop("back"), "MaintenanceMode")["status"] == "False"
    assert condition(taken.vm(), "Maintenance") == {}
    assert restored(taken)
    assert taken.running()


def test_one_that_is_withdrawn_before_anything_is_replaced_changes_nothing(taken: Rig) -> None:
    taken.host.guest_obeys = False
    old = volume(taken)
    ask(taken)
    taken.agent.reconciler.look_at_git()
    for _ in range(3):
        taken.step()
    taken.push({"back.yaml": None}, OPERATIONS)
    taken.settle()
    assert volume(taken) == old
    assert taken.running()


def test_what_went_on_meanwhile_comes_back_from_the_trash(taken: Rig) -> None:
    ask(taken)
    taken.settle()
    kept = [
        path
        for path in taken.documents()
        if path.startswith("trash/") and "virtualdisks/root" in path
    ]
    assert len(kept) == 1


@pytest.mark.parametrize("live", [False, True])
def test_a_plan_says_what_is_replaced_and_what_stays_different(taken: Rig, live: bool) -> None:
    old = {name: volume(taken, name) for name in ("root", "data")}
    what = {"mode": "Strict", "virtualMachineSnapshotName": "snap"}
    found = planned(
        taken, {"back.yaml": operation("back", "vm", "Restore", restore=what)}, live=live
    )
    assert found.names == {"back": "create", "data": "act", "root": "act", "vm": "act"}
    for name in ("root", "data"):
        assert f"Its volume {old[name]} goes to the trash" in found[name].reason
        assert found[name].actions == ["CopyVolume"]
    assert found["back"].reason == SAME
    assert found["vm"].actions == ["DefineDomain", "ShutdownDomain", "StartDomain"]
    assert taken.verbs() == []


def test_one_whose_snapshot_is_deleted_meanwhile_ends_well(taken: Rig) -> None:
    taken.host.free = 0
    ask(taken)
    for _ in range(40):
        taken.step()
        taken.now += 1
    taken.push({"snap.yaml": None})
    for _ in range(5):
        taken.step()
        taken.now += 31
    assert outcome(taken) == ("InProgress", "RestoreInProgress")
    taken.host.free = 1 << 40
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert restored(taken)
    assert taken.running()


def undo(rig: Rig, earlier: str = "back", name: str = "undo", mode: str = "Strict") -> None:
    what = {"mode": mode, "virtualMachineSnapshotName": "snap"}
    asked = operation(name, "vm", "Restore", restore=what)
    asked["metadata"]["annotations"] = {"gitvirt.io/undo": earlier}
    rig.push({f"{name}.yaml": asked}, OPERATIONS)


def undone(rig: Rig) -> bool:
    return all(volumes(rig)[volume(rig, name)] == NEW + name.encode() for name in ("root", "data"))


@pytest.mark.parametrize("on", [True, False])
def test_what_a_restore_has_replaced_is_brought_back(taken: Rig, on: bool) -> None:
    before = {name: uid(taken, name) for name in ("root", "data")}
    if not on:
        stop(taken)
    ask(taken)
    taken.settle()
    assert restored(taken)
    assert "`gitvirt restore vm --undo back`" in resources(taken)["VirtualDisk root"][1]
    taken.verbs()
    undo(taken)
    taken.settle()
    assert outcome(taken, "undo") == ("Completed", "OperationCompleted")
    assert {name: uid(taken, name) for name in before} == before
    assert undone(taken)
    assert taken.running() is on
    verbs = taken.verbs()
    assert (verbs.count("start"), verbs.count("shutdown")) == ((1, 1) if on else (0, 0))
    assert not {"copy_volume", "create_volume"} & {*verbs}
    if on:
        raw = taken.host.read_domain(taken.uuid())
        assert raw is not None
        assert volume(taken) in raw.active_xml


def test_an_undo_is_undone_like_a_restore(taken: Rig) -> None:
    ask(taken)
    taken.settle()
    after = {name: uid(taken, name) for name in ("root", "data")}
    undo(taken)
    taken.settle()
    undo(taken, "undo", "redo")
    taken.settle()
    assert outcome(taken, "redo") == ("Completed", "OperationCompleted")
    assert {name: uid(taken, name) for name in after} == after
    assert restored(taken)
    assert taken.running()


def test_what_was_not_replaced_or_is_erased_is_not_brought_back(taken: Rig) -> None:
    undo(taken, "never", "one")
    taken.settle()
    assert outcome(taken, "one") == ("Failed", "OperationFailed")
    ask(taken)
    taken.settle()
    taken.now += 8 * 86400
    taken.settle()
    taken.settle()
    undo(taken, "back", "two")
    taken.settle()
    assert outcome(taken, "two") == ("Failed", "OperationFailed")
    assert "Nothing lies in the trash that back has replaced" in message(taken, "two")
    assert restored(taken)
    assert taken.running()


def test_a_dry_run_of_an_undo_changes_nothing(taken: Rig) -> None:
    ask(taken)
    taken.settle()
    kept = taken.documents().keys()
    taken.verbs()
    undo(taken, mode="DryRun")
    taken.settle()
    assert outcome(taken, "undo") == ("Completed", "OperationCompleted")
    assert "what it held before back comes back" in resources(taken, "undo")["VirtualDisk root"][1]
    assert restored(taken)
    assert taken.verbs() == []
    assert {path for path in kept if path.startswith("trash/")} <= taken.documents().keys()


def test_a_plan_says_what_an_undo_brings_back(taken: Rig) -> None:
    ask(taken)
    taken.settle()
    what = {"mode": "Strict", "virtualMachineSnapshotName": "snap"}
    asked = operation("undo", "vm", "Restore", restore=what)
    asked["metadata"]["annotations"] = {"gitvirt.io/undo": "back"}
    found = planned(taken, {"undo.yaml": asked}, live=False)
    assert "comes back from there" in found["root"].reason
    assert found["root"].actions == []
