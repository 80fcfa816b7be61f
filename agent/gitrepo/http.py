"""Git's smart HTTP protocol with limits: every answer has a size, and every wait has an end."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import NoReturn
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import urllib3
from dulwich.client import Urllib3HttpGitClient, default_user_agent_string

from agent.core.proxies import Proxies
from agent.gitrepo.client import Client, Limits
from agent.gitrepo.credentials import Credentials, split_url
from agent.gitrepo.repository import RepositoryError

log = logging.getLogger("gitvirt")

_MAX_REDIRECTS = 3
_REFS_SERVICE = "/info/refs?service="


def _manager(address: str, proxies: Proxies) -> urllib3.PoolManager:
    """Connections to a server, or to the proxy that the environment has for it."""
    parts = urlsplit(address)
    headers = {"User-agent": default_user_agent_string()}
    proxy = proxies.proxy(parts.scheme, parts.hostname or "")
    if not proxy:
        return urllib3.PoolManager(headers=headers)
    with suppress(urllib3.exceptions.HTTPError):
        at = urllib3.util.parse_url(proxy)
        if at.scheme in ("http", "https") and at.host:
            basic = unquote(at.auth) if at.auth else None
            about = urllib3.make_headers(proxy_basic_auth=basic)
            return urllib3.ProxyManager(proxy, proxy_headers=about, headers=headers)
    raise RepositoryError(
        "ProxyFailed",
        f"{address}: the proxy that the environment names cannot be used: its address must begin "
        "with http:// or https:// and name a host",
        retry=False,
    )


class SmartHttpClient(Client, Urllib3HttpGitClient):
    """Credentials go to the address they were given for and nowhere else, whatever a server
    redirects to.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        limits: Limits | None = None,
        proxies: Proxies | None = None,
    ) -> None:
        """Credentials that stand in the URL count where no others are given."""
        address, in_url = split_url(url)
        credentials = credentials or in_url
        super().__init__(
            address,
            pool_manager=_manager(address, proxies or Proxies()),
            username=credentials.username if credentials else None,
            password=credentials.password if credentials else None,
            quiet=True,
        )
        self.address = address
        self._credentials = credentials
        self._limits = limits or Limits()
        self._answer: _Answer | None = None
        self._elsewhere = ""
        """Another host or scheme that the server sends to."""
        self._no_pack_from_elsewhere()

    def close(self) -> None:
        self._end_answer()
        self.pool_manager.clear()

    def _end_answer(self) -> None:
        """End the last answer: dulwich leaves one open where it is not what it expected."""
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def fail(
        self, reason: str, message: str, error: BaseException | None = None, *, retry: bool = True
    ) -> NoReturn:
        """Raise RepositoryError; a cause that repeats the password is left out."""
        if self._elsewhere:
            message += f" (it redirects to {self._elsewhere}, where no credentials are sent)"
        if self._credentials is not None:
            message = self._credentials.hide(message)
            if error is not None and self._credentials.hide(str(error)) != str(error):
                error = None
        raise RepositoryError(reason, f"{self.address}: {message}", retry=retry) from error

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,
    ) -> tuple[_Answer, Callable[[int], bytes]]:
        self._end_answer()
        sent = {**self.pool_manager.headers, **(headers or {}), "Pragma": "no-cache"}
        if self._auth_header is not None and self._origin(url) == self._auth_origin:
            sent["Authorization"] = self._auth_header
        try:
            response = self.pool_manager.request(
                "GET" if data is None else "POST",
                url,
                headers=sent,
                body=data,
                preload_content=False,
                timeout=urllib3.Timeout(connect=self._limits.connect, read=self._limits.read),
                # A second attempt of the same pass would only double the time that a dead server
                # takes.
                retries=urllib3.Retry(connect=0, read=0, status=0, redirect=_MAX_REDIRECTS),
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._unreachable(error)
        self._answer = answer = _Answer(self, response, url, self._limits)
        self._say_where(urljoin(url, response.geturl() or ""))
        self._check(response, _REFS_SERVICE in url)
        return answer, answer.read

    def _say_where(self, url: str) -> None:
        """Tell once that the answer comes from another host or scheme than was asked."""
        if self._origin(url) == self._origin(self.address):
            self._elsewhere = ""
        elif not self._elsewhere:
            parts = urlsplit(url)
            self._elsewhere = f"{parts.scheme}://{parts.hostname or ''}{_port(parts)}"
            log.warning(
                "%s redirects to %s: no credentials are sent there; name that address with --repo",
                self.address,
                self._elsewhere,
            )

    def _check(self, response: urllib3.BaseHTTPResponse, expect_refs: bool) -> None:
        status = response.status
        if status in _REFUSALS:
            self.fail(*_REFUSALS[status])
        if status >= 500 or status == 429:
            self.fail("ServerError", f"the server answered {status}; it is asked again later")
        if status != 200:
            self.fail(
                "UnexpectedAnswer", f"the server answered {status}: correct --repo or the server"
            )
        kind = response.headers.get("Content-Type", "")
        if expect_refs and not kind.startswith("application/x-git-"):
            self.fail(
                "NotAGitServer",
                "what is there is no Git repository, but perhaps a web page that asks for a "
                "login: --repo must be the address that git clone takes, and may need credentials",
            )

    def _unreachable(self, error: Exception) -> NoReturn:
        if isinstance(error, urllib3.exceptions.MaxRetryError) and error.reason is not None:
            error = error.reason
        what = _WHAT.get(type(error), type(error).__name__)
        self.fail("Unreachable", f"{what}: check the address, the network and the server", error)


def _port(parts: SplitResult) -> str:
    return f":{parts.port}" if parts.port else ""


_AUTHENTICATION = (
    "the server wants credentials, or does not accept these: give a token or a user and password "
    "that are valid for this repository"
)
_ACCESS = (
    "the credentials are not allowed to do this: give them access to read the repository and to "
    "push to its status branch"
)
_NOT_FOUND = (
    "there is no such repository, or these credentials may not know of it: correct --repo or give "
    "credentials that may read it"
)
_REFUSALS: Mapping[int, tuple[str, str]] = {
    401: ("AuthenticationFailed", _AUTHENTICATION),
    403: ("AccessDenied", _ACCESS),
    404: ("RepositoryNotFound", _NOT_FOUND),
    407: ("AuthenticationFailed", "the proxy wants credentials: put them into its address"),
    410: ("RepositoryNotFound", "the repository has been removed: correct --repo"),
}

_WHAT: Mapping[type[BaseException], str] = {
    urllib3.exceptions.ProxyError: "the proxy does not answer, or refuses",
    urllib3.exceptions.ConnectTimeoutError: "no connection in time",
    urllib3.exceptions.ReadTimeoutError: "no answer in time",
    urllib3.exceptions.NameResolutionError: "no host of that name",
    urllib3.exceptions.NewConnectionError: "the connection was refused",
    urllib3.exceptions.ProtocolError: "the connection broke off",
    urllib3.exceptions.IncompleteRead: "the connection broke off",
    urllib3.exceptions.SSLError: "the server's certificate or TLS does not hold",
    urllib3.exceptions.ResponseError: "it redirects in circles",
    urllib3.exceptions.DecodeError: "the answer is damaged",
}


class _Answer:
    """An HTTP response as dulwich reads it, up to a number of bytes and a moment."""

    def __init__(
        self,
        client: SmartHttpClient,
        response: urllib3.BaseHTTPResponse,
        url: str,
        limits: Limits,
    ) -> None:
        refs = _REFS_SERVICE in url
        self._client = client
        self._response = response
        self._room = limits.refs_bytes if refs else limits.pack_bytes
        self._end = time.monotonic() + (limits.refs_seconds if refs else limits.pack_seconds)
        self.status = response.status
        self.headers: Mapping[str, str] = response.headers
        self.content_type = response.headers.get("Content-Type")
        at = response.geturl()
        self.redirect_location = at if at is not None and at != url else ""

    def geturl(self) -> str | None:
        return self._response.geturl()

    def read(self, amt: int | None = None) -> bytes:
        wanted = self._room + 1 if amt is None else amt
        chunks: list[bytes] = []
        while wanted > 0:
            # `read1` returns with what has come, so that a server which drips cannot outlast the
            # end.
            chunk = self._some(wanted)
            if not chunk:
                break
            chunks.append(chunk)
            wanted -= len(chunk)
        return b"".join(chunks)

    def _some(self, wanted: int) -> bytes:
        if time.monotonic() > self._end:
            self._client.fail("Unreachable", "the answer takes too long: check the server")
        try:
            chunk = self._response.read1(min(wanted, 1 << 16))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self._client._unreachable(error)  # noqa: SLF001
        self._room -= len(chunk)
        if self._room < 0:
            self._client.fail(
                "TooLarge", "the answer is larger than gitvirt accepts: use a smaller repository"
            )
        return chunk

    def close(self) -> None:
        self._response.close()
