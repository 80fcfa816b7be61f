"""Classes whose processor is discovered: found once, kept for good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent.core.domain_text import DomainText
from agent.kinds.virtual_machine.definition import read
from agent.kinds.virtual_machine_class.validation import IS_DEFAULT
from tests.plans import planned
from tests.rig import Rig, condition, disk, machine, manifest, operation

FOUND = ["aes", "avx", "sse4.2"]
SSD = {"nodeSelector": {"matchLabels": {"disktype": "ssd"}}}


def discovering(**discovery: Any) -> dict[str, Any]:
    cpu = {"type": "Discovery", **({"discovery": discovery} if discovery else {})}
    return manifest("VirtualMachineClass", "found", {"cpu": cpu})


def node(**labels: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": "node-1", "labels": labels},
        "spec": {},
    }


def vm(**spec: Any) -> dict[str, Any]:
    return machine(virtualMachineClassName="found", **spec)


def the_class(rig: Rig) -> dict[str, Any]:
    return rig.document("cluster/virtualmachineclasses/found.yaml")


def features(rig: Rig, *, active: bool = False) -> list[str]:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    return list(read(DomainText(raw.active_xml if active else raw.inactive_xml)).cpu.features)


def with_features(rig: Rig, *names: str) -> None:
    rig.host.node = replace(rig.host.node, cpu_features=frozenset(names))
    rig.host._tell("", "connected")
    rig.settle()


def test_a_machine_gets_the_features_that_were_found(rig: Rig) -> None:
    rig.push({"a.yaml": [discovering(), vm(), disk()]})
    rig.settle()
    status = the_class(rig)["status"]
    assert status["phase"] == "Ready"
    assert status["cpuFeatures"] == {"enabled": FOUND}
    assert status["availableNodes"] == ["node-1"]
    assert condition(the_class(rig), "Discovered")["reason"] == "DiscoverySucceeded"
    assert condition(the_class(rig), "Ready")["reason"] == "SuitableNodesFound"
    assert rig.running()
    assert features(rig, active=True) == FOUND
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    assert ">qemu64</model>" in raw.active_xml
    assert rig.vm()["status"]["conditions"]
    assert condition(rig.vm(), "FieldsSupported") == {}


def test_what_was_found_stays_when_the_host_changes(rig: Rig) -> None:
    rig.push({"a.yaml": [discovering(), vm(), disk()]})
    rig.settle()
    rig.verbs()
    with_features(rig, "aes", "sha-ni", "sse4.2")
    assert rig.verbs() == []
    assert the_class(rig)["status"]["cpuFeatures"] == {
        "enabled": FOUND,
        "notEnabledCommon": ["sha-ni"],
    }
    assert condition(rig.vm(), "AwaitingRestartToApplyConfiguration") == {}
    assert condition(rig.vm(), "DriftDetected") == {}
    rig.start()
    rig.settle()
    assert rig.verbs() == []
    assert features(rig) == FOUND
    rig.push({"op.yaml": operation("again", "vm", "Restart")}, "refs/heads/operations")
    rig.settle()
    assert features(rig, active=True) == FOUND


@pytest.mark.parametrize("live", [False, True])
def test_a_plan_supposes_that_a_node_will_match(rig: Rig, live: bool) -> None:
    rig.push({"other.yaml": [disk("other")]})
    rig.settle()
    selector = {} if live else SSD  # a plan against the ledger knows no node
    new = planned(rig, {"a.yaml": [discovering(**selector), vm(), disk()]}, live=live)
    assert new.names == {"found": "create", "root": "create", "vm": "create"}


def test_a_class_made_anew_is_discovered_anew(rig: Rig) -> None:
    rig.push({"a.yaml": [discovering()], "rest.yaml": [disk()]})
    rig.settle()
    rig.push({"a.yaml": None})
    rig.settle()
    with_features(rig, "aes")
    rig.push({"a.yaml": [discovering()]})
    rig.settle()
    assert the_class(rig)["status"]["cpuFeatures"] == {"enabled": ["aes"]}


def test_only_nodes_with_the_labels_are_looked_at(rig: Rig) -> None:
    rig.push({"a.yaml": [discovering(**SSD), vm(), disk()]})
    rig.settle()
    status = the_class(rig)["status"]
    assert status["phase"] == "Pending"
    assert "cpuFeatures" not in status
    assert condition(the_class(rig), "Ready")["reason"] == "NoSuitableNodesFound"
    assert condition(the_class(rig), "Discovered")["reason"] == "DiscoveryFailed"
    assert rig.vm()["status"]["phase"] == "Pending"
    assert condition(rig.vm(), "VirtualMachineClassReady")["status"] == "False"
    rig.push({"node.yaml": [node(disktype="ssd")]})
    rig.settle()
    assert the_class(rig)["status"]["phase"] == "Ready"
    assert rig.running()


def test_a_node_has_its_name_as_a_label(rig: Rig) -> None:
    own = {"nodeSelector": {"matchLabels": {"kubernetes.io/hostname": "node-1"}}}
    rig.push({"a.yaml": [discovering(**own)]})
    rig.settle()
    assert the_class(rig)["status"]["phase"] == "Ready"


def test_machines_that_run_go_on_when_the_node_no_longer_matches(rig: Rig) -> None:
    files = {"a.yaml": [discovering(**SSD), vm(), disk()], "node.yaml": [node(disktype="ssd")]}
    rig.push(files)
    rig.settle()
    rig.verbs()
    rig.push({"node.yaml": [node(disktype="hdd")]})
    rig.settle()
    assert the_class(rig)["status"]["phase"] == "Pending"
    assert condition(the_class(rig), "Ready")["reason"] == "NoSuitableNodesFound"
    assert condition(the_class(rig), "Discovered")["status"] == "True"
    assert rig.running()
    assert not {"start", "shutdown", "destroy"} & set(rig.verbs())
    with_features(rig, "aes")
    rig.push({"node.yaml": [node(disktype="ssd")]})
    rig.settle()
    assert the_class(rig)["status"]["cpuFeatures"]["enabled"] == FOUND
    assert rig.verbs() == []


def test_a_host_that_names_no_features_serves_no_discovery(rig: Rig) -> None:
    rig.host.node = replace(rig.host.node, cpu_features=frozenset())
    rig.push({"a.yaml": [discovering()]})
    rig.settle()
    assert condition(the_class(rig), "Ready")["reason"] == "NoCpuFeaturesEnabled"
    with_features(rig, "aes")
    assert the_class(rig)["status"]["phase"] == "Ready"


def test_what_was_found_is_kept_through_a_deletion_that_is_taken_back(rig: Rig) -> None:
    rig.push({"class.yaml": [discovering()], "a.yaml": [vm(), disk()]})
    rig.settle()
    rig.push({"class.yaml": None})
    rig.settle()
    assert the_class(rig)["status"]["phase"] == "Terminating"
    with_features(rig, "aes")
    rig.push({"class.yaml": [discovering()]})
    rig.settle()
    assert the_class(rig)["status"]["cpuFeatures"]["enabled"] == FOUND
    assert features(rig) == FOUND


def test_listed_features_are_shown_beside_those_that_are_left(rig: Rig) -> None:
    cpu = {"type": "Features", "features": ["aes", "vmx"]}
    rig.push({"a.yaml": [manifest("VirtualMachineClass", "found", {"cpu": cpu})]})
    rig.settle()
    assert the_class(rig)["status"]["cpuFeatures"] == {
        "enabled": ["aes", "vmx"],
        "notEnabledCommon": ["avx", "sse4.2"],
    }
    assert condition(the_class(rig), "Discovered") == {}


def marked(name: str, model: str = "Nehalem") -> dict[str, Any]:
    """A class for machines that name none."""
    policy = {"cores": {"min": 1, "max": 4}, "coreFractions": [20], "defaultCoreFraction": 20}
    spec = {"cpu": {"type": "Model", "model": model}, "sizingPolicies": [policy]}
    return manifest("VirtualMachineClass", name, spec, annotations={IS_DEFAULT: "true"})


def classless(**spec: Any) -> dict[str, Any]:
    made = machine(**spec)
    del made["spec"]["virtualMachineClassName"]
    return made


@pytest.mark.parametrize("blank", [{}, {"virtualMachineClassName": ""}])
def test_a_machine_without_a_class_gets_the_one_that_is_marked(
    rig: Rig, blank: dict[str, Any]
) -> None:
    vm = classless()
    vm["spec"].update(blank)
    rig.push({"a.yaml": [marked("office"), vm, disk()]})
    rig.settle()
    assert rig.running()
    assert rig.vm()["spec"]["virtualMachineClassName"] == "office"
    assert rig.vm()["spec"]["cpu"] == {"cores": 1, "coreFraction": "20%"}


def test_it_keeps_that_class_when_another_one_is_marked(rig: Rig) -> None:
    rig.push({"a.yaml": [marked("office"), classless(), disk()]})
    rig.settle()
    plain = marked("office")
    del plain["metadata"]["annotations"]
    rig.push({"a.yaml": [plain, marked("other", "Westmere"), classless(), disk()]})
    rig.settle()
    assert rig.vm()["spec"]["virtualMachineClassName"] == "office"
    assert "restartAwaitingChanges" not in rig.vm()["status"]


def test_a_machine_waits_for_a_class_and_says_how_it_gets_one(rig: Rig) -> None:
    rig.push({"a.yaml": [classless(), disk()]})
    rig.settle()
    assert not rig.running()
    assert rig.vm()["status"]["phase"] == "Pending"
    assert "virtualMachineClassName" not in rig.vm()["spec"]
    told = condition(rig.vm(), "VirtualMachineClassReady")
    assert told["status"] == "False"
    assert "none is marked as the default one" in told["message"]
    assert IS_DEFAULT in told["message"]
    rig.push({"class.yaml": marked("office")})
    rig.settle()
    assert rig.running()
    assert rig.vm()["spec"]["virtualMachineClassName"] == "office"
    assert rig.vm()["spec"]["cpu"]["coreFraction"] == "20%"


def test_a_plan_knows_the_class_that_a_new_machine_gets(rig: Rig) -> None:
    rig.push({"disk.yaml": disk(), "vm.yaml": None})
    rig.settle()
    without = planned(rig, {"vm.yaml": classless()})["vm"]
    assert without.actions == []
    assert "marked as the default one" in without.reason
    with_one = planned(rig, {"vm.yaml": classless(), "class.yaml": marked("office")})["vm"]
    assert with_one.actions == ["DefineDomain", "StartDomain"]


def test_a_second_default_class_is_refused_and_the_first_one_stays(rig: Rig) -> None:
    rig.push({"a.yaml": marked("a"), "vm.yaml": [classless(), disk()]})
    rig.settle()
    late = [classless(name="late", disks=("late",)), disk("late")]
    rig.push({"b.yaml": marked("b", "Westmere"), "late.yaml": late})
    rig.settle()
    told = {each.file: each.message for each in rig.agent.reconciler.summary().problems}
    assert told == {
        "a.yaml": "marks a second default class beside b: mark only one of them",
        "b.yaml": "marks a second default class beside a: mark only one of them",
    }
    assert "cluster/virtualmachineclasses/b.yaml" not in rig.documents()
    assert rig.vm("late")["spec"]["virtualMachineClassName"] == "a"
    assert rig.running("late")
    rig.push({"b.yaml": None})
    rig.settle()
    assert rig.agent.reconciler.summary().problems == ()


def test_of_two_default_classes_from_the_start_neither_counts(rig: Rig) -> None:
    rig.push({"a.yaml": [marked("a"), marked("b")], "vm.yaml": [classless(), disk()]})
    rig.settle()
    assert len(rig.agent.reconciler.summary().problems) == 2
    assert not rig.running()
    rig.push({"a.yaml": marked("b")})
    rig.settle()
    assert rig.vm()["spec"]["virtualMachineClassName"] == "b"


def test_a_machine_takes_from_the_last_good_version_of_its_class(rig: Rig) -> None:
    rig.push({"a.yaml": marked("office")})
    rig.settle()
    rig.push({"a.yaml": {**marked("office"), "spec": {}}, "vm.yaml": [classless(), disk()]})
    rig.settle()
    assert rig.vm()["spec"]["virtualMachineClassName"] == "office"
    assert rig.vm()["spec"]["cpu"]["coreFraction"] == "20%"
