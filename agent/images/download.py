"""HTTP and HTTPS downloads into the spool."""

from __future__ import annotations

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from agent.images.errors import CancelledError, ImageError, address
from agent.images.spool import MIB, Sink, check_limit, check_space

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
LENGTH = re.compile(r"\d{1,19}", re.ASCII)

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes in all, None while the server does not say."""


@dataclass(frozen=True)
class HttpSource:
    """`checksums`: md5, sha1, sha256, sha512, streebog256 or streebog512 -> hex in either case,
    of the file as served. `ca_bundle`: PEM text, trusted beside the system's authorities.
    """

    url: str
    checksums: Mapping[str, str] = field(default_factory=dict)
    ca_bundle: str | None = None


@dataclass(frozen=True)
class Downloaded:
    """A complete file that the caller owns and removes. `digest` is its SHA-256 in hex."""

    path: Path
    size: int
    digest: str


@dataclass(frozen=True)
class Patience:
    """How long a download waits, in seconds, and how often it tries."""

    connect: float = 10.0
    read: float = 60.0
    window: float = 60.0
    """In every window at least `floor` bytes must arrive, else the connection counts as stalled."""
    floor: int = 64 * 1024
    attempts: int = 5
    """Tries in a row that bring nothing lasting."""
    pause: float = 1.0
    """Before the second try; doubled for each further one, up to 30 s."""


PATIENCE = Patience()


class _DroppedError(Exception):
    """The connection or the server failed in a way that the next try may not."""


def download(
    source: HttpSource,
    spool: Path,
    *,
    progress: Progress,
    cancelled: Callable[[], bool],
    limit: int,
    patience: Patience = PATIENCE,
) -> Downloaded:
    """Fetch `source` into a new file in `spool`, at most `limit` bytes. Nothing is left there
    when this raises ImageError.

    A dropped connection is resumed where the server can do that. `cancelled` is asked at least
    every 0.2 s once connected, also from a thread of ours.
    """
    expected = {name.lower(): value.lower() for name, value in source.checksums.items()}
    context = _tls(source)
    with (
        Sink(spool, limit, {*expected, "sha256"}) as sink,
        _Watch(cancelled) as watch,
        httpx.Client(
            verify=context,
            timeout=httpx.Timeout(patience.read, connect=patience.connect),
            trust_env=False,
        ) as client,
    ):
        _Transfer(source, client, sink, watch, progress, patience).run()
        _verify(source, sink, expected)
    return Downloaded(sink.path, sink.size, sink.hashes["sha256"].hexdigest())


def _tls(source: HttpSource) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if source.ca_bundle is not None:
        try:
            context.load_verify_locations(cadata=source.ca_bundle)
        except (ssl.SSLError, ValueError, TypeError) as error:  # TypeError: not ASCII
            raise ImageError(
                "InvalidCABundle",
                "caBundle holds no certificate that can be read; it must be PEM, in base64",
                retry=False,
            ) from error
    return context


def _verify(source: HttpSource, sink: Sink, expected: Mapping[str, str]) -> None:
    wrong = [
        f"{name} is {sink.hashes[name].hexdigest()}, not {value}"
        for name, value in sorted(expected.items())
        if sink.hashes[name].hexdigest() != value
    ]
    if wrong:
        raise ImageError(
            "ChecksumMismatch",
            f"{address(source.url)} is not the file that the manifest describes:"
            f" {'; '.join(wrong)}",
            retry=False,
        )


class _Transfer:
    """One download over as many connections as it takes."""

    def __init__(
        self,
        source: HttpSource,
        client: httpx.Client,
        sink: Sink,
        watch: _Watch,
        progress: Progress,
        patience: Patience,
    ) -> None:
        self.source = source
        self.client = client
        self.sink = sink
        self.watch = watch
        self.progress = progress
        self.patience = patience
        self.validator: str | None = None
        """What `If-Range` may carry: without it the rest of the file might be another file's."""
        self.offset = 0
        """Where the present try went on from."""

    def run(self) -> None:
        failures = 0
        while True:
            try:
                self._try_once()
                return
            except _DroppedError as dropped:
                self.watch.check()
                lasting = self.offset > 0 and self.sink.size - self.offset >= MIB
                failures = 1 if lasting else failures + 1
                if failures >= self.patience.attempts:
                    raise self._failed(f"{dropped}; gave up after {failures} tries") from dropped
            self.watch.pause(min(self.patience.pause * 2 ** (failures - 1), 30.0))

    def _try_once(self) -> None:
        self.offset = self.sink.size if self.validator else 0
        try:
            response = self._open()
            try:
                total = self._begin(response)
                self._receive(response, total)
            finally:
                response.close()
        except httpx.TransportError as error:
            self.watch.check()
            if _certificate_refused(error):
                raise self._failed(
                    f"the server's certificate is not trusted ({error}); give its authority in"
                    f" caBundle"
                ) from error
            raise _DroppedError(str(error) or type(error).__name__) from error
        except httpx.InvalidURL as error:
            raise self._failed(f"this is no usable address: {error}", retry=False) from error

    def _open(self) -> httpx.Response:
        headers = {"Accept-Encoding": "identity", "User-Agent": "gitvirt"}
        if self.offset and self.validator:
            headers |= {"Range": f"bytes={self.offset}-", "If-Range": self.validator}
        url = httpx.URL(self.source.url)
        for _ in range(MAX_REDIRECTS + 1):
            if url.scheme not in ("http", "https") or not url.host:
                raise self._failed(
                    f"{address(str(url))} is neither http nor https, and nothing else is fetched",
                    retry=False,
                )
            request = self.client.build_request(
                "GET", url, headers=headers, extensions={"trace": self.watch.trace}
            )
            response = self.client.send(request, stream=True)
            if response.status_code not in REDIRECTS:
                return response
            response.close()
            self.watch.check()
            url = self._redirected(url, response.headers.get("Location", ""))
        raise self._failed(f"more than {MAX_REDIRECTS} redirects")

    def _redirected(self, url: httpx.URL, location: str) -> httpx.URL:
        target = url.join(location)
        if url.scheme == "https" and target.scheme == "http" and not self.source.checksums:
            raise self._failed(
                f"the server redirects from https to http ({address(str(target))}); give a"
                f" checksum to allow that",
                retry=False,
            )
        return target

    def _begin(self, response: httpx.Response) -> int | None:
        """Check the answer's head, put the sink where the body belongs, return the size of the
        whole file.
        """
        status = response.status_code
        if status in TRANSIENT:
            raise _DroppedError(f"the server answered {status} {response.reason_phrase}")
        if status == 416 and self.offset:
            self.validator = None
            raise _DroppedError("the server cannot go on where the connection broke")
        if status == 206 and self.offset:
            total = self._resumed(response)
        elif status == 200:
            if self.sink.size:
                self.sink.restart()
            self.offset = 0
            total = _number(response.headers.get("Content-Length", ""))
        else:
            raise self._failed(f"the server answered {status} {response.reason_phrase}")
        if total is not None:
            check_limit(total, self.sink.limit)
            check_space(self.sink.spool, total - self.offset)
        self.validator = _validator(response.headers)
        return total

    def _resumed(self, response: httpx.Response) -> int | None:
        found = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if found is None or int(found[1]) != self.offset:
            self.validator = None
            raise _DroppedError("the server went on at another place than it was asked to")
        return _number(found[3])

    def _receive(self, response: httpx.Response, total: int | None) -> None:
        """Take the body as it was sent: a Content-Encoding is the file's own compression, which
        is unpacked later.
        """
        self.progress(self.sink.size, total)
        began, since = time.monotonic(), self.sink.size
        for chunk in response.iter_raw():
            self.watch.check()
            self.sink.write(chunk)
            self.progress(self.sink.size, total)
            now = time.monotonic()
            if now - began >= self.patience.window:
                if self.sink.size - since < self.patience.floor:
                    raise _DroppedError(f"the download stalled at {self.sink.size} bytes")
                began, since = now, self.sink.size
        # A socket that was shut down looks like an end of the body where no length was announced.
        self.watch.check()
        if total is not None and self.sink.size != total:
            raise _DroppedError(f"the server sent {self.sink.size} of {total} bytes")

    def _failed(self, what: str, *, retry: bool = True) -> ImageError:
        return ImageError("ImagePullFailed", f"{address(self.source.url)}: {what}", retry=retry)


def _number(text: str) -> int | None:
    return int(text) if LENGTH.fullmatch(text) else None


def _validator(headers: httpx.Headers) -> str | None:
    if headers.get("Accept-Ranges", "").lower() == "none":
        return None
    etag = headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return str(etag)
    modified: str | None = headers.get("Last-Modified")
    return modified


def _certificate_refused(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False


class _Watch:
    """Asks `cancelled` beside the transfer and cuts its connection, because a read from a
    silent server blocks.
    """

    INTERVAL = 0.2

    def __init__(self, cancelled: Callable[[], bool]) -> None:
        self._cancelled = cancelled
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="image-download-watch", daemon=True)

    def check(self) -> None:
        if self._cancelled():
            raise CancelledError

    def pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self.check()
            self._over.wait(min(left, self.INTERVAL))
        self.check()

    def trace(self, name: str, info: Mapping[str, Any]) -> None:
        """The HTTP client's trace hook. A duplicate is shut down, so that no TLS state is
        touched from outside.
        """
        if name == "connection.connect_tcp.complete":
            with self._lock:
                self._forget()
                self._socket = info["return_value"].get_extra_info("socket").dup()

    def _run(self) -> None:
        while not self._over.wait(self.INTERVAL):
            if self._cancelled():
                with self._lock:
                    self._cut()

    def _cut(self) -> None:
        if self._socket is not None:
            try:
                self._socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # the other side was faster

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def __enter__(self) -> Self:
        self.check()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        self._forget()
