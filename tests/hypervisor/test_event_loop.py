from __future__ import annotations

import threading
import weakref

import pytest

from agent.hypervisor import event_loop


def test_a_drain_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    event_loop.start()
    made: list[weakref.ref[threading.Event]] = []

    class Event(threading.Event):
        def __init__(self) -> None:
            super().__init__()
            made.append(weakref.ref(self))

    monkeypatch.setattr(threading, "Event", Event)
    for _ in range(10):
        event_loop.drain(60)
    monkeypatch.undo()
    event_loop.drain(60)  # the thread has let go of the last one
    assert len(made) >= 10
    assert [each() for each in made] == [None] * len(made)


def test_drains_of_several_threads_all_end() -> None:
    event_loop.start()
    ended = []

    def drain() -> None:
        for _ in range(50):
            event_loop.drain(60)
        ended.append(True)

    threads = [threading.Thread(target=drain) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(60)
    assert len(ended) == 4
