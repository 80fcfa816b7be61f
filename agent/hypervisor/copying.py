"""Copies of volumes, made by libvirt on the host itself. Functions here may raise libvirtError;
HostError where they know better.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

import libvirt

from agent.core.host import HostError
from agent.core.model import Json
from agent.hypervisor.storage import PIECE, for_pool, get_volume, refresh
from agent.hypervisor.xml import bytes_at, parse, text_at

SLOWEST = 4 * 1024 * 1024
"""Bytes that a copy makes in a second, at least."""
_LOOK = 1.0
"""Seconds between two looks at how far a copy is."""


def name(xml: str) -> str:
    return text_at(parse(xml), "name")


def capacity(xml: str) -> int:
    """Bytes."""
    return bytes_at(parse(xml), "capacity")


def copy(
    connection: libvirt.virConnect,
    pool_name: str,
    xml: str,
    source_pool: str,
    source: str,
    source_format: str,
) -> libvirt.virStorageVol:
    refresh(connection.storagePoolLookupByName(source_pool))
    original = get_volume(connection, source_pool, source)
    _check_format(original, source_format)
    pool = connection.storagePoolLookupByName(pool_name)
    volume = pool.createXMLFrom(for_pool(pool, xml), original, 0)
    info: Json = volume.info()
    if info[1] < capacity(xml):  # qcow2 is made as large as its source
        volume.resize(capacity(xml), 0)
    return volume


def _check_format(volume: libvirt.virStorageVol, known: str) -> None:
    """What a volume looks like is what libvirt goes by, and of a raw one its guest's to choose."""
    root = parse(volume.XMLDesc(0))
    element = root.find("target/format")
    looks = "raw" if element is None else element.get("type", "")
    if (looks if looks != "iso" else "raw") != known or (
        known == "raw" and text_at(root, "backingStore/path")
    ):
        raise HostError(
            "UnsafeVolume",
            f"volume {volume.name()} is {known} and looks like {looks}, as if a guest had written "
            "another disk's header onto it: it is not copied",
            retry=False,
        )


def read(
    connection: libvirt.virConnect,
    pool_name: str,
    name: str,
    take: Callable[[bytes], None],
    taken: list[int],
) -> libvirt.virStorageVol:
    """Hand all of a volume over. `taken[0]` grows meanwhile. What takes no space in its file is not
    sent, but handed over as the zeros that it is.
    """
    volume = get_volume(connection, pool_name, name)
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, libvirt.VIR_STORAGE_VOL_DOWNLOAD_SPARSE_STREAM)
    try:
        for piece in _received(stream):
            take(piece)
            taken[0] += len(piece)
        stream.finish()
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):
            stream.abort()
        raise
    return volume


_HOLE = -3
"""Where libvirt stops: what comes is a hole."""
_ZEROS = bytes(PIECE)


def _received(stream: libvirt.virStream) -> Iterator[bytes]:
    while piece := stream.recvFlags(PIECE, libvirt.VIR_STREAM_RECV_STOP_AT_HOLE):
        if piece != _HOLE:
            assert isinstance(piece, bytes)  # noqa: S101  # the stream is no one that would block
            yield piece
            continue
        left = stream.recvHole()
        while left:
            part = _ZEROS[: min(left, PIECE)]
            yield part
            left -= len(part)


@contextlib.contextmanager
def followed(
    connection: Callable[[], libvirt.virConnect],
    pool_name: str,
    xml: str,
    stored: list[int],
    told: Callable[[int], None],
) -> Iterator[None]:
    """Meanwhile look now and then how many bytes of the volume are stored: `stored[0]`."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(_LOOK):
            with contextlib.suppress(libvirt.libvirtError, HostError):
                info: Json = get_volume(connection(), pool_name, name(xml)).info()
                stored[0] = info[2]
                told(stored[0])

    threading.Thread(target=follow, name="libvirt-copy", daemon=True).start()
    try:
        yield
    finally:
        ended.set()
