"""Storage pools and volumes. Functions here may raise libvirtError; HostError where they know
better.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import PurePosixPath

import libvirt
from lxml import etree

from agent.core.host import HostError, RawVolume
from agent.core.model import Json
from agent.hypervisor.xml import bytes_at, parse, text_at

PIECE = 256 * 1000
"""Bytes sent at a time: libvirt's oldest limit for one message is a little above."""

_EXISTS = (libvirt.VIR_ERR_STORAGE_VOL_EXIST, libvirt.VIR_ERR_OPERATION_INVALID)

DIRECTORY = "dir"
LOGICAL = "logical"
"""Type of a pool whose volumes are LVM's."""

Volumes = dict[tuple[str, str], RawVolume]


class VolumeReader:
    """Reads pools, and hands out the same instance while nothing about a volume changes."""

    def __init__(self) -> None:
        self._known: dict[str, Volumes] = {}

    def read(
        self, connection: libvirt.virConnect, pool_name: str
    ) -> tuple[str, str, Volumes] | None:
        """(target path, type, volumes) of an active pool after a refresh; None if it is missing or
        inactive.
        """
        pool = find_pool(connection, pool_name)
        if pool is None or not pool.isActive():
            return None
        refresh(pool)
        known = self._known.get(pool_name, {})
        volumes: Volumes = {}
        for volume in pool.listAllVolumes(0):
            with _unless_gone():
                raw = _read_volume(pool_name, volume)
                old = known.get((pool_name, raw.name))
                volumes[pool_name, raw.name] = old if old is not None and old == raw else raw
        self._known[pool_name] = volumes
        return target_path(pool), pool_type(pool), dict(volumes)

    def read_one(self, pool_name: str, volume: libvirt.virStorageVol) -> RawVolume:
        """One volume of that pool as it is now, without a refresh of the pool."""
        raw = _read_volume(pool_name, volume)
        known = self._known.setdefault(pool_name, {})
        if known.get((pool_name, raw.name)) != raw:
            known[pool_name, raw.name] = raw
        return known[pool_name, raw.name]


_DIRECTORIES = (
    libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_ACTIVE
    | libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_DIR
    | libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_FS
    | libvirt.VIR_CONNECT_LIST_STORAGE_POOLS_NETFS
)


def read_bases(connection: libvirt.virConnect) -> dict[str, str]:
    """What each volume of the active directory pools is based on, by path; a pool that cannot be
    looked through says nothing.
    """
    bases: dict[str, str] = {}
    for pool in connection.listAllStoragePools(_DIRECTORIES):
        with contextlib.suppress(libvirt.libvirtError):
            refresh(pool)
            for volume in pool.listAllVolumes(0):
                with _unless_gone():
                    raw = _read_volume("", volume)
                    bases[raw.path] = raw.backing_path
    return bases


def _read_volume(pool_name: str, volume: libvirt.virStorageVol) -> RawVolume:
    root = parse(volume.XMLDesc(0))
    return RawVolume(
        pool=pool_name,
        name=volume.name(),
        path=text_at(root, "target/path"),
        capacity=bytes_at(root, "capacity"),
        physical=bytes_at(root, "physical"),
        backing_path=text_at(root, "backingStore/path"),
    )


@contextlib.contextmanager
def _unless_gone() -> Iterator[None]:
    try:
        yield
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise


def find_pool(connection: libvirt.virConnect, name: str) -> libvirt.virStoragePool | None:
    try:
        return connection.storagePoolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        return None


def find_volume(pool: libvirt.virStoragePool | None, name: str) -> libvirt.virStorageVol | None:
    if pool is None:
        return None
    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None


def get_volume(connection: libvirt.virConnect, pool_name: str, name: str) -> libvirt.virStorageVol:
    return connection.storagePoolLookupByName(pool_name).storageVolLookupByName(name)


def target_path(pool: libvirt.virStoragePool) -> str:
    return text_at(parse(pool.XMLDesc(0)), "target/path")


def pool_type(pool: libvirt.virStoragePool) -> str:
    """As libvirt calls it: dir, netfs, logical, …"""
    return str(parse(pool.XMLDesc(0)).get("type", ""))


def for_pool(pool: libvirt.virStoragePool, xml: str) -> str:
    """The volume as a pool of that type makes it. A logical volume that is not allocated whole
    would be a snapshot, which is invalid once its space is used up.
    """
    if pool_type(pool) != LOGICAL:
        return xml
    root = parse(xml)
    allocation, capacity = root.find("allocation"), root.find("capacity")
    if allocation is not None and capacity is not None:
        allocation.text = capacity.text
        allocation.set("unit", capacity.get("unit", "bytes"))
    return etree.tostring(root, encoding="unicode")


def free_space(connection: libvirt.virConnect, pool_name: str) -> int:
    pool = find_pool(connection, pool_name)
    if pool is None or not pool.isActive():
        return 0
    refresh(pool)
    return int(pool.info()[3])


def refresh(pool: libvirt.virStoragePool) -> None:
    """See what others put there. While a volume is being made libvirt refuses; its list is then as
    good as it gets.
    """
    try:
        pool.refresh(0)
    except libvirt.libvirtError as error:
        if "asynchronous jobs" not in str(error):
            raise


def ensure_pool(connection: libvirt.virConnect, name: str, home: str | None) -> str:
    """Make, start and autostart a directory pool; its path. `home` is where libvirt keeps its pools
    if no other tells.
    """
    pool = find_pool(connection, name)
    if pool is None:
        path = _path_beside(connection, name, home)
        pool = connection.storagePoolDefineXML(_pool_xml(name, path), 0)
    root = parse(pool.XMLDesc(0))
    if root.get("type") != DIRECTORY:
        raise HostError(
            "PoolTypeMismatch",
            f"storage pool {name} is of type {root.get('type')}, "
            "a directory pool (type dir) is needed: name another pool in the settings",
            retry=False,
        )
    if not pool.isActive():
        pool.build(0)
        pool.create(0)
    if not pool.autostart():
        pool.setAutostart(1)
    return text_at(root, "target/path")


def _path_beside(connection: libvirt.virConnect, name: str, home: str | None) -> str:
    if name in ("", ".", "..") or "/" in name or not name.isprintable():
        raise HostError(
            "InvalidArgument",
            f"{name!r} is no name for a storage pool: it becomes a directory's name",
            retry=False,
        )
    default = find_pool(connection, "default")
    beside = target_path(default) if default is not None else ""
    if beside:
        return str(PurePosixPath(beside).parent / name)
    if home is None:
        raise HostError(
            "PoolNotFound",
            f"there is no storage pool {name} on {connection.getURI()}, "
            "and none named default to put it beside: "
            f"make one with `virsh pool-define-as {name} dir --target PATH`",
            retry=False,
        )
    return str(PurePosixPath(home) / name)


def _pool_xml(name: str, path: str) -> str:
    root = etree.Element("pool", type="dir")
    etree.SubElement(root, "name").text = name
    etree.SubElement(etree.SubElement(root, "target"), "path").text = path
    return etree.tostring(root, encoding="unicode")


def create_volume(
    connection: libvirt.virConnect, pool_name: str, xml: str
) -> libvirt.virStorageVol:
    """The new volume, or the one that has this name already."""
    pool = connection.storagePoolLookupByName(pool_name)
    name = text_at(parse(xml), "name")
    volume = find_volume(pool, name)
    if volume is not None:
        return volume
    try:
        return pool.createXML(for_pool(pool, xml), 0)
    except libvirt.libvirtError as error:
        # Another host of a shared directory may have made it: libvirt sees the file and not yet
        # the volume.
        if error.get_error_code() not in _EXISTS:
            raise
        refresh(pool)
        volume = find_volume(pool, name)
        if volume is None:
            raise
        return volume


def upload(
    connection: libvirt.virConnect,
    pool_name: str,
    name: str,
    chunks: Iterator[bytes],
    size: int,
    sent: list[int],
    offset: int = 0,
) -> libvirt.virStorageVol:
    """Send all chunks, from `offset` on. `sent[0]` grows as libvirt takes them. Whatever goes wrong
    ends the stream, so that the file stays short.
    """
    volume = get_volume(connection, pool_name, name)
    stream = connection.newStream(0)
    sparse = libvirt.VIR_STORAGE_VOL_UPLOAD_SPARSE_STREAM
    volume.upload(stream, offset, size - offset, sparse)
    try:
        _send_all(stream, name, chunks, size - offset, sent)
        stream.finish()
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):
            stream.abort()
        raise
    refresh(connection.storagePoolLookupByName(pool_name))
    return volume


def _send_all(
    stream: libvirt.virStream, name: str, chunks: Iterator[bytes], size: int, sent: list[int]
) -> None:
    for chunk in chunks:
        if sent[0] + len(chunk) > size:
            raise HostError(
                "UploadTooLong",
                f"cannot write volume {name}: more than the announced {size} bytes",
                retry=False,
            )
        _send(stream, chunk, sent)
    if sent[0] != size:
        raise HostError(
            "UploadIncomplete",
            f"cannot write volume {name}: {sent[0]} bytes came instead of {size}",
        )


def _send(stream: libvirt.virStream, chunk: bytes, sent: list[int]) -> None:
    """Zeros are not sent, and take no space there."""
    if chunk and chunk.count(0) == len(chunk):
        stream.sendHole(len(chunk), 0)
        sent[0] += len(chunk)
        return
    start = 0
    while start < len(chunk):
        taken = stream.send(chunk[start : start + PIECE])
        start += taken
        sent[0] += taken


def delete_volume(connection: libvirt.virConnect, pool_name: str, name: str) -> None:
    """Delete a volume, also one that libvirt has not seen yet, such as a console log."""
    pool = find_pool(connection, pool_name)
    if pool is None:
        return
    volume = find_volume(pool, name)
    if volume is None:
        refresh(pool)
        volume = find_volume(pool, name)
    if volume is None:
        return
    try:
        volume.delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise


def resize_volume(
    connection: libvirt.virConnect, pool_name: str, name: str, capacity: int
) -> libvirt.virStorageVol:
    volume = get_volume(connection, pool_name, name)
    info: Json = volume.info()
    if info[1] < capacity:
        volume.resize(capacity, 0)
    return volume
