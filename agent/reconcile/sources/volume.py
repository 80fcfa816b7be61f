"""Image data that another node has."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.core.host import RawVolume
from agent.core.image_sources import VolumeSource
from agent.images.errors import CancelledError
from agent.images.pipeline import Prepared
from agent.images.spool import Sink, check_space
from agent.reconcile.sources.errand import Errand, handed_over
from agent.reconcile.verbs.site import Image


@contextmanager
def brought(source: VolumeSource, errand: Errand) -> Iterator[Image]:
    with handed_over(_read(source, errand)) as image:
        yield image


def _read(source: VolumeSource, errand: Errand) -> Prepared:
    host = errand.site.at(source.node)
    known: RawVolume | None = host.read_volumes(source.pool).get((source.pool, source.volume))
    whole = known.physical if known is not None else None
    check_space(errand.spool, whole or 0)
    with Sink(errand.spool, errand.limit) as sink:

        def take(piece: bytes) -> None:
            if errand.unwanted():
                raise CancelledError
            sink.write(piece)
            errand.told.progress(sink.size, whole)

        volume = host.read_volume(source.pool, source.volume, take)
    digest = source.digest or sink.hashes["sha256"].hexdigest()
    return Prepared(sink.path, source.format, source.size or volume.capacity, sink.size, digest)
