"""What is told of a long job meanwhile."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from agent.core.model import Key
from agent.reconcile.news import ProgressNews


class Told:
    """Tells of a long job what is news: each further tenth of it, and what goes wrong."""

    def __init__(self, key: Key, tell: Callable[[ProgressNews], None]) -> None:
        self._last, self._tell = ProgressNews(key, 0), tell
        self._began: tuple[float, int] | None = None
        """When, and with how many bytes."""
        self._step = (0.0, 0)
        """The same of the last news."""

    def progress(self, done: int, total: int | None) -> None:
        """So many bytes are there."""
        now = time.monotonic()
        if self._began is None:
            self._began = self._step = now, done
        percent = done * 10 // total * 10 if total else 0
        speed = self._last.speed
        if percent > self._last.percent:
            speed = _speed(self._began, now, done), _speed(self._step, now, done)
            self._step = now, done
        self._news(replace(self._last, percent=percent, trouble="", speed=speed))

    def percent(self, done: int) -> None:
        self._news(replace(self._last, percent=done // 10 * 10, trouble=""))

    def trouble(self, what: str) -> None:
        self._news(replace(self._last, trouble=what))

    def _news(self, news: ProgressNews) -> None:
        if news != self._last:
            self._last = news
            self._tell(news)


def _speed(since: tuple[float, int], now: float, done: int) -> int:
    """Bytes a second."""
    at, had = since
    return int(max(done - had, 0) / max(now - at, 0.001))
