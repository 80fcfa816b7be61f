"""Devices of a running domain. Functions here may raise libvirtError; HostError where they know
better.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

import libvirt

from agent.core.domain_xml import named
from agent.core.model import Json
from agent.core.xml import Element, every
from agent.hypervisor.guest import AGENT_SECONDS, SILENT, text
from agent.hypervisor.verbs import find
from agent.hypervisor.xml import parse

MAX_FILE_SYSTEMS = 1024
MAX_DISKS = 256
PATIENCE, INTERVAL = 2.0, 0.05
"""Seconds that a device is waited for to be gone, as it mostly is within a tenth of one."""


def attach(connection: libvirt.virConnect, uuid: str, xml: str) -> None:
    domain = connection.lookupByUUIDString(uuid)
    domain.attachDeviceFlags(xml, libvirt.VIR_DOMAIN_AFFECT_LIVE)


def detach(connection: libvirt.virConnect, uuid: str, device: str) -> None:
    domain = find(connection, uuid)
    if domain is None or not domain.isActive():
        return
    alias = _aliases(domain).get(device)
    if not alias:
        return
    try:
        domain.detachDeviceAlias(alias, libvirt.VIR_DOMAIN_AFFECT_LIVE)
        for _ in range(int(PATIENCE / INTERVAL)):
            if device not in _aliases(domain):
                return
            time.sleep(INTERVAL)
    except libvirt.libvirtError:
        if domain.isActive() and device in _aliases(domain):
            raise


def copy_disk(connection: libvirt.virConnect, uuid: str, serial: str, xml: str) -> None:
    domain = connection.lookupByUUIDString(uuid)
    flags = libvirt.VIR_DOMAIN_BLOCK_COPY_REUSE_EXT | libvirt.VIR_DOMAIN_BLOCK_COPY_TRANSIENT_JOB
    domain.blockCopy(_target(domain, serial), xml, {}, flags)


def end_disk_copy(connection: libvirt.virConnect, uuid: str, serial: str, *, pivot: bool) -> None:
    domain = find(connection, uuid)
    if domain is None or not domain.isActive():
        return
    target = _target(domain, serial)
    if not target or not domain.blockJobInfo(target, 0):
        return
    domain.blockJobAbort(target, libvirt.VIR_DOMAIN_BLOCK_JOB_ABORT_PIVOT if pivot else 0)


def _target(domain: libvirt.virDomain, serial: str) -> str:
    """The name of a disk's place; empty if the running instance has no such disk."""
    disks = (disk for disk in _disks(domain) if disk.findtext("serial") == serial)
    targets = (disk.find("target") for disk in disks)
    return next((target.get("dev", "") for target in targets if target is not None), "")


def mounted(connection: libvirt.virConnect, uuid: str) -> frozenset[str] | None:
    domain = find(connection, uuid)
    if domain is None:
        return None
    try:
        domain.agentSetResponseTimeout(AGENT_SECONDS, 0)
        told: Json = domain.guestInfo(libvirt.VIR_DOMAIN_GUEST_INFO_FILESYSTEM, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() in SILENT:
            return None
        raise
    targets = frozenset(_targets(dict(told)))
    return frozenset(
        disk.findtext("serial", "")
        for disk in _disks(domain)
        if (target := disk.find("target")) is not None and target.get("dev", "") in targets
    )


def _targets(told: Mapping[str, Json]) -> list[str]:
    """What the file systems lie on that a guest says it has mounted: libvirt names each disk by its
    target.
    """
    return [
        text(told.get(f"fs.{number}.disk.{disk}.alias"))
        for number in range(min(_count(told, "fs"), MAX_FILE_SYSTEMS))
        for disk in range(min(_count(told, f"fs.{number}.disk"), MAX_DISKS))
    ]


def _count(told: Mapping[str, Json], of: str) -> int:
    count = told.get(f"{of}.count", 0)
    return count if isinstance(count, int) else 0


def _aliases(domain: libvirt.virDomain) -> dict[str, str]:
    """Libvirt's name for each disk and interface of the running instance, by what tells it
    apart.
    """
    devices = parse(domain.XMLDesc(0))
    return {
        named(device): alias.get("name", "")
        for tag in ("disk", "interface")
        for device in every(devices, "devices", tag)
        if (alias := device.find("alias")) is not None
    }


def _disks(domain: libvirt.virDomain) -> list[Element]:
    return list(every(parse(domain.XMLDesc(0)), "devices", "disk"))
