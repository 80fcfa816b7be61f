"""Where the content of volumes comes from: downloads, and media that are made here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent.core.actions import ImportImage, WriteSeed
from agent.core.model import Key
from agent.images.pipeline import HttpSource, Reach, fetch
from agent.images.seed import nocloud, sysprep
from agent.reconcile.news import ProgressNews
from agent.reconcile.verbs.site import Content, Image

CHUNK = 1024 * 1024


@dataclass(frozen=True)
class Source:
    """What downloads need, whoever they are for."""

    spool: Path
    """Where files lie on their way."""
    limit: int
    """Bytes that one image may have."""
    reach: Reach
    tell: Callable[[ProgressNews], None]


@dataclass(frozen=True)
class Supplier:
    """For one object's sequence."""

    source: Source
    key: Key
    unwanted: Callable[[], bool]
    """True once a download is to end early."""

    def told(self) -> Told:
        return Told(self.key, self.source.tell)

    @contextmanager
    def image(self, action: ImportImage) -> Iterator[Image]:
        told = self.told()
        prepared = fetch(
            HttpSource(action.url, action.checksums, action.ca_bundle),
            self.source.spool,
            told.progress,
            self.unwanted,
            self.source.limit,
            reach=self.source.reach,
            trouble=told.trouble,
        )
        try:
            yield Image(
                prepared.stored_size,
                _chunks(prepared.path),
                prepared.digest,
                prepared.format,
                prepared.virtual_size,
            )
        finally:
            prepared.path.unlink(missing_ok=True)

    def seed(self, action: WriteSeed) -> Content:
        if action.sysprep:
            data = sysprep(action.files)
        else:
            meta = {"instance-id": action.instance_id, "local-hostname": action.hostname}
            data = nocloud(meta, action.files["user-data"])
        return Content(len(data), iter([data]))


class Told:
    """Tells of a long job what is news."""

    def __init__(self, key: Key, tell: Callable[[ProgressNews], None]) -> None:
        self._last, self._tell = ProgressNews(key, 0), tell

    def progress(self, done: int, total: int | None) -> None:
        self.percent(done * 100 // total if total else 0)

    def percent(self, done: int) -> None:
        self._news(replace(self._last, percent=done // 10 * 10, trouble=""))

    def trouble(self, what: str) -> None:
        self._news(replace(self._last, trouble=what))

    def _news(self, news: ProgressNews) -> None:
        if news != self._last:
            self._last = news
            self._tell(news)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
