"""Calls that nobody can cancel."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from agent.core.host import HostError
from agent.hypervisor.calls import Calls


class Gate:
    """A call that waits until it is let go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self._open = threading.Event()

    def __call__(self) -> str:
        self.entered.set()
        self._open.wait()
        return "through"

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


def reason(calls: Calls, gate: Gate, lane: str | None = None) -> str:
    with pytest.raises(HostError) as raised:
        calls.run("do it", gate, 0.01, lane)
    return raised.value.reason


def test_a_call_gives_its_result() -> None:
    assert Calls().run("add", lambda: 1 + 1, 10) == 2


def test_a_call_raises_in_the_callers_thread() -> None:
    class Killed(BaseException):
        pass

    def die() -> None:
        raise Killed

    with pytest.raises(Killed):
        Calls().run("die", die, 10)


def test_a_late_call_is_left_behind_and_counted_until_it_ends(gate: Gate) -> None:
    calls = Calls()
    assert reason(calls, gate, "lane") == "Timeout"
    assert calls.abandoned == 1
    gate.open()
    assert calls.run("go on", lambda: "next", 10) == "next"
    while calls.abandoned:
        gate.entered.wait()
    assert calls.run("go on", lambda: "next", 10, "lane") == "next"


def test_after_a_late_call_its_lane_refuses_at_once_and_others_do_not(gate: Gate) -> None:
    calls = Calls()
    reason(calls, gate, "stuck")
    with pytest.raises(HostError) as raised:
        calls.run("try again", lambda: None, 3600, "stuck")
    assert raised.value.reason == "NotResponding"
    assert calls.run("go on", lambda: "well", 10, "other") == "well"
    assert calls.run("go on", lambda: "well", 10) == "well"


def test_calls_of_one_lane_follow_each_other(gate: Gate) -> None:
    calls = Calls()
    order: list[str] = []

    def first() -> None:
        gate()
        order.append("first")

    thread = threading.Thread(target=calls.run, args=("lead", first, 60, "lane"))
    thread.start()
    gate.entered.wait()
    with pytest.raises(HostError) as raised:
        calls.run("push in", lambda: order.append("too early"), 0.01, "lane")
    assert raised.value.reason == "Busy"
    gate.open()
    calls.run("follow", lambda: order.append("second"), 60, "lane")
    thread.join()
    assert order == ["first", "second"]


def test_too_many_late_calls_stop_everything(gate: Gate) -> None:
    calls = Calls(limit=2)
    assert [reason(calls, gate) for _ in range(3)] == ["Timeout", "Timeout", "TooManyHungCalls"]


def test_progress_starts_the_deadline_again() -> None:
    calls = Calls()
    looks = iter(range(1000))
    gate = Gate()

    def progress() -> int:
        step = next(looks)
        if step == 5:
            gate.open()
        return step

    assert calls.run("crawl", gate, 0.01, progress=progress) == "through"


def test_a_call_for_which_there_is_no_thread_holds_no_lane(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    calls = Calls()
    gate.open()
    monkeypatch.setattr(threading.Thread, "start", full)
    assert reason(calls, gate, "lane") == "TooManyThreads"
    monkeypatch.undo()
    assert calls.run("do it", gate, 60, "lane") == "through"
