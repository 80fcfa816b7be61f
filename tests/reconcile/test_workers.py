"""Work beside the pass: whatever it raises is told, and ends nothing else."""

from __future__ import annotations

import logging
import threading

import pytest

from agent.reconcile.news import reported
from agent.reconcile.workers import Workers


def broken() -> object:
    raise ZeroDivisionError("hunter2")


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


def test_what_nobody_foresaw_is_news_too(caplog: pytest.LogCaptureFixture) -> None:
    posted: list[object] = []
    reported(posted.append, broken, str.upper)()
    (message,) = posted
    assert "ZERODIVISIONERROR" in str(message)
    assert "HUNTER2" not in str(message)
    assert caplog.records[0].exc_info is not None
