"""Backups of running domains on real QEMU: flat, of just the disks that were asked for, and with nothing left in the domain."""

from __future__ import annotations

import json
import subprocess
import uuid as uuids
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from agent.core.backup import Source, mark_of
from agent.core.host import HostError
from agent.core.identity import POOL
from agent.core.volumes import volume_xml
from agent.hypervisor.host import LibvirtHost
from tests.hypervisor.rigs import domain_xml

MIB = 1 << 20
SIZE = 64 * MIB
SERIALS = {"sda": "a" * 32, "sdb": "b" * 32}
OURS, OTHER = "snapshot-uid", "another-uid"


@dataclass
class Machine:
    """A running domain with two disks and nothing to boot."""

    host: LibvirtHost
    virsh: libvirt.virConnect
    uuid: str
    paths: dict[str, str]

    @property
    def domain(self) -> libvirt.virDomain:
        return self.virsh.lookupByUUIDString(self.uuid)

    def target(self, name: str, size: int = SIZE) -> str:
        return self.host.create_volume(POOL, volume_xml(name, "qcow2", size)).path

    def sources(self, **targets: str) -> list[Source]:
        return [
            Source(SERIALS[disk], self.paths[disk], target, "qcow2")
            for disk, target in targets.items()
        ]

    def take(self, **targets: str) -> Any:
        self.host.begin_backup(self.uuid, OURS, self.sources(**targets), required=False)
        return self.finished()

    def finished(self) -> Any:
        while (seen := self.host.await_backup(self.uuid, 1.0)) is not None and seen.running:
            pass
        return seen


def image(path: str) -> dict[str, Any]:
    said = subprocess.run(
        ["qemu-img", "info", "-U", "--output=json", path], check=True, capture_output=True
    )
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def filled(path: str, pattern: int, megabytes: int = 8) -> None:
    subprocess.run(
        ["qemu-io", "-c", f"write -P {pattern} 0 {megabytes}M", path],
        check=True,
        stdout=subprocess.DEVNULL,
    )


def holds(path: str, pattern: int, megabytes: int = 8) -> bool:
    done = subprocess.run(
        ["qemu-io", "-r", "-c", f"read -P {pattern} 0 {megabytes}M", path],
        capture_output=True,
        text=True,
    )
    return "Pattern verification failed" not in done.stdout


@pytest.fixture
def machine(session_host: LibvirtHost) -> Iterator[Machine]:
    session_host.ensure_pool(POOL)
    paths = {}
    for dev, pattern in (("sda", 1), ("sdb", 2)):
        base = session_host.create_volume(POOL, volume_xml(f"base-{dev}.qcow2", "qcow2", SIZE))
        filled(base.path, pattern)
        xml = volume_xml(f"{dev}.qcow2", "qcow2", SIZE, base.path, "qcow2")
        paths[dev] = session_host.create_volume(POOL, xml).path
    disks = "".join(
        f"<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='{path}'/>"
        f"<target dev='{dev}' bus='scsi'/><serial>{SERIALS[dev]}</serial></disk>"
        for dev, path in paths.items()
    )
    uuid = str(uuids.uuid4())
    controller = "<controller type='scsi' model='virtio-scsi'/>"
    session_host.define(domain_xml("web", uuid, devices=controller + disks))
    session_host.start(uuid)
    virsh = libvirt.open("qemu:///session")
    try:
        yield Machine(session_host, virsh, uuid, paths)
    finally:
        virsh.close()
        session_host.destroy(uuid)
        for pool, name in list(session_host.read_volumes(POOL)):
            session_host.delete_volume(pool, name)


def test_disks_are_copied_flat_and_the_domain_stays_as_it_is(machine: Machine) -> None:
    before = machine.domain.XMLDesc(0)
    targets = {dev: machine.target(f"copy-{dev}.qcow2") for dev in machine.paths}
    seen = machine.take(**targets)
    assert seen.succeeded
    assert seen.mark.of == OURS
    assert not seen.mark.consistent
    assert not seen.mark.frozen
    for dev, pattern in (("sda", 1), ("sdb", 2)):
        assert "backing-filename" not in image(targets[dev])
        assert holds(targets[dev], pattern)
    machine.host.end_backup(machine.uuid, OURS)
    assert machine.domain.XMLDesc(0) == before


def test_only_the_disks_that_are_asked_for_are_copied(machine: Machine) -> None:
    target = machine.target("copy.qcow2")
    assert machine.take(sdb=target).succeeded
    assert holds(target, 2)
    assert [path.name for path in Path(target).parent.glob("sda*")] == ["sda.qcow2"]


def test_a_guest_without_an_agent_is_not_called_consistent(machine: Machine) -> None:
    target = machine.target("copy.qcow2")
    sources = machine.sources(sda=target)
    with pytest.raises(HostError, match="agent") as raised:
        machine.host.begin_backup(machine.uuid, OURS, sources, required=True)
    assert raised.value.reason == "ConsistencyNotPossible"
    seen = machine.host.backup(machine.uuid)
    assert seen is not None
    assert (seen.running, seen.mark) == (False, None)


def test_a_disk_that_lies_elsewhere_by_now_is_not_copied(machine: Machine) -> None:
    target = machine.target("copy.qcow2")
    moved = [Source(SERIALS["sda"], "/somewhere/else.qcow2", target, "qcow2")]
    with pytest.raises(HostError, match="lies on") as raised:
        machine.host.begin_backup(machine.uuid, OURS, moved, required=False)
    assert raised.value.reason == "DiskMoved"
    unknown = [Source("c" * 32, machine.paths["sda"], target, "qcow2")]
    with pytest.raises(HostError, match="does not have") as raised:
        machine.host.begin_backup(machine.uuid, OURS, unknown, required=False)
    assert raised.value.reason == "DiskNotThere"


def test_a_job_that_cannot_begin_leaves_no_mark(machine: Machine) -> None:
    small = machine.target("small.qcow2", SIZE // 2)
    with pytest.raises(HostError, match="different sizes"):
        machine.host.begin_backup(machine.uuid, OURS, machine.sources(sda=small), required=False)
    seen = machine.host.backup(machine.uuid)
    assert seen is not None
    assert seen.mark is None


def test_a_backup_is_ended_by_whom_it_is_of(machine: Machine) -> None:
    target = machine.target("copy.qcow2")
    machine.host.begin_backup(machine.uuid, OURS, machine.sources(sda=target), required=False)
    machine.host.end_backup(machine.uuid, OTHER)
    seen = machine.host.backup(machine.uuid)
    assert seen is not None
    assert seen.mark is not None
    machine.host.end_backup(machine.uuid, OURS)
    ended = machine.finished()
    assert ended.mark is None
    assert mark_of(machine.domain.XMLDesc(0)) is None


def test_the_end_of_the_domain_is_the_end_of_its_backup(machine: Machine) -> None:
    target = machine.target("copy.qcow2")
    machine.host.begin_backup(machine.uuid, OURS, machine.sources(sda=target), required=False)
    machine.host.destroy(machine.uuid)
    assert machine.host.backup(machine.uuid) is None
    machine.host.end_backup(machine.uuid, OURS)
    machine.host.thaw(machine.uuid)


def test_somebody_elses_checkpoint_stays(machine: Machine) -> None:
    checkpoint = "<domaincheckpoint><name>theirs</name></domaincheckpoint>"
    machine.domain.checkpointCreateXML(checkpoint, 0)
    assert machine.take(sda=machine.target("copy.qcow2")).succeeded
    assert [each.getName() for each in machine.domain.listAllCheckpoints(0)] == ["theirs"]
    machine.domain.checkpointLookupByName("theirs").delete(0)
