"""Server-sent events, and what viewers cost."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from starlette.requests import Request

from agent.gitrepo.local import LocalRepository
from agent.gitrepo.repository import Repository
from agent.web import live
from agent.web.collector import Terms
from agent.web.live import Live
from agent.web.source import Source
from tests.fleets import CATALOGUE, Fleet, machine


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    fleet = Fleet(tmp_path / "fleet.git")
    fleet.agent()
    return fleet


@asynccontextmanager
async def followed(fleet: Fleet, poll: float = 60.0) -> AsyncIterator[Source]:
    source = Source(lambda: LocalRepository(fleet.root), Terms(), CATALOGUE, poll=poll)
    following = source.following()
    try:
        yield source
    finally:
        following.cancel()
        await source.close()


async def event(stream: AsyncIterator[bytes]) -> dict[str, str]:
    text = (await asyncio.wait_for(anext(stream), 30)).decode()
    told: dict[str, str] = json.loads(text.partition("data: ")[2])
    return told


async def events(source: Source) -> AsyncIterator[bytes]:
    request = Request({"type": "http", "headers": [], "method": "GET", "path": "/live"})
    answer = await Live(source)(request)
    assert answer.headers["cache-control"] == "no-store"
    body: AsyncIterator[bytes] = answer.body_iterator  # type: ignore[attr-defined]
    return body


def test_a_viewer_hears_of_a_commit_and_of_nothing_else(fleet: Fleet) -> None:
    async def look() -> None:
        async with followed(fleet) as source:
            await source.current()
            stream = await events(source)
            known = await event(stream)
            assert known["commit"] == (await source.current()).commit
            commit = fleet.write(machine("vm"))
            source.nudge()
            assert await event(stream) == {"commit": commit, "main": fleet.main}
            assert source.viewers == 1
            await stream.aclose()  # type: ignore[attr-defined]
            assert source.viewers == 0

    asyncio.run(look())


def test_who_reads_slowly_hears_of_the_newest_only(fleet: Fleet) -> None:
    async def look() -> None:
        async with followed(fleet) as source:
            await source.current()
            stream = await events(source)
            await event(stream)
            for number in range(5):
                newest = fleet.write(machine("vm", f"Phase{number}"))
                await source.look()
            assert (await event(stream))["commit"] == newest
            fleet.write(machine("vm", "Later"))
            await source.look()
            with pytest.raises(TimeoutError):  # each waits its turn
                await asyncio.wait_for(anext(stream), 0.05)

    asyncio.run(look())


def test_there_is_an_end_to_viewers(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    async def look() -> None:
        async with followed(fleet) as source:
            await source.current()
            source.viewers = live.MOST
            request = Request({"type": "http", "headers": [], "method": "GET", "path": "/live"})
            answer = await Live(source)(request)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")

    asyncio.run(look())


class Watched(LocalRepository):
    """Tells how often it was asked."""

    asked = 0

    def fetch(self) -> dict[str, str]:
        Watched.asked += 1
        return dict(super().fetch())


def test_nothing_is_read_unless_somebody_looks(fleet: Fleet) -> None:
    Watched.asked = 0

    async def look() -> None:
        source = Source(lambda: Watched(fleet.root), Terms(), CATALOGUE, poll=0.001)
        following = source.following()
        for _ in range(10):
            source.nudge()
            await asyncio.sleep(0)
        assert Watched.asked == 0
        async with source.viewing():
            await asyncio.wait_for(source.news(None), 30)
        assert Watched.asked > 0
        following.cancel()
        await source.close()

    asyncio.run(look())


def test_a_repository_that_hangs_keeps_nobody_from_what_was_read(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("agent.web.source.PATIENCE", 0.01)
    hang = threading.Event()

    class Hanging(LocalRepository):
        def fetch(self) -> dict[str, str]:
            if hang.is_set():
                go_on.wait(60)
            return dict(super().fetch())

    go_on = threading.Event()

    def opened() -> Repository:
        return Hanging(fleet.root)

    async def look() -> None:
        source = Source(opened, Terms(), CATALOGUE, poll=60)
        first = await source.current()
        hang.set()
        assert await asyncio.wait_for(source.current(), 30) is first
        go_on.set()
        await source.look()
        await source.close()

    asyncio.run(look())


def test_a_dashboard_reads_before_anybody_asks(fleet: Fleet) -> None:
    async def look() -> None:
        source = Source(lambda: LocalRepository(fleet.root), Terms(), CATALOGUE, eager=True)
        following = source.following()
        known = await asyncio.wait_for(source.news(None), 30)
        assert known is not None
        assert known.commit
        following.cancel()
        await source.close()

    asyncio.run(look())
