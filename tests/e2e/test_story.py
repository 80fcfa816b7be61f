"""The main job as people live it: one machine from its first push to its last, in the order in which the tests stand here."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pycdlib
import pytest
import yaml

from agent.core.identity import disk_volume
from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand, find, key
from tests.images.server import serve

EXAMPLES = Path(__file__).parents[2] / "examples"
VM = "linux-vm"
FILE = "virtual-machine.yaml"
CORES = {"currentValue": 1, "desiredValue": 2, "operation": "replace", "path": "cpu.cores"}


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return found


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand, guest: bytes) -> Iterator[Stand]:
    """The examples, with our image server's address and less memory."""
    with make_stand("default") as stand:
        stand.images.routes["/guest.qcow2"] = serve(guest)
        image = example("virtual-image.yaml")
        image["spec"]["dataSource"]["http"]["url"] = stand.images.url("/guest.qcow2")
        machine = example(FILE)
        machine["spec"]["memory"]["size"] = "160Mi"
        stand.files = {
            "image.yaml": image,
            "disk.yaml": example("virtual-disk.yaml"),
            FILE: machine,
        }
        stand.start()
        yield stand


def change(stand: Stand, **spec: Any) -> str:
    """Push the VM with some fields of its spec changed."""
    machine = stand.files[FILE]
    return stand.push({FILE: {**machine, "spec": {**machine["spec"], **spec}}})


def vm(stand: Stand) -> dict[str, Any]:
    return stand.status("VirtualMachine", VM)


def pending(stand: Stand) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = vm(stand).get("restartAwaitingChanges", [])
    return found


def row(stand: Stand) -> dict[str, str]:
    """The VM's line of the wide table, by column."""
    head, line = stand.gitvirt("get", "vm", VM, "-o", "wide").splitlines()
    return dict(zip(re.split(r"  +", head), re.split(r"  +", line), strict=True))


@pytest.mark.promise("S9", "S10", "S19", "S20", "S21", "S22", "S41", "S42", "S69", "S113", "S133")
def test_a_push_brings_a_machine_up(stand: Stand) -> None:
    stand.push()
    stand.wait_for_condition("VirtualMachine", VM, "AgentReady")
    assert stand.phases("VirtualMachine", VM) == ["Pending", "Starting", "Running"]
    assert find(vm(stand), "Running")["message"] == ""
    assert stand.instances(VM) == 1
    assert [path for path, _ in stand.images.requests] == ["/guest.qcow2"]


@pytest.mark.promise("S11", "S15", "S159", "S160", "S163")
def test_user_data_reaches_the_guest_as_it_is_written(stand: Stand) -> None:
    (medium,) = stand.volumes("seed_*.iso")
    iso = pycdlib.PyCdlib()
    iso.open(str(medium))
    written = io.BytesIO()
    iso.get_file_from_iso_fp(written, rr_path="/user-data")
    iso.close()
    text = stand.files[FILE]["spec"]["provisioning"]["userData"]
    assert "$UPTIME" in text
    assert written.getvalue().decode() == text
    said = r"linux-vm is ready, \d+\.\d+ seconds after it was started\n"
    stand.wait_for(lambda: re.search(said, stand.console(VM)), "the guest's final message")


@pytest.mark.promise("S14", "S103", "S144", "S205", "S206")
def test_a_person_logs_in_with_the_hashed_password(stand: Stand) -> None:
    with stand.terminal(VM) as terminal:
        terminal.type("")
        terminal.expect(r"linux-vm login: ")
        terminal.type("cloud")
        terminal.expect("Password: ")
        terminal.type("cloud")
        terminal.expect(r"\$ ")
        # the kernel names disks as it comes across them; the unit on the bus is what is promised
        terminal.type(
            "for unit in 0 1; do cat /sys/class/scsi_device/*:$unit/device/block/*/size; done"
        )
        terminal.expect(r"40960\n2048\n")  # sectors: the root disk first, then a medium of 1 MiB
        terminal.type("echo cpus=$(nproc)")
        terminal.expect(r"cpus=1\n")
        terminal.type("exit")
        terminal.expect("login: ")
    disks = dict(re.findall(r"disk: (sd.) (\S+ r[wo])", stand.console(VM)))
    assert set(disks) == {"sda", "sdb"}
    assert sorted(size.split()[0] for size in disks.values()) == ["1M", "20M"]


@pytest.mark.promise("S16", "S17", "S29", "S43", "S62", "S64", "S65", "S66", "S67", "S98", "S99")
def test_the_status_describes_the_machine(stand: Stand) -> None:
    status = vm(stand)
    assert status["nodeName"] == stand.host.name
    guest_os = status["guestOSInfo"]
    assert guest_os["id"] == "gitvirt-guest"
    assert {"kernelRelease", "kernelVersion", "machine", "name", "prettyName"} <= set(guest_os)
    assert all(isinstance(value, str) for value in guest_os.values())
    assert status["resources"]["cpu"] == {
        "coreFraction": "10%",
        "cores": 1,
        "requestedCores": "100m",
        "runtimeOverhead": "0",
        "topology": {"coresPerSocket": 1, "sockets": 1},
    }
    assert status["resources"]["memory"]["size"] == "160Mi"
    assert 96 < stand.memory(VM)[0] < 160
    (disk,) = status["blockDeviceRefs"]
    assert (disk["kind"], disk["name"], disk["target"]) == ("VirtualDisk", "linux-vm-root", "sda")
    assert disk["attached"] is True
    assert pending(stand) == []
    assert stand.wait_for(lambda: vm(stand)["ipAddress"], "the guest's address") == "10.0.2.15"
    line = row(stand)
    assert (line["PHASE"], line["CORES"], line["COREFRACTION"]) == ("Running", "1", "10%")
    assert (line["MEMORY"], line["NEED RESTART"], line["AGENT"]) == ("160Mi", "False", "True")
    assert line["MIGRATABLE"] == "False"


@pytest.mark.promise("S136", "S143", "S145", "S147", "S148", "S149", "S150", "S151", "S152", "S153")
def test_two_cores_wait_for_a_restart(stand: Stand) -> None:
    revision = change(stand, cpu={"cores": 2, "coreFraction": "10%"})
    stand.wait_for(lambda: stand.applied(revision), "the change")
    assert pending(stand) == [CORES]
    assert find(vm(stand), "AwaitingRestartToApplyConfiguration")
    assert find(vm(stand), "ConfigurationApplied", "False")
    assert vm(stand)["resources"]["cpu"]["cores"] == 1
    line = row(stand)
    assert (line["CORES"], line["NEED RESTART"], line["AGENT"]) == ("2", "True", "True")
    assert stand.boots(VM) == [1]
    assert stand.instances(VM) == 1


def test_a_revert_leaves_nothing_to_wait_for(stand: Stand) -> None:
    revision = change(stand, cpu={"cores": 1, "coreFraction": "10%"})
    stand.wait_for(lambda: stand.applied(revision), "the revert")
    assert pending(stand) == []
    assert not find(vm(stand), "AwaitingRestartToApplyConfiguration")
    assert stand.instances(VM) == 1


@pytest.mark.promise("S48", "S128", "S131", "S154", "S155", "S156")
def test_a_restart_applies_them(stand: Stand) -> None:
    revision = change(stand, cpu={"cores": 2, "coreFraction": "10%"})
    stand.wait_for(lambda: stand.applied(revision) and pending(stand) == [CORES], "the change")
    stand.gitvirt("restart", VM, "--wait", "--timeout", "60s")
    stand.wait_for_condition("VirtualMachine", VM, "AgentReady")
    assert stand.boots(VM) == [1, 2]
    assert stand.instances(VM) == 2
    assert pending(stand) == []
    assert "gitvirt guest: poweroff" in stand.console(VM)
    assert stand.phases("VirtualMachine", VM)[2:] == ["Running", "Stopping", "Starting", "Running"]


def test_a_reboot_from_inside_applies_what_waits(stand: Stand) -> None:
    revision = change(stand, cpu={"cores": 1, "coreFraction": "10%"})
    stand.wait_for(lambda: stand.applied(revision) and pending(stand), "the change")
    stand.domain(VM).reboot(libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)
    stand.wait_for(lambda: stand.boots(VM)[2:] == [1], "a boot with one core again")
    stand.wait_for_condition("VirtualMachine", VM, "AgentReady")
    assert "gitvirt guest: reboot" in stand.console(VM)
    assert stand.instances(VM) == 3
    assert pending(stand) == []


def test_a_reboot_where_nothing_waits_stays_one_and_applies_no_later_change(stand: Stand) -> None:
    stand.domain(VM).reset()
    revision = change(stand, cpu={"cores": 2, "coreFraction": "10%"})
    stand.wait_for(lambda: stand.applied(revision), "the change")
    assert [each["desiredValue"] for each in pending(stand)] == [2]
    stand.wait_for(lambda: stand.boots(VM)[3:] == [1], "the guest after its reboot")
    assert stand.instances(VM) == 3


@pytest.mark.promise("S158")
def test_with_approval_the_machine_restarts_by_itself(stand: Stand) -> None:
    change(
        stand,
        cpu={"cores": 1, "coreFraction": "10%"},
        memory={"size": "192Mi"},
        disruptions={"restartApprovalMode": "Automatic"},
    )
    stand.wait_for(lambda: stand.boots(VM)[4:] == [1], "a restart by itself")
    stand.wait_for_condition("VirtualMachine", VM, "AgentReady")
    assert stand.memory(VM)[-1] > stand.memory(VM)[0]
    assert stand.instances(VM) == 4
    assert stand.console(VM).count("gitvirt guest: poweroff") == 2  # asked, not cut off
    assert pending(stand) == []


@pytest.mark.promise("S23", "S24", "S123", "S129", "S135")
def test_a_stop_is_graceful_and_lasts(stand: Stand) -> None:
    said = stand.console(VM).count("gitvirt guest: poweroff")
    stand.gitvirt("stop", VM, "--wait", "--timeout", "60s")
    assert stand.phase("VirtualMachine", VM) == "Stopped"
    assert stand.phases("VirtualMachine", VM)[-3:] == ["Running", "Stopping", "Stopped"]
    assert stand.console(VM).count("gitvirt guest: poweroff") == said + 1
    revision = change(stand, cpu={"cores": 2, "coreFraction": "10%"})
    stand.wait_for(lambda: stand.applied(revision), "a change while it is off")
    assert not stand.runs(VM)
    assert pending(stand) == []


@pytest.mark.promise("S130", "S135")
def test_a_start_brings_it_back_with_what_was_changed(stand: Stand) -> None:
    stand.gitvirt("start", VM, "--wait", "--timeout", "60s")
    stand.wait_for_condition("VirtualMachine", VM, "AgentReady")
    assert stand.boots(VM)[5:] == [2]
    assert stand.instances(VM) == 5
    assert stand.phase("VirtualMachine", VM) == "Running"


@pytest.mark.promise("S25", "S50")
def test_without_its_manifest_the_machine_goes_and_its_disk_stays(stand: Stand) -> None:
    uid = stand.object("VirtualDisk", "linux-vm-root")["metadata"]["uid"]
    assert len(stand.volumes("console_*.log")) == len(stand.volumes("seed_*.iso")) == 1
    stand.push({FILE: None})
    stand.wait_for(lambda: stand.phases("VirtualMachine", VM)[-1] == "", "its end")
    assert stand.phases("VirtualMachine", VM)[-2:] == ["Terminating", ""]
    assert stand.domains() == set()
    assert stand.volumes("console_*") == stand.volumes("seed_*") == []
    disk = stand.disk("linux-vm-root")
    assert disk.name == disk_volume("default", key("VirtualDisk", "linux-vm-root"), uid)
    assert stand.phase("VirtualDisk", "linux-vm-root") == "Ready"


def test_the_agent_ends_when_asked(stand: Stand) -> None:
    assert stand.stop() == 0
