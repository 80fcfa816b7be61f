"""Snapshots of a machine that goes on writing, with its own agent freezing its file systems."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import libvirt
import pytest

from agent.core.backup import NAMESPACE
from agent.core.domain_xml import parse
from agent.core.metadata import from_domain
from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand, find
from tests.gitrepo.git import git
from tests.images.server import serve
from tests.rig import manifest, operation

VM, KIND = "writer", "VirtualDiskSnapshot"
SIZE = "32M"
WRITING = """#cloud-config
runcmd:
- mkdir -p /mnt/data
- for each in /dev/sd?; do mount -t ext4 $each /mnt/data && break; done
- (n=0; while n=$((n + 1)); do echo $n >>/mnt/data/log; sync; [ $((n % 20)) = 0 ] && echo "written $n"; done) &
"""
_MAC = re.compile(r"<mac address='([0-9a-f:]+)'/>")
_WRITTEN = re.compile(r"written ([0-9]+)\n")


def image(name: str) -> dict[str, Any]:
    return {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": name}}


def written(stand: Stand) -> int:
    """Lines that the guest has written at least."""
    return max((int(each) for each in _WRITTEN.findall(stand.console(VM))), default=0)


def goes_on(stand: Stand) -> None:
    before = written(stand)
    stand.wait_for(lambda: written(stand) > before + 20, "a guest that goes on writing")


@pytest.fixture(scope="module")
def stand(
    make_stand: MakeStand, guest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    """A machine that writes line after line onto a disk of its own."""
    data = tmp_path_factory.mktemp("data") / "data.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(data), SIZE], check=True)
    with make_stand("snaps") as stand:
        images = {"guest": guest, "data": data.read_bytes()}
        for name, content in images.items():
            stand.images.routes[f"/{name}"] = serve(content)
            url = stand.images.url(f"/{name}")
            source = {
                "storage": "ContainerRegistry",
                "dataSource": {"type": "HTTP", "http": {"url": url}},
            }
            stand.files[f"{name}.yaml"] = manifest("VirtualImage", name, source)
            disk = manifest("VirtualDisk", name, {"dataSource": image(name)})
            stand.files[f"{name}-disk.yaml"] = disk
        spec: dict[str, Any] = {
            "virtualMachineClassName": "host",
            "cpu": {"cores": 1},
            "memory": {"size": "160Mi"},
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": name} for name in images],
            "provisioning": {"type": "UserData", "userData": WRITING},
        }
        stand.push({"vm.yaml": manifest("VirtualMachine", VM, spec)})
        stand.start()
        stand.wait_for_condition("VirtualMachine", VM, "AgentReady")
        goes_on(stand)
        yield stand


def flat(stand: Stand, volume: str, folder: Path) -> Path:
    """What a volume shows to a guest."""
    path = folder / f"{volume}.raw"
    command = ["qemu-img", "convert", "-U", "-f", "qcow2", "-O", "raw"]
    subprocess.run([*command, str(stand.pool / volume), str(path)], check=True)
    return path


def features(path: Path) -> str:
    done = subprocess.run(["dumpe2fs", "-h", str(path)], check=True, capture_output=True, text=True)
    return next(line for line in done.stdout.splitlines() if line.startswith("Filesystem features"))


def lines(path: Path) -> list[int]:
    done = subprocess.run(["debugfs", "-R", "cat /log", str(path)], check=True, capture_output=True)
    return [int(line) for line in done.stdout.split()]


def at_rest(stand: Stand, volume: str, folder: Path) -> list[int]:
    """The lines of a snapshot that was taken of file systems at rest."""
    kept = flat(stand, volume, folder)
    assert "needs_recovery" not in features(kept)
    subprocess.run(["e2fsck", "-fn", str(kept)], check=True, capture_output=True)
    info = subprocess.run(
        ["qemu-img", "info", str(stand.pool / volume)], check=True, capture_output=True, text=True
    )
    assert "backing file" not in info.stdout
    found = lines(kept)
    assert found == list(range(1, len(found) + 1))
    return found


@pytest.mark.promise("S61")
def test_snapshots_have_what_disks_held_while_the_guest_was_frozen(
    stand: Stand, tmp_path: Path
) -> None:
    spec = {"virtualDiskName": "data", "requiredConsistency": True}
    stand.push({"snap.yaml": manifest(KIND, "first", spec)})
    stand.wait_for_phase(KIND, "first", "Ready")
    at_its_end = written(stand)
    status = stand.status(KIND, "first")
    assert status["consistent"] is True
    goes_on(stand)
    # a file system that is mounted and not at rest has its journal to be looked through
    assert "needs_recovery" in features(flat(stand, stand.disk("data").name, tmp_path))
    found = at_rest(stand, status["volumeSnapshotName"], tmp_path)
    assert 20 <= len(found) <= at_its_end + 40

    whole = {"virtualMachineName": VM, "requiredConsistency": True, "keepIPAddress": "Always"}
    stand.push({"whole.yaml": manifest("VirtualMachineSnapshot", "whole", whole)})
    stand.wait_for_phase("VirtualMachineSnapshot", "whole", "Ready")
    status = stand.status("VirtualMachineSnapshot", "whole")
    assert status["consistent"] is True
    goes_on(stand)
    guest, data = (stand.status(KIND, name) for name in status["virtualDiskSnapshotNames"])
    assert guest["consistent"] is data["consistent"] is True
    later = at_rest(stand, data["volumeSnapshotName"], tmp_path)
    assert len(found) < len(later)
    assert NAMESPACE not in stand.domain(VM).XMLDesc(0)
    assert stand.instances(VM) == 1


def test_a_restored_machine_boots_with_what_its_disks_held(stand: Stand, tmp_path: Path) -> None:
    whole = {"virtualMachineName": VM, "requiredConsistency": True, "keepIPAddress": "Always"}
    stand.push({"then.yaml": manifest("VirtualMachineSnapshot", "then", whole)})
    stand.wait_for_phase("VirtualMachineSnapshot", "then", "Ready")
    _, data = stand.status("VirtualMachineSnapshot", "then")["virtualDiskSnapshotNames"]
    found = at_rest(
        stand, stand.status("VirtualDiskSnapshot", data)["volumeSnapshotName"], tmp_path
    )
    goes_on(stand)
    old, booted = stand.disk("data").name, len(stand.boots(VM))

    back = {"mode": "Strict", "virtualMachineSnapshotName": "then"}
    stand.push({"back.yaml": operation("back", VM, "Restore", restore=back)})
    stand.wait_for_phase("VirtualMachineOperation", "back", "Completed")
    stand.wait_for(lambda: len(stand.boots(VM)) > booted, "a guest that boots again")
    new = stand.status("VirtualDisk", "data")["target"]["persistentVolumeClaimName"]
    assert new != old

    def log(volume: str) -> list[int]:
        return lines(flat(stand, volume, tmp_path))

    stand.wait_for(lambda: len(log(new)) > len(found), "a guest that goes on writing")
    # which begins to count anew at each boot
    assert log(new)[: len(found) + 1] == [*found, 1]
    assert log(old)[: len(found) + 1] == [*found, len(found) + 1]
    assert stand.boots(VM)[-1] == stand.boots(VM)[0]
    assert stand.status("VirtualMachine", VM)["phase"] == "Running"


def test_a_clone_boots_beside_its_origin_with_what_that_held(stand: Stand, tmp_path: Path) -> None:
    names = [{"from": {"kind": "VirtualMachine", "name": VM}, "to": "second"}]
    how = {"mode": "Strict", "nameReplacement": names, "customization": {"namePrefix": "second-"}}
    stand.push({"copy.yaml": operation("copy", VM, "Clone", clone=how)})
    branch = "clone/default/second"

    def asked() -> dict[str, Any]:
        return stand.status("VirtualMachineOperation", "copy")

    stand.wait_for(lambda: asked().get("branch"), "a branch to merge")
    uid = stand.object("VirtualMachineOperation", "copy")["metadata"]["uid"]
    _, data = stand.status("VirtualMachineSnapshot", f"vmop-clone-{uid}")[
        "virtualDiskSnapshotNames"
    ]
    kept = stand.status("VirtualDiskSnapshot", data)["volumeSnapshotName"]
    found = lines(flat(stand, kept, tmp_path))
    assert git(stand.repository, "rev-parse", f"{branch}~1") == git(
        stand.repository, "rev-parse", "main"
    )
    manifests = git(stand.repository, "show", f"{branch}:second.yaml")
    stand.push({"second.yaml": manifests + "\n"})
    git(stand.repository, "branch", "-D", branch)
    stand.wait_for_phase("VirtualMachineOperation", "copy", "Completed")
    stand.wait_for(lambda: stand.boots("second"), "a clone that boots")
    volume = stand.disk("second-data").name

    def log() -> list[int]:
        return lines(flat(stand, volume, tmp_path))

    stand.wait_for(lambda: len(log()) > len(found), "a clone that writes")
    assert log()[: len(found) + 1] == [*found, 1]
    goes_on(stand)
    origin, clone = (from_domain(parse(stand.domain(name).XMLDesc(0))) for name in (VM, "second"))
    assert origin is not None
    assert clone is not None
    assert origin.uid != clone.uid
    macs = [_MAC.findall(stand.domain(name).XMLDesc(0)) for name in (VM, "second")]
    assert [len(found) for found in macs] == [1, 1]
    assert macs[0] != macs[1]
    stand.wait_for(lambda: stand.volumes("disksnapshot_default_*" + uid + "*") == [], "room again")
    cleared = find(asked(), "SnapshotReady", "False")
    assert cleared["reason"] == "SnapshotCleanedUp"
    assert stand.instances(VM) == 2


def test_a_guest_is_thawed_although_the_agent_is_killed_while_it_is_frozen(
    stand: Stand, tmp_path: Path
) -> None:
    marked = threading.Event()

    def changed(*_details: object) -> None:
        if not marked.is_set():
            marked.set()
            stand.kill()

    event = libvirt.VIR_DOMAIN_EVENT_ID_METADATA_CHANGE
    watch = stand.virsh.domainEventRegisterAny(stand.domain(VM), event, changed, None)
    try:
        spec = {"virtualDiskName": "data", "requiredConsistency": True}
        stand.push({"second.yaml": manifest(KIND, "second", spec)})
        assert marked.wait(120)
    finally:
        stand.virsh.domainEventDeregisterAny(watch)
    goes_on(stand)
    stand.start()
    stand.wait_for_phase(KIND, "second", "Ready")
    goes_on(stand)
    kept = flat(stand, stand.status(KIND, "second")["volumeSnapshotName"], tmp_path)
    assert "needs_recovery" not in features(kept)
    assert stand.volumes("*.unfinished") == []
    assert len(stand.volumes("disksnapshot_default_second_*")) == 1
    assert NAMESPACE not in stand.domain(VM).XMLDesc(0)
    assert find(stand.status("VirtualMachine", VM), "AgentReady")
