"""Volumes of nodes: image data that another node has, and what disks and snapshots hold."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from agent.core.actions import CopyVolume
from agent.core.host import RawVolume
from agent.core.identity import POOL
from agent.core.image_sources import VolumeSource
from agent.images.errors import CancelledError
from agent.images.pipeline import Prepared
from agent.images.spool import Sink
from agent.reconcile.sources.errand import Errand, handed_over
from agent.reconcile.verbs.copying import copied
from agent.reconcile.verbs.site import Image


@contextmanager
def brought(source: VolumeSource, errand: Errand) -> Iterator[Image]:
    """Where it is based on another volume, a flat copy of it is what is read: its node makes that,
    and it is gone at the end.
    """
    if not source.copy:
        prepared = _read(source, errand, source.pool, source.volume)
    else:
        prepared = _flat(source, errand)
    with handed_over(prepared) as image:
        yield image


def _flat(source: VolumeSource, errand: Errand) -> Prepared:
    site = replace(errand.site, name=source.node)
    flat = copied(
        CopyVolume(
            *(source.node, POOL, source.copy, source.pool, source.volume, 0),
            source_format=source.format,
        ),
        site,
    )
    try:
        whole = replace(source, format="qcow2", size=flat.capacity)
        return _read(whole, errand, POOL, source.copy)
    finally:
        site.node.delete_volume(POOL, source.copy)


def _read(source: VolumeSource, errand: Errand, pool: str, name: str) -> Prepared:
    host = errand.site.at(source.node)
    known: RawVolume | None = host.read_volumes(pool).get((pool, name))
    whole = known.physical if known is not None else None
    with Sink(errand.spool, errand.limit) as sink:

        def take(piece: bytes) -> None:
            if errand.unwanted():
                raise CancelledError
            sink.write(piece)
            errand.told.progress(sink.size, whole)

        volume = host.read_volume(pool, name, take)
    digest = sink.hashes["sha256"].hexdigest()
    return Prepared(sink.path, source.format, source.size or volume.capacity, sink.size, digest)
