"""What the agent's log tells: what there is, and of each deed why and for whom."""

from __future__ import annotations

import logging
import re

import pytest

from agent.logs import Lines
from tests.rig import MAIN, OPERATIONS, Rig, disk, machine, operation


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "gitvirt")
    return caplog


def deeds(said: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of the machine since the last call."""
    lines = [each.getMessage() for each in said.records]
    said.clear()
    return [line.partition(": ")[2] for line in lines if line.startswith("VirtualMachine ")]


def test_at_the_start_it_says_what_is_in_force_and_where(
    rig: Rig, said: pytest.LogCaptureFixture
) -> None:
    rig.push({"vm.yaml": [disk(), disk("more"), machine()]})
    rig.settle()
    assert "in force: 2 VirtualDisk, 1 VirtualMachine, 2 VirtualMachineClass" in said.messages
    assert "node node-1 at memory:///node-1, libvirt 9.0.0, QEMU 7.2.0: 0 domains" in said.messages
    revision = rig.repo.fetch()[MAIN]
    assert f"commit {revision[:12]} (change): 3 manifests, 0 problems" in said.messages
    said.clear()
    rig.push({"other.yaml": disk("other")})
    rig.settle()
    assert not any(line.startswith(("in force", "node ")) for line in said.messages)


def test_operations_are_no_manifests_of_the_commit_and_name_their_own(
    rig: Rig, said: pytest.LogCaptureFixture
) -> None:
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": 0})]})
    rig.push({"vms/op.yaml": operation("op", "vm", "Stop")}, OPERATIONS)
    rig.settle()
    tips = rig.repo.fetch()
    assert f"commit {tips[MAIN][:12]} (change): 1 manifest, 1 problem" in said.messages
    annotations = rig.vmop("op")["metadata"]["annotations"]
    assert annotations["gitvirt.io/source"] == f"{tips[OPERATIONS]}:vms/op.yaml"


def test_problems_are_told_by_name_once_and_when_they_are_gone(
    rig: Rig, said: pytest.LogCaptureFixture
) -> None:
    rig.push({"vm.yaml": [disk(), machine(cpu={"cores": 0})]})
    rig.settle()
    rig.push({"more.yaml": disk("more")})
    rig.settle()
    told = [each.getMessage() for each in said.records if each.levelno == logging.WARNING]
    assert len(told) == 1
    assert re.match(r"vm\.yaml:\d+: VirtualMachine default/vm: spec\.cpu\.cores: ", told[0])
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    assert "all manifests hold" in said.messages


def test_each_deed_says_why_and_for_whom(rig: Rig, said: pytest.LogCaptureFixture) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    commit = rig.repo.fetch()[MAIN][:12]
    first, *later = deeds(said)
    assert first == f"DefineDomain, StartDomain: commit {commit} (change)"
    assert later == ["DefineDomain: to remember what has happened"]

    rig.push({"vm.yaml": [disk(), machine(metadata={"labels": {"app": "web"}})]})
    rig.settle()
    commit = rig.repo.fetch()[MAIN][:12]
    assert f"DefineDomain, SetLiveMetadata: commit {commit} (change)" in deeds(said)

    rig.push({"op.yaml": operation("again", "vm", "Restart")}, OPERATIONS)
    rig.settle()
    assert any(
        "ShutdownDomain" in line and line.endswith(": operation again (Restart)")
        for line in deeds(said)
    )

    rig.host.destroy(rig.uuid())
    rig.settle()
    assert any("StartDomain" in line and line.endswith(": ended by hand") for line in deeds(said))

    def more_cores(root: object) -> None:
        root.find("vcpu").text = "7"  # type: ignore[attr-defined]

    rig.host.edit(rig.uuid(), more_cores)
    rig.settle()
    assert any(
        line == "DefineDomain: changed by hand: cpu.cores 1 → 7, cpu.topology none → 1x1"
        for line in deeds(said)
    )

    rig.push({"vm.yaml": disk()})
    rig.settle()
    assert any(
        "UndefineDomain" in line and line.endswith(": its manifest is gone") for line in deeds(said)
    )


def test_a_start_that_has_failed_is_told_as_another_try(
    rig: Rig, said: pytest.LogCaptureFixture
) -> None:
    rig.host.starting_fails.add(rig.uuid())
    rig.push({"vm.yaml": [disk(), machine()]})
    for _ in range(6):
        rig.step()
    deeds(said)
    rig.now += 60
    rig.host.starting_fails.clear()
    rig.settle()
    assert deeds(said)[0] == "StartDomain: tried again"


def test_what_happened_stands_in_the_status_log_too(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    rig.host.destroy(rig.uuid())
    rig.settle()
    tip = rig.repo.fetch()["refs/heads/status"]
    path = "namespaces/default/virtualmachines/vm.yaml"
    subjects = [each.subject for each in rig.repo.log(tip, path)]
    assert any(each.endswith("ended by hand, started again") for each in subjects)


def test_the_picture_of_the_fleet_stands_beside_the_readme_that_shows_it(rig: Rig) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    files = rig.documents()
    assert b"](fleet.svg)" in files["README.md"]
    assert "1 machine · 256 MiB of 64 GiB".encode() in files["fleet.svg"]
    rig.host.guest_poweroff(rig.uuid())
    rig.settle()
    assert b"On no node" in rig.documents()["fleet.svg"]


def test_a_pass_is_told_on_request_and_only_where_it_did_something(
    rig: Rig, said: pytest.LogCaptureFixture
) -> None:
    rig.push({"vm.yaml": [disk(), machine()]})
    rig.settle()
    assert not any(line.startswith("pass: ") for line in said.messages)
    said.set_level(logging.DEBUG, "gitvirt")
    rig.host.guest_reboot(rig.uuid())
    rig.settle()
    assert any(
        re.fullmatch(r"pass: \d+ news, \d+ objects decided, \d+ under way, [\d.]+ ms", line)
        for line in said.messages
    )
    said.clear()
    rig.agent.reconciler.run()
    assert said.messages == []


def test_a_line_of_the_log_stays_one_and_steers_no_terminal() -> None:
    record = logging.LogRecord("gitvirt", logging.INFO, "", 0, "%s", ("a\nb\x1b[2J\u202e",), None)
    assert Lines().format(record).endswith("a\\nb\\x1b[2J\\u202e")
