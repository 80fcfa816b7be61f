from __future__ import annotations

import json
import time

import yaml

from tests.cli.conftest import Gitvirt
from tests.fleets import Fleet, condition, machine, whole

PROBLEM = {
    "file": "vms/a.yaml",
    "line": 7,
    "resource": "VirtualMachine default/a",
    "path": "spec.cpu",
    "message": "is required",
}


def test_a_calm_fleet(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(
        machine(), machine("off", "Stopped"), whole("VirtualDisk", "root", {}, {"phase": "Ready"})
    )
    fleet.agent()
    result = gitvirt("status", "--exit-code")
    assert (result.code, result.err) == (0, "")
    assert result.lines[0] == "Fleet:      default"
    assert result.lines[1].startswith("Agent:      gitvirt 0.1.0, last seen ")
    assert "Node:       host-a ready" in result.lines
    assert f"Applied:    {fleet.main[:12]}, " in result.out
    assert "Attempted" not in result.out
    changed = next(line for line in result.lines if line.startswith("Changed: "))
    assert changed.startswith("Changed:    VirtualMachine default/")
    assert changed.endswith(" ago")
    assert "VirtualMachine: 2 (1 Running, 1 Stopped)" in result.lines
    assert "VirtualDisk: 1 (1 Ready)" in result.lines
    assert result.lines[-1] == "All is as it should be."


def test_everything_that_is_wrong_is_named(gitvirt: Gitvirt, fleet: Fleet) -> None:
    change = {"operation": "replace", "path": "cpu.cores", "currentValue": 1, "desiredValue": 2}
    bad = condition("BlockDevicesReady", "False", "No disk root.")
    fleet.write(
        machine("waits", status={"restartAwaitingChanges": [change]}),
        machine("bad", "Pending", conditions=(bad,)),
        files={"problems.yaml": [PROBLEM]},
    )
    fleet.agent(
        attempted={"revision": "b" * 40, "since": "2026-01-01T00:00:00Z"},
        node={"name": "host-a", "ready": False, "message": "No connection."},
    )
    fleet.beat(time.time() - 600)
    result = gitvirt("status", "--exit-code")
    assert result.code == 1
    assert gitvirt("status").code == 0
    for line in (
        "Node:       host-a not ready: No connection.",
        "Manifests that do not hold (1):",
        "  vms/a.yaml:7: VirtualMachine default/a: spec.cpu: is required",
        "Waiting for a restart (1):",
        "  default/waits: cpu.cores",
        "Somebody has to look at (1 object):",
        "  VirtualMachine default/bad: No disk root.",
    ):
        assert line in result.lines
    assert "Attempted:  bbbbbbbbbbbb, " in result.out
    assert "warning: the agent was last seen 10m ago" in result.out
    assert "All is as it should be." not in result.out


def test_of_several_nodes_those_that_are_not_ready_are_named(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    nodes = [{"name": f"pt-{at}", "ready": True, "message": ""} for at in (1, 2, 3)]
    fleet.agent(node=None, nodes=nodes)
    fleet.beat(time.time())
    assert "Nodes:      3 ready" in gitvirt("status").lines
    assert gitvirt("status", "--exit-code").code == 0
    nodes[1] |= {"ready": False, "message": "No connection."}
    fleet.agent(node=None, nodes=nodes)
    result = gitvirt("status", "--exit-code")
    assert result.code == 1
    at = result.lines.index("Nodes:      2 ready, 1 not ready")
    assert result.lines[at + 1] == "            pt-2 not ready: No connection."


def test_what_is_only_good_to_know_is_said_once_and_is_no_failure(
    gitvirt: Gitvirt, fleet: Fleet
) -> None:
    slow = condition("HardwareVirtualization", "False", "Node host-a is slow.")
    failed = whole(
        "VirtualMachineOperation",
        "restart-1",
        {"type": "Restart", "virtualMachineName": "vm-0"},
        {"phase": "Failed", "conditions": [condition("Completed", "False", "Too late.")]},
    )
    fleet.write(failed, *(machine(f"vm-{at}", conditions=(slow,)) for at in range(5)))
    fleet.agent()
    result = gitvirt("status", "--exit-code")
    assert result.code == 0
    names = ", ".join(f"VirtualMachine default/vm-{at}" for at in range(3))
    at = result.lines.index("Good to know (5 objects):")
    assert result.lines[at + 1] == f"  {names} and 2 more: Node host-a is slow."
    assert result.out.count("slow") == 1
    assert "Too late." not in result.out


def test_for_machines(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine(), files={"problems.yaml": [PROBLEM]})
    fleet.agent()
    value = json.loads(gitvirt("status", "-o", "json").out)
    assert value["fine"] is False
    assert value["problems"] == [PROBLEM]
    assert value["phases"] == {"VirtualMachine": {"Running": 1}}
    assert value["agent"]["applied"]["revision"] == fleet.main
    assert yaml.safe_load(gitvirt("status", "-o", "yaml").out) == value


def test_the_sign_of_life_is_that_of_the_branchs_fleet(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.agent(fleet="ours")
    assert "no agent has been seen" in gitvirt("status", "--fleet", "ours").out
    fleet.beat(time.time(), "refs/gitvirt/fleets/ours/agent")
    assert "last seen" in gitvirt("status", "--fleet", "ours").lines[1]


def test_a_main_branch_that_cannot_be_read_is_an_error(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    fleet.agent(repository={"ready": False, "message": "branch main is not there: push it"})
    result = gitvirt("status", "--exit-code")
    assert result.code == 1
    assert "Error:      branch main is not there: push it" in result.lines
    assert "All is as it should be." not in result.out
    value = json.loads(gitvirt("status", "-o", "json").out)
    assert (value["fine"], value["errors"]) == (False, ["branch main is not there: push it"])


def test_the_status_branch_of_another_fleet_is_an_error(gitvirt: Gitvirt, fleet: Fleet) -> None:
    fleet.write(machine())
    fleet.agent(fleet="theirs")
    fleet.beat(time.time(), "refs/gitvirt/fleets/theirs/agent")
    result = gitvirt("status", "--exit-code")
    assert result.code == 1
    assert (
        "Error:      status is the status branch of fleet theirs, and fleet default" in result.out
    )
    assert gitvirt("status", "--exit-code", "--fleet", "theirs").code == 0
