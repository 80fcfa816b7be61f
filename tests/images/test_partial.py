"""A download goes on where an earlier agent was killed or ended, and only with the same file."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.core.image_sources import HttpSource
from agent.images import partial
from agent.images.download import Downloaded, download
from agent.images.errors import CancelledError
from agent.images.partial import KEPT, sweep
from tests.images.conftest import LIMIT, LOOPBACK, MIB, QUICK, never, nothing_left
from tests.images.server import Faulty, ranged, serve, stops_at

CONTENT = random.Random(3).randbytes(3 * MIB)
OTHER = random.Random(4).randbytes(3 * MIB)


def get(
    server: Faulty,
    spool: Path,
    progress: Callable[[int], None] = lambda done: None,
    cancelled: Callable[[], bool] = never,
    ending: bool = False,
    checksums: dict[str, str] | None = None,
) -> Downloaded:
    return download(
        HttpSource(server.url("/disk"), checksums or {}),
        spool,
        progress=lambda done, _total: progress(done),
        cancelled=cancelled,
        limit=LIMIT,
        reach=LOOPBACK,
        patience=QUICK,
        ending=lambda: ending,
    )


@pytest.fixture
def killed(server: Faulty, spool: Path, tmp_path: Path) -> Path:
    """A spool as an agent leaves it that is killed in the middle of a download."""
    server.routes["/disk"] = ranged(CONTENT, len(CONTENT))
    left = tmp_path / "left"

    def look(done: int) -> None:
        if done > MIB and not left.exists():
            shutil.copytree(spool, left)

    get(server, spool, look)
    server.requests.clear()
    sweep(left)
    return left


def ranges(server: Faulty) -> list[str]:
    return [headers.get("Range", "") for _, headers in server.requests]


def test_a_download_goes_on_where_its_agent_was_killed(server: Faulty, killed: Path) -> None:
    got = get(server, killed)
    assert got.path.read_bytes() == CONTENT
    assert [path.name for path in killed.iterdir()] == [got.path.name]
    (asked,) = ranges(server)
    assert int(asked.removeprefix("bytes=").removesuffix("-")) > MIB


def test_another_file_at_its_address_is_fetched_from_the_start(
    server: Faulty, killed: Path
) -> None:
    server.routes["/disk"] = ranged(OTHER, len(OTHER))
    assert get(server, killed).path.read_bytes() == OTHER
    assert len(server.requests) == 1


def test_another_size_is_another_file_whatever_the_server_says(
    server: Faulty, killed: Path
) -> None:
    (said,) = killed.glob("*.json")
    etag = said.read_text().split('"validator": "')[1].split('", "')[0].replace("\\", "")
    server.routes["/disk"] = ranged(OTHER + b"x", len(OTHER) + 1, etag)
    assert get(server, killed).path.read_bytes() == OTHER + b"x"
    assert ranges(server)[1] == ""


def test_other_credentials_or_checksums_begin_a_file_of_their_own(
    server: Faulty, killed: Path
) -> None:
    with pytest.raises(Exception, match="sha256 is"):
        get(server, killed, checksums={"sha256": "0" * 64})
    assert ranges(server) == [""]


def test_nothing_is_trusted_after_a_crash_of_the_machine(
    server: Faulty, killed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boot = tmp_path / "boot"
    boot.write_text("another")
    monkeypatch.setattr(partial, "_BOOT", boot)
    assert get(server, killed).path.read_bytes() == CONTENT
    assert ranges(server) == [""]
    sweep(killed)
    assert [path for path in killed.iterdir() if "part" in path.name] == []


@pytest.mark.parametrize("what", ["", "{", "[]", '{"validator": 1}'])
def test_what_cannot_be_read_is_fetched_from_the_start(
    server: Faulty, killed: Path, what: str
) -> None:
    (said,) = killed.glob("*.json")
    said.write_text(what)
    assert get(server, killed).path.read_bytes() == CONTENT
    assert ranges(server) == [""]


def test_a_file_that_came_whole_is_not_fetched_once_more(
    server: Faulty, spool: Path, tmp_path: Path
) -> None:
    server.routes["/disk"] = ranged(CONTENT, len(CONTENT))
    left = tmp_path / "left"

    def look(done: int) -> None:
        if done == len(CONTENT):
            shutil.copytree(spool, left)

    get(server, spool, look)
    server.requests.clear()
    assert get(server, left).path.read_bytes() == CONTENT
    assert ranges(server) == [f"bytes={len(CONTENT) - 1}-"]


@pytest.mark.parametrize("ending", [True, False])
def test_what_has_come_stays_only_where_the_agent_ends(
    server: Faulty, spool: Path, ending: bool
) -> None:
    server.routes["/disk"] = ranged(CONTENT, len(CONTENT))
    come = [0]
    with pytest.raises(CancelledError):
        get(
            server,
            spool,
            lambda done: come.__setitem__(0, done),
            lambda: come[0] > MIB,
            ending=ending,
        )
    assert nothing_left(spool) is not ending
    get(server, spool)
    assert (ranges(server)[1] != "") is ending


def test_what_a_server_cannot_go_on_with_is_not_kept(
    server: Faulty, spool: Path, tmp_path: Path
) -> None:
    server.routes["/disk"] = stops_at(CONTENT, len(CONTENT))
    left = tmp_path / "left"

    def look(done: int) -> None:
        if done > MIB and not left.exists():
            shutil.copytree(spool, left)

    try:
        get(server, spool, look)
    finally:
        sweep(left)
    assert nothing_left(left)


def test_what_nobody_goes_on_with_is_removed_in_the_end(server: Faulty, killed: Path) -> None:
    for path in killed.iterdir():
        at = path.stat().st_mtime - KEPT - 1
        os.utime(path, (at, at))
    server.routes["/disk"] = serve(OTHER)
    assert get(server, killed).path.read_bytes() == OTHER
    assert ranges(server) == [""]
    sweep(killed)
    assert [path for path in killed.iterdir() if "part" in path.name] == []
