"""Consoles and screens of machines in a browser: a WebSocket each, over the ways by which commands
reach them.

On a console's, what a guest says and what is typed go in binary messages; a text message is JSON
and tells what the person should know: `{"say": …}`, or as the last one `{"inUse": …}` or
`{"over": …}`. Nothing is kept for who reads slowly: while a message is not taken nothing more is
read from the host, and after a while the connection is cut.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from agent.access.console import Carrier, Line
from agent.core.host import HostError
from agent.core.model import Key
from agent.web.beside import beside
from agent.web.hands import Hands, RefusedError

MOST = 32
"""Consoles and screens at a time: each has threads and a connection to a host of its own."""
STALLED = 15.0
"""Seconds for which a viewer may take nothing."""
AWAY = 4000
"""The connection's code if the machine is away: it may come back."""
REFUSED = 4001
"""If trying again changes nothing."""
FULL = 4002
_IN_USE = "ConsoleInUse"
_TYPED = 64
"""Messages that wait to be typed."""
_CHUNK = 1 << 16
_LONGEST_REASON = 120
"""Bytes; a WebSocket's close has at most 123."""


class GoneError(Exception):
    """The viewer left, or takes nothing."""


class Consoles:
    """Those that are open, up to as many as there may be."""

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._open = 0

    async def console(self, websocket: WebSocket) -> None:
        async with self._admitted(websocket) as admitted:
            if admitted:
                force = "force" in websocket.query_params
                await _Console(websocket, self._hands, force=force).run()

    async def screen(self, websocket: WebSocket) -> None:
        async with self._admitted(websocket) as admitted:
            if admitted:
                await _screen(websocket, self._hands)

    @contextlib.asynccontextmanager
    async def _admitted(self, websocket: WebSocket) -> AsyncIterator[bool]:
        await websocket.accept()
        if self._open >= MOST:
            await _close(websocket, FULL, f"{MOST} consoles and screens are open: close one first")
            yield False
            return
        self._open += 1
        try:
            yield True
        finally:
            self._open -= 1


class _Console:
    """One from its opening to its end."""

    def __init__(self, websocket: WebSocket, hands: Hands, *, force: bool) -> None:
        self._websocket, self._hands, self._force = websocket, hands, force
        self._loop = asyncio.get_running_loop()
        self._typed: asyncio.Queue[bytes | None] = asyncio.Queue(_TYPED)
        self._carrier: Carrier | None = None
        self._gone = threading.Event()

    async def run(self) -> None:
        showing = asyncio.create_task(self._shown())
        listening = asyncio.create_task(self._listen())
        try:
            await asyncio.wait((showing, listening), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._gone.set()
            listening.cancel()
            self._leave()
        if showing.done():
            await _close(self._websocket, *showing.result())
        else:
            showing.cancel()

    async def _shown(self) -> tuple[int, str]:
        """Show the console until it ends by itself; with what code the connection does."""
        told: dict[str, str] = {}
        try:
            await beside(self._show, "console")
        except HostError as error:
            told = {"inUse" if error.reason == _IN_USE else "over": str(error)}
        except RefusedError as error:
            told = {"over": str(error)}
        except GoneError:
            return REFUSED, "nothing of it was read"
        if told:
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):
                await self._websocket.send_text(json.dumps(told))
        return REFUSED, ""

    def _show(self) -> None:
        """In a thread of its own."""
        machine = _machine(self._websocket)
        opened = self._hands.console(machine, _who(self._websocket))
        line = self._first(opened)
        carrier = self._carrier = Carrier(
            line,
            lambda: opened(False),
            self._say,
            lambda data: self._tell(self._websocket.send_bytes(data)),
            away=f"{machine.name} is off, or out of reach; waiting for it",
            terminal=True,
        )
        try:
            if line is not None:
                self._say("connected")
            keys = threading.Thread(target=self._type, args=(carrier,), daemon=True)
            keys.start()
            carrier.run()
        finally:
            carrier.part()

    def _first(self, opened: Callable[[bool], Line | None]) -> Line | None:
        try:
            return opened(self._force)
        except HostError as error:
            if not error.retry:
                raise
            return None

    def _say(self, text: str) -> None:
        self._tell(self._websocket.send_text(json.dumps({"say": text})))

    def _tell(self, sending: Coroutine[Any, Any, None]) -> None:
        """Send a message, and wait until it is taken. GoneError if it is not."""
        try:
            if not self._gone.is_set():
                asyncio.run_coroutine_threadsafe(sending, self._loop).result(STALLED)
                return
        except (Exception, CancelledError) as error:  # nobody is there to be shown more
            raise GoneError from error
        finally:
            sending.close()
        raise GoneError

    def _type(self, carrier: Carrier) -> None:
        """In a thread of its own."""
        with contextlib.suppress(CancelledError):  # the loop ends
            while (data := self._next().result()) is not None:
                carrier.type(data)

    def _next(self) -> Future[bytes | None]:
        return asyncio.run_coroutine_threadsafe(self._typed.get(), self._loop)

    async def _listen(self) -> None:
        """Take keys until the viewer leaves. What a guest does not take waits, and is lost in the
        end.
        """
        with contextlib.suppress(WebSocketDisconnect, KeyError):
            while True:
                data = await self._websocket.receive_bytes()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._typed.put(data), STALLED)

    def _leave(self) -> None:
        """Have the threads end, whatever they wait for."""
        while not self._typed.empty():
            self._typed.get_nowait()
        self._typed.put_nowait(None)
        carrier = self._carrier
        if carrier is not None:
            threading.Thread(target=carrier.part, name="console-part", daemon=True).start()


async def _screen(websocket: WebSocket, hands: Hands) -> None:
    """Carry VNC between a viewer and the machine until one of them ends it."""
    opened = hands.screen(_machine(websocket))
    try:
        connection = await beside(opened.__enter__, "screen")
    except (RefusedError, HostError) as error:
        again = isinstance(error, HostError) and error.retry
        await _close(websocket, AWAY if again else REFUSED, str(error))
        return
    try:
        reader, writer = await asyncio.open_connection(sock=connection, limit=_CHUNK)
        tasks = [
            asyncio.create_task(_to_viewer(websocket, reader)),
            asyncio.create_task(_to_machine(websocket, writer)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        writer.transport.abort()
    finally:
        threading.Thread(
            target=partial(opened.__exit__, None, None, None), name="screen-part", daemon=True
        ).start()
    await _close(websocket, AWAY, "the machine is off, or out of reach")


async def _to_viewer(websocket: WebSocket, reader: asyncio.StreamReader) -> None:
    while data := await reader.read(_CHUNK):
        async with asyncio.timeout(STALLED):
            await websocket.send_bytes(data)


async def _to_machine(websocket: WebSocket, writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(await websocket.receive_bytes())
        await writer.drain()


async def _close(websocket: WebSocket, code: int, reason: str) -> None:
    """Fine if it is closed."""
    short = reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
    with contextlib.suppress(RuntimeError, WebSocketDisconnect, TimeoutError):
        async with asyncio.timeout(STALLED):
            await websocket.close(code, short)


def _machine(websocket: WebSocket) -> Key:
    given = websocket.path_params
    return Key("VirtualMachine", given["namespace"], given["name"])


def _who(websocket: WebSocket) -> str:
    """Where somebody sits, for whoever comes next."""
    where = websocket.client.host if websocket.client else "elsewhere"
    return f"a browser at {where} since {time.strftime('%H:%M')}"
