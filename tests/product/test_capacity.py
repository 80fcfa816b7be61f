"""Machines that are too large for the node."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.plans import planned
from tests.rig import Rig, condition, disk, machine, operation


def sized(size: str, **spec: Any) -> dict[str, Any]:
    return machine(memory={"size": size}, **spec)


@pytest.mark.promise("S38")
def test_a_machine_larger_than_the_node_waits_and_says_why(rig: Rig) -> None:
    rig.push({"vm.yaml": [sized("65Gi"), disk()]})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Pending"
    found = condition(rig.vm(), "Running")
    assert (found["status"], found["reason"]) == ("False", "PodNotStarted")
    assert "has 64Gi of memory in all" in found["message"]
    assert "start" not in rig.verbs()
    rig.host.node = replace(rig.host.node, memory=128 << 30)
    rig.host._tell("", "connected")
    rig.settle()
    assert rig.running()
    assert condition(rig.vm(), "Running")["message"] == ""


@pytest.mark.promise("S38")
def test_more_cores_than_the_node_has_are_shared(rig: Rig) -> None:
    rig.host.node = replace(rig.host.node, cpus=2)
    rig.push({"vm.yaml": [machine(cpu={"cores": 16}), disk()]})
    rig.settle()
    assert rig.running()
    assert condition(rig.vm(), "Running")["message"] == ""


def test_all_of_the_node_is_enough(rig: Rig) -> None:
    rig.push({"vm.yaml": [sized("64Gi"), disk()]})
    rig.settle()
    assert rig.running()


@pytest.mark.parametrize("mode", ["Manual", "Automatic"])
def test_a_running_machine_is_not_stopped_for_a_size_that_cannot_start(rig: Rig, mode: str) -> None:
    disruptions = {"restartApprovalMode": mode}
    rig.push({"vm.yaml": [sized("1Gi", disruptions=disruptions), disk()]})
    rig.settle()
    instance = rig.memory(active=True).instance
    rig.verbs()
    rig.push({"vm.yaml": [sized("65Gi", disruptions=disruptions), disk()]})
    ask = operation("again", "vm", "Restart")
    rig.push({"op.yaml": ask}, "refs/heads/operations")
    for _ in range(20):
        rig.step()
        rig.now += 30
    assert rig.running()
    assert rig.memory(active=True).instance == instance
    assert not {"start", "shutdown", "destroy"} & set(rig.verbs())
    assert "have to wait" in condition(rig.vm(), "ConfigurationApplied")["message"]
    assert "has 64Gi of memory" in condition(rig.vm(), "Schedulable")["message"]
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    assert ">1048576</memory>" in raw.inactive_xml
    rig.push({"vm.yaml": [sized("2Gi", disruptions=disruptions), disk()]})
    rig.settle()
    assert rig.running()
    assert ">2097152</memory>" in (rig.host.read_domain(rig.uuid()) or raw).active_xml


@pytest.mark.parametrize("live", [False, True])
def test_a_plan_says_so(rig: Rig, live: bool) -> None:
    rig.push({"other.yaml": [disk("other")]})
    rig.settle()
    found = planned(rig, {"vm.yaml": [sized("65Gi"), disk()]}, live=live)
    assert found["vm"].operation == "blocked"
    assert "Node node-1 has 64Gi of memory" in found["vm"].reason


def test_a_plan_supposes_room_while_no_agent_has_told_of_its_node(rig: Rig) -> None:
    assert planned(rig, {"vm.yaml": [sized("65Gi"), disk()]})["vm"].operation == "create"
