"""Disks of running domains grow through QEMU, which has them open. Functions here may raise
libvirtError; HostError where they know better.
"""

from __future__ import annotations

import libvirt

from agent.core.host import HostError
from agent.core.model import Json
from agent.hypervisor.backup import under_way
from agent.hypervisor.storage import get_volume
from agent.hypervisor.xml import parse


def grow(
    connection: libvirt.virConnect, uuid: str, pool: str, name: str, capacity: int
) -> libvirt.virStorageVol:
    """Not where it is as large already: libvirt makes disks smaller without a question."""
    volume = get_volume(connection, pool, name)
    domain = connection.lookupByUUIDString(uuid)
    target = _target(domain.XMLDesc(0), volume.path())
    if not target:
        message = f"domain {domain.name()} does not have {volume.path()} open"
        raise HostError("DiskNotThere", message)
    if under_way(domain) or domain.blockJobInfo(target, 0):
        message = f"somebody copies or merges a disk of domain {domain.name()}: it waits for that"
        raise HostError("DomainBusy", message)
    info: Json = domain.blockInfo(target)
    if info[0] < capacity:
        domain.blockResize(target, capacity, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)
    return volume


def _target(xml: str, path: str) -> str:
    """How libvirt calls the disk of a running domain that lies on a file; empty for none."""
    for disk in parse(xml).iterfind("devices/disk"):
        source, target = disk.find("source"), disk.find("target")
        if source is not None and path in (source.get("file"), source.get("dev")):
            return "" if target is None else target.get("dev", "")
    return ""
