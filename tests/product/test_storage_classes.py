"""Disks in the pools that storage classes name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.domain_xml import parse
from agent.core.identity import disk_volume
from agent.core.model import Key
from agent.places import Pools, PoolSettings
from tests.memory_host import MemoryHost, Volume
from tests.memory_repository import MemoryRepository
from tests.rig import START, STATUS, Rig, condition, disk, machine

DAY = 86400.0
GITVIRT, VMS = "gitvirt", "vms"
POOLS = Pools.of({"nvme": PoolSettings(VMS)})
PATH = "namespaces/default/virtualdisks/data.yaml"


def storage_class(name: str = "fast", pool: str = "nvme", **more: Any) -> dict[str, Any]:
    metadata = {"name": name, "annotations": more.pop("annotations", {})}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": metadata,
        "provisioner": "gitvirt.io",
        "parameters": {"pool": pool},
        "allowVolumeExpansion": True,
        **more,
    }


def in_class(name: str, disk_name: str = "data", size: str = "1Gi") -> dict[str, Any]:
    made = disk(disk_name, size=size)
    made["spec"]["persistentVolumeClaim"]["storageClassName"] = name
    return made


def volume(rig: Rig, name: str = "data") -> str:
    uid = rig.document(f"namespaces/default/virtualdisks/{name}.yaml")["metadata"]["uid"]
    return disk_volume("default", Key("VirtualDisk", "default", name), uid)


def source(rig: Rig, vm: str = "vm") -> str:
    """The file of the machine's only disk."""
    raw = rig.host.read_domain(rig.uuid(vm))
    assert raw is not None
    (found,) = parse(raw.inactive_xml).iterfind("devices/disk[@device='disk']/source")
    return str(found.get("file"))


@pytest.fixture
def pooled(tmp_path: Path) -> Rig:
    """A host with a second pool, which the settings name."""
    host = MemoryHost()
    host.pools[VMS] = {}
    return Rig(tmp_path, host, pools=POOLS)


def test_a_machine_runs_from_a_disk_in_the_pool_of_its_class(pooled: Rig) -> None:
    rig = pooled
    rig.push({"a.yaml": [storage_class(), in_class("fast"), machine(disks=("data",))]})
    assert rig.settle().wrong == ()
    name = volume(rig)
    assert name in rig.host.pools[VMS]
    assert name not in rig.host.pools[GITVIRT]
    assert source(rig) == f"/var/lib/libvirt/{VMS}/{name}"
    assert rig.running()
    assert condition(rig.vm(), "DriftDetected") == {}
    assert rig.document(PATH)["status"]["volume"]["pool"] == VMS
    rig.verbs()
    rig.start()  # another agent finds all as it is
    rig.settle()
    assert rig.verbs() == []


def test_a_disk_and_its_pool_are_found_again_after_the_ledger_was_lost(pooled: Rig) -> None:
    rig = pooled
    rig.push({"a.yaml": [storage_class(), in_class("fast"), machine(disks=("data",))]})
    rig.settle()
    before = rig.document(PATH)
    rig.verbs()
    assert isinstance(rig.repo, MemoryRepository)
    del rig.repo.refs[STATUS]
    rig.start()
    rig.settle()
    after = rig.document(PATH)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["volume"] == before["status"]["volume"]
    assert rig.verbs() == []


def test_a_deleted_disk_is_erased_from_its_own_pool_after_its_time(pooled: Rig) -> None:
    rig = pooled
    rig.push({"a.yaml": [storage_class(), disk("other")], "data.yaml": in_class("fast")})
    rig.settle()
    name = volume(rig)
    rig.push({"data.yaml": None})
    rig.settle()
    assert name in rig.host.pools[VMS]
    rig.push({"data.yaml": in_class("fast")})  # a revert brings it back
    rig.settle()
    assert volume(rig) == name
    assert rig.document(PATH)["status"]["volume"]["pool"] == VMS
    rig.push({"data.yaml": None})
    rig.settle()
    rig.now = START + 8 * DAY
    rig.settle()
    assert rig.host.pools[VMS] == {}
    assert not any(path.startswith("trash/") for path in rig.documents())


def test_nothing_of_others_in_that_pool_is_touched(pooled: Rig) -> None:
    rig = pooled
    rig.host.pools[VMS]["theirs.qcow2"] = theirs = Volume(f"/var/lib/libvirt/{VMS}/x", 1)
    rig.push({"a.yaml": [storage_class(), in_class("fast")]})
    rig.settle()
    rig.now = START + 8 * DAY
    rig.settle()
    assert rig.host.pools[VMS]["theirs.qcow2"] is theirs


DEFAULT = {"storageclass.kubernetes.io/is-default-class": "true"}


def test_the_default_class_is_that_of_new_disks_and_the_newest_that_is_marked(pooled: Rig) -> None:
    rig = pooled
    plain = storage_class("zz-plain", GITVIRT, annotations=DEFAULT)
    rig.push({"a.yaml": [disk("old")]})
    rig.settle()
    rig.push({"b.yaml": [plain, disk("one")]})
    rig.settle()
    rig.now += 10
    rig.push({"c.yaml": [storage_class(annotations=DEFAULT)]})
    rig.settle()
    rig.push({"d.yaml": [disk("two")]})
    rig.settle()
    found = {
        name: rig.document(f"namespaces/default/virtualdisks/{name}.yaml")["status"]
        for name in ("old", "one", "two")
    }
    assert "storageClassName" not in found["old"]
    assert found["one"]["storageClassName"] == "zz-plain"
    assert found["two"]["storageClassName"] == "fast"
    assert [name for name in found if "volume" in found[name]] == ["two"]
    rig.push({"c.yaml": None, "b.yaml": [disk("one")]})  # the classes go, and nothing with them
    rig.verbs()
    rig.settle()
    assert rig.verbs() == []


def test_a_disk_that_waits_for_a_machine_is_made_with_it(pooled: Rig) -> None:
    rig = pooled
    waits = storage_class(volumeBindingMode="WaitForFirstConsumer")
    rig.push({"a.yaml": [waits, in_class("fast")]})
    assert rig.settle().wrong == ()
    assert rig.document(PATH)["status"]["phase"] == "WaitForFirstConsumer"
    assert rig.host.pools[VMS] == {}
    rig.push({"vm.yaml": machine(disks=("data",))})
    rig.settle()
    assert rig.running()
    assert rig.document(PATH)["status"]["phase"] == "Ready"


def test_growth_that_a_class_refuses_is_told_and_the_machine_runs_on(pooled: Rig) -> None:
    rig = pooled
    refuses = storage_class(allowVolumeExpansion=False)
    rig.push({"a.yaml": [refuses, in_class("fast"), machine(disks=("data",))]})
    rig.settle()
    rig.push({"a.yaml": [refuses, in_class("fast", size="2Gi"), machine(disks=("data",))]})
    rig.settle()
    assert rig.running()
    assert rig.host.pools[VMS][volume(rig)].capacity == 1 << 30
    told = condition(rig.document(PATH), "Resizing")
    assert "does not let disks grow" in told["message"]


def test_a_disk_grows_in_its_pool(pooled: Rig) -> None:
    rig = pooled
    rig.push({"a.yaml": [storage_class(), in_class("fast")]})
    rig.settle()
    rig.push({"a.yaml": [storage_class(), in_class("fast", size="2Gi")]})
    rig.settle()
    assert rig.host.pools[VMS][volume(rig)].capacity == 2 << 30


def test_a_pool_that_nobody_has_keeps_the_disk_waiting_and_nothing_else(tmp_path: Path) -> None:
    rig = Rig(tmp_path, pools=POOLS)
    rig.push({"a.yaml": [storage_class(), in_class("fast"), disk(), machine()]})
    rig.agent.reconciler.look_at_git()
    for _ in range(10):
        rig.step()
    assert rig.running()
    ready = condition(rig.document(PATH), "Ready")
    assert ready["reason"] == "StorageClassIsNotReady"
    assert "virsh pool-start vms" in ready["message"]
    rig.host.pools[VMS] = {}
    rig.now += 400  # the next full read
    rig.settle()
    assert rig.document(PATH)["status"]["phase"] == "Ready"
