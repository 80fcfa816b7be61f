"""One HTTP request: through a proxy, or over a connection to an address that was allowed."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import responses
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urljoin

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationValueError
from urllib3.util import Timeout, Url, make_headers, parse_url

from agent.core.proxies import Proxies
from agent.images.errors import ImageError
from agent.images.hosts import ImageHosts, UnknownHostError

logging.getLogger("urllib3").setLevel(logging.WARNING)  # below, it tells whole addresses

PORTS = {"http": 80, "https": 443}


class DroppedError(Exception):
    """The connection or the server failed in a way that the next try may not."""


class UntrustedError(Exception):
    """The server's certificate does not hold. The text says why."""


@dataclass(frozen=True)
class Reach:
    """What may be asked, and how."""

    hosts: ImageHosts = field(default_factory=ImageHosts)
    proxies: Proxies = field(default_factory=Proxies)


@dataclass(frozen=True)
class Target:
    """An address that can be asked for."""

    url: Url

    @classmethod
    def parse(cls, url: str) -> Self:
        """ImageError InvalidAddress for what is no address of the web."""
        try:
            parsed = parse_url(url)
        except LocationValueError as error:
            raise ImageError(
                "InvalidAddress", "this is no usable address: correct it", retry=False
            ) from error
        if parsed.scheme not in PORTS or not parsed.host:
            raise ImageError(
                "InvalidAddress",
                "its address, or one that it redirects to, is neither http nor https, and nothing"
                " else is fetched",
                retry=False,
            )
        return cls(parsed)

    @property
    def scheme(self) -> str:
        return self.url.scheme or ""

    @property
    def host(self) -> str:
        return (self.url.host or "").strip("[]")

    @property
    def port(self) -> int:
        return self.url.port or PORTS[self.scheme]

    @property
    def origin(self) -> tuple[str, str, int]:
        return self.scheme, self.host, self.port

    @property
    def bare(self) -> str:
        """The whole address without credentials and fragment."""
        return self.url._replace(auth=None, fragment=None).url

    @property
    def authorization(self) -> Mapping[str, str]:
        """The header that its credentials make."""
        if self.url.auth is None:
            return {}
        user, _, password = self.url.auth.partition(":")
        pair = f"{unquote(user)}:{unquote(password)}".encode()
        made = make_headers(basic_auth=pair.decode("latin-1"))
        return {"Authorization": made["authorization"]}

    def redirected(self, location: str) -> Target:
        try:
            target = urljoin(self.bare, location)
        except ValueError:
            target = location
        return Target.parse(target)


class Client:
    """Asks for one address after the other, one at a time. `connected` is called with the file
    descriptor of each new connection.
    """

    def __init__(
        self,
        reach: Reach,
        context: ssl.SSLContext,
        timeout: Timeout,
        connected: Callable[[int], None],
    ) -> None:
        self._reach, self._context, self._timeout = reach, context, timeout
        self._plain, self._secure = _connections(connected)
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._open.close()

    def get(self, target: Target, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The head of the answer, with its body to be read. The one before it is closed.

        Raises DroppedError, UntrustedError and ImageError.
        """
        self._open.close()
        proxy = self._reach.proxies.proxy(target.scheme, target.host)
        response = self._by(proxy, target, headers) if proxy else self._direct(target, headers)
        self._open.callback(response.close)
        return response

    def _direct(self, target: Target, headers: Mapping[str, str]) -> urllib3.BaseHTTPResponse:
        """The address that was judged is the one that is connected to: the name is not asked for
        again.
        """
        sent = {**headers, "Host": target.url.netloc or ""}
        try:
            addresses = self._reach.hosts.addresses(target.host, target.port)
        except UnknownHostError as error:
            raise DroppedError(str(error)) from error
        while True:
            try:
                return self._ask(self._pool(target, addresses.pop(0)), target, sent)
            except _NoConnectionError as error:
                if not addresses:
                    raise DroppedError(str(error)) from error

    def _pool(self, target: Target, address: str) -> urllib3.HTTPConnectionPool:
        pool: urllib3.HTTPConnectionPool
        if target.scheme == "http":
            pool = urllib3.HTTPConnectionPool(address, target.port)
            pool.ConnectionCls = self._plain
        else:
            pool = urllib3.HTTPSConnectionPool(
                address, target.port, ssl_context=self._context, server_hostname=target.host
            )
            pool.ConnectionCls = self._secure
        self._open.callback(pool.close)
        return pool

    def _by(
        self, proxy: str, target: Target, headers: Mapping[str, str]
    ) -> urllib3.BaseHTTPResponse:
        self._reach.hosts.check_unresolved(target.host)
        manager = _manager(proxy, self._context)
        manager.pool_classes_by_scheme = {
            "http": _pool_class(urllib3.HTTPConnectionPool, self._plain),
            "https": _pool_class(urllib3.HTTPSConnectionPool, self._secure),
        }
        self._open.callback(manager.clear)
        try:
            return self._ask(manager, target, headers)
        except _NoConnectionError as error:
            raise DroppedError(f"the proxy cannot be reached ({error})") from error

    def _ask(
        self,
        asked: urllib3.HTTPConnectionPool | urllib3.ProxyManager,
        target: Target,
        headers: Mapping[str, str],
    ) -> urllib3.BaseHTTPResponse:
        url = target.bare if isinstance(asked, urllib3.ProxyManager) else target.url.request_uri
        try:
            return asked.urlopen(
                "GET",
                url,
                headers=headers,
                timeout=self._timeout,
                redirect=False,
                retries=False,
                preload_content=False,
                decode_content=False,
            )
        except (HTTPError, OSError) as error:
            raise translated(error) from error


class _NoConnectionError(DroppedError):
    """Nobody answers at that address."""


def _connections(
    connected: Callable[[int], None],
) -> tuple[type[HTTPConnection], type[HTTPSConnection]]:
    class Plain(HTTPConnection):
        def connect(self) -> None:
            super().connect()
            connected(self.sock.fileno())

    class Secure(HTTPSConnection):
        def connect(self) -> None:
            super().connect()
            connected(self.sock.fileno())

    return Plain, Secure


def _manager(proxy: str, context: ssl.SSLContext) -> urllib3.ProxyManager:
    with suppress(LocationValueError):
        at = parse_url(proxy)
        if at.scheme in PORTS and at.host:
            about = make_headers(proxy_basic_auth=unquote(at.auth)) if at.auth else {}
            return urllib3.ProxyManager(proxy, proxy_headers=about, ssl_context=context)
    raise ImageError(
        "ProxyFailed",
        "the proxy that the environment names cannot be used: its address must begin with http://"
        " or https:// and name a host",
        retry=True,
    )


def _pool_class(
    of: type[urllib3.HTTPConnectionPool], connection: type[HTTPConnection]
) -> type[urllib3.HTTPConnectionPool]:
    return type(of.__name__, (of,), {"ConnectionCls": connection})


_WHAT: tuple[tuple[type[Exception], str], ...] = (
    (urllib3.exceptions.ConnectTimeoutError, "no connection in time"),
    (urllib3.exceptions.ReadTimeoutError, "no answer in time"),
    (urllib3.exceptions.NewConnectionError, "the connection was refused"),
    (urllib3.exceptions.SSLError, "TLS does not hold"),
    (urllib3.exceptions.ProtocolError, "the connection broke off"),
)
"""Their own texts hold addresses with all that is secret in them."""


def translated(error: Exception) -> Exception:
    """What an error of the HTTP client means, without the address in its text."""
    cause = error.original_error if isinstance(error, urllib3.exceptions.ProxyError) else error
    reason = _certificate(cause)
    if reason:
        return UntrustedError(reason)
    what = next((text for kind, text in _WHAT if isinstance(cause, kind)), type(cause).__name__)
    lost = isinstance(
        cause,
        urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError,
    )
    return _NoConnectionError(what) if lost else DroppedError(what)


def _certificate(error: BaseException | None) -> str:
    """Why a certificate was refused; empty if that is not what happened."""
    while error is not None:
        for part in (error, *error.args):
            if isinstance(part, ssl.SSLCertVerificationError):
                return str(part.verify_message)
        error = error.__cause__ or error.__context__
    return ""


def phrase(status: int) -> str:
    """A status as people know it; what the server calls it is left aside."""
    return f"{status} {responses.get(status, '')}".rstrip()
