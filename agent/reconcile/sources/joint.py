"""What several objects want at the same time is brought once: the first one brings it, and the
others wait for it and have it, too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from agent.images.errors import CancelledError, ImageError
from agent.images.pipeline import Prepared
from agent.reconcile.sources.told import Told

_LOOK = 0.2
"""Seconds between two looks whether whoever waits wants it still."""


@dataclass
class Common:
    """One file on its way, for everybody who wants it."""

    told: list[Told] = field(default_factory=list)
    """Of all who want it, the one who brings it first."""
    over: threading.Event = field(default_factory=threading.Event)
    prepared: Prepared | None = None
    error: BaseException | None = None

    def progress(self, done: int, total: int | None) -> None:
        for told in tuple(self.told):
            told.progress(done, total)

    def trouble(self, what: str) -> None:
        for told in tuple(self.told):
            told.trouble(what)

    @property
    def shared(self) -> bool:
        return len(self.told) > 1


Bring = Callable[[Common], Prepared]


class Joint:
    """Safe to call from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._under_way: dict[str, Common] = {}

    @contextmanager
    def have(
        self, what: str, told: Told, unwanted: Callable[[], bool], bring: Bring
    ) -> Iterator[Prepared]:
        """The file of what `what` names; it is removed once the last one has had it. Where whoever
        brings it is called off, another one goes on.
        """
        while True:
            common, first = self._join(what, told)
            try:
                if first:
                    self._brought(what, common, bring)
                else:
                    _wait(common, unwanted)
                if common.prepared is not None:
                    yield common.prepared
                    return
            finally:
                self._leave(what, common, told)
            if first or not isinstance(common.error, CancelledError):
                raise _again(common.error)

    def _join(self, what: str, told: Told) -> tuple[Common, bool]:
        with self._lock:
            common = self._under_way.get(what)
            first = common is None
            if common is None:
                self._under_way[what] = common = Common()
            common.told.append(told)
            return common, first

    def _brought(self, what: str, common: Common, bring: Bring) -> None:
        try:
            common.prepared = bring(common)
        except BaseException as error:
            common.error = error
            with self._lock:  # whoever comes from now on begins anew
                self._under_way.pop(what, None)
            raise
        finally:
            common.over.set()

    def _leave(self, what: str, common: Common, told: Told) -> None:
        with self._lock:
            common.told.remove(told)
            last = not common.told
            if last and self._under_way.get(what) is common:
                del self._under_way[what]
        if last and common.prepared is not None:
            common.prepared.path.unlink(missing_ok=True)


def _wait(common: Common, unwanted: Callable[[], bool]) -> None:
    while not common.over.wait(_LOOK):
        if unwanted():
            raise CancelledError


def _again(error: BaseException | None) -> ImageError:
    """The same for another thread."""
    if isinstance(error, ImageError):
        return ImageError(error.reason, error.message, retry=error.retry)
    return ImageError("ImagePullFailed", "what was to bring it failed by a mistake", retry=True)
