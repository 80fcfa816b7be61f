"""A machine is cloned: its manifests under new names on a branch to merge, its disks made from a snapshot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from agent.core.host import GuestInfo
from agent.core.identity import POOL, domain_uuid, mac_address
from agent.core.proposals import TRAILER
from agent.kinds.cloning.course import GRACE, KEPT_FOR
from tests.memory_repository import MemoryRepository
from tests.plans import planned
from tests.product.test_attachments import attachment
from tests.product.test_machine_snapshots import parts
from tests.rig import (
    MAIN,
    OPERATIONS,
    Rig,
    Unplanned,
    condition,
    disk,
    machine,
    operation,
    vm_key,
)

BRANCH = "refs/heads/clone/default/vm-2"
HOW = {
    "mode": "Strict",
    "nameReplacement": [{"from": {"kind": "VirtualMachine", "name": "vm"}, "to": "vm-2"}],
    "customization": {"namePrefix": "new-"},
}


def volumes(rig: Rig) -> dict[str, bytes]:
    """What each volume of a disk or snapshot holds, by name."""
    found = rig.host.pools[POOL].items()
    return {name: at.content for name, at in found if "_disk" in name}


def volume(rig: Rig, name: str) -> str:
    uid = rig.document(f"namespaces/default/virtualdisks/{name}.yaml")["metadata"]["uid"]
    return next(each for each in volumes(rig) if uid in each)


def ask(rig: Rig, name: str = "copy", **how: Any) -> None:
    rig.push({f"{name}.yaml": operation(name, "vm", "Clone", clone={**HOW, **how})}, OPERATIONS)


def outcome(rig: Rig, name: str = "copy") -> tuple[str, str]:
    found = rig.vmop(name)
    return found["status"]["phase"], condition(found, "Completed")["reason"]


def message(rig: Rig, name: str = "copy") -> str:
    found: str = condition(rig.vmop(name), "Completed")["message"]
    return found


def resources(rig: Rig, name: str = "copy") -> dict[str, tuple[str, str]]:
    listed = rig.vmop(name)["status"]["resources"]
    return {f"{each['kind']} {each['name']}": (each["status"], each["message"]) for each in listed}


def proposed(rig: Rig, ref: str = BRANCH) -> list[dict[str, Any]]:
    """The manifests that a branch adds to main, in their one file."""
    refs = rig.repo.fetch()
    main, branch = ({f.path: f.blob for f in rig.repo.files(refs[at])} for at in (MAIN, ref))
    (path,) = {path for path, blob in branch.items() if main.get(path) != blob}
    assert main.items() <= branch.items()
    return [each for each in yaml.safe_load_all(rig.repo.read(branch[path])) if each]


def merge(rig: Rig, ref: str = BRANCH, *, delete: bool = True) -> None:
    """What a forge does: main gets what the branch has more, and the branch goes."""
    rig.push({"clone.yaml": proposed(rig, ref)})
    if delete:
        remove(rig, ref)


def remove(rig: Rig, ref: str = BRANCH) -> None:
    assert isinstance(rig.repo, MemoryRepository)
    del rig.repo.refs[ref]


def snapshots(rig: Rig) -> list[str]:
    return [path for path in rig.documents() if "snapshots/" in path]


def files() -> dict[str, Any]:
    return {"vms/vm.yaml": [machine(disks=("root", "data")), disk(), disk("data", "2Gi")]}


def going_on(rig: Rig) -> Rig:
    """A machine that runs, with data, and an agent in its guest."""
    rig.push(files())
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.verbs()
    return rig


def fill(rig: Rig) -> None:
    """The snapshots of disks have what the disks had."""
    for part in parts(rig).values():
        stored = rig.host.pools[POOL][part["status"]["volumeSnapshotName"]]
        stored.content = f"{part['spec']['virtualDiskName']} of vm".encode()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Unplanned(tmp_path)


@pytest.fixture
def source(rig: Rig) -> Rig:
    return going_on(rig)


def test_a_branch_has_the_manifests_under_new_names(source: Rig) -> None:
    main = source.repo.fetch()[MAIN]
    ask(source)
    source.settle()
    assert outcome(source) == ("InProgress", "CloneInProgress")
    assert "Merge branch clone/default/vm-2." in message(source)
    tip = source.repo.fetch()[BRANCH]
    commit = source.repo.commit_info(tip)
    assert commit.parents == (main,)
    assert commit.subject == "Clone vm as vm-2"
    assert source.repo.fetch()[MAIN] == main
    vm, *disks = proposed(source)
    assert vm["metadata"] == {"name": "vm-2", "namespace": "default"}
    assert [ref["name"] for ref in vm["spec"]["blockDeviceRefs"]] == ["new-root", "new-data"]
    assert {each["metadata"]["name"]: each["spec"]["persistentVolumeClaim"] for each in disks} == {
        "new-root": {"size": "1Gi"},
        "new-data": {"size": "2Gi"},
    }
    uid = source.vmop("copy")["metadata"]["uid"]
    assert f"{TRAILER}: {uid}" in commit.body
    assert source.vmop("copy")["status"]["branch"]["commit"] == tip
    assert {state for state, _ in resources(source).values()} == {"InProgress"}
    assert source.running()
    assert not {"shutdown", "destroy", "define", "start"} & {*source.verbs()}


def test_what_is_merged_runs_beside_its_origin_and_the_snapshot_goes(source: Rig) -> None:
    ask(source)
    source.settle()
    assert condition(source.vmop("copy"), "SnapshotReady")["status"] == "True"
    fill(source)
    merge(source)
    source.settle()
    assert outcome(source) == ("Completed", "OperationCompleted")
    assert {state for state, _ in resources(source).values()} == {"Completed"}
    for name in ("root", "data"):
        copy = volume(source, f"new-{name}")
        assert volumes(source)[copy] == f"{name} of vm".encode()
        assert copy != volume(source, name)
    assert source.running()
    assert source.running("vm-2")
    clone, origin = source.memory("vm-2"), source.memory("vm")
    assert clone.uid != origin.uid
    raw = source.host.read_domain(domain_uuid("default", vm_key("vm-2")))
    assert raw is not None
    assert mac_address("default", vm_key("vm-2")) in raw.active_xml
    assert mac_address("default", vm_key("vm")) not in raw.active_xml
    assert condition(source.vmop("copy"), "SnapshotReady")["reason"] == "SnapshotCleanedUp"
    source.now += 1000
    source.settle()
    assert snapshots(source) == []
    assert not [name for name in volumes(source) if "snapshot" in name]


@pytest.mark.parametrize("live", [False, True])
def test_a_plan_says_what_would_be_on_the_branch(source: Rig, live: bool) -> None:
    found = planned(source, {"copy.yaml": operation("copy", "vm", "Clone", clone=HOW)}, live=live)
    assert found.names == {"copy": "create"}
    assert found["copy"].reason == (
        "writes branch clone/default/vm-2 with VirtualMachine vm-2, VirtualDisk new-root, "
        "VirtualDisk new-data, to be merged"
    )
    assert BRANCH not in source.repo.fetch()


@pytest.mark.parametrize("mode", ["DryRun", "Strict", "BestEffort"])
def test_a_name_that_is_taken_is_a_clear_failure(source: Rig, mode: str) -> None:
    source.push({"taken.yaml": disk("new-data")})
    source.settle()
    ask(source, mode=mode)
    source.settle()
    assert outcome(source) == ("Failed", "OperationFailed")
    assert "VirtualDisk default/new-data: It is there already" in message(source)
    assert resources(source)["VirtualDisk new-data"][0] == "Failed"
    assert BRANCH not in source.repo.fetch()
    assert snapshots(source) == []


def test_a_dry_run_says_what_would_be_and_does_nothing(source: Rig) -> None:
    ask(source, mode="DryRun")
    source.settle()
    assert outcome(source) == ("Completed", "OperationCompleted")
    assert resources(source).keys() == {
        "VirtualMachine vm-2",
        "VirtualDisk new-root",
        "VirtualDisk new-data",
    }
    assert BRANCH not in source.repo.fetch()
    assert snapshots(source) == []
    assert source.verbs() == []


@pytest.mark.parametrize("mode", ["DryRun", "Strict"])
@pytest.mark.parametrize(
    ("how", "resource", "said"),
    [
        ({"namePrefix": "UPPER-"}, "VirtualDisk UPPER-root", "must be made of"),
        ({"namePrefix": "a" * 59, "nameSuffix": "z" * 59}, "VirtualMachine a", "at most 63"),
    ],
)
def test_a_name_that_does_not_hold_is_found_before_anything_is_done(
    source: Rig, mode: str, how: dict[str, str], resource: str, said: str
) -> None:
    ask(source, mode=mode, customization=how, nameReplacement=[])
    source.settle()
    assert outcome(source) == ("Failed", "OperationFailed")
    told = {key: text for key, (_, text) in resources(source).items() if key.startswith(resource)}
    assert said in "".join(told.values())
    assert snapshots(source) == []
    assert source.verbs() == []


def test_names_that_do_not_differ_from_their_origins_are_no_names(source: Rig) -> None:
    ask(source, customization={})
    source.settle()
    assert "VirtualDisk default/root: It has no other name" in message(source)


def test_two_copies_of_one_name_are_refused(source: Rig) -> None:
    names = [{"from": {"name": each}, "to": "same"} for each in ("root", "data")]
    ask(source, nameReplacement=names, customization={"nameSuffix": "-2"})
    source.settle()
    assert "would be made twice" in message(source)


def test_a_new_name_for_what_does_not_belong_to_the_machine_is_a_slip(source: Rig) -> None:
    names = [*HOW["nameReplacement"], {"from": {"kind": "VirtualDisk", "name": "rot"}, "to": "r2"}]
    ask(source, nameReplacement=names)
    ask(source, "loose", nameReplacement=names, mode="BestEffort")
    source.settle()
    assert message(source) == (
        "nameReplacement has a name for VirtualDisk rot, which does not belong to the machine."
    )
    assert outcome(source, "loose") == ("InProgress", "CloneInProgress")


def test_addresses_are_no_ones_but_the_origins(source: Rig) -> None:
    fixed = machine(disks=("root", "data"), virtualMachineIPAddressName="mine")
    source.push({"off.yaml": operation("off", "vm", "Stop")}, OPERATIONS)
    source.settle()
    source.push({"vms/vm.yaml": [fixed, disk(), disk("data", "2Gi")]})
    source.settle()
    assert source.vm()["spec"]["virtualMachineIPAddressName"] == "mine"
    ask(source)
    source.settle()
    assert "virtualMachineIPAddressName" not in proposed(source)[0]["spec"]


def test_what_is_attached_is_copied_too(source: Rig) -> None:
    hot = attachment("hot", "more")
    source.push({"more.yaml": [disk("more"), hot]})
    source.settle()
    ask(source)
    source.settle()
    by_name = {each["metadata"]["name"]: each for each in proposed(source)}
    assert by_name["new-hot"]["spec"] == {
        "virtualMachineName": "vm-2",
        "blockDeviceRef": {"kind": "VirtualDisk", "name": "new-more"},
    }
    merge(source)
    source.settle()
    assert outcome(source) == ("Completed", "OperationCompleted")
    assert "new-more" in {each["name"] for each in source.vm("vm-2")["status"]["blockDeviceRefs"]}


def test_secrets_are_referred_to_and_what_is_written_in_clear_is_as_people_wrote_it(
    source: Rig,
) -> None:
    data = "#cloud-config\npassword: lantern\n"
    vm = machine(disks=("root", "data"), provisioning={"type": "UserData", "userData": data})
    source.push({"vms/vm.yaml": [vm, disk(), disk("data", "2Gi")]})
    source.settle()
    restart(source)
    source.start()  # the ledger has a marker in its place
    ask(source)
    source.settle()
    assert proposed(source)[0]["spec"]["provisioning"]["userData"] == data
    assert b"lantern" not in b"".join(source.documents().values())


@pytest.mark.parametrize("holds", [True, False])
def test_nothing_is_written_where_only_a_marker_is_left(source: Rig, holds: bool) -> None:
    """What runs is of a commit that is gone, and so is the last good manifest, where main's does not hold."""
    data = "#cloud-config\npassword: lantern\n"
    vm = machine(disks=("root", "data"), provisioning={"type": "UserData", "userData": data})
    commit = source.push({"vms/vm.yaml": [vm, disk(), disk("data", "2Gi")]})
    source.settle()
    restart(source)
    lose(source, commit, "" if holds else "  broken: true\n")
    source.start()
    ask(source)
    source.settle()
    assert outcome(source) == ("Failed", "OperationFailed")
    assert f"cannot be read at commit {commit[:12]} (vms/vm.yaml) any more" in message(source)
    assert BRANCH not in source.repo.fetch()


def restart(rig: Rig) -> None:
    """What runs is what the manifest says."""
    rig.push({"r.yaml": operation("r", "vm", "Restart")}, OPERATIONS)
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.settle()


def lose(rig: Rig, commit: str, more: str = "") -> None:
    """History is rewritten: main says the same in another commit, or `more`, and the old one is gone."""
    assert isinstance(rig.repo, MemoryRepository)
    files = {file.path: rig.repo.read(file.blob) for file in rig.repo.files(commit)}
    del rig.repo.refs[MAIN]
    text = files["vms/vm.yaml"].decode().replace("\nspec:\n", f"\nspec:\n{more}", 1)
    rig.push({**files, "vms/vm.yaml": None, "vms/same.yaml": text})
    rig.repo.lose(commit)


def test_a_branch_of_that_name_that_somebody_else_has_begun_is_left_alone(source: Rig) -> None:
    theirs = source.repo.commit(BRANCH, None, {"a": b"1"}, "mine")
    ask(source)
    source.settle()
    assert outcome(source) == ("Failed", "OperationFailed")
    assert "Branch clone/default/vm-2 is there already" in message(source)
    assert source.repo.fetch()[BRANCH] == theirs
    assert snapshots(source) == []


def test_it_begins_where_main_stands_by_then(source: Rig) -> None:
    ask(source)
    source.agent.reconciler.look_at_git()
    for _ in range(4):
        source.step()
    main = source.push({"later.yaml": disk("later")})
    source.settle()
    tip = source.repo.fetch()[BRANCH]
    assert source.repo.commit_info(tip).parents == (main,)


def test_a_name_that_main_has_by_then_is_not_taken(source: Rig) -> None:
    """Also where the manifest that has it does not hold."""
    bad = disk("new-data")
    bad["spec"]["persistentVolumeClaim"]["size"] = "much"
    source.push({"bad.yaml": bad})
    ask(source)
    source.settle()
    assert outcome(source) == ("Failed", "OperationFailed")
    assert "VirtualDisk default/new-data is there already" in message(source)


def test_a_branch_that_is_deleted_gives_the_clone_up(source: Rig) -> None:
    ask(source)
    source.settle()
    remove(source)
    source.settle()
    assert outcome(source) == ("InProgress", "CloneInProgress")
    assert "is gone, and nothing of it was merged" in message(source)
    assert len(parts(source)) == 2
    source.now += GRACE
    source.settle()
    assert outcome(source) == ("Failed", "OperationFailed")
    source.now += 1000
    source.settle()
    assert snapshots(source) == []
    assert not [name for name in volumes(source) if "snapshot" in name]


def test_a_branch_that_comes_back_in_time_was_not_given_up(source: Rig) -> None:
    ask(source)
    source.settle()
    tip = source.repo.fetch()[BRANCH]
    remove(source)
    source.settle()
    source.now += GRACE / 2
    assert isinstance(source.repo, MemoryRepository)
    source.repo.refs[BRANCH] = tip
    source.settle()
    source.now += GRACE
    source.settle()
    assert outcome(source) == ("InProgress", "CloneInProgress")
    assert "Merge branch" in message(source)
    remove(source)
    source.settle()
    assert outcome(source) == ("InProgress", "CloneInProgress")


def test_a_branch_that_nobody_merges_is_kept_for_a_month(source: Rig) -> None:
    ask(source)
    source.settle()
    source.now += KEPT_FOR - 3600
    source.settle()
    assert outcome(source) == ("InProgress", "CloneInProgress")
    assert len(parts(source)) == 2
    source.now += 3600
    source.settle()
    assert outcome(source) == ("Failed", "OperationFailed")
    assert "was not merged in 30 days" in message(source)
    assert BRANCH in source.repo.fetch()
    source.now += 1000
    source.settle()
    assert snapshots(source) == []


def test_it_is_called_off_by_deleting_its_file(source: Rig) -> None:
    ask(source)
    source.settle()
    source.push({"copy.yaml": None}, OPERATIONS)
    source.settle()
    assert "copy.yaml" not in str([path for path in source.documents() if "operations" in path])
    assert parts(source) == {}
    assert BRANCH in source.repo.fetch()


def test_the_snapshot_stays_while_something_is_made_from_it(source: Rig) -> None:
    ask(source)
    source.settle()
    source.host.free = 0
    merge(source)
    for _ in range(20):
        source.agent.reconciler.look_at_git()
        source.step()
        source.now += 10
    assert outcome(source) == ("InProgress", "CloneInProgress")
    source.push({"copy.yaml": None}, OPERATIONS)
    for _ in range(20):
        source.agent.reconciler.look_at_git()
        source.step()
        source.now += 10
    assert len(parts(source)) == 2
    source.host.free = 1 << 40
    source.settle()
    assert source.running("vm-2")


def test_what_waits_for_a_merge_keeps_no_other_operation_waiting(source: Rig) -> None:
    ask(source)
    source.settle()
    restart(source)
    assert outcome(source, "r") == ("Completed", "OperationCompleted")
    assert outcome(source) == ("InProgress", "CloneInProgress")


def test_without_an_agent_in_the_guest_nothing_consistent_can_be_kept(rig: Rig) -> None:
    rig.push(files())
    rig.settle()
    ask(rig)
    rig.settle()
    assert outcome(rig) == ("Failed", "OperationFailed")
    assert condition(rig.vmop("copy"), "SnapshotReady")["reason"] == "SnapshotCleanedUp"
    assert "Its snapshot failed" in message(rig)
    assert BRANCH not in rig.repo.fetch()


def test_a_machine_that_is_off_is_cloned_as_it_is(source: Rig) -> None:
    source.push({"off.yaml": operation("off", "vm", "Stop")}, OPERATIONS)
    source.settle()
    ask(source)
    source.settle()
    merge(source)
    source.settle()
    assert outcome(source) == ("Completed", "OperationCompleted")
    assert not source.running()
    assert source.running("vm-2")


def test_best_effort_leaves_out_what_is_missing(source: Rig) -> None:
    image = {"kind": "VirtualImage", "name": "tools"}
    vm = machine(disks=("root", "data"))
    vm["spec"]["blockDeviceRefs"].append(image)
    source.push({"vms/vm.yaml": [vm, disk(), disk("data", "2Gi")]})
    source.push({"off.yaml": operation("off", "vm", "Stop")}, OPERATIONS)
    source.settle()
    ask(source, "all")
    ask(source, "some", mode="BestEffort")
    source.settle()
    assert outcome(source, "all") == ("Failed", "OperationFailed")
    assert "VirtualImage default/tools, which it refers to, is not there" in message(source, "all")
    assert [each["name"] for each in proposed(source)[0]["spec"]["blockDeviceRefs"]] == [
        "new-root",
        "new-data",
    ]
    assert "VirtualImage default/tools" in resources(source, "some")["VirtualMachine vm-2"][1]


def test_an_operation_that_comes_too_late_does_not_begin(source: Rig) -> None:
    late = operation("copy", "vm", "Clone", clone=HOW)
    late["metadata"]["annotations"] = {"gitvirt.io/not-after": "2020-01-01T00:00:00Z"}
    source.push({"copy.yaml": late}, OPERATIONS)
    source.settle()
    assert outcome(source) == ("Failed", "Expired")
    assert snapshots(source) == []
