"""A real QEMU on a file system that is really full."""

from __future__ import annotations

import uuid as uuids
from pathlib import Path
from random import Random

import libvirt

from agent.core import backup
from agent.core.actions import CopyVolume
from agent.core.host import Host
from agent.core.identity import POOL
from agent.core.model import Key
from agent.core.volumes import volume_xml
from agent.hypervisor.host import LibvirtHost
from agent.images.request import Reach
from agent.reconcile.execute import Executor, Ticket
from agent.reconcile.supply import Source
from tests.hosts import Events
from tests.hypervisor.rigs import domain_xml
from tests.system.conftest import _uri
from tests.system.isolated import SMALL

MIB = 1 << 20
SERIAL = "0123456789abcdef"
WRITER = (
    bytes.fromhex(
        "31c0 8ed8"  # xor ax, ax; mov ds, ax
        "be1c7c"  # mov si, packet
        "b80043 b281 cd13"  # again: write (int 13h, function 43h) to the second disk
        "8106247c8000 8316267c00"  # 128 sectors further
        "ebec 90"  # jmp again
        "1000 7f00 0000 0010 0000000000000000"  # packet: 127 sectors from 1000:0000 to sector 0
    ).ljust(510, b"\0")
    + b"\x55\xaa"
)
"""A boot sector that writes to its second disk for ever."""


def make(host: Host, pool: str = SMALL, size: int = 64 * MIB) -> str:
    """A machine that boots the writer, on an empty disk. Its UUID."""
    devices = ""
    for name, target, kind in (("boot", "sda", "raw"), ("disk", "sdb", "qcow2")):
        volume = host.create_volume(pool, volume_xml(name, kind, 0 if kind == "raw" else size))
        devices += f"""
          <disk type="file" device="disk">
            <driver name="qemu" type="{kind}"/>
            <source file="{volume.path}"/>
            <target dev="{target}" bus="sata"/>
            <serial>{SERIAL if target == "sdb" else "boot"}</serial>
          </disk>"""
    host.upload_volume(pool, "boot", iter([WRITER.ljust(MIB, b"\0")]), MIB)
    uuid = str(uuids.uuid4())
    host.define(domain_xml("writer", uuid, devices=devices))
    return uuid


def test_a_guest_without_space_is_paused_and_goes_on_with_some(system_host: LibvirtHost) -> None:
    host, events = system_host, Events(system_host)
    host.ensure_pool(SMALL)
    uuid = make(host)
    host.create_volume(SMALL, volume_xml("filler", "raw", 0))
    host.upload_volume(SMALL, "filler", iter([b"x" * MIB] * 4), 4 * MIB)

    def starved() -> bool:
        raw = host.read_domain(uuid)
        return raw is not None and raw.starved

    host.start(uuid)
    events.until(starved)
    assert host.free_space(SMALL) < MIB
    full = host.read_volumes(SMALL)[SMALL, "disk"].physical
    host.resume(uuid)  # in vain, and no harm is done
    events.until(starved)
    host.delete_volume(SMALL, "filler")
    assert host.free_space(SMALL) > 3 * MIB
    assert starved()
    host.resume(uuid)
    events.until(lambda: host.read_volumes(SMALL)[SMALL, "disk"].physical > full + 2 * MIB)
    events.until(starved)  # it writes for ever


def test_a_copy_that_fills_its_pool_is_taken_away_again(
    system_host: LibvirtHost, tmp_path: Path
) -> None:
    host = system_host
    for pool in ("gitvirt", SMALL):
        host.ensure_pool(pool)
    for _, name in host.read_volumes(SMALL):  # what others have left
        host.delete_volume(SMALL, name)
    content = Random(1).randbytes(MIB)
    host.create_volume("gitvirt", volume_xml("below", "raw", 0))
    below = host.upload_volume("gitvirt", "below", iter([content] * 64), 64 * MIB)
    layered = volume_xml("top", "qcow2", 64 * MIB, below.path, "raw")
    host.create_volume("gitvirt", layered)
    before, free = host.read_volumes(SMALL), host.free_space(SMALL)
    assert MIB < free < 64 * MIB
    executor = Executor(
        {host.name: host},
        Source(tmp_path, 0, Reach(), lambda _news: None),
        lambda: 1,
        lambda: False,
        lambda: True,
    )
    copy = CopyVolume(host.name, SMALL, "copy", "gitvirt", "top", 64 * MIB)
    outcome = executor.run(Ticket(Key("VirtualDisk", "default", "disk"), 1, (copy,)))
    assert (outcome.reason, outcome.retry) == ("NoSpace", True)
    assert "free space in the storage pool" in outcome.message
    assert host.read_volumes(SMALL) == before
    assert host.free_space(SMALL) == free
    for name in ("top", "below"):
        host.delete_volume("gitvirt", name)


def test_a_backup_without_space_ends_and_its_guest_goes_on(
    system_host: LibvirtHost, system_root: Path
) -> None:
    """The guest writes all the time, also to what is not copied yet: that is copied first."""
    host, events = system_host, Events(system_host)
    for pool in (POOL, SMALL):
        host.ensure_pool(pool)
        for _, name in list(host.read_volumes(pool)):
            host.delete_volume(pool, name)
    uuid = make(host, POOL, 256 * MIB)
    source = host.read_volumes(POOL)[POOL, "disk"].path
    target = host.create_volume(SMALL, volume_xml("copy", "qcow2", 256 * MIB)).path
    host.start(uuid)
    events.until(lambda: host.read_volumes(POOL)[POOL, "disk"].physical > 64 * MIB)
    wanted = backup.Source(SERIAL, source, target, "qcow2")
    host.begin_backup(uuid, "snap", [wanted], required=False)
    seen = host.await_backup(uuid, 120)
    assert seen is not None
    assert (seen.running, seen.succeeded) == (False, False)
    assert "No space left" in seen.error
    host.end_backup(uuid, "snap")
    host.delete_volume(SMALL, "copy")
    host.resume(uuid)  # as the agent does where a write of the guest's had to wait
    raw = host.read_domain(uuid)
    assert raw is not None
    assert raw.state == "running"
    connection = libvirt.open(_uri(system_root))
    try:
        domain = connection.lookupByUUIDString(uuid)
        before = domain.blockStats("sdb")[2]
        events.until(lambda: domain.blockStats("sdb")[2] > before)
    finally:
        connection.close()
