"""Guests that count go from one host to another, and never run twice."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import libvirt
import libvirt_qemu
import pytest

from agent.core.identity import domain_name
from tests.e2e.test_moving import storage_class
from tests.images.server import serve
from tests.rig import manifest, operation, vm_key
from tests.system.course import PAGE, told, waits_beside
from tests.system.fleet import Fleet

MEMORY = 128 << 20
COUNTING = """#cloud-config
runcmd:
- mkdir -p /mnt/data
- for each in /dev/sd?; do mount -t ext4 $each /mnt/data && break; done
- echo "began with $(wc -l </mnt/data/log)"
- (n=$(wc -l </mnt/data/log); while n=$((n + 1)); do echo $n >>/mnt/data/log; sync; echo "tick $n up $(cut -d. -f1 /proc/uptime)"; sleep 0.2; done) &
"""


def objects(
    fleet: Fleet, guest: bytes, data_class: str, policy: str = "AlwaysOn"
) -> list[dict[str, Any]]:
    """A machine that counts, onto a disk of its own, and says so on its console."""
    data = fleet.folder / "data.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(data), "32M"], check=True)
    made = []
    for name, content in {"guest": guest, "data": data.read_bytes()}.items():
        fleet.images.routes[f"/{name}"] = serve(content)
        source = {"type": "HTTP", "http": {"url": fleet.images.url(f"/{name}")}}
        made.append(
            manifest("VirtualImage", name, {"storage": "ContainerRegistry", "dataSource": source})
        )
    for name, image in {"root": "guest", "data": "data"}.items():
        source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": image}}
        claim = {"storageClassName": data_class} if name == "data" else {}
        made.append(
            manifest("VirtualDisk", name, {"dataSource": source, "persistentVolumeClaim": claim})
        )
    spec = {
        "virtualMachineClassName": "generic",
        "runPolicy": policy,
        "terminationGracePeriodSeconds": 10,
        "cpu": {"cores": 1},
        "memory": {"size": str(MEMORY)},
        "provisioning": {"type": "UserData", "userData": COUNTING},
        "blockDeviceRefs": [
            {"kind": "VirtualDisk", "name": "root"},
            {"kind": "VirtualDisk", "name": "data"},
        ],
    }
    return [*made, manifest("VirtualMachine", "vm", spec)]


@pytest.fixture(scope="module")
def guest() -> bytes:

    given = os.environ.get("GITVIRT_GUEST_IMAGE")
    if not given:
        pytest.fail(
            "GITVIRT_GUEST_IMAGE must name the small guest's image, as tests/run.sh makes it"
        )
    return Path(given).read_bytes()


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet(2, shared=True, migration={"bandwidth": "16Mi"})  # long enough to be seen
    try:
        yield made
    finally:
        made.close()


def moved(fleet: Fleet, name: str, target: str) -> None:
    """Ask for a migration, and see the guest count on there."""
    (source,) = fleet.on()
    before = fleet.ticks(source)[-1]
    fleet.ask(operation(name, "vm", "Evict"))
    fleet.wait_for(lambda: waits_beside(fleet, source, target), "a copy that waits", step=0.02)
    fleet.wait_for(lambda: fleet.ticks(source)[-1] > before, "a guest that counts meanwhile")
    fleet.wait_for(
        lambda: fleet.status("virtualmachineoperations", name).get("phase") == "Completed",
        f"the end of {name}: {fleet.status('virtualmachineoperations', name)}",
    )
    assert (fleet.on(), list(fleet.states())) == ([target], [target])
    count, up = fleet.wait_for(lambda: fleet.ticks(target)[-1:], "a guest that goes on")[0]
    assert count > before[0]
    assert up >= before[1]
    assert "began with" not in fleet.console(target)  # it was not booted
    went_in_rounds(told(fleet, target))
    status = fleet.vm()
    assert (status["phase"], status["nodeName"]) == ("Running", target)
    assert status["migrationState"]["result"] == "Succeeded"
    kinds = {each["type"]: each for each in status["conditions"]}
    assert not {"DriftDetected", "Migrating", "AwaitingRestartToApplyConfiguration"} & kinds.keys()
    assert kinds["Migratable"]["status"] == "True"


def went_in_rounds(stats: Mapping[str, int]) -> None:
    """All of the memory, then what had been written meanwhile, and the guest stood still only for the last of it."""
    sent = (stats["memory_constant"] + stats["memory_normal"]) * PAGE
    assert stats["memory_iteration"] >= 2
    assert MEMORY < sent < 2 * MEMORY
    assert stats["memory_dirty_rate"] * PAGE < stats["memory_bps"]
    assert 2 * stats["downtime"] < stats["time_elapsed"]


def leave_remains(fleet: Fleet, node: str) -> None:
    """What libvirt forgets in QEMU when it dies while disks are copied."""
    left = {"driver": "null-co", "node-name": "migration-sda-storage", "read-zeroes": True}
    connection = libvirt.open(fleet.machine(node).uri)
    domain = connection.lookupByName(domain_name(vm_key()))
    command = json.dumps({"execute": "blockdev-add", "arguments": left})
    assert "error" not in libvirt_qemu.qemuMonitorCommand(domain, command, 0)
    connection.close()


@pytest.mark.promise("S51", "S210", "S211", "S212", "S213", "S214", "S215", "S219", "S220")
def test_a_guest_that_counts_goes_to_another_host_and_back(fleet: Fleet, guest: bytes) -> None:
    """One of its disks is on its host alone, the other one is shared."""
    fleet.push({"all.yaml": [storage_class("nfs", "nfs"), *objects(fleet, guest, "nfs")]})
    fleet.start()
    fleet.wait_for(fleet.on, "a guest that runs")
    (first,) = fleet.on()
    other = "pt-2" if first == "pt-1" else "pt-1"
    fleet.wait_for(lambda: len(fleet.ticks(first)) > 5, "a guest that counts")
    moved(fleet, "there", other)
    assert not [name for name in fleet.volumes(first) if "_disk_" in name or "_seed_" in name]
    leave_remains(fleet, other)
    moved(fleet, "back", first)
    assert not [name for name in fleet.volumes(other) if "_disk_" in name or "_seed_" in name]
    taken(fleet, guest, first, other)


def taken(fleet: Fleet, guest: bytes, source: str, target: str) -> None:
    """Stopped, it stays; started with its node cordoned, it comes up on the other one with all that it has written."""
    common = storage_class("nfs", "nfs")
    count, _ = fleet.ticks(source)[-1]  # it counts on without its disk while it shuts down
    fleet.push({"all.yaml": [common, *objects(fleet, guest, "nfs", "AlwaysOff")]})
    fleet.wait_for(lambda: fleet.vm().get("phase") == "Stopped", "a machine that is off")
    closed: dict[str, Any] = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": source}}
    closed["spec"] = {"unschedulable": True}
    fleet.push({"all.yaml": [common, closed, *objects(fleet, guest, "nfs")]})
    fleet.wait_for(lambda: fleet.on() == [target], f"a guest on {target}: {fleet.vm()}")
    fleet.wait_for(lambda: "began with" in fleet.console(target), "a guest that has booted")
    found = re.search("began with ([0-9]+)", fleet.console(target))
    assert found is not None
    assert int(found[1]) >= count
    fleet.wait_for(lambda: fleet.vm().get("phase") == "Running", "its status")
    assert list(fleet.states()) == [target]
    assert not [name for name in fleet.volumes(source) if "_disk_" in name or "_seed_" in name]
    assert not [name for name in fleet.volumes(target) if "unfinished" in name]
