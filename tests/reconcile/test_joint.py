"""What several objects want at the same time comes once."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from agent.core.actions import ImportImage
from agent.core.identity import POOL
from agent.core.image_sources import HttpSource
from agent.core.model import Key
from agent.images.hosts import ImageHosts
from agent.images.request import Reach
from agent.reconcile.execute import Executor, Outcome, Ticket
from agent.reconcile.news import ProgressNews
from agent.reconcile.supply import Source
from tests.hosts import PATIENCE
from tests.images.conftest import MIB
from tests.images.server import Faulty, Handler
from tests.memory_host import NODE, MemoryHost

HERE = NODE.name
CONTENT = bytes(510) + b"\x55\xaa" + bytes(range(256)) * (8 * MIB // 256)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Bench:
    """Imports on threads of their own, from a server that sends half and waits to be told."""

    server: Faulty
    folder: Path
    host: MemoryHost = field(default_factory=MemoryHost)
    news: list[ProgressNews] = field(default_factory=list)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    half: threading.Event = field(default_factory=threading.Event)
    tickets: dict[str, Ticket] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.host.ensure_pool(POOL)
        self.server.routes["/disk"] = self._slow
        self._joins = threading.Condition()
        reach = Reach(ImageHosts.parse("127.0.0.1"))
        source = Source(self.folder, 100 * MIB, reach, self.news.append)
        self.joint = source.joint
        self.executor = Executor({HERE: self.host}, source, lambda: 1, lambda: False, lambda: True)
        self._threads: list[threading.Thread] = []

    def _slow(self, handler: Handler) -> None:
        start = int(handler.headers.get("Range", "bytes=0-")[6:-1])
        content = CONTENT[start:]
        more = {"Content_Range": f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"}
        handler.head(206 if start else 200, Content_Length=len(content), ETag='"x"', **more)
        handler.wfile.write(content[: len(content) // 2])
        self.half.set()
        self.server.released.wait(PATIENCE)
        handler.wfile.write(content[len(content) // 2 :])

    def wants(self, name: str, userinfo: str = "", **more: object) -> None:
        source = HttpSource(self.server.url("/disk", userinfo), **more)  # type: ignore[arg-type]
        key = Key("VirtualImage", name, "image")
        action = ImportImage(HERE, POOL, source, "default_image_")
        self.tickets[name] = ticket = Ticket(key, 1, (action,))

        def run() -> None:
            self.outcomes[name] = self.executor.run(ticket)

        self._threads.append(threading.Thread(target=run, daemon=True))
        self._threads[-1].start()

    def until(self, holds: Callable[[], bool]) -> None:
        """Wait for something that another thread does."""
        ended = threading.Event()
        for _ in range(int(PATIENCE * 100)):
            if holds():
                return
            ended.wait(0.01)
        raise AssertionError("never came true")

    def wanted_by(self, count: int) -> None:
        """Wait until so many want what is on its way."""
        self.until(lambda: any(len(each.told) == count for each in self.joint._under_way.values()))

    def end(self) -> None:
        self.server.released.set()
        for thread in self._threads:
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with Faulty() as server:
        yield Bench(server, tmp_path)


def test_two_objects_with_one_address_have_one_download(bench: Bench) -> None:
    bench.wants("one")
    assert bench.half.wait(PATIENCE)
    bench.wants("two")
    bench.wanted_by(2)
    bench.end()
    for outcome in bench.outcomes.values():
        assert (outcome.done, outcome.result["digest"]) == (["ImportImage"], DIGEST)
    assert len(bench.server.requests) == 1
    assert [verb for verb, _ in bench.host.verbs].count("upload_volume") == 1
    assert list(bench.folder.iterdir()) == []
    assert {each.key.namespace for each in bench.news if each.percent == 100} == {"one", "two"}


def test_how_fast_it_comes_is_told_with_each_tenth(bench: Bench) -> None:
    bench.wants("one")
    bench.end()
    assert [each.percent for each in bench.news] == sorted(each.percent for each in bench.news)
    assert all(min(each.speed) > 0 for each in bench.news if each.percent)


@pytest.mark.parametrize(
    ("userinfo", "more"), [("me:word@", {}), ("", {"checksums": {"sha256": DIGEST}})]
)
def test_other_credentials_and_checksums_share_nothing(
    bench: Bench, userinfo: str, more: dict[str, object]
) -> None:
    bench.wants("one")
    assert bench.half.wait(PATIENCE)
    bench.half.clear()
    bench.wants("two", userinfo, **more)
    assert bench.half.wait(PATIENCE)
    bench.end()
    assert [outcome.done for outcome in bench.outcomes.values()] == [["ImportImage"]] * 2
    assert len(bench.server.requests) == 2


def test_a_later_object_asks_anew(bench: Bench) -> None:
    bench.server.released.set()
    for name in ("one", "two"):
        bench.wants(name)
        bench.end()
    assert len(bench.server.requests) == 2


def test_who_waits_goes_on_where_the_first_one_is_called_off(bench: Bench) -> None:
    bench.wants("one")
    assert bench.half.wait(PATIENCE)
    bench.wants("two")
    bench.wanted_by(2)
    bench.half.clear()
    bench.tickets["one"].called_off.set()
    assert bench.half.wait(PATIENCE)
    bench.end()
    assert bench.outcomes["one"].reason == "Cancelled"
    assert bench.outcomes["two"].result["digest"] == DIGEST
    assert bench.server.requests[1][1]["Range"].startswith("bytes=")
    assert list(bench.folder.iterdir()) == []


def test_who_waits_can_be_called_off(bench: Bench) -> None:
    bench.wants("one")
    assert bench.half.wait(PATIENCE)
    bench.wants("two")
    bench.wanted_by(2)
    bench.tickets["two"].called_off.set()
    bench.until(lambda: "two" in bench.outcomes)
    assert bench.outcomes["two"].reason == "Cancelled"
    bench.end()
    assert bench.outcomes["one"].done == ["ImportImage"]


def test_what_fails_fails_for_all_who_wait(bench: Bench) -> None:
    bench.wants("one", checksums={"sha256": "0" * 64})
    assert bench.half.wait(PATIENCE)
    bench.wants("two", checksums={"sha256": "0" * 64})
    bench.wanted_by(2)
    bench.end()
    for outcome in bench.outcomes.values():
        assert (outcome.reason, outcome.retry) == ("ChecksumMismatch", False)
    assert len(bench.server.requests) == 1
    assert list(bench.folder.iterdir()) == []
