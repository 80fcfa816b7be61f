"""Where the content of volumes comes from: downloads, and media that are made here."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from agent.core.actions import WriteSeed
from agent.core.image_sources import ImageSource
from agent.core.model import Key
from agent.images.request import Reach
from agent.images.seed import nocloud, sysprep
from agent.reconcile.news import ProgressNews
from agent.reconcile.sources import Errand, brought
from agent.reconcile.sources.joint import Joint
from agent.reconcile.sources.told import Told
from agent.reconcile.verbs.site import Content, Image, Site


@dataclass(frozen=True)
class Source:
    """What downloads need, whoever they are for."""

    spool: Path
    """Where files lie on their way."""
    limit: int
    """Bytes that one image may have."""
    reach: Reach
    tell: Callable[[ProgressNews], None]
    joint: Joint = field(default_factory=Joint)
    """What is on its way, for whoever else wants it."""


@dataclass(frozen=True)
class Supplier:
    """For one object's sequence."""

    source: Source
    key: Key
    unwanted: Callable[[], bool]
    """True once what is brought is not wanted any more."""
    ending: Callable[[], bool] = lambda: False
    """True once all of the program ends."""

    def told(self) -> Told:
        return Told(self.key, self.source.tell)

    def image(self, source: ImageSource, site: Site) -> AbstractContextManager[Image]:
        wide = self.source
        return brought(
            source,
            Errand(
                *(site, wide.spool, wide.limit, wide.reach, self.told(), self.unwanted),
                joint=wide.joint,
                ending=self.ending,
            ),
        )

    def seed(self, action: WriteSeed) -> Content:
        if action.sysprep:
            data = sysprep(action.files)
        else:
            meta = {"instance-id": action.instance_id, "local-hostname": action.hostname}
            files = dict(action.files)
            data = nocloud(meta, files.pop("user-data"), files)
        return Content(len(data), iter([data]))
