"""What a plan says, and that what it says is what happens."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from lxml import etree

from agent.cli.plan import _machine
from agent.core import planprint
from agent.images.download import PATIENCE
from agent.reconcile.plans.items import lines
from tests.plans import planned, touched
from tests.rig import OPERATIONS, Rig, disk, machine, manifest, operation

EXAMPLES = Path(__file__).parents[2] / "examples"


def paths(changes: list[Any]) -> list[str]:
    return [change.path for change in changes]


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    rig.verbs()
    return rig


@pytest.fixture
def off(on: Rig) -> Rig:
    on.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    on.settle()
    assert not on.running()
    on.verbs()
    return on


@pytest.mark.parametrize("live", [False, True])
def test_nothing_new_is_nothing_to_do(on: Rig, live: bool) -> None:
    assert planned(on, live=live).report.empty


@pytest.mark.parametrize("live", [False, True])
def test_a_new_machine_is_created_with_all_that_it_takes(rig: Rig, live: bool) -> None:
    rig.push({"other.yaml": disk("other")})
    rig.settle()
    found = planned(rig, {"vm.yaml": [disk(), machine()]}, live=live)
    assert found.names == {"root": "create", "vm": "create"}
    assert found["root"].actions == ["CreateVolume"]
    assert found["vm"].actions == ["DefineDomain", "StartDomain"]


@pytest.mark.parametrize("live", [False, True])
def test_what_needs_a_restart_is_named_field_by_field(on: Rig, live: bool) -> None:
    new = machine(cpu={"cores": 2}, memory={"size": "512Mi"}, metadata={"labels": {"a": "b"}})
    found = planned(on, {"vm.yaml": [disk(), new]}, live=live)["vm"]
    assert found.operation == "change"
    assert paths(found.restart) == ["cpu.cores", "memory.size"]
    assert [str(change) for change in found.immediate] == ["metadata.labels.a: + b"]
    assert found.next_start == []
    assert not {"ShutdownDomain", "StartDomain", "DestroyDomain"} & set(found.actions)


@pytest.mark.parametrize("live", [False, True])
def test_a_machine_that_is_off_takes_changes_at_its_next_start(off: Rig, live: bool) -> None:
    found = planned(off, {"vm.yaml": [disk(), machine(cpu={"cores": 2})]}, live=live)["vm"]
    assert (found.immediate, found.restart) == ([], [])
    assert paths(found.next_start) == ["cpu.cores"]
    assert "StartDomain" not in found.actions


@pytest.mark.parametrize("live", [False, True])
def test_taking_back_what_waits_needs_no_restart(on: Rig, live: bool) -> None:
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    on.settle()
    assert on.vm()["status"]["restartAwaitingChanges"]
    found = planned(on, {"vm.yaml": [disk(), machine()]}, live=live)["vm"]
    assert found.restart == []
    assert paths(found.immediate) == ["cpu.cores"]


@pytest.mark.parametrize("live", [False, True])
def test_a_change_beside_what_waits_is_told_alone(on: Rig, live: bool) -> None:
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    on.settle()
    assert planned(on, live=live).report.empty
    new = machine(cpu={"cores": 2}, memory={"size": "512Mi"})
    found = planned(on, {"vm.yaml": [disk(), new]}, live=live)["vm"]
    assert paths(found.restart) == ["memory.size"]


@pytest.mark.parametrize("live", [False, True])
def test_a_disk_that_is_replaced_while_another_change_waits(on: Rig, live: bool) -> None:
    on.push({"vm.yaml": [disk(), disk("data"), machine(disks=("root", "data"))]})
    on.settle()
    assert on.vm()["status"]["restartAwaitingChanges"]
    new = machine(disks=("root", "data"), cpu={"cores": 2})
    found = planned(on, {"vm.yaml": [disk(), disk("data"), new]}, live=live)["vm"]
    assert paths(found.restart) == ["cpu.cores"]


@pytest.mark.parametrize("live", [False, True])
def test_an_automatic_restart_shows_its_verbs(on: Rig, live: bool) -> None:
    new = machine(cpu={"cores": 2}, disruptions={"restartApprovalMode": "Automatic"})
    found = planned(on, {"vm.yaml": [disk(), new]}, live=live)["vm"]
    assert paths(found.restart) == ["cpu.cores"]
    verbs = found.actions
    assert verbs.index("ShutdownDomain") < verbs.index("StartDomain")
    assert found.automatic


@pytest.mark.parametrize("live", [False, True])
def test_automatic_restarts_are_told_apart_from_those_that_wait_for_somebody(
    on: Rig, live: bool
) -> None:
    on.push({"other.yaml": [disk("data"), machine("other", disks=("data",))]})
    on.settle()
    by_itself = machine(cpu={"cores": 2}, disruptions={"restartApprovalMode": "Automatic"})
    asked = machine("other", disks=("data",), cpu={"cores": 2})
    files = {"vm.yaml": [disk(), by_itself], "other.yaml": [disk("data"), asked]}
    report = planned(on, files, live=live).report
    assert planprint.summary(lines(report), 0) == (
        "2 to change, 1 restarts by itself, 1 needs a restart"
    )
    text = planprint.text(lines(report), ())
    assert "    restart by itself   cpu.cores: 1 → 2" in text
    assert "    restart     cpu.cores: 1 → 2" in text
    assert "  - restart by itself: cpu.cores: 1 → 2" in planprint.markdown(lines(report), ())


@pytest.mark.parametrize("live", [False, True])
def test_a_machine_that_fits_on_no_node_is_blocked(on: Rig, live: bool) -> None:
    large = machine("large", disks=("data",), memory={"size": "900Gi"})
    found = planned(on, {"new.yaml": [disk("data"), large]}, live=live)["large"]
    assert (found.operation, found.actions) == ("blocked", [])
    assert "node-1 has" in found.reason
    changed = machine(memory={"size": "900Gi"}, disruptions={"restartApprovalMode": "Automatic"})
    found = planned(on, {"vm.yaml": [disk(), changed]}, live=live)["vm"]
    assert "node-1 has" in found.reason
    assert "ShutdownDomain" not in found.actions


@pytest.mark.parametrize("live", [False, True])
def test_a_machine_that_was_started_by_hand_runs_in_plans_too(rig: Rig, live: bool) -> None:
    rig.push({"vm.yaml": [disk(), machine(runPolicy="Manual")]})
    rig.settle()
    rig.push({"op.yaml": operation("on", "vm", "Start")}, OPERATIONS)
    rig.settle()
    assert rig.running()
    found = planned(
        rig, {"vm.yaml": [disk(), machine(runPolicy="Manual", cpu={"cores": 2})]}, live=live
    )
    assert (paths(found["vm"].restart), paths(found["vm"].immediate)) == (["cpu.cores"], [])
    gone = planned(rig, {"vm.yaml": disk()}, live=live)["vm"]
    assert gone.actions[:2] == ["DefineDomain", "ShutdownDomain"]


@pytest.mark.parametrize("live", [False, True])
def test_deleting_a_machine_that_lacks_something_stops_it(on: Rig, live: bool) -> None:
    lacking = machine(disks=("root", "nowhere"))
    on.push({"vm.yaml": [disk(), lacking]})
    on.settle()
    assert on.running()
    found = planned(on, {"vm.yaml": disk()}, live=live)["vm"]
    assert {"ShutdownDomain", "UndefineDomain"} <= set(found.actions)
    on.push({"vm.yaml": [disk(), machine(virtualMachineClassName="none")]})
    on.settle()
    found = planned(on, {"vm.yaml": disk()}, live=live)["vm"]
    assert {"ShutdownDomain", "UndefineDomain"} <= set(found.actions)


@pytest.mark.parametrize("live", [False, True])
def test_a_disk_that_one_machine_runs_with_is_not_another_ones(on: Rig, live: bool) -> None:
    on.push({"a.yaml": machine("a", disks=("root",))})
    on.settle()
    assert on.vm("a")["status"]["phase"] == "Pending"
    labelled = machine("a", disks=("root",), metadata={"labels": {"a": "b"}})
    assert planned(on, {"a.yaml": labelled}, live=live)["a"].actions == []
    freed = planned(on, {"vm.yaml": disk()}, live=live)
    assert freed["a"].actions == ["DefineDomain", "StartDomain"]


@pytest.mark.parametrize("live", [False, True])
def test_a_disk_that_a_machine_is_to_lose_at_its_restart_is_not_a_new_ones(
    on: Rig, live: bool
) -> None:
    on.push({"vm.yaml": [disk(), disk("data"), machine(disks=("data",))]})
    on.settle()
    found = planned(on, {"new.yaml": machine("new", disks=("root",))}, live=live)["new"]
    assert (found.operation, found.actions) == ("blocked", [])
    assert "is in use by VirtualMachine default/vm" in found.reason


def test_a_class_that_no_node_can_give_stays_one(on: Rig) -> None:
    model = {"cpu": {"type": "Model", "model": "EPYC-of-tomorrow"}}
    new = machine("new", disks=("data",), virtualMachineClassName="far")
    on.push({"far.yaml": manifest("VirtualMachineClass", "far", model), "data.yaml": disk("data")})
    on.settle()
    assert planned(on, {"new.yaml": new})["new"].operation == "blocked"


STILL = {"annotations": {"gitvirt.io/reconcile": "disabled"}}


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("mode", ["Manual", "Automatic"])
def test_resuming_a_machine_shows_what_was_changed_meanwhile(
    on: Rig, live: bool, mode: str
) -> None:
    more: dict[str, Any] = {"disruptions": {"restartApprovalMode": mode}}
    on.push({"vm.yaml": [disk(), machine(metadata=STILL, **more)]})
    on.settle()
    on.push({"vm.yaml": [disk(), machine(metadata=STILL, cpu={"cores": 2}, **more)]})
    on.settle()
    assert planned(on, live=live).report.empty
    found = planned(on, {"vm.yaml": [disk(), machine(cpu={"cores": 2}, **more)]}, live=live)["vm"]
    assert paths(found.restart) == ["cpu.cores"]
    assert paths(found.immediate) == ["metadata.annotations.gitvirt.io/reconcile"]
    assert found.automatic is (mode == "Automatic")
    restarted = ["DefineDomain", "ShutdownDomain", "StartDomain"]
    assert found.actions == (restarted if mode == "Automatic" else ["DefineDomain"])
    taken_back = planned(on, {"vm.yaml": [disk(), machine(**more)]}, live=live)["vm"]
    assert (taken_back.restart, taken_back.actions) == ([], ["DefineDomain"])


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize(
    ("policy", "verb"), [("AlwaysOff", "ShutdownDomain"), ("AlwaysOn", ""), ("Manual", "")]
)
def test_resuming_a_machine_that_runs_follows_its_policy(
    on: Rig, live: bool, policy: str, verb: str
) -> None:
    on.push({"vm.yaml": [disk(), machine(metadata=STILL)]})
    on.settle()
    on.push({"vm.yaml": [disk(), machine(metadata=STILL, runPolicy=policy)]})
    on.settle()
    found = planned(on, {"vm.yaml": [disk(), machine(runPolicy=policy)]}, live=live)["vm"]
    assert found.actions == (["DefineDomain", verb] if verb else ["DefineDomain"])


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.parametrize("policy", ["AlwaysOn", "AlwaysOnUnlessStoppedManually", "Manual"])
def test_resuming_a_machine_that_is_off_follows_its_policy(
    off: Rig, live: bool, policy: str
) -> None:
    off.push({"vm.yaml": [disk(), machine(metadata=STILL)]})
    off.settle()
    off.push({"vm.yaml": [disk(), machine(metadata=STILL, runPolicy=policy)]})
    off.settle()
    found = planned(off, {"vm.yaml": [disk(), machine(runPolicy=policy)]}, live=live)["vm"]
    starts = ["StartDomain"] if policy == "AlwaysOn" else []
    assert found.actions == ["DefineDomain", *starts]


@pytest.mark.parametrize("live", [False, True])
def test_resuming_a_machine_takes_up_what_was_asked_of_it(on: Rig, live: bool) -> None:
    on.push({"vm.yaml": [disk(), machine(metadata=STILL)]})
    on.settle()
    on.push({"op.yaml": operation("later", "vm", "Restart")}, OPERATIONS)
    on.settle()
    assert on.vmop("later")["status"]["phase"] == "Pending"
    found = planned(on, {"vm.yaml": [disk(), machine()]}, live=live)["vm"]
    assert found.actions == ["DefineDomain", "ShutdownDomain", "StartDomain"]
    never = planned(on, {"other.yaml": disk("other")}, live=live)
    assert never.names == {"other": "create"}


@pytest.mark.parametrize("live", [False, True])
def test_a_policy_that_stops_and_one_that_starts(on: Rig, live: bool) -> None:
    stops = planned(on, {"vm.yaml": [disk(), machine(runPolicy="AlwaysOff")]}, live=live)["vm"]
    assert paths(stops.immediate) == ["runPolicy"]
    assert "ShutdownDomain" in stops.actions
    assert "StartDomain" not in stops.actions
    on.push({"vm.yaml": [disk(), machine(runPolicy="AlwaysOff")]})
    on.settle()
    starts = planned(on, {"vm.yaml": [disk(), machine(runPolicy="AlwaysOn")]}, live=live)["vm"]
    assert "StartDomain" in starts.actions


@pytest.mark.parametrize("live", [False, True])
def test_a_deletion_that_waits_and_is_taken_back_is_named(on: Rig, live: bool) -> None:
    on.push({"root.yaml": None, "vm.yaml": machine(), "other.yaml": disk("other")})
    on.settle()
    path = "namespaces/default/virtualdisks/root.yaml"
    assert on.document(path)["status"]["phase"] == "Terminating"
    found = planned(on, {"root.yaml": disk()}, live=live)
    assert found.names == {"root": "restore"}
    assert "taken back" in found["root"].reason
    assert found["root"].actions == []


@pytest.mark.parametrize("live", [False, True])
def test_a_deletion_says_what_becomes_of_the_data(on: Rig, live: bool) -> None:
    found = planned(on, {"vm.yaml": disk("other")}, live=live)
    assert found.names == {"other": "create", "root": "delete", "vm": "delete"}
    verbs = found["vm"].actions
    assert verbs.index("ShutdownDomain") < verbs.index("UndefineDomain")
    assert found["vm"].reason == (
        "stops gracefully, then its domain is removed; disk root goes to the trash"
    )
    assert found["root"].reason == "goes to the trash; its data stays"
    assert "DeleteVolume" not in found["root"].actions


@pytest.mark.parametrize("live", [False, True])
def test_deleting_a_machine_names_the_disks_that_stay_and_calls_a_seed_a_seed(
    rig: Rig, live: bool
) -> None:
    text = {"type": "UserData", "userData": "#cloud-config\n# a\n"}
    vm = machine(disks=("root", "data", "logs"), provisioning=text)
    rig.push({"vm.yaml": vm, "disks.yaml": [disk(), disk("data"), disk("logs")]})
    rig.settle()
    left = {"vm.yaml": None, "disks.yaml": [disk(), disk("data")]}
    found = planned(rig, left, live=live)["vm"]
    assert found.reason == (
        "stops gracefully, then its domain is removed; disks root and data stay with their data "
        "and disk logs goes to the trash"
    )
    assert found.actions[-2:] == ["DeleteConsoleLog", "DeleteSeed"]
    assert "DeleteVolume" not in found.actions


@pytest.mark.parametrize("live", [False, True])
def test_deleting_a_machine_that_is_off_stops_nothing(off: Rig, live: bool) -> None:
    found = planned(off, {"vm.yaml": disk()}, live=live)["vm"]
    assert found.reason == "its domain is removed; disk root stays with its data"
    assert "ShutdownDomain" not in found.actions


def test_a_deletion_that_is_under_way_is_nothing_new(on: Rig) -> None:
    on.host.guest_obeys = False
    on.push({"vm.yaml": disk()})
    on.agent.reconciler.look_at_git()
    for _ in range(5):
        on.step()
    assert on.vm()["status"]["phase"] == "Terminating"
    assert planned(on, {"other.yaml": disk("other")}).names == {"other": "create"}
    assert planned(on, live=True).names == {"vm": "act"}


@pytest.mark.parametrize("live", [False, True])
def test_what_lacks_something_is_blocked_and_says_what(on: Rig, live: bool) -> None:
    lacking = machine("lacking", disks=("nowhere",))
    found = planned(on, {"new.yaml": lacking}, live=live)["lacking"]
    assert found.operation == "blocked"
    assert "nowhere" in found.reason
    assert found.actions == []


@pytest.mark.parametrize("live", [False, True])
def test_a_disk_whose_image_is_not_there_is_blocked_and_says_so(on: Rig, live: bool) -> None:
    made = disk("made")
    made["spec"]["dataSource"] = {
        "type": "ObjectRef",
        "objectRef": {"kind": "VirtualImage", "name": "nowhere"},
    }
    found = planned(on, {"new.yaml": made}, live=live)["made"]
    assert (found.operation, found.actions) == ("blocked", [])
    assert "VirtualImage default/nowhere is not there" in found.reason


@pytest.mark.parametrize("live", [False, True])
def test_a_change_that_cannot_start_costs_no_restart(on: Rig, live: bool) -> None:
    found = planned(on, {"vm.yaml": [disk(), machine(disks=("root", "nowhere"))]}, live=live)["vm"]
    assert found.operation == "change"
    assert "nowhere" in found.reason
    assert "ShutdownDomain" not in found.actions


@pytest.mark.parametrize("live", [False, True])
def test_a_larger_disk_grows_also_while_it_is_open(on: Rig, live: bool) -> None:
    on.push({"free.yaml": disk("free")})
    on.settle()
    new = {"free.yaml": disk("free", "2Gi"), "vm.yaml": [disk(size="2Gi"), machine()]}
    found = planned(on, new, live=live)
    assert found.names == {"free": "change", "root": "change", "vm": "act"}
    for name in ("free", "root"):
        told = [str(change) for change in found[name].immediate]
        assert told == ["persistentVolumeClaim.size: 1Gi → 2Gi"]
    assert found["free"].actions == ["ResizeVolume"]
    assert (found["root"].actions, found["root"].reason) == ([], "")
    assert found["vm"].actions == ["GrowDisk"]


@pytest.mark.parametrize("live", [False, True])
def test_too_many_deletions_are_held_and_say_how_to_confirm(rig: Rig, live: bool) -> None:
    rig.push({f"{name}.yaml": disk(name) for name in "abcd"})
    rig.settle()
    found = planned(rig, {"a.yaml": None, "b.yaml": None, "c.yaml": None}, live=live)
    assert found.names == {"a": "held", "b": "held", "c": "held"}
    assert "gitvirt.io/confirm-deletion" in found["a"].reason


@pytest.mark.parametrize("live", [False, True])
def test_what_is_annotated_is_kept(rig: Rig, live: bool) -> None:
    kept = disk("kept")
    kept["metadata"]["annotations"] = {"gitvirt.io/prune": "disabled"}
    rig.push({"kept.yaml": kept, "other.yaml": disk("other")})
    rig.settle()
    found = planned(rig, {"kept.yaml": None}, live=live)
    assert found.names == {"kept": "held"}
    assert "gitvirt.io/prune" in found["kept"].reason


def test_a_file_that_cannot_be_read_keeps_what_it_may_hide(on: Rig) -> None:
    found = planned(on, {"vm.yaml": "kind: ["})
    assert set(found.names.values()) == {"held"}
    assert [problem.file for problem in found.report.problems] == ["vm.yaml"]


def test_a_secret_is_named_and_not_shown(on: Rig) -> None:
    provisioning = {"type": "UserData", "userData": "#cloud-config\npassword: pass-1\n"}
    on.push({"vm.yaml": [disk(), machine(provisioning=provisioning)]})
    on.settle()
    other = {"type": "UserData", "userData": "#cloud-config\npassword: pass-2\n"}
    found = planned(on, {"vm.yaml": [disk(), machine(provisioning=other)]})["vm"]
    assert paths([*found.immediate, *found.restart]) == ["provisioning.userData"]
    assert "pass-" not in str(found)
    assert planned(on).report.empty


def test_a_class_that_is_changed_tells_what_it_does_to_its_machines(on: Rig) -> None:
    spec: dict[str, Any] = {"cpu": {"type": "Model", "model": "Nehalem"}}
    vm = [disk(), machine(virtualMachineClassName="mine")]
    on.push({"class.yaml": manifest("VirtualMachineClass", "mine", spec), "vm.yaml": vm})
    on.settle()
    spec["sizingPolicies"] = [{"cores": {"min": 2, "max": 4}}]
    found = planned(on, {"class.yaml": manifest("VirtualMachineClass", "mine", spec)})
    assert found.names == {"mine": "change", "vm": "blocked"}
    assert "cores" in found["vm"].reason
    assert "2-4 cores" in found["vm"].reason
    assert paths(found["mine"].immediate) == ["sizingPolicies"]


def test_what_cannot_be_changed_is_a_problem(on: Rig) -> None:
    spec = {"cpu": {"type": "Model", "model": "Nehalem"}}
    on.push({"class.yaml": manifest("VirtualMachineClass", "mine", spec)})
    on.settle()
    spec = {"cpu": {"type": "Model", "model": "Westmere"}}
    report = planned(on, {"class.yaml": manifest("VirtualMachineClass", "mine", spec)}).report
    assert report.items == []
    assert [(each.file, each.path) for each in report.problems] == [
        ("class.yaml", "spec.cpu.model")
    ]


def test_an_operation_shows_what_it_does(on: Rig) -> None:
    found = planned(on, {"op.yaml": operation("again", "vm", "Restart")})
    assert found["again"].operation == "create"
    assert "ShutdownDomain" in found["vm"].actions
    assert found["vm"].operation == "act"


def test_an_operation_that_will_be_refused_says_why(on: Rig) -> None:
    asked = {
        "one.yaml": operation("one", "nobody", "Start"),
        "two.yaml": operation("two", "vm", "Start"),
    }
    found = planned(on, asked)
    assert found.names == {"one": "blocked", "two": "blocked"}
    assert "nobody" in found["one"].reason
    assert "Running" in found["two"].reason


@pytest.mark.parametrize("live", [False, True])
def test_what_is_in_use_is_deleted_later_and_says_by_whom(rig: Rig, live: bool) -> None:
    model = manifest("VirtualMachineClass", "mine", {"cpu": {"type": "Model", "model": "Nehalem"}})
    rig.push({"a.yaml": [disk(), machine(virtualMachineClassName="mine")], "class.yaml": model})
    rig.settle()
    vm = machine(virtualMachineClassName="mine")
    found = planned(rig, {"a.yaml": vm, "class.yaml": None}, live=live)
    assert found.names == {"root": "delete", "mine": "delete", "vm": "blocked"}
    for name in ("root", "mine"):
        assert "VirtualMachine default/vm" in found[name].reason
        assert "kept" in found[name].reason
    assert "mine" in found["vm"].reason
    assert found["vm"].actions == []


@pytest.mark.parametrize("live", [False, True])
def test_all_that_a_machine_lacks_is_named(on: Rig, live: bool) -> None:
    seeded = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "absent"}}
    lacking = machine(
        "lacking", disks=("nowhere",), virtualMachineClassName="none", provisioning=seeded
    )
    reason = planned(on, {"new.yaml": lacking}, live=live)["lacking"].reason
    assert all(name in reason for name in ("nowhere", "none", "absent")), reason


def test_a_secret_that_goes_is_told_of_beside_the_machine_that_reads_it(rig: Rig) -> None:
    seeded = {"type": "UserDataRef", "userDataRef": {"kind": "Secret", "name": "cloud"}}
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "cloud"},
        "type": "provisioning.virtualization.deckhouse.io/cloud-init",
        "stringData": {"userData": "#cloud-config\n{}\n"},
    }
    rig.push({"vm.yaml": [disk(), machine(provisioning=seeded)], "secret.yaml": secret})
    rig.settle()
    found = planned(rig, {"secret.yaml": None})
    assert found.names == {"cloud": "delete", "vm": "blocked"}
    assert "cloud" in found["vm"].reason


@pytest.mark.parametrize("live", [False, True])
def test_a_change_to_what_is_suspended_says_that_it_waits(on: Rig, live: bool) -> None:
    still = {"annotations": {"gitvirt.io/reconcile": "disabled"}}
    on.push({"vm.yaml": [disk(), machine(metadata=still)]})
    on.settle()
    changed = machine(cpu={"cores": 2}, metadata=still)
    found = planned(on, {"vm.yaml": [disk(), changed]}, live=live)["vm"]
    assert found.operation == "change"
    assert "gitvirt.io/reconcile" in found.reason
    assert found.actions == []


def test_drift_is_seen_live_and_only_there(on: Rig) -> None:
    on.host.edit(on.uuid(), lambda root: _set(root, "vcpu", "7"))
    assert planned(on).report.empty
    found = planned(on, live=True)["vm"]
    assert found.operation == "act"
    assert found.actions == ["DefineDomain"]
    assert [*found.drift.lines()] == [
        "cpu.cores 1 → 7 (definition: put back)",
        "cpu.topology none → 1x1 (definition: put back)",
    ]


def test_drift_that_nothing_is_done_about_is_seen_live_and_only_there(on: Rig) -> None:
    on.host.edit(on.uuid(), lambda root: _set(root, "currentMemory", "131072"), live=True)
    on.settle()
    assert planned(on).report.empty
    found = planned(on, live=True)
    assert found.names == {"vm": "drift"}
    assert [*found["vm"].drift.lines()] == [
        "currentMemory 256Mi → 128Mi (running instance: a restart undoes it)"
    ]
    assert found["vm"].actions == []
    (line,) = lines(found.report)
    assert planprint.summary([line], 0) == "1 changed by hand"
    assert "    drift       currentMemory 256Mi → 128Mi (running" in planprint.text([line], [])
    (shown,) = _machine(found.report)["changes"]
    assert shown["drift"] == [each.listed() for each in found["vm"].drift.edits]
    assert shown["reported"] == []
    assert "- **drift** " in planprint.markdown([line], [])
    assert "  - drift: currentMemory 256Mi → 128Mi (running" in planprint.markdown([line], [])


def test_drift_stands_beside_what_a_push_would_change(on: Rig) -> None:
    on.host.edit(on.uuid(), lambda root: _set(root, "currentMemory", "131072"), live=True)
    on.settle()
    found = planned(on, {"vm.yaml": [disk(), machine(cpu={"cores": 2})]}, live=True)["vm"]
    assert [str(each) for each in found.restart] == ["cpu.cores: 1 → 2"]
    assert [str(each) for each in found.drift.edits] == ["currentMemory 256Mi → 128Mi"]


def test_names_in_an_edit_are_no_markdown(on: Rig) -> None:
    def plugged(root: Any) -> None:
        added = etree.SubElement(root.find("devices"), "disk", type="file", device="disk")
        etree.SubElement(added, "target", dev="sdq", bus="scsi")
        etree.SubElement(added, "serial").text = "<img src=x> @all"

    on.host.edit(on.uuid(), plugged, live=True)
    on.settle()
    text = planprint.markdown(lines(planned(on, live=True).report), [])
    assert "img src=x" in text
    assert "<img" not in text
    assert "@all" not in text


def _set(root: Any, tag: str, text: str) -> None:
    found = root.find(tag)
    assert found is not None
    found.text = text


def test_a_plan_after_every_example_is_empty(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(PATIENCE), "attempts", 1)
    nowhere = "http://127.0.0.1:9"
    files = {
        path.name: re.sub(r"https?://[^/\s]+", nowhere, path.read_text())
        for path in sorted(EXAMPLES.glob("*.yaml"))
    }
    for path, content in files.items():
        rig.push({path: content})
        drag(rig)
        assert planned(rig).report.items == [], path


def drag(rig: Rig) -> None:
    """Passes until the agent has taken the newest commit in, whatever its downloads do."""
    rig.agent.reconciler.look_at_git()
    for _ in range(10):
        rig.step()


EXAMPLES_TRIED = 25
NAMES = ("a", "b", "c")
sizes = st.sampled_from(["1Gi", "1024Mi", "2Gi"])
vms = st.fixed_dictionaries(
    {
        "cpu": st.sampled_from([{"cores": 1}, {"cores": 1, "coreFraction": "50%"}, {"cores": 2}]),
        "memory": st.sampled_from([{"size": "256Mi"}, {"size": "0.25Gi"}, {"size": "512Mi"}]),
        "runPolicy": st.sampled_from(
            ["AlwaysOn", "AlwaysOnUnlessStoppedManually", "AlwaysOff", "Manual"]
        ),
        "disruptions": st.sampled_from(
            [{"restartApprovalMode": "Manual"}, {"restartApprovalMode": "Automatic"}]
        ),
        "disks": st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True).map(tuple),
        "metadata": st.sampled_from([{}, {"labels": {"tier": "one"}}]),
    }
)
pushes = st.fixed_dictionaries(
    {},
    optional={
        **{f"vm-{name}": st.none() | vms for name in NAMES},
        **{f"disk-{name}": st.none() | sizes for name in NAMES},
    },
)


def documents(push: dict[str, Any], there: set[str]) -> dict[str, Any]:
    files: dict[str, Any] = {}
    for path, value in push.items():
        what, _, name = path.partition("-")
        if value is None:
            files.update({path + ".yaml": None} if path in there else {})
        else:
            made = disk(name, value) if what == "disk" else machine(f"vm-{name}", **value)
            files[path + ".yaml"] = made
    return files


@settings(
    max_examples=EXAMPLES_TRIED,
    deadline=None,
    derandomize=True,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(history=st.lists(pushes, min_size=1, max_size=4), live=st.booleans())
def test_what_a_plan_names_is_what_is_touched(
    tmp_path_factory: pytest.TempPathFactory, history: list[dict[str, Any]], live: bool
) -> None:
    rig = Rig(tmp_path_factory.mktemp("rig"))
    rig.push({"keep.yaml": [disk("keep"), machine("keep", disks=("keep",))]})
    rig.settle()
    there: set[str] = set()
    for push in history:
        files = documents(push, there)
        there = {path for path in there | push.keys() if push.get(path, 0) is not None}
        rig.host.verbs.clear()
        before = dict(rig.agent.reconciler.records())
        found = planned(rig, files, live=live).report
        rig.push(files)
        rig.settle()
        named = {item.key for item in found.items if item.actions}
        assert touched(rig, before) == named
        assert planned(rig, live=live).report.items == []
