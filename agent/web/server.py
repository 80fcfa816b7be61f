"""Serves the page: in a thread of its own beside an agent, or as all that a process does."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from agent.web.live import MOST

DEFAULT_PORT = 8006
LAST_WORDS = 1
"""Seconds that answers under way get when the server ends."""
LONGEST_MESSAGE = 1 << 16
"""Bytes of one that comes by a WebSocket."""
STALLED = 30.0
"""Seconds for which a viewer may take nothing: then the kernel cuts the connection."""
_BACKLOG = 128


class ListenError(Exception):
    """The page cannot be served there. The message says what to do."""


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    @property
    def loopback(self) -> bool:
        if self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address(text: str) -> Address:
    """`PORT`, `HOST:PORT` or `[ADDRESS]:PORT`. ValueError says what it has to be."""
    host, colon, port = text.rpartition(":")
    host = host if colon else "127.0.0.1"
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    well = port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65536
    if not well or (":" in bare and bare == host) or not bare:
        raise ValueError("must be PORT, HOST:PORT or [ADDRESS]:PORT, such as 127.0.0.1:8006")
    return Address(bare, int(port))


@dataclass(frozen=True)
class Certificate:
    """Files, for TLS."""

    chain: Path
    key: Path


def bound(where: Address, certificate: Certificate | None, *, insecure: bool) -> socket.socket:
    """A socket that listens. ListenError where that is not possible, or not safe."""
    if not where.loopback and certificate is None and not insecure:
        raise ListenError(
            f"{where} can be reached from other machines: give --tls-cert and --tls-key, or say "
            "with --insecure that something else encrypts what goes there"
        )
    try:
        family = socket.AF_INET6 if ":" in where.host else socket.AF_INET
        listening = socket.create_server((where.host, where.port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise ListenError(
            f"cannot listen at {where}: {error.strerror or error}; choose another address"
        ) from error
    # connections inherit it; nobody else would ever give up one whose other end only waits
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED * 1000))
    return listening


def url(listening: socket.socket, certificate: Certificate | None) -> str:
    """The address as browsers take it."""
    host, port, *_ = listening.getsockname()
    scheme = "http" if certificate is None else "https"
    return f"{scheme}://{Address(str(host), int(port))}/"


class Server:
    """An application at a socket."""

    def __init__(
        self,
        app: ASGIApp,
        listening: socket.socket,
        certificate: Certificate | None = None,
        ending: Callable[[], None] = lambda: None,
    ) -> None:
        """`ending` is called in its event loop before it waits for answers to end."""
        try:
            self._server = _Server(_config(app, certificate), ending)
        except OSError as error:
            raise ListenError(f"the certificate or its key cannot be used: {error}") from error
        self._listening = listening
        self._thread: threading.Thread | None = None

    def run(self) -> None:
        """Until a signal, or `end`."""
        with self._listening:
            self._server.run([self._listening])

    def start(self) -> None:
        """In a thread of its own."""
        self._thread = threading.Thread(target=self.run, name="page", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Have it end, and wait for that a moment."""
        self._server.should_exit = True
        if self._thread is not None:
            self._thread.join(2 * LAST_WORDS)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ending: Callable[[], None]) -> None:
        super().__init__(config)
        self._ending = ending

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._ending()
        await super().shutdown(sockets)


def _config(app: ASGIApp, certificate: Certificate | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="error",  # what strangers send is no news: they could fill the log with it
        access_log=False,
        server_header=False,
        date_header=True,
        lifespan="on",
        loop="asyncio",
        http="h11",
        ws="websockets-sansio",
        ws_max_size=LONGEST_MESSAGE,
        ws_per_message_deflate=False,  # what a screen sends is packed, and keys are few
        limit_concurrency=MOST + 200,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=LAST_WORDS,
        proxy_headers=False,
        ssl_certfile=str(certificate.chain) if certificate else None,
        ssl_keyfile=str(certificate.key) if certificate else None,
    )
    config.load()
    return config
