"""A session on lines that the test holds; real ones are tried in tests/e2e."""

from __future__ import annotations

import os
import pty
import queue
import signal
import termios
import threading
from collections.abc import Callable, Iterator

import pytest

from agent.access import console
from agent.access.console import Carrier, Line, Session
from agent.access.terminal import Ended
from agent.core.host import HostError

LEAVE = b"\x1d"


class Script:
    """A line that says what the test puts into it: bytes, an error, or b"" for its end."""

    def __init__(self, *said: bytes | HostError, log: bytes = b"") -> None:
        self.says: queue.SimpleQueue[bytes | HostError] = queue.SimpleQueue()
        for each in said:
            self.says.put(each)
        self.typed: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.kept = log
        self.asked: list[tuple[int, int]] = []
        self.closed = threading.Event()

    def recv(self) -> bytes:
        said = self.says.get()
        if isinstance(said, HostError):
            raise said
        return said

    def send(self, data: bytes) -> None:
        self.typed.put(data)

    def log(self, since: int, longest: int) -> tuple[bytes, int]:
        self.asked.append((since, longest))
        return self.kept[since:][-longest:], len(self.kept)

    def close(self) -> None:
        self.closed.set()


class Desk:
    """A terminal, or pipes, with a session at it."""

    def __init__(self, *, terminal: bool = True) -> None:
        if terminal:
            self.ours, self.theirs = pty.openpty()
            self.keys, self.read, self.output = self.theirs, self.ours, self.theirs
            self.modes = termios.tcgetattr(self.theirs)
        else:
            self.theirs, self.ours = os.pipe()
            self.read, self.output = os.pipe()
            self.keys = self.theirs
        self.said: list[str] = []
        self.lines: list[Line | HostError | None] = []

    def again(self) -> Line | None:
        found = self.lines.pop(0) if self.lines else None
        if isinstance(found, HostError):
            raise found
        return found

    def run(self, line: Script, meanwhile: Callable[[], object]) -> None:
        """The session, with somebody at work beside it."""
        thread = threading.Thread(target=meanwhile)
        thread.start()
        try:
            Session(self.again, self.said.append, self.keys, self.output).run(line, "vm")
        finally:
            thread.join()

    def type(self, keys: bytes) -> None:
        os.write(self.ours, keys)

    def until(self, wanted: bytes) -> bytes:
        """What is on the screen up to these words."""
        seen = b""
        while wanted not in seen:
            seen += os.read(self.read, 4096)
        return seen

    def close(self) -> None:
        for each in {self.ours, self.theirs, self.read, self.output}:
            os.close(each)


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(console, "AGAIN", 0.01)
    monkeypatch.setattr(console, "PARTING", 0.2)
    made = Desk()
    yield made
    made.close()


@pytest.fixture
def pipes() -> Iterator[Desk]:
    made = Desk(terminal=False)
    yield made
    made.close()


def test_keys_go_to_the_guest_until_one_leaves(desk: Desk) -> None:
    line = Script(b"login: ")

    def person() -> None:
        desk.until(b"login: ")
        assert termios.tcgetattr(desk.theirs) != desk.modes
        desk.type(b"me\x03\x04" + LEAVE + b"not for the guest")

    desk.run(line, person)
    assert line.typed.get(timeout=60) == b"me\x03\x04"
    assert line.closed.wait(60)
    assert termios.tcgetattr(desk.theirs) == desk.modes
    assert desk.said == []


def test_what_is_typed_before_one_leaves_reaches_a_guest_that_is_slow(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "HANDING", 60.0)
    line = Script(b"login: ")
    begun, goes_on = threading.Event(), threading.Event()

    def send(data: bytes) -> None:
        begun.set()
        goes_on.wait(60)
        line.typed.put(data)

    line.send = send  # type: ignore[method-assign]

    def person() -> None:
        desk.until(b"login: ")
        desk.type(b"ha")
        begun.wait(60)
        desk.type(b"lt\r" + LEAVE)
        line.closed.wait(0.3)  # which it must not be yet
        goes_on.set()

    desk.run(line, person)
    assert [line.typed.get(timeout=60) for _ in range(2)] == [b"ha", b"lt\r"]


def test_the_logs_tail_comes_first_and_is_bare_text(desk: Desk) -> None:
    line = Script(b"live", log=b"x" * 9000 + b"\x1b[6n\x1b]0;t\x07said before\r\n")

    def person() -> None:
        seen = desk.until(b"live")
        assert b"said before\r\nlive" in seen
        assert b"\x1b" not in seen
        desk.type(LEAVE)

    desk.run(line, person)
    assert line.asked == [(0, console.TAIL)]


def test_one_leaves_whatever_libvirt_does(desk: Desk) -> None:
    """It answers nothing any more, neither to what reads nor to what closes."""
    line = Script()
    hangs = threading.Event()
    line.close = lambda: bool(hangs.wait(60))  # type: ignore[method-assign,assignment]
    desk.run(line, lambda: desk.type(LEAVE))
    assert termios.tcgetattr(desk.theirs) == desk.modes
    hangs.set()


def test_a_line_that_ends_is_opened_anew_and_nothing_said_meanwhile_is_lost(desk: Desk) -> None:
    first = Script(b"12345", b"", log=b"tail")
    second = Script(b"live", log=b"tail12345missed")
    desk.lines = [None, HostError("HostUnreachable", "no"), second]

    def person() -> None:
        assert desk.until(b"live").endswith(b"tail12345missedlive")
        desk.type(LEAVE)

    desk.run(first, person)
    assert second.asked == [(9, console.MISSED)]
    assert desk.said == [
        "vm is off, or out of reach; waiting for it. Ctrl+] leaves",
        "it is there again",
    ]
    assert first.closed.is_set()


def test_a_connection_that_is_lost_is_waited_for_and_left_like_any_other(desk: Desk) -> None:
    line = Script(HostError("HostUnreachable", "gone"))

    def person() -> None:
        assert line.closed.wait(60)
        desk.type(LEAVE)

    desk.run(line, person)
    assert len(desk.said) == 1


@pytest.mark.parametrize("later", [False, True])
def test_what_is_for_good_ends_it_and_the_terminal_is_put_back(desk: Desk, later: bool) -> None:
    taken = HostError("ConsoleTaken", "taken over", retry=False)
    line = Script(b"" if later else taken)
    desk.lines = [taken]
    with pytest.raises(HostError, match="taken over"):
        desk.run(line, lambda: None)
    assert termios.tcgetattr(desk.theirs) == desk.modes


def test_what_reaches_further_than_the_screen_is_kept_from_a_terminal(desk: Desk) -> None:
    def person() -> None:
        assert desk.until(b"end").endswith(b"\x1b[1mbold\x18end")
        desk.type(LEAVE)

    desk.run(Script(b"\x1b[1mbold\x1b]52;c;", b"cm0=\x07end"), person)


def test_a_pipe_gets_every_byte_and_its_end_is_not_the_guests(pipes: Desk) -> None:
    line = Script(log=b"\x1b[6n")

    def program() -> None:
        pipes.type(b"a" + LEAVE + b"b")
        os.close(pipes.ours)
        assert line.typed.get() == b"a" + LEAVE + b"b"
        line.says.put(b"\x1b]0;t\x07answer")
        assert pipes.until(b"answer") == b"\x1b[6n\x1b]0;t\x07answer"
        line.says.put(HostError("ConsoleTaken", "taken over", retry=False))

    with pytest.raises(HostError, match="taken over"):
        pipes.run(line, program)
    pipes.ours = pipes.theirs


def test_who_reads_no_more_ends_it(pipes: Desk) -> None:
    os.close(pipes.read)
    pipes.read = pipes.output
    with pytest.raises(BrokenPipeError):
        pipes.run(Script(b"nobody reads this"), lambda: None)


def test_a_signal_that_comes_with_the_greeting_gives_the_console_back(desk: Desk) -> None:
    line = Script()

    def greet() -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Ended) as ended:
        Session(lambda: None, desk.said.append, desk.keys, desk.output).run(line, "vm", greet)
    assert ended.value.code == 128 + signal.SIGTERM
    assert line.closed.is_set()
    assert termios.tcgetattr(desk.theirs) == desk.modes


def test_a_signal_that_does_not_wake_who_waits_ends_it_all_the_same(desk: Desk) -> None:
    """Python only notes it: one that comes right before a wait wakes nobody, as another thread's."""
    line, heard = Script(b"there"), []

    def meanwhile() -> None:
        desk.until(b"there")
        desk.type(b"k")
        assert line.typed.get() == b"k"  # keys are waited for
        signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        heard.append(line.closed.wait(10))
        desk.type(LEAVE)

    with pytest.raises(Ended) as ended:
        desk.run(line, meanwhile)
    assert (ended.value.code, heard) == (128 + signal.SIGTERM, [True])


class Once:
    """Lines that a carrier opens, one after the other; each has to be closed exactly once."""

    def __init__(self, *scripts: Script) -> None:
        self.closed: list[Script] = []
        self.scripts = scripts
        for script in scripts:
            script.close = lambda script=script: self._close(script)  # type: ignore[method-assign,misc]

    def _close(self, script: Script) -> None:
        self.closed.append(script)
        script.says.put(HostError("HostUnreachable", "closed by this program"))


def test_each_line_is_given_back_once_whoever_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "AGAIN", 0.01)
    first, second = Script(b"one", b""), Script(b"two")
    once = Once(first, second)
    lines = [second]
    seen: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    carrier = Carrier(first, lines.pop, lambda _: None, seen.put, away="away", terminal=True)
    thread = threading.Thread(target=carrier.run)
    thread.start()
    while seen.get() != b"two":
        pass
    carrier.part()
    carrier.part()
    thread.join()
    assert once.closed == [first, second]


def test_a_line_that_comes_too_late_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waited for it has left while it was opened."""
    monkeypatch.setattr(console, "AGAIN", 0.01)
    late = Script(b"nobody sees this")
    once = Once(late)
    shown: list[bytes] = []

    def again() -> Line:
        carrier.part()
        return late

    carrier = Carrier(None, again, lambda _: None, shown.append, away="away", terminal=True)
    carrier.run()
    assert once.closed == [late]
    assert shown == []
