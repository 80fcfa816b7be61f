"""News of a local repository by events, also after its folder went and came back."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from agent.gitrepo import watch as watch_module
from agent.gitrepo.local import LocalRepository
from agent.gitrepo.watch import watch
from tests.gitrepo.git import bare, git, put

MAIN = "refs/heads/main"
PATIENCE = 20.0
QUIET = 0.5


class News:
    """What a watching thread has reported."""

    def __init__(self, path: Path) -> None:
        self.woken = threading.Event()
        self.stop = threading.Event()
        self.repository = LocalRepository(path)
        self.thread = threading.Thread(
            target=watch, args=(self.repository.watch_paths(), self.woken.set, self.stop)
        )
        self.thread.start()
        assert self.comes(), "the watch wakes once at the start"

    def comes(self) -> bool:
        """True once there is news."""
        found = self.woken.wait(PATIENCE)
        self.woken.clear()
        return found

    def reports(self, move: Callable[[], object]) -> bool:
        """True once a move is reported; moved again as long as the watch was not in place yet."""
        for _ in range(20):
            self.quiet()
            move()
            if self.woken.wait(1.0):
                return True
        return False

    def quiet(self) -> None:
        """Wait until nothing more is reported, for longer than it takes to look without an event."""
        while self.woken.wait(QUIET):
            self.woken.clear()

    def close(self) -> None:
        self.stop.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()
        self.repository.close()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "_LOOK", 200)


@pytest.fixture
def events_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is found by looking within the time of a test."""
    monkeypatch.setattr(watch_module, "_LOOK", 600_000)


@pytest.fixture
def news(root: Path) -> Iterator[News]:
    watching = News(root)
    yield watching
    watching.close()


@pytest.mark.usefixtures("events_only")
def test_each_way_to_move_a_ref_is_news(root: Path, news: News) -> None:
    first = put(root, {"a": "1"})
    branch = "refs/heads/new/folder/branch"
    assert news.reports(lambda: put(root, {"a": "2"}))
    assert news.reports(lambda: put(root, {"a": "3"}, branch))
    assert news.reports(lambda: put(root, {"a": "4"}, branch))
    assert news.reports(lambda: git(root, "update-ref", MAIN, first))
    assert news.reports(lambda: put(root, {"a": "5"}, "refs/gitvirt/agent"))
    assert news.reports(lambda: git(root, "pack-refs", "--all"))
    assert news.reports(lambda: git(root, "update-ref", "-d", branch))


@pytest.mark.usefixtures("looks")
def test_objects_and_tags_are_no_news(root: Path, news: News) -> None:
    commit = put(root, {"a": "1"})
    assert news.reports(lambda: put(root, {"a": "2"}))
    news.quiet()
    for number in range(50):
        git(root, "hash-object", "-w", "--stdin", stdin=b"%d" % number)
    git(root, "tag", "v1", commit)
    assert not news.woken.wait(QUIET)


@pytest.mark.usefixtures("looks")
def test_a_repository_that_goes_and_comes_back(root: Path, news: News) -> None:
    put(root, {"a": "1"})
    assert news.comes()
    news.quiet()
    shutil.rmtree(root.parent)
    assert news.comes()
    news.quiet()
    bare(root)
    put(root, {"a": "2"})
    assert news.comes()
    news.quiet()
    put(root, {"a": "3"})
    assert news.comes()


@pytest.mark.usefixtures("looks")
def test_a_clone_that_is_not_there_yet(tmp_path: Path, root: Path) -> None:
    put(root, {"a": "1"})
    clone = tmp_path / "deep" / "clone"
    watching = News(clone)
    try:
        clone.parent.mkdir()
        git(tmp_path, "clone", "-q", str(root), str(clone))
        assert watching.comes()
        watching.quiet()
        git(clone, "update-ref", "refs/heads/side", MAIN)
        assert watching.comes()
    finally:
        watching.close()


def test_stops_at_once_when_there_is_nothing_to_watch() -> None:
    woken = threading.Event()
    watch((), woken.set, threading.Event())
    assert not woken.is_set()
