"""Ports of a guest for programs on this machine."""

from __future__ import annotations

import contextlib
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from agent.access import relay
from agent.access.ways import ClosedError, Connection, NoWayError, Target, Ways
from agent.core.host import HostError

Say = Callable[[str], None]

YOUNG = 300.0
"""Seconds that a guest may take from its start until its services are up."""
GRACE = 20.0
"""Seconds that a service of a guest that has been up for long has to answer."""
_GREETING = 15.0
"""Seconds until a connection that says nothing is tried anew: a guest may have had no network."""
_PAUSE = 0.3
_QUIET = 3.0
"""Seconds before the user is told what is waited for."""
_FLOW = 60.0
"""Seconds after which a udp flow that says nothing is over."""
_DATAGRAM = 65535
_FORWARD = re.compile(r"(?:(tcp|udp)/)?(?:([0-9]{0,5}):)?([0-9]{1,5})")


@dataclass(frozen=True)
class Forward:
    """A port here, 0 for a free one, that leads to a port of the guest."""

    local: int
    target: Target


def forwards(words: Sequence[str]) -> list[Forward]:
    """`8080:80`, `80`, `:80`, `udp/5353:53`, and `tcp` or `udp` behind those that it is for.
    ValueError says what is none.
    """
    listed: list[Forward] = []
    bare = 0
    for word in words:
        if word in ("tcp", "udp"):
            listed[bare:] = [
                Forward(each.local, Target(word, each.target.port)) for each in listed[bare:]
            ]
            bare = len(listed)
            continue
        match = _FORWARD.fullmatch(word)
        if match is None:
            raise ValueError(f"{word!r} is no port: write 8080:80, or udp/5353:53")
        remote = int(match[3])
        local = remote if match[2] is None else int(match[2] or 0)
        if not 0 < remote < 65536 or local > 65535:
            raise ValueError(f"{word!r} is no port: they go from 1 to 65535")
        listed.append(Forward(local, Target(match[1] or "tcp", remote)))
    if not listed:
        raise ValueError("a port is missing, such as 8080:80")
    return listed


def patience(age: float) -> float:
    """Seconds that a service has to answer, of a guest that has been up for so long."""
    return max(GRACE, YOUNG - age)


@contextlib.contextmanager
def answering(
    ways: Ways, target: Target, seconds: float, say: Say, *, greets: bool
) -> Iterator[tuple[Connection, bytes]]:
    """A connection, and what came over it first if the service `greets`: tried again until it is
    there. ClosedError if it is not in so many seconds.
    """
    end = time.monotonic() + seconds
    tell = time.monotonic() + _QUIET
    why = "nothing answers"
    while True:
        with ExitStack() as stack:
            try:
                connection = stack.enter_context(ways.connect(target))
                first = _greeting(connection, end) if greets else b""
                if first or not greets:
                    yield connection, first
                    return
            except ClosedError as error:
                why = str(error)
        now = time.monotonic()
        if now >= end:
            raise ClosedError(why)
        if now >= tell:
            say(f"waiting for port {target.port} to answer")
            tell = float("inf")
        time.sleep(_PAUSE)


def _greeting(connection: Connection, end: float) -> bytes:
    """What a service says first; empty if it has not."""
    seconds = min(_GREETING, max(0.0, end - time.monotonic()))
    ready, _, _ = select.select((connection.socket,), (), (), seconds)
    if not ready:
        return b""
    try:
        data = connection.socket.recv(relay.CHUNK)
    except OSError:
        return b""
    if data:
        connection.answered()
    return data


def serve(ways: Ways, forward: Forward, address: str, say: Say) -> int:
    """Begin to forward a port, in threads of its own; the port here. OSError if there is none."""
    udp = forward.target.protocol == "udp"
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_DGRAM if udp else socket.SOCK_STREAM)
    if not udp:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address, forward.local))
        if not udp:
            listener.listen(128)
    except OSError:
        listener.close()
        raise
    work = _datagrams if udp else _connections
    threading.Thread(target=work, args=(listener, ways, forward.target, say), daemon=True).start()
    port: int = listener.getsockname()[1]
    return port


def _connections(listener: socket.socket, ways: Ways, target: Target, say: Say) -> None:
    while True:
        client, _ = listener.accept()
        threading.Thread(target=_connection, args=(client, ways, target, say), daemon=True).start()


def _connection(client: socket.socket, ways: Ways, target: Target, say: Say) -> None:
    with client, _failures(target, say), ways.connect(target) as connection:
        relay.between(client, connection.socket)


def _datagrams(listener: socket.socket, ways: Ways, target: Target, say: Say) -> None:
    """Each client has a flow of its own, by which the answers find back."""
    flows: dict[tuple[str, int], socket.socket] = {}

    def answer(client: tuple[str, int], ready: threading.Event) -> None:
        with _failures(target, say), ways.connect(target) as connection:
            flow = connection.socket
            flow.settimeout(_FLOW)
            flows[client] = flow
            ready.set()
            with contextlib.suppress(OSError):
                while data := flow.recv(_DATAGRAM):
                    listener.sendto(data, client)
            flows.pop(client, None)
        ready.set()

    while True:
        data, client = listener.recvfrom(_DATAGRAM)
        if client not in flows:
            ready = threading.Event()
            threading.Thread(target=answer, args=(client, ready), daemon=True).start()
            ready.wait()
        if client in flows:
            with contextlib.suppress(OSError):
                flows[client].send(data)


@contextlib.contextmanager
def _failures(target: Target, say: Say) -> Iterator[None]:
    """One connection that fails is told of, and ends no other."""
    try:
        yield
    except (ClosedError, NoWayError, HostError) as error:
        say(f"port {target.port}: {error}")
