"""Downloads, also from container registries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.core.image_sources import ContainerSource, HttpSource
from agent.images.pipeline import fetch
from agent.reconcile.sources.errand import Errand, handed_over
from agent.reconcile.verbs.site import Image


@contextmanager
def brought(source: HttpSource | ContainerSource, errand: Errand) -> Iterator[Image]:
    prepared = fetch(
        source,
        errand.spool,
        errand.told.progress,
        errand.unwanted,
        errand.limit,
        reach=errand.reach,
        trouble=errand.told.trouble,
    )
    with handed_over(prepared) as image:
        yield image
