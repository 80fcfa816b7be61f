"""What a lost node has of a machine that was started elsewhere: it goes once the node is back, and never a disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.core.identity import POOL
from agent.places import Pools, PoolSettings
from tests.memory_host import Volume
from tests.product.test_migration import Fleet, host
from tests.product.test_storage_classes import storage_class
from tests.product.test_substitutes import fence, lose
from tests.rig import GIB, condition, machine, manifest, settings

NFS = Pools.of({"nfs": PoolSettings("nfs", shared=True), "gitvirt": PoolSettings(POOL)})
SEED = {"type": "UserData", "userData": "#cloud-config\n"}


def objects(**spec: Any) -> list[dict[str, Any]]:
    claim = {"persistentVolumeClaim": {"size": "1Gi", "storageClassName": "nfs"}}
    return [
        storage_class("nfs", "nfs"),
        settings("10.66.10.0/24"),
        manifest("VirtualDisk", "root", claim),
        machine(provisioning=SEED, **spec),
    ]


@pytest.fixture
def rig(tmp_path: Path) -> Fleet:
    first, *others = (host(number) for number in (1, 2, 3))
    first.pools["nfs"] = {}
    for each in others:
        each.pools["nfs"] = first.pools["nfs"]
    for each in (first, *others):
        each.minded = [first, *others]
    made = Fleet(tmp_path, host=first, others=tuple(others), pools=NFS)
    made.push({"vm.yaml": objects()})
    made.settle()
    assert made.on() == ["pt-1"]
    return made


def test_volume_groups_are_not_tried_for_locks_and_have_none(tmp_path: Path) -> None:
    every = [host(number) for number in (1, 2)]
    for each in every:
        each.pools["nfs"] = every[0].pools.setdefault("nfs", {})
        each.groups["nfs"] = "vg"
        each.minded = every
    rig = Fleet(tmp_path, host=every[0], others=(every[1],), pools=NFS)
    rig.push({"vm.yaml": objects()})
    rig.settle()
    assert rig.on() == ["pt-1"]
    assert "hold_lock" not in [verb for each in every for verb, _ in each.verbs]
    lose(rig)
    fence(rig)
    rig.go(60)
    assert rig.on() == []
    assert "not seen to refuse" in str(rig.vm()["status"]["conditions"])


def held(rig: Fleet, node: str) -> list[str]:
    """Names that its networks hold addresses for."""
    networks = rig.hosts[node].networks.values()
    return [each.name for network in networks for each in network.held]


def own(rig: Fleet, node: str) -> list[str]:
    """Its media and console logs."""
    return [name for name in rig.volumes(node) if "_seed_" in name or "_console_" in name]


def test_definition_media_and_entries_go_and_the_disk_stays(rig: Fleet) -> None:
    (disk,) = rig.host.pools["nfs"]
    assert held(rig, "pt-1")
    assert own(rig, "pt-1")
    address = rig.vm()["status"]["ipAddress"]
    log = f"default_console_{rig.vm()['metadata']['uid']}.log"
    rig.host.pools[POOL][log] = Volume(f"/var/lib/libvirt/{POOL}/{log}", 1)
    lose(rig)
    fence(rig)
    rig.go(60)
    (home,) = rig.on()
    assert held(rig, home)
    assert own(rig, home)
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    assert rig.there() == rig.on() == [home]
    assert (held(rig, "pt-1"), own(rig, "pt-1")) == ([], [])
    assert held(rig, home)
    assert own(rig, home)
    assert [*rig.host.pools["nfs"]] == [disk]
    assert rig.vm()["status"]["ipAddress"] == address


def test_what_never_ran_in_its_place_leaves_nothing_either(rig: Fleet) -> None:
    for name in ("pt-2", "pt-3"):
        rig.hosts[name].starting_fails.add(rig.uuid())
    lose(rig)
    fence(rig)
    rig.go(60)
    assert rig.on() == []
    there = [name for name in rig.there() if name != "pt-1"]
    assert len(there) == 1
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    assert rig.on() == rig.there() == ["pt-1"]
    for name in there:
        assert (held(rig, name), own(rig, name)) == ([], [])
    assert len(rig.host.pools["nfs"]) == 1


def test_firmware_that_begins_anew_is_told(rig: Fleet) -> None:
    rig.push({"vm.yaml": objects(bootloader="EFI")})
    rig.settle()
    rig.ask("Restart", "restart")
    rig.settle()
    lose(rig)
    fence(rig)
    rig.go(60)
    told = condition(rig.vm(), "Substitute")["message"]
    assert "Its firmware began with settings of its own" in told


def test_a_copy_that_was_left_without_a_mark_goes_by_its_epoch(rig: Fleet) -> None:
    """As after a host was given back an older state of its definitions."""
    older = rig.hosts["pt-1"]._domains[rig.uuid()]
    rig.ask()
    rig.settle()
    (home,) = rig.on()
    rig.hosts["pt-1"]._put(rig.hosts["pt-1"]._shown(older))
    with rig.hosts["pt-1"]._lock:
        rig.hosts["pt-1"]._forget(rig.hosts["pt-1"]._domains[rig.uuid()])
    rig.hosts["pt-1"].reconnect()
    rig.go(60)
    assert rig.on() == rig.there() == [home]
    assert rig.vm()["status"]["phase"] == "Running"


def test_a_copy_that_nobody_can_tell_from_the_other_is_told_and_left(rig: Fleet) -> None:
    """Somebody has copied the definition by hand."""
    raw = rig.hosts["pt-1"]._domains[rig.uuid()]
    rig.hosts["pt-2"].define(raw.inactive_xml)
    rig.hosts["pt-2"].reconnect()
    rig.go(60)
    assert rig.there() == ["pt-1", "pt-2"]
    for node in ("pt-1", "pt-2"):
        told = condition(rig.document(f"cluster/nodes/{node}.yaml"), "DomainsInDoubt")
        assert "default.vm. See the conditions of these machines" in told["message"]
    assert not condition(rig.document("cluster/nodes/pt-3.yaml"), "DomainsInDoubt")
    assert "is on the nodes pt-1 and pt-2 at once" in str(rig.vm()["status"]["conditions"])


def test_a_base_that_another_node_lacks_keeps_a_machine_from_it(rig: Fleet) -> None:
    (disk,) = rig.host.pools["nfs"]
    rig.host.pools["nfs"][disk].backing_path = f"/var/lib/libvirt/{POOL}/base.qcow2"
    rig.host.pools["nfs"][disk].capacity = GIB
    lose(rig)
    fence(rig)
    rig.go(60)
    assert rig.on() == []
    told = str(rig.vm()["status"]["conditions"])
    assert "2 node(s) did not have the image that its disk is based on" in told
