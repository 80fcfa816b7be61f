"""Consoles, screens and buttons, at hands that the test holds; real ones are tried in a browser."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from agent.access import console
from agent.access.console import Line
from agent.core.host import HostError
from agent.core.model import Key
from agent.gitrepo.local import LocalRepository
from agent.web import consoles, inside
from agent.web.app import Site, application
from agent.web.collector import Terms
from agent.web.door import Door
from agent.web.hands import RefusedError, Wish
from agent.web.server import Address, Server, bound
from agent.web.source import Source
from tests.access.test_console import Script
from tests.fleets import CATALOGUE, Fleet, machine

TOKEN = "a-token-of-the-tests"
VM = "/vms/default/linux-vm"
CONSOLE, SCREEN = f"{VM}/console/line", f"{VM}/screen/line"
AWAY = HostError("MachineOff", "linux-vm does not run")
PATIENCE = 60.0


class Talker(Script):
    """A guest that never stops."""

    def recv(self) -> bytes:
        return b"y" * 60_000


class Held:
    """Hands that find what the test put there, the last of it again and again."""

    def __init__(self) -> None:
        self.lines: list[Line | Exception | None] = [None]
        self.screens: list[socket.socket | Exception] = []
        self.refuses = ""
        self.asked: list[Wish] = []

    def console(self, machine: Key, who: str) -> Callable[[bool], Line | None]:
        def open_line(force: bool) -> Line | None:
            found = self.lines.pop(0) if len(self.lines) > 1 else self.lines[0]
            if isinstance(found, HostError) and found.reason == "ConsoleInUse" and force:
                return open_line(False)
            if isinstance(found, Exception):
                raise found
            return found

        return open_line

    @contextlib.contextmanager
    def screen(self, machine: Key) -> Iterator[socket.socket]:
        found = self.screens.pop(0)
        if isinstance(found, Exception):
            raise found
        with found:
            yield found

    def picture(self, machine: Key) -> bytes:
        raise AWAY

    def ask(self, wish: Wish) -> Key:
        self.asked.append(wish)
        if self.refuses:
            raise RefusedError(self.refuses)
        return Key("VirtualMachineOperation", "default", "restart-1")


class Stage:
    """A page that is served, and who uses it."""

    def __init__(self, port: int, door: Door, hands: Held) -> None:
        self.port, self.hands = port, hands
        self.origin = f"http://127.0.0.1:{port}"
        self._cookie = door.cookie(f"127.0.0.1:{port}").partition(";")[0]

    def line(self, path: str = CONSOLE, *, known: bool = True) -> ClientConnection:
        headers = {"Origin": self.origin, **({"Cookie": self._cookie} if known else {})}
        address = f"ws://127.0.0.1:{self.port}{path}"
        return connect(address, additional_headers=headers, proxy=None)

    def ask(self, method: str, path: str, **fields: str) -> tuple[int, str]:
        """The status and the text of an answer, or the place that it leads to."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Cookie": self._cookie, "Origin": self.origin, "Accept": "text/html"}
        connection.request(method, path, urlencode(fields), headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        return answer.status, answer.headers.get("Location") or text


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(console, "AGAIN", 0.01)
    fleet = Fleet(tmp_path / "fleet.git")
    fleet.agent()
    fleet.write(machine())
    source = Source(lambda: LocalRepository(fleet.root), Terms(), CATALOGUE)
    site, door, hands = Site(source, visitor=inside.visitor), Door(TOKEN), Held()
    listening = bound(Address("127.0.0.1", 0), None, insecure=False)
    port = listening.getsockname()[1]
    app = application(site, **inside.behind(site, door, hands))
    server = Server(app, listening, None, source.end)
    server.start()
    yield Stage(port, door, hands)
    server.end()


def told(line: ClientConnection) -> dict[str, str]:
    """What the person is told next."""
    message = line.recv(PATIENCE)
    while isinstance(message, bytes):
        message = line.recv(PATIENCE)
    words: dict[str, str] = json.loads(message)
    return words


def ended(line: ClientConnection) -> tuple[int, str]:
    """With what code and reason a line ends."""
    with contextlib.suppress(ConnectionClosed):
        for _ in line:
            pass
    assert line.close_code is not None
    return line.close_code, line.close_reason or ""


def shown(line: ClientConnection, wanted: bytes) -> bytes:
    """What the guest says, up to these words."""
    seen = b""
    while not seen.endswith(wanted):
        seen += line.recv(PATIENCE, decode=False)
    return seen


def admit(stage: Stage) -> None:
    """Open a console, once there is a place for one."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with stage.line() as line, contextlib.suppress(ConnectionClosed):
            assert told(line) == {"say": "connected"}
            return
    pytest.fail("no place became free")


def test_there_are_as_many_consoles_as_can_be_and_one_that_ends_makes_room(stage: Stage) -> None:
    stage.hands.lines = [Script() for _ in range(40)]
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(stage.line()) for _ in range(consoles.MOST)]
        for each in opened:
            assert told(each) == {"say": "connected"}
        with stage.line() as late, stage.line(SCREEN) as screen:
            reason = f"{consoles.MOST} consoles and screens are open: close one first"
            assert ended(late) == ended(screen) == (consoles.FULL, reason)
        opened[0].close()
        admit(stage)


def test_who_takes_nothing_is_cut_and_makes_room(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consoles, "STALLED", 0.2)
    monkeypatch.setattr(consoles, "MOST", 1)
    talker = Talker()
    stage.hands.lines = [talker, Script()]
    with stage.line() as slow:
        assert talker.closed.wait(PATIENCE)
        admit(stage)
        assert ended(slow)


def test_what_is_typed_and_said_goes_over_the_line(stage: Stage) -> None:
    script = Script(b"login: ", log=b"booted\r\n")
    stage.hands.lines = [script]
    with stage.line() as line:
        assert told(line) == {"say": "connected"}
        assert shown(line, b"login: ") == b"booted\r\nlogin: "
        line.send(b"cloud\r")
        assert script.typed.get(timeout=PATIENCE) == b"cloud\r"
    assert script.closed.wait(PATIENCE)


def test_a_machine_that_is_away_is_waited_for_wherever_it_comes_back(stage: Stage) -> None:
    here, there = Script(b""), Script(b"there")
    stage.hands.lines = [here, AWAY, None, there]
    with stage.line() as line:
        assert told(line) == {"say": "connected"}
        assert told(line) == {"say": "linux-vm is off, or out of reach; waiting for it"}
        assert told(line) == {"say": "it is there again"}
        assert shown(line, b"there") == b"there"
    assert here.closed.is_set()
    assert there.closed.wait(PATIENCE)


def test_a_machine_that_is_deleted_ends_its_console_and_says_so(stage: Stage) -> None:
    gone = RefusedError("there is no VirtualMachine linux-vm in namespace default")
    stage.hands.lines = [Script(b""), gone]
    with stage.line() as line:
        assert told(line) == {"say": "connected"}
        assert "say" in told(line)
        assert told(line) == {"over": str(gone)}
        assert ended(line) == (consoles.REFUSED, "")


def test_a_second_one_is_told_who_has_it_and_may_take_it(stage: Stage) -> None:
    first, second = Script(), Script()
    stage.hands.lines = [
        first,
        HostError("ConsoleInUse", "somebody uses the console", retry=False),
        HostError("ConsoleInUse", "somebody uses the console", retry=False),
        second,
    ]
    with stage.line() as one, stage.line() as other, contextlib.ExitStack() as stack:
        assert told(one) == {"say": "connected"}
        assert told(other) == {"inUse": "somebody uses the console"}
        assert ended(other) == (consoles.REFUSED, "")
        taken = stack.enter_context(stage.line(f"{CONSOLE}?force=1"))
        assert told(taken) == {"say": "connected"}
        first.says.put(HostError("ConsoleTaken", "the console was taken over", retry=False))
        assert told(one) == {"over": "the console was taken over"}
        assert ended(one) == (consoles.REFUSED, "")


def test_a_screen_is_carried_both_ways_and_its_end_is_told(stage: Stage) -> None:
    ours, theirs = socket.socketpair()
    stage.hands.screens = [theirs]
    with stage.line(SCREEN) as line, ours:
        ours.sendall(b"RFB 003.008\n")
        assert line.recv(PATIENCE) == b"RFB 003.008\n"
        line.send(b"RFB 003.007\n")
        assert ours.recv(100) == b"RFB 003.007\n"
        ours.close()
        assert ended(line) == (consoles.AWAY, "the machine is off, or out of reach")


@pytest.mark.parametrize(
    ("why", "code"), [(AWAY, consoles.AWAY), (RefusedError("no way there"), consoles.REFUSED)]
)
def test_a_screen_that_cannot_be_says_why(stage: Stage, why: Exception, code: int) -> None:
    stage.hands.screens = [why]
    with stage.line(SCREEN) as line:
        assert ended(line) == (code, str(why))
    assert stage.ask("GET", f"{VM}/screen.png") == (503, f"{AWAY}\n")


def test_what_strangers_send_is_refused_and_fills_no_log(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (CONSOLE, SCREEN, "/", "/nothing"):
        with pytest.raises(InvalidStatus) as refused:
            stage.line(path, known=False)
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus):
        stage.line("/nothing")
    for garbage in (
        b"\x16\x03\x01\x00\xff\r\n\r\n",
        f"GET {CONSOLE} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n".encode(),
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
    ):
        with socket.create_connection(("127.0.0.1", stage.port), PATIENCE) as raw:
            raw.sendall(garbage)
            assert raw.recv(100).startswith(b"HTTP/1.1 ")
    assert caplog.records == []


def test_what_cannot_be_committed_says_why_and_what_else_does_it(stage: Stage) -> None:
    stage.hands.refuses = "the push was refused <by a hook>"
    status, text = stage.ask("POST", f"{VM}/restart", force="yes")
    assert status == 503
    assert "Nothing was asked for.</strong> the push was refused &lt;by a hook&gt;" in text
    assert "<code>gitvirt restart linux-vm --force</code>" in text
    stage.hands.refuses = ""
    assert stage.ask("POST", f"{VM}/restart") == (303, f"{VM}/asked/restart-1")
    assert [each.force for each in stage.hands.asked] == [True, False]


@pytest.mark.parametrize(("page", "package"), [("console", "xterm"), ("screen", "novnc")])
def test_a_page_without_the_browsers_half_says_what_fetches_it(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, package: str
) -> None:
    monkeypatch.setattr(inside, "VENDOR", tmp_path)
    status, text = stage.ask("GET", f"{VM}/{page}")
    assert status == 200
    assert f"half of {page}s has not been fetched: <code>{inside.FETCH}</code>" in text
    assert f"/static/{page}.js" not in text
    (tmp_path / package).mkdir()
    _, text = stage.ask("GET", f"{VM}/{page}")
    assert "has not been fetched" not in text
    assert f"/static/{page}.js" in text


@pytest.mark.parametrize(
    "path",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "..%5capp.py",
        "vendor/..%2f..%2fapp.py",
        "..%252fapp.py",
        "/etc/passwd",
        "%2fetc/passwd",
        "..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc/passwd",
        "page.css%00",
        "../vms",
        "",
    ],
)
def test_no_other_file_is_served(stage: Stage, path: str) -> None:
    assert stage.ask("GET", "/static/page.css")[0] == 200
    assert stage.ask("GET", f"/static/{path}")[0] == 404


def test_no_thread_is_left_behind_by_consoles_that_end(stage: Stage) -> None:
    before = threading.active_count()
    scripts = [Script() for _ in range(5)]
    stage.hands.lines = [*scripts]
    for script in scripts:
        with stage.line() as line:
            assert told(line) == {"say": "connected"}
        assert script.closed.wait(PATIENCE)
        script.says.put(b"")  # whoever reads wakes up, as from a stream that is closed
    end = time.monotonic() + PATIENCE
    while threading.active_count() > before:
        assert time.monotonic() < end, threading.enumerate()
        time.sleep(0.01)
