"""A real QEMU on a file system that is really full."""

from __future__ import annotations

import uuid as uuids

from agent.core.host import Host
from agent.core.volumes import volume_xml
from agent.hypervisor.host import LibvirtHost
from tests.hosts import Events
from tests.hypervisor.rigs import domain_xml
from tests.system.isolated import SMALL

MIB = 1 << 20
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


def make(host: Host) -> str:
    """A machine that boots the writer, on an empty disk of 64 MiB. Its UUID."""
    devices = ""
    for name, target, kind in (("boot", "sda", "raw"), ("disk", "sdb", "qcow2")):
        volume = host.create_volume(SMALL, volume_xml(name, kind, 0 if kind == "raw" else 64 * MIB))
        devices += f"""
          <disk type="file" device="disk">
            <driver name="qemu" type="{kind}"/>
            <source file="{volume.path}"/>
            <target dev="{target}" bus="sata"/>
          </disk>"""
    host.upload_volume(SMALL, "boot", iter([WRITER.ljust(MIB, b"\0")]), MIB)
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
