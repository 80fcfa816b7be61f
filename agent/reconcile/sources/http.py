"""Downloads, also from container registries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from agent.core.image_sources import ContainerSource, HttpSource
from agent.images.pipeline import Prepared, fetch
from agent.reconcile.sources.errand import Errand, as_image
from agent.reconcile.sources.joint import Common
from agent.reconcile.verbs.site import Image


@contextmanager
def brought(source: HttpSource | ContainerSource, errand: Errand) -> Iterator[Image]:
    """Once for all who want just this at the same time, with just these credentials."""

    def bring(common: Common) -> Prepared:
        return fetch(
            source,
            errand.spool,
            common.progress,
            errand.unwanted,
            errand.limit,
            reach=errand.reach,
            trouble=common.trouble,
            ending=lambda: errand.ending() or common.shared,
        )

    with errand.joint.have(source.whole, errand.told, errand.unwanted, bring) as prepared:
        yield as_image(prepared)
