"""The user's terminal while a guest's console has it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from types import FrameType
from typing import Any

ESCAPE = b"\x1d"
"""Ctrl+]."""
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_AS_BEFORE = (
    b"\x1b[!p"  # what a program may have set: wrapping, insert mode, the cursor's shape
    b"\x1b[?1000;1002;1003;1004;1005;1006;1015;2004;1l"  # mouse, focus, pasting, cursor keys
    b"\x1b[?1049l\x1b[?25h\x1b[0m\x1b(B\x0f"  # screen, cursor, colours, letters
)


class Ended(BaseException):
    """A signal asks the program to end; nothing but the outermost caller stops it."""

    def __init__(self, number: int) -> None:
        super().__init__(f"signal {number}")
        self.code = 128 + number


@contextlib.contextmanager
def signals() -> Iterator[int]:
    """Let what would end the program at once raise Ended in its place, so that what was changed is
    put back. Python sees a signal only between two steps: one that comes right before a wait would
    be seen after it. So whoever waits takes in what is yielded: it can be read once one came.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        raise Ended(number)

    came, tell = os.pipe()
    os.set_blocking(tell, False)
    told = signal.set_wakeup_fd(tell, warn_on_full_buffer=False)
    before = {number: signal.signal(number, end) for number in _ENDING}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(told, warn_on_full_buffer=False)
        os.close(tell)
        os.close(came)


@contextlib.contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Every key goes to the guest, Ctrl-C among them. Afterwards the terminal is as it was, however
    this ends: what the guest has it answer last is thrown away, for a shell would read it.
    """
    before = termios.tcgetattr(descriptor)

    def suspend(_number: int, _frame: FrameType | None) -> None:
        """Somebody else stops the program: as `kill -TSTP` does."""
        termios.tcsetattr(descriptor, termios.TCSANOW, before)
        os.kill(os.getpid(), signal.SIGSTOP)
        tty.setraw(descriptor, termios.TCSANOW)

    handler: Any = signal.signal(signal.SIGTSTP, suspend)
    try:
        # at once: what was typed before is meant for the guest, too
        tty.setraw(descriptor, termios.TCSANOW)
        yield
    finally:
        signal.signal(signal.SIGTSTP, handler)
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), _AS_BEFORE)
        with contextlib.suppress(termios.error):  # the window may be gone
            termios.tcsetattr(descriptor, termios.TCSAFLUSH, before)
