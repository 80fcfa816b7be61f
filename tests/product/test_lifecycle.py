"""The stages of a machine's life, and what its conditions say in each."""

from __future__ import annotations

from typing import Any

import pytest
from lxml import etree

from agent.core import tables
from agent.core.schema import Catalogue
from agent.kinds.virtual_machine.spec import machine_spec
from tests.rig import OPERATIONS, Rig, condition, disk, machine, operation

FILE = "namespaces/default/virtualmachines/vm.yaml"
AGENT_CHANNEL = "org.qemu.guest_agent.0"
AWAITING = "AwaitingRestartToApplyConfiguration"


@pytest.fixture
def on(rig: Rig) -> Rig:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    assert rig.running()
    return rig


def ask(rig: Rig, name: str, kind: str) -> None:
    rig.push({f"{name}.yaml": operation(name, "vm", kind)}, OPERATIONS)
    rig.settle()


def shown(rig: Rig, kind: str) -> tuple[str, str]:
    """Status and reason of a condition; empty if it is absent."""
    found = condition(rig.vm(), kind)
    return found.get("status", ""), found.get("reason", "")


def conditions(rig: Rig) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = rig.vm()["status"]["conditions"]
    return found


def passes(rig: Rig, count: int = 4) -> None:
    """Let the agent work without letting time pass."""
    rig.agent.reconciler.look_at_git()
    for _ in range(count):
        rig.step()


@pytest.mark.promise("S31")
def test_the_phase_names_the_stage_and_the_conditions_say_why(rig: Rig) -> None:
    rig.push({"vm.yaml": machine()})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Pending"
    assert shown(rig, "Running") == ("False", "NotRunning")
    assert shown(rig, "BlockDevicesReady") == ("False", "BlockDevicesNotReady")
    rig.push({"disk.yaml": disk()})
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Running"
    assert shown(rig, "Running") == ("True", "Running")
    assert shown(rig, "BlockDevicesReady") == ("True", "BlockDevicesReady")
    rig.host.guest_obeys = False
    rig.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
    passes(rig)
    assert rig.vm()["status"]["phase"] == "Stopping"
    assert shown(rig, "Running")[0] == "False"
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Stopped"
    assert shown(rig, "Running") == ("False", "NotRunning")


def stages(rig: Rig) -> list[dict[str, Any]]:
    """The machine's status at each phase that it goes through, one task done between two passes."""
    found: list[dict[str, Any]] = []
    rig.agent.reconciler.look_at_git()
    for _ in range(200):
        wait = rig.agent.reconciler.run()
        status = rig.vm()["status"] if FILE in rig.documents() else {}
        if status and (not found or status["phase"] != found[-1]["phase"]):
            found.append(status)
        if rig._tasks:
            rig._tasks.popleft()()
        elif rig.agent.reconciler.summary().settled:
            return found
        else:
            rig.now += max(wait, 0)
    raise AssertionError(f"not settled: {[status['phase'] for status in found]}")


@pytest.mark.promise("S20", "S21", "S22", "S36")
def test_a_machine_that_starts_has_all_it_needs_and_gets_a_node(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    found = {status["phase"]: status for status in stages(rig)}
    assert list(found) == ["Pending", "Starting", "Running"]
    needs = {"BlockDevicesReady", "VirtualMachineClassReady", "ProvisioningReady"}
    ready = {
        phase: {each["type"] for each in status["conditions"] if each["status"] == "True"}
        for phase, status in found.items()
    }
    assert needs - ready["Pending"] == {"BlockDevicesReady"}
    assert needs <= ready["Starting"]
    assert "Running" not in ready["Starting"]
    assert "Running" in ready["Running"]
    nodes = [status.get("nodeName") for status in found.values()]
    assert nodes == [None, None, rig.host.node.name]


@pytest.mark.promise("S21", "S23", "S24", "S48")
def test_a_machine_stops_and_starts_in_stages(on: Rig) -> None:
    def after(name: str, kind: str) -> list[str]:
        on.push({f"{name}.yaml": operation(name, "vm", kind)}, OPERATIONS)
        return [status["phase"] for status in stages(on)]

    assert after("one", "Stop") == ["Running", "Stopping", "Stopped"]
    assert after("two", "Start") == ["Stopped", "Starting", "Running"]
    assert after("three", "Restart") == ["Running", "Stopping", "Starting", "Running"]


@pytest.mark.promise("S40", "S47")
def test_a_start_that_fails_is_explained_and_tried_again(rig: Rig) -> None:
    rig.host.starting_fails.add(rig.uuid())
    rig.push({"vm.yaml": [disk(), machine()]})
    passes(rig, 12)
    assert rig.vm()["status"]["phase"] == "Pending"
    assert shown(rig, "Running") == ("False", "PodNotStarted")
    assert "QEMU ended at once" in condition(rig.vm(), "Running")["message"]
    rig.host.starting_fails.clear()
    rig.now += 60
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Running"
    assert shown(rig, "Running") == ("True", "Running")
    assert condition(rig.vm(), "Running")["message"] == ""


@pytest.mark.promise("S47")
def test_a_crash_is_told_from_a_poweroff(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine(runPolicy="Manual")]})
    rig.settle()
    ask(rig, "one", "Start")
    rig.host.guest_poweroff(rig.uuid())
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Stopped"
    assert shown(rig, "Running") == ("False", "NotRunning")
    assert condition(rig.vm(), "Running")["message"] == ""
    ask(rig, "two", "Start")
    rig.host.crash(rig.uuid())
    rig.settle()
    assert rig.vm()["status"]["phase"] == "Stopped"
    assert shown(rig, "Running") == ("False", "InternalVirtualMachineError")
    assert "crash" in condition(rig.vm(), "Running")["message"]


@pytest.mark.promise("S47")
@pytest.mark.parametrize(
    ("reason", "words"), [("watchdog", "(watchdog)"), ("ioerror", "had no space left")]
)
def test_a_guest_that_the_hypervisor_holds_is_told_with_its_reason(
    on: Rig, reason: str, words: str
) -> None:
    on.host.free = 0
    on.host.pause(on.uuid(), reason)
    on.settle()
    assert on.vm()["status"]["phase"] == "Pause"
    assert shown(on, "Running") == ("False", "GuestNotRunning")
    assert words in condition(on.vm(), "Running")["message"]
    on.host.unpause(on.uuid())
    on.settle()
    assert on.vm()["status"]["phase"] == "Running"
    assert shown(on, "Running") == ("True", "Running")


@pytest.mark.promise("S133")
@pytest.mark.parametrize("stage", ["Pending", "Starting", "Running", "Stopping", "Stopped"])
def test_the_manifest_may_be_changed_at_any_time(rig: Rig, stage: str) -> None:
    manifests = [machine()] if stage == "Pending" else [disk(), machine()]
    rig.push({"vm.yaml": manifests})
    if stage == "Starting":
        rig.agent.reconciler.look_at_git()
        while FILE not in rig.documents() or rig.vm()["status"]["phase"] != stage:
            rig.agent.reconciler.run()
            if rig._tasks:
                rig._tasks.popleft()()
    else:
        rig.settle()
    if stage in ("Stopping", "Stopped"):
        rig.host.guest_obeys = stage == "Stopped"
        rig.push({"stop.yaml": operation("stop", "vm", "Stop")}, OPERATIONS)
        passes(rig)
    assert rig.vm()["status"]["phase"] == stage
    before = rig.vm()["metadata"]["generation"]
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    passes(rig)
    assert rig.vm()["metadata"]["generation"] == before + 1
    assert rig.vm()["spec"]["cpu"]["cores"] == 2
    rig.settle()
    assert rig.agent.reconciler.summary().problems == ()
    ask(rig, "go", "Start" if stage in ("Stopping", "Stopped") else "Restart")
    assert machine_spec(rig.memory(active=True).spec)["cpu"]["cores"] == 2


@pytest.mark.promise("S45", "S46")
def test_a_configuration_that_is_not_applied_is_told_until_it_is(on: Rig) -> None:
    assert shown(on, "ConfigurationApplied") == shown(on, AWAITING) == ("", "")
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2}, memory={"size": "512Mi"})]})
    on.settle()
    assert shown(on, "ConfigurationApplied") == ("False", "ConfigurationNotApplied")
    assert shown(on, AWAITING) == ("True", "ChangesPendingRestart")
    for kind in ("ConfigurationApplied", AWAITING):
        assert "cpu.cores, memory.size" in condition(on.vm(), kind)["message"]
    ask(on, "restart", "Restart")
    assert shown(on, "ConfigurationApplied") == shown(on, AWAITING) == ("", "")


def test_a_machine_that_is_off_awaits_no_restart(on: Rig) -> None:
    ask(on, "stop", "Stop")
    on.push({"vm.yaml": [disk(), machine(cpu={"cores": 2})]})
    on.settle()
    assert shown(on, "ConfigurationApplied") == shown(on, AWAITING) == ("", "")


@pytest.mark.promise("S60")
def test_conditions_that_are_well_say_nothing(on: Rig) -> None:
    connect(on)
    well = [each for each in conditions(on) if each["status"] == "True"]
    assert {each["type"] for each in well} >= {"Running", "AgentReady", "BlockDevicesReady"}
    assert [each["message"] for each in well if each["message"]] == []
    said = {each["type"] for each in conditions(on) if each["message"]}
    assert said == {"HardwareVirtualization", "Migratable"}  # there is none of either here


# -- the guest agent ----------------------------------------------------------------------------


def channel(rig: Rig) -> etree._Element:
    """The agent's channel, as the definition that runs has it."""
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    (found,) = etree.fromstring(raw.active_xml).iterfind("devices/channel")
    return found


def connect(rig: Rig, state: str = "connected") -> None:
    """The guest's agent opens its channel, or closes it."""

    def change(root: etree._Element) -> None:
        target = root.find("devices/channel/target")
        assert target is not None
        target.set("state", state)

    rig.host.edit(rig.uuid(), change, live=True)
    rig.settle()


@pytest.mark.promise("S69", "S70")
@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"osType": "Windows"},
        {"bootloader": "EFI"},
        {"bootloader": "EFIWithSecureBoot"},
        {"enableParavirtualization": False},
    ],
)
def test_the_agent_of_any_system_finds_its_channel(rig: Rig, spec: dict[str, Any]) -> None:
    rig.push({"vm.yaml": [disk(), machine(**spec)]})
    rig.settle()
    target = channel(rig).find("target")
    assert target is not None
    assert (target.get("type"), target.get("name")) == ("virtio", AGENT_CHANNEL)


@pytest.mark.promise("S42", "S71")
def test_an_agent_that_is_started_later_is_noticed_without_a_restart(on: Rig) -> None:
    instance = on.memory(active=True).instance
    assert shown(on, "AgentReady") == ("False", "AgentNotReady")
    assert "qemu-guest-agent" in condition(on.vm(), "AgentReady")["message"]
    connect(on)
    assert shown(on, "AgentReady") == ("True", "AgentReady")
    connect(on, "disconnected")
    assert shown(on, "AgentReady") == ("False", "AgentNotReady")
    assert on.memory(active=True).instance == instance
    ask(on, "stop", "Stop")
    assert shown(on, "AgentReady") == ("", "")


@pytest.mark.promise("S67")
def test_the_wide_table_tells_whether_the_agent_answers_and_the_machine_can_migrate(
    on: Rig,
) -> None:
    def row() -> tuple[str, str]:
        kind = Catalogue.load().kinds["VirtualMachine"]
        table = tables.table(kind, [on.vm()], now=on.now, wide=True)
        cells = dict(zip(table.headers, table.rows[0], strict=True))
        return cells["AGENT"], cells["MIGRATABLE"]

    assert row() == ("False", "False")  # no machine can migrate yet
    assert condition(on.vm(), "Migratable")["message"]
    connect(on)
    assert row() == ("True", "False")
    connect(on, "disconnected")
    assert row() == ("False", "False")
