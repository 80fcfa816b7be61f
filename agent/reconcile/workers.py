"""Threads for calls that may block. They are daemons: a call that never returns must not keep the
program from ending.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable

log = logging.getLogger("gitvirt")

ANEW = 5.0
"""Seconds until something that ended by a mistake begins anew."""


class Workers:
    """At most so many threads that do one task after another, started as there is work for them.
    Whatever a task raises is logged, and ends nothing but the task.
    """

    def __init__(self, name: str, count: int) -> None:
        self._name, self._count = name, count
        self._tasks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._unfinished = 0
        """Tasks that wait or are under way."""
        self._closed = False

    def submit(self, task: Callable[[], None]) -> None:
        self._tasks.put(task)
        with self._lock:
            self._unfinished += 1
            more = len(self._threads) < min(self._unfinished, self._count)
            if more and not self._closed:
                self._start()

    def close(self) -> None:
        """Let idle threads end; one that is stuck is left to the end of the process."""
        with self._lock:
            self._closed = True
        for _ in self._threads:
            self._tasks.put(None)

    def join(self, deadline: float) -> bool:
        """Wait for the threads to end, until `time.monotonic()` says so; True if they all have."""
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(thread.is_alive() for thread in self._threads)

    def _start(self) -> None:
        name = f"{self._name}-{len(self._threads)}"
        thread = threading.Thread(target=self._work, name=name, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            try:
                task()
            except Exception:
                log.exception("a mistake in gitvirt itself, in %s", threading.current_thread().name)
            with self._lock:
                self._unfinished -= 1


def lasting(name: str, work: Callable[[], None], stop: threading.Event) -> None:
    """Have a thread do `work`, which ends once `stop` is set. What else it ends by is logged, and
    it begins anew after a moment.
    """

    def last() -> None:
        while not stop.is_set():
            try:
                work()
            except Exception:
                log.exception("a mistake in gitvirt itself, in %s: it begins anew", name)
            stop.wait(ANEW)

    threading.Thread(target=last, name=name, daemon=True).start()


class Counter:
    """Numbers that only grow, for several threads."""

    def __init__(self) -> None:
        self._value = 0
        self._lock = threading.Lock()

    def next(self) -> int:
        with self._lock:
            self._value += 1
            return self._value
