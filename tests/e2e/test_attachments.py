"""Disks and images come, grow and go while a guest runs, and the guest sees just that: it finds them by their serial numbers."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from agent.core.identity import serial
from agent.images.seed import nocloud
from tests.e2e.conftest import MakeStand
from tests.e2e.stand import Stand
from tests.images.server import serve
from tests.rig import manifest

VM, KIND, DISK = "plugged", "VirtualMachineBlockDeviceAttachment", "VirtualDisk"
MIB = 1 << 20
DATA = 48 * MIB
LOOKING = f"""#cloud-config
runcmd:
- mkdir -p /mnt/data
- (while sleep 0.1; do now=$(for at in /sys/block/s[dr]*; do echo "${{at##*/}},$(tr -cd a-z0-9 <$at/device/vpd_pg80 2>/dev/null),$(blockdev --getsize64 /dev/${{at##*/}}),$(cat $at/ro)"; done); [ "$now" = "$was" ] || echo guest has $now .; was=$now; done) &
- (while sleep 0.1; do for at in /sys/block/sd*; do [ $(cat $at/size) = {DATA // 512} ] && mount -t ext4 /dev/${{at##*/}} /mnt/data && exit; done; done) 2>/dev/null &
- (while sleep 0.1; do [ -e /sys/block/sr0 ] && umount /mnt/data && exit; done) 2>/dev/null &
"""
"""It tells which disks there are whenever that changes, mounts the disk with data, and lets go of it once a CD is there."""
_SEEN = re.compile(r"guest has ([^\n]*) \.\n")


def attachment(name: str, kind: str = DISK) -> dict[str, Any]:
    spec = {"blockDeviceRef": {"kind": kind, "name": name}, "virtualMachineName": VM}
    return manifest(KIND, name, spec)


def number(stand: Stand, kind: str, name: str) -> str:
    return serial(stand.object(kind, name)["metadata"]["uid"])


def guest_has(stand: Stand) -> dict[str, tuple[str, int, bool]]:
    """Name, bytes and whether it is read-only, of each disk that the guest has told of last, by serial number (Linux tells none of a CD)."""
    told = _SEEN.findall(stand.console(VM))
    found = {}
    for each in told[-1].split() if told else ():
        name, number, size, read_only = each.split(",")
        found[number or name] = (name, int(size or 0), read_only == "1")
    return found


@pytest.fixture(scope="module")
def stand(
    make_stand: MakeStand, guest: bytes, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stand]:
    data = tmp_path_factory.mktemp("data") / "data.raw"
    subprocess.run(["mke2fs", "-q", "-t", "ext4", str(data), "48M"], check=True)
    iso = nocloud({}, "")
    with make_stand("plugs") as stand:
        for name, content in {"guest": guest, "data": data.read_bytes(), "iso": iso}.items():
            stand.images.routes[f"/{name}"] = serve(content)
            source: dict[str, Any] = {
                "type": "HTTP",
                "http": {"url": stand.images.url(f"/{name}")},
            }
            spec: dict[str, Any] = {"storage": "ContainerRegistry", "dataSource": source}
            stand.files[f"{name}.yaml"] = manifest("VirtualImage", name, spec)
        for name, size in {"guest": "256Mi", "data": "48Mi"}.items():
            source = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": name}}
            spec = {"dataSource": source, "persistentVolumeClaim": {"size": size}}
            stand.files[f"{name}-disk.yaml"] = manifest(DISK, name, spec)
        spec = {
            "virtualMachineClassName": "host",
            "cpu": {"cores": 1},
            "memory": {"size": "160Mi"},
            "blockDeviceRefs": [{"kind": DISK, "name": "guest"}],
            "provisioning": {"type": "UserData", "userData": LOOKING},
        }
        stand.push({"vm.yaml": manifest("VirtualMachine", VM, spec)})
        stand.start()
        stand.wait_for_condition("VirtualMachine", VM, "AgentReady")
        yield stand


def resized(stand: Stand, name: str, size: str) -> None:
    whole = stand.files[f"{name}-disk.yaml"]
    spec = {**whole["spec"], "persistentVolumeClaim": {"size": size}}
    stand.push({f"{name}-disk.yaml": {**whole, "spec": spec}})


def test_disks_and_images_come_grow_and_go_while_the_guest_runs(stand: Stand) -> None:
    stand.wait_for(lambda: len(guest_has(stand)) == 2, "a guest that tells of its disks")

    stand.push({"plug.yaml": attachment("data")})
    stand.wait_for_phase(KIND, "data", "Attached")
    data = number(stand, DISK, "data")
    stand.wait_for(lambda: data in guest_has(stand), "the disk in the guest")
    assert guest_has(stand)[data] == ("sdc", DATA, False)

    root = number(stand, DISK, "guest")
    for disk, name, size in ((root, "guest", 320), (data, "data", 96)):
        resized(stand, name, f"{size}Mi")
        stand.wait_for(
            lambda disk=disk, size=size: guest_has(stand)[disk][1] == size * MIB,  # type: ignore[misc]
            f"disk {name} of {size} MiB in the guest",
        )
        stand.wait_for(
            lambda name=name, size=size: stand.status(DISK, name)["capacity"] == f"{size}Mi",  # type: ignore[misc]
            f"disk {name} of {size} MiB in its status",
        )

    stand.push({"plug.yaml": None})
    stand.wait_for_condition(KIND, "data", "Terminating")
    stand.wait_for(
        lambda: "is mounted in the guest" in str(stand.status(KIND, "data")["conditions"]),
        "a word about what keeps the disk there",
    )
    assert data in guest_has(stand)

    stand.push({"cd.yaml": attachment("iso", "VirtualImage")})
    stand.wait_for_phase(KIND, "iso", "Attached")
    stand.wait_for(lambda: "sr0" in guest_has(stand), "the CD in the guest")
    assert guest_has(stand)["sr0"] == ("sr0", MIB, True)
    stand.wait_for(lambda: data not in guest_has(stand), "a guest without the disk")
    stand.wait_for(lambda: not stand.object(KIND, "data"), "no attachment any more")

    stand.push({"cd.yaml": None})
    stand.wait_for(lambda: "sr0" not in guest_has(stand), "a guest without the CD")
    assert stand.instances(VM) == 1


def test_what_is_attached_is_there_again_after_any_start(stand: Stand) -> None:
    stand.push({"plug.yaml": attachment("data")})
    stand.wait_for_phase(KIND, "data", "Attached")
    data = number(stand, DISK, "data")
    stand.kill()
    stand.domain(VM).destroy()
    stand.domain(VM).create()
    assert data in stand.domain(VM).XMLDesc(0)
    stand.start()
    stand.wait_for(lambda: len(stand.boots(VM)) == 2, "a guest that boots again")
    stand.wait_for(lambda: data in guest_has(stand), "the disk in the guest")
    stand.wait_for_phase(KIND, "data", "Attached")
    before = len(_SEEN.findall(stand.console(VM)))
    stand.host.detach_device(stand.domain(VM).UUIDString(), data)
    stand.wait_for(
        lambda: len(_SEEN.findall(stand.console(VM))) > before and data in guest_has(stand),
        "a disk that comes back",
    )
