"""A machine is made from what a snapshot has: its manifests as they were then, on a branch to merge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.host import GuestInfo
from agent.core.identity import POOL
from agent.core.schema import Catalogue
from agent.core.tables import table, text
from tests.product.test_clone import (
    BRANCH,
    HOW,
    fill,
    going_on,
    merge,
    proposed,
    volume,
    volumes,
)
from tests.product.test_machine_snapshots import snapshot
from tests.rig import OPERATIONS, Rig, Unplanned, condition, disk, machine, manifest, operation

KIND = "VirtualMachineSnapshotOperation"
FOLDER = "namespaces/default/virtualmachinesnapshotoperations"
CATALOGUE = Catalogue.load()


def ask(rig: Rig, name: str = "make", of: str = "snap", **how: Any) -> None:
    spec: dict[str, Any] = {"type": "CreateVirtualMachine", "virtualMachineSnapshotName": of}
    if how:
        spec["createVirtualMachine"] = {**HOW, **how}
    rig.push({f"{name}.yaml": manifest(KIND, name, spec)}, OPERATIONS)


def shown(rig: Rig, name: str = "make") -> dict[str, Any]:
    return rig.document(f"{FOLDER}/{name}.yaml")


def outcome(rig: Rig, name: str = "make") -> tuple[str, str]:
    found = shown(rig, name)
    return found["status"]["phase"], condition(found, "Completed")["reason"]


def message(rig: Rig, name: str = "make") -> str:
    found: str = condition(shown(rig, name), "Completed")["message"]
    return found


def resources(rig: Rig, name: str = "make") -> dict[str, tuple[str, str]]:
    listed = shown(rig, name)["status"]["resources"]
    return {f"{each['kind']} {each['name']}": (each["status"], each["message"]) for each in listed}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Unplanned(tmp_path)


@pytest.fixture
def taken(rig: Rig) -> Rig:
    """A machine that has gone on since its snapshot: with more cores, and other data."""
    going_on(rig)
    rig.push({"snap.yaml": snapshot()})
    rig.settle()
    fill(rig)
    for name in ("root", "data"):
        rig.host.pools[POOL][volume(rig, name)].content = b"later"
    vm = machine(disks=("root", "data"), cpu={"cores": 2})
    rig.push({"vms/vm.yaml": [vm, disk(), disk("data", "2Gi")]})
    rig.settle()
    return rig


@pytest.mark.parametrize("mode", ["Strict", "BestEffort"])
def test_a_machine_is_made_as_it_was_beside_the_one_that_goes_on(taken: Rig, mode: str) -> None:
    ask(taken, mode=mode)
    taken.settle()
    assert outcome(taken) == ("InProgress", "CreateVirtualMachineInProgress")
    assert "Merge branch clone/default/vm-2." in message(taken)
    vm, *disks = proposed(taken)
    assert vm["spec"]["cpu"] == {"cores": 1}
    assert {each["metadata"]["name"] for each in disks} == {"new-root", "new-data"}
    assert "later changes are not in it" in resources(taken)["VirtualMachine vm-2"][1]
    merge(taken)
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert {state for state, _ in resources(taken).values()} == {"Completed"}
    for name in ("root", "data"):
        assert volumes(taken)[volume(taken, f"new-{name}")] == f"{name} of vm".encode()
        assert volumes(taken)[volume(taken, name)] == b"later"
    assert taken.running()
    assert taken.running("vm-2")
    assert taken.document("namespaces/default/virtualmachinesnapshots/snap.yaml")


def test_without_other_names_it_comes_back_where_it_is_gone(taken: Rig) -> None:
    ask(taken, "early")
    taken.settle()
    assert outcome(taken, "early") == ("Failed", "OperationFailed")
    assert "VirtualMachine default/vm: It has no other name" in message(taken, "early")
    taken.push({"vms/vm.yaml": None, "other.yaml": disk("other")})
    taken.settle()
    ask(taken)
    taken.settle()
    merge(taken, "refs/heads/clone/default/vm")
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert taken.running()
    assert volumes(taken)[volume(taken, "root")] == b"root of vm"


def test_a_dry_run_says_what_would_be_and_does_nothing(taken: Rig) -> None:
    ask(taken, mode="DryRun")
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert "It is made from data-" in resources(taken)["VirtualDisk new-data"][1]
    assert BRANCH not in taken.repo.fetch()


def test_a_snapshot_that_is_not_there_is_a_clear_failure(taken: Rig) -> None:
    ask(taken, of="none", mode="Strict")
    taken.settle()
    assert outcome(taken) == ("Failed", "VirtualMachineSnapshotNotFound")
    assert message(taken) == "VirtualMachineSnapshot default/none is not there."


def test_one_that_is_not_ready_is_waited_for(rig: Rig) -> None:
    rig.push({"snap.yaml": snapshot()})
    rig.settle()
    ask(rig, mode="Strict")
    rig.settle()
    assert shown(rig)["status"]["phase"] == "Pending"
    assert condition(shown(rig), "Completed")["reason"] == "NotReadyToBeExecuted"
    rig.push({"vm.yaml": [machine(runPolicy="AlwaysOff"), disk()]})
    rig.settle()
    assert outcome(rig) == ("InProgress", "CreateVirtualMachineInProgress")


def test_a_secret_that_has_changed_since_stops_all_but_best_effort(rig: Rig) -> None:
    rig.push({"s.yaml": secret("one"), "vm.yaml": [disk(), with_secret()]})
    rig.settle()
    rig.host.guests[rig.uuid()] = GuestInfo()
    rig.push({"snap.yaml": snapshot()})
    rig.settle()
    rig.push({"s.yaml": secret("two")})
    rig.settle()
    ask(rig, mode="Strict")
    ask(rig, "loose", mode="BestEffort")
    rig.settle()
    assert outcome(rig) == ("Failed", "OperationFailed")
    assert "Secret default/cloud: It has changed since the snapshot" in message(rig)
    assert outcome(rig, "loose") == ("InProgress", "CreateVirtualMachineInProgress")
    assert proposed(rig)[0]["spec"]["provisioning"] == with_secret()["spec"]["provisioning"]


def secret(value: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cloud"},
        "type": "provisioning.virtualization.deckhouse.io/cloud-init",
        "stringData": {"userData": f"#cloud-config\nhostname: {value}\n"},
    }


def with_secret() -> dict[str, Any]:
    ref = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "cloud"}}
    return machine(provisioning=ref)


def test_what_it_has_been_asked_for_stays_said(taken: Rig) -> None:
    """Its table is the guide's, its spec never changes, and it is withdrawn a day after its end."""
    ask(taken, mode="DryRun")
    taken.settle()
    lines = text(table(CATALOGUE.kinds[KIND], [shown(taken)], now=taken.now)).splitlines()
    assert lines[0].split() == ["NAME", "PHASE", "TYPE", "VIRTUALMACHINESNAPSHOT", "AGE"]
    assert lines[1].split()[:4] == ["make", "Completed", "CreateVirtualMachine", "snap"]
    ask(taken, mode="Strict")
    taken.settle()
    assert outcome(taken) == ("Completed", "OperationCompleted")
    assert "choose another name" in taken.documents()["problems.yaml"].decode()
    taken.now += 25 * 3600
    taken.settle()
    taken.settle()
    assert f"{FOLDER}/make.yaml" not in taken.documents()


def test_an_operation_of_a_ledger_that_is_lost_is_not_carried_out_again(taken: Rig) -> None:
    ask(taken, mode="Strict")
    taken.settle()
    assert outcome(taken)[0] == "InProgress"
    repo: Any = taken.repo
    del repo.refs["refs/heads/status"]
    del repo.refs[BRANCH]
    taken.start()
    taken.settle()
    assert outcome(taken) == ("Failed", "Expired")
    assert BRANCH not in taken.repo.fetch()


def test_other_kinds_of_operations_are_none_of_its(taken: Rig) -> None:
    ask(taken, mode="Strict")
    taken.push({"r.yaml": operation("r", "vm", "Restart")}, OPERATIONS)
    taken.settle()
    assert taken.vmop("r")["status"]["phase"] == "Completed"
    assert outcome(taken)[0] == "InProgress"
