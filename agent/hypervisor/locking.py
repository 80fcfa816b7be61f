"""Guests that never run: they have a file open for writing, or go to another host."""

from __future__ import annotations

from typing import Any

import libvirt
from lxml import etree

from agent.hypervisor.caller import Caller
from agent.hypervisor.verbs import find

_REFUSED = 'Failed to get "write" lock'
"""QEMU's words."""
_LEASED = "Lockspace resource"
"""Those of libvirt's own lock manager, where one is used."""
_MEMORY = "16"
_GOES = libvirt.VIR_MIGRATE_LIVE | libvirt.VIR_MIGRATE_PEER2PEER | libvirt.VIR_MIGRATE_PAUSED
_FLAGS = libvirt.VIR_DOMAIN_START_PAUSED | libvirt.VIR_DOMAIN_START_AUTODESTROY


class Locking(Caller):
    """Part of `LibvirtHost`."""

    def hold_lock(self, uuid: str, path: str) -> bool:
        return self._verb(
            f"open {path} for writing",
            lambda connection: _opened(connection, uuid, path),
            self._deadlines.start,
        )

    def try_peer(self, uuid: str, peer: str, memory: str) -> None:
        self._verb(
            f"send a guest to {peer}",
            lambda connection: _sent(connection, uuid, peer, memory),
            self._deadlines.quick,
        )


def _sent(connection: libvirt.virConnect, uuid: str, peer: str, memory: str) -> None:
    left = find(connection, uuid)
    if left is not None:
        left.destroy()
    domain = connection.createXML(_xml(uuid), libvirt.VIR_DOMAIN_START_PAUSED)
    target: Any = {libvirt.VIR_MIGRATE_PARAM_URI: memory} if memory else {}
    domain.migrateToURI3(peer, target, _GOES)


def _opened(connection: libvirt.virConnect, uuid: str, path: str) -> bool:
    left = find(connection, uuid)
    if left is not None:
        left.destroy()
    try:
        connection.createXML(_xml(uuid, path), _FLAGS)
    except libvirt.libvirtError as error:
        said = error.get_error_message() or ""
        if _REFUSED in said or _LEASED in said:
            return False
        raise
    return True


def _xml(uuid: str, path: str = "") -> str:
    root = etree.Element("domain", type="qemu")
    etree.SubElement(root, "name").text = f"gitvirt-lock-{uuid[:8]}"
    etree.SubElement(root, "uuid").text = uuid
    etree.SubElement(root, "memory", unit="MiB").text = _MEMORY
    machine = etree.SubElement(root, "os")
    etree.SubElement(machine, "type", arch="x86_64", machine="pc").text = "hvm"
    devices = etree.SubElement(root, "devices")
    etree.SubElement(devices, "controller", type="usb", model="none")
    etree.SubElement(devices, "memballoon", model="none")
    if path:
        _add_disk(devices, path)
    return etree.tostring(root, encoding="unicode")


def _add_disk(devices: etree._Element, path: str) -> None:
    disk = etree.SubElement(devices, "disk", type="file", device="disk")
    etree.SubElement(disk, "driver", name="qemu", type="raw")
    etree.SubElement(disk, "source", file=path)
    etree.SubElement(disk, "target", dev="vda", bus="virtio")
