"""Work beside the pass: whatever it raises is told, and ends nothing else."""

from __future__ import annotations

import logging
import threading
import time

import pytest

from agent.reconcile import workers as beside
from agent.reconcile.news import reported
from agent.reconcile.workers import Workers


def broken() -> object:
    raise ZeroDivisionError("hunter2")


@pytest.mark.mistakes
def test_a_worker_outlives_its_task(caplog: pytest.LogCaptureFixture) -> None:
    workers = Workers("plans", 1)
    reached = threading.Event()
    workers.submit(lambda: 1 / 0)  # type: ignore[arg-type]
    workers.submit(reached.set)
    assert reached.wait(10)
    workers.close()
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert "plans-0" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is ZeroDivisionError


def test_news_are_posted() -> None:
    posted: list[object] = []
    reported(posted.append, lambda: "news", str)()
    reported(posted.append, lambda: None, str)()
    assert posted == ["news"]


@pytest.mark.mistakes
def test_what_nobody_foresaw_is_news_too(caplog: pytest.LogCaptureFixture) -> None:
    posted: list[object] = []
    reported(posted.append, broken, str.upper)()
    (message,) = posted
    assert "ZERODIVISIONERROR" in str(message)
    assert "HUNTER2" not in str(message)
    assert caplog.records[0].exc_info is not None


def test_threads_begin_as_there_is_work_for_them() -> None:
    workers = Workers("reads", 2)
    assert not [each for each in threading.enumerate() if each.name.startswith("reads")]
    reached, go_on = threading.Barrier(3), threading.Event()

    def hang() -> None:
        reached.wait(10)
        go_on.wait(10)

    for _ in range(2):
        workers.submit(hang)
    reached.wait(10)  # both are under way at once
    done = threading.Event()
    workers.submit(done.set)
    names = sorted(each.name for each in threading.enumerate() if each.name.startswith("reads"))
    assert names == ["reads-0", "reads-1"]  # and there is no third
    go_on.set()
    assert done.wait(10)
    workers.close()
    assert workers.join(time.monotonic() + 10)


def test_a_lane_that_is_closed_begins_nothing() -> None:
    workers = Workers("reads", 1)
    workers.close()
    done = threading.Event()
    workers.submit(done.set)
    assert workers.join(time.monotonic() + 10)
    assert not done.is_set()


@pytest.mark.mistakes
def test_what_ends_by_a_mistake_begins_anew(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(beside, "ANEW", 0.0)
    stop, begun = threading.Event(), list[int]()
    ended = threading.Event()

    def work() -> None:
        begun.append(1)
        if len(begun) < 3:
            raise ZeroDivisionError
        stop.set()
        ended.set()

    beside.lasting("watch", work, stop)
    assert ended.wait(10)
    assert begun == [1, 1, 1]
    assert [record.exc_info is not None for record in caplog.records] == [True, True]
