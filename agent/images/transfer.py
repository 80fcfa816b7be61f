"""One file over as many connections as it takes, into the spool."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from urllib3 import BaseHTTPResponse
from urllib3.exceptions import HTTPError

from agent import measures
from agent.images.errors import ImageError, address
from agent.images.request import Client, DroppedError, Target, UntrustedError, phrase, translated
from agent.images.spool import MIB, Sink, check_limit, check_space
from agent.images.watch import LateError, Watch

MAX_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)
LENGTH = re.compile(r"\d{1,19}", re.ASCII)
CHUNK = 64 * 1024
COMMON = {"Accept-Encoding": "identity", "User-Agent": "gitvirt"}

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and the bytes in all, None while the server does not say."""
Ask = Callable[[Mapping[str, str]], BaseHTTPResponse]
"""Asks with these headers, and what else it takes; the head of the answer, its body unread."""


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


@dataclass(frozen=True)
class Subject:
    """What is fetched."""

    name: str
    """As messages name it: with nothing that is secret."""
    proven: bool = False
    """True if a digest is known that it must have, whatever way it comes."""
    fixed: bool = False
    """True if its address never gives anything else: then a part of it is a part of it for ever."""

    def failed(self, what: str, *, retry: bool = True) -> ImageError:
        return ImageError("ImagePullFailed", f"{self.name}: {what}", retry=retry)


@dataclass(frozen=True)
class Line:
    """A client that is watched."""

    client: Client
    watch: Watch
    patience: Patience

    def follow(
        self,
        subject: Subject,
        first: Target,
        headers: Mapping[str, str],
        told: Callable[[Target], Mapping[str, str]],
    ) -> tuple[BaseHTTPResponse, Target]:
        """The head of the answer behind all redirects, and where that was. `told` gives the headers
        that are for one server alone: credentials stay with the one that they were given for.
        """
        target = first
        for _ in range(MAX_REDIRECTS + 1):
            response = self._head(target, {**COMMON, **headers, **told(target)})
            if response.status not in REDIRECTS:
                return response, target
            self.watch.check()
            target = self._redirected(subject, target, response.headers.get("Location", ""))
        raise subject.failed(f"more than {MAX_REDIRECTS} redirects")

    def _head(self, target: Target, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """The head of an answer. One that was cut off looks like a short one."""
        try:
            with self.watch.within(self.patience.connect + self.patience.window):
                return self.client.get(target, headers)
        except LateError as error:
            self.watch.check()
            raise DroppedError("no answer in time") from error

    def _redirected(self, subject: Subject, at: Target, location: str) -> Target:
        target = parsed(subject, at.redirected, location)
        if (at.scheme, target.scheme) == ("https", "http") and not subject.proven:
            raise subject.failed(
                f"the server redirects from https to http ({address(target.bare)}); give a"
                f" checksum to allow that",
                retry=False,
            )
        return target

    def text(self, response: BaseHTTPResponse, most: int) -> bytes:
        """A short body, or the beginning of one that has more than so many bytes."""
        body = b""
        try:
            with self.watch.within(self.patience.window):
                while len(body) <= most and (chunk := self.some(response)):
                    body += chunk
        except LateError as error:
            self.watch.check()
            raise DroppedError("no answer in time") from error
        return body

    def some(self, response: BaseHTTPResponse) -> bytes:
        """What has come of a body as it was sent, at least one byte; nothing at the end. A
        Content-Encoding is the file's own compression, which is unpacked later.
        """
        try:
            return response.read1(CHUNK, decode_content=False)
        except (HTTPError, OSError) as error:
            self.watch.check()
            raise translated(error) from error


def parsed(subject: Subject, parse: Callable[[str], Target], text: str) -> Target:
    try:
        return parse(text)
    except ImageError as error:
        raise subject.failed(error.message, retry=False) from error


@dataclass
class Transfer:
    """One file into a sink. A dropped connection is resumed where the server can do that."""

    subject: Subject
    ask: Ask
    sink: Sink
    line: Line
    progress: Progress
    trouble: Callable[[str], None]
    """Hears of a try that failed and that another one follows."""
    validator: str | None = None
    """What `If-Range` may carry: without it the rest of the file might be another file's."""
    offset: int = 0
    """Where the present try went on from."""
    total: int | None = None
    """Bytes in all, as last said."""
    note: Callable[[str | None, int | None], None] = lambda _validator, _total: None
    """Hears what is said of the file, before any of it is written."""

    def run(self) -> None:
        failures = 0
        patience, watch = self.line.patience, self.line.watch
        while True:
            try:
                self._try_once()
                return
            except DroppedError as error:
                dropped = error
                watch.check()
                lasting = self.offset > 0 and self.sink.size - self.offset >= MIB
                failures = 1 if lasting else failures + 1
                if failures >= patience.attempts:
                    what = f"{dropped}; gave up after {failures} tries"
                    raise self.subject.failed(what) from dropped
            self.trouble(f"{self.subject.name}: {dropped}")
            watch.pause(min(patience.pause * 2 ** (failures - 1), 30.0))

    def _try_once(self) -> None:
        self.offset = self.sink.size if self.validator or self.subject.fixed else 0
        headers = {"Range": f"bytes={self.offset}-"} if self.offset else {}
        if self.offset and self.validator and not self.subject.fixed:
            headers["If-Range"] = self.validator
        try:
            response = self.ask(headers)
            self._receive(response, self._begin(response))
        except UntrustedError as error:
            raise self.subject.failed(
                f"the server's certificate is not trusted ({error}); give its authority in caBundle"
            ) from error

    def _begin(self, response: BaseHTTPResponse) -> int | None:
        """Check the answer's head, put the sink where the body belongs, return the size of the
        whole file.
        """
        status = response.status
        if status in TRANSIENT:
            raise DroppedError(f"the server answered {phrase(status)}")
        if status == 416 and self.offset:
            self._anew()
            raise DroppedError("the server cannot go on where the connection broke")
        if status == 206 and self.offset:
            total = self._resumed(response)
        elif status == 200:
            if self.sink.size:
                self.sink.restart()
            self.offset = 0
            total = _number(response.headers.get("Content-Length", ""))
        else:
            raise self.subject.failed(f"the server answered {phrase(status)}")
        if total is not None:
            check_limit(total, self.sink.limit)
            check_space(self.sink.spool, total - self.offset)
        self.validator, self.total = _validator(response.headers), total
        self.note(self.validator, total)
        return total

    def _anew(self) -> None:
        self.validator = self.total = None
        self.sink.restart()

    def _resumed(self, response: BaseHTTPResponse) -> int | None:
        match = CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        total = _number(match[3]) if match else None
        another = None not in (total, self.total) and total != self.total
        if match is None or int(match[1]) != self.offset or another:
            self._anew()
            what = "with another file" if another else "from somewhere else than it was asked to"
            raise DroppedError(f"the server went on {what}")
        return total

    def _receive(self, response: BaseHTTPResponse, total: int | None) -> None:
        self.progress(self.sink.size, total)
        watch, patience = self.line.watch, self.line.patience
        began, since = time.monotonic(), self.sink.size
        while chunk := self.line.some(response):
            watch.check()
            self.sink.write(chunk)
            measures.DOWNLOADED.add(len(chunk))
            self.progress(self.sink.size, total)
            now = time.monotonic()
            if now - began >= patience.window:
                if self.sink.size - since < patience.floor:
                    raise DroppedError(f"the download stalled at {self.sink.size} bytes")
                began, since = now, self.sink.size
        # A socket that was shut down looks like an end of the body where no length was announced.
        watch.check()
        if total is None and not self.sink.size:
            raise DroppedError("the server sent nothing")
        if total is not None and self.sink.size != total:
            raise DroppedError(f"the server sent {self.sink.size} of {total} bytes")


def _number(text: str) -> int | None:
    return int(text) if LENGTH.fullmatch(text) else None


def _validator(headers: Mapping[str, str]) -> str | None:
    if headers.get("Accept-Ranges", "").lower() == "none":
        return None
    etag = headers.get("ETag", "")
    if etag and not etag.startswith("W/"):
        return etag
    return headers.get("Last-Modified")
