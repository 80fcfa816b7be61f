"""An HTTP server on loopback that misbehaves as its routes say."""

from __future__ import annotations

import hashlib
import socket
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Route = Callable[["Handler"], None]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Faulty

    def do_GET(self) -> None:
        self.close_connection = True
        self.server.requests.append((self.path, dict(self.headers.items())))
        self.server.routes[self.path.partition("?")[0]](self)

    def log_message(self, *arguments: object) -> None:
        pass

    def head(self, status: int, **headers: str | int) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.send_header("Connection", "close")
        self.end_headers()

    def drop(self) -> None:
        """End the connection in the middle."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


class Faulty(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.scheme = "http"
        if context is not None:
            self.scheme = "https"
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.routes: dict[str, Route] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.released = threading.Event()
        """Routes that stop in the middle wait for this; it is set when the server ends."""
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})

    def url(self, path: str, userinfo: str = "") -> str:
        return f"{self.scheme}://{userinfo}127.0.0.1:{self.server_address[1]}{path}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what these tests are about."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        self.shutdown()
        self._thread.join()
        self.server_close()


def serve(content: bytes, **headers: str) -> Route:
    def route(handler: Handler) -> None:
        handler.head(200, Content_Length=len(content), **headers)
        handler.wfile.write(content)

    return route


def status(code: int) -> Route:
    return lambda handler: handler.head(code, Content_Length=0)


def redirect(location: str) -> Route:
    return lambda handler: handler.head(302, Location=location, Content_Length=0)


def in_turn(*routes: Route) -> Route:
    """The first request gets the first route, and so on; the last one stays."""
    left = list(routes)

    def route(handler: Handler) -> None:
        (left.pop(0) if len(left) > 1 else left[0])(handler)

    return route


def ranged(content: bytes, stop_after: int, etag: str | None = None) -> Route:
    """Sends at most `stop_after` bytes a connection, and goes on where a range asks for it."""
    tag = etag or f'"{hashlib.sha256(content).hexdigest()[:16]}"'

    def route(handler: Handler) -> None:
        start = 0
        asked = handler.headers.get("Range", "")
        if asked and handler.headers.get("If-Range") == tag:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            handler.head(
                206,
                Content_Length=len(content) - start,
                Content_Range=f"bytes {start}-{len(content) - 1}/{len(content)}",
                ETag=tag,
            )
        else:
            handler.head(200, Content_Length=len(content), ETag=tag, Accept_Ranges="bytes")
        handler.wfile.write(content[start : start + stop_after])
        if start + stop_after < len(content):
            handler.drop()

    return route


def stops_at(content: bytes, stop: int) -> Route:
    """Announces everything, offers no resumption, and hangs up early."""

    def route(handler: Handler) -> None:
        handler.head(200, Content_Length=len(content), Accept_Ranges="none")
        handler.wfile.write(content[:stop])
        handler.drop()

    return route


def hangs_after(content: bytes, reached: threading.Event) -> Route:
    """Sends some and then nothing, with the connection open."""

    def route(handler: Handler) -> None:
        handler.head(200, Content_Length=len(content) + 1)
        handler.wfile.write(content)
        handler.wfile.flush()
        reached.set()
        handler.server.released.wait()

    return route


def endless(handler: Handler) -> None:
    handler.head(200)
    while not handler.server.released.is_set():
        handler.wfile.write(b"x" * 65536)
