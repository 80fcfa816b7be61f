"""What is asked of a host before a machine that is off leaves it. Functions here may raise
libvirtError; HostError where they know better.
"""

from __future__ import annotations

import contextlib
import uuid as uuids
from collections.abc import Iterator, Sequence

import libvirt
from lxml import etree

from agent.core.migrating import NVRAM, Nvram
from agent.core.model import Json
from agent.hypervisor import copying
from agent.hypervisor.storage import delete_volume, get_volume, refresh, target_path, upload
from agent.hypervisor.verbs import find
from agent.hypervisor.xml import parse, text_at

_POOL = "gitvirt-nvram-"
_PERMISSIONS = "target/permissions"


def changed(connection: libvirt.virConnect, pool_name: str, name: str) -> str:
    """To the nanosecond, as libvirt says it; of what is no file it does not."""
    refresh(connection.storagePoolLookupByName(pool_name))
    volume = get_volume(connection, pool_name, name)
    info: Json = volume.info()
    return f"{info[2]} {text_at(parse(volume.XMLDesc(0)), 'target/timestamps/mtime')}"


def snapshots(connection: libvirt.virConnect, uuid: str) -> int:
    domain = find(connection, uuid)
    if domain is None:
        return 0
    return int(domain.snapshotNum(0)) + len(domain.listAllCheckpoints(0))


def read_nvram(connection: libvirt.virConnect, name: str) -> tuple[Nvram, ...]:
    with _nvram(connection) as pool:
        return tuple(_read(connection, pool, file) for file in _files(pool, name))


def _read(connection: libvirt.virConnect, pool: libvirt.virStoragePool, file: str) -> Nvram:
    pieces: list[bytes] = []
    volume = copying.read(connection, pool.name(), file, pieces.append, [0])
    root = parse(volume.XMLDesc(0))
    owner = {each: text_at(root, f"{_PERMISSIONS}/{each}") for each in ("mode", "owner", "group")}
    return Nvram(file, b"".join(pieces), **{key: value for key, value in owner.items() if value})


def write_nvram(connection: libvirt.virConnect, name: str, files: Sequence[Nvram]) -> None:
    with _nvram(connection) as pool:
        for known in _files(pool, name):
            delete_volume(connection, pool.name(), known)
        for each in files:
            pool.createXML(_xml(each), 0)
            size = len(each.content)
            upload(connection, pool.name(), each.file, iter([each.content]), size, [0])


def _xml(nvram: Nvram) -> str:
    root = etree.Element("volume")
    etree.SubElement(root, "name").text = nvram.file
    for size in ("capacity", "allocation"):
        etree.SubElement(root, size).text = "0"
    target = etree.SubElement(root, "target")
    etree.SubElement(target, "format", type="raw")
    permissions = etree.SubElement(target, "permissions")
    for each in ("mode", "owner", "group"):
        etree.SubElement(permissions, each).text = getattr(nvram, each)
    return etree.tostring(root, encoding="unicode")


def _files(pool: libvirt.virStoragePool, name: str) -> list[str]:
    names = (volume.name() for volume in pool.listAllVolumes(0))
    return sorted(each for each in names if each.startswith(f"{name}_VARS."))


@contextlib.contextmanager
def _nvram(connection: libvirt.virConnect) -> Iterator[libvirt.virStoragePool]:
    """That directory as a storage pool, for as long as it is needed: libvirt reads and writes no
    other files. One that was left behind is used, and then ended.
    """
    active = connection.listAllStoragePools(libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE)
    known = next((each for each in active if target_path(each) == NVRAM), None)
    pool = known or connection.storagePoolCreateXML(_pool_xml(), 0)
    refresh(pool)
    try:
        yield pool
    finally:
        if pool.name().startswith(_POOL):
            pool.destroy()


def _pool_xml() -> str:
    root = etree.Element("pool", type="dir")
    etree.SubElement(root, "name").text = f"{_POOL}{uuids.uuid4()}"
    etree.SubElement(etree.SubElement(root, "target"), "path").text = NVRAM
    return etree.tostring(root, encoding="unicode")
