"""Disks on block devices: raw volumes of a volume group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.domain_xml import parse
from agent.core.identity import disk_volume
from agent.core.model import Key
from tests.memory_host import EXTENT, MemoryHost
from tests.product.test_moving import move, trash
from tests.product.test_storage_classes import GITVIRT, PATH, POOLS, VMS, in_class, storage_class
from tests.rig import Rig, condition, disk, machine, manifest

GIB = 1 << 30
GROUP = "vg0"


def name(rig: Rig, form: str = "raw", number: int = 0) -> str:
    uid = rig.document(PATH)["metadata"]["uid"]
    return disk_volume("default", Key("VirtualDisk", "default", "data"), uid, form, number)


def drive(rig: Rig) -> Any:
    raw = rig.host.read_domain(rig.uuid())
    assert raw is not None
    return parse(raw.inactive_xml).find("devices/disk[@device='disk']")


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    host = MemoryHost(groups={VMS: GROUP})
    host.pools[VMS] = {}
    return Rig(tmp_path, host, pools=POOLS)


def test_a_disk_in_a_volume_group_is_a_raw_block_device(rig: Rig) -> None:
    vm = machine(disks=("data",))
    rig.push({"a.yaml": [storage_class(), in_class("fast", size="1073741825"), vm]})
    assert rig.settle().wrong == ()
    volume = rig.host.pools[VMS][name(rig)]
    assert volume.capacity == GIB + EXTENT  # whole extents
    assert volume.looks == "raw"
    status = rig.document(PATH)["status"]
    assert status["volume"] == {"pool": VMS, "name": name(rig), "format": "raw"}
    assert condition(rig.document(PATH), "Resizing") == {}  # nor is that a wish to shrink
    found = drive(rig)
    assert found.get("type") == "block"
    assert found.find("source").get("dev") == f"/dev/{GROUP}/{name(rig)}"
    assert found.find("driver").get("type") == "raw"
    assert rig.running()
    assert condition(rig.vm(), "DriftDetected") == {}
    rig.verbs()
    rig.start()
    rig.settle()
    assert rig.verbs() == []


def test_it_is_found_and_erased_there(rig: Rig) -> None:
    rig.push({"a.yaml": [storage_class(), disk("other")], "data.yaml": in_class("fast")})
    rig.settle()
    rig.push({"data.yaml": None})
    rig.settle()
    assert len(trash(rig)) == 1
    rig.now += 8 * 86400
    rig.settle()
    assert rig.host.pools[VMS] == {}


def test_a_disk_from_an_image_is_a_whole_copy_there(rig: Rig) -> None:
    image = {
        "storage": "ContainerRegistry",
        "dataSource": {"type": "ObjectRef", "objectRef": {"kind": "VirtualDisk", "name": "golden"}},
    }
    rig.push({"a.yaml": [storage_class(), disk("golden"), manifest("VirtualImage", "i", image)]})
    rig.settle()
    made = in_class("fast")
    made["spec"]["dataSource"] = {
        "type": "ObjectRef",
        "objectRef": {"kind": "VirtualImage", "name": "i"},
    }
    (data,) = [each for each in rig.host.pools[GITVIRT] if "_image_" in each]
    rig.host.pools[GITVIRT][data].content = b"golden"
    rig.host.pools[GITVIRT][data].looks = "qcow2"  # as libvirt finds what was uploaded
    rig.push({"b.yaml": made})
    rig.settle()
    assert rig.document(PATH)["status"]["phase"] == "Ready"
    volume = rig.host.pools[VMS][name(rig)]
    assert (volume.content, volume.backing_path, volume.looks) == (b"golden", "", "raw")


def test_a_disk_moves_from_a_file_to_a_block_device_and_back(rig: Rig) -> None:
    classes = [storage_class("slow", GITVIRT), storage_class()]
    vm = machine(disks=("data",), runPolicy="Manual")
    rig.push({"classes.yaml": classes, "disk.yaml": in_class("slow"), "vm.yaml": vm})
    rig.settle()
    rig.host.pools[GITVIRT][name(rig, "qcow2")].content = b"data"
    move(rig)
    assert rig.settle().wrong == ()
    assert rig.host.pools[VMS][name(rig, number=1)].content == b"data"
    assert drive(rig).get("type") == "block"
    assert drive(rig).find("source").get("dev").endswith(name(rig, number=1))
    move(rig, "slow")
    assert rig.settle().wrong == ()
    assert rig.host.pools[GITVIRT][name(rig, "qcow2", 2)].content == b"data"
    assert drive(rig).get("type") == "file"
    assert drive(rig).find("driver").get("type") == "qcow2"


def test_what_libvirt_cannot_enlarge_says_so(rig: Rig) -> None:
    rig.push({"a.yaml": [storage_class(), in_class("fast")]})
    rig.settle()
    rig.push({"a.yaml": [storage_class(), in_class("fast", size="2Gi")]})
    rig.settle()
    told = condition(rig.document(PATH), "Resizing")
    assert "libvirt does not enlarge LVM volumes" in told["message"]
    assert rig.document(PATH)["status"]["phase"] == "Ready"
    assert rig.host.pools[VMS][name(rig)].capacity == GIB
    rig.host.pools[VMS][name(rig)].capacity = 2 * GIB  # somebody does
    rig.now += 400
    rig.settle()
    assert condition(rig.document(PATH), "Resizing") == {}
    assert rig.document(PATH)["status"]["capacity"] == "2Gi"
