"""The main job as people live it. Each test has a machine that is up and as its manifest says, whatever became of others."""

from __future__ import annotations

import io
import json
import re
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pycdlib
import pytest
import yaml
from lxml import etree

from agent.core.identity import disk_volume
from agent.core.quantity import to_bytes
from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand, find, key
from tests.images.server import serve

EXAMPLES = Path(__file__).parents[2] / "examples"
NAME = "linux-vm"
MORE = {"cores": 2, "coreFraction": "10%"}
CORES = {"currentValue": 1, "desiredValue": 2, "operation": "replace", "path": "cpu.cores"}


def example(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((EXAMPLES / name).read_text())
    return found


@dataclass(frozen=True)
class Machine:
    """The machine of the examples under a name of its own, with less memory."""

    stand: Stand
    name: str

    @property
    def file(self) -> str:
        return f"{self.name}.yaml"

    def files(self) -> dict[str, Any]:
        """Its manifest and its disk's."""
        manifests = example("virtual-machine.yaml"), example("virtual-disk.yaml")
        machine, disk = json.loads(json.dumps(manifests).replace(NAME, self.name))
        machine["spec"]["memory"]["size"] = "160Mi"
        return {self.file: machine, f"{self.name}-disk.yaml": disk}

    def change(self, **spec: Any) -> str:
        """Push it with some fields of its spec changed."""
        machine = self.files()[self.file]
        return self.stand.push({self.file: {**machine, "spec": {**machine["spec"], **spec}}})

    def status(self) -> dict[str, Any]:
        return self.stand.status("VirtualMachine", self.name)

    def size(self) -> int:
        """Bytes of its disk."""
        return to_bytes(self.stand.status("VirtualDisk", f"{self.name}-root")["capacity"])

    def pending(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.status().get("restartAwaitingChanges", [])
        return found

    def row(self) -> dict[str, str]:
        """Its line of the wide table, by column."""
        head, line = self.stand.gitvirt("get", "vm", self.name, "-o", "wide").splitlines()
        return dict(zip(re.split(r"  +", head), re.split(r"  +", line), strict=True))

    def phases(self) -> list[str]:
        return self.stand.phases("VirtualMachine", self.name)

    def instances(self) -> int:
        return self.stand.instances(self.name)

    def boots(self) -> list[int]:
        return self.stand.boots(self.name)

    def said(self, words: str) -> int:
        """How often the guest has said something."""
        return self.stand.console(self.name).count(words)

    def wait_for_boots(self, *cores: int) -> None:
        """Wait until the guest has booted with these numbers of CPUs, and its agent answers."""
        self.stand.wait_for(lambda: self.boots() == [*cores], f"boots with {cores} CPUs")
        self.stand.wait_for_condition("VirtualMachine", self.name, "AgentReady")

    def is_as_new(self) -> bool:
        """It was started once and runs, with a manifest that nobody has touched."""
        return (
            self.stand.files.get(self.file) == self.files()[self.file]
            and bool(find(self.status(), "AgentReady"))
            and (self.instances(), self.boots(), self.pending()) == (1, [1], [])
        )


@pytest.fixture(scope="module")
def stand(make_stand: MakeStand, guest: bytes) -> Iterator[Stand]:
    """An image, and room for machines made from it."""
    with make_stand("default") as stand:
        stand.images.routes["/guest.qcow2"] = serve(guest)
        image = example("virtual-image.yaml")
        image["spec"]["dataSource"]["http"]["url"] = stand.images.url("/guest.qcow2")
        stand.files = {"image.yaml": image}
        yield stand


@pytest.fixture(autouse=True)
def agent(stand: Stand) -> None:
    """An agent runs whatever has become of the test before."""
    if not stand.started:
        stand.start()


@pytest.fixture(scope="module")
def machines() -> list[Machine]:
    """All there were."""
    return []


@pytest.fixture
def vm(stand: Stand, machines: list[Machine], agent: None) -> Machine:
    """A machine that has been up once and waits for nothing: the last test's if that left it so."""
    if machines and machines[-1].is_as_new():
        return machines[-1]
    before = {machines[-1].file: None} if machines else {}
    machine = Machine(stand, f"{NAME}-{len(machines) + 1}" if machines else NAME)
    machines.append(machine)
    stand.push({**machine.files(), **{path: None for path in before if path in stand.files}})
    machine.wait_for_boots(1)
    return machine


@pytest.mark.promise("S20", "S21", "S22", "S41", "S42", "S69", "S113")
def test_a_push_brings_a_machine_up(vm: Machine) -> None:
    assert vm.phases() == ["Pending", "Starting", "Running"]
    assert find(vm.status(), "Running")["message"] == ""
    assert vm.instances() == 1
    assert [path for path, _ in vm.stand.images.requests] == ["/guest.qcow2"]


@pytest.mark.promise("S11", "S15", "S159", "S163")
def test_user_data_reaches_the_guest_as_it_is_written(vm: Machine) -> None:
    uid = vm.stand.object("VirtualMachine", vm.name)["metadata"]["uid"]
    (medium,) = vm.stand.volumes(f"seed_{uid}_*.iso")
    iso = pycdlib.PyCdlib()
    iso.open(str(medium))
    written = io.BytesIO()
    iso.get_file_from_iso_fp(written, rr_path="/user-data")
    iso.close()
    text = vm.stand.files[vm.file]["spec"]["provisioning"]["userData"]
    assert "$UPTIME" in text
    assert written.getvalue().decode() == text
    said = rf"{vm.name} is ready, \d+\.\d+ seconds after it was started\n"
    vm.stand.wait_for(lambda: re.search(said, vm.stand.console(vm.name)), "the final message")


@pytest.mark.promise("S103", "S144", "S206")
def test_a_person_logs_in_at_the_console(vm: Machine) -> None:
    with vm.stand.terminal(vm.name) as terminal:
        terminal.log_in(vm.name)
        # the kernel names disks as it comes across them; the unit on the bus is what is promised
        terminal.type(
            "for unit in 0 16; do cat /sys/class/scsi_device/*:$unit/device/block/*/size; done"
        )
        # sectors: the root disk first, then a medium of 1 MiB
        terminal.expect(rf"{vm.size() // 512}\n2048\n")
        terminal.type("echo cpus=$(nproc)")
        terminal.expect(r"cpus=1\n")
        terminal.type("exit")
        terminal.expect("login: ")
    disks = dict(re.findall(r"disk: (sd.) (\S+ r[wo])", vm.stand.console(vm.name)))
    assert set(disks) == {"sda", "sdb"}
    assert sorted(disks.values()) == ["1M ro", f"{vm.size() >> 20}M rw"]


@pytest.mark.promise("S104")
def test_a_viewer_reaches_the_screen(vm: Machine) -> None:
    display = etree.fromstring(vm.stand.domain(vm.name).XMLDesc()).find("devices/graphics")
    assert display is not None
    assert display.get("type") == "vnc"
    with socket.socket(socket.AF_UNIX) as viewer:
        viewer.settimeout(60)
        viewer.connect(display.get("socket", ""))
        with viewer.makefile("rwb") as stream:
            assert stream.read(12) == b"RFB 003.008\n"
            stream.write(b"RFB 003.008\n")
            stream.flush()
            offered = stream.read(stream.read(1)[0])
            assert b"\1" in offered  # nobody is asked: whoever may open the socket may look
            stream.write(b"\1")
            stream.flush()
            assert stream.read(4) == bytes(4)
            stream.write(b"\1")  # beside other viewers
            stream.flush()
            width, height = struct.unpack(">HH", stream.read(4))
    assert width >= 640
    assert height >= 400


@pytest.mark.promise("S16", "S17", "S29", "S43", "S64", "S65", "S66", "S67", "S98", "S99")
def test_the_status_describes_the_machine(vm: Machine) -> None:
    guest_os = vm.stand.wait_for(lambda: vm.status().get("guestOSInfo", {}), "the guest's system")
    assert guest_os["id"] == "gitvirt-guest"
    assert {"kernelRelease", "kernelVersion", "machine", "name", "prettyName"} <= set(guest_os)
    assert all(isinstance(value, str) for value in guest_os.values())
    status = vm.status()
    assert status["nodeName"] == vm.stand.host.name
    assert status["resources"]["cpu"] == {
        "coreFraction": "10%",
        "cores": 1,
        "requestedCores": "100m",
        "runtimeOverhead": "0",
        "topology": {"coresPerSocket": 1, "sockets": 1},
    }
    assert status["resources"]["memory"]["size"] == "160Mi"
    assert 96 < vm.stand.memory(vm.name)[0] < 160
    (disk,) = status["blockDeviceRefs"]
    assert (disk["kind"], disk["name"], disk["target"]) == (
        "VirtualDisk",
        f"{vm.name}-root",
        "sda",
    )
    assert disk["attached"] is True
    assert vm.pending() == []
    address = vm.stand.wait_for(lambda: vm.status().get("ipAddress"), "the guest's address")
    assert address == "10.0.2.15"
    line = vm.row()
    assert re.fullmatch(r"(\d+[smhd])+", line.pop("AGE"))
    assert list(line.items()) == [
        ("NAME", vm.name),
        ("PHASE", "Running"),
        ("CORES", "1"),
        ("COREFRACTION", "10%"),
        ("MEMORY", "160Mi"),
        ("NEED RESTART", "False"),
        ("AGENT", "True"),
        ("MIGRATABLE", "False"),
        ("NODE", vm.stand.host.name),
        ("IPADDRESS", address),
    ]


@pytest.mark.promise("S35")
def test_the_conditions_whose_type_tells_of_readiness_can_be_picked_out(vm: Machine) -> None:
    shown = json.loads(vm.stand.gitvirt("get", "vm", vm.name, "-o", "json"))
    picked = [each for each in shown["status"]["conditions"] if re.search(".*Ready", each["type"])]
    assert {each["type"]: each["status"] for each in picked} == dict.fromkeys(
        (
            *("VirtualMachineIPAddressReady", "VirtualMachineClassReady", "BlockDevicesReady"),
            *("ProvisioningReady", "AgentReady"),
        ),
        "True",
    )


@pytest.mark.promise("S145", "S147", "S148", "S149", "S150", "S151", "S152", "S153")
def test_two_cores_wait_for_a_restart_and_a_revert_leaves_nothing_to_wait_for(vm: Machine) -> None:
    vm.stand.wait_for(lambda: vm.status().get("ipAddress"), "the guest's address")
    before = vm.row()
    revision = vm.change(cpu=MORE)
    vm.stand.wait_for(lambda: vm.stand.applied(revision), "the change")
    assert vm.pending() == [CORES]
    assert find(vm.status(), "AwaitingRestartToApplyConfiguration")
    assert find(vm.status(), "ConfigurationApplied", "False")
    assert vm.status()["resources"]["cpu"]["cores"] == 1
    line = vm.row()
    assert (before["CORES"], before["NEED RESTART"]) == ("1", "False")
    assert list(line) == list(before)
    assert line | {"AGE": ""} == before | {"CORES": "2", "NEED RESTART": "True", "AGE": ""}
    with vm.stand.terminal(vm.name) as terminal:
        terminal.log_in(vm.name)
        terminal.type("echo cpus=$(nproc)")
        terminal.expect(r"cpus=1\n")
        terminal.type("exit")
        terminal.expect("login: ")

    revision = vm.change()
    vm.stand.wait_for(lambda: vm.stand.applied(revision), "the revert")
    assert vm.pending() == []
    assert not find(vm.status(), "AwaitingRestartToApplyConfiguration")
    assert (vm.boots(), vm.instances()) == ([1], 1)


@pytest.mark.promise("S131", "S154", "S155", "S156")
def test_a_restart_applies_them(vm: Machine) -> None:
    revision = vm.change(cpu=MORE)
    vm.stand.wait_for(lambda: vm.stand.applied(revision), "the change")
    assert vm.pending() == [CORES]
    vm.stand.gitvirt("restart", vm.name, "--wait", "--timeout", "5m")
    vm.wait_for_boots(1, 2)
    assert vm.instances() == 2
    assert vm.pending() == []
    assert vm.said("gitvirt guest: poweroff") == 1
    assert vm.phases()[2:] == ["Running", "Stopping", "Starting", "Running"]


def test_a_reboot_from_inside_applies_what_waits(vm: Machine) -> None:
    revision = vm.change(cpu=MORE)
    vm.stand.wait_for(lambda: vm.stand.applied(revision) and vm.pending(), "the change")
    vm.stand.domain(vm.name).reboot(libvirt.VIR_DOMAIN_REBOOT_GUEST_AGENT)
    vm.wait_for_boots(1, 2)
    assert vm.said("gitvirt guest: reboot") == 1
    assert vm.instances() == 2
    vm.stand.wait_for(lambda: not vm.pending(), "what it was told")


def test_a_reboot_where_nothing_waits_stays_one_and_applies_no_later_change(vm: Machine) -> None:
    vm.stand.domain(vm.name).reset()
    vm.stand.wait_for(lambda: vm.boots() == [1, 1], "the guest after its reboot")
    revision = vm.change(cpu=MORE)
    vm.stand.wait_for(lambda: vm.stand.applied(revision), "the change")
    assert vm.pending() == [CORES]
    assert (vm.boots(), vm.instances()) == ([1, 1], 1)


@pytest.mark.promise("S158")
def test_with_approval_the_machine_restarts_by_itself(vm: Machine) -> None:
    vm.change(memory={"size": "192Mi"}, disruptions={"restartApprovalMode": "Automatic"})
    vm.wait_for_boots(1, 1)
    first, second = vm.stand.memory(vm.name)
    assert second > first
    assert vm.instances() == 2
    assert vm.said("gitvirt guest: poweroff") == 1  # asked, not cut off
    vm.stand.wait_for(lambda: not vm.pending(), "what it was told")


@pytest.mark.promise("S23", "S24", "S123", "S129")
def test_a_stop_is_graceful_and_lasts(vm: Machine) -> None:
    vm.stand.gitvirt("stop", vm.name, "--wait", "--timeout", "5m")
    assert vm.phases()[-3:] == ["Running", "Stopping", "Stopped"]
    assert vm.said("gitvirt guest: poweroff") == 1
    revision = vm.change(cpu=MORE)
    vm.stand.wait_for(lambda: vm.stand.applied(revision), "a change while it is off")
    assert not vm.stand.runs(vm.name)
    assert vm.pending() == []


@pytest.mark.promise("S130", "S135")
def test_a_start_brings_it_back_with_what_was_changed(vm: Machine) -> None:
    vm.stand.gitvirt("stop", vm.name, "--wait", "--timeout", "5m")
    revision = vm.change(cpu=MORE)
    vm.stand.wait_for(lambda: vm.stand.applied(revision), "a change while it is off")
    vm.stand.gitvirt("start", vm.name, "--wait", "--timeout", "5m")
    vm.wait_for_boots(1, 2)
    assert vm.instances() == 2
    assert vm.stand.phase("VirtualMachine", vm.name) == "Running"


@pytest.mark.promise("S121")
def test_nothing_turns_on_what_is_to_be_always_off(vm: Machine) -> None:
    vm.change(runPolicy="AlwaysOff")
    vm.stand.wait_for(lambda: vm.phases()[-1] == "Stopped", "its end")
    for verb in ("start", "restart"):
        said = vm.stand.gitvirt(verb, vm.name, "--wait", "--timeout", "1m", ok=False)
        assert "AlwaysOff" in said
    found = json.loads(vm.stand.gitvirt("get", "vmop", "-o", "json"))["items"]
    refused = [each for each in found if each["spec"]["virtualMachineName"] == vm.name]
    assert [each["status"]["phase"] for each in refused] == ["Failed", "Failed"]
    assert not vm.stand.runs(vm.name)
    assert (vm.instances(), vm.phases()[-1]) == (1, "Stopped")


@pytest.mark.promise("S25", "S50")
def test_without_its_manifest_the_machine_goes_and_its_disk_stays(vm: Machine) -> None:
    disk = f"{vm.name}-root"
    uid = vm.stand.object("VirtualMachine", vm.name)["metadata"]["uid"]
    disk_uid = vm.stand.object("VirtualDisk", disk)["metadata"]["uid"]
    own = (f"console_{uid}*", f"seed_{uid}_*")
    assert [len(vm.stand.volumes(pattern)) for pattern in own] == [1, 1]
    vm.stand.push({vm.file: None})
    vm.stand.wait_for(lambda: vm.phases()[-1] == "", "its end")
    assert vm.phases()[-2:] == ["Terminating", ""]
    assert f"default.{vm.name}" not in vm.stand.domains()
    assert [vm.stand.volumes(pattern) for pattern in own] == [[], []]
    volume = disk_volume("default", key("VirtualDisk", disk), disk_uid)
    assert vm.stand.disk(disk).name == volume
    assert vm.stand.phase("VirtualDisk", disk) == "Ready"


def test_the_agent_ends_when_asked(stand: Stand) -> None:
    assert stand.stop() == 0
