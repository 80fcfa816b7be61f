"""The agent's life: wake-ups, passes, signals, the end."""

from __future__ import annotations

import ctypes
import gc
import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from types import FrameType

from agent.reconcile.reconciler import Reconciler
from agent.reconcile.summary import Summary

log = logging.getLogger("gitvirt")


TRIM_EVERY = 60.0
LULL = 1.0
"""Seconds without a pass in which memory is given back."""
_MOST_ARENAS = (-8, 2)
"""glibc's M_ARENA_MAX: what is free in one thread's arena is of no use to another thread."""


def keep_survivors(phase: str, info: Mapping[str, int]) -> None:
    """For `gc.callbacks`: what has survived a full collection is there to stay. With thousands of
    objects in force, looking at all of them again would stop a pass for half a second.
    """
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()


class _Allocator:
    """The C library's allocator, where it can be told how to go easy on memory (glibc)."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._trim = getattr(library, "malloc_trim", lambda _: 0)
        getattr(library, "mallopt", lambda *_: 0)(*_MOST_ARENAS)
        self._trimmed_at = time.monotonic()

    def give_back(self) -> None:
        """Give free memory back to the system, now and then: parsing leaves much of it."""
        now = time.monotonic()
        if now >= self._trimmed_at + TRIM_EVERY:
            self._trim(0)
            self._trimmed_at = now


class Loop:
    """Runs passes when there is a reason to."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self.stop = threading.Event()
        self._allocator = _Allocator()
        if keep_survivors not in gc.callbacks:
            gc.callbacks.append(keep_survivors)

    def wake(self) -> None:
        """Have a pass run now. From any thread."""
        self._woken.set()

    def end(self) -> None:
        self.stop.set()
        self._woken.set()

    def handle_signals(self, reload: Callable[[], None]) -> None:
        """SIGINT and SIGTERM end the loop, SIGHUP has Git looked at."""

        def end(number: int, _: FrameType | None) -> None:
            log.info("%s: stopping", signal.Signals(number).name)
            self.end()

        signal.signal(signal.SIGINT, end)
        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGHUP, lambda *_: reload())

    def run(self, reconciler: Reconciler) -> None:
        """Pass after pass until the end."""
        while not self.stop.is_set():
            self._woken.clear()
            wait = reconciler.run()
            if not self._woken.wait(min(wait, LULL)) and wait > LULL:
                self._allocator.give_back()
                self._woken.wait(wait - LULL)

    def run_once(self, reconciler: Reconciler, timeout: float) -> Summary:
        """Pass after pass until nothing is left to do, or until the time is over."""
        deadline = time.monotonic() + timeout
        while not self.stop.is_set():
            self._woken.clear()
            wait = reconciler.run()
            summary = reconciler.summary()
            left = deadline - time.monotonic()
            if summary.settled or left <= 0:
                return summary
            self._woken.wait(min(wait, left))
        return reconciler.summary()
