"""HTTP and HTTPS downloads into the spool."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError
from urllib3.util import Timeout

from agent.images.errors import ImageError, address
from agent.images.request import (
    Client,
    DroppedError,
    Reach,
    Target,
    UntrustedError,
    phrase,
    translated,
)
from agent.images.spool import MIB, Sink, check_limit, check_space
from agent.images.watch import LateError, Watch

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
LENGTH = re.compile(r"\d{1,19}", re.ASCII)
CHUNK = 64 * 1024

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


def download(
    source: HttpSource,
    spool: Path,
    *,
    progress: Progress,
    cancelled: Callable[[], bool],
    limit: int,
    reach: Reach,
    trouble: Callable[[str], None] = lambda what: None,
    patience: Patience = PATIENCE,
) -> Downloaded:
    """Fetch `source` into a new file in `spool`, at most `limit` bytes. Nothing is left there
    when this raises ImageError. `trouble` is called with why a try has failed that another one
    follows.

    A dropped connection is resumed where the server can do that. `cancelled` is asked at least
    every 0.2 s once connected, also from a thread of ours.
    """
    expected = {name.lower(): value.lower() for name, value in source.checksums.items()}
    context = _tls(source)
    with (
        Sink(spool, limit, {*expected, "sha256"}) as sink,
        Watch(cancelled) as watch,
        Client(
            reach,
            context,
            Timeout(connect=patience.connect, read=patience.read),
            watch.connected,
        ) as client,
    ):
        _Transfer(source, client, sink, watch, progress, trouble, patience).run()
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
        client: Client,
        sink: Sink,
        watch: Watch,
        progress: Progress,
        trouble: Callable[[str], None],
        patience: Patience,
    ) -> None:
        self.source = source
        self.client = client
        self.sink = sink
        self.watch = watch
        self.progress = progress
        self.trouble = trouble
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
            except DroppedError as error:
                dropped = error
                self.watch.check()
                lasting = self.offset > 0 and self.sink.size - self.offset >= MIB
                failures = 1 if lasting else failures + 1
                if failures >= self.patience.attempts:
                    raise self._failed(f"{dropped}; gave up after {failures} tries") from dropped
            self.trouble(f"{address(self.source.url)}: {dropped}")
            self.watch.pause(min(self.patience.pause * 2 ** (failures - 1), 30.0))

    def _try_once(self) -> None:
        self.offset = self.sink.size if self.validator else 0
        try:
            response = self._open()
            self._receive(response, self._begin(response))
        except UntrustedError as error:
            raise self._failed(
                f"the server's certificate is not trusted ({error}); give its authority in caBundle"
            ) from error

    def _open(self) -> BaseHTTPResponse:
        headers = {"Accept-Encoding": "identity", "User-Agent": "gitvirt"}
        if self.offset and self.validator:
            headers |= {"Range": f"bytes={self.offset}-", "If-Range": self.validator}
        target = first = self._target(Target.parse, self.source.url)
        for _ in range(MAX_REDIRECTS + 1):
            # credentials stay with the server that they were given for
            told = target.authorization or (
                first.authorization if target.origin == first.origin else {}
            )
            response = self._answer(target, {**headers, **told})
            if response.status not in REDIRECTS:
                return response
            self.watch.check()
            target = self._redirected(target, response.headers.get("Location", ""))
        raise self._failed(f"more than {MAX_REDIRECTS} redirects")

    def _answer(self, target: Target, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """The head of an answer. One that was cut off looks like a short one."""
        try:
            with self.watch.within(self.patience.connect + self.patience.window):
                return self.client.get(target, headers)
        except LateError as error:
            self.watch.check()
            raise DroppedError("no answer in time") from error

    def _redirected(self, at: Target, location: str) -> Target:
        target = self._target(at.redirected, location)
        if (at.scheme, target.scheme) == ("https", "http") and not self.source.checksums:
            raise self._failed(
                f"the server redirects from https to http ({address(target.bare)}); give a"
                f" checksum to allow that",
                retry=False,
            )
        return target

    def _target(self, parse: Callable[[str], Target], text: str) -> Target:
        try:
            return parse(text)
        except ImageError as error:
            raise self._failed(error.message, retry=False) from error

    def _begin(self, response: BaseHTTPResponse) -> int | None:
        """Check the answer's head, put the sink where the body belongs, return the size of the
        whole file.
        """
        status = response.status
        if status in TRANSIENT:
            raise DroppedError(f"the server answered {phrase(status)}")
        if status == 416 and self.offset:
            self.validator = None
            raise DroppedError("the server cannot go on where the connection broke")
        if status == 206 and self.offset:
            total = self._resumed(response)
        elif status == 200:
            if self.sink.size:
                self.sink.restart()
            self.offset = 0
            total = _number(response.headers.get("Content-Length", ""))
        else:
            raise self._failed(f"the server answered {phrase(status)}")
        if total is not None:
            check_limit(total, self.sink.limit)
            check_space(self.sink.spool, total - self.offset)
        self.validator = _validator(response.headers)
        return total

    def _resumed(self, response: BaseHTTPResponse) -> int | None:
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        if match is None or int(match[1]) != self.offset:
            self.validator = None
            raise DroppedError("the server went on from somewhere else than it was asked to")
        return _number(match[3])

    def _receive(self, response: BaseHTTPResponse, total: int | None) -> None:
        """Take the body as it was sent: a Content-Encoding is the file's own compression, which
        is unpacked later.
        """
        self.progress(self.sink.size, total)
        began, since = time.monotonic(), self.sink.size
        while chunk := self._some(response):
            self.watch.check()
            self.sink.write(chunk)
            self.progress(self.sink.size, total)
            now = time.monotonic()
            if now - began >= self.patience.window:
                if self.sink.size - since < self.patience.floor:
                    raise DroppedError(f"the download stalled at {self.sink.size} bytes")
                began, since = now, self.sink.size
        # A socket that was shut down looks like an end of the body where no length was announced.
        self.watch.check()
        if total is None and not self.sink.size:
            raise DroppedError("the server sent nothing")
        if total is not None and self.sink.size != total:
            raise DroppedError(f"the server sent {self.sink.size} of {total} bytes")

    def _some(self, response: BaseHTTPResponse) -> bytes:
        """What has come, at least one byte; nothing at the end."""
        try:
            return response.read1(CHUNK, decode_content=False)
        except (HTTPError, OSError) as error:
            self.watch.check()
            raise translated(error) from error

    def _failed(self, what: str, *, retry: bool = True) -> ImageError:
        return ImageError("ImagePullFailed", f"{address(self.source.url)}: {what}", retry=retry)


def _number(text: str) -> int | None:
    return int(text) if LENGTH.fullmatch(text) else None


def _validator(headers: Mapping[str, str]) -> str | None:
    if headers.get("Accept-Ranges", "").lower() == "none":
        return None
    etag = headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified")
