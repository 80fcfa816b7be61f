"""What keeps objects from being deleted, or from being acted on at all."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from agent.core.schema import Catalogue
from agent.gitrepo.worktree import CommitSource
from agent.kinds.registry import CHECKS
from agent.reconcile.desired import ManifestReader
from agent.reconcile.plans.planning import plan
from agent.reconcile.status_branch import StatusBranch
from tests.rig import MAIN, OPERATIONS, STATUS, Rig, condition, disk, machine, operation, vm_key

SUSPENDED = {"annotations": {"gitvirt.io/reconcile": "disabled"}}
UNPRUNED = {"annotations": {"gitvirt.io/prune": "disabled"}}


def there(rig: Rig) -> set[str]:
    """Names of the VMs and disks that are in force and not on their way out."""
    return {
        path.rsplit("/", 1)[-1].removesuffix(".yaml")
        for path in rig.documents()
        if path.startswith("namespaces/")
        and "deletionTimestamp" not in rig.document(path)["metadata"]
    }


def held(rig: Rig) -> str:
    return " ".join(problem.message for problem in rig.agent.reconciler.summary().problems)


def off(name: str, **more: Any) -> dict[str, Any]:
    return machine(name, disks=(f"{name}-root",), runPolicy="AlwaysOff", **more)


@pytest.fixture
def fleet(rig: Rig) -> Rig:
    """Four VMs with a disk each, and two more disks."""
    for name in "abcd":
        rig.push({f"{name}.yaml": off(name), f"{name}-root.yaml": disk(f"{name}-root")})
    rig.push({"x.yaml": disk("x"), "y.yaml": disk("y")})
    rig.settle()
    rig.verbs()
    return rig


ALL = {*"abcd", *(f"{name}-root" for name in "abcd"), "x", "y"}


def confirm(value: str) -> dict[str, Any]:
    return {
        "apiVersion": "deckhouse.io/v1alpha1",
        "kind": "ModuleConfig",
        "metadata": {
            "name": "virtualization",
            "annotations": {"gitvirt.io/confirm-deletion": value},
        },
        "spec": {"version": 1, "enabled": True, "settings": {}},
    }


def as_planned(rig: Rig) -> str:
    """The value that a plan of the pushed commit names."""
    catalogue = Catalogue.load()
    refs = rig.repo.fetch()
    ledger = StatusBranch(rig.repo, catalogue, STATUS, "default").read(refs[STATUS])
    source = CommitSource(rig.repo, refs[MAIN])
    desired = ManifestReader(catalogue, CHECKS).read(source)
    report = plan(catalogue, ledger, desired, "default", rig.now)
    reasons = {item.reason for item in report.items if item.operation == "held"}
    (reason,) = reasons
    return reason.partition("gitvirt.io/confirm-deletion: ")[2].split()[0]


def test_a_commit_that_would_delete_too_much_waits_for_a_confirmation(fleet: Rig) -> None:
    fleet.push(dict.fromkeys(["a.yaml", "b.yaml", "c.yaml"]))
    fleet.settle()
    assert there(fleet) == ALL
    assert "3 of 4 objects of kind VirtualMachine would be deleted" in held(fleet)
    fleet.start()
    fleet.settle()
    assert there(fleet) == ALL
    fleet.push({"config.yaml": confirm("0123456789ab")})
    fleet.settle()
    assert there(fleet) == ALL
    fleet.push({"config.yaml": confirm(as_planned(fleet))})
    fleet.settle()
    assert there(fleet) == ALL - set("abc")
    assert held(fleet) == ""


def test_a_confirmation_is_for_one_set(fleet: Rig) -> None:
    fleet.push(dict.fromkeys(["a.yaml", "b.yaml", "c.yaml"]))
    fleet.settle()
    value = as_planned(fleet)
    fleet.push({"d.yaml": None, "config.yaml": confirm(value)})
    fleet.settle()
    assert there(fleet) == ALL


def test_a_confirmation_that_stays_means_no_later_objects_of_the_same_names(fleet: Rig) -> None:
    gone = dict.fromkeys(["a.yaml", "b.yaml", "c.yaml"])
    fleet.push(gone)
    fleet.settle()
    fleet.push({"config.yaml": confirm(as_planned(fleet))})
    fleet.settle()
    assert there(fleet) == ALL - set("abc")
    fleet.push({f"{name}.yaml": off(name) for name in "abc"})
    fleet.settle()
    assert there(fleet) == ALL
    fleet.push(gone)
    fleet.settle()
    assert there(fleet) == ALL
    assert "3 of 4 objects of kind VirtualMachine would be deleted" in held(fleet)


def test_a_revert_frees_what_was_held(fleet: Rig) -> None:
    fleet.push(dict.fromkeys(["a.yaml", "b.yaml", "c.yaml"]))
    fleet.settle()
    fleet.push({f"{name}.yaml": off(name) for name in "ab"})
    fleet.settle()
    assert there(fleet) == ALL - {"c"}


def test_machines_and_disks_count_apart(fleet: Rig) -> None:
    """Two of four VMs and two of six disks are few of each."""
    fleet.push(dict.fromkeys(["a.yaml", "b.yaml", "x.yaml", "y.yaml"]))
    fleet.settle()
    assert there(fleet) == ALL - {"a", "b", "x", "y"}


def test_too_many_disks_hold_the_machines_too(fleet: Rig) -> None:
    fleet.push(dict.fromkeys(["a.yaml", "a-root.yaml", "x.yaml", "y.yaml"]))
    fleet.settle()
    assert there(fleet) == ALL
    assert "3 of 6 objects of kind VirtualDisk" in held(fleet)


def test_what_is_on_its_way_out_is_no_more_counted_as_there(fleet: Rig) -> None:
    """Nobody deletes a fleet in slices that are small against what was there once."""
    more = [f"more-{number}" for number in range(6)]
    fleet.push({f"{name}.yaml": disk(name) for name in more})
    fleet.settle()  # twelve disks
    fleet.push({"a-root.yaml": None, "b-root.yaml": None, "c-root.yaml": None})
    fleet.settle()  # a quarter, and they stay until their VMs go
    assert len(there(fleet)) == len(ALL) + 6 - 3
    fleet.push(dict.fromkeys([f"{name}.yaml" for name in more[:3]]))
    fleet.settle()  # three of the nine that are left
    assert set(more) < there(fleet)


def test_operations_are_free(fleet: Rig) -> None:
    for number in range(4):
        fleet.push({f"{number}.yaml": operation(f"op-{number}", "a", "Start")}, OPERATIONS)
    fleet.settle()
    fleet.push(dict.fromkeys([f"{number}.yaml" for number in range(4)]), OPERATIONS)
    fleet.settle()
    assert there(fleet) == ALL


def wipe(rig: Rig) -> None:
    tip = rig.repo.fetch()[MAIN]
    rig.push({file.path: None for file in rig.repo.files(tip)})


def leave_an_operation(rig: Rig) -> None:
    wipe(rig)
    rig.push({"op.yaml": operation("op", "a", "Start")})


def leave_an_operation_elsewhere(rig: Rig) -> None:
    rig.push({"op.yaml": operation("op", "a", "Start")}, OPERATIONS)
    wipe(rig)


def break_a_file(rig: Rig) -> None:
    rig.push({"a.yaml": None, "x.yaml": "kind: [\n"})


def lose_the_branch(rig: Rig) -> None:
    rig.repo.refs.pop(MAIN)  # type: ignore[attr-defined]


def twice(rig: Rig) -> None:
    rig.push({"again/a.yaml": off("a"), "again/b.yaml": off("b")})


@pytest.mark.parametrize("restarted", [False, True], ids=["same-agent", "another-agent"])
@pytest.mark.parametrize(
    "accident",
    [
        wipe,
        leave_an_operation,
        leave_an_operation_elsewhere,
        break_a_file,
        lose_the_branch,
        twice,
    ],
)
def test_an_accident_deletes_nothing(
    rig: Rig, accident: Callable[[Rig], None], restarted: bool
) -> None:
    """Two VMs: too few for the guard of mass deletions."""
    rig.push({f"{name}.yaml": off(name) for name in "ab"} | {"x.yaml": disk("x")})
    rig.settle()
    accident(rig)
    if restarted:
        rig.start()
    rig.agent.reconciler.look_at_git()
    for _ in range(20):
        rig.now += 10
        rig.step()
    assert {"a", "b", "x"} <= there(rig)
    assert "undefine" not in rig.verbs()
    summary = rig.agent.reconciler.summary()
    assert summary.problems or summary.git_error


@pytest.mark.parametrize("ref", [MAIN, OPERATIONS])
def test_no_operation_is_withdrawn_while_a_file_cannot_be_read(rig: Rig, ref: str) -> None:
    """It may stand in what cannot be read."""
    rig.push({"disk.yaml": disk(), "vm.yaml": machine()})
    rig.settle()
    rig.host.guest_obeys = False
    rig.push({"op.yaml": operation("op", "vm", "Stop")}, OPERATIONS)
    passes(rig)
    assert rig.vmop("op")["status"]["phase"] == "InProgress"
    rig.push({"broken.yaml": "a: [\n"}, ref)
    rig.push({"op.yaml": None}, OPERATIONS)
    passes(rig)
    assert rig.vmop("op")["status"]["phase"] == "InProgress"
    assert "deletionTimestamp" not in rig.vmop("op")["metadata"]
    rig.push({"broken.yaml": None}, ref)
    rig.settle()
    assert "namespaces/default/virtualmachineoperations/op.yaml" not in rig.documents()
    assert rig.running()


def passes(rig: Rig) -> None:
    rig.agent.reconciler.look_at_git()
    for _ in range(4):
        rig.step()


@pytest.mark.parametrize("folder", ["", "deep/er/"])
def test_a_manifest_that_moves_is_no_deletion(fleet: Rig, folder: str) -> None:
    before = fleet.vm("a")["metadata"]["uid"]
    everything = [off(name) for name in "abcd"] + [disk(f"{name}-root") for name in "abcd"]
    gone = dict.fromkeys(f"{name}{end}.yaml" for name in "abcd" for end in ("", "-root"))
    fleet.push({**gone, f"{folder}all.yaml": everything})
    fleet.settle()
    assert there(fleet) == ALL
    assert fleet.vm("a")["metadata"]["uid"] == before
    assert "undefine" not in fleet.verbs()


@pytest.mark.parametrize("annotations", [UNPRUNED, SUSPENDED], ids=["prune", "reconcile"])
def test_an_annotation_keeps_an_object_whose_manifest_is_gone(
    rig: Rig, annotations: dict[str, Any]
) -> None:
    rig.push({"a.yaml": off("a", metadata=annotations), "b.yaml": off("b"), "x.yaml": disk("x")})
    rig.settle()
    rig.push({"a.yaml": None, "b.yaml": None})
    rig.settle()
    assert there(rig) == {"a", "x"}
    assert f"{next(iter(annotations['annotations']))}: disabled" in held(rig)
    rig.push({"a.yaml": off("a")})
    rig.settle()
    rig.push({"a.yaml": None})
    rig.settle()
    assert there(rig) == {"x"}


# -- suspension -------------------------------------------------------------------------------


def test_a_suspended_machine_is_not_acted_on(rig: Rig) -> None:
    rig.push({"disk.yaml": disk(), "vm.yaml": machine(metadata=SUSPENDED)})
    summary = rig.settle()
    assert summary.waiting == ()
    assert rig.verbs() == ["create_volume"]
    assert condition(rig.vm(), "Suspended")["reason"] == "ReconciliationDisabled"
    rig.push({"vm.yaml": machine()})
    rig.settle()
    assert rig.running()
    assert condition(rig.vm(), "Suspended") == {}


def test_what_happens_to_a_suspended_machine_is_reported_and_left(rig: Rig) -> None:
    rig.push({"disk.yaml": disk(), "vm.yaml": machine(runPolicy="AlwaysOn")})
    rig.settle()
    rig.push({"vm.yaml": machine(runPolicy="AlwaysOn", metadata=SUSPENDED, cpu={"cores": 2})})
    rig.settle()
    rig.verbs()
    assert rig.vm()["status"]["phase"] == "Running"
    assert rig.vm()["status"]["restartAwaitingChanges"]
    rig.host.crash(rig.uuid())
    rig.push({"op.yaml": operation("op", "vm", "Restart", force=True)}, OPERATIONS)
    rig.settle()
    rig.now += 4000
    rig.settle()
    assert rig.verbs() == []
    assert rig.vm()["status"]["phase"] != "Running"
    rig.push({"vm.yaml": machine(runPolicy="AlwaysOn", cpu={"cores": 2})})
    rig.settle()
    assert rig.running()
    assert rig.vm()["status"]["resources"]["cpu"]["cores"] == 2


@pytest.mark.parametrize("suspend", ["vm", "operation"])
def test_an_operation_waits_for_the_end_of_a_suspension(rig: Rig, suspend: str) -> None:
    on_vm, on_operation = (SUSPENDED, {}) if suspend == "vm" else ({}, SUSPENDED)
    rig.push({"disk.yaml": disk(), "vm.yaml": machine()})
    rig.settle()
    rig.push({"vm.yaml": machine(metadata=on_vm)})
    rig.settle()
    rig.verbs()
    asked = operation("op", "vm", "Stop")
    asked["metadata"] |= on_operation
    rig.push({"op.yaml": asked}, OPERATIONS)
    rig.agent.reconciler.look_at_git()
    for _ in range(10):
        rig.step()
        rig.now += 10
    assert rig.running()
    assert rig.verbs() == []
    assert rig.vmop("op")["status"]["phase"] == "Pending"
    assert rig.vm()["status"]["phase"] == "Running"
    rig.push({"vm.yaml": machine()})
    rig.push({"op.yaml": operation("op", "vm", "Stop")}, OPERATIONS)
    rig.settle()
    assert not rig.running()
    assert rig.vmop("op")["status"]["phase"] == "Completed"


def test_a_suspended_disk_is_neither_made_nor_grown(rig: Rig) -> None:
    rig.push({"a.yaml": {**disk("a"), "metadata": {"name": "a", **SUSPENDED}}, "b.yaml": disk("b")})
    rig.settle()
    rig.push({"b.yaml": {**disk("b", "2Gi"), "metadata": {"name": "b", **SUSPENDED}}})
    rig.settle()
    assert rig.verbs() == ["create_volume"]
    rig.push({"a.yaml": disk("a"), "b.yaml": disk("b", "2Gi")})
    rig.settle()
    assert sorted(rig.verbs()) == ["create_volume", "resize_volume"]


def test_a_suspension_ends_no_deadline_in_a_busy_loop(rig: Rig) -> None:
    """A grace period that runs out while a VM is suspended wakes nobody."""
    rig.push({"disk.yaml": disk(), "vm.yaml": machine(terminationGracePeriodSeconds=30)})
    rig.settle()
    rig.host.guest_obeys = False
    rig.push({"op.yaml": operation("op", "vm", "Stop")}, OPERATIONS)
    rig.agent.reconciler.look_at_git()
    for _ in range(4):
        rig.step()
    assert rig.vmop("op")["status"]["phase"] == "InProgress"
    rig.push({"vm.yaml": machine(terminationGracePeriodSeconds=30, metadata=SUSPENDED)})
    rig.agent.reconciler.look_at_git()
    for _ in range(4):
        rig.step()
    rig.now += 3600
    rig.verbs()
    for _ in range(4):
        rig.step()
    assert rig.step() > 0
    assert rig.verbs() == []
    assert rig.running()
    assert vm_key() not in rig.agent.reconciler.summary().waiting
