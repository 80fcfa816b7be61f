"""What whoever brings image data may need."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from agent.core.model import Key
from agent.images.pipeline import Prepared
from agent.images.request import Reach
from agent.reconcile.news import ProgressNews
from agent.reconcile.verbs.site import Image, Site

CHUNK = 1024 * 1024


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


@dataclass(frozen=True)
class Errand:
    """One object's wish to have image data on a node."""

    site: Site
    """The node, and the others."""
    spool: Path
    """Where files lie on their way."""
    limit: int
    """Bytes that one image may have."""
    reach: Reach
    told: Told
    unwanted: Callable[[], bool]
    """True once it is to end early."""


@contextmanager
def handed_over(prepared: Prepared) -> Iterator[Image]:
    """A file of the spool, as content; it is removed at the end."""
    try:
        yield Image(
            prepared.stored_size,
            _chunks(prepared.path),
            prepared.digest,
            prepared.format,
            prepared.virtual_size,
            prepared.resolved,
        )
    finally:
        prepared.path.unlink(missing_ok=True)


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk
