"""libvirt's event loop: one daemon thread for the whole process."""

from __future__ import annotations

import atexit
import threading

import libvirt

_lock = threading.Lock()
_stopping = threading.Event()
_thread: threading.Thread | None = None
_timer = -1
"""The only one for all drains: what libvirt-python keeps for a timer it never gives back."""
_arrived: list[threading.Event] = []
_passing: list[threading.Event] = []


def start() -> None:
    """Run the loop from now on. Must come before the first connection is opened; more calls do
    nothing.
    """
    global _thread, _timer
    with _lock:
        if _thread is not None:
            return
        # libvirt prints every error to stderr unless a handler is there; each one is raised as
        # well.
        libvirt.registerErrorHandler(_discard, None)
        libvirt.virEventRegisterDefaultImpl()
        _timer = libvirt.virEventAddTimeout(-1, _pass, None)
        _thread = threading.Thread(target=_run, name="libvirt-events", daemon=True)
        _thread.start()
        atexit.register(_stop)


def drain(timeout: float = 1.0) -> None:
    """Return once all events that had been received before this call are delivered (at latest after
    `timeout` s).
    """
    if _thread is None or threading.current_thread() is _thread:
        return
    passed = threading.Event()
    with _lock:
        _arrived.append(passed)
    libvirt.virEventUpdateTimeout(_timer, 0)
    passed.wait(timeout)


def _run() -> None:
    while not _stopping.is_set():
        try:
            libvirt.virEventRunDefaultImpl()
        except libvirt.libvirtError:  # a failed poll: the next round tries again
            _stopping.wait(0.1)


def _pass(timer: int, _: object) -> None:
    """Let those go that have seen a whole round. This timer comes first in a round, and those that
    deliver events come after it.
    """
    global _arrived, _passing
    libvirt.virEventUpdateTimeout(timer, -1)
    with _lock:
        passed, _passing, _arrived = _passing, _arrived, []
    for waiting in passed:
        waiting.set()
    if _passing:
        libvirt.virEventUpdateTimeout(timer, 0)


def _stop() -> None:
    _stopping.set()
    drain(0.5)  # a timer wakes the loop, which then sees the flag
    if _thread is not None:
        _thread.join(0.5)


def _discard(_context: object, _error: object) -> None:
    pass
