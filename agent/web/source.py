"""Where views come from: the newest reading, and a repository to look things up in.

One thread of its own reads Git. Nothing is read unless somebody looks: the repository is followed
while there are viewers, and for a while after a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import TypeVar

from agent.core.schema import Catalogue
from agent.gitrepo.repository import Repository, RepositoryError
from agent.reconcile.workers import Workers
from agent.web.collector import Collector, Terms
from agent.web.reading import Reading

POLL = 5.0
"""Seconds between two looks at a repository that tells nothing by itself."""
HASTE = 1.0
"""Seconds between two looks, however much there is that is new."""
LINGER = 60.0
"""Seconds for which a repository is followed after the last request."""
PATIENCE = 5.0
"""Seconds that a request waits for news before it gets what there is."""

T = TypeVar("T")


class Source:
    """Belongs to one event loop; `nudge` may be called from any thread.

    `opened` gives the repository, in the thread that reads it.
    """

    def __init__(
        self,
        opened: Callable[[], Repository],
        terms: Terms,
        catalogue: Catalogue,
        *,
        poll: float = POLL,
        eager: bool = False,
    ) -> None:
        """`eager` reads before anybody asks."""
        self._open, self.terms, self.catalogue, self._poll = opened, terms, catalogue, poll
        self._eager = eager
        self._thread = Workers("page-git", 1)
        self._repository: Repository | None = None
        self._collector: Collector | None = None
        self.reading: Reading | None = None
        self.beat: float | None = None
        """When the agent gave its last sign of life."""
        self.trouble = ""
        """Why there are no news; empty while there may be some."""
        self.viewers = 0
        self._looked_at = self._asked_at = float("-inf")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._interest, self._nudged = asyncio.Event(), asyncio.Event()
        self._changed, self._ended = asyncio.Event(), asyncio.Event()
        self._look: asyncio.Task[None] | None = None

    # -- what views ask for --------------------------------------------------------------------

    async def current(self) -> Reading:
        """The newest reading. RepositoryError if there was never one."""
        now = time.monotonic()
        followed = now - self._asked_at <= LINGER and self._loop is not None
        self._asked_at = now
        self._interest.set()
        if self.reading is None or not followed or now - self._looked_at > 2 * self._poll:
            look = self.look()
            if self.reading is None:
                await look
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.shield(look), PATIENCE)
        if self.reading is None:
            raise RepositoryError("NotRead", self.trouble)
        return self.reading

    async def git(self, work: Callable[[Repository], T]) -> T:
        """What some work with the repository gives, in the thread that it belongs to."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._thread.submit(partial(self._work, work, done, loop))
        return await done

    @contextlib.asynccontextmanager
    async def viewing(self) -> AsyncIterator[None]:
        """Somebody looks, and wants to hear of news."""
        self.viewers += 1
        self._interest.set()
        try:
            yield
        finally:
            self.viewers -= 1

    async def news(self, known: Reading | None) -> Reading | None:
        """Another reading than the one that is known, unless it ends meanwhile."""
        while not self.ended and (self.reading is None or self.reading is known):
            await self._changed.wait()
        return self.reading

    async def rest(self, seconds: float) -> None:
        """Wait so long, or until it ends."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def end(self) -> None:
        """Have all who wait for news wait no longer."""
        self._ended.set()
        self._changed.set()

    # -- looking -------------------------------------------------------------------------------

    def nudge(self) -> None:
        """Something may be new. From any thread."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._nudged.set)

    def look(self) -> asyncio.Task[None]:
        """Read what is new. One look at a time: who asks meanwhile waits for it."""
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._read())
        return self._look

    def following(self) -> asyncio.Task[None]:
        """Have the repository followed, until the task is cancelled."""
        self._loop = asyncio.get_running_loop()
        if self._eager:
            self._asked_at = time.monotonic()
        return asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        """Look again and again while somebody is interested."""
        while True:
            while not self.viewers and time.monotonic() - self._asked_at > LINGER:
                self._interest.clear()
                await self._interest.wait()
            self._nudged.clear()
            await self.look()
            await asyncio.sleep(min(HASTE, self._poll))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), self._poll)

    async def close(self) -> None:
        if self._repository is not None:
            with contextlib.suppress(TimeoutError):  # one that hangs is left to the process's end
                await asyncio.wait_for(self.git(lambda repository: repository.close()), 1.0)
        self._thread.close()

    async def _read(self) -> None:
        try:
            reading, self.beat = await self.git(self._collect)
        except RepositoryError as error:
            self.trouble = str(error)
            return
        finally:
            self._looked_at = time.monotonic()
        self.trouble = ""
        if reading is not self.reading:
            self.reading = reading
            self._changed.set()
            self._changed = asyncio.Event()

    # -- in the thread -------------------------------------------------------------------------

    def _work(
        self,
        work: Callable[[Repository], T],
        done: asyncio.Future[T],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        try:
            if self._repository is None:
                self._repository = self._open()
            result = work(self._repository)
        except Exception as error:  # noqa: BLE001  # whoever asked gets it
            tell: Callable[[], None] = partial(_failed, done, error)
        else:
            tell = partial(_ended, done, result)
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(tell)

    def _collect(self, repository: Repository) -> tuple[Reading, float | None]:
        if self._collector is None:
            self._collector = Collector(repository, self.catalogue, self.terms)
        return self._collector.read(repository.fetch(), self.reading)


def _ended(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _failed(done: asyncio.Future[T], error: Exception) -> None:
    if not done.done():
        done.set_exception(error)
