"""A person, or a pipe, at the console of a guest."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import threading
from collections.abc import Callable
from typing import Protocol

from agent.access.sequences import Filter, words
from agent.access.terminal import ESCAPE, raw, signals
from agent.core.host import HostError

TAIL = 4096
"""Bytes of the log that whoever comes is shown."""
MISSED = 1 << 20
"""Bytes of the log that whoever stays is shown of what came while the console was away."""
AGAIN = 1.0
"""Seconds between two looks for a machine that has gone."""
PARTING = 2.0
"""Seconds that are left to give the console back."""
HANDING = 1.0
"""Seconds that are left for what was typed last to reach the guest."""
_KEYS = 4096
_WAITING = 256


class Line(Protocol):
    """An open console. Everything may raise HostError."""

    def recv(self) -> bytes:
        """What the guest says; empty once the instance has ended."""

    def send(self, data: bytes) -> None:
        """Type it."""

    def log(self, since: int, longest: int) -> tuple[bytes, int]:
        """The console's log from there on, at most the last so many bytes, and its length."""

    def close(self) -> None:
        """Give the console back; wakes whoever reads."""


Again = Callable[[], Line | None]
"""A new line in the place of one that has ended: None while there is none yet. What it raises, but
for a HostError that says to try again, ends all.
"""


class Carrier:
    """Shows what one line after the other says, and between them what the log kept meanwhile.
    Libvirt is waited for in `run` and `type`, each of which has a thread of its own.
    """

    def __init__(
        self,
        line: Line | None,
        again: Again,
        say: Callable[[str], None],
        show: Callable[[bytes], None],
        *,
        away: str,
        terminal: bool,
    ) -> None:
        """Without a line one is waited for. `say` tells the person something beside what the guest
        says, which `show` shows: that the machine is `away`, for one. A `terminal` gets nothing
        that reaches further than it.
        """
        self._again, self._say, self._show = again, say, show
        self._away = away
        self._filter = Filter() if terminal else None
        self._lock = threading.Lock()
        self._line = line
        self._over = threading.Event()

    def run(self) -> None:
        """Until `part`; raises what ends it else."""
        since, longest = 0, TAIL
        line = self._line or self._wait()
        while line is not None:
            said, length = line.log(since, longest)
            self._show(said if self._filter is None else words(said))
            since, longest = length + self._until_it_ends(line), MISSED
            self._release()
            line = self._wait()

    def type(self, data: bytes) -> None:
        """Lost where no line is open."""
        line = self._line
        if line is not None:
            with contextlib.suppress(HostError):  # whoever reads is told the same
                line.send(data)

    @property
    def over(self) -> bool:
        return self._over.is_set()

    def part(self) -> None:
        """Give the console back, which wakes whoever reads it."""
        with self._lock:
            self._over.set()
        self._release()

    def _release(self) -> None:
        """Close the line that is open: done once, whoever comes first."""
        with self._lock:
            line, self._line = self._line, None
        if line is not None:
            line.close()

    def _until_it_ends(self, line: Line) -> int:
        """The number of bytes that came."""
        count = 0
        try:
            while data := line.recv():
                count += len(data)
                self._show(data if self._filter is None else self._filter.feed(data))
        except HostError as error:
            if not error.retry and not self._over.is_set():
                raise
        return count

    def _wait(self) -> Line | None:
        """The next line; None once it is over."""
        if not self._over.is_set():
            self._say(self._away)
        while not self._over.wait(AGAIN):
            try:
                line = self._again()
            except HostError as error:
                if not error.retry:
                    raise
                line = None
            if line is not None and self._take(line):
                self._say("it is there again")
                return line
        return None

    def _take(self, line: Line) -> bool:
        """False if it came too late: nobody would close it any more."""
        with self._lock:
            late = self._over.is_set()
            self._line = None if late else line
        if late:
            line.close()
        return not late


class Session:
    """From the first line to Ctrl+] in the input, or to its own end. `say` tells the person
    something beside what the guest says.
    """

    def __init__(self, again: Again, say: Callable[[str], None], keys: int, output: int) -> None:
        self._again, self._say = again, say
        self._keys, self._output = keys, output
        self._terminal = os.isatty(keys)
        self._typed: queue.Queue[bytes] = queue.Queue(_WAITING)
        self._handed = threading.Event()
        self._failure: BaseException | None = None
        self._woken, self._wake = os.pipe()

    def run(self, line: Line, name: str, greet: Callable[[], None] = lambda: None) -> None:
        """Until the person leaves; raises what ended it else. Libvirt is waited for by threads
        alone: whatever it does, keys and signals are heard, and the terminal is put back. `greet`
        comes first, once whoever hears it may end it all by a signal.
        """
        carrier = Carrier(
            line,
            self._again,
            self._say,
            self._show,
            away=f"{name} is off, or out of reach; waiting for it. Ctrl+] leaves",
            terminal=os.isatty(self._output),
        )
        with signals() as came:
            try:
                greet()
                with raw(self._keys) if self._terminal else contextlib.nullcontext():
                    for work in (self._carry, self._type):
                        threading.Thread(target=work, args=(carrier,), daemon=True).start()
                    self._listen(came)
                    self._hand_over()
            finally:
                parting = threading.Thread(target=carrier.part, daemon=True)
                parting.start()
                parting.join(PARTING)
        if self._failure is not None:
            raise self._failure

    def _listen(self, signalled: int) -> None:
        """Take keys until Ctrl+], or until there is nothing to type them to."""
        sources = [self._keys, self._woken, signalled]
        while True:
            ready, _, _ = select.select(sources, (), ())
            if self._woken in ready:
                return
            if signalled in ready:  # its handler has run, and asks for no end
                os.read(signalled, _KEYS)
                continue
            try:
                data = os.read(self._keys, _KEYS)
            except OSError:  # the window is gone
                data = b""
            if not data and self._terminal:
                return
            if not data:  # what a pipe had to type is typed; the guest's answers go on
                sources.remove(self._keys)
                continue
            before, leave, _ = data.partition(ESCAPE) if self._terminal else (data, b"", b"")
            # a person's keys are lost where nobody takes them, and Ctrl+] is heard all the same
            with contextlib.suppress(queue.Full):
                self._typed.put(before, block=not self._terminal)
            if leave:
                return

    def _hand_over(self) -> None:
        """What was typed before one leaves is the guest's, if it takes it."""
        with contextlib.suppress(queue.Full):
            self._typed.put_nowait(b"")
            self._handed.wait(HANDING)

    def _type(self, carrier: Carrier) -> None:
        while not carrier.over:
            data = self._typed.get()
            if data:
                carrier.type(data)
            else:  # all that came before has been typed
                self._handed.set()

    def _carry(self, carrier: Carrier) -> None:
        try:
            carrier.run()
        except Exception as error:  # noqa: BLE001  # the main thread raises it
            self._failure = error
        finally:
            os.write(self._wake, b"x")

    def _show(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._output, view) :]
