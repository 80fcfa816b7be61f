"""A program that is spoken to through its standard streams, where every wait has an end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Sequence
from typing import IO, NoReturn

_CHUNK = 64 * 1024
_TOLD = 16 * 1024
"""Bytes of what the program says on standard error that are kept, the last ones."""
_LEAVE = 5.0
"""Seconds that a program gets to end once nothing more is wanted of it."""


class TooSlow(Exception):  # says what it is
    """Nothing came, or not all of it, in time."""


class TooMuch(Exception):  # says what it is
    """More came than there is room for."""


class Ended(Exception):  # says what it is
    """The program has ended before it had answered. `code` is its exit code, `told` what it said
    on standard error.
    """

    def __init__(self, code: int, told: str) -> None:
        super().__init__(f"exit code {code}: {told}")
        self.code, self.told = code, told


class Program:
    """One run of a program. It has no terminal, so that it cannot ask anybody anything.

    What happens to it is TooSlow, TooMuch or Ended, after which it is gone.
    """

    def __init__(self, arguments: Sequence[str | bytes], silence: float) -> None:
        """`silence`: seconds in which something must come while something is waited for. OSError if
        the program cannot be started.
        """
        self._process = subprocess.Popen(
            arguments,
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._input, self._output, self._errors = (
            _unblocked(pipe)
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr)
        )
        self._silence = silence
        self._end = float("inf")
        self._room = 0
        self._come = bytearray()
        self._told = bytearray()
        self._over = False
        """True once all that the program has to say was read."""
        self._mute = False
        """True once it can say nothing on standard error any more."""

    def allow(self, seconds: float, room: int) -> None:
        """What may still come, in all, and how long it may take."""
        self._end, self._room = time.monotonic() + seconds, room

    def read(self, amount: int) -> bytes:
        """So many bytes; fewer where the program has ended well."""
        while len(self._come) < amount and not self._over:
            self._wait()
        data = bytes(self._come[:amount])
        del self._come[:amount]
        if len(data) < amount and (code := self._left()):
            self._fail(Ended(code, self.told))
        return data

    def write(self, data: bytes) -> int:
        left = memoryview(data)
        try:
            while left:
                self._wait(self._input)
                left = left[self._input.write(left) or 0 :]  # None where the pipe is full
        except BrokenPipeError:
            while not self._over:
                self._wait()
            self._fail(Ended(self._left(), self.told))
        return len(data)

    def can_read(self) -> bool:
        """True if something has come."""
        if not self._come and not self._over:
            self._listen(0.0)
        return bool(self._come)

    @property
    def told(self) -> str:
        """What it has said on standard error, what cannot be printed aside."""
        text = self._told.decode(errors="replace")
        return "".join(sign for sign in text if sign.isprintable() or sign == "\n").strip()

    def close(self) -> None:
        """End it: it may finish what it is at."""
        self._left()
        self._drop()

    def kill(self) -> None:
        """End it now, with whatever it has started."""
        if self._process.returncode is None:  # else the number may be another program's by now
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._drop()

    def _wait(self, pipe: IO[bytes] | None = None) -> None:
        """Until something has come, or can be written to a pipe."""
        left = min(self._silence, self._end - time.monotonic())
        try:
            happened = left > 0 and self._listen(left, pipe)
        except BaseException:  # also Ctrl-C: nobody would wait for the end any more
            self.kill()
            raise
        if not happened:
            self._fail(TooSlow())

    def _listen(self, seconds: float, pipe: IO[bytes] | None = None) -> bool:
        """Keep what comes; False if nothing happens within so many seconds."""
        poll = select.poll()
        if not self._over:
            poll.register(self._output, select.POLLIN)
        if not self._mute:
            poll.register(self._errors, select.POLLIN)
        if pipe is not None:
            poll.register(pipe, select.POLLOUT)
        happened = {number for number, _ in poll.poll(seconds * 1000)}
        if self._output.fileno() in happened:
            self._answered(self._output.read(_CHUNK))
        if self._errors.fileno() in happened:
            self._said(self._errors.read(_CHUNK))
        return bool(happened)

    def _answered(self, data: bytes | None) -> None:
        self._over = data == b""
        self._come += data or b""
        self._room -= len(data or b"")
        if self._room < 0:
            self._fail(TooMuch())

    def _said(self, data: bytes | None) -> None:
        self._mute = data == b""
        self._told = (self._told + (data or b""))[-_TOLD:]

    def _left(self) -> int:
        """Wait for the end, and not for ever; the exit code."""
        self._input.close()
        try:
            code = self._process.wait(_LEAVE)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.returncode
        while not self._mute and not self._errors.closed and (data := self._errors.read(_CHUNK)):
            self._said(data)  # what is there: whoever it left behind may hold the pipe for ever
        return code

    def _fail(self, error: Exception) -> NoReturn:
        self.kill()
        raise error

    def _drop(self) -> None:
        for pipe in (self._input, self._output, self._errors):
            pipe.close()


def _unblocked(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("no pipe was asked for")
    os.set_blocking(pipe.fileno(), False)
    return pipe
