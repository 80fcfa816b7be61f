"""Files that somebody has uploaded to a node."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from agent.core.image_sources import UploadSource
from agent.images.pipeline import receive
from agent.reconcile.sources.errand import Errand, handed_over
from agent.reconcile.verbs.site import Image


@contextmanager
def brought(source: UploadSource, errand: Errand) -> Iterator[Image]:
    """Checked as every other image, whoever may have checked it before."""
    host = errand.site.at(source.node)
    prepared = receive(
        "the uploaded file",
        partial(host.read_volume, source.pool, source.volume),
        errand.spool,
        size=source.size,
        digest=source.digest,
        checksums=source.checksums,
        progress=errand.told.progress,
        cancelled=errand.unwanted,
        limit=errand.limit,
    )
    with handed_over(prepared) as image:
        yield image
