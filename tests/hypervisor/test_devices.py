"""Disks of a running domain on real QEMU: attached, grown and detached."""

from __future__ import annotations

import time
import uuid as uuids
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import libvirt
import pytest

from agent.core.host import HostError
from agent.core.identity import POOL
from agent.core.volumes import volume_xml
from agent.hypervisor.host import LibvirtHost
from tests.hypervisor.rigs import domain_xml

MIB = 1 << 20
SIZE = 64 * MIB
ROOT, MORE = "a" * 32, "b" * 32


def disk_xml(path: str, unit: int, serial: str) -> str:
    return (
        "<disk type='file' device='disk'><driver name='qemu' type='qcow2'/>"
        f"<source file='{path}'/><target dev='sd{'abcdefgh'[unit]}' bus='scsi'/>"
        f"<serial>{serial}</serial><alias name='ua-{serial}'/>"
        f"<address type='drive' controller='0' bus='0' target='0' unit='{unit}'/></disk>"
    )


@dataclass
class Machine:
    """A running domain with one disk and nothing to boot."""

    host: LibvirtHost
    virsh: libvirt.virConnect
    uuid: str
    paths: dict[str, str]

    @property
    def domain(self) -> libvirt.virDomain:
        return self.virsh.lookupByUUIDString(self.uuid)

    def grow(self, size: int, name: str = "root") -> int:
        """How many bytes it has then."""
        grown = self.host.grow_disk(self.uuid, POOL, f"{name}.qcow2", size)
        assert grown is self.host.read_volumes(POOL)[POOL, grown.name]
        return grown.capacity

    def size(self, target: str) -> int:
        """Bytes that the guest sees."""
        return int(self.domain.blockInfo(target)[0])


@pytest.fixture
def machine(session_host: LibvirtHost) -> Iterator[Machine]:
    session_host.ensure_pool(POOL)
    paths = {
        name: session_host.create_volume(POOL, volume_xml(f"{name}.qcow2", "qcow2", SIZE)).path
        for name in ("root", "more", "copy")
    }
    uuid = str(uuids.uuid4())
    devices = "<controller type='scsi' model='virtio-scsi'/>" + disk_xml(paths["root"], 0, ROOT)
    session_host.define(domain_xml("web", uuid, devices=devices))
    session_host.start(uuid)
    virsh = libvirt.open("qemu:///session")
    try:
        yield Machine(session_host, virsh, uuid, paths)
    finally:
        virsh.close()
        session_host.destroy(uuid)
        for pool, name in list(session_host.read_volumes(POOL)):
            session_host.delete_volume(pool, name)


def test_an_open_disk_grows_and_never_shrinks(machine: Machine) -> None:
    assert machine.grow(2 * SIZE) == 2 * SIZE
    assert machine.size("sda") == 2 * SIZE
    assert machine.grow(SIZE) == 2 * SIZE
    assert machine.size("sda") == 2 * SIZE


def test_a_disk_of_a_paused_domain_grows(machine: Machine) -> None:
    machine.domain.suspend()
    assert machine.grow(2 * SIZE) == 2 * SIZE


def test_a_disk_that_the_domain_does_not_have_is_left(machine: Machine) -> None:
    with pytest.raises(HostError, match="does not have") as raised:
        machine.grow(2 * SIZE, "more")
    assert raised.value.reason == "DiskNotThere"
    assert machine.host.read_volumes(POOL)[POOL, "more.qcow2"].capacity == SIZE


def refused(machine: Machine) -> None:
    with pytest.raises(HostError, match="copies or merges") as raised:
        machine.grow(2 * SIZE)
    assert raised.value.reason == "DomainBusy"
    assert machine.size("sda") == SIZE


def ended(machine: Machine) -> None:
    """Wait until nothing goes on with its disk: what is told to end does so a moment later."""
    end = time.monotonic() + 30
    while machine.domain.blockJobInfo("sda", 0) or machine.domain.jobInfo()[0]:
        assert time.monotonic() < end, "it never ended"
        time.sleep(0.02)


def test_somebodys_copy_is_not_disturbed(machine: Machine) -> None:
    copy = (
        f"<disk type='file'><source file='{machine.paths['copy']}'/><driver type='qcow2'/></disk>"
    )
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    machine.domain.blockCopy("sda", copy, {}, flags)
    refused(machine)
    machine.domain.blockJobAbort("sda", 0)
    ended(machine)
    assert machine.grow(2 * SIZE) == 2 * SIZE


def test_somebodys_backup_is_not_disturbed(machine: Machine, tmp_path: Path) -> None:
    """One that goes on until it is ended."""
    socket = f"<server transport='unix' socket='{tmp_path}/nbd'/>"
    scratch = f"<scratch file='{tmp_path}/scratch'/>"
    disks = f"<disks><disk name='sda' backup='yes' type='file'>{scratch}</disk></disks>"
    no_checkpoint: Any = None
    xml = f"<domainbackup mode='pull'>{socket}{disks}</domainbackup>"
    machine.domain.backupBegin(xml, no_checkpoint, 0)
    refused(machine)
    machine.domain.abortJob()
    ended(machine)
    assert machine.grow(2 * SIZE) == 2 * SIZE


def test_a_disk_is_attached_to_what_runs_and_taken_away(machine: Machine) -> None:
    before = machine.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    machine.host.attach_device(machine.uuid, disk_xml(machine.paths["more"], 3, MORE))
    assert f"ua-{MORE}" in machine.domain.XMLDesc(0)
    assert machine.grow(2 * SIZE, "more") == 2 * SIZE
    assert machine.size("sdd") == 2 * SIZE
    machine.host.detach_device(machine.uuid, MORE)
    assert MORE not in machine.domain.XMLDesc(0)
    machine.host.detach_device(machine.uuid, MORE)
    assert machine.domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE) == before


def test_what_somebody_else_has_open_is_not_attached(machine: Machine) -> None:
    with pytest.raises(HostError):
        machine.host.attach_device(machine.uuid, disk_xml(machine.paths["root"], 3, MORE))
    assert MORE not in machine.domain.XMLDesc(0)


def test_nobody_says_what_a_guest_without_an_agent_has_mounted(machine: Machine) -> None:
    assert machine.host.mounted(machine.uuid) is None


def test_nothing_is_taken_from_what_does_not_run(machine: Machine) -> None:
    machine.host.destroy(machine.uuid)
    machine.host.detach_device(machine.uuid, ROOT)
    assert ROOT in machine.domain.XMLDesc(0)
